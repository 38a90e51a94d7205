//! Catalogs of SQL Server's own files, and of WAL-G's layout for it.

use farshore::{
    backup::{
        catalog::{BaseKind, Format, sqlserver::Names},
        window::{Basis, Timeline, timeline},
    },
    store::memory::MemoryStore,
};
use serde_json::{Value, json};

use crate::catalogs::{bucket, catalog, span, spans, time};

fn format() -> Format {
    Format::SqlServer(Names::default())
}

async fn line(store: &MemoryStore, format: &Format) -> Timeline {
    timeline(&catalog(store, format).await)
}

/// A backup file as Ola Hallengren's scripts name it, written on 2026-11-20 at `hhmm`.
fn file(database: &str, kind: &str, hhmm: &str, more: &str) -> String {
    let ending = if kind == "LOG" { "trn" } else { "bak" };
    format!("sql1/{database}/{kind}/sql1_{database}_{kind}_20261120_{hhmm}00{more}.{ending}")
}

fn seed(store: &MemoryStore, key: &str, hhmm: &str) {
    let at = format!("2026-11-20T{}:{}:00Z", &hhmm[..2], &hhmm[2..]);
    store.seed(key, "x", time(&at));
}

/// What `RESTORE HEADERONLY` says of a backup, beside it.
#[allow(clippy::needless_pass_by_value, reason = "rows are written where they are used")]
fn header(store: &MemoryStore, key: &str, hhmm: &str, row: Value) {
    let at = format!("2026-11-20T{}:{}:00", &hhmm[..2], &hhmm[2..]);
    let mut header = json!({"BackupStartDate": at, "BackupFinishDate": at, "CheckpointLSN": null,
        "DatabaseBackupLSN": null, "RecoveryForkID": "F1", "FirstRecoveryForkID": "F1", "IsCopyOnly": 0});
    header.as_object_mut().unwrap().extend(row.as_object().unwrap().clone());
    store.seed(&format!("{key}.header.json"), json!([header]).to_string(), time("2026-11-20T12:00:00Z"));
}

/// A full backup at 01:00, a differential one at 02:00, logs at every half hour to 03:30; with headers.
fn chain() -> MemoryStore {
    let store = MemoryStore::new("backups");
    let lsn = |hhmm: &str| format!("45000000{hhmm}00001");
    let full = file("Shop", "FULL", "0100", "");
    seed(&store, &full, "0100");
    header(
        &store,
        &full,
        "0100",
        json!({"BackupType": 1, "FirstLSN": lsn("0059"), "LastLSN": lsn("0101"), "CheckpointLSN": lsn("0059")}),
    );
    let diff = file("Shop", "DIFF", "0200", "");
    seed(&store, &diff, "0200");
    header(
        &store,
        &diff,
        "0200",
        json!({"BackupType": "5", "FirstLSN": lsn("0159"), "LastLSN": lsn("0201"), "DatabaseBackupLSN": lsn("0059")}),
    );
    let logs = ["0030", "0130", "0200", "0230", "0300", "0330"];
    for pair in logs.windows(2) {
        let key = file("Shop", "LOG", pair[1], "");
        seed(&store, &key, pair[1]);
        header(
            &store,
            &key,
            pair[1],
            json!({"BackupType": 2, "FirstLSN": lsn(pair[0]), "LastLSN": lsn(pair[1])}),
        );
    }
    store
}

#[tokio::test]
async fn b14_b06_sql_server_by_names_alone_is_an_estimate() {
    let store = bucket("sqlserver");
    let catalog = catalog(&store, &format()).await;
    assert_eq!(catalog.warnings, []);
    assert_eq!(catalog.basis, Basis::Estimated);
    let kinds: Vec<(BaseKind, Option<&str>)> =
        catalog.bases.iter().map(|base| (base.kind, base.parent.as_deref())).collect();
    let full = "sql1/Shop/FULL/2026-11-19T01:00:00Z";
    assert_eq!(kinds, [(BaseKind::Full, None), (BaseKind::Incremental, Some(full))]);
    let timeline = timeline(&catalog);
    // EXPECTED.txt: the time at which the last log began to be written. No log tells of the 19th.
    assert_eq!(
        spans(&timeline),
        [
            span("2026-11-19T01:00:00Z", "2026-11-19T01:00:00Z"),
            span("2026-11-20T01:00:00Z", "2026-11-20T03:50:00Z")
        ]
    );
    let chain = timeline.chain_for(time("2026-11-20T02:00:00Z")).unwrap();
    assert_eq!((chain.bases.len(), chain.logs.len()), (2, 9));
}

