//! The worker as a process, between two real stores, with the rights that the controller gives it.
//!
//! Needs a cluster and the test stores: `make test` starts both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may")]

#[path = "../support/cluster.rs"]
mod cluster;
mod granting;
mod hearing;
#[allow(dead_code, reason = "other tests need the rest")]
#[path = "../support/history.rs"]
mod history;
mod killed;
#[path = "../support/moto.rs"]
mod moto;
#[path = "../support/posting.rs"]
mod posting;
mod process;
#[allow(dead_code, reason = "other tests need the rest")]
#[path = "../support/proxy.rs"]
mod proxy;
mod replicating;
#[allow(dead_code, reason = "other tests need the rest")]
#[path = "../support/process.rs"]
mod server;
#[path = "../support/stores.rs"]
mod stores;

use std::time::Duration;

use farshore::api::FailureSide;
use jiff::Timestamp;
use serde_json::json;

use process::{Setting, shift};

/// What a copy of these stores tells; the history is a few minutes old.
#[tokio::test]
async fn b06_p07_a_report_says_what_can_be_restored_with_no_more_rights_than_a_worker_has() {
    let mut setting = Setting::new("worker-report").await;
    let latest = setting.history(1000, 3).await;
    let mut worker = setting.start("run-1", shift(600, 5));
    let told = setting.until(&mut worker, "tell of a cycle", |told| told.cycle.is_some()).await;
    assert_eq!((told.run_id.as_str(), told.generation), ("run-1", 1));
    let told = setting
        .until(&mut worker, "hold all", |told| told.cycle.as_ref().is_some_and(|c| c.backups.full == 1))
        .await;
    let cycle = told.cycle.unwrap();
    assert_eq!(cycle.latest_data_time_point.as_ref().map(|time| time.0), Some(latest));
    assert!(cycle.windows.len() == 1 && cycle.backups.logs > 0 && told.failure.is_none(), "{cycle:?}");

    // What the source gets is at the target within an interval or two.
    let latest = setting.more().await;
    let is_newer = |told: &farshore::api::Observed| {
        told.cycle.as_ref().and_then(|cycle| cycle.latest_data_time_point.as_ref()).map(|at| at.0)
            == Some(latest)
    };
    setting.until(&mut worker, "see the new log", is_newer).await;

    // SIGTERM: a shift hands over at a safe point, and well within a pod's grace.
    worker.terminate();
    assert_eq!(worker.end(Duration::from_secs(15)).await, Some(0), "{}", worker.log());
}

#[tokio::test]
async fn p08_a_later_run_takes_over_and_the_earlier_one_ends() {
    let mut setting = Setting::new("worker-over").await;
    setting.history(1000, 1).await;
    let mut earlier = setting.start("run-1", shift(600, 5));
    setting.until(&mut earlier, "report", |told| told.run_id == "run-1").await;
    let mut later = setting.start("run-2", shift(600, 5));
    setting.until(&mut later, "take over", |told| told.run_id == "run-2").await;
    assert_eq!(earlier.end(Duration::from_secs(30)).await, Some(13), "{}", earlier.log());
    assert_eq!(earlier.last_words()["reason"], "Superseded");
    later.terminate();
    assert_eq!(later.end(Duration::from_secs(15)).await, Some(0), "{}", later.log());
    // One that comes late writes nothing.
    let mut late = setting.start("run-0", shift(600, 5));
    assert_eq!(late.end(Duration::from_secs(30)).await, Some(13), "{}", late.log());
    assert_eq!(setting.observed().await.unwrap().run_id, "run-2");
}

#[tokio::test]
async fn p09_a_request_to_run_now_is_honoured_between_two_looks() {
    let mut setting = Setting::new("worker-now").await;
    setting.history(1000, 1).await;
    let mut worker = setting.start("run-1", shift(600, 3600));
    setting.until(&mut worker, "tell of a cycle", |told| told.cycle.is_some()).await;
    let latest = setting.more().await;
    let request = Timestamp::now().to_string();
    setting.annotate("farshore.dev/run-requested", &request).await;
    let told = setting
        .until(&mut worker, "honour the request", |told| told.run_request.as_deref() == Some(&request))
        .await;
    let cycle = told.cycle.unwrap();
    assert_eq!(
        cycle.latest_data_time_point.map(|time| time.0),
        Some(latest),
        "that cycle looked at the source"
    );
    worker.terminate();
    worker.end(Duration::from_secs(15)).await;
}

