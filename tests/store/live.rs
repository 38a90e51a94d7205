//! Lanes between real stores: what a feed tells is at the other side in no time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use farshore::{
    replicate::{
        Copier, CopyRequest, Outcome, Result,
        feed::{Change, Choice, choose},
        live::{Deal, Dealt, Event, Options, lanes},
    },
    store::{ListRequest, ObjectStore, PutOptions, s3::S3Store},
};
use tokio_util::sync::CancellationToken;

use crate::{stores, suite::noise};

/// Copies and deletes, and notes when each key was done.
#[derive(Debug)]
struct Mirror {
    copier: Copier,
    target: S3Store,
    done: Mutex<HashMap<String, Instant>>,
}

#[async_trait]
impl Deal for Mirror {
    async fn deal(&self, change: &Change) -> Result<Dealt> {
        let dealt = match self.copier.copy(&CopyRequest::new(&change.key)).await? {
            Outcome::Copied(copied) => Dealt::Copied { bytes: copied.size },
            Outcome::Gone => {
                self.target.delete(&change.key, None).await.unwrap();
                Dealt::Deleted
            }
            other => panic!("{other:?}"),
        };
        self.done.lock().unwrap().insert(change.key.clone(), Instant::now());
        Ok(dealt)
    }
}

/// Buckets on two `MinIO`, what is dealt with between them, and the lanes that do it.
struct Pair {
    source: S3Store,
    mirror: Arc<Mirror>,
    lanes: farshore::replicate::live::Lanes,
    stop: CancellationToken,
}

impl Pair {
    async fn start() -> Self {
        let (source, target) = (stores::minio_a().await, stores::minio_b().await);
        let copier = Copier::new(Arc::new(source.clone()), Arc::new(target.clone()));
        let mirror = Arc::new(Mirror { copier, target, done: Mutex::default() });
        let chosen = choose(Choice::Auto, Arc::new(source.clone())).await.unwrap();
        let stop = CancellationToken::new();
        let (mut lanes, work) =
            lanes(chosen.feed, Arc::clone(&mirror) as Arc<dyn Deal>, Options::default(), stop.clone());
        tokio::spawn(work);
        assert!(matches!(lanes.events.recv().await, Some(Event::Compare { .. })));
        Self { source, mirror, lanes, stop }
    }

    async fn put(&self, key: &str, body: Bytes) {
        self.source.put(key, body, &PutOptions::default()).await.unwrap();
    }

    async fn settles(&mut self) {
        let now = jiff::Timestamp::now();
        let settled = self.lanes.state.wait_for(|s| s.waiting == 0 && s.until > Some(now));
        tokio::time::timeout(Duration::from_secs(30), settled).await.expect("it settles").unwrap();
    }
}

#[tokio::test]
async fn c01_c03_what_happens_at_one_minio_happens_at_the_other() {
    let mut pair = Pair::start().await;
    for n in 0..20 {
        pair.put(&format!("dir {n}/ü+%2F"), noise(1000 + n, 7)).await;
    }
    for n in 0..5 {
        pair.source.delete(&format!("dir {n}/ü+%2F"), None).await.unwrap();
    }
    pair.settles().await;
    let listed = |store: S3Store| async move {
        let page = store.list(&ListRequest::default()).await.unwrap();
        page.objects.into_iter().map(|o| (o.key, o.size, o.etag)).collect::<Vec<_>>()
    };
    let source = listed(pair.source.clone()).await;
    assert_eq!((source.len(), source), (15, listed(pair.mirror.target.clone()).await));
    pair.stop.cancel();
}

/// By hand, with a release build: `cargo test --release --test store -- --ignored --nocapture live`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: prints the time from a write to its copy"]
async fn c03_how_long_a_copy_of_2_mib_takes_at_10_a_second() {
    let mut pair = Pair::start().await;
    let body = noise(2 << 20, 7);
    let mut written = HashMap::new();
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    for n in 0..200 {
        beat.tick().await;
        let key = format!("object-{n:03}");
        pair.put(&key, body.clone()).await;
        written.insert(key, Instant::now());
    }
    pair.settles().await;
    let done = pair.mirror.done.lock().unwrap();
    let mut took: Vec<_> = written.iter().map(|(key, at)| done[key].saturating_duration_since(*at)).collect();
    took.sort_unstable();
    let at = |percent: usize| took[took.len() * percent / 100];
    println!("2 MiB at 10/s: p50 {:?}, p90 {:?}, p99 {:?}, longest {:?}", at(50), at(90), at(99), took[199]);
    pair.stop.cancel();
}
