# shellcheck shell=bash
# Certificates and kubeconfigs. Made anew for each life of the cluster; the keys never leave .dev.

new_key() { # NAME
  openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$PKI/$1.key"
}

new_ca() { # NAME
  new_key "$1"
  openssl req -x509 -new -key "$PKI/$1.key" -days 365 -subj "/CN=farshore-dev-$1" \
    -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature -out "$PKI/$1.crt"
}

new_cert() { # CA NAME SUBJECT [ALTERNATIVE-NAMES]
  local extensions=$'keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth'
  [[ -z ${4:-} ]] || extensions+=$'\n'"subjectAltName=$4"
  new_key "$2"
  openssl req -new -key "$PKI/$2.key" -subj "$3" |
    openssl x509 -req -CA "$PKI/$1.crt" -CAkey "$PKI/$1.key" -CAcreateserial -days 365 \
      -extfile <(echo "$extensions") -out "$PKI/$2.crt"
}

b64() { base64 -w0 "$1"; }

new_kubeconfig() { # FILE CERTIFICATE SERVER
  cat >"$1" <<END
apiVersion: v1
kind: Config
clusters:
  - name: farshore-dev
    cluster: {server: "$3", certificate-authority-data: $(b64 "$PKI/ca.crt")}
users:
  - name: $2
    user: {client-certificate-data: $(b64 "$PKI/$2.crt"), client-key-data: $(b64 "$PKI/$2.key")}
contexts:
  - name: farshore-dev
    context: {cluster: farshore-dev, user: $2}
current-context: farshore-dev
END
}

make_pki() {
  local api=https://$NODE_IP:$API_PORT name
  rm -rf "$PKI"
  mkdir -p "$PKI"
  chmod 700 "$PKI"
  umask 077
  new_ca ca
  # A CA each for etcd and for the aggregation layer: a certificate of the cluster must not open
  # the database, nor let its bearer speak for any user.
  new_ca etcd-ca
  new_ca front-proxy-ca
  new_key service-accounts
  openssl pkey -in "$PKI/service-accounts.key" -pubout -out "$PKI/service-accounts.pub"
  new_cert etcd-ca etcd /CN=etcd IP:127.0.0.1,DNS:localhost
  new_cert etcd-ca etcd-client /CN=kube-apiserver
  new_cert front-proxy-ca front-proxy /CN=front-proxy
  new_cert ca apiserver /CN=kube-apiserver \
    "IP:127.0.0.1,IP:$NODE_IP,IP:$API_SERVICE_IP,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.$DOMAIN"
  new_cert ca apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet-client
  new_cert ca kubelet-server /O=system:nodes/CN=system:node:"$LINK" "IP:$NODE_IP,DNS:$LINK"
  new_cert ca admin /O=system:masters/CN=farshore-dev-admin
  new_cert ca kubelet /O=system:nodes/CN=system:node:"$LINK"
  new_cert ca controller-manager /CN=system:kube-controller-manager
  new_cert ca scheduler /CN=system:kube-scheduler
  new_cert ca proxy /CN=system:kube-proxy
  for name in kubelet controller-manager scheduler proxy; do
    new_kubeconfig "$RUN/$name.kubeconfig" "$name" "$api"
  done
  new_kubeconfig "$ADMIN" admin "$api"
}
