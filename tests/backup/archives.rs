//! Catalogs of `PostgreSQL`'s tools. The recorded sets hold no segments of the log: those are written here,
//! with the commits that `EXPECTED.json` names, and packed as the set's own are.

use std::{
    io::Write,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use farshore::{
    backup::{
        catalog::{BaseKind, Catalog, Format, Mark, wal},
        reader::Depth,
        sync::{Report, Session},
        window::{Basis, timeline},
    },
    store::memory::{MemoryStore, Verb},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    catalogs::{bucket, catalog, catalog_at, span, spans, time},
    stories::{Hand, config, sync_once},
};

const LATEST: &str = "2026-11-21T02:59:04.909702Z";
const SIZE: usize = 16 << 20;

/// A segment as `PostgreSQL` 15 writes it: a commit after another, then a switch, then zeros.
fn segment(start: u64, size: usize, commits: &[Timestamp]) -> Vec<u8> {
    let mut log = vec![0; size];
    for (page, bytes) in log.chunks_mut(8192).enumerate().take(1) {
        bytes[..2].copy_from_slice(&0xd110u16.to_le_bytes());
        bytes[2] = 2;
        bytes[4] = 1;
        bytes[8..16].copy_from_slice(&(start + page as u64 * 8192).to_le_bytes());
        bytes[32..36].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
        bytes[36..40].copy_from_slice(&8192u32.to_le_bytes());
    }
    let mut at = 40;
    let mut put = |manager: u8, info: u8, body: &[u8]| {
        let mut record = vec![0; 24];
        record[..4].copy_from_slice(&u32::try_from(24 + body.len()).unwrap().to_le_bytes());
        (record[16], record[17]) = (info, manager);
        let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &[body, &record[..20]].concat());
        record[20..24].copy_from_slice(&u32::try_from(sum).unwrap().to_le_bytes());
        record.extend_from_slice(body);
        log[at..at + record.len()].copy_from_slice(&record);
        at = (at + record.len()).next_multiple_of(8);
    };
    for commit in commits {
        let micros = commit.as_microsecond() - 946_684_800_000_000;
        put(1, 0, &[&[255, 8][..], &micros.to_le_bytes()].concat());
        // An abort is none, however late.
        put(1, 0x20, &[&[255, 8][..], &(micros + 60_000_000).to_le_bytes()].concat());
    }
    put(0, 0x40, &[]);
    log
}

fn pack(key: &str, plain: &[u8]) -> Vec<u8> {
    match key.rsplit('.').next() {
        Some("gz") => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Some("zst") => zstd::encode_all(plain, 1).unwrap(),
        _ => plain.to_vec(),
    }
}

/// The segment's number, if a key of the sets (timeline 1, log 0) is one.
fn number(key: &str) -> Option<u64> {
    let name = key.rsplit('/').next()?.split(['.', '-']).next()?;
    let whole = name.len() == 24 && !key.contains(".backup") && !key.contains("base");
    whole.then(|| u64::from_str_radix(&name[16..], 16).ok())?
}

/// A recorded set with segments of the log that hold the commits of `EXPECTED.json`.
fn set(sample: &str) -> MemoryStore {
    let store = bucket(sample);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(sample).join("EXPECTED.json");
    let expected: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let listed: Vec<(String, Timestamp)> = listing(sample);
    for (key, modified) in listed {
        let Some(number) = number(&key) else { continue };
        let name = format!("0000000100000000{number:08X}");
        let commits: Vec<Timestamp> =
            expected["commits_in_last_wal"][name].as_str().map(time).into_iter().collect();
        store.seed(&key, pack(&key, &segment(number * SIZE as u64, SIZE, &commits)), modified);
    }
    store
}

fn listing(sample: &str) -> Vec<(String, Timestamp)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(sample).join("listing.jsonl");
    let rows = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        (row["key"].as_str().unwrap().to_owned(), time(row["lastModified"].as_str().unwrap()))
    };
    rows.lines().map(row).collect()
}

fn ids(catalog: &Catalog) -> Vec<(&str, BaseKind, Option<&str>, bool)> {
    catalog.bases.iter().map(|b| (b.id.as_str(), b.kind, b.parent.as_deref(), b.complete)).collect()
}