#[tokio::test]
async fn b14_times_in_names_are_those_of_the_servers_zone() {
    let store = bucket("sqlserver");
    for (offset, latest) in [(7200, "2026-11-20T01:50:00Z"), (-19_800, "2026-11-20T09:20:00Z")] {
        let format = Format::SqlServer(Names { utc_offset_seconds: offset, ..Names::default() });
        let segments = catalog(&store, &format).await.segments;
        assert_eq!(segments.last().unwrap().to, time(latest));
    }
}

#[tokio::test]
async fn b14_names_of_sql_server_can_be_told_by_a_pattern() {
    let store = MemoryStore::new("backups");
    for key in ["orders__D__2026-11-20T01-00-00.bak", "orders__L__2026-11-20T01-30.bak", "notes.txt"] {
        seed(&store, key, "0100");
    }
    let pattern = r"(?<database>\w+?)__(?<kind>[DIL])__(?<time>[\dT-]+)\.bak";
    let format = Format::SqlServer(Names { pattern: Some(pattern.to_owned()), ..Names::default() });
    let catalog = catalog(&store, &format).await;
    assert_eq!(spans(&timeline(&catalog)), [span("2026-11-20T01:00:00Z", "2026-11-20T01:30:00Z")]);
    assert_eq!(catalog.unknown.example.as_deref(), Some("notes.txt"));
    for pattern in ["(", r"(?<database>.*)_(?<kind>FULL)\.bak"] {
        let names = Names { pattern: Some(pattern.to_owned()), ..Names::default() };
        assert!(Format::SqlServer(names).adapter().is_err(), "{pattern}");
    }
}

#[tokio::test]
async fn b14_b06_headers_prove_the_chain_of_sql_server() {
    let store = chain();
    let found = catalog(&store, &format()).await;
    assert_eq!(found.warnings, []);
    assert_eq!(found.basis, Basis::Proved);
    assert_eq!(found.bases[1].parent.as_ref(), Some(&found.bases[0].id));
    let timeline = timeline(&found);
    assert_eq!(spans(&timeline), [span("2026-11-20T01:00:00Z", "2026-11-20T03:30:00Z")]);
    // The differential one ends at 0201: the log from 0200 to 0230 is the first that goes on from it.
    let chain = timeline.chain_for(time("2026-11-20T02:10:00Z")).unwrap();
    let names: Vec<&str> = chain.logs.iter().map(|&at| found.segments[at].name.as_str()).collect();
    assert_eq!(names[0], "sql1_Shop_LOG_20261120_023000.trn");
    assert_eq!(names[1], "sql1_Shop_LOG_20261120_023000.trn.header.json");
    assert_eq!(chain.bases.len(), 2);
}

#[tokio::test]
async fn b16_a_missing_log_of_sql_server_ends_the_window_once_headers_tell() {
    let store = chain();
    let key = file("Shop", "LOG", "0300", "");
    store.unseed(&key);
    store.unseed(&format!("{key}.header.json"));
    let timeline = line(&store, &format()).await;
    assert_eq!(spans(&timeline), [span("2026-11-20T01:00:00Z", "2026-11-20T02:30:00Z")]);
    assert_eq!(
        timeline.gaps[0].missing,
        "log of sql1/Shop between sql1_Shop_LOG_20261120_023000.trn.header.json and sql1_Shop_LOG_20261120_033000.trn"
    );
}

#[tokio::test]
async fn b06_a_log_without_header_vouches_for_nothing_once_there_are_headers() {
    let store = chain();
    store.unseed(&format!("{}.header.json", file("Shop", "LOG", "0330", "")));
    let found = catalog(&store, &format()).await;
    assert_eq!(found.opaque.len(), 1, "it is kept all the same");
    assert_eq!(spans(&timeline(&found)), [span("2026-11-20T01:00:00Z", "2026-11-20T03:00:00Z")]);
}

#[tokio::test]
async fn b06_another_line_of_recoveries_does_not_go_on() {
    let store = chain();
    let key = file("Shop", "LOG", "0330", "");
    let row = json!({"BackupType": 2, "FirstLSN": "45000000030000001", "LastLSN": "45000000033000001",
        "RecoveryForkID": "F2", "FirstRecoveryForkID": "F2"});
    header(&store, &key, "0330", row.clone());
    assert_eq!(line(&store, &format()).await.latest, Some(time("2026-11-20T03:00:00Z")));
    // It crosses from the old line to the new one.
    let mut crossing = row;
    crossing["FirstRecoveryForkID"] = "F1".into();
    header(&store, &key, "0330", crossing);
    assert_eq!(line(&store, &format()).await.latest, Some(time("2026-11-20T03:30:00Z")));
}

