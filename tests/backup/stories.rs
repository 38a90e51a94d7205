//! What users see of a copy, told as stories.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use farshore::{
    backup::{
        Error, Result,
        catalog::Format,
        inspect::inspect,
        purge::{Purged, preview, purge},
        sync::{Clock, LogPosition, Mode, Place, Report, Session, SyncConfig, Update, run},
        window::Window,
    },
    store::{
        ObjectStore, Side,
        memory::{Effect, Failure, Fault, MemoryStore, Verb},
    },
};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::history::Server;

const DAY: i64 = 24 * 3600;

pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A clock that a test turns.
#[derive(Debug)]
pub struct Hand(pub Mutex<Timestamp>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A server, its bucket, and the copy's bucket.
pub struct World {
    pub server: Server,
    pub source: MemoryStore,
    pub target: MemoryStore,
    pub clock: Arc<Hand>,
    pub config: SyncConfig,
}

fn place(endpoint: &str, bucket: &str, prefix: &str) -> Place {
    Place { endpoint: endpoint.into(), bucket: bucket.into(), prefix: prefix.into() }
}

pub fn config(format: Format) -> SyncConfig {
    SyncConfig {
        format,
        detected: None,
        source: place("http://north", "backups", "orders/"),
        target: place("http://east", "dr", "copies/orders/"),
        engine: "MySQL".into(),
        owner: "shop/orders".into(),
        retention: Duration::from_hours(7 * 24),
        interval: Duration::from_mins(10),
        bytes_per_second: None,
        requests_per_second: None,
        stuck_after: Duration::from_mins(1),
    }
}

impl World {
    pub fn new() -> Self {
        let now = time("2026-11-01T00:00:00Z");
        Self {
            server: Server::new(101, now),
            source: MemoryStore::new("backups"),
            target: MemoryStore::new("dr"),
            clock: Arc::new(Hand(Mutex::new(now))),
            config: config(Format::MariaDBOperator),
        }
    }

    pub fn bucket(&self) -> impl FnMut(&str, bytes::Bytes, Timestamp) + use<> {
        let store = self.source.clone();
        move |key: &str, body: bytes::Bytes, at: Timestamp| store.seed(&format!("orders/{key}"), body, at)
    }

    pub fn base(&mut self) -> String {
        let mut bucket = self.bucket();
        self.server.base(1000, &mut bucket)
    }

    /// Some seconds of work that end in a closed binlog.
    pub fn work(&mut self, seconds: i64) -> String {
        let mut bucket = self.bucket();
        self.server.pass(seconds / 2);
        self.server.commit();
        self.server.pass(seconds - seconds / 2);
        let key = self.server.rotate(&mut bucket);
        self.set_now(self.server.now);
        key
    }

    pub fn set_now(&self, now: Timestamp) {
        *self.clock.0.lock().unwrap() = now;
    }

    pub fn session(&self) -> Session {
        Session {
            source: Arc::new(self.source.clone()),
            target: Arc::new(self.target.clone()),
            config: self.config.clone(),
            clock: self.clock.clone(),
            log_position: None,
        }
    }

    pub async fn once(&self) -> Report {
        sync_once(self.session()).await.unwrap()
    }

    pub fn copied(&self) -> Vec<String> {
        let keys = self.target.keys();
        let ours = keys.iter().filter_map(|key| key.strip_prefix("copies/orders/"));
        ours.filter(|key| !key.starts_with(".farshore/")).map(str::to_owned).collect()
    }
}

/// Runs once; answers the last report.
pub async fn sync_once(session: Session) -> Result<Report> {
    Ok(sync_reports(session).await?.pop().unwrap())
}

pub async fn sync_reports(session: Session) -> Result<Vec<Report>> {
    let (_wake, run_now) = mpsc::channel(1);
    let (updates, mut told) = mpsc::channel(1024);
    let listen = tokio::spawn(async move {
        let mut reports = Vec::new();
        while let Some(update) = told.recv().await {
            if let Update::Cycle(report) = update {
                reports.push(*report);
            }
        }
        reports
    });
    run(session, Mode::Once, run_now, updates).await?;
    Ok(listen.await.unwrap())
}

fn reasons(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.reason).collect()
}

fn window(from: &str, to: &str) -> Window {
    Window { from: time(from), to: time(to) }
}

