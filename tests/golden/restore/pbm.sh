set -eu
umask 077
config=$(mktemp)
trap 'rm -f "$config"' EXIT
cat >"$config" <<END
storage:
  type: s3
  s3:
    region: "cn-east-1"
    endpointUrl: "http://store.example:9000"
    forcePathStyle: true
    bucket: "dr-backups"
    prefix: "orders"
    credentials:
      access-key-id: "$AWS_ACCESS_KEY_ID"
      secret-access-key: "$AWS_SECRET_ACCESS_KEY"
END
pbm config --file="$config" >/dev/null
rm -f "$config"
pbm config --force-resync
# The catalog is read in the background: it is there once the backup is, and nothing runs.
tries=0
until pbm describe-backup '2026-11-20T00:00:00Z' >/dev/null 2>&1 && pbm status --sections=running | grep -q '(none)'; do
  tries=$((tries + 1))
  if [ "$tries" -gt 720 ]; then
    echo "the agents did not read the copy's catalog within an hour" >&2
    exit 1
  fi
  sleep 5
done
yes=
if pbm restore --help 2>&1 | grep -q -- --yes; then yes=--yes; fi
pbm restore --time=1795134600,4294967295 --base-snapshot='2026-11-20T00:00:00Z' --replset-remapping='new0=rs0' --wait $yes
