# shellcheck shell=bash
# Which tools are built from source, at which version, and how. Go modules have a go.mod and go.sum of
# their own under dev/tools, so that the checksums of all their sources are pinned; a Rust program comes
# with its own Cargo.lock, and its version stands in dev/tools/NAME/version. What tests in Python need is
# installed in the same way, from a requirements.txt with checksums. MySQL is unpacked from Debian sid's packages, which
# apt checks; its version is checked when it is there.

# The version is the one that the tool's go.mod requires: written once.
tool_version() { # NAME
  local module
  case $1 in
    kubernetes) module=k8s.io/kubernetes ;;
    etcd) module=go.etcd.io/etcd/server/v3 ;;
    coredns) module=github.com/coredns/coredns ;;
    helm) module=helm.sh/helm/v3 ;;
    minio) module=github.com/minio/minio ;;
    versitygw) module=github.com/versity/versitygw ;;
    toxiproxy) module=github.com/Shopify/toxiproxy/v2 ;;
    rclone) module=github.com/rclone/rclone ;;
    mc) module=github.com/minio/mc ;;
    s3sync | mysql)
      cat "$DEV/tools/$1/version"
      return
      ;;
    python | barman | secantusdb)
      sha256sum "$DEV/tools/$1/requirements.txt" | cut -c1-12
      return
      ;;
    *) die "no tool is called '$1'" "tools: $TOOLS $PEERS" ;;
  esac
  awk -v m="$module" '{sub(/^require /, "")} $1 == m && $2 ~ /^v/ {print $2; exit}' \
    "$DEV/tools/$1/go.mod"
}

TOOLS='kubernetes etcd coredns helm minio versitygw toxiproxy python barman mysql'
# What Farshore is measured beside: nothing but `make bench` needs them.
PEERS='s3sync rclone mc'

# binary=package, one a line.
tool_packages() { # NAME
  case $1 in
    kubernetes)
      printf '%s\n' {kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kube-proxy,kubectl} |
        sed 's#.*#&=k8s.io/kubernetes/cmd/&#'
      ;;
    etcd) echo etcd=go.etcd.io/etcd/server/v3 ;;
    coredns) echo coredns=github.com/coredns/coredns ;;
    helm) echo helm=helm.sh/helm/v3/cmd/helm ;;
    minio) echo minio=github.com/minio/minio ;;
    versitygw) echo versitygw=github.com/versity/versitygw/cmd/versitygw ;;
    toxiproxy) echo toxiproxy=github.com/Shopify/toxiproxy/v2/cmd/server ;;
    rclone) echo rclone=github.com/rclone/rclone ;;
    mc) echo mc=github.com/minio/mc ;;
  esac
}

