//! `kill -9` of a worker in the middle of a large object.

use std::time::{Duration, Instant};

use bytes::Bytes;
use farshore::store::{ETag, ObjectStore, PutOptions, UploadedPart};
use serde_json::{Value, json};

use crate::{
    process::{Setting, shift},
    proxy::Proxy,
    stores,
};

const KEY: &str = "orders/base.bak";
const PART: usize = 16 << 20;

/// Parts of the object: 256 MiB in all, or what `make soak` asks for.
fn parts() -> usize {
    let mib = std::env::var("FARSHORE_TEST_LARGE_MIB").map_or(256, |mib| mib.parse().unwrap());
    (mib << 20) / PART
}

async fn make_large(setting: &Setting) -> ETag {
    let mut body = vec![0; PART];
    fastrand::Rng::with_seed(1).fill(&mut body);
    let body = Bytes::from(body);
    let upload = setting.source.create_upload(KEY, &PutOptions::default()).await.unwrap();
    let mut arrived: Vec<UploadedPart> = Vec::new();
    for number in 1..=u32::try_from(parts()).unwrap() {
        let whole = body.clone();
        let chunks: Vec<_> = (0..16).map(|n| Ok(whole.slice(n << 20..(n + 1) << 20))).collect();
        let stream = Box::pin(futures::stream::iter(chunks));
        arrived.push(setting.source.upload_part(KEY, &upload, number, PART as u64, stream).await.unwrap());
    }
    setting.source.complete_upload(KEY, &upload, &arrived, &PutOptions::default()).await.unwrap().etag
}

/// Parts at the target, once no more come.
async fn arrived(setting: &Setting) -> usize {
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let open = setting.target.list_uploads(KEY).await.unwrap();
        assert_eq!(open.len(), 1, "one upload is open");
        let now = setting.target.list_parts(KEY, &open[0].id).await.unwrap().len();
        if now == before {
            return now;
        }
        before = now;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b01_p10_a_worker_killed_in_mid_object_is_followed_by_one_that_sends_only_what_is_missing() {
    let setting = Setting::new("worker-killed").await;
    let etag = make_large(&setting).await;
    let from = Proxy::before(&stores::endpoint("FARSHORE_TEST_MINIO_A")).await;
    let to = Proxy::before(&stores::endpoint("FARSHORE_TEST_MINIO_B")).await;
    let through_proxies = |task: &mut Value| {
        shift(600, 60)(task);
        let sync = &mut task["work"]["sync"];
        sync["source"]["endpoint"] = json!(from.endpoint);
        sync["target"]["endpoint"] = json!(to.endpoint);
        sync["format"] = json!({"name": "files", "full": r".*\.bak"});
    };

    let mut first = setting.start("run-1", through_proxies);
    let begin = Instant::now();
    while to.count("PUT", "partNumber") < parts() / 2 {
        assert!(begin.elapsed() < Duration::from_mins(3), "the copy doesn't get on: {}", first.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let first_peak = first.peak_kib();
    first.kill();
    let arrived = arrived(&setting).await;
    assert!(arrived > 0 && arrived < parts(), "{arrived} of {} parts had arrived", parts());

    let before = to.count("PUT", "partNumber");
    let mut second = setting.start("run-2", through_proxies);
    setting
        .until(&mut second, "hold the object", |told| {
            told.run_id == "run-2" && told.cycle.as_ref().is_some_and(|cycle| cycle.backups.full == 1)
        })
        .await;
    let (sent, peak) = (to.count("PUT", "partNumber") - before, second.peak_kib());
    println!("{arrived} of {} parts had arrived, {sent} were sent after the kill", parts());
    println!("peak resident memory: {first_peak} and {peak} KiB");
    assert_eq!(sent, parts() - arrived);
    assert_eq!(setting.target.head(KEY).await.unwrap().etag, etag);
    assert!(setting.target.list_uploads(KEY).await.unwrap().is_empty());
    assert!(first_peak.max(peak) <= 64 << 10, "{first_peak} and {peak} KiB");
    setting.source.delete(KEY, None).await.unwrap();
    setting.target.delete(KEY, None).await.unwrap();
}
