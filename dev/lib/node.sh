# shellcheck shell=bash disable=SC2153 # ROOT comes from common.sh
# The node as the machine sees it: one process tree, one network link, one cgroup.

# Paths that the programs of the node have built in.
COVERED='/run/containerd /run/netns /var/lib/kubelet /var/lib/cni /var/log/containers /var/log/pods'

# The node's first process, by its pid on the machine.
node_pid() {
  local parent
  parent=$(pid_of node) || return 1
  pgrep -P "$parent" -f node-init
}

# The checkout whose cluster runs, if it is another one. One that was deleted owns nothing any more.
other_owner() {
  local pid path
  [[ -r $OWNER ]] || return 1
  read -r pid path <"$OWNER"
  [[ $path != "$ROOT" && -d $path ]] && is_node "$pid" && echo "$path"
}

is_node() { [[ -d /proc/$1 ]] && grep -qz node-init "/proc/$1/cmdline"; } # PID

require_no_other_owner() {
  local path
  ! path=$(other_owner) ||
    die "the cluster of another checkout is running: $path" "stop it with: $path/dev/cluster down"
}

# bind mounts need a directory to lie on; `down` takes away those that were not there before.
make_covered() {
  local path
  for path in $COVERED; do
    [[ -d $path ]] || { mkdir -p "$path" && echo "$path" >>"$SOCKETS/made-directories"; }
  done
}

remove_covered() {
  local path
  [[ -r $SOCKETS/made-directories ]] || return 0
  # rmdir leaves alone what others have put something into since.
  while read -r path; do
    rmdir "$path" 2>/dev/null || true
  done <"$SOCKETS/made-directories"
  rm -f "$SOCKETS/made-directories"
}

cgroup_roots() {
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    echo /sys/fs/cgroup
  else
    # A hybrid machine has the v2 tree beside those of v1, and the kubelet's pods show up in it.
    awk '$3 ~ /^cgroup2?$/ && $2 ~ "^/sys/fs/cgroup/" {print $2}' /proc/mounts | sort -u
  fi
}

# The kubelet counts its pods under a cgroup of ours, so that we know which ones to remove.
make_cgroups() {
  local root file controller
  while read -r root; do
    mkdir -p "$root/$LINK"
    # A v1 cpuset starts empty, and takes no process until it has CPUs and memory.
    for file in cpuset.cpus cpuset.mems; do
      [[ ! -e $root/$LINK/$file || -e $root/cgroup.controllers ]] || cat "$root/$file" >"$root/$LINK/$file"
    done
    if [[ -e $root/cgroup.controllers ]]; then
      for controller in cpu cpuset memory pids io hugetlb; do
        echo "+$controller" >"$root/cgroup.subtree_control" 2>/dev/null || true
        echo "+$controller" >"$root/$LINK/cgroup.subtree_control" 2>/dev/null || true
      done
    fi
  done < <(cgroup_roots)
}

remove_cgroups() {
  local root
  while read -r root; do
    [[ ! -d $root/$LINK ]] || find "$root/$LINK" -depth -type d -exec rmdir {} +
  done < <(cgroup_roots)
}

start_node() {
  local pid
  mkdir -p "$SOCKETS" "$DATA"
  make_covered
  make_cgroups
  # shellcheck disable=SC2086 # a list of paths
  start node unshare --mount --net --pid --fork --mount-proc --propagation private \
    bash "$DEV/lib/node-init" "$RUN" "$DATA" "$LOG" "$NODE_IP" "$HOST_IP" $COVERED
  wait_for 5 node_pid
  pid=$(node_pid)
  echo "$pid $ROOT" >"$OWNER"
  link_node "$pid"
  [[ $EGRESS == 0 ]] || open_egress
}

link_node() { # PID
  ip link add "$LINK" type veth peer name eth0 netns "$1"
  ip address add "$HOST_IP/24" dev "$LINK"
  ip link set "$LINK" up
  # Pods and Services can be reached from the machine, which tests make use of.
  ip route add "$POD_CIDR" via "$NODE_IP" dev "$LINK"
  ip route add "$SERVICE_CIDR" via "$NODE_IP" dev "$LINK"
}

# A way out for pods (a cloud's object store, an image registry).
open_egress() {
  local forward=/proc/sys/net/ipv4/ip_forward
  if [[ $(<$forward) == 0 ]]; then
    touch "$SOCKETS/ip-forward-was-off"
    echo 1 >$forward
  fi
  nft -f - <<END
table ip $LINK {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ip saddr { $NODE_NET.0/24, $POD_CIDR } oifname != "$LINK" masquerade
  }
}
END
}

close_egress() {
  if nft list table ip "$LINK" >/dev/null 2>&1; then
    nft delete table ip "$LINK"
  fi
  if [[ -e $SOCKETS/ip-forward-was-off ]]; then
    echo 0 >/proc/sys/net/ipv4/ip_forward
    rm -f "$SOCKETS/ip-forward-was-off"
  fi
}

stop_node() {
  local pid owned=none
  [[ ! -r $OWNER ]] || read -r owned _ <"$OWNER"
  pid=$(node_pid) || pid=$owned
  if is_node "$pid"; then
    # The kernel ends every process of the namespace with its first one.
    kill -9 "$pid" 2>/dev/null || true
    wait_for 20 gone "$pid" || die "the node (pid $pid) does not end"
  fi
  stop node
  if ip link show "$LINK" >/dev/null 2>&1; then
    ip link del "$LINK"
  fi
  close_egress
  wait_for 20 remove_cgroups || die "the cgroup /$LINK can't be removed: a process is left in it"
  remove_covered
  rm -rf "$SOCKETS" "$OWNER"
}
