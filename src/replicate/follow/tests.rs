//! Two buckets in memory, kept in line.

mod attributes;
mod cost;
mod expiry;
mod prefixes;
mod unheard;

use std::collections::BTreeSet;

use bytes::Bytes;
use tokio::time::Instant;

use super::*;
use crate::replicate::feed::Choice;
use crate::store::{
    PutOptions,
    memory::{Failure, Fault, MemoryStore, Verb},
};

struct Run {
    source: MemoryStore,
    target: MemoryStore,
    updates: mpsc::Receiver<Update>,
    release: watch::Sender<Option<Timestamp>>,
    now: mpsc::Sender<()>,
    hand_over: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), Error>>,
}

fn config() -> Config {
    Config {
        delete_count: 5,
        feed: Choice::Poll,
        least_period: Duration::from_millis(50),
        stuck_after: Duration::from_mins(1),
        ..Config::default()
    }
}

async fn bucket(keys: impl IntoIterator<Item = u32>) -> MemoryStore {
    let store = MemoryStore::new("b");
    for key in keys {
        put(&store, key, "v1").await;
    }
    store
}

async fn put(store: &MemoryStore, key: u32, body: &str) {
    let body = Bytes::from(body.to_owned());
    store.put(&format!("k{key:04}"), body, &PutOptions::default()).await.unwrap();
}

fn session(source: &MemoryStore, target: &MemoryStore, memory: impl Into<Option<Memory>>) -> Session {
    let handle = |store: &MemoryStore| Arc::new(store.clone()) as Arc<dyn ObjectStore>;
    Session {
        source: handle(source),
        target: handle(target),
        target_at_source: handle(&MemoryStore::new("b")),
        listens: Arc::new(source.clone()),
        config: config(),
        claimant: None,
        memory: memory.into(),
        others: Arc::new(Nobody),
    }
}

fn start(source: MemoryStore, target: MemoryStore, memory: impl Into<Option<Memory>>) -> Run {
    start_session(session(&source, &target, memory), source, target)
}

fn start_session(session: Session, source: MemoryStore, target: MemoryStore) -> Run {
    let (tell, updates) = mpsc::channel(64);
    let (release, released) = watch::channel(None);
    let (now, run_now) = mpsc::channel(1);
    let hand_over = CancellationToken::new();
    let strings = Strings { run_now, released, hand_over: hand_over.clone(), updates: tell };
    let task = tokio::spawn(run(session, strings));
    Run { source, target, updates, release, now, hand_over, task }
}

