# shellcheck shell=bash
# The programs of the cluster as one executable file each, in .dev/run/services: the node runs
# what lies there, and a reader sees every flag.

service() { # NAME COMMAND...
  local file=$SERVICES/$1
  shift
  {
    echo '#!/bin/sh'
    printf 'exec'
    printf ' \\\n  %q' "$@"
    echo
  } >"$file"
  chmod +x "$file"
}

write_services() {
  local kube etcd tools
  kube=$(tool_dir kubernetes) etcd=$(tool_dir etcd) tools=$(node_tools)
  rm -rf "$SERVICES"
  mkdir -p "$SERVICES"
  write_control_plane "$kube" "$etcd"
  write_node_services "$kube" "$tools"
  write_containerd_config "$tools"
  write_cni_config
  write_kubelet_config
  write_proxy_config
  write_resolv_conf
}

write_control_plane() { # KUBERNETES ETCD
  # A lost cluster is made again in seconds, so etcd need not wait for the disk.
  service etcd "$2/etcd" --name="$LINK" --data-dir="$DATA/etcd" --unsafe-no-fsync --log-level=warn \
    --listen-client-urls=https://127.0.0.1:2379 --advertise-client-urls=https://127.0.0.1:2379 \
    --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380 \
    --initial-cluster="$LINK=http://127.0.0.1:2380" \
    --cert-file="$PKI/etcd.crt" --key-file="$PKI/etcd.key" \
    --client-cert-auth --trusted-ca-file="$PKI/etcd-ca.crt"
  service kube-apiserver "$1/kube-apiserver" --secure-port="$API_PORT" --advertise-address="$NODE_IP" \
    --etcd-servers=https://127.0.0.1:2379 --etcd-cafile="$PKI/etcd-ca.crt" \
    --etcd-certfile="$PKI/etcd-client.crt" --etcd-keyfile="$PKI/etcd-client.key" \
    --service-cluster-ip-range="$SERVICE_CIDR" --allow-privileged \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --client-ca-file="$PKI/ca.crt" --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
    --kubelet-client-certificate="$PKI/apiserver-kubelet.crt" --kubelet-client-key="$PKI/apiserver-kubelet.key" \
    --kubelet-certificate-authority="$PKI/ca.crt" --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer="https://kubernetes.default.svc.$DOMAIN" \
    --service-account-key-file="$PKI/service-accounts.pub" \
    --service-account-signing-key-file="$PKI/service-accounts.key" \
    --requestheader-client-ca-file="$PKI/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file="$PKI/front-proxy.crt" --proxy-client-key-file="$PKI/front-proxy.key"
  # One of each: an election would only make the start slower.
  service kube-controller-manager "$1/kube-controller-manager" --leader-elect=false --bind-address=127.0.0.1 \
    --kubeconfig="$RUN/controller-manager.kubeconfig" --use-service-account-credentials \
    --kube-api-qps=200 --kube-api-burst=400 \
    --authentication-kubeconfig="$RUN/controller-manager.kubeconfig" \
    --authorization-kubeconfig="$RUN/controller-manager.kubeconfig" \
    --service-account-private-key-file="$PKI/service-accounts.key" --root-ca-file="$PKI/ca.crt" \
    --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
    --cluster-cidr="$POD_CIDR" --service-cluster-ip-range="$SERVICE_CIDR"
  service kube-scheduler "$1/kube-scheduler" --leader-elect=false --bind-address=127.0.0.1 \
    --kubeconfig="$RUN/scheduler.kubeconfig" \
    --authentication-kubeconfig="$RUN/scheduler.kubeconfig" \
    --authorization-kubeconfig="$RUN/scheduler.kubeconfig"
}

write_node_services() { # KUBERNETES NODE-TOOLS
  service containerd env "PATH=$2/usr/bin:$2/usr/sbin:$PATH" containerd --config "$RUN/containerd.toml"
  service kubelet "$1/kubelet" --config="$RUN/kubelet.yaml" --kubeconfig="$RUN/kubelet.kubeconfig" \
    --hostname-override="$LINK" --node-ip="$NODE_IP" --node-labels=topology.kubernetes.io/zone=dev
  service kube-proxy "$1/kube-proxy" --config="$RUN/proxy.yaml" --hostname-override="$LINK"
  service volumes env "PATH=$1:$PATH" "$DEV/lib/volumes" "$ADMIN" "$DATA/volumes"
}

# restrict_oom_score_adj: without CAP_SYS_RESOURCE no process may lower its score, and every pod
# would fail with "can't get final child's PID from pipe".
write_containerd_config() { # NODE-TOOLS
  cat >"$RUN/containerd.toml" <<END
version = 2
root = "$DATA/containerd"
state = "/run/containerd"
oom_score = 0
[grpc]
  address = "$CONTAINERD"
[plugins."io.containerd.internal.v1.opt"]
  path = "$DATA/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:dev"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$1/usr/lib/cni"
    conf_dir = "$RUN/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$SNAPSHOTTER"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "$1/usr/sbin/runc"
        SystemdCgroup = false
END
}

# Each pod has a routed link of its own to the node. A bridge would need the machine-wide setting
# bridge-nf-call-iptables for a pod to reach, through a Service, a pod beside it.
write_cni_config() {
  mkdir -p "$RUN/cni"
  cat >"$RUN/cni/10-farshore.conflist" <<END
{
  "cniVersion": "1.0.0",
  "name": "farshore",
  "plugins": [
    {
      "type": "ptp",
      "mtu": 1500,
      "ipam": {
        "type": "host-local",
        "dataDir": "$DATA/cni",
        "ranges": [[{"subnet": "$POD_CIDR"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
END
}

# Eviction and image collection look at the machine's disk, which others fill: an image that they
# make the kubelet delete can't be pulled again.
write_kubelet_config() {
  cat >"$RUN/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$CONTAINERD
address: 0.0.0.0
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $PKI/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet-server.crt
tlsPrivateKeyFile: $PKI/kubelet-server.key
cgroupDriver: cgroupfs
cgroupRoot: /$LINK
failSwapOn: false
failCgroupV1: false
clusterDomain: $DOMAIN
clusterDNS: [$DNS_SERVICE_IP]
resolvConf: $RUN/resolv.conf
maxPods: 200
registerNode: true
topologyManagerPolicy: none
evictionHard: {memory.available: 100Mi, nodefs.available: 256Mi, imagefs.available: 256Mi}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
localStorageCapacityIsolation: true
serializeImagePulls: false
# A dev cluster starts many small pods at once.
kubeAPIQPS: 200
kubeAPIBurst: 400
syncFrequency: 10s
nodeStatusUpdateFrequency: 5s
shutdownGracePeriod: 0s
END
}

write_proxy_config() {
  cat >"$RUN/proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $RUN/proxy.kubeconfig}
clusterCIDR: $POD_CIDR
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
# The connection table belongs to the machine: leave its size and timeouts alone.
conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
nftables: {syncPeriod: 10s, minSyncPeriod: 0.1s}
END
}

# A resolver on the machine's loopback (systemd-resolved) can't be reached from the node: its
# upstream servers are asked instead.
write_resolv_conf() {
  local file servers=''
  for file in /etc/resolv.conf /run/systemd/resolve/resolv.conf; do
    [[ ! -r $file ]] || servers=$(grep -E '^nameserver ' "$file" | grep -vE ' (127\.|::1)' || true)
    [[ -z $servers ]] || break
  done
  echo "$servers" >"$RUN/resolv.conf"
}
