//! Lanes between two buckets in memory.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use super::*;
use crate::{
    replicate::{
        Copier, CopyRequest, Outcome,
        feed::{Kind, Listen, Poll},
    },
    store::{
        ListenRequest, ObjectStore, PutOptions,
        memory::{Effect, Failure, Fault, MemoryStore, Verb},
    },
};

/// Copies what is there, deletes what is gone unless its lifecycle did that, and watches the order.
#[derive(Debug)]
struct Mirror {
    source: MemoryStore,
    target: MemoryStore,
    copier: Copier,
    under_way: Mutex<HashMap<String, u32>>,
    at_once: AtomicUsize,
}

#[async_trait]
impl Deal for Mirror {
    async fn deal(&self, change: &Change) -> Result<Dealt> {
        {
            let mut under_way = self.under_way.lock().unwrap();
            assert!(under_way.insert(change.key.clone(), 1).is_none(), "{} twice at a time", change.key);
            self.at_once.fetch_max(under_way.len(), Ordering::Relaxed);
        }
        let dealt = self.bring(change).await;
        self.under_way.lock().unwrap().remove(&change.key);
        dealt
    }
}

impl Mirror {
    async fn bring(&self, change: &Change) -> Result<Dealt> {
        match self.copier.copy(&CopyRequest::new(&change.key)).await? {
            Outcome::Copied(copied) => Ok(Dealt::Copied { bytes: copied.size }),
            Outcome::Gone if change.kind != Kind::Expired => {
                self.target.delete(&change.key, None).await.map_err(Error::target)?;
                Ok(Dealt::Deleted)
            }
            _ => Ok(Dealt::Nothing),
        }
    }

    /// What a comparison does.
    async fn compare(&self) {
        for key in self.source.keys() {
            if self.source.bytes(&key) != self.target.bytes(&key) {
                self.copier.copy(&CopyRequest::new(&key)).await.unwrap();
            }
        }
        for key in self.target.keys().into_iter().filter(|key| self.source.bytes(key).is_none()) {
            self.target.delete(&key, None).await.unwrap();
        }
    }

    fn is_alike(&self) -> bool {
        let both =
            |store: &MemoryStore| store.keys().into_iter().map(|k| (store.bytes(&k), k)).collect::<Vec<_>>();
        both(&self.source) == both(&self.target)
    }
}

struct Running {
    mirror: Arc<Mirror>,
    lanes: Lanes,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), tokio::task::JoinError>>,
}

fn quick() -> Options {
    let pause = Duration::from_millis(10);
    Options { pause, longest_pause: Duration::from_millis(100), ..Options::default() }
}

async fn start(options: Options) -> Running {
    let (source, target) = (MemoryStore::new("source"), MemoryStore::new("target"));
    let copier = Copier::new(Arc::new(source.clone()), Arc::new(target.clone()));
    let (under_way, at_once) = (Mutex::default(), AtomicUsize::new(0));
    let mirror = Arc::new(Mirror { source: source.clone(), target, copier, under_way, at_once });
    let request = ListenRequest { ping: Duration::from_millis(20), silence: Duration::from_millis(200) };
    let feed = Box::new(Listen::new(Arc::new(source)).request(request));
    let stop = CancellationToken::new();
    let (lanes, work) = lanes(feed, Arc::clone(&mirror) as Arc<dyn Deal>, options, stop.clone());
    let task = tokio::spawn(work);
    let mut running = Running { mirror, lanes, stop, task };
    assert!(matches!(running.event().await, Event::Compare { .. }), "what was before is unknown");
    running
}

impl Running {
    async fn event(&mut self) -> Event {
        let next = tokio::time::timeout(Duration::from_secs(10), self.lanes.events.recv());
        next.await.expect("something is told").expect("it goes on")
    }

    async fn until(&mut self, what: &str, holds: impl FnMut(&State) -> bool) -> State {
        let reached = tokio::time::timeout(Duration::from_secs(10), self.lanes.state.wait_for(holds));
        *reached.await.unwrap_or_else(|_| panic!("it was to {what}")).expect("it goes on")
    }

