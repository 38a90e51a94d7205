//! Restores from copies that Farshore made, while their sources lose, reuse and damage what they had.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use farshore::{
    backup::{
        catalog::Format,
        inspect::inspect,
        sync::{Clock, Mode, Place, Report, Session, SyncConfig, Update, run},
    },
    restore::{self, Error},
    store::{ObjectStore, memory::MemoryStore},
};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use crate::{
    moments,
    mysql_source::{Backups, Kind, PREFIX, Source},
};

const COPY: &str = "copies/orders/";

/// A clock that is so far ahead.
#[derive(Debug)]
struct Ahead(SignedDuration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        Timestamp::now() + self.0
    }
}

/// One run of the copy, some days from now.
async fn copied(source: &MemoryStore, target: &MemoryStore, days: i64) -> Report {
    let place = |endpoint: &str, store: &MemoryStore, prefix: &str| Place {
        endpoint: endpoint.into(),
        bucket: store.bucket().into(),
        prefix: prefix.into(),
    };
    let config = SyncConfig {
        format: Format::MariaDBOperator,
        detected: None,
        source: place("http://north", source, PREFIX),
        target: place("http://east", target, COPY),
        engine: "MySQL".into(),
        owner: "shop/orders".into(),
        retention: Duration::from_hours(7 * 24),
        interval: Duration::from_mins(10),
        bytes_per_second: None,
        requests_per_second: None,
        stuck_after: Duration::from_mins(1),
    };
    let session = Session {
        source: Arc::new(source.clone()),
        target: Arc::new(target.clone()),
        config,
        clock: Arc::new(Ahead(SignedDuration::from_hours(24 * days))),
        log_position: None,
    };
    let (_wake, run_now) = mpsc::channel(1);
    let (updates, mut told) = mpsc::channel(1024);
    run(session, Mode::Once, run_now, updates).await.unwrap();
    let mut last = None;
    while let Ok(update) = told.try_recv() {
        if let Update::Cycle(report) = update {
            last = Some(*report);
        }
    }
    last.unwrap()
}

/// A base, and two logs.
async fn some_work(source: &mut Source) {
    source.write(3);
    source.back_up().await;
    for _ in 0..2 {
        source.write(2);
        // What is committed in the second of a rotation is promised with the next log only.
        std::thread::sleep(Duration::from_millis(1100));
        source.rotate().await;
    }
}

