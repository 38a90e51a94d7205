//! Access control lists through a rule, between stores that have them (moto).

use std::time::{Duration, Instant};

use aws_sdk_s3::{
    config::{BehaviorVersion, Credentials, Region},
    types::ObjectCannedAcl,
};
use bytes::Bytes;
use farshore::{
    api::AttributeName,
    replicate::plan::{Chunk, Plan, Volume},
    store::{
        Grant,
        Grantee::{self, Group, Id},
        ObjectStore,
        Permission::{FullControl, Read, ReadAcp},
        PutOptions,
        s3::S3Store,
    },
};
use serde_json::{Value, json};

use crate::{
    hearing::{TOKEN, post},
    moto::Moto,
    process::{Worker, free_address},
    replicating::{End, Setting},
    stores,
};

/// The account of every request to moto.
const OWNER: &str = "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a";
const EVERYBODY: &str = "http://acs.amazonaws.com/groups/global/AllUsers";

struct Side {
    server: Moto,
    store: S3Store,
}

impl Side {
    async fn new() -> Self {
        let server = Moto::start(&stores::endpoint("FARSHORE_TEST_PYTHON"));
        let store = S3Store::new(stores::config(&server.endpoint, &stores::fresh_name())).unwrap();
        store.create_bucket().await.unwrap();
        Self { server, store }
    }

    fn end(&self) -> End<'_> {
        (&self.store, self.server.endpoint.clone())
    }

    async fn put(&self, key: &str, grants: Vec<Grant>) {
        let options = PutOptions { grants, ..PutOptions::default() };
        self.store.put(key, Bytes::from_static(b"content"), &options).await.unwrap();
    }

    async fn grants(&self, key: &str) -> Option<Vec<Grant>> {
        let mut grants = self.store.acl(key).await.ok()?.grants;
        grants.sort();
        Some(grants)
    }
}

fn grant(grantee: Grantee, permission: farshore::store::Permission) -> Grant {
    Grant { grantee, permission }
}

fn account(letter: &str) -> Grantee {
    Id(letter.repeat(64))
}

/// Read by everybody, and its list by an account; the owner keeps it.
fn shared(letter: &str) -> Vec<Grant> {
    let mut grants = vec![
        grant(Id(OWNER.to_owned()), FullControl),
        grant(account(letter), ReadAcp),
        grant(Group(EVERYBODY.to_owned()), Read),
    ];
    grants.sort();
    grants
}

/// `a` at the source is `c` at the target; nobody knows who `b` is there.
fn mapping() -> Value {
    json!({"accessControl": {"accounts": [
        {"source": OWNER, "target": OWNER}, {"source": "a".repeat(64), "target": "c".repeat(64)},
    ]}})
}