#[tokio::test]
async fn b01_b06_copies_bases_and_logs_and_goes_on() {
    let mut world = World::new();
    world.work(60);
    world.base();
    world.work(60);
    let report = world.once().await;
    assert_eq!(report.windows, [window("2026-11-01T00:01:00Z", "2026-11-01T00:01:59Z")]);
    assert_eq!(report.latest, report.source_latest);
    // The first log ended before the base began: it would be pruned at once, and stays away.
    assert_eq!((report.full, report.logs), (1, 2), "{:?}", world.copied());
    assert_eq!(report.findings, []);
    assert_eq!((report.pending_objects, report.pending_bytes), (0, 0));
    world.work(60);
    let report = world.once().await;
    assert_eq!(report.latest, Some(time("2026-11-01T00:02:59Z")));
    assert_eq!(report.copied_objects, 1);
    // Nothing new: nothing moves, and the report says the same.
    let puts = world.target.requests(Verb::Put);
    let again = world.once().await;
    assert_eq!((again.copied_objects, again.copied_bytes), (0, 0));
    assert_eq!((again.windows, again.stored_bytes), (report.windows, report.stored_bytes));
    assert_eq!(world.target.requests(Verb::Put), puts, "an idle cycle writes nothing");
    for key in world.copied() {
        let (from, to) = (format!("orders/{key}"), format!("copies/orders/{key}"));
        assert_eq!(world.source.bytes(&from), world.target.bytes(&to), "{key}");
    }
}

#[tokio::test]
async fn b01_increments_are_copied_with_their_parents() {
    let mut world = World::new();
    world.base();
    let lsn = world.server.sequence + 1;
    world.work(60);
    let mut bucket = world.bucket();
    world.server.increment(lsn, &mut bucket);
    world.work(60);
    let report = world.once().await;
    assert_eq!((report.full, report.incremental), (1, 1));
    assert_eq!(report.windows, [window("2026-11-01T00:00:00Z", "2026-11-01T00:01:59Z")]);
}

#[tokio::test]
async fn b01_sidecars_that_come_later_are_copied_and_nothing_is_overwritten() {
    let mut world = World::new();
    let id = world.base();
    let info = format!("orders/{id}.info");
    let body = world.source.bytes(&info).unwrap();
    world.source.unseed(&info);
    world.work(60);
    world.once().await;
    // Without them the base is read for its position; these made-up bytes hold none.
    world.source.seed(&info, body.clone(), world.server.now);
    let report = world.once().await;
    assert_eq!(report.windows, [window("2026-11-01T00:00:00Z", "2026-11-01T00:00:59Z")]);
    world.source.seed(&format!("orders/{id}.xb.gz"), "other", world.server.now);
    world.source.seed(&format!("orders/{id}.checkpoints"), "backup_type = full-backuped", world.server.now);
    let report = world.once().await;
    assert_eq!(reasons(&report), ["ChangedAtSource"]);
    assert_eq!(world.target.bytes(&format!("copies/orders/{id}.xb.gz")).unwrap().len(), 1000);
    assert!(world.copied().contains(&format!("{id}.checkpoints")));
}

#[tokio::test]
async fn b16_a_binlog_taken_away_makes_two_windows_and_is_named() {
    let mut world = World::new();
    world.base();
    world.work(60);
    let lost = world.work(60);
    world.work(60);
    world.base();
    world.work(60);
    world.once().await;
    world.source.unseed(&format!("orders/{lost}"));
    world.target.unseed(&format!("copies/orders/{lost}"));
    let report = world.once().await;
    assert_eq!(
        report.windows,
        [
            window("2026-11-01T00:00:00Z", "2026-11-01T00:00:59Z"),
            window("2026-11-01T00:03:00Z", "2026-11-01T00:03:59Z")
        ]
    );
    assert_eq!(report.gaps.len(), 1);
    assert_eq!(report.gaps[0].missing, "mysql-bin.000002");
}

#[tokio::test]
async fn b18_b07_a_source_that_is_emptied_takes_nothing_with_it() {
    let mut world = World::new();
    world.base();
    world.work(60);
    world.work(60);
    let before = world.once().await;
    world.source.keys().iter().for_each(|key| world.source.unseed(key));
    for days in [0, 1, 30] {
        world.set_now(world.server.now + SignedDuration::from_hours(24 * days));
        let after = world.once().await;
        assert_eq!((&after.windows, after.pruned_objects), (&before.windows, 0));
        assert_eq!(after.source_latest, None);
    }
}

#[tokio::test]
async fn b18_what_the_source_rewrites_does_not_overwrite_the_copy() {
    let mut world = World::new();
    world.base();
    let log = world.work(60);
    world.work(60);
    let before = world.once().await;
    // Ransomware: every object is overwritten in place.
    for key in world.source.keys() {
        world.source.seed(&key, "pay us", world.server.now);
    }
    let after = world.once().await;
    assert_eq!(after.windows, before.windows);
    assert!(reasons(&after).contains(&"ChangedAtSource"), "{:?}", after.findings);
    assert!(after.findings.iter().any(|finding| finding.message.contains(&log)), "{:?}", after.findings);
    assert_ne!(world.target.bytes(&format!("copies/orders/{log}")).unwrap(), "pay us");
}