#[tokio::test]
async fn b08_no_moment_inside_of_a_bulk_logged_log_is_offered() {
    let store = chain();
    let key = file("Shop", "LOG", "0300", "");
    let row = json!({"BackupType": 2, "FirstLSN": "45000000023000001", "LastLSN": "45000000030000001",
        "HasBulkLoggedData": true});
    header(&store, &key, "0300", row);
    let timeline = line(&store, &format()).await;
    assert_eq!(
        spans(&timeline),
        [
            span("2026-11-20T01:00:00Z", "2026-11-20T02:30:00Z"),
            span("2026-11-20T03:00:00Z", "2026-11-20T03:30:00Z")
        ]
    );
    assert!(timeline.chains_for(time("2026-11-20T02:45:00Z")).is_empty());
    assert_eq!(timeline.chains_for(time("2026-11-20T03:10:00Z")).len(), 1);
}

#[tokio::test]
async fn b06_a_header_that_can_not_be_read_is_named() {
    let store = chain();
    let key = format!("{}.header.json", file("Shop", "LOG", "0330", ""));
    let two = json!([{"BackupType": 2}, {"BackupType": 2}]).to_string();
    // Numbers of more digits than JSON's hold would be wrong.
    let rounded = r#"{"BackupType":2,"FirstLSN":4500000003300000100001,"LastLSN":"1","BackupStartDate":"","BackupFinishDate":""}"#;
    for (body, words) in [(two.as_str(), "2 backups"), (rounded, "text of digits")] {
        store.seed(&key, body.to_owned(), time("2026-11-20T12:00:00Z"));
        let found = catalog(&store, &format()).await;
        assert_eq!(found.warnings[0].reason, "CorruptMetadata");
        assert!(found.warnings[0].message.contains(words), "{:?}", found.warnings);
        assert_eq!(timeline(&found).latest, Some(time("2026-11-20T03:00:00Z")));
    }
}

#[tokio::test]
async fn b06_stripes_are_one_backup_and_a_missing_one_is_noticed() {
    let store = MemoryStore::new("backups");
    for stripe in ["_1", "_2", "_3"] {
        seed(&store, &file("Shop", "FULL", "0100", stripe), "0100");
        seed(&store, &file("Shop", "LOG", "0130", stripe), "0130");
        seed(&store, &file("Shop", "LOG", "0200", stripe), "0200");
    }
    let found = catalog(&store, &format()).await;
    assert_eq!((found.bases.len(), found.bases[0].objects), (1, 3));
    let whole = timeline(&found);
    assert_eq!(spans(&whole), [span("2026-11-20T01:00:00Z", "2026-11-20T02:00:00Z")]);
    assert_eq!(whole.chains[0].logs.len(), 6, "all stripes of both logs");
    // Copied last stripe first, so that a copy that was cut off lacks a number.
    assert!(format!("{:?}", found.bases[0].keys.payload[0]).contains("_3.bak"));

    store.unseed(&file("Shop", "LOG", "0200", "_2"));
    let found = catalog(&store, &format()).await;
    assert_eq!(found.warnings[0].reason, "LogIncomplete");
    assert_eq!(found.opaque.len(), 2);
    assert_eq!(timeline(&found).latest, Some(time("2026-11-20T01:30:00Z")));

    store.unseed(&file("Shop", "FULL", "0100", "_1"));
    let found = catalog(&store, &format()).await;
    assert!(found.warnings.iter().any(|warning| warning.reason == "BackupIncomplete"));
    assert_eq!(timeline(&found).windows, []);
}

#[tokio::test]
async fn b08_a_moment_needs_every_database_that_was_there() {
    let store = MemoryStore::new("backups");
    let put = |database: &str, kind: &str, hhmm: &str| seed(&store, &file(database, kind, hhmm, ""), hhmm);
    put("Shop", "FULL", "0100");
    put("Users", "FULL", "0105");
    put("master", "FULL", "0110");
    for hhmm in ["0130", "0200", "0230"] {
        put("Shop", "LOG", hhmm);
    }
    put("Users", "LOG", "0200");
    let line1 = line(&store, &format()).await;
    // Users was first backed up at 01:05: whether it was there before, nothing tells; it reaches to 02:00.
    assert_eq!(spans(&line1), [span("2026-11-20T01:00:00Z", "2026-11-20T02:00:00Z")]);
    assert_eq!(line1.chains_for(time("2026-11-20T01:40:00Z")).len(), 2);
    assert_eq!(line1.chains_for(time("2026-11-20T01:00:00Z")).len(), 1);
    // It was dropped, and somebody says so.
    let names = Names { ignore: vec!["users".to_owned()], ..Names::default() };
    let ignoring = line(&store, &Format::SqlServer(names)).await;
    assert_eq!(ignoring.latest, Some(time("2026-11-20T02:30:00Z")));
}

