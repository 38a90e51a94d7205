# shellcheck shell=bash
# What must be there before a cluster can start; each lack is told in one sentence.

require_platform() {
  [[ $(uname -s) == Linux ]] || die "the local cluster needs Linux, this is $(uname -s)" \
    "use an existing cluster instead: CLUSTER=current make demo"
  ((EUID == 0)) || die "the local cluster needs root (namespaces, mounts, cgroups)" \
    "run it with sudo, or use an existing cluster: CLUSTER=current make demo"
  unshare --mount --net --pid --fork true 2>/dev/null ||
    die "this environment lets even root make no namespaces" \
      "run outside of a container, or in a privileged one"
}

# apt asks the network, so it runs only if something is missing. Nothing is removed or upgraded.
require_packages() { # COMMAND:PACKAGE...
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  ((${#missing[@]} > 0)) || return 0
  command -v apt-get >/dev/null || die "missing: ${missing[*]}" "install them and run this again"
  step "install ${missing[*]}" apt_install "${missing[@]}"
}

apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  local options=(-y -q --no-install-recommends --no-remove -o DPkg::Lock::Timeout=120)
  # Lists may be missing or out of date: refresh them only if the first try says so.
  apt-get install "${options[@]}" "$@" && return 0
  apt-get update -q
  apt-get install "${options[@]}" "$@"
}

node_tools() {
  local release
  release=$(. /etc/os-release && echo "$ID-${VERSION_CODENAME:-$VERSION_ID}")
  echo "$CACHE/node-tools-$release"
}

# containerd, runc and the CNI plugins are unpacked, not installed: an installed containerd would
# start as a service, and may replace the one that Docker came with.
ensure_node_tools() {
  [[ -d $(node_tools) ]] && return 0
  command -v apt-get >/dev/null || die "containerd, runc and the CNI plugins are taken from Debian" \
    "or Ubuntu packages, and this machine has no apt-get"
  step "unpack containerd, runc, CNI plugins" unpack_node_tools
}

unpack_node_tools() {
  local part deb
  part=$(node_tools).part
  rm -rf "$part"
  mkdir -p "$part/debs"
  cd "$part/debs" || return
  # apt's own download user can't write here, and says so at length.
  local download=(apt-get download -q -o APT::Sandbox::User=root containerd runc containernetworking-plugins)
  "${download[@]}" || { apt-get update -q && "${download[@]}"; }
  for deb in *.deb; do
    dpkg-deb -x "$deb" "$part"
  done
  cd /
  rm -rf "$part/debs"
  mv "$part" "$(node_tools)"
}

# The first cgroup hierarchy of each kind that the kubelet wants, version 1 or 2.
require_cgroups() {
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    grep -qw memory /sys/fs/cgroup/cgroup.controllers ||
      die "the memory controller of cgroup v2 is off" "boot with cgroup_enable=memory"
    return 0
  fi
  local name
  for name in cpu cpuacct cpuset memory pids; do
    [[ -d /sys/fs/cgroup/$name ]] ||
      die "cgroup v1 without the '$name' controller at /sys/fs/cgroup/$name" "mount it, or boot with cgroup v2"
  done
}

# A network that the machine uses already would be cut off by our routes.
require_free_networks() {
  local pair cidr variable route
  for pair in "$NODE_NET.0/24=FARSHORE_NODE_NET" "$POD_CIDR=FARSHORE_POD_CIDR" "$SERVICE_CIDR=FARSHORE_SERVICE_CIDR"; do
    cidr=${pair%%=*} variable=${pair#*=}
    route=$(ip -4 route show root "$cidr"; ip -4 route show match "$cidr" | grep -v '^default' || true)
    [[ -z $route ]] || die "the network $cidr is in use on this machine: $(head -n 1 <<<"$route")" \
      "choose another one with $variable=…"
  done
}

require_free_link() {
  ! ip link show "$LINK" >/dev/null 2>&1 ||
    die "a network device $LINK exists and no cluster of ours runs" \
      "remove it (ip link del $LINK), or choose another name with FARSHORE_LINK=…"
}
