# shellcheck shell=bash disable=SC2034 # variables for those who source this
# Sourced by every script of dev/: where things lie, how progress is told, and
# processes that can be stopped by the id that we wrote down when we started them.

DEV=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ROOT=$(dirname "$DEV")
CACHE=${FARSHORE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/farshore}
STATE=$ROOT/.dev
LOG=$STATE/log
PIDS=$STATE/pids
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

die() {
  printf 'error: %s\n' "$1" >&2
  shift
  (($# == 0)) || printf '       %s\n' "$@" >&2
  exit 1
}

# The state directory ignores itself, so that `git status` stays clean in any checkout.
make_state() {
  mkdir -p "$STATE" "$LOG" "$PIDS"
  [[ -e $STATE/.gitignore ]] || echo '*' >"$STATE/.gitignore"
}

now_ms() { date +%s%3N; }

seconds_since() { # START_MS
  local ms=$(($(now_ms) - $1))
  printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}

# One line a step: what is done while it is done, and how long it took when it is.
# The step's own output goes to a log, whose end is shown if the step fails.
# The command runs in a subshell with `set -e`: a step can't leave variables behind.
step() { # TITLE COMMAND...
  local title=$1 start rc log
  shift
  log=$LOG/step-$(tr -cs 'A-Za-z0-9' '-' <<<"$title" | cut -c1-60).log
  start=$(now_ms)
  [[ ! -t 1 ]] || printf '  …  %s\r' "$title"
  set +e
  (
    set -e
    "$@"
  ) >"$log" 2>&1
  rc=$?
  set -e
  if ((rc != 0)); then
    printf '  ✗  %-56s %10s\n' "$title" "$(seconds_since "$start")"
    tail -n 25 "$log" | sed 's/^/     | /' >&2
    die "$title: failed; the whole log: $log"
  fi
  printf '  ✓  %-56s %10s\n' "$title" "$(seconds_since "$start")"
}

# Asks again until COMMAND succeeds; the caller says what to tell when it never does.
wait_for() { # SECONDS COMMAND...
  local end=$(($(now_ms) + $1 * 1000))
  shift
  until "$@" >/dev/null 2>&1; do
    (($(now_ms) < end)) || return 1
    sleep 0.1
  done
}

require_commands() { # COMMAND:PACKAGE...
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  ((${#missing[@]} == 0)) || die "missing: ${missing[*]}" "install them and run this again"
}

# Refuses early rather than filling a disk half-way through a build.
require_disk() { # DIRECTORY GIB
  local free
  mkdir -p "$1"
  free=$(df -Pk "$1" | awk 'NR == 2 {print int($4 / 1048576)}')
  ((free >= $2)) || die "$1 has $free GiB free, $2 GiB are needed" \
    "free some space there (FARSHORE_CACHE=… moves the caches to another disk)"
}

# ---- processes ---------------------------------------------------------------------------------

# A pid alone is not proof: after a crash or reboot the number may be another's. So the pid is
# believed only while the process is still the program that we started.
pid_of() { # NAME: prints the pid if it runs
  local pid exe
  [[ -r $PIDS/$1 ]] || return 1
  read -r pid exe <"$PIDS/$1" || return 1
  [[ -d /proc/$pid && $(readlink "/proc/$pid/exe") == "$exe"* ]] || return 1
  echo "$pid"
}

running() { pid_of "$1" >/dev/null; }

# Starts a process that outlives this script, in a session of its own, with its output in a log.
start() { # NAME COMMAND...
  local name=$1 exe pid
  shift
  running "$name" && return 0
  exe=$(readlink -f "$(command -v "$1")")
  # shellcheck disable=SC2016 # expands in the new process
  setsid --fork bash -c 'echo "$$" >"$1"; shift; exec "$@"' _ "$PIDS/.$name.new" "$exe" "${@:2}" \
    >>"$LOG/$name.log" 2>&1 </dev/null
  wait_for 5 test -s "$PIDS/.$name.new" || die "$name did not start" "see $LOG/$name.log"
  read -r pid <"$PIDS/.$name.new"
  rm -f "$PIDS/.$name.new"
  echo "$pid $exe" >"$PIDS/$name"
}

stop() { # NAME [SECONDS]
  local pid
  if pid=$(pid_of "$1"); then
    kill "$pid" 2>/dev/null || true
    wait_for "${2:-10}" gone "$pid" || kill -9 "$pid" 2>/dev/null || true
    wait_for 5 gone "$pid" || die "$1 (pid $pid) does not end"
  fi
  rm -f "$PIDS/$1"
}

# A zombie counts as gone: it holds nothing, and only its parent can take it away.
gone() { # PID
  [[ ! -d /proc/$1 ]] || [[ $(awk '{print $3}' "/proc/$1/stat" 2>/dev/null) == Z ]]
}

# Says who has a port, in words that help to free it.
port_owner() { # PORT
  ss -Hltnp "sport = :$1" 2>/dev/null |
    sed -nE 's/.*users:\(\("([^"]+)",pid=([0-9]+).*/\1 (pid \2)/p' | head -n 1
}

port_taken() { [[ -n $(ss -Hltn "sport = :$1") ]]; }

require_port() { # PORT VARIABLE: free, or the error tells who has it
  local owner
  port_taken "$1" || return 0
  owner=$(port_owner "$1")
  die "port $1 is taken by ${owner:-another process}" "stop it, or choose another port with $2=…"
}