fn names<'a>(catalog: &'a Catalog, at: &str) -> Vec<&'a str> {
    let line = timeline(catalog);
    let chain = line.chain_for(time(at)).unwrap();
    chain.logs.iter().map(|&at| &catalog.segments[at].name[16..]).collect()
}

#[tokio::test]
async fn b14_b06_barman() {
    let store = set("barman");
    let catalog = catalog(&store, &Format::Barman).await;
    assert_eq!(catalog.warnings, []);
    assert_eq!(catalog.unknown.objects, 0);
    assert_eq!(catalog.opaque.len(), 5, "labels of backups are kept");
    assert_eq!(ids(&catalog), [("pg/src/20261121T025738", BaseKind::Full, None, true)]);
    let line = timeline(&catalog);
    // The last commit, not the upload of the segment that holds it, almost a minute later.
    assert_eq!(spans(&line), [span("2026-11-21T02:57:40Z", LATEST)]);
    assert_eq!(line.gaps, []);
    let logs = names(&catalog, "2026-11-21T02:57:53Z");
    assert_eq!((logs[0], logs.len()), ("00000003", 9));
    assert_eq!(line.ends, [Mark::Wal(1, 0xc00_0000)]);
}

#[tokio::test]
async fn b14_b06_walg_for_postgresql() {
    let store = set("walg-postgres");
    let catalog = catalog(&store, &Format::WalGPostgres).await;
    assert_eq!(catalog.warnings, []);
    assert_eq!(catalog.unknown.objects, 0);
    let full = "base_000000010000000000000002";
    let delta = "base_000000010000000000000008_D_000000010000000000000002";
    assert_eq!(
        ids(&catalog),
        [(full, BaseKind::Full, None, true), (delta, BaseKind::Incremental, Some(full), true)]
    );
    let line = timeline(&catalog);
    assert_eq!(spans(&line), [span("2026-11-21T02:57:38Z", LATEST)]);
    let chain = line.chain_for(time("2026-11-21T02:57:53Z")).unwrap();
    assert_eq!(chain.bases.len(), 2, "the delta goes on top of the full one");
    assert_eq!(names(&catalog, "2026-11-21T02:57:53Z"), ["00000008", "00000009", "0000000A", "0000000B"]);
    assert_eq!(names(&catalog, "2026-11-21T02:57:50Z")[0], "00000002");
}

#[tokio::test]
async fn b14_b06_pgbackrest() {
    let store = set("pgbackrest");
    let catalog = catalog(&store, &Format::PgBackRest).await;
    assert_eq!(catalog.warnings, []);
    assert_eq!(catalog.unknown.objects, 0);
    assert_eq!(catalog.basis, Basis::Proved);
    let (full, increment) = ("main/20261121-025742F", "main/20261121-025742F_20261121-025746I");
    assert_eq!(
        ids(&catalog),
        [(full, BaseKind::Full, None, true), (increment, BaseKind::Incremental, Some(full), true)]
    );
    let rewritten = ["archive/main/archive.info", "archive/main/archive.info.copy"];
    assert_eq!(catalog.rewritten[..2], rewritten);
    assert_eq!(catalog.rewritten.len(), 4);
    // EXPECTED.json takes the second in which the backup stopped: it may have stopped late in it.
    assert_eq!(spans(&timeline(&catalog)), [span("2026-11-21T02:57:45Z", LATEST)]);
    let keys = &catalog.base(increment).unwrap().keys;
    assert_eq!(keys.commit.as_deref(), Some("backup/main/20261121-025742F_20261121-025746I/backup.manifest"));
    assert_eq!(keys.metadata.len(), 2, "the manifest's copy, and the history's: {keys:?}");
}

