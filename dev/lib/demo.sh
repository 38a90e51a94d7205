# shellcheck shell=bash disable=SC2034 # variables for those who source this
# What `dev/demo` and `dev/demo-down` agree upon: which cluster, which names.

CLUSTER=${CLUSTER:-local}
# Where the user's own resources live: the instance, the service, their Secrets.
DEMO_NAMESPACE=${DEMO_NAMESPACE:-databases}
SYSTEM_NAMESPACE=farshore-system
SOURCE_REGION=cn-north-1
TARGET_REGION=cn-east-1
SAMPLES=${DEMO_SAMPLES:-$ROOT/deploy/samples/demo.yaml}
CHART=${DEMO_CHART:-$ROOT/charts/farshore}

choose_cluster() {
  case $CLUSTER in
    local) export KUBECONFIG=$ADMIN ;;
    current)
      require_commands kubectl:kubectl
      kubectl version --request-timeout=10s >/dev/null 2>&1 ||
        die "the cluster of the current kubeconfig does not answer" "check: kubectl cluster-info"
      ;;
    *) die "CLUSTER=$CLUSTER: it may be 'local' or 'current'" ;;
  esac
}

kc() {
  if [[ $CLUSTER == local ]]; then k "$@"; else kubectl "$@"; fi
}

# On the user's own cluster the user's own helm will do.
own_helm() { [[ $CLUSTER == current ]] && command -v helm >/dev/null; }

ensure_helm() { own_helm || ensure_tools helm; }

helm_command() {
  if own_helm; then helm "$@"; else "$(tool_dir helm)/helm" "$@"; fi
}

# $(value NAMESPACE SECRET KEY): empty if there is none.
value() {
  kc -n "$1" get secret "$2" -o "jsonpath={.data.$3}" --ignore-not-found 2>/dev/null | base64 -d
}

random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# Through standard input: arguments of a process are everyone's to see.
secret() { # NAMESPACE NAME KEY VALUE [KEY VALUE]...
  local namespace=$1 name=$2
  shift 2
  {
    printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: "%s", namespace: "%s"}\nstringData:\n' "$name" "$namespace"
    printf '  %s: "%s"\n' "$@"
  } | kc apply -f -
}

namespace() { # NAME
  printf 'apiVersion: v1\nkind: Namespace\nmetadata: {name: "%s", labels: {%s: restricted}}\n' \
    "$1" pod-security.kubernetes.io/enforce | kc apply -f -
}

# @NAME@ in a manifest becomes the value of NAME=VALUE.
fill() { # FILE NAME=VALUE...
  local file=$1 pair script=()
  shift
  for pair in "$@"; do
    script+=(-e "s#@${pair%%=*}@#${pair#*=}#g")
  done
  sed "${script[@]}" "$file"
}
