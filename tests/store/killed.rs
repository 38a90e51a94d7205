//! `kill -9` in the middle of a large object, in real processes.

use std::{
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use farshore::{
    replicate::{Copier, CopyRequest, Outcome},
    store::{ObjectStore, PutOptions, UploadedPart, s3::S3Store},
};

use crate::{
    alone::peak_rss,
    proxy::Proxy,
    stores,
    suite::{noise, streamed},
};

/// Size of the object in MiB: 256, or what `make soak` asks for.
fn size_mib() -> u64 {
    std::env::var("FARSHORE_TEST_LARGE_MIB").map_or(256, |mib| mib.parse().unwrap())
}

const PART_MIB: u64 = 16;
const KILLED: &str = "killed::a_kill_in_mid_object_repeats_no_part_that_arrived";
const STREAMED: &str = "killed::a_large_object_in_one_piece_streams_in_little_memory";

/// What the child process does: one copy, then it tells.
async fn copy_in_child(source: &str, target: &str) {
    let (source_bucket, target_bucket) =
        (std::env::var("SOURCE_BUCKET").unwrap(), std::env::var("TARGET_BUCKET").unwrap());
    let source = S3Store::new(stores::config(source, &source_bucket)).unwrap();
    let target = S3Store::new(stores::config(target, &target_bucket)).unwrap();
    let copier = Copier::new(Arc::new(source), Arc::new(target));
    let Outcome::Copied(done) = copier.copy(&CopyRequest::new("large")).await.unwrap() else { panic!() };
    println!(
        "sent={} reused={} etag={} rss={}",
        done.sent >> 20,
        done.parts_reused,
        done.target_etag.0,
        peak_rss()
    );
}

/// Starts this test binary again as the copying process; its peak memory is nobody else's.
fn child(test: &str, (source, target): (&str, &str), buckets: (&str, &str)) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("COPY_FROM", source)
        .env("COPY_TO", target)
        .env("SOURCE_BUCKET", buckets.0)
        .env("TARGET_BUCKET", buckets.1)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

/// A number that the child told by its name.
fn figure<N: std::str::FromStr>(said: &str, name: &str) -> N {
    let rest = said.split(name).nth(1).unwrap_or_else(|| panic!("no {name} in: {said}"));
    let word = rest.split_whitespace().next().unwrap_or_default();
    word.parse().unwrap_or_else(|_| panic!("{name} is no number in: {said}"))
}

/// What the child said, and its peak memory in KiB.
async fn outcome(child: Child) -> (String, u64) {
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let rss = figure(&said, "rss=");
    (said, rss)
}

async fn make_large(store: &S3Store) -> farshore::store::ETag {
    let upload = store.create_upload("large", &PutOptions::default()).await.unwrap();
    let body = noise(usize::try_from(PART_MIB << 20).unwrap(), 1);
    let mut parts: Vec<UploadedPart> = Vec::new();
    for number in 1..=u32::try_from(size_mib() / PART_MIB).unwrap() {
        parts.push(
            store.upload_part("large", &upload, number, PART_MIB << 20, streamed(&body)).await.unwrap(),
        );
    }
    store.complete_upload("large", &upload, &parts, &PutOptions::default()).await.unwrap().etag
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_mid_object_repeats_no_part_that_arrived() {
    if let (Ok(source), Ok(target)) = (std::env::var("COPY_FROM"), std::env::var("COPY_TO")) {
        return copy_in_child(&source, &target).await;
    }
    let (source, target) = (stores::minio_a().await, stores::minio_b().await);
    let etag = make_large(&source).await;
    let from = Proxy::before(&stores::endpoint("FARSHORE_TEST_MINIO_A")).await;
    let to = Proxy::before(&stores::endpoint("FARSHORE_TEST_MINIO_B")).await;
    let all = usize::try_from(size_mib() / PART_MIB).unwrap();

    let buckets = (source.bucket(), target.bucket());
    let mut first = child(KILLED, (&from.endpoint, &to.endpoint), buckets);
    let begin = Instant::now();
    while to.count("PUT", "partNumber") < all / 2 {
        assert!(begin.elapsed() < Duration::from_mins(2), "the copy doesn't get on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let open = target.list_uploads("large").await.unwrap();
    let arrived = target.list_parts("large", &open[0].id).await.unwrap().len();
    assert!(arrived > 0 && arrived < all, "{arrived} of {all} parts had arrived");

    let before = to.count("PUT", "partNumber");
    let second = child(KILLED, (&from.endpoint, &to.endpoint), buckets);
    let (said, rss) = outcome(second).await;
    let sent = to.count("PUT", "partNumber") - before;
    let reused: usize = figure(&said, "reused=");
    println!("{arrived} of {all} parts had arrived, {reused} were there, {sent} were sent after the kill");
    // A part whose last byte the store had got before the kill may be listed only after the first look.
    assert!(reused >= arrived, "{said}");
    assert_eq!((sent, target.head("large").await.unwrap().etag), (all - reused, etag), "{said}");
    assert!(target.list_uploads("large").await.unwrap().is_empty());
    assert!(rss < 64 * 1024, "{rss} KiB");
    source.delete("large", None).await.unwrap();
    target.delete("large", None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_in_one_piece_streams_in_little_memory() {
    if let (Ok(source), Ok(target)) = (std::env::var("COPY_FROM"), std::env::var("COPY_TO")) {
        return copy_in_child(&source, &target).await;
    }
    let (source, target) = (stores::minio_a().await, stores::minio_b().await);
    let piece = noise(1 << 20, 1);
    let pieces = (0..size_mib()).map(move |_| Ok(piece.clone()));
    let body = Box::pin(futures::stream::iter(pieces));
    let etag = source.put_stream("large", size_mib() << 20, body, &PutOptions::default()).await.unwrap().etag;
    let endpoints = ["FARSHORE_TEST_MINIO_A", "FARSHORE_TEST_MINIO_B"].map(stores::endpoint);
    let copy = child(STREAMED, (&endpoints[0], &endpoints[1]), (source.bucket(), target.bucket()));
    let (said, rss) = outcome(copy).await;
    println!("{said}");
    assert_eq!(target.head("large").await.unwrap().etag, etag, "{said}");
    assert!(rss < 64 * 1024, "{rss} KiB");
    source.delete("large", None).await.unwrap();
    target.delete("large", None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_objects_at_once_stay_in_bounded_memory() {
    let me = "killed::many_small_objects_at_once_stay_in_bounded_memory";
    let Ok(bucket) = std::env::var("SOURCE_BUCKET") else {
        let source = stores::minio_a().await;
        for n in 0..30 {
            source.put(&n.to_string(), noise(8 << 20, n), &PutOptions::default()).await.unwrap();
        }
        let (said, rss) = outcome(child(me, ("", ""), (source.bucket(), ""))).await;
        println!("{said}");
        assert!(rss < 64 * 1024, "{rss} KiB");
        return;
    };
    let endpoint = stores::endpoint("FARSHORE_TEST_MINIO_A");
    let source = S3Store::new(stores::config(&endpoint, &bucket)).unwrap();
    let copier = Copier::new(Arc::new(source), Arc::new(stores::minio_b().await));
    let all = (0..30).map(|n| {
        let copier = copier.clone();
        async move { copier.copy(&CopyRequest::new(n.to_string())).await }
    });
    let done = futures::future::try_join_all(all).await.unwrap();
    assert!(done.iter().all(|outcome| matches!(outcome, Outcome::Copied(_))));
    println!("{} copies at once, rss={}", done.len(), peak_rss());
}

/// While a large object crawls under a ceiling, small ones of the first lane go through at once.
#[tokio::test]
async fn a_throttled_base_does_not_hold_up_the_logs() {
    use farshore::store::limits::{Lane, Limited, Limits};
    let (source, target) = (stores::minio_a().await, stores::minio_b().await);
    source.put("base", noise(12 << 20, 1), &PutOptions::default()).await.unwrap();
    let limits = Limits::new(Some(2 << 20), None);
    let lane = |lane| {
        let behind = |store: &S3Store| Arc::new(Limited::new(Arc::new(store.clone()), &limits, lane));
        Copier::new(behind(&source), behind(&target))
    };
    let (bases, logs, copied) = (lane(Lane::Rest), lane(Lane::First), AtomicU64::new(0));
    let base = async {
        let begin = Instant::now();
        bases.copy(&CopyRequest { size: Some(12 << 20), ..CopyRequest::new("base") }).await.unwrap();
        begin.elapsed()
    };
    let log = async {
        let mut slowest = Duration::ZERO;
        for n in 0..5 {
            let key = format!("log-{n}");
            source.put(&key, noise(100_000, n), &PutOptions::default()).await.unwrap();
            let begin = Instant::now();
            logs.copy(&CopyRequest { size: Some(100_000), ..CopyRequest::new(key) }).await.unwrap();
            slowest = slowest.max(begin.elapsed());
            copied.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        slowest
    };
    let (base, slowest) = tokio::join!(base, log);
    println!("the base took {base:?}, the slowest log {slowest:?}");
    assert!(base > Duration::from_secs(5), "12 MiB at 2 MiB/s took {base:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}