#[tokio::test]
async fn b18_an_index_that_forgets_a_pgbackrest_backup_changes_nothing() {
    let store = set("pgbackrest");
    let before = timeline(&catalog(&store, &Format::PgBackRest).await).windows;
    for key in ["backup/main/backup.info", "backup/main/backup.info.copy"] {
        store.seed(key, "[backup:current]\n", time("2026-11-21T04:00:00Z"));
    }
    let now = catalog(&store, &Format::PgBackRest).await;
    assert_eq!((now.bases.len(), timeline(&now).windows), (2, before));
    // The file that is written last is what counts.
    store.unseed("backup/main/20261121-025742F_20261121-025746I/backup.manifest");
    let without = catalog(&store, &Format::PgBackRest).await;
    assert_eq!(without.bases.len(), 1);
    assert_eq!(without.warnings[0].reason, "BackupIncomplete");
    // When all of it is gone but its entry in the history, it has expired.
    for key in store.keys().iter().filter(|key| key.contains("main/20261121-025742F_20261121-025746I/")) {
        store.unseed(key);
    }
    assert!(store.keys().iter().any(|key| key.contains("20261121-025742F_20261121-025746I.manifest")));
    assert_eq!(catalog(&store, &Format::PgBackRest).await.warnings, []);
}

#[tokio::test]
async fn b14_an_encrypted_pgbackrest_repository_is_an_estimate_and_says_what_it_needs() {
    let store = set("pgbackrest");
    for key in store.keys() {
        let modified = listing("pgbackrest").into_iter().find(|(of, _)| *of == key).unwrap().1;
        store.seed(&key, "Salted__\x01\x02\x03", modified);
    }
    let catalog = catalog(&store, &Format::PgBackRest).await;
    assert_eq!(catalog.basis, Basis::Estimated);
    assert_eq!(catalog.warnings.iter().map(|w| w.reason).collect::<Vec<_>>(), ["Encrypted"]);
    assert_eq!(ids(&catalog)[1].2, Some("main/20261121-025742F"));
    let line = timeline(&catalog);
    assert_eq!(line.latest, Some(time("2026-11-21T02:59:58Z")), "{:?}", line.windows);
}

#[tokio::test]
async fn b16_a_missing_segment_splits_the_window_and_is_named() {
    let store = set("barman");
    store.unseed("pg/src/wals/0000000100000000/00000001000000000000000A.gz");
    let catalog = catalog(&store, &Format::Barman).await;
    let line = timeline(&catalog);
    assert_eq!(spans(&line), [span("2026-11-21T02:57:40Z", "2026-11-21T02:57:55.157007Z")]);
    assert_eq!(line.gaps.len(), 1);
    assert_eq!(line.gaps[0].missing, "00000001000000000000000A");
    assert_eq!(line.gaps[0].before, None);
}

#[tokio::test]
async fn b06_a_base_without_its_own_log_is_no_base() {
    let store = set("barman");
    store.unseed("pg/src/wals/0000000100000000/000000010000000000000003.gz");
    let catalog = catalog(&store, &Format::Barman).await;
    assert_eq!(catalog.warnings[0].reason, "BackupWithoutLog");
    assert!(catalog.warnings[0].message.contains("from 0/3000028 to 0/3000100"), "{:?}", catalog.warnings);
    assert_eq!(timeline(&catalog).windows, []);
}

#[tokio::test]
async fn b16_a_failed_barman_backup_and_one_without_data_are_left_out() {
    let store = set("barman");
    let key = "pg/src/base/20261121T025738/backup.info";
    let done = String::from_utf8(store.bytes(key).unwrap().to_vec()).unwrap();
    store.seed(key, done.replace("status=DONE", "status=FAILED"), time("2026-11-21T02:57:41Z"));
    let failed = catalog(&store, &Format::Barman).await;
    assert_eq!((failed.bases.len(), failed.warnings[0].reason), (0, "BackupIncomplete"));
    let space = done.replace("tablespaces=None", "tablespaces=[('fast', 16387, '/srv/fast')]");
    store.seed(key, space, time("2026-11-21T02:57:41Z"));
    let lacking = catalog(&store, &Format::Barman).await;
    assert_eq!(lacking.warnings[0].reason, "BackupWithoutData");
    assert!(lacking.warnings[0].message.contains("16387.tar"), "{:?}", lacking.warnings);
    assert_eq!(timeline(&lacking).windows, []);
}

