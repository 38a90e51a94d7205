# shellcheck shell=bash disable=SC2153 # PORT is the caller's
# Two MinIO, a and b, for rows that need real stores. Uses PORT, OUT and the keys in AWS_….
#   CORES   where they run

MINIOS=''
MINIO_A=http://127.0.0.1:$((PORT + 1)) MINIO_B=http://127.0.0.1:$((PORT + 2))
# The keys are this run's own: both stores live as long as it.
export MC_HOST_a=http://$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY@${MINIO_A#*//}
export MC_HOST_b=http://$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY@${MINIO_B#*//}

minio_up() {
  local letter port=$PORT
  export URL_A=$MINIO_A URL_B=$MINIO_B
  [[ -z $MINIOS ]] || return 0
  for letter in a b; do
    port=$((port + 1))
    require_port "$port" BENCH_PORT
    MINIO_ROOT_USER=$AWS_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$AWS_SECRET_ACCESS_KEY MINIO_BROWSER=off MINIO_UPDATE=off \
      taskset -c "$CORES" minio server --quiet --address "127.0.0.1:$port" "$OUT/minio-$letter" >"$OUT/minio-$letter.log" 2>&1 &
    MINIOS+=" $!"
    wait_for 30 curl -sf -o /dev/null "http://127.0.0.1:$port/minio/health/live" || die "MinIO does not answer"
  done
}

minio_down() {
  # shellcheck disable=SC2086 # process ids
  [[ -z $MINIOS ]] || { kill $MINIOS && wait $MINIOS; } 2>/dev/null || true
  MINIOS=
  rm -rf "$OUT"/minio-[ab]
}

mc_quietly() { mc --config-dir "$OUT/mc" --quiet "$@" >/dev/null; }

emptied() { # BUCKET
  mc_quietly rb --force "$1" 2>/dev/null || true
  mc_quietly mb "$1"
}