    /// All that was told until now is dealt with.
    async fn settles(&mut self) -> State {
        let now = Timestamp::now();
        self.until("settle", |state| state.waiting == 0 && state.until > Some(now)).await
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

async fn put(store: &MemoryStore, key: &str, body: &str) {
    store.put(key, Bytes::from(body.to_owned()), &PutOptions::default()).await.unwrap();
}

#[tokio::test]
async fn c01_c03_what_happens_at_the_source_happens_at_the_target() {
    let mut run = start(quick()).await;
    let source = run.mirror.source.clone();
    for n in 0..50 {
        put(&source, &format!("k{n}"), "v1").await;
    }
    put(&source, "k7", "v2").await;
    source.delete("k8", None).await.unwrap();
    let state = run.settles().await;
    assert!(run.mirror.is_alike());
    assert!((49..=51).contains(&state.copied) && state.copied_bytes == 2 * state.copied, "{state:?}");
    assert!(state.connected && state.failing == 0, "{state:?}");
    run.end().await;
}

#[tokio::test]
async fn c10_what_the_source_s_lifecycle_deleted_stays_at_the_target() {
    let mut run = start(quick()).await;
    put(&run.mirror.source, "k", "v1").await;
    run.settles().await;
    run.mirror.source.expire("k");
    let state = run.settles().await;
    assert_eq!((state.deleted, run.mirror.target.keys()), (0, vec!["k".to_owned()]));
    run.end().await;
}

#[tokio::test]
async fn a_hot_key_is_copied_few_times_in_order_and_ends_with_its_last_state() {
    let mut run = start(quick()).await;
    let slow = Fault::always(Verb::Put, Failure::Full).with(Effect::Delay(Duration::from_millis(20)));
    run.mirror.target.fault(slow);
    for n in 0..500 {
        put(&run.mirror.source, "hot", &format!("v{n}")).await;
    }
    let state = run.settles().await;
    assert!(run.mirror.is_alike());
    assert!(state.copied < 50, "{state:?}");
    run.end().await;
}

#[tokio::test]
async fn lanes_are_no_more_than_allowed_and_all_are_used() {
    let mut run = start(Options { lanes: 5, ..quick() }).await;
    let slow = Fault::always(Verb::Get, Failure::Full).with(Effect::Delay(Duration::from_millis(10)));
    run.mirror.source.fault(slow);
    for n in 0..40 {
        put(&run.mirror.source, &format!("k{n}"), "v").await;
    }
    run.settles().await;
    assert_eq!(run.mirror.at_once.load(Ordering::Relaxed), 5);
    run.end().await;
}

#[tokio::test]
async fn c05_a_key_that_fails_holds_the_time_point_and_nothing_else() {
    let mut run = start(quick()).await;
    run.settles().await;
    run.mirror.target.fault(Fault::always(Verb::Put, Failure::Locked).on("bad"));
    put(&run.mirror.source, "bad", "v").await;
    let limit = Timestamp::now();
    put(&run.mirror.source, "good", "v").await;
    let Event::Failed { key, error, .. } = run.event().await else { panic!() };
    assert_eq!((key.as_str(), error.reason()), ("bad", "ObjectLocked"));
    let state = run.until("go on", |state| state.copied == 1 && state.failing == 1).await;
    assert_eq!(run.mirror.target.keys(), ["good"]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let later = *run.lanes.state.borrow();
    assert!(later.until.is_some_and(|until| until <= limit), "{later:?} after {state:?}, until {limit}");
    run.mirror.target.heal();
    run.settles().await;
    assert!(run.mirror.is_alike());
    run.end().await;
}

#[tokio::test]
async fn c16_what_the_feed_drops_is_left_to_a_comparison_and_nothing_else_is() {
    let mut run = start(quick()).await;
    let source = run.mirror.source.clone();
    source.lose_notices(5);
    let mut chance = fastrand::Rng::with_seed(3);
    for n in 0..2000 {
        let key = format!("k{:03}", chance.u32(..400));
        if chance.u8(..4) == 0 {
            source.delete(&key, None).await.unwrap();
        } else {
            put(&source, &key, &format!("v{n}")).await;
        }
        if n % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    run.settles().await;
    assert!(!run.mirror.is_alike(), "one of 100 lost notices was the last word on its key");
    run.mirror.compare().await;
    assert!(run.mirror.is_alike());
    run.end().await;
}

#[tokio::test]
async fn c16_too_many_keys_at_once_ask_for_a_comparison() {
    let mut run = start(Options { memory: 4096, lanes: 1, ..quick() }).await;
    let slow = Fault::always(Verb::Get, Failure::Full).with(Effect::Delay(Duration::from_millis(20)));
    run.mirror.source.fault(slow);
    for n in 0..30 {
        put(&run.mirror.source, &format!("k{n}"), "v").await;
    }
    let Event::Compare { why } = run.event().await else { panic!() };
    assert!(why.contains("more keys"), "{why}");
    // Whoever reads no events stops the lanes: so read them.
    run.lanes.events.close();
    let state = run.settles().await;
    assert!(state.copied < 30, "{state:?}");
    run.mirror.compare().await;
    assert!(run.mirror.is_alike());
    run.end().await;
}

#[tokio::test]
async fn c16_a_feed_that_breaks_is_connected_again_and_everything_compared() {
    let mut run = start(quick()).await;
    for mute in [false, true] {
        let source = run.mirror.source.clone();
        put(&source, "before", "v").await;
        run.settles().await;
        if mute {
            source.mute_listeners(true);
        } else {
            source.drop_listeners();
        }
        let Event::Broken { error } = run.event().await else { panic!() };
        assert_eq!(error.reason(), "StoreUnreachable", "{error}");
        run.until("say so", |state| !state.connected).await;
        put(&source, "meanwhile", &format!("{mute}")).await;
        source.mute_listeners(false);
        assert!(matches!(run.event().await, Event::Compare { .. }));
        assert_ne!(run.mirror.target.bytes("meanwhile"), source.bytes("meanwhile"));
        run.mirror.compare().await;
        put(&source, "after", &format!("{mute}")).await;
        run.settles().await;
        assert!(run.mirror.is_alike());
    }
    run.end().await;
}

#[tokio::test]
async fn who_only_compares_knows_no_live_time_point() {
    let mirror = start(quick()).await.mirror;
    let stop = CancellationToken::new();
    let (mut all, work) = lanes(Box::new(Poll::default()), mirror, quick(), stop.clone());
    let task = tokio::spawn(work);
    assert!(matches!(all.events.recv().await, Some(Event::Compare { .. })));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(all.state.borrow().until, None);
    stop.cancel();
    task.await.unwrap().unwrap();
}

/// A task that panics is known at once, not missed.
#[tokio::test]
async fn a_panic_ends_the_lanes() {
    #[derive(Debug)]
    struct Broken;
    #[async_trait]
    impl Deal for Broken {
        async fn deal(&self, _: &Change) -> Result<Dealt> {
            panic!("as ordered")
        }
    }
    let source = MemoryStore::new("b");
    let feed = Box::new(Listen::new(Arc::new(source.clone())));
    let (mut lanes, work) = lanes(feed, Arc::new(Broken), quick(), CancellationToken::new());
    let task = tokio::spawn(work);
    assert!(lanes.events.recv().await.is_some());
    put(&source, "k", "v").await;
    assert!(task.await.unwrap().unwrap_err().is_panic());
}