#[tokio::test]
async fn b16_backups_of_two_servers_in_one_place_are_told() {
    let store = set("barman");
    for key in store.keys() {
        let body = store.bytes(&key).unwrap();
        store.seed(&key.replace("pg/src/", "pg/other/"), body, time("2026-11-21T03:00:00Z"));
    }
    let catalog = catalog(&store, &Format::Barman).await;
    let told: Vec<&str> = catalog.warnings.iter().map(|warning| warning.reason).collect();
    assert_eq!(told, ["SeveralServers"]);
    assert!(catalog.warnings[0].message.contains("pg/other and pg/src"), "{:?}", catalog.warnings);
}

#[tokio::test]
async fn b06_only_the_newest_segments_are_read_until_one_holds_a_commit() {
    let store = set("barman");
    let at = time("2026-11-21T03:10:00Z");
    for number in 0xcu64..0x12 {
        let key = format!("pg/src/wals/0000000100000000/0000000100000000{number:08X}.gz");
        store.seed(&key, pack(&key, &segment(number * SIZE as u64, SIZE, &[])), at);
    }
    let before = store.requests(Verb::Get);
    let catalog = catalog(&store, &Format::Barman).await;
    assert_eq!(timeline(&catalog).latest, Some(time(LATEST)), "idle segments move nothing");
    let read = store.requests(Verb::Get) - before;
    assert!(read <= 1 + 1 + 4 + 16, "{read}");
    // Far from the store nothing is read: then only the base is promised.
    let far = catalog_at(&store, &Format::Barman, Depth::HEADS).await;
    assert_eq!(timeline(&far).latest, Some(time("2026-11-21T02:57:39.940299Z")));
}

#[tokio::test]
async fn b06_a_damaged_newest_segment_is_left_out_and_named() {
    let store = set("walg-postgres");
    let key = "wal_005/00000001000000000000000B.zst";
    let whole = store.bytes(key).unwrap();
    store.seed(key, whole.slice(..whole.len() / 2), time("2026-11-21T02:59:58Z"));
    let catalog = catalog(&store, &Format::WalGPostgres).await;
    assert_eq!(catalog.warnings[0].reason, "CorruptLog");
    assert!(catalog.warnings[0].message.contains(key), "{:?}", catalog.warnings);
    assert_eq!(timeline(&catalog).latest, Some(time("2026-11-21T02:57:58.226079Z")));
}

/// A session that copies `source` as of `now`, and its target.
fn session(source: &MemoryStore, target: &MemoryStore, format: &Format, now: &str) -> Session {
    let mut config = config(format.clone());
    config.source.prefix = String::new();
    Session {
        source: Arc::new(source.clone()),
        target: Arc::new(target.clone()),
        config,
        clock: Arc::new(Hand(Mutex::new(time(now)))),
        log_position: None,
    }
}

#[tokio::test]
async fn b02_b06_sets_of_postgresql_are_copied_and_their_windows_are_the_targets_own() {
    let from = ["2026-11-21T02:57:40Z", "2026-11-21T02:57:38Z", "2026-11-21T02:57:45Z"];
    let sets = ["barman", "walg-postgres", "pgbackrest"];
    for ((sample, format), from) in
        sets.into_iter().zip([Format::Barman, Format::WalGPostgres, Format::PgBackRest]).zip(from)
    {
        let (source, target) = (set(sample), MemoryStore::new("dr"));
        let session = || session(&source, &target, &format, "2026-11-21T03:00:00Z");
        let report = sync_once(session()).await.unwrap();
        assert_eq!(report.findings, [], "{sample}");
        assert_eq!(report.pending_objects, 0, "{sample}");
        let windows = |report: &Report| report.windows.iter().map(|w| (w.from, w.to)).collect::<Vec<_>>();
        assert_eq!(windows(&report), [(time(from), time(LATEST))], "{sample}");
        assert_eq!(
            report.source_latest,
            Some(time(LATEST)),
            "what was read at the target is known of the source"
        );
        let kept = target.keys().len();
        assert!(kept > source.keys().len(), "{sample}: all objects, and the records");
        // Read once: the next look reads no segment again.
        let before = target.requests(Verb::Get);
        sync_once(session()).await.unwrap();
        assert!(
            target.requests(Verb::Get) - before < 30,
            "{sample}: {}",
            target.requests(Verb::Get) - before
        );
        // An emptied source takes nothing with it.
        source.keys().iter().for_each(|key| source.unseed(key));
        let after = sync_once(session()).await.unwrap();
        assert_eq!((windows(&after), after.pruned_objects), (windows(&report), 0), "{sample}");
    }
}