#[tokio::test]
async fn b18_names_that_are_used_again_are_kept_apart() {
    let mut world = World::new();
    world.base();
    world.work(60);
    world.work(60);
    let before = world.once().await;
    // The server lost its data directory: its binlogs begin anew, under the old names.
    let mut fresh = Server::new(101, world.server.now);
    std::mem::swap(&mut world.server, &mut fresh);
    world.server.pass(60);
    world.base();
    let log = world.work(60);
    let after = world.once().await;
    assert_eq!(after.windows[0], before.windows[0]);
    assert_eq!(after.windows[1], window("2026-11-01T00:03:00Z", "2026-11-01T00:03:59Z"));
    assert!(reasons(&after).contains(&"ChangedAtSource"), "{:?}", after.findings);
    assert!(
        world.target.keys().iter().any(|key| key.contains(".farshore/generations/") && key.ends_with(&log))
    );
    // And it is copied once only.
    assert_eq!(world.once().await.copied_objects, 0);
}

#[tokio::test]
async fn b14_the_same_set_copied_in_reverse_a_day_later_has_the_same_windows() {
    let mut world = World::new();
    world.base();
    for _ in 0..5 {
        world.work(60);
    }
    world.base();
    world.work(60);
    let before = world.once().await;
    let mut other = World::new();
    let mut keys = world.source.keys();
    keys.reverse();
    let mut at = world.server.now + SignedDuration::from_secs(DAY);
    for key in keys {
        other.source.seed(&key, world.source.bytes(&key).unwrap(), at);
        at += SignedDuration::from_secs(1);
    }
    other.server = world.server.clone();
    other.set_now(at);
    assert_eq!(other.once().await.windows, before.windows);
}

#[tokio::test]
async fn b18_a_service_made_anew_adopts_its_prefix() {
    let mut world = World::new();
    world.base();
    world.work(60);
    let before = world.once().await;
    world.config.owner = "other-cluster/orders".into();
    let after = world.once().await;
    assert_eq!(after.copied_bytes, 0);
    assert_eq!((after.windows, after.stored_bytes), (before.windows, before.stored_bytes));
    assert_eq!(after.transferred_bytes, before.transferred_bytes);
}

#[tokio::test]
async fn b18_a_prefix_that_is_not_ours_is_refused_and_left_alone() {
    let mut world = World::new();
    world.base();
    world.target.seed("copies/orders/holiday.jpg", "x", world.server.now);
    let refused = sync_once(world.session()).await.unwrap_err();
    assert_eq!((refused.reason(), refused.side()), ("PrefixTaken", Some(Side::Target)));
    assert!(refused.to_string().contains("holiday.jpg"), "{refused}");
    assert_eq!(world.target.keys(), ["copies/orders/holiday.jpg"]);
    world.target.unseed("copies/orders/holiday.jpg");
    world.once().await;
    let keys = world.target.keys();
    // Another source's copy, one within it, and the same under another format.
    world.config.source.prefix = "payments/".into();
    assert!(matches!(sync_once(world.session()).await, Err(Error::PrefixTaken { .. })));
    world.config.target.prefix = "copies/orders/deeper/".into();
    assert!(matches!(sync_once(world.session()).await, Err(Error::PrefixTaken { .. })));
    assert_eq!(world.target.keys(), keys);
}

/// A mistake that is corrected later must not stand in the way: nothing is claimed before access is proved.
#[tokio::test]
async fn b01_b18_a_source_that_cannot_be_listed_leaves_nothing_at_the_target() {
    for failure in [
        Failure::BadCredentials,
        Failure::AccessDenied,
        Failure::NoSuchBucket,
        Failure::ClockSkew,
        Failure::Unreachable,
        Failure::Protocol,
    ] {
        let mut world = World::new();
        world.base();
        world.source.fault(Fault::always(Verb::List, failure));
        let refused = sync_once(world.session()).await.unwrap_err();
        assert_eq!(refused.side(), Some(Side::Source), "{refused}");
        assert!(world.target.keys().is_empty(), "{refused}: {:?}", world.target.keys());
        assert_eq!(world.target.requests(Verb::Put), 0, "{refused}");
        world.source.heal();
        world.config.source.endpoint = "https://corrected".into();
        assert_eq!(world.once().await.full, 1);
    }
}

/// A worker of the first source may still run: its copies must not come to lie under another's name.
#[tokio::test]
async fn b18_an_empty_source_is_claimed_too_and_only_a_purge_takes_the_claim_away() {
    let mut world = World::new();
    assert_eq!(world.once().await.full, 0);
    let (keys, first) = (world.target.keys(), world.config.source.clone());
    world.base();
    world.config.source.endpoint = "https://corrected".into();
    let refused = sync_once(world.session()).await.unwrap_err();
    assert_eq!(refused.reason(), "PrefixTaken");
    assert!(refused.to_string().contains("farshore backup purge"), "{refused}");
    assert_eq!(world.target.keys(), keys);
    purge(Arc::new(world.target.clone()), &first, &world.config.target).await.unwrap();
    assert_eq!(world.once().await.full, 1);
}

#[tokio::test]
async fn b01_source_and_target_in_one_place_are_refused() {
    let world = World::new();
    let mut session = world.session();
    session.source = session.target.clone();
    session.config.source.prefix = "copies/".into();
    assert!(matches!(sync_once(session).await, Err(Error::SamePlace(_))));
    assert!(world.target.keys().is_empty());
}

