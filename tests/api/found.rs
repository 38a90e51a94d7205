//! What a worker finds out: each a condition and an Event, with the object's name and the next step.

use farshore::store::{Context, Error, Obstacle};
use serde_json::{Value, json};

use crate::cluster::{World, condition, reason, status};

fn failure(side: &str, error: &Error) -> Value {
    json!({"failure": {
        "side": side, "reason": error.reason(), "message": format!("{side} store: {error}"),
        "permanent": error.is_permanent(), "since": jiff::Timestamp::now(),
    }})
}

fn at(key: &str) -> Context {
    let (bucket, endpoint) = ("dr-backups".to_owned(), "https://minio.cn-east-1".to_owned());
    Context { bucket, endpoint, key: Some(key.to_owned()), ..Context::default() }
}

fn unreachable(context: Context) -> Error {
    Error::Unreachable { obstacle: Obstacle::Refused, cause: "connection refused".into(), context }
}

#[tokio::test(flavor = "multi_thread")]
async fn p02_p05_what_a_worker_meets_is_a_condition_and_an_event_with_the_next_step() {
    let mut world = World::new("found").await;
    world.start().await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({"interval": "1h"})).await;
    let job = world.until_jobs("be there", |jobs| jobs.len() == 1).await.remove(0);
    let key = "orders/physicalbackup-20261121080000.xb.gz";
    for (side, error) in [
        ("Target", Error::Full(at(key))),
        ("Target", Error::Locked(at(key))),
        ("Target", Error::AccessDenied(at(key))),
        ("Target", Error::NoSuchBucket(at(key))),
        ("Source", Error::BadCredentials(at(key))),
        ("Source", Error::ClockSkew(at(key))),
        ("Source", unreachable(at(key))),
    ] {
        world.report("copy", &job, failure(side, &error)).await;
        let type_ = format!("{side}Reachable");
        let told = world.until("copy", error.reason(), |s| reason(s, &type_) == error.reason()).await;
        let (verdict, _, message) = condition(&told, &type_);
        assert_eq!(verdict, "False", "{error}");
        assert_eq!(status(&told, "Ready"), "False", "{error}");
        let step = error.advice();
        let note = world.until_event("copy", error.reason()).await;
        for text in [&message, &note] {
            assert!(text.contains("dr-backups") && text.contains(step), "{}: {text}", error.reason());
        }
    }
    world.report("copy", &job, json!({})).await;
    world.until("copy", "heal", |s| status(s, "SourceReachable") == "True").await;
    world.end().await;
}

/// What is wrong with one backup keeps nothing else from going on: the service stays Ready.
#[tokio::test(flavor = "multi_thread")]
async fn b16_p05_what_is_wrong_with_a_backup_is_named_and_told_while_the_rest_goes_on() {
    let mut world = World::new("finding").await;
    world.start().await;
    world.instance("orders", json!({})).await;
    world.service("copy", "orders", json!({"interval": "1h"})).await;
    let job = world.until_jobs("be there", |jobs| jobs.len() == 1).await.remove(0);
    for (reason, message) in [
        ("CorruptMetadata", "base_000000010000 is left out: its sentinel is no JSON; take another backup"),
        ("BackupWithoutData", "base_000000020000 is left out: its sentinel is there, its data is not"),
        ("ClockSkew", "the clock of the Source store is 20m ahead of ours: set the clocks"),
    ] {
        let finding = json!({"findings": [{"reason": reason, "message": message}]});
        world.report("copy", &job, finding).await;
        let told = world.until("copy", "name it", |s| condition(s, "Ready").2.contains(message)).await;
        assert_eq!(status(&told, "Ready"), "True", "{reason}");
        let (verdict, found, text) = condition(&told, "Findings");
        assert_eq!((verdict.as_str(), found.as_str()), ("True", reason));
        let note = world.until_event("copy", reason).await;
        for text in [&text, &note] {
            assert!(text.contains(message) && text.contains("copy"), "{text}");
        }
    }
    world.report("copy", &job, json!({"findings": []})).await;
    world.until("copy", "have none any more", |s| status(s, "Findings").is_empty()).await;
    world.end().await;
}