#[tokio::test]
async fn b07_only_pgbackrest_itself_deletes_of_its_repository() {
    let (source, target) = (set("pgbackrest"), MemoryStore::new("dr"));
    let folder = "backup/main/20261121-025742F/backup.manifest";
    let manifest = String::from_utf8(source.bytes(folder).unwrap().to_vec()).unwrap();
    let later = manifest
        .replace("0/50", "0/90")
        .replace("1795229862", "1795229874")
        .replace("1795229864", "1795229875");
    let at = time("2026-11-21T02:57:56Z");
    source.seed("backup/main/20261121-025754F/backup.manifest", later, at);
    source.seed("backup/main/20261121-025754F/pg_data/PG_VERSION.zst", "15", at);
    let now = "2026-11-21T03:00:00Z";
    sync_once(session(&source, &target, &Format::PgBackRest, now)).await.unwrap();
    let mut session = session(&source, &target, &Format::PgBackRest, now);
    // For the last minute the third backup is enough.
    session.config.retention = Duration::from_mins(1);
    let report = sync_once(session).await.unwrap();
    assert_eq!((report.full, report.incremental, report.pruned_objects), (2, 1, 0));
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_eq!(report.findings[0].reason, "NotPruned");
    assert!(report.findings[0].message.starts_with("2 backups"), "{}", report.findings[0].message);
}

#[tokio::test]
async fn b07_logs_of_postgresql_that_no_moment_needs_go() {
    let (source, target) = (set("walg-postgres"), MemoryStore::new("dr"));
    sync_once(session(&source, &target, &Format::WalGPostgres, "2026-11-21T03:00:00Z")).await.unwrap();
    let mut session = session(&source, &target, &Format::WalGPostgres, "2026-11-21T03:00:00Z");
    session.config.retention = Duration::from_mins(1);
    let report = sync_once(session).await.unwrap();
    assert_eq!(report.latest, Some(time(LATEST)));
    // The delta's own log begins with segment 8.
    let left: Vec<String> = target.keys().into_iter().filter(|key| number(key).is_some()).collect();
    assert_eq!(left.len(), 4, "{left:?}");
    assert_eq!((report.full, report.incremental), (1, 1), "the delta needs what it is on top of");
}

/// What a real server wrote: `tests/samples/wal`.
fn real(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/wal").join(name);
    zstd::decode_all(&std::fs::read(path).unwrap()[..]).unwrap()
}

/// Commit times as the server itself tells them.
fn told() -> Vec<Timestamp> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/wal/commits.txt");
    let rows = std::fs::read_to_string(path).unwrap();
    rows.lines().map(|line| time(line.split('|').nth(1).unwrap())).collect()
}

#[test]
fn b06_commits_of_a_real_log_are_those_that_the_server_tells() {
    let told = told();
    let read = |name: &str| wal::read_commits(&real(name)[..]).unwrap();
    let commits = read("000000010000000000000009.zst");
    assert_eq!(commits.segment_size, 1 << 20);
    // The last one is a prepared transaction's.
    assert_eq!(commits.last, Some(told[told.len() - 2]));
    let within = |commits: &wal::Commits| {
        let (first, last) = (commits.first.unwrap(), commits.last.unwrap());
        told.iter().filter(|&&at| first <= at && at <= last).count()
    };
    let pages = read("000000010000000000000008.zst");
    assert!(told.contains(&pages.first.unwrap()) && told.contains(&pages.last.unwrap()));
    assert_eq!(within(&pages) + within(&commits), told.len() - 1, "none is lost where segments meet");
    let only_an_abort = read("00000001000000000000000A.zst");
    assert_eq!((only_an_abort.first, only_an_abort.last), (None, None));
    assert_eq!(read("00000001000000000000000B.zst").last, told.last().copied());
    assert!(read("000000020000000000000009.zst").last.is_some());
}