#[tokio::test]
async fn b06_without_a_full_backup_it_says_so() {
    let mut world = World::new();
    world.work(60);
    let report = world.once().await;
    assert_eq!((report.latest, &*report.windows), (None, &[][..]));
    assert_eq!(reasons(&report), ["NoFullBackup"]);
    assert!(report.findings[0].message.starts_with("no full backup yet"), "{:?}", report.findings);
}

#[tokio::test]
async fn b07_what_is_older_than_the_anchor_goes_and_nothing_else() {
    let mut world = World::new();
    world.config.retention = Duration::from_hours(7 * 24);
    for _ in 0..20 {
        world.base();
        world.work(DAY / 2);
        world.work(DAY / 2);
    }
    let report = world.once().await;
    // The horizon is 13 days after the start, less a second: the base of day 12 is its anchor.
    assert_eq!(report.windows[0].from, time("2026-11-13T00:00:00Z"));
    assert_eq!((report.full, report.logs), (8, 16));
    for day in 0..10 {
        world.base();
        world.work(DAY / 2);
        world.work(DAY / 2);
        let reports = sync_reports(world.session()).await.unwrap();
        let pruned: u64 = reports.iter().map(|report| report.pruned_objects).sum();
        let report = reports.last().unwrap();
        assert_eq!((report.full, report.logs, pruned), (8, 16, 4), "day {day}");
        let horizon = report.latest.unwrap() - SignedDuration::from_secs(7 * DAY);
        assert!(report.windows[0].from <= horizon);
        assert_eq!(world.once().await.copied_objects, 0, "what was pruned is not copied again");
    }
}

#[tokio::test]
async fn b13_usage_counts_what_is_stored_and_what_was_moved() {
    let mut world = World::new();
    world.base();
    world.work(60);
    let report = world.once().await;
    let sizes = world
        .copied()
        .into_iter()
        .map(|key| world.target.bytes(&format!("copies/orders/{key}")).unwrap().len());
    assert_eq!(report.stored_bytes, sizes.sum::<usize>() as u64);
    assert_eq!(report.transferred_bytes, report.stored_bytes);
    world.work(60);
    let more = world.once().await;
    assert_eq!(more.transferred_bytes, more.stored_bytes);
    assert!(more.transferred_bytes > report.transferred_bytes);
}

struct Asked(Result<String, String>);

#[async_trait]
impl LogPosition for Asked {
    async fn current(&self) -> Result<String, String> {
        self.0.clone()
    }
}

#[tokio::test]
async fn b09_an_idle_source_is_covered_while_its_engine_confirms_it() {
    let mut world = World::new();
    world.base();
    world.work(60);
    let ask = |world: &World, answer: Result<&str, &str>| {
        let mut session = world.session();
        session.log_position = Some(Arc::new(Asked(answer.map(str::to_owned).map_err(str::to_owned))));
        sync_once(session)
    };
    world.once().await;
    world.set_now(world.server.now + SignedDuration::from_hours(5));
    let now = world.clock.now();
    assert_eq!(ask(&world, Ok("0-101-1")).await.unwrap().covered_until, Some(Ok(now)));
    assert_eq!(ask(&world, Ok("0-101-2")).await.unwrap().covered_until, None);
    let refused = ask(&world, Err("access denied")).await.unwrap().covered_until;
    assert_eq!(refused, Some(Err("access denied".to_owned())));
}

#[tokio::test]
async fn b18_files_rewritten_in_place_are_kept_as_generations() {
    let mut world = World::new();
    world.base();
    let index = "orders/binlogs/index.yaml";
    for generation in 0..20 {
        world.work(60);
        world.source.seed(index, format!("generation: {generation}"), world.server.now);
        world.once().await;
    }
    world.source.unseed(index);
    world.once().await;
    assert_eq!(world.target.bytes("copies/orders/binlogs/index.yaml").unwrap(), "generation: 19");
    let kept = world.target.keys().iter().filter(|key| key.contains("/generations/")).count();
    assert_eq!(kept, 16);
}

#[tokio::test]
async fn b01_a_failure_at_any_request_leaves_a_copy_that_the_next_run_completes() {
    for verb in [Verb::List, Verb::Get, Verb::Put, Verb::Head] {
        for after in 0..12 {
            let mut world = World::new();
            world.base();
            world.work(60);
            world.work(60);
            for store in [&world.source, &world.target] {
                store.fault(Fault::once(verb, Failure::AccessDenied).after(after));
            }
            let first = sync_once(world.session()).await;
            world.source.heal();
            world.target.heal();
            let report = world.once().await;
            let expected = [window("2026-11-01T00:00:00Z", "2026-11-01T00:01:59Z")];
            assert_eq!(report.windows, expected, "{verb:?} after {after}: {first:?}");
        }
    }
}