async fn until_granted(target: &Side, key: &str, wanted: &[Grant], worker: &Worker) {
    let start = Instant::now();
    loop {
        let found = target.grants(key).await;
        if found.as_deref() == Some(wanted) {
            return;
        }
        assert!(start.elapsed() < Duration::from_mins(1), "{key}: {found:?}\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn c02_a_rule_s_access_control_lists_go_over_in_the_targets_names() {
    let (source, target) = (Side::new().await, Side::new().await);
    source.put("before", shared("a")).await;
    source.put("unknown", shared("b")).await;
    // Copied earlier, by somebody who kept no lists.
    for side in [&source, &target] {
        side.put(
            "alike",
            if side.store.bucket() == source.store.bucket() { shared("a") } else { Vec::new() },
        )
        .await;
    }
    let setting = Setting::new("worker-lists", (source.end(), target.end()), mapping()).await;
    let mut worker = setting.start("run-1");
    let first = setting.comparison_of("run-1", &worker).await;
    for key in ["before", "alike"] {
        assert_eq!(target.grants(key).await, Some(shared("c")), "{key}");
    }
    let private = target.grants("unknown").await.unwrap();
    assert!(private.iter().all(|grant| grant.grantee == Id(OWNER.to_owned())), "{private:?}");
    let [lacks] = first.incomplete.as_slice() else { panic!("{:?}", first.incomplete) };
    assert_eq!(
        (lacks.attribute, lacks.count, lacks.example.as_deref()),
        (AttributeName::AccessControl, Some(1), Some("unknown"))
    );
    assert!(lacks.why.contains(&"b".repeat(64)), "{}", lacks.why);

    // What is written while it runs.
    source.put("after", shared("a")).await;
    until_granted(&target, "after", &shared("c"), &worker).await;
    worker.terminate();
    assert_eq!(worker.end(Duration::from_secs(15)).await, Some(0), "{}", worker.log());
}

/// A change of a list leaves no trace in a listing: only what the store tells of it brings it over.
#[tokio::test]
async fn c02_c03_a_list_that_changes_goes_over_as_the_store_tells_of_it() {
    let (source, target) = (Side::new().await, Side::new().await);
    source.put("k", shared("a")).await;
    let mut setting = Setting::new("worker-list", (source.end(), target.end()), mapping()).await;
    setting.task["work"]["replicate"]["feed"] = json!("Webhook");
    let folder = setting.folder.path();
    std::fs::create_dir(folder.join("receiver")).unwrap();
    std::fs::write(folder.join("receiver/token"), TOKEN).unwrap();
    let address = free_address();
    let worker = Worker::start_at(folder, "replicate", "run-1", (&setting.task.to_string(), address));
    setting.comparison_of("run-1", &worker).await;
    assert_eq!(target.grants("k").await, Some(shared("c")));

    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&source.server.endpoint)
        .force_path_style(true)
        .credentials_provider(Credentials::new("id", "secret", None, None, "tests"));
    let made_private = aws_sdk_s3::Client::from_conf(config.build()).put_object_acl();
    let made_private = made_private.bucket(source.store.bucket()).key("k").acl(ObjectCannedAcl::Private);
    made_private.send().await.unwrap();
    let told = json!({"Records": [{
        "eventSource": "aws:s3", "eventName": "ObjectAcl:Put", "eventTime": jiff::Timestamp::now(),
        "s3": {"bucket": {"name": source.store.bucket()}, "object": {"key": "k"}},
    }]});
    assert_eq!(post(address, Some(TOKEN), &told.to_string()).await.unwrap(), "HTTP/1.1 200 OK");
    until_granted(&target, "k", &[grant(Id(OWNER.to_owned()), FullControl)], &worker).await;
}

#[tokio::test]
async fn c02_c04_lists_go_over_with_a_large_history_too() {
    let (source, target) = (Side::new().await, Side::new().await);
    source.put("k1", shared("a")).await;
    source.put("k2", shared("b")).await;
    source.put("k3", Vec::new()).await;
    let setting = Setting::new("worker-range", (source.end(), target.end()), mapping()).await;
    // As the live worker plans it, and the controller tells it a pod.
    let all = Volume { objects: 3, bytes: 21 };
    let plan = Plan::encoded("photos", &[Chunk { until: None, held: all, lacking: all }]).unwrap();
    std::fs::write(setting.folder.path().join("plan"), &plan.file).unwrap();
    let mut task = setting.task.clone();
    let live = task["work"]["replicate"].take();
    task["work"] = json!({"migrate": {
        "source": live["source"], "target": live["target"], "attributes": live["attributes"],
        "plan": farshore::task::hash(&plan.file), "ranges": "0",
    }});
    let mut worker = Worker::start(setting.folder.path(), "migrate", "run-1", &task.to_string());
    assert_eq!(worker.end(Duration::from_mins(1)).await, Some(0), "{}", worker.log());
    assert_eq!(target.grants("k1").await, Some(shared("c")));
    assert_eq!(target.grants("k3").await, source.grants("k3").await);
    let told = worker.last_words();
    assert_eq!((&told["copied"], &told["failed"]), (&json!(3), &json!(0)), "{told:#}");
    let lacks = &told["incomplete"][0];
    assert_eq!(
        (&lacks["attribute"], &lacks["count"], &lacks["example"]),
        (&json!("AccessControl"), &json!(1), &json!("k2"))
    );
}