#[test]
fn b06_a_segment_that_is_cut_off_or_is_none_is_refused() {
    let whole = real("00000001000000000000000B.zst");
    for cut in [0, 39, 8191, 8192, 1 << 19, (1 << 20) - 1] {
        assert!(wal::read_commits(&whole[..cut]).is_err(), "{cut}");
    }
    assert!(wal::read_commits(&[&whole[..], &[0; 8192]].concat()[..]).is_err());
    assert!(wal::read_commits(&vec![0; 1 << 20][..]).is_err());
    // A record whose checksum does not fit ends the log there.
    let expected = wal::read_commits(&whole[..]).unwrap();
    let at = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for at in (40..at).step_by(97) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        if let Ok(commits) = wal::read_commits(&damaged[..]) {
            assert!(commits.last <= expected.last && commits.segment_size == expected.segment_size, "{at}");
        }
    }
}

#[tokio::test]
async fn b06_a_promoted_timeline_goes_on_where_it_left_and_the_old_one_is_left_behind() {
    let store = MemoryStore::new("backups");
    let at = time("2026-11-21T20:58:30Z");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/wal");
    for file in std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if file.extension().is_some_and(|ext| ext == "zst") {
            store.seed(&format!("wal_005/{name}"), std::fs::read(&file).unwrap(), at);
        }
    }
    let sentinel = r#"{"LSN":7340072,"FinishLSN":7340288,"CompressedSize":1,"IsPermanent":false,
        "StartTime":"2026-11-21T20:58:20Z","FinishTime":"2026-11-21T20:58:21.2Z"}"#;
    let base = "basebackups_005/base_000000010000000000000007";
    store.seed(&format!("{base}_backup_stop_sentinel.json"), sentinel, at);
    store.seed(&format!("{base}/tar_partitions/part_001.tar.zst"), "data", at);
    let told = told();
    let second_line = time("2026-11-21T20:58:24.190184Z");

    let all = catalog(&store, &Format::WalGPostgres).await;
    assert_eq!(all.warnings, []);
    let line = timeline(&all);
    assert_eq!(line.latest, Some(second_line), "{:?}", line.windows);
    let names: Vec<&str> = line.chains[0].logs.iter().map(|&at| all.segments[at].name.as_str()).collect();
    let own = "000000010000000000000007";
    assert_eq!(names, [own, "000000020000000000000008", "000000020000000000000009"]);

    // Before its first segment arrives, the old timeline is all there is.
    store.unseed("wal_005/000000020000000000000008.zst");
    store.unseed("wal_005/000000020000000000000009.zst");
    let old = timeline(&catalog(&store, &Format::WalGPostgres).await);
    assert_eq!(old.latest, told.last().copied());
    assert_eq!(old.chains[0].logs.len(), 5);
}

#[tokio::test]
async fn b06_numbers_of_segments_roll_over_where_their_size_says() {
    for (size, last) in [(1 << 20, 0xfffu64), (16 << 20, 0xff), (64 << 20, 0x3f)] {
        let store = MemoryStore::new("backups");
        let begin = time("2026-11-21T03:00:00Z");
        let mut start = (2u64 << 32) | (last * size as u64);
        let sentinel = format!(
            r#"{{"LSN":{},"FinishLSN":{},"StartTime":"{begin}","FinishTime":"{begin}"}}"#,
            start + 40,
            start + 200
        );
        let base = format!("basebackups_005/base_0000000100000002{last:08X}");
        store.seed(&format!("{base}_backup_stop_sentinel.json"), sentinel, begin);
        store.seed(&format!("{base}/tar_partitions/part_001.tar.zst"), "data", begin);
        for (minute, (log, number)) in (1..).zip([(2, last), (3, 0), (3, 1)]) {
            let at = begin + SignedDuration::from_mins(minute);
            let key = format!("wal_005/00000001{log:08X}{number:08X}.zst");
            store.seed(&key, pack(&key, &segment(start, size, &[at])), at);
            start += size as u64;
        }
        let line = timeline(&catalog(&store, &Format::WalGPostgres).await);
        assert_eq!(spans(&line), [span("2026-11-21T03:00:00Z", "2026-11-21T03:03:00Z")], "{size}");
        assert_eq!(line.chains[0].logs.len(), 3, "{size}");
    }
}