#[tokio::test]
async fn b07_a_listing_that_fails_deletes_nothing() {
    let mut world = World::new();
    for _ in 0..12 {
        world.base();
        world.work(DAY);
    }
    world.once().await;
    let keys = world.copied();
    world.target.set_page_size(3);
    world.source.set_page_size(3);
    for _ in 0..3 {
        world.base();
        world.work(DAY);
    }
    for after in 0..6 {
        for store in [&world.source, &world.target] {
            store.fault(Fault::once(Verb::List, Failure::Protocol).after(after));
            sync_once(world.session()).await.unwrap_err();
            store.heal();
            let left = world.copied();
            assert!(keys.iter().all(|key| left.contains(key)), "after {after}");
        }
    }
    let reports = sync_reports(world.session()).await.unwrap();
    assert!(reports.iter().any(|report| report.pruned_objects > 0));
}

#[tokio::test]
async fn b18_objects_of_others_are_told_and_never_deleted() {
    let mut world = World::new();
    world.base();
    world.work(60);
    world.once().await;
    world.target.seed("copies/orders/notes.txt", "mine", world.server.now);
    world.target.seed("copies/orders/physicalbackup-20200101000000.xb.gz", "mine", world.server.now);
    let report = world.once().await;
    assert_eq!(reasons(&report), ["ForeignObjects"]);
    assert_eq!(report.full, 1);
    let (source, target) = (&world.config.source, &world.config.target);
    let before = world.target.keys();
    let seen = preview(Arc::new(world.target.clone()), source, target).await.unwrap().unwrap();
    assert_eq!(world.target.keys(), before, "a preview changes nothing");
    let purged = purge(Arc::new(world.target.clone()), source, target).await.unwrap();
    assert_eq!(seen, purged);
    assert_eq!(purged.foreign, 2);
    assert_eq!(preview(Arc::new(world.target.clone()), source, target).await.unwrap(), None);
    assert_eq!(
        world.target.keys(),
        ["copies/orders/notes.txt", "copies/orders/physicalbackup-20200101000000.xb.gz"]
    );
}

#[tokio::test]
async fn b16_an_object_that_was_lost_at_the_target_is_copied_again() {
    let mut world = World::new();
    let id = world.base();
    let log = world.work(60);
    let before = world.once().await;
    world.target.unseed(&format!("copies/orders/{id}.xb.gz"));
    world.target.seed(&format!("copies/orders/{log}"), "spoiled", world.server.now);
    let mut reports = sync_reports(world.session()).await.unwrap();
    assert!(reports[0].windows.is_empty() || reports.len() == 1, "{reports:?}");
    assert_eq!(reports.pop().unwrap().windows, before.windows);
}

/// A bucket that WAL-G wrote.
fn walg_world() -> World {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/walg-mysql");
    let mut world = World::new();
    world.config.format = Format::WalGMySQL;
    world.set_now(time("2026-11-21T03:00:00Z"));
    for line in std::fs::read_to_string(folder.join("listing.jsonl")).unwrap().lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = row["key"].as_str().unwrap();
        let body = std::fs::read(folder.join("objects").join(key)).unwrap();
        world.source.seed(&format!("orders/{key}"), body, time(row["lastModified"].as_str().unwrap()));
    }
    world
}

const OLDEST: &str = "basebackups_005/stream_20261121T025118Z";

/// The one finding of a look that goes on with all the rest.
async fn only_finding(world: &World) -> (&'static str, String) {
    let report = world.once().await;
    assert_eq!((report.full, &*report.windows), (2, &[window(NEWER, "2026-11-21T02:54:24Z")][..]));
    let [finding] = &*report.findings else { panic!("{:?}", report.findings) };
    (finding.reason, finding.message.clone())
}

const NEWER: &str = "2026-11-21T02:54:21Z";

#[tokio::test]
async fn b16_a_corrupt_sentinel_leaves_that_backup_out_and_nothing_else() {
    let world = walg_world();
    let sentinel = format!("{OLDEST}_backup_stop_sentinel.json");
    world.source.seed(&format!("orders/{sentinel}"), "{\"Tool\":", time("2026-11-21T02:51:19Z"));
    let (reason, message) = only_finding(&world).await;
    assert_eq!(reason, "CorruptMetadata");
    assert!(message.contains(&sentinel) && message.contains("or take another backup"), "{message}");
    assert!(!world.copied().iter().any(|key| key.starts_with(OLDEST)), "{:?}", world.copied());
}

#[tokio::test]
async fn b16_a_sentinel_without_data_is_named_and_nothing_else_waits() {
    let world = walg_world();
    world.source.unseed(&format!("orders/{OLDEST}/stream.zst"));
    let (reason, message) = only_finding(&world).await;
    assert_eq!(reason, "BackupWithoutData");
    assert!(message.contains(OLDEST) && message.contains("delete its sentinel"), "{message}");
}

