# shellcheck shell=bash
# The demo's last part: a database and its live copy in the other region, which takes over when the first is gone.

make_standby_secrets() {
  local region name
  while read -r region name; do
    if [[ -z $(value "$region" "$name-accounts" admin) ]]; then
      secret "$region" "$name-accounts" admin "$(random)" farshore "$(random)" tenant "$(random)" writer "$(random)"
    fi
    secret "$DEMO_NAMESPACE" "$name" username farshore password "$(value "$region" "$name-accounts" farshore)"
  done <<<"$SOURCE_REGION sessions"$'\n'"$TARGET_REGION sessions-dr"
}

apply_sessions() {
  fill "$DEV/manifests/mongodb.yaml" "REGION=$SOURCE_REGION" NAME=sessions "IMAGE_SECANTUSDB=$IMAGE_SECANTUSDB" | kc apply -f -
  fill "$DEV/manifests/mongodb.yaml" "REGION=$TARGET_REGION" NAME=sessions-dr "IMAGE_SECANTUSDB=$IMAGE_SECANTUSDB" | kc apply -f -
  fill "$DEV/manifests/sessions-writer.yaml" "IMAGE_SECANTUSDB=$IMAGE_SECANTUSDB" | kc apply -f -
}

await_sessions() {
  kc -n "$SOURCE_REGION" rollout status statefulset/sessions --timeout=120s
  kc -n "$TARGET_REGION" rollout status statefulset/sessions-dr --timeout=120s
}

# The writer tells once all sessions are there that it begins with.
await_history() {
  local start
  start=$(now_ms)
  until kc -n "$SOURCE_REGION" logs deployment/sessions-writer 2>/dev/null | grep -q ' sessions$'; do
    (($(now_ms) - start < 120000)) || die "the database sessions is not filled" "kubectl -n $SOURCE_REGION logs deployment/sessions-writer"
    sleep 0.5
  done
}

apply_standby() { fill "$DEV/manifests/sessions-dr.yaml" "NAMESPACE=$DEMO_NAMESPACE" | kc apply -f -; }

standby_status() { status disasterrecoveryinstances sessions-dr "$1"; } # JSONPATH

# Seconds that the copy is behind its master, by the two moments that the status tells.
distance() {
  local applied master
  applied=$(standby_status .lastAppliedTime) master=$(standby_status .masterTime)
  [[ -n $applied && -n $master ]] || return 0
  echo $(($(date -d "$master" +%s) - $(date -d "$applied" +%s)))
}

# Seconds since the copy was begun: what is written meanwhile comes after all that was there.
seconds_of_seeding() {
  local begun
  begun=$(standby_status '.conditions[?(@.type=="Seeded")].lastTransitionTime')
  [[ -z $begun ]] || echo $(($(date +%s) - $(date -d "$begun" +%s)))
}

# The distance grows while the history is copied, and then it shrinks.
standby_stands() {
  local phase percent behind
  phase=$(standby_status .phase)
  percent=$(standby_status .seed.percent)
  if [[ $phase == Seeding && -n $percent ]]; then
    phase="Seeding $percent %"
    behind=$(distance)
    behind=${behind:-$(seconds_of_seeding)}
    [[ -z $behind ]] || phase+=", $((behind / 5 * 5)) s behind"
  fi
  if [[ $phase == Standby ]]; then phase+=", $(distance) s behind"; fi
  echo "$phase"
}

# A line for each step as it is reached, until the phase that is awaited.
watch_standby() { # PHASE
  local start stands='' now
  start=$(now_ms)
  while (($(now_ms) - start < 180000)); do
    now=$(standby_stands)
    if [[ -n $now && $now != "$stands" ]]; then
      stands=$now
      printf '  →  %-56s %10s\n' "standby sessions-dr: $stands" "$(seconds_since "$start")"
    fi
    [[ $stands != "$1"* ]] || return 0
    [[ $stands != Failed ]] || break
    sleep 0.3
  done
  kc -n "$DEMO_NAMESPACE" describe disasterrecoveryinstances.farshore.dev sessions-dr | tail -n 60 >&2 || true
  die "sessions-dr is not $1 (${stands:-none})" \
    "KUBECONFIG=${KUBECONFIG:-~/.kube/config} kubectl -n $DEMO_NAMESPACE get dri,jobs,pods"
}

# What was written while the history was copied is applied afterwards.
watch_distance() {
  local start told='' now
  start=$(now_ms)
  while (($(now_ms) - start < 180000)); do
    now=$(distance)
    if [[ -n $now && $now != "$told" ]]; then
      told=$now
      printf '  →  %-56s %10s\n' "standby sessions-dr: Standby, $now s behind" "$(seconds_since "$start")"
    fi
    [[ -z $told ]] || ((told > 2)) || return 0
    sleep 1
  done
  die "sessions-dr is still $told s behind" \
    "KUBECONFIG=${KUBECONFIG:-~/.kube/config} kubectl -n $DEMO_NAMESPACE describe dri sessions-dr"
}

# The region is lost as far as this database is concerned.
lose_master() {
  kc -n "$SOURCE_REGION" delete statefulset sessions --cascade=foreground
  kc -n "$SOURCE_REGION" delete pod sessions-0 --force --grace-period=0 --ignore-not-found 2>/dev/null
}

activate() {
  kc -n "$DEMO_NAMESPACE" patch disasterrecoveryinstances.farshore.dev sessions-dr --type merge -p '{"spec":{"state":"Active"}}'
}

standby() {
  if [[ $(standby_status .phase) == Active ]]; then
    printf '  ✓  %s\n' "standby sessions-dr took over in an earlier run"
    return 0
  fi
  step "databases sessions, sessions-dr: secrets" make_standby_secrets
  step "databases sessions, sessions-dr: apply" apply_sessions
  step "databases sessions, sessions-dr: running" await_sessions
  step "database sessions: filled" await_history
  step "standby sessions-dr: apply" apply_standby
  watch_standby Standby
  watch_distance
  step "database sessions: lost" lose_master
  step "standby sessions-dr: state: Active" activate
  watch_standby Active
}

show_standby() {
  echo
  kc get disasterrecoveryinstances.farshore.dev sessions-dr -n "$DEMO_NAMESPACE" -o custom-columns='NAME:.metadata.name,MASTER:.spec.masterRef.name,PHASE:.status.phase,TOOK:.status.activation.duration,DATA TIME POINT:.status.activation.dataTimePoint,LOST AT LEAST:.status.activation.dataLoss.atLeast'
}