fn start(folder: &Path) -> Source {
    Source::start((Kind::MariaDb, Backups::Files), folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn b18_b08_names_used_again_after_a_failover_and_bases_of_last_week_are_restored_from_the_copy() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = MemoryStore::new("dr");
    let mut source = start(folder.path());
    some_work(&mut source).await;
    let bucket = source.store.clone();
    copied(&bucket, &target, 0).await;
    let (lost, names) = (source.journal(), source.logs());
    drop(source);
    // The server lost its data directory: its binlogs begin anew, under the old names.
    let mut source = start(other.path());
    source.store = bucket.clone();
    source.write(1);
    some_work(&mut source).await;
    let found = copied(&bucket, &target, 0).await.findings;
    assert!(found.iter().any(|finding| finding.reason == "ChangedAtSource"), "{found:?}");
    let (anew, again) = (source.journal(), source.logs());
    assert_eq!(names[..2], again[..2]);
    // All that is there is older than the retention, and still the only way to any moment.
    copied(&bucket, &target, 8).await;
    let mut set = source.gone();
    (set.store, set.prefix) = (Arc::new(target.clone()), COPY.to_owned());
    let windows = inspect(set.store.clone(), COPY, &set.format, None).await.unwrap().windows;
    let [first, second] = &windows[..] else { panic!("{windows:?}") };
    for (window, journal) in [(first, &lost), (second, &anew)] {
        let (rows, _, _) = set.restored(Some(window.to)).await;
        assert_eq!(rows, moments::rows_at(journal, window.to), "{window:?}");
    }
    damaged(&target, &second.to).await;
}

/// What the copy holds in place of what was copied is not planned with; what is damaged after the plan is named.
async fn damaged(target: &MemoryStore, latest: &Timestamp) {
    let store: Arc<dyn ObjectStore> = Arc::new(target.clone());
    let latest_of =
        || async { restore::look_at_copy(&store, COPY, None).await.map(|(_, plan)| plan.time_point) };
    assert_eq!(latest_of().await.unwrap(), *latest);
    // Half of the newest log: it is as if it were not there.
    let (_, plan) = restore::look_at_copy(&store, COPY, None).await.unwrap();
    let log = format!("{COPY}{}", plan.logs.last().unwrap().object.location());
    let whole = target.bytes(&log).unwrap();
    target.seed(&log, whole.slice(..whole.len() / 2), Timestamp::now());
    let refused = restore::look_at_copy(&store, COPY, Some(*latest)).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(_)), "{refused}");
    assert!(latest_of().await.unwrap() < *latest);
    // As large as before, with another content.
    target.seed(&log, Bytes::from(vec![0; whole.len()]), Timestamp::now());
    assert!(latest_of().await.unwrap() < *latest);
    target.seed(&log, whole, Timestamp::now());
    assert_eq!(latest_of().await.unwrap(), *latest);
    // The newest base: what only it shows can't be restored any more, and the rest can.
    let base = format!("{COPY}{}.xb.gz", plan.bases[0].id);
    let whole = target.bytes(&base).unwrap();
    target.seed(&base, whole.slice(..whole.len() - 1), Timestamp::now());
    let refused = restore::look_at_copy(&store, COPY, Some(*latest)).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(_)), "{refused}");
    assert!(latest_of().await.unwrap() < plan.bases[0].time);
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_a_log_that_is_damaged_after_the_plan_is_named_and_no_server_is_left_running() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = start(folder.path());
    some_work(&mut source).await;
    let bucket = source.store.clone();
    let set = source.gone();
    let plan = set.plan(None).await.unwrap();
    let log = format!("{PREFIX}{}", plan.logs[0].object.location());
    let whole = bucket.bytes(&log).unwrap();
    for (body, says) in [
        (whole.slice(..whole.len() / 2), "replaced under its name"),
        (Bytes::from(vec![0; whole.len()]), "replaced under its name"),
    ] {
        bucket.seed(&log, body, Timestamp::now());
        let new = tempfile::tempdir().unwrap();
        let failed = set.carry_out(&plan, new.path()).await.unwrap_err();
        let text = failed.to_string();
        assert!(text.starts_with("at step Replay:") && text.contains(&log) && text.contains(says), "{text}");
        assert_eq!(failed.error.reason(), "DamagedBackup");
        let running = std::process::Command::new("pgrep").arg("-f").arg(new.path()).output().unwrap();
        assert!(running.stdout.is_empty(), "{}", String::from_utf8_lossy(&running.stdout));
    }
}

#[tokio::test]
async fn b16_b08_a_base_whose_sentinel_came_without_its_data_is_never_planned_with() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/walg-mysql");
    let store = MemoryStore::new("backups");
    for line in std::fs::read_to_string(samples.join("listing.jsonl")).unwrap().lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let (key, size) = (row["key"].as_str().unwrap(), row["size"].as_u64().unwrap());
        let body = std::fs::read(samples.join("objects").join(key));
        let body = body.unwrap_or_else(|_| vec![0; usize::try_from(size).unwrap()]);
        store.seed(key, body, row["lastModified"].as_str().unwrap().parse().unwrap());
    }
    let all: Arc<dyn ObjectStore> = Arc::new(store.clone());
    let planned = || async { restore::look(&all, "", &Format::WalGMySQL, None).await.unwrap().1 };
    let mut names = Vec::new();
    for name in ["stream_20261121T025422Z", "stream_20261121T025418Z"] {
        names.push(planned().await.bases[0].id.clone());
        store.unseed(&format!("basebackups_005/{name}/stream.zst"));
    }
    let mut plan = planned().await;
    names.push(plan.bases[0].id.clone());
    assert_eq!(
        names,
        ["stream_20261121T025422Z", "stream_20261121T025418Z", "stream_20261121T025118Z"],
        "the newest whose data is there"
    );
    // Gone between the plan and the restore.
    store.unseed("basebackups_005/stream_20261121T025118Z/stream.zst");
    let gone = restore::locate(&all, "", &mut plan).await.map(|()| plan.bases[0].objects.len());
    assert!(
        matches!(&gone, Err(Error::Damaged { key, .. }) if key.contains("stream_20261121T025118Z")),
        "{gone:?}"
    );
}