impl Run {
    /// The next comparison that is as wanted.
    async fn until(&mut self, what: &str, holds: impl Fn(&Compared) -> bool) -> Compared {
        let next = async {
            loop {
                match self.updates.recv().await.expect("it goes on") {
                    Update::Compared(compared) if holds(&compared) => return *compared,
                    Update::Failed { message, .. } => panic!("{message}"),
                    Update::Drawn { written, .. } => written.send(()).unwrap(),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), next)
            .await
            .unwrap_or_else(|_| panic!("it was to {what}"))
    }

    async fn end(self) {
        self.hand_over.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn keys(store: &MemoryStore) -> BTreeSet<String> {
    store.keys().into_iter().collect()
}

#[tokio::test]
async fn c01_c05_creates_updates_and_deletes_go_over_and_the_time_point_says_so() {
    let mut run = start(bucket(0..20).await, bucket(0..3).await, None);
    let first = run.until("migrate", |compared| compared.memory.migrated.is_some()).await;
    assert_eq!(first.memory.synced_until, Some(first.dealt_with_until));
    assert_eq!((first.counts.copied, first.memory.repaired), (17, 0));
    let before = Timestamp::now();
    put(&run.source, 7, "v2").await;
    put(&run.source, 99, "v1").await;
    run.source.delete("k0001", None).await.unwrap();
    let after = run.until("see all", |compared| compared.started_at > before).await;
    assert!(after.memory.synced_until > first.memory.synced_until);
    assert_eq!(after.memory.repaired, 3);
    assert_eq!(keys(&run.source), keys(&run.target));
    assert_eq!(run.target.bytes("k0007"), Some(Bytes::from("v2")));
    run.end().await;
}

#[tokio::test]
async fn c04_progress_counts_what_was_there_and_ends_at_all_of_it() {
    let mut run = start(bucket(0..40).await, bucket(0..10).await, None);
    let mut last = MigrationProgress::default();
    loop {
        match run.updates.recv().await.expect("it goes on") {
            Update::Progress(Progress { migration: Some(now), .. }) => {
                assert!(now.objects == 40 && now.objects_done >= last.objects_done.max(10), "{now:?}");
                assert!(now.bytes == 80 && now.bytes_done >= last.bytes_done.max(20), "{now:?}");
                last = now;
            }
            Update::Compared(compared) => {
                let migrated = compared.memory.migrated.unwrap();
                assert_eq!((migrated.objects, migrated.bytes), (40, 80));
                break;
            }
            Update::Progress(_) => {}
            Update::Drawn { written, .. } => written.send(()).unwrap(),
            Update::Failed { message, .. } => panic!("{message}"),
        }
    }
    run.end().await;
}

#[tokio::test]
async fn c18_a_burst_of_deletes_is_held_and_the_rest_goes_on_until_it_is_released() {
    let mut run = start(bucket(0..50).await, bucket([]).await, None);
    run.until("migrate", |compared| compared.memory.migrated.is_some()).await;
    for key in 0..40 {
        run.source.delete(&format!("k{key:04}"), None).await.unwrap();
    }
    put(&run.source, 99, "v1").await;
    let held = run.until("hold", |compared| compared.memory.held.is_some()).await;
    let held_at = held.memory.held.clone().unwrap();
    assert!(held_at.objects > 5 && held_at.example.is_some(), "{held_at:?}");
    let later = run.until("copy all the same", |compared| compared.counts.source == 11).await;
    assert_eq!((later.counts.held, later.counts.deleted), (40, 0));
    assert!(later.memory.synced_until < Some(later.dealt_with_until), "it stops before what is held");
    assert!(keys(&run.target).contains("k0099") && keys(&run.target).len() == 51);
    run.release.send_replace(Some(Timestamp::now()));
    let gone = run.until("delete", |compared| compared.memory.held.is_none()).await;
    assert_eq!((gone.counts.deleted, gone.memory.spent), (40, None));
    assert_eq!(keys(&run.source), keys(&run.target));
    run.end().await;
}

#[tokio::test]
async fn c14_an_emptied_source_empties_no_target() {
    let mut run = start(bucket(0..50).await, bucket([]).await, None);
    run.until("migrate", |compared| compared.memory.migrated.is_some()).await;
    for key in run.source.keys() {
        run.source.delete(&key, None).await.unwrap();
    }
    run.until("hold", |compared| compared.memory.held.as_ref().is_some_and(|held| held.objects == 50)).await;
    assert_eq!(run.target.keys().len(), 50);
    run.end().await;
}

#[tokio::test]
async fn c11_the_next_run_knows_what_the_last_one_knew() {
    let mut run = start(bucket(0..50).await, bucket([]).await, None);
    let first = run.until("migrate", |compared| compared.memory.migrated.is_some()).await;
    let (source, target) = (run.source.clone(), run.target.clone());
    run.end().await;
    for key in 0..30 {
        source.delete(&format!("k{key:04}"), None).await.unwrap();
    }
    let mut run = start(source, target, first.memory.clone());
    let second = run.until("compare", |_| true).await;
    assert_eq!(second.memory.migrated, first.memory.migrated);
    assert_eq!(second.counts.held, 30);
    assert_eq!(second.memory.synced_until, first.memory.synced_until);
    run.end().await;
}

#[tokio::test]
async fn c06_two_ends_that_are_one_store_are_found_out() {
    let one = bucket(0..3).await;
    for seen_by_alias in [false, true] {
        let mut session = session(&bucket([]).await, &one, Memory::default());
        if seen_by_alias {
            session.target_at_source = Arc::new(one.clone());
        } else {
            session.source = Arc::new(one.clone());
        }
        let (updates, _told) = mpsc::channel(1);
        let (_now, run_now) = mpsc::channel(1);
        let (_release, released) = watch::channel(None);
        let strings = Strings { run_now, released, hand_over: CancellationToken::new(), updates };
        let error = run(session, strings).await.unwrap_err();
        assert_eq!((error.reason(), error.is_permanent()), ("SameStore", true));
        assert_eq!(one.keys().len(), 3, "nothing stays of the probe");
    }
}

#[tokio::test]
async fn p08_a_store_that_is_down_is_asked_again_and_wrong_keys_end_the_run() {
    let source = bucket(0..5).await;
    source.fault(Fault::once(Verb::List, Failure::Unreachable));
    let mut run = start(source, bucket([]).await, None);
    let told = async {
        loop {
            if let Some(Update::Failed { reason, permanent, side, .. }) = run.updates.recv().await {
                return (reason, permanent, side);
            }
        }
    };
    assert_eq!(told.await, ("StoreUnreachable", false, Some(Side::Source)));
    run.now.send(()).await.unwrap();
    run.until("go on", |compared| compared.counts.copied == 5).await;
    run.target.fault(Fault::always(Verb::List, Failure::BadCredentials));
    let error = run.task.await.unwrap().unwrap_err();
    assert_eq!((error.reason(), error.side()), ("CredentialsRefused", Some(Side::Target)));
}

#[tokio::test]
async fn c05_listing_costs_no_more_than_its_share() {
    let mut run = start(bucket(0..5).await, bucket(0..5).await, None);
    for _ in 0..3 {
        let compared = run.until("compare", |_| true).await;
        assert!(compared.period >= compared.counts.listing * 10, "{compared:?}");
    }
    run.end().await;
}

/// Others that copy what they are given when they are told to.
#[derive(Debug, Default)]
struct Helpers {
    plan: std::sync::Mutex<Option<crate::replicate::plan::Plan>>,
    ended: watch::Sender<Option<bool>>,
}

#[async_trait::async_trait]
impl Others for Helpers {
    fn about(&self) -> &'static str {
        "here to there"
    }

    fn shares(&self) -> u32 {
        5
    }

    fn are_at_it(&self) -> bool {
        self.plan.lock().unwrap().is_some()
    }

    fn take_plans(&self) -> bool {
        true
    }

    async fn take(&self, plan: crate::replicate::plan::Encoded) -> bool {
        *self.plan.lock().unwrap() = Some(plan.plan);
        true
    }

    async fn ended(&self) -> bool {
        let mut ended = self.ended.subscribe();
        let told = ended.wait_for(Option::is_some).await.unwrap();
        told.unwrap()
    }
}

/// A bucket whose history is large: small objects, seeded.
fn large() -> MemoryStore {
    let store = MemoryStore::new("b");
    for key in 0..20_500 {
        store.seed(&format!("k{key:05}"), Bytes::from_static(b"v1"), Timestamp::now());
    }
    store
}

fn helped(source: &MemoryStore, target: &MemoryStore, helpers: &Arc<Helpers>) -> Run {
    let (tell, updates) = mpsc::channel(64);
    let (release, released) = watch::channel(None);
    let (now, run_now) = mpsc::channel(1);
    let hand_over = CancellationToken::new();
    let strings = Strings { run_now, released, hand_over: hand_over.clone(), updates: tell };
    let others = Arc::clone(helpers) as Arc<dyn Others>;
    let session = Session { others, ..session(source, target, Memory::default()) };
    let task = tokio::spawn(run(session, strings));
    Run { source: source.clone(), target: target.clone(), updates, release, now, hand_over, task }
}

async fn waits(run: &mut Run) {
    loop {
        match run.updates.recv().await.expect("it goes on") {
            Update::Progress(progress) if progress.waiting => {
                assert!(progress.contact && !progress.busy, "it is well: {progress:?}");
                return;
            }
            Update::Progress(_) => {}
            other => panic!("it was to wait: {other:?}"),
        }
    }
}

#[tokio::test]
async fn c04_a_large_history_is_given_out_and_compared_once_the_others_have_ended() {
    let (source, target) = (large(), bucket([]).await);
    let helpers = Arc::new(Helpers::default());
    let mut run = helped(&source, &target, &helpers);
    waits(&mut run).await;
    let plan = helpers.plan.lock().unwrap().clone().unwrap();
    assert_eq!((plan.held.objects, plan.lacking().objects), (20_500, 20_500));
    assert!(plan.ranges.len() >= 32, "{}", plan.ranges.len());
    assert!(target.keys().is_empty(), "it copies nothing itself");
    run.end().await;
    // Another shift finds the plan, and lists nothing.
    let lists = source.requests(Verb::List);
    let mut run = helped(&source, &target, &helpers);
    waits(&mut run).await;
    assert_eq!(source.requests(Verb::List), lists);
    for planned in &plan.ranges {
        let side = |store: &MemoryStore| (Arc::new(store.clone()) as Arc<dyn ObjectStore>, String::new());
        let sweep = super::super::sweep::Sweep::new(
            side(&source),
            side(&target),
            super::super::sweep::Action::Copy,
            super::super::sweep::Effort::default(),
        );
        sweep.within(planned.range.clone()).run().await.unwrap();
    }
    assert_eq!(target.keys(), source.keys(), "the ranges hold everything");
    helpers.ended.send_replace(Some(true));
    let compared = run.until("compare", |_| true).await;
    assert_eq!((compared.counts.alike, compared.counts.copied), (20_500, 0));
    assert_eq!(compared.memory.migrated.map(|migrated| migrated.objects), Some(20_500));
    run.end().await;
}

#[tokio::test]
async fn c04_what_the_others_gave_up_is_copied_here() {
    let (source, target) = (large(), bucket([]).await);
    let helpers = Arc::new(Helpers::default());
    let mut run = helped(&source, &target, &helpers);
    waits(&mut run).await;
    helpers.ended.send_replace(Some(false));
    let compared = run.until("migrate", |compared| compared.memory.migrated.is_some()).await;
    assert_eq!((compared.counts.copied, target.keys().len()), (20_500, 20_500));
    run.end().await;
}

#[tokio::test]
async fn c04_without_a_history_what_was_there_before_is_left_and_counted() {
    let (source, target) = (MemoryStore::new("b"), bucket([]).await);
    let long_ago = Timestamp::from_second(1_000_000).unwrap();
    for key in 0..7 {
        source.seed(&format!("old{key}"), Bytes::from_static(b"v1"), long_ago);
    }
    put(&source, 1, "new").await;
    let mut session = session(&source, &target, Memory::default());
    session.config.since = Some(Timestamp::now() - std::time::Duration::from_mins(1));
    let (tell, mut updates) = mpsc::channel(64);
    let (_release, released) = watch::channel(None);
    let (_now, run_now) = mpsc::channel(1);
    let hand_over = CancellationToken::new();
    let strings = Strings { run_now, released, hand_over: hand_over.clone(), updates: tell };
    let task = tokio::spawn(run(session, strings));
    let compared = loop {
        if let Update::Compared(compared) = updates.recv().await.expect("it goes on") {
            break compared;
        }
    };
    assert_eq!((compared.counts.left, compared.counts.copied), (7, 1));
    assert_eq!(compared.memory.migrated, None, "nothing is said to be migrated");
    assert!(compared.memory.synced_until.is_some(), "changes since are all there");
    assert_eq!(target.keys(), ["k0001"]);
    hand_over.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn c14_c18_the_first_comparison_deletes_nothing_and_the_next_one_does_what_it_may() {
    let mut run = start(bucket(0..50).await, bucket(48..53).await, None);
    let first = run.until("compare", |_| true).await;
    assert_eq!((first.counts.extra, first.counts.deleted, first.counts.held), (3, 0, 0));
    assert!(first.memory.synced_until.is_none() && first.memory.held.is_none());
    let next = run.until("delete", |compared| compared.counts.deleted == 3).await;
    assert_eq!(next.memory.spent.map(|spent| spent.objects), Some(3));
    assert!(next.memory.synced_until.is_some());
    assert_eq!(keys(&run.source), keys(&run.target));
    run.end().await;
}

#[tokio::test]
async fn c01_c03_c18_what_a_feed_tells_goes_over_at_once_and_its_deletes_draw_on_the_budget() {
    let (source, target) = (bucket(0..60).await, bucket(0..60).await);
    let mut session = session(&source, &target, Memory::default());
    // Comparisons are far apart: what goes over here, the feed has told.
    session.config = Config { feed: Choice::Listen, least_period: Duration::from_mins(10), ..config() };
    let mut run = start_session(session, source, target);
    run.until("compare once", |_| true).await;
    put(&run.source, 77, "v1").await;
    for key in 0..20 {
        run.source.delete(&format!("k{key:04}"), None).await.unwrap();
    }
    let (mut spent, began) = (0, Instant::now());
    while run.target.bytes("k0077").is_none() || spent == 0 || began.elapsed() < Duration::from_secs(2) {
        assert!(began.elapsed() < Duration::from_secs(20), "{spent}");
        if let Ok(Some(Update::Drawn { spent: now, written })) =
            tokio::time::timeout(Duration::from_millis(100), run.updates.recv()).await
        {
            spent = now.objects;
            written.send(()).unwrap();
        }
    }
    // Five, or a tenth of sixty; a comparison holds what is beyond.
    assert!((1..=6).contains(&spent), "{spent}");
    assert_eq!(run.target.keys().len(), 61 - usize::try_from(spent).unwrap());
    run.end().await;
}