#[tokio::test]
async fn p08_wrong_keys_and_silent_stores_end_with_the_code_that_says_whose_turn_it_is() {
    let mut setting = Setting::new("worker-wrong").await;
    setting.history(1000, 1).await;
    for (side, name) in [(FailureSide::Source, "source"), (FailureSide::Target, "target")] {
        setting.keys(name, "farshore", "hush-hush");
        let mut worker = setting.start(&format!("run-1-{name}"), shift(600, 5));
        assert_eq!(worker.end(Duration::from_mins(1)).await, Some(11), "{}", worker.log());
        let failure = setting.observed().await.unwrap().failure.unwrap();
        assert_eq!((failure.side, failure.reason.as_str()), (Some(side), "CredentialsRefused"));
        assert!(!failure.permanent, "a mended Secret heals it");
        assert_eq!(worker.last_words()["reason"], "CredentialsRefused");
        assert!(!worker.log().contains("hush-hush"));
        setting.right_keys(name);
    }
    for (name, side) in [("source", "Source"), ("target", "Target")] {
        let silent = |task: &mut serde_json::Value| {
            task["work"]["sync"][name]["endpoint"] = json!("http://127.0.0.1:1");
            // A copy of another source is kept apart, however short it was.
            task["work"]["sync"]["target"]["prefix"] = json!(format!("silent-{name}/"));
            task["work"]["sync"]["mode"] = json!("cycle");
        };
        let mut worker = setting.start(&format!("run-2-{name}"), silent);
        assert_eq!(worker.end(Duration::from_mins(1)).await, Some(12), "{}", worker.log());
        let words = worker.last_words();
        assert_eq!(
            (words["reason"].as_str(), words["side"].as_str()),
            (Some("StoreUnreachable"), Some(side))
        );
    }
    let nothing = |task: &mut serde_json::Value| {
        task["work"]["sync"]["source"]["bucket"] = json!("farshore-test-no-such-bucket");
        task["work"]["sync"]["target"]["prefix"] = json!("nothing/");
    };
    let mut worker = setting.start("run-3", nothing);
    assert_eq!(worker.end(Duration::from_mins(1)).await, Some(10), "{}", worker.log());
    assert!(worker.last_words()["message"].as_str().unwrap().contains("farshore-test-no-such-bucket"));
}

#[tokio::test]
async fn p11_readiness_follows_the_work() {
    let mut setting = Setting::new("worker-ready").await;
    setting.history(1000, 1).await;
    let mut worker = setting.start("run-1", shift(600, 5));
    let get = async |path: &str| {
        let url: hyper::Uri = format!("http://{}{path}", worker.health).parse().unwrap();
        let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
            .build_http::<http_body_util::Empty<bytes::Bytes>>();
        client.get(url).await.map(|answer| answer.status().as_u16()).ok()
    };
    let start = std::time::Instant::now();
    while get("/readyz").await != Some(200) {
        assert!(start.elapsed() < Duration::from_secs(30), "never ready: {}", worker.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(get("/healthz").await, Some(200));
    setting.delete().await;
    assert_eq!(worker.end(Duration::from_secs(30)).await, Some(13), "its resource is gone: {}", worker.log());
}

/// More than the bound goes through it, as one base and many logs.
#[tokio::test]
async fn p10_memory_does_not_grow_with_what_is_copied() {
    let mut setting = Setting::new("worker-memory").await;
    setting.history(96 << 20, 60).await;
    let mut worker = setting.start("run-1", shift(600, 5));
    setting
        .until(&mut worker, "hold all", |told| {
            told.cycle.as_ref().is_some_and(|cycle| cycle.backups.full == 1 && cycle.pending.objects == 0)
        })
        .await;
    let peak = worker.peak_kib();
    println!("peak resident memory: {peak} KiB");
    assert!(peak <= 64 << 10, "{peak} KiB");
    worker.terminate();
    assert_eq!(worker.end(Duration::from_secs(15)).await, Some(0), "{}", worker.log());
    setting.clear().await;
}
