# shellcheck shell=bash
# Large bases, made by the tools themselves from databases full of half-random rows, in bucket `source` of the first MinIO:
#   native/  native-gzip/    mariadb-backup's stream, in mariadb-operator's layout, as it is and packed
#   barman/  barman-gzip/    barman-cloud-backup, with the log that the base needs
# Uses OUT, MIB (of rows) and the functions of minios.sh.

BASES=$OUT/bases
PG_PROGRAMS=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
DATABASE=''

database_down() {
  [[ -z $DATABASE ]] || { kill "$DATABASE" && wait "$DATABASE"; } 2>/dev/null || true
  DATABASE=
}

# Four tables; each row is 1 KiB, and packs to a half.
mariadb_up() {
  local data=$BASES/mariadb socket=$BASES/mariadb.sock table
  mkdir -p "$BASES/tmp"
  mariadb-install-db --no-defaults --auth-root-authentication-method=normal --skip-test-db --user=root \
    --datadir="$data" >/dev/null
  TMPDIR=$BASES/tmp mariadbd --no-defaults --datadir="$data" --socket="$socket" --pid-file="$BASES/mariadb.pid" \
    --skip-networking --user=root --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 \
    --innodb-buffer-pool-size=1G --log-bin=mysql-bin --server-id=101 2>"$OUT/mariadbd.log" &
  DATABASE=$!
  wait_for 60 mariadb-admin --no-defaults --socket="$socket" --user=root ping || die "MariaDB does not answer"
  for table in a b c d; do
    mariadb --no-defaults --socket="$socket" --user=root -e "SET sql_log_bin = 0; CREATE DATABASE IF NOT EXISTS shop; USE shop;
      CREATE TABLE $table (id INT PRIMARY KEY, note VARCHAR(1000)) AS
        SELECT seq AS id, HEX(RANDOM_BYTES(480)) AS note FROM seq_1_to_$((MIB * 1024 / 4))"
  done
}

make_native() {
  local stamp base=$BASES/base.xb file
  mariadb_up
  stamp=$(date -u +%Y%m%d%H%M%S)
  TZ=UTC mariadb-backup --no-defaults --backup --stream=xbstream --user=root --socket="$BASES/mariadb.sock" \
    --datadir="$BASES/mariadb" --target-dir="$BASES/target" --extra-lsndir="$BASES/lsn" >"$base" 2>"$OUT/mariadb-backup.log"
  database_down
  for file in info checkpoints; do
    mc_quietly cp "$BASES/lsn/xtrabackup_$file" "a/source/native/physicalbackup-$stamp.$file"
    mc_quietly cp "$BASES/lsn/xtrabackup_$file" "a/source/native-gzip/physicalbackup-$stamp.$file"
  done
  mc_quietly cp "$base" "a/source/native/physicalbackup-$stamp.xb"
  gzip -1 "$base"
  mc_quietly cp "$base.gz" "a/source/native-gzip/physicalbackup-$stamp.xb.gz"
  rm -rf "$BASES"
}

# PostgreSQL refuses to be run by root.
POSTGRES=()
((EUID != 0)) || POSTGRES=(setpriv --reuid=postgres --regid=postgres --clear-groups)

postgres_up() { # DATA OPTIONS…
  cd "$1"
  "${POSTGRES[@]}" "$PG_PROGRAMS/postgres" -D "$1" -c listen_addresses= -c "unix_socket_directories=$1" -c fsync=off \
    "${@:2}" 2>>"$OUT/postgres.log" &
  DATABASE=$!
  cd - >/dev/null
  wait_for 60 psql -X -h "$1" -U postgres -c 'SELECT 1' || die "PostgreSQL does not answer"
}

barman_tool() { # TOOL ARGUMENTS…
  local folder
  folder=$(tool_dir barman)/bin
  (cd / && "$folder/python" "$folder/$1" --endpoint-url "$MINIO_A" "${@:2}")
}

make_barman() {
  local data outbox gzip file
  # Its own user has to reach it, which may not enter a home directory.
  PG_FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/farshore-bench-XXXXXX")
  data=$PG_FOLDER/data outbox=$PG_FOLDER/outbox
  chmod 755 "$PG_FOLDER"
  mkdir "$data" "$outbox"
  ((EUID != 0)) || chown postgres: "$PG_FOLDER" "$data" "$outbox"
  (cd / && "${POSTGRES[@]}" "$PG_PROGRAMS/initdb" -D "$data" -U postgres -A trust >/dev/null)
  postgres_up "$data" -c wal_level=minimal -c max_wal_senders=0 -c max_wal_size=4GB
  psql -X -q -h "$data" -U postgres -c "CREATE TABLE orders AS SELECT id, (SELECT string_agg(md5(random()::text), '')
    FROM generate_series(1, 30) WHERE id > 0) AS note FROM generate_series(1, $((MIB * 1024))) id" -c CHECKPOINT
  database_down
  postgres_up "$data" -c archive_mode=on -c "archive_command=cp %p $outbox/%f"
  for gzip in '' --gzip; do
    barman_tool barman-cloud-backup --immediate-checkpoint ${gzip:+"$gzip"} -U postgres -h "$data" \
      "s3://source/barman${gzip#-}" main
    for file in "$outbox"/*; do
      barman_tool barman-cloud-wal-archive ${gzip:+"$gzip"} "s3://source/barman${gzip#-}" main "$file"
    done
  done
  database_down
  rm -rf "$PG_FOLDER"
}