#[tokio::test]
async fn b08_a_database_that_headers_say_was_there_is_missed() {
    let store = chain();
    let key = file("Users", "FULL", "0200", "");
    seed(&store, &key, "0200");
    let row = |created: &str| json!({"BackupType": 1, "FirstLSN": "1", "LastLSN": "2", "DatabaseCreationDate": created});
    header(&store, &key, "0200", row("2026-11-01T00:00:00"));
    assert_eq!(spans(&line(&store, &format()).await), [span("2026-11-20T02:00:00Z", "2026-11-20T02:00:00Z")]);
    header(&store, &key, "0200", row("2026-11-20T01:45:00"));
    assert_eq!(
        spans(&line(&store, &format()).await),
        [
            span("2026-11-20T01:00:00Z", "2026-11-20T01:45:00Z"),
            span("2026-11-20T02:00:00Z", "2026-11-20T02:00:00Z")
        ]
    );
}

#[tokio::test]
async fn b14_copy_only_is_no_parent_and_partial_is_no_base() {
    let store = MemoryStore::new("backups");
    seed(&store, &file("Shop", "FULL", "0100", ""), "0100");
    let copy_only = "sql1/Shop/FULL_COPY_ONLY/sql1_Shop_FULL_COPY_ONLY_20261120_013000.bak";
    seed(&store, copy_only, "0130");
    seed(&store, "sql1/Shop/FULL_PARTIAL/sql1_Shop_FULL_PARTIAL_20261120_014000.bak", "0140");
    seed(&store, &file("Shop", "DIFF", "0200", ""), "0200");
    let found = catalog(&store, &format()).await;
    assert_eq!(found.warnings.iter().map(|warning| warning.reason).collect::<Vec<_>>(), ["PartialBackup"]);
    let differential = found.bases.iter().find(|base| base.kind == BaseKind::Incremental).unwrap();
    assert_eq!(differential.parent.as_deref(), Some("sql1/Shop/FULL/2026-11-20T01:00:00Z"));
    assert_eq!(found.bases.len(), 3);
    store.unseed(&file("Shop", "FULL", "0100", ""));
    let found = catalog(&store, &format()).await;
    assert!(found.warnings.iter().any(|warning| warning.reason == "NoParent"));
}

/// WAL-G's log of one database: an index and one block.
fn walg_log(store: &MemoryStore, database: &str, time_of: &str, committed: u32) {
    let folder = format!("wal_005/wal_20261120T{time_of}Z/{database}/blob_000");
    let at = time("2026-11-20T03:00:00Z");
    store.seed(&format!("{folder}/AAAA.1"), "x", at);
    let index = json!({"size": 1, "blocks": [{"id": "AAAA", "of": 0, "us": 0, "ur": 0, "cs": 1, "cr": committed}],
        "compression": "lz4", "encryption": ""});
    store.seed(&format!("{folder}/__blob_index.json"), index.to_string(), at);
}

#[tokio::test]
async fn b14_b06_walg_sql_server_is_an_estimate_of_logs_that_are_committed() {
    let store = MemoryStore::new("backups");
    let at = time("2026-11-20T01:05:00Z");
    for database in ["Shop", "master"] {
        store.seed(&format!("basebackups_005/base_20261120T010000Z/{database}/blob_000/AAAA.1"), "x", at);
    }
    let sentinel = json!({"Server": "sql1", "Databases": ["master", "Shop"],
        "StartLocalTime": "2026-11-20T01:00:00Z", "StopLocalTime": "2026-11-20T01:05:00Z"});
    store.seed("basebackups_005/base_20261120T010000Z_backup_stop_sentinel.json", sentinel.to_string(), at);
    for time_of in ["013000", "020000", "023000"] {
        walg_log(&store, "Shop", time_of, 1);
    }
    let found = catalog(&store, &Format::WalGSQLServer).await;
    assert_eq!((found.basis, found.unknown.objects), (Basis::Estimated, 0));
    assert_eq!(found.warnings, []);
    // Nothing says that the newest log is whole until the next one is there.
    assert_eq!(spans(&timeline(&found)), [span("2026-11-20T01:05:00Z", "2026-11-20T02:00:00Z")]);
    assert_eq!(found.segments.len(), 4, "a block and an index of each of two logs");
    walg_log(&store, "Shop", "020000", 0);
    let found = catalog(&store, &Format::WalGSQLServer).await;
    assert_eq!(timeline(&found).latest, Some(time("2026-11-20T01:30:00Z")));
}
