//! Two buckets that are both written, each kept in line with the other: at random, with workers that are killed.
//!
//! `FARSHORE_MUTUAL_RUNS` runs of each kind (`make soak` has many).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use farshore::{
    replicate::follow::{self, Config, Memory, Mutual, Nobody, Session, Strings, Update},
    store::{
        Error, GetOptions, ListRequest, Listens, ObjectStore, PutOptions, Versioning, memory::MemoryStore,
        s3::S3Store,
    },
};
use futures::TryStreamExt;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::stores;

const KEYS: u64 = 6;
const NAMES: [&str; 2] = ["north", "south"];

type Bucket = (Arc<dyn ObjectStore>, Arc<dyn Listens>);

/// A change that somebody made at one side.
struct Change {
    /// `None`: it was a delete.
    content: Option<String>,
    /// Changes of the same key that its maker knew.
    past: BTreeSet<usize>,
}

struct World {
    buckets: [Bucket; 2],
    workers: [Option<JoinHandle<()>>; 2],
    memories: [Arc<Mutex<Memory>>; 2],
    random: fastrand::Rng,
    changes: BTreeMap<String, Vec<Change>>,
    /// The last change made at a side, by side and key.
    last: BTreeMap<(usize, String), usize>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill(0);
        self.kill(1);
    }
}

impl World {
    fn new(buckets: [Bucket; 2], seed: u64) -> Self {
        Self {
            buckets,
            workers: [None, None],
            memories: [Arc::default(), Arc::default()],
            random: fastrand::Rng::with_seed(seed),
            changes: BTreeMap::new(),
            last: BTreeMap::new(),
        }
    }

    fn start(&mut self, from: usize) {
        self.kill(from);
        let to = 1 - from;
        let session = Session {
            source: Arc::clone(&self.buckets[from].0),
            target: Arc::clone(&self.buckets[to].0),
            target_at_source: Arc::new(MemoryStore::new("elsewhere")),
            listens: Arc::clone(&self.buckets[from].1),
            config: Config {
                delete_count: 1_000_000,
                delete_percent: 100,
                mutual: Some(Mutual {
                    source_region: NAMES[from].to_owned(),
                    target_region: NAMES[to].to_owned(),
                }),
                least_period: Duration::from_millis(10),
                stuck_after: Duration::from_mins(1),
                ..Config::default()
            },
            claimant: None,
            memory: Some(self.memories[from].lock().unwrap().clone()),
            others: Arc::new(Nobody),
        };
        self.workers[from] = Some(tokio::spawn(work(session, Arc::clone(&self.memories[from]))));
    }

    fn kill(&mut self, from: usize) {
        if let Some(worker) = self.workers[from].take() {
            worker.abort();
        }
    }

    async fn held(&self, side: usize, key: &str) -> Option<String> {
        match self.buckets[side].0.get(key, &GetOptions::default()).await {
            Err(Error::NotFound(_)) => None,
            reply => {
                let body: Vec<Bytes> = reply.unwrap().body.try_collect().await.unwrap();
                Some(String::from_utf8(body.concat()).unwrap())
            }
        }
    }

    /// Somebody writes or deletes, after a look at what is there.
    async fn change(&mut self, side: usize, key: &str, content: Option<String>) {
        let there = self.held(side, key).await;
        if there.is_none() && content.is_none() {
            return;
        }
        let changes = self.changes.entry(key.to_owned()).or_default();
        let seen = there.and_then(|there| changes.iter().rposition(|c| c.content.as_ref() == Some(&there)));
        let mut past = BTreeSet::new();
        for known in [seen, self.last.get(&(side, key.to_owned())).copied()].into_iter().flatten() {
            past.extend(&changes[known].past);
            past.insert(known);
        }
        self.last.insert((side, key.to_owned()), changes.len());
        changes.push(Change { content: content.clone(), past });
        let store = &self.buckets[side].0;
        match content {
            Some(content) => {
                store.put(key, Bytes::from(content), &PutOptions::default()).await.unwrap();
            }
            None => store.delete(key, None).await.unwrap(),
        }
    }

    async fn act(&mut self) {
        let side = self.random.usize(0..2);
        let key = format!("k{}", self.random.u64(0..KEYS));
        match self.random.u8(0..10) {
            0..=4 => {
                let content = format!("{key} {:x}", self.random.u64(..));
                self.change(side, &key, Some(content)).await;
            }
            5..=7 => self.change(side, &key, None).await,
            8 => self.start(side),
            _ => self.kill(side),
        }
        tokio::time::sleep(Duration::from_millis(self.random.u64(0..8))).await;
    }