#[tokio::test]
async fn b16_a_backup_that_is_being_written_is_no_news_until_it_is_given_up() {
    let world = walg_world();
    world.source.unseed(&format!("orders/{OLDEST}_backup_stop_sentinel.json"));
    let begun = world.source.head(&format!("orders/{OLDEST}/stream.zst")).await.unwrap().modified;
    world.set_now(begun + SignedDuration::from_mins(6 * 60));
    assert_eq!(world.once().await.findings, [], "somebody may be writing it");
    world.set_now(begun + SignedDuration::from_mins(6 * 60 + 1));
    let (reason, message) = only_finding(&world).await;
    assert_eq!(reason, "BackupIncomplete");
    assert!(message.contains(OLDEST) && message.contains("delete it at the source"), "{message}");
}

#[tokio::test]
async fn b16_a_first_backup_that_is_being_written_is_told_from_none() {
    let world = walg_world();
    for key in world.source.keys().iter().filter(|key| key.ends_with("_backup_stop_sentinel.json")) {
        world.source.unseed(key);
    }
    let report = world.once().await;
    assert_eq!(reasons(&report), ["NoFullBackup"]);
    let message = &report.findings[0].message;
    assert!(
        message.contains("s3://backups/orders/") && message.contains("3 that are not finished"),
        "{message}"
    );
}

#[tokio::test]
async fn b16_clocks_more_than_15_min_apart_are_named_with_their_store() {
    let mut world = World::new();
    world.base();
    world.work(60);
    for (seconds, words) in
        [(901, "http://north is 15 min ahead of"), (-1199, "http://north is 20 min behind")]
    {
        world.source.set_clock_offset(SignedDuration::from_secs(seconds));
        let report = world.once().await;
        assert_eq!(reasons(&report), ["ClockSkew"]);
        let message = &report.findings[0].message;
        assert!(message.contains(words) && message.ends_with("set the clocks"), "{message}");
    }
    world.source.set_clock_offset(SignedDuration::from_secs(899));
    world.target.set_clock_offset(SignedDuration::from_secs(-899));
    assert_eq!(world.once().await.findings, []);
}

/// A target that takes nothing more: what it holds stays restorable, and what is missing comes once it is
/// mended.
#[tokio::test]
async fn p02_b18_a_target_that_is_full_read_only_or_denied_is_named_and_loses_nothing() {
    for (failure, reason, step) in [
        (Failure::Full, "StoreFull", "free space at the store, or raise the bucket's quota"),
        (Failure::AccessDenied, "AccessDenied", "allow these credentials to"),
        (Failure::Locked, "ObjectLocked", "use a bucket that can be written to"),
        (Failure::ClockSkew, "ClockSkew", "set the clock"),
    ] {
        let mut world = World::new();
        world.base();
        world.work(60);
        let before = world.once().await;
        world.work(60);
        world.target.fault(Fault::always(Verb::Put, failure));
        let error = sync_once(world.session()).await.unwrap_err();
        assert_eq!((error.reason(), error.side()), (reason, Some(Side::Target)));
        let text = error.to_string();
        assert!(text.contains("s3://dr/copies/orders/") && text.contains(step), "{text}");
        let seen =
            inspect(Arc::new(world.target.clone()), "copies/orders/", &world.config.format, None).await;
        assert_eq!(seen.unwrap().windows, before.windows, "{reason}");
        world.target.heal();
        assert_eq!(world.once().await.latest, Some(time("2026-11-01T00:01:59Z")), "{reason}");
    }
}

#[tokio::test]
async fn b14_walg_logs_are_written_one_after_another_oldest_first() {
    let world = walg_world();
    // The first one is slow: a pool would let others overtake it.
    let slow = Effect::Delay(Duration::from_millis(200));
    world.target.fault(Fault::once(Verb::Put, Failure::NotFound).on("000002.zst").with(slow));
    let report = world.once().await;
    assert_eq!(report.windows, [window("2026-11-21T02:51:19Z", "2026-11-21T02:54:24Z")]);
    // Seen through its records, the copy tells the same.
    let target = Arc::new(world.target.clone());
    let seen = inspect(target, "copies/orders/", &Format::WalGMySQL, None).await.unwrap();
    assert_eq!((&seen.windows, seen.latest), (&report.windows, report.latest));
    assert_eq!((seen.copy_of.unwrap().source, seen.unknown.objects), (world.config.source.clone(), 0));
    let mut written = Vec::new();
    for number in 2..=6 {
        let key = format!("copies/orders/binlog_005/mysql-bin.00000{number}.zst");
        written.push(world.target.head(&key).await.unwrap().modified);
    }
    assert!(written.is_sorted(), "{written:?}");
}

