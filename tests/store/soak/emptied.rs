//! A bucket is emptied, object by object, while its worker is killed again and again: the budget of deletes is one
//! for all of them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use farshore::store::{ListRequest, ObjectStore, PutOptions, s3::S3Store};
use futures::{StreamExt, stream};
use jiff::Timestamp;

use super::{child::Order, count, server::Make, story::Side, worker::Worker};
use crate::suite::keys;

/// Requests of ours at a time.
const ABREAST: usize = 8;
const PERCENT: u8 = 10;
/// Longest that news may take while all else is deleted.
const SOON: Duration = Duration::from_secs(2);

/// Tells the story. The default budget is for 20,000 objects; the short form has as small a part of both.
pub async fn run(test: &'static str) {
    let objects = count("OBJECTS", 1_000);
    let (source, target) = (Side::start(Make::Minio).await, Side::start(Make::Minio).await);
    let names: Vec<_> = (0..objects).map(|n| format!("object {n:05}")).collect();
    for side in [&source, &target] {
        let puts = names.iter().map(|name| put(&side.store, name));
        stream::iter(puts).buffer_unordered(ABREAST).collect::<()>().await;
    }
    let order = Order {
        source: source.through_link(),
        target: target.through_link(),
        delete_count: objects / 20,
        delete_percent: PERCENT,
        lost_percent: 0,
        mutual: None,
        noted: None,
    };
    let worker = Worker::keep(test, order);
    worker.until("compare once", |seen| seen.comparisons > 0 && seen.listens_since.is_some()).await;

    let begin = Instant::now();
    let emptied = async {
        let deletes = names.iter().map(|name| delete(&source.store, name));
        let gone: BTreeMap<_, _> = stream::iter(deletes).buffer_unordered(ABREAST).collect().await;
        (gone, begin.elapsed())
    };
    let ((gone, emptied), mut news) = tokio::join!(emptied, news(&source.store, &target.store, &worker));
    news.sort_unstable();
    let last = *gone.values().max().unwrap();
    let seen = worker.until("hold the rest", |seen| {
        let held = seen.noted.as_ref().is_some_and(|noted| noted.held.is_some());
        held && seen.compared > Some(last)
    });
    let noted = seen.await.noted.unwrap();
    let there = keys(&target.store, ListRequest::default()).await;
    let stayed = there.iter().filter(|key| gone.contains_key(*key)).count() as u64;
    let (killed, spent) = (worker.seen().killed, noted.spent.unwrap().1);
    println!(
        "{objects} objects deleted in {emptied:?}, {killed} workers killed: {stayed} stayed, {spent} deletes drawn; \
         news took {news:?}"
    );
    assert!(stayed * 100 >= objects * u64::from(100 - PERCENT), "{stayed} of {objects} stayed");
    assert!(objects - stayed <= spent && spent <= objects / u64::from(PERCENT), "{spent} were drawn");
    assert!(stayed < objects && killed > 0, "nothing was deleted, or nobody killed");
    // One that had to wait for the machine is none that waited for the deletes.
    assert!(news[news.len() / 2] < SOON, "{news:?}");
    let until = noted.synced_until.unwrap();
    let untrue: Vec<_> = there.iter().filter(|key| gone.get(*key).is_some_and(|at| *at < until)).collect();
    assert!(untrue.is_empty(), "gone before {until}, and still there: {untrue:?}");
}

async fn put(store: &S3Store, key: &str) {
    store.put(key, Bytes::from_static(b"x"), &PutOptions::default()).await.unwrap();
}

async fn delete(store: &S3Store, key: &str) -> (String, Timestamp) {
    store.delete(key, None).await.unwrap();
    (key.to_owned(), Timestamp::now())
}

/// Puts objects while all else is deleted, each to a worker that listens and is killed once it has brought it over.
/// Tells how long each took.
async fn news(source: &S3Store, target: &S3Store, worker: &Worker) -> Vec<Duration> {
    let mut took = Vec::new();
    for n in 0..count("NEWS", 4) {
        worker.until("listen", |seen| seen.listens_since.is_some()).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (key, begin) = (format!("news {n}"), Instant::now());
        put(source, &key).await;
        while target.head(&key).await.is_err() {
            assert!(begin.elapsed() < Duration::from_mins(1), "{key} does not arrive");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        took.push(begin.elapsed());
        worker.is_killed_for(Duration::from_millis(100)).await;
    }
    took
}
