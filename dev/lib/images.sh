# shellcheck shell=bash
# Builds images from the Dockerfiles in dev/images with buildah, keeps them as archives named by
# the hash of what went in, and loads them into the cluster's containerd.

IMAGES='pause coredns minio mariadb postgres secantusdb farshore'
BASE_IMAGE=localhost/debian:bookworm
ARCHIVES=$CACHE/images

# Storage of our own: podman's images are not touched. Two directories are built into buildah; they
# are taken away again where there were none.
bh() {
  local path rc=0 made=()
  for path in /etc/cni/net.d /etc/cni /var/lib/containers/cache /var/lib/containers /run/farshore-buildah; do
    [[ -e $path ]] || made+=("$path")
  done
  buildah --root "$CACHE/buildah" --runroot /run/farshore-buildah --storage-driver overlay "$@" || rc=$?
  ((${#made[@]} == 0)) || rm -rf "${made[@]}"
  return "$rc"
}

image_name() { echo "localhost/$1:dev"; } # NAME

image_uses_base() { grep -q '^ARG BASE' "$DEV/images/$1/Dockerfile"; } # NAME

# Prints what the build context needs besides dev/images/NAME: a file, or a folder.
image_binary() { # NAME
  case $1 in
    pause) echo "$CACHE/pause-$(sha256sum <"$DEV/images/pause/pause.c" | cut -c1-12)/pause" ;;
    coredns | minio) echo "$(tool_dir "$1")/$1" ;;
    secantusdb) echo "$(tool_dir secantusdb)/site" ;;
    farshore) farshore_binary ;;
  esac
}

prepare_binary() { # NAME
  case $1 in
    pause) [[ -x $(image_binary pause) ]] || step "compile pause" compile_pause ;;
    coredns | minio | secantusdb) ensure_tools "$1" ;;
    farshore) build_farshore ;;
  esac
}

# FARSHORE_PROFILE=dev: as cargo has built it for the tests, which saves a release build.
farshore_binary() {
  case ${FARSHORE_PROFILE:-release} in
    dev) echo "$STATE/farshore-dev/farshore" ;;
    *) echo "$(cargo_target)/release/farshore" ;;
  esac
}

cargo_target() { echo "${CARGO_TARGET_DIR:-$ROOT/target}"; }

compile_pause() {
  local dir
  dir=$(dirname "$(image_binary pause)")
  mkdir -p "$dir"
  cc -Os -static -s -o "$dir/pause.part" "$DEV/images/pause/pause.c"
  mv "$dir/pause.part" "$dir/pause"
}

build_farshore() {
  [[ -e $ROOT/Cargo.toml ]] || die "there is no Cargo.toml in $ROOT" "the farshore image needs the crate"
  command -v cargo >/dev/null || die "cargo is needed to build farshore and is not on the PATH" \
    "install Rust with rustup: rust-toolchain.toml names the version"
  cd "$ROOT" || return
  if [[ ${FARSHORE_PROFILE:-release} == dev ]]; then
    step "build farshore (dev)" build_farshore_dev
  else
    step "build farshore (release)" cargo build --release --locked --bin farshore
  fi
}

build_farshore_dev() {
  local binary
  binary=$(farshore_binary)
  # Symbols and lines are two thirds of it.
  cargo build --locked --bin farshore && mkdir -p "$(dirname "$binary")" &&
    strip -o "$binary" "$(cargo_target)/debug/farshore"
}

# The key of an image: its context and its base. A file's modification time is no part of it.
image_key() { # NAME
  local binary
  binary=$(image_binary "$1")
  {
    cd "$DEV/images/$1" || exit
    find . -type f -perm /111 -print | sort
    find . -type f -print0 | sort -z | xargs -0 sha256sum
    # A tool's folder bears the hash of what is in it.
    if [[ -d $binary ]]; then echo "$binary"; elif [[ -n $binary ]]; then sha256sum <"$binary"; fi
    ! image_uses_base "$1" || cat "$ARCHIVES/base.id"
  } | sha256sum | cut -c1-16
}

image_archive() { echo "$ARCHIVES/$1-$(image_key "$1").tar"; } # NAME

# The Debian base: made once, from the machine's own package sources where it is Debian, too.
ensure_base() {
  if [[ -s $ARCHIVES/base.id ]] && bh inspect --type image "$BASE_IMAGE" >/dev/null 2>&1; then
    return 0
  fi
  require_disk "$CACHE" 8
  mkdir -p "$ARCHIVES"
  [[ -s $ARCHIVES/base.tar ]] || step "make the Debian base" make_base
  step "load the Debian base" load_base
}

make_base() {
  mmdebstrap --variant=minbase --mode=root --format=tar \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$ARCHIVES/base.tar.part"
  mv "$ARCHIVES/base.tar.part" "$ARCHIVES/base.tar"
}

load_base() {
  local container
  container=$(bh from scratch)
  bh add "$container" "$ARCHIVES/base.tar" /
  bh config --cmd /bin/bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  bh commit --rm "$container" "$BASE_IMAGE"
  bh inspect --type image --format '{{.FromImageID}}' "$BASE_IMAGE" >"$ARCHIVES/base.id"
}

# Builds what is missing; a second call with the same input costs a hash.
ensure_image() { # NAME
  local name=$1
  [[ -e $DEV/images/$name/Dockerfile ]] || die "no image is called '$name'" "images: $IMAGES"
  ! image_uses_base "$name" || ensure_base
  prepare_binary "$name"
  [[ ! -e $(image_archive "$name") ]] || return 0
  mkdir -p "$ARCHIVES"
  step "image $(image_name "$name")" build_image "$name"
}

build_image() { # NAME
  local name=$1 context archive binary options=()
  archive=$(image_archive "$name")
  binary=$(image_binary "$name")
  context=$(mktemp -d)
  cp -r "$DEV/images/$name/." "$context"
  [[ -z $binary ]] || cp -r "$binary" "$context/"
  ! image_uses_base "$name" || options+=(--build-arg "BASE=$BASE_IMAGE")
  bh bud --quiet --layers --isolation chroot --network host --pull-never --timestamp 0 \
    "${options[@]}" --tag "$(image_name "$name")" "$context"
  rm -rf "$context"
  # Only the newest archive of each image is kept.
  rm -f "$ARCHIVES/$name"-????????????????.tar "$archive.part"
  bh push --quiet "$(image_name "$name")" "docker-archive:$archive.part:$(image_name "$name")"
  mv "$archive.part" "$archive"
}

# What the running containerd holds is written down in .dev/run, which ends with it.
load_image() { # NAME
  local name=$1 archive mark
  archive=$(image_archive "$name")
  mark=$RUN/images/$name
  [[ ! -e $mark || $(<"$mark") != "$archive" ]] || return 0
  mkdir -p "$RUN/images"
  step "load $(image_name "$name")" ctr images import --snapshotter "$SNAPSHOTTER" "$archive"
  echo "$archive" >"$mark"
}