#[tokio::test]
async fn b06_logs_go_on_while_a_base_is_throttled() {
    let mut world = World::new();
    world.base();
    world.work(60);
    world.once().await;
    // 4 MiB at 320 KiB a second: a good twelve seconds, forty intervals.
    let mut bucket = world.bucket();
    world.server.base(4 << 20, &mut bucket);
    world.config.bytes_per_second = Some(320 << 10);
    let interval = Duration::from_millis(300);
    world.config.interval = interval;
    let stop = CancellationToken::new();
    let (_wake, run_now) = mpsc::channel(1);
    let (updates, mut told) = mpsc::channel(64);
    let running =
        tokio::spawn(run(world.session(), Mode::Shift { hand_over: stop.clone() }, run_now, updates));
    let mut latest = None;
    for _ in 0..8 {
        world.work(30);
        let until = tokio::time::Instant::now() + interval * 3;
        loop {
            let update = tokio::time::timeout_at(until, told.recv()).await.expect("no later moment in time");
            if let Some(Update::Cycle(report)) = update {
                assert_eq!(report.full, 1, "the base is still on its way");
                if report.latest > latest {
                    latest = report.latest;
                    break;
                }
            }
        }
    }
    stop.cancel();
    while told.recv().await.is_some() {}
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn b01_a_shift_wakes_on_request_waits_out_failures_and_hands_over() {
    let mut world = World::new();
    world.base();
    world.work(60);
    let stop = CancellationToken::new();
    let (wake, run_now) = mpsc::channel(1);
    let (updates, mut told) = mpsc::channel(64);
    let running =
        tokio::spawn(run(world.session(), Mode::Shift { hand_over: stop.clone() }, run_now, updates));
    let mut next = async |failed: bool| loop {
        match told.recv().await.unwrap() {
            Update::Cycle(report) if !failed && report.full == 1 => return report.latest,
            Update::Failed { side, permanent, .. } if failed => {
                assert_eq!((side, permanent), (Some(Side::Source), false));
                return None;
            }
            _ => {}
        }
    };
    assert_eq!(next(false).await, Some(time("2026-11-01T00:00:59Z")));
    world.work(60);
    wake.send(()).await.unwrap();
    while next(false).await != Some(time("2026-11-01T00:01:59Z")) {}
    world.source.fault(Fault::once(Verb::List, Failure::Unreachable));
    world.work(60);
    wake.send(()).await.unwrap();
    next(true).await;
    while next(false).await != Some(time("2026-11-01T00:02:59Z")) {}
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn b01_a_run_without_progress_ends_itself() {
    let mut world = World::new();
    world.base();
    world.work(60);
    world.config.stuck_after = Duration::from_millis(500);
    let never = Effect::Delay(Duration::from_secs(1 << 30));
    world.source.fault(Fault::once(Verb::List, Failure::NotFound).with(never));
    let ended = sync_once(world.session()).await.unwrap_err();
    assert_eq!(ended.reason(), "Stuck");
}

#[tokio::test]
async fn b01_a_shift_ends_at_once_on_what_only_a_person_can_mend() {
    let mut world = World::new();
    world.base();
    world.once().await;
    world.source.fault(Fault::always(Verb::List, Failure::BadCredentials));
    let (_wake, run_now) = mpsc::channel(1);
    let (updates, mut told) = mpsc::channel(64);
    let mode = Mode::Shift { hand_over: CancellationToken::new() };
    let ended = run(world.session(), mode, run_now, updates).await.unwrap_err();
    assert_eq!((ended.reason(), ended.side()), ("CredentialsRefused", Some(Side::Source)));
    let told = told.recv().await.unwrap();
    assert!(matches!(told, Update::Failed { permanent: true, side: Some(Side::Source), .. }), "{told:?}");
}

/// A bucket that Percona Backup for `MongoDB` wrote, with a base of many objects.
fn pbm_world(objects: usize) -> World {
    let mut world = World::new();
    world.config.format = Format::PerconaMongoDB;
    world.set_now(time("2026-11-20T01:10:00Z"));
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/pbm");
    for line in std::fs::read_to_string(folder.join("listing.jsonl")).unwrap().lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = row["key"].as_str().unwrap();
        let body = std::fs::read(folder.join(key)).unwrap_or_else(|_| key.as_bytes().to_vec());
        world.source.seed(&format!("orders/{key}"), body, time(row["lastModified"].as_str().unwrap()));
    }
    for number in 0..objects {
        let key = format!("orders/2026-11-20T00:00:00Z/rs0/shop.part-{number:05}.s2");
        world.source.seed(&key, format!("{number}"), time("2026-11-20T00:04:30Z"));
    }
    world
}

#[tokio::test]
async fn b02_b01_b14_a_mongodb_base_of_many_objects_counts_only_when_it_is_whole() {
    let world = pbm_world(3000);
    let begun = [window("2026-11-20T00:04:30Z", "2026-11-20T00:44:29Z")];
    // A worker that dies in the payload, before the metadata, and right after it.
    for after in [40, 2100, 3030] {
        world.target.fault(Fault::always(Verb::Put, Failure::AccessDenied).after(after));
        let cut = sync_once(world.session()).await;
        world.target.heal();
        let committed = world.copied().iter().any(|key| key.ends_with(".pbm.json"));
        let seen = inspect(Arc::new(world.target.clone()), "copies/orders/", &world.config.format, None)
            .await
            .unwrap();
        assert_eq!(seen.windows.is_empty(), !committed, "after {after}: {cut:?}");
    }
    let reports = sync_reports(world.session()).await.unwrap();
    let report = reports.last().unwrap();
    assert_eq!((&*report.windows, report.full, report.logs), (&begun[..], 1, 5));
    assert_eq!(report.gaps.len(), 1);
    assert_eq!((report.pending_objects, report.findings.len()), (0, 0), "{:?}", report.findings);
    let copied = world.copied();
    assert!(copied.contains(&".pbm.init".to_owned()));
    // Nothing was sent twice but what was in flight: 3,000 objects and a few.
    assert!(world.source.requests(Verb::Get) < 3000 + 200, "{}", world.source.requests(Verb::Get));
    // One object of the payload disappears at the target: the base is not whole until it is back.
    world.target.unseed("copies/orders/2026-11-20T00:00:00Z/rs0/shop.part-00017.s2");
    let reports = sync_reports(world.session()).await.unwrap();
    assert_eq!(reports[0].full, 0);
    assert_eq!((reports.last().unwrap().full, reports.last().unwrap().copied_objects), (1, 1));
}

#[tokio::test]
async fn b11_a_purge_takes_exactly_what_the_manifest_names_commit_files_first() {
    let world = pbm_world(20);
    world.target.set_versioning(farshore::store::Versioning::Enabled);
    world.once().await;
    let (source, target) = (&world.config.source, &world.config.target);
    let mut other = source.clone();
    other.prefix = "payments/".into();
    let refused = purge(Arc::new(world.target.clone()), &other, target).await.unwrap_err();
    assert_eq!(refused.reason(), "PrefixTaken");
    // Cut off after the first deletion: it was the commit file's, so nothing looks whole.
    world.target.fault(Fault::always(Verb::Delete, Failure::Unreachable).after(1));
    purge(Arc::new(world.target.clone()), source, target).await.unwrap_err();
    world.target.heal();
    assert!(!world.copied().iter().any(|key| key.ends_with(".pbm.json")), "{:?}", world.copied());
    assert_eq!(world.copied().len(), 20 + 3 + 5 + 1);
    let purged = purge(Arc::new(world.target.clone()), source, target).await.unwrap();
    assert_eq!((purged.objects, purged.foreign), (20 + 3 + 5 + 1 + 1, 0));
    let left = world.target.list_versions(&farshore::store::ListVersionsRequest::default()).await.unwrap();
    assert!(left.versions.is_empty(), "{:?}", left.versions);
    assert_eq!(purge(Arc::new(world.target.clone()), source, target).await.unwrap(), Purged::default());
}

#[tokio::test]
async fn b11_a_preview_counts_what_the_purge_then_deletes_and_writes_nothing() {
    let world = pbm_world(20);
    world.target.set_versioning(farshore::store::Versioning::Enabled);
    world.target.set_page_size(3);
    world.once().await;
    let copied = world.copied();
    // Deleted by hand: its versions are still ours. Rewritten by hand: an older version.
    world.target.delete(&format!("copies/orders/{}", copied[4]), None).await.unwrap();
    let body = bytes::Bytes::from_static(b"twelve bytes");
    let (key, options) = (format!("copies/orders/{}", copied[7]), farshore::store::PutOptions::default());
    world.target.put(&key, body, &options).await.unwrap();
    world.target.create_upload(&key, &options).await.unwrap();
    world.target.seed("copies/orders/notes.txt", "mine", world.server.now);
    let (source, target) = (&world.config.source, &world.config.target);
    let writes = || [Verb::Put, Verb::Delete, Verb::AbortUpload].map(|verb| world.target.requests(verb));
    let before = writes();
    let seen = preview(Arc::new(world.target.clone()), source, target).await.unwrap().unwrap();
    assert_eq!(writes(), before);
    // The bucket's mark is kept as a generation, too.
    let ours = copied.len() as u64 + 1;
    assert_eq!((seen.objects, seen.versions, seen.uploads, seen.foreign), (ours - 1, ours + 2, 1, 1));
    assert_eq!(purge(Arc::new(world.target.clone()), source, target).await.unwrap(), seen);
    let mut other = source.clone();
    other.prefix = "payments/".into();
    assert_eq!(preview(Arc::new(world.target.clone()), &other, target).await.unwrap(), None);
}

#[tokio::test]
async fn b11_a_purge_ends_uploads_that_were_left_open() {
    let world = pbm_world(1);
    world.once().await;
    let key = "copies/orders/2026-11-20T00:00:00Z/rs0/large";
    world.target.create_upload(key, &farshore::store::PutOptions::default()).await.unwrap();
    let (source, target) = (&world.config.source, &world.config.target);
    let purged = purge(Arc::new(world.target.clone()), source, target).await.unwrap();
    assert_eq!(purged.uploads, 1);
    assert!(world.target.list_uploads("").await.unwrap().is_empty());
}