# Kubernetes says its version to clients only if the linker is told.
tool_ldflags() { # NAME VERSION
  local flags='-s -w' v major minor package
  if [[ $1 == kubernetes ]]; then
    v=${2#v} major=${v%%.*} minor=${v#*.} minor=${minor%%.*}
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
      flags+=" -X $package.gitVersion=$2 -X $package.gitMajor=$major -X $package.gitMinor=$minor"
      flags+=" -X $package.gitTreeState=clean"
    done
  fi
  echo "$flags"
}

tool_dir() { echo "$CACHE/$1-$(tool_version "$1")"; } # NAME

# PATH entries for the tools named.
use_tools() { # NAME...
  local name
  for name in "$@"; do
    PATH=$(tool_dir "$name"):$PATH
  done
}

go_build() { # NAME DIRECTORY
  local name=$1 out=$2 flags line
  flags=$(tool_ldflags "$name" "$(tool_version "$name")")
  cd "$DEV/tools/$name"
  while read -r line; do
    # Without cgo the programs run in an image made from nothing, too.
    CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off \
      go build -trimpath -buildvcs=false -ldflags "$flags" -o "$out/${line%%=*}" "${line#*=}"
  done < <(tool_packages "$name")
}

# A build directory of some GiB, which goes when the program is there.
cargo_build() { # NAME DIRECTORY
  cargo install --quiet --locked --version "$(tool_version "$1")" --root "$2" --target-dir "$2/build" "$1"
  mv "$2/bin/$1" "$2/$1"
  rm -rf "${2:?}/build" "${2:?}/bin" "${2:?}"/.crates*
}

# An environment of its own: nothing of the machine's Python is used, and nothing is added to it.
python_install() { # NAME DIRECTORY
  python3 -m venv "$2"
  "$2/bin/python" -m pip install -q --disable-pip-version-check --require-hashes \
    -r "$DEV/tools/$1/requirements.txt"
}

# For the Python of the images' Debian, whatever the machine's own is.
secantusdb_install() { # DIRECTORY
  local platform platforms=()
  for platform in manylinux_2_28 manylinux_2_17 manylinux2014; do
    platforms+=(--platform "${platform}_$(uname -m)")
  done
  python3 -m venv "$1/pip"
  "$1/pip/bin/python" -m pip install -q --disable-pip-version-check --require-hashes --only-binary=:all: \
    --target "$1/site" --implementation cp --python-version 3.11 "${platforms[@]}" \
    -r "$DEV/tools/secantusdb/requirements.txt"
  rm -rf "$1/pip" "$1/site/bin"
  find "$1/site" -depth \( -name __pycache__ -o -name tests \) -exec rm -rf {} +
}

# Packages that are unpacked and never installed: of them only what the programs need is kept.
mysql_unpack() { # DIRECTORY
  local part keep=() version
  version=$(tool_version mysql)
  mmdebstrap --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include=mysql-server sid "$1/all"
  cd "$1/all"
  for part in usr/sbin/mysqld usr/bin/mysql{,binlog,dump} usr/share/mysql/{english,charsets} \
    usr/lib/mysql usr/lib/*-linux-gnu*; do
    [[ ! -e $part ]] || keep+=("$part")
  done
  mkdir "$1/root"
  cp -a --parents "${keep[@]}" "$1/root"
  rm -rf "$1/all"
  for part in mysqld mysql mysqlbinlog mysqldump; do
    cp "$DEV/tools/mysql/run" "$1/$part"
  done
  "$1/mysqld" --no-defaults --version | grep -q "Ver $version\." ||
    die "Debian sid has another MySQL than $version" "write its version to dev/tools/mysql/version"
}

require_builder() { # NAME
  if [[ $1 == mysql ]]; then
    command -v mmdebstrap >/dev/null && return
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
      die "mmdebstrap is needed for tests with MySQL" "install mmdebstrap"
    fi
    step "install mmdebstrap" apt_install mmdebstrap
    return
  fi
  if [[ $1 == python || $1 == barman || $1 == secantusdb ]]; then
    # Barman's client library for PostgreSQL is built from source.
    [[ $1 != barman ]] || require_packages pg_config:libpq-dev python3-config:python3-dev gcc:gcc
    python3 -c 'import ensurepip, venv' 2>/dev/null && return
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
      die "Python 3.11 or later, with venv, is needed for tests in Python" "install python3-venv"
    fi
    step "install python3-venv" apt_install python3-venv
    return
  fi
  [[ ! -r $DEV/tools/$1/version ]] || return 0
  command -v go >/dev/null || die "go is needed to build $1 and is not on the PATH" \
    "install Go $(awk '$1 == "go" {print $2}' "$DEV/tools/$1/go.mod") or later"
}

# Builds beside the final place and renames: a killed build leaves nothing that looks finished.
# The lock makes two callers build once.
build_tool() { # NAME
  local name=$1 dir
  dir=$(tool_dir "$name")
  exec 9>"$CACHE/.$name.lock"
  flock 9
  if [[ -d $dir ]]; then
    exec 9>&-
    return 0
  fi
  rm -rf "$dir.part"
  mkdir "$dir.part"
  (
    set -e
    case $name in
      python | barman) python_install "$name" "$dir.part" ;;
      secantusdb) secantusdb_install "$dir.part" ;;
      s3sync) cargo_build "$name" "$dir.part" ;;
      mysql) mysql_unpack "$dir.part" ;;
      *) go_build "$name" "$dir.part" ;;
    esac
  )
  mv "$dir.part" "$dir"
  exec 9>&-
}

ensure_tools() { # NAME...
  local name dir
  mkdir -p "$CACHE"
  for name in "$@"; do
    dir=$(tool_dir "$name")
    [[ -n $(tool_version "$name") ]] || die "dev/tools/$name names no version"
    [[ ! -d $dir ]] || continue
    require_builder "$name"
    require_disk "$CACHE" 8
    step "build $name $(tool_version "$name")" build_tool "$name"
  done
}
