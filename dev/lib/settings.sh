# shellcheck shell=bash disable=SC2034 # variables for those who source this
# What can be chosen about the local cluster. Two clusters need different values for all of these,
# so a second one says who has the first instead of breaking it.

# The link to the node, and the name of everything that lies outside of the node: its cgroup, its
# directory under /run, its nft table.
LINK=${FARSHORE_LINK:-farshore0}
# The two ends of the link: the machine is .1, the node .2.
NODE_NET=${FARSHORE_NODE_NET:-10.253.77}
HOST_IP=$NODE_NET.1
NODE_IP=$NODE_NET.2
POD_CIDR=${FARSHORE_POD_CIDR:-10.244.0.0/16}
SERVICE_CIDR=${FARSHORE_SERVICE_CIDR:-10.96.0.0/16}
# The API and DNS Services have the addresses that every installer gives them: .1 and .10.
SERVICE_NET=${SERVICE_CIDR%.*/*}
API_SERVICE_IP=$SERVICE_NET.1
DNS_SERVICE_IP=$SERVICE_NET.10
DOMAIN=cluster.local
API_PORT=${FARSHORE_API_PORT:-16443}
# 0 leaves pods without a way out of the machine, and the machine without a masquerading rule.
EGRESS=${FARSHORE_EGRESS:-1}
SNAPSHOTTER=${FARSHORE_SNAPSHOTTER:-overlayfs}

RUN=$STATE/run
DATA=$STATE/data
PKI=$RUN/pki
SERVICES=$RUN/services
ADMIN=$STATE/kubeconfig
# Sockets can't lie in the checkout: their paths may have no more than 107 characters.
SOCKETS=/run/$LINK
CONTAINERD=$SOCKETS/containerd.sock
OWNER=/run/$LINK.owner

# The client of the version that we built, on our cluster, whatever the caller's environment says.
k() { "$(tool_dir kubernetes)/kubectl" --kubeconfig "$ADMIN" "$@"; }

ctr() { "$(node_tools)/usr/bin/ctr" --address "$CONTAINERD" --namespace k8s.io "$@"; }