    async fn listed(&self, side: usize) -> BTreeMap<String, String> {
        let page = self.buckets[side].0.list(&ListRequest::default()).await.unwrap();
        assert!(page.next.is_none());
        let users = page.objects.into_iter().filter(|object| object.key.starts_with('k'));
        users.map(|object| (object.key, object.etag.0)).collect()
    }

    /// Both workers run until both sides are equal and stay so.
    async fn converge(&mut self, what: &str) {
        self.start(0);
        self.start(1);
        let (began, mut same) = (Instant::now(), 0);
        let mut last = BTreeMap::new();
        while same < 5 {
            let (north, south) = (self.listed(0).await, self.listed(1).await);
            same = if north == south && north == last { same + 1 } else { 0 };
            last = north;
            assert!(began.elapsed() < Duration::from_mins(1), "{what}: {last:?} is not {south:?}");
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        self.kill(0);
        self.kill(1);
    }

    /// What was known to be replaced or deleted when something else was done is not there.
    async fn nothing_came_back(&self, what: &str) {
        for (key, changes) in &self.changes {
            let held = self.held(0, key).await;
            let known: BTreeSet<usize> = changes.iter().flat_map(|change| change.past.clone()).collect();
            let latest = changes.iter().enumerate().filter(|(number, _)| !known.contains(number));
            let latest: Vec<_> = latest.map(|(_, change)| &change.content).collect();
            assert!(latest.contains(&&held), "{what}: {key} holds {held:?}, the latest were {latest:?}");
        }
    }
}

/// A worker that compares as fast as it can.
async fn work(session: Session, memory: Arc<Mutex<Memory>>) {
    let (ask, run_now) = mpsc::channel(1);
    let (_release, released) = watch::channel(None);
    let (updates, mut told) = mpsc::channel(64);
    let strings = Strings { run_now, released, hand_over: CancellationToken::new(), updates };
    let listen = async {
        while let Some(update) = told.recv().await {
            match update {
                Update::Drawn { written, .. } => drop(written.send(())),
                Update::Compared(compared) => {
                    assert_eq!(compared.counts.failed, 0, "{:?}", compared.examples.failed);
                    *memory.lock().unwrap() = compared.memory;
                    ask.try_send(()).ok();
                }
                Update::Failed { message, .. } => panic!("{message}"),
                Update::Progress(_) => {}
            }
        }
    };
    let (ended, ()) = tokio::join!(follow::run(session, strings), listen);
    ended.unwrap();
}

/// Writes and deletes at both sides while workers come and go; then changes made while none runs.
async fn story(buckets: [Bucket; 2], seed: u64, acts: usize) {
    let mut world = World::new(buckets, seed);
    let what = format!("seed {seed}");
    for _ in 0..3 {
        for _ in 0..acts {
            world.act().await;
        }
        world.kill(0);
        world.kill(1);
        for _ in 0..3 {
            let (side, key) = (world.random.usize(0..2), format!("k{}", world.random.u64(0..KEYS)));
            world.change(side, &key, None).await;
        }
        world.converge(&what).await;
        world.nothing_came_back(&what).await;
    }
    let mut wanted = BTreeMap::new();
    for key in (0..KEYS).map(|key| format!("k{key}")) {
        let side = world.random.usize(0..2);
        let content = world.random.bool().then(|| format!("{key} at last"));
        world.change(side, &key, content.clone()).await;
        wanted.insert(key, content);
    }
    world.converge(&what).await;
    for (key, content) in &wanted {
        assert_eq!([&world.held(0, key).await, &world.held(1, key).await], [content; 2], "{what}: {key}");
    }
}

fn runs(usual: u64) -> u64 {
    std::env::var("FARSHORE_MUTUAL_RUNS").map_or(usual, |runs| runs.parse().unwrap())
}

fn memory() -> Bucket {
    let store = MemoryStore::new("b");
    store.set_versioning(Versioning::Enabled);
    (Arc::new(store.clone()), Arc::new(store))
}

async fn versioned(store: S3Store) -> Bucket {
    store.set_versioning(true).await.unwrap();
    (Arc::new(store.clone()), Arc::new(store))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c08_two_buckets_in_memory_agree_whatever_is_done_to_them_and_their_workers() {
    for seed in 0..runs(6) {
        story([memory(), memory()], seed, 60).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c08_minio_and_versity_agree_whatever_is_done_to_them_and_their_workers() {
    for seed in 0..runs(1) {
        let buckets = [versioned(stores::minio_a().await).await, versioned(stores::versity().await).await];
        story(buckets, seed, 40).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c08_two_minios_agree_whatever_is_done_to_them_and_their_workers() {
    for seed in 0..runs(1) {
        let buckets = [versioned(stores::minio_a().await).await, versioned(stores::minio_b().await).await];
        story(buckets, seed, 40).await;
    }
}
