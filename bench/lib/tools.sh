# shellcheck shell=bash
# How each tool is asked to copy bucket `source` to bucket `target`, with the flags that its own papers
# name for this. Each function becomes the tool: it ends in exec.
#   PARALLEL      objects under way at a time (mc chooses by itself)
#   URL_A, URL_B  where the buckets are; the keys stand in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
#   LARGE         set: objects come in parts
#   EXACT         set: all attributes are to go over, whatever that costs
#   DELETE        set: what only the target has goes

peer_farshore() {
  exec "$FARSHORE" copy s3://source s3://target --source-endpoint "$URL_A" --target-endpoint "$URL_B" \
    --parallel "$PARALLEL" ${DELETE:+--delete}
}

# No HEAD before or after, listings without folders, ETags compared instead of times that cost a HEAD each.
# Two remotes, so that nothing is copied by the store itself. In parts it needs its HEAD: without, it finds
# that sizes differ, and deletes what it uploaded.
peer_rclone() {
  export RCLONE_CONFIG=/dev/null
  export RCLONE_CONFIG_A_TYPE=s3 RCLONE_CONFIG_A_PROVIDER=Minio RCLONE_CONFIG_A_ENV_AUTH=true RCLONE_CONFIG_A_ENDPOINT=$URL_A
  export RCLONE_CONFIG_B_TYPE=s3 RCLONE_CONFIG_B_PROVIDER=Minio RCLONE_CONFIG_B_ENV_AUTH=true RCLONE_CONFIG_B_ENDPOINT=$URL_B
  local verb=copy
  [[ -z ${DELETE:-} ]] || verb=sync
  [[ -n ${LARGE:-} ]] || set -- --s3-no-head --s3-no-head-object
  [[ -z ${EXACT:-} ]] || set -- --metadata
  exec rclone "$verb" a:source b:target --transfers "$PARALLEL" --checkers "$PARALLEL" --fast-list --checksum \
    --use-server-modtime --s3-no-check-bucket --s3-chunk-size 16Mi --quiet "$@"
}

# It reads flags from the environment, too: ours must not be there. Tags cost it a request an object, payloads that
# are signed a hash each. In parts as large as the source's, so that ETags stay what they are.
peer_s3sync() {
  [[ -z ${DELETE:-} ]] || set -- --delete
  unset DELETE
  [[ -n ${EXACT:-} ]] || set -- "$@" --disable-tagging --disable-payload-signing
  exec s3sync --source-endpoint-url "$URL_A" --target-endpoint-url "$URL_B" \
    --source-force-path-style --target-force-path-style --source-region us-east-1 --target-region us-east-1 \
    --source-access-key "$AWS_ACCESS_KEY_ID" --source-secret-access-key "$AWS_SECRET_ACCESS_KEY" \
    --target-access-key "$AWS_ACCESS_KEY_ID" --target-secret-access-key "$AWS_SECRET_ACCESS_KEY" \
    --worker-size "$PARALLEL" --max-parallel-uploads "$PARALLEL" --multipart-threshold 16MiB --multipart-chunksize 16MiB \
    --show-no-progress "$@" s3://source/ s3://target/
}

peer_mc() {
  local keys=$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY@
  export MC_HOST_a=${URL_A/:\/\//:\/\/$keys} MC_HOST_b=${URL_B/:\/\//:\/\/$keys}
  exec mc --config-dir "$WORK/mc" --quiet mirror --overwrite ${EXACT:+--preserve} ${DELETE:+--remove} a/source b/target
}
