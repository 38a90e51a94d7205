//! The story itself: a load, a worker, faults, and somebody who looks whether the time point is true.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use farshore::store::{GetOptions, ListRequest, ObjectStore, s3::S3Store};
use fastrand::Rng;
use futures::{StreamExt, stream};
use jiff::Timestamp;

use super::{
    child::Order,
    count,
    history::State,
    load::{self, Load},
    server::{Link, Make, Server},
    trouble::Trouble,
    worker::Worker,
};
use crate::{
    stores,
    suite::{keys, md5, read},
};

/// Of the feed's changes, how many of a hundred are lost.
pub const LOST: u8 = 5;
/// A bucket on a store of its own, straight and over a link that fails.
pub struct Side {
    pub server: Server,
    pub link: Link,
    pub store: S3Store,
}

impl Side {
    pub async fn start(make: Make) -> Self {
        let server = Server::start(make).await;
        let link = Link::to(&server.endpoint).await;
        let store = S3Store::new(stores::config(&server.endpoint, &stores::fresh_name())).unwrap();
        let begin = Instant::now();
        while let Err(error) = store.create_bucket().await {
            assert!(begin.elapsed() < Duration::from_secs(30), "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { server, link, store }
    }

    pub fn through_link(&self) -> (String, String) {
        (self.link.endpoint.clone(), self.store.bucket().to_owned())
    }
}

/// What was seen of the time point.
#[derive(Debug, Default)]
pub struct Samples {
    pub taken: u64,
    /// Different time points among them.
    pub moments: BTreeSet<Timestamp>,
    pub untrue: BTreeSet<String>,
}

/// One direction of two buckets, and what is written to its source.
struct Rule {
    source: Arc<Side>,
    target: Arc<Side>,
    worker: Worker,
    load: Arc<Load>,
}

impl Rule {
    fn start(test: &'static str, (source, target): (Arc<Side>, Arc<Side>), load: Arc<Load>) -> Self {
        let order = Order {
            source: source.through_link(),
            target: target.through_link(),
            // The budget has a story of its own.
            delete_count: u64::MAX,
            delete_percent: 10,
            lost_percent: LOST,
            mutual: None,
            noted: None,
        };
        Self { source, target, worker: Worker::keep(test, order), load }
    }

    /// Looks again and again whether all is there that the time point promises. Never ends.
    async fn watch(&self, samples: &Mutex<Samples>) {
        loop {
            if let Some(until) = self.worker.seen().noted.and_then(|noted| noted.synced_until) {
                let untrue = self.objections(until).await;
                let mut samples = samples.lock().unwrap();
                samples.taken += 1;
                samples.moments.insert(until);
                samples.untrue.extend(untrue);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What the target lacks of what was done by then. First the target is looked at and then the history, so
    /// that a write in between is no lack.
    async fn objections(&self, until: Timestamp) -> Vec<String> {
        let keys = self.load.history.lock().unwrap().keys();
        let looks = keys.into_iter().map(|key| async move {
            let state = loop {
                match load::state(&self.target.store, &key).await {
                    Ok(state) => break state,
                    // It was killed a moment ago.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            };
            self.load.history.lock().unwrap().objection(&key, state, until)
        });
        stream::iter(looks).buffer_unordered(8).filter_map(std::future::ready).collect().await
    }

    /// At no sample the time point was later than the truth.
    fn is_true(&self, samples: &Samples) {
        let seen = self.worker.seen();
        println!("{} samples of {} time points; {seen:#?}", samples.taken, samples.moments.len());
        assert!(samples.untrue.is_empty(), "not true at that moment: {:#?}", samples.untrue);
        assert!(samples.moments.len() >= MOMENTS && seen.lost > 0, "too little was seen");
    }

    /// Both buckets hold what was written last, and the same of it.
    async fn is_equal(&self) -> u64 {
        let wanted = {
            let history = self.load.history.lock().unwrap();
            let mut keys = history.keys();
            keys.retain(|key| history.now(key) != State::Absent);
            keys
        };
        let listed = keys(&self.source.store, ListRequest::default()).await;
        assert_eq!(sorted(listed), wanted, "the source lost or kept something by itself");
        let listed = keys(&self.target.store, ListRequest::default()).await;
        assert_eq!(sorted(listed), wanted, "lost or resurrected at the target");
        for key in &wanted {
            let (here, there) =
                (fields(&self.source.store, key).await, fields(&self.target.store, key).await);
            assert_eq!(here, there, "{key:?}");
            assert_eq!(here.1, self.load.history.lock().unwrap().now(key), "{key:?}");
        }
        wanted.len() as u64
    }
}

pub fn sorted(mut keys: Vec<String>) -> Vec<String> {
    keys.sort();
    keys
}

/// All of an object that a copy must have, but for its time.
pub async fn fields(store: &S3Store, key: &str) -> (String, State, String) {
    let info = store.head(key).await.unwrap();
    let tags = store.tags(key).await.unwrap();
    let content = md5(&read(store, key, &GetOptions::default()).await.unwrap());
    let state = load::state(store, key).await.unwrap();
    let all = format!("{} {:?} {:?} {tags:?} {content:?}", info.size, info.etag, info.attributes);
    (all, state, key.to_owned())
}

/// Time points that a story has looked at, at least.
pub const MOMENTS: usize = 4;

/// Waits until so many time points were looked at: each comparison tells another.
pub async fn enough(samples: &Mutex<Samples>) {
    let begin = Instant::now();
    while samples.lock().unwrap().moments.len() < MOMENTS {
        assert!(begin.elapsed() < Duration::from_mins(2), "time points stand still");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Tells the story between two makes of stores.
pub async fn run(test: &'static str, (from, to): (Make, Make)) {
    let seed = count("SEED", fastrand::u64(..1_000_000));
    let (wanted, kills) = (count("OPERATIONS", 400), count("KILLS", 6));
    let mut rng = Rng::with_seed(seed);
    println!("seed {seed}: {wanted} writes, {kills} faults, {LOST} % of the feed's changes lost");
    let (source, target) = (Arc::new(Side::start(from).await), Arc::new(Side::start(to).await));
    let load = Load::new(source.store.clone(), wanted, count("RATE", 25));
    let keys = load::keys(usize::try_from(wanted / 40).unwrap().clamp(40, 300));
    let rule = Rule::start(test, (source, target), Arc::clone(&load));
    let (begin, samples) = (Instant::now(), Mutex::new(Samples::default()));

    let mut faults = rng.fork();
    let story = async {
        let trouble = Trouble {
            source: &rule.source,
            target: &rule.target,
            workers: std::slice::from_ref(&rule.worker),
        };
        let troubles = trouble.comes_often(kills, wanted, || load.made(), &mut faults);
        tokio::join!(load.run(&keys, &mut rng), troubles);
        let last = Timestamp::now();
        println!("written in {:?}: {:?}", begin.elapsed(), load.counts());
        let caught_up = rule.worker.until("prove all of it", |seen| {
            seen.noted.as_ref().and_then(|noted| noted.synced_until) > Some(last)
        });
        let until = caught_up.await.noted.unwrap().synced_until.unwrap();
        enough(&samples).await;
        until
    };
    let until = tokio::select! {
        until = story => until,
        () = rule.watch(&samples) => unreachable!(),
    };
    rule.is_true(&samples.into_inner().unwrap());
    assert!(rule.worker.seen().killed >= kills / 4, "too few kills");
    println!("equal: {} objects, {:?}", rule.is_equal().await, begin.elapsed());
    assert_eq!(rule.objections(until).await, Vec::<String>::new());
}
