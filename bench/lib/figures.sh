# shellcheck shell=bash
# Raw figures, one line a run, and what is made of them. A figure that there is none of is `-`.
#   KEEP    set: those of earlier runs stay
#   LATER   set: table and verdict are left to who calls

begin_figures() {
  mkdir -p "$OUT"
  [[ -n ${KEEP:-} ]] || rm -f "$OUT/raw.tsv"
}

# ROW TOOL WALL_S CPU_S RSS_KIB EXIT OBJECTS REQUESTS [P50_MS P99_MS]
note() {
  local load
  load=$(cut -d' ' -f1 /proc/loadavg)
  printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "${@:1:6}" "$load" "$7" "$8" "${9:--}" "${10:--}" |
    tee -a "$OUT/raw.tsv" | tr '\t' ' '
}

# shellcheck disable=SC2120 # not everyone asks for all
conclude() { # [--all]
  [[ -z ${LATER:-} ]] || return 0
  awk -f "$ROOT/bench/lib/table.awk" "$OUT/raw.tsv" | tee "$OUT/table.md"
  "$ROOT/bench/limits" "$OUT/raw.tsv" "$@"
}
