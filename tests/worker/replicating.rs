//! A rule's worker as a process: what it reports, the API server takes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use farshore::{
    api::{AttributeName, BucketReplicationRule, Comparison, Incomplete},
    store::{ObjectStore, PutOptions, s3::S3Store},
};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    cluster::{Room, kubeconfig_for},
    process::Worker,
    stores,
};

/// A rule, and what its worker needs.
pub struct Setting {
    pub rules: Api<BucketReplicationRule>,
    pub folder: TempDir,
    pub task: Value,
    _room: Room,
}

/// A bucket, and the address of its store.
pub type End<'a> = (&'a S3Store, String);

impl Setting {
    pub async fn new(
        stem: &str,
        ((source, here), (target, there)): (End<'_>, End<'_>),
        attributes: Value,
    ) -> Self {
        let room = Room::new(stem).await;
        let end = |region: &str, store: &S3Store| json!({"region": region, "bucket": store.bucket(), "credentials": {"secretRef": {"name": "keys"}}});
        let rule: BucketReplicationRule = serde_json::from_value(json!({
            "metadata": {"name": "photos"},
            // Nobody's regions: no controller starts another worker.
            "spec": {"source": end("nowhere-a", source), "target": end("nowhere-b", target), "attributes": attributes},
        }))
        .unwrap();
        let rules = Api::<BucketReplicationRule>::namespaced(room.client.clone(), &room.namespace);
        let rule = rules.create(&PostParams::default(), &rule).await.unwrap();
        let may = |resource: &str, verbs: Value| json!({"apiGroups": ["farshore.dev"], "resources": [resource], "resourceNames": ["photos"], "verbs": verbs});
        let rights = json!([
            may("bucketreplicationrules", json!(["get", "list", "watch"])),
            may("bucketreplicationrules/status", json!(["patch"])),
        ]);
        let account =
            json!({"kind": "ServiceAccount", "name": "farshore-photos", "namespace": room.namespace});
        room.grant("farshore-photos", account, rights).await;
        let folder = TempDir::new().unwrap();
        let user = format!("system:serviceaccount:{}:farshore-photos", room.namespace);
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig_for(&user)).unwrap();
        for side in ["source", "target"] {
            std::fs::create_dir_all(folder.path().join(side)).unwrap();
            for (file, variable) in [
                ("AWS_ACCESS_KEY_ID", "FARSHORE_TEST_ACCESS_KEY"),
                ("AWS_SECRET_ACCESS_KEY", "FARSHORE_TEST_SECRET_KEY"),
            ] {
                std::fs::write(folder.path().join(side).join(file), std::env::var(variable).unwrap())
                    .unwrap();
            }
        }
        let place = |region: &str, endpoint: String, store: &S3Store| json!({"region": region, "endpoint": endpoint, "signingRegion": "us-east-1", "addressing": "Path", "bucket": store.bucket(), "prefix": ""});
        let task = json!({
            "version": 1,
            "owner": {"kind": "BucketReplicationRule", "namespace": room.namespace, "name": "photos",
                      "uid": rule.metadata.uid, "generation": 1},
            "work": {"replicate": {
                "source": place("nowhere-a", here, source),
                "target": place("nowhere-b", there, target),
                "deletes": true, "deleteCount": 1000, "deletePercent": 10, "feed": "Poll", "seconds": 600,
                "attributes": attributes,
            }},
        });
        Self { rules, folder, task, _room: room }
    }

    pub fn start(&self, run: &str) -> Worker {
        Worker::start(self.folder.path(), "replicate", run, &self.task.to_string())
    }

    /// The first comparison that a run reports.
    pub async fn comparison_of(&self, run: &str, worker: &Worker) -> Comparison {
        let start = Instant::now();
        loop {
            let told = self.rules.get("photos").await.unwrap().status.and_then(|status| status.observed);
            if let Some(cycle) = told.clone().filter(|told| told.run_id == run).and_then(|told| told.cycle) {
                return cycle;
            }
            assert!(start.elapsed() < Duration::from_mins(1), "{told:#?}\n{}", worker.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Buckets on the first MinIO and on VersityGW.
fn ends<'a>(source: &'a S3Store, target: &'a S3Store) -> (End<'a>, End<'a>) {
    let at = |store, variable: &str| (store, stores::endpoint(variable));
    (at(source, "FARSHORE_TEST_MINIO_A"), at(target, "FARSHORE_TEST_VERSITY"))
}

#[tokio::test]
async fn c02_what_a_target_forgets_without_a_word_is_reported_and_the_next_run_still_knows() {
    let (source, target) = (stores::minio_a().await, stores::versity().await);
    for n in 0..3 {
        source.put(&format!("k{n}"), Bytes::from_static(b"content"), &PutOptions::default()).await.unwrap();
    }
    // Headers tell seconds: a copy made within the same one would look like the original.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let wish = json!({"creationTime": {"keep": "AsReplica"}});
    let setting = Setting::new("worker-kept", ends(&source, &target), wish).await;
    let mut worker = setting.start("run-1");
    let first = setting.comparison_of("run-1", &worker).await;
    let [lacks] = first.incomplete.as_slice() else { panic!("{:?}", first.incomplete) };
    let Incomplete { attribute, why, count, example } = lacks;
    assert_eq!((*attribute, *count), (AttributeName::CreationTime, Some(3)), "{why}");
    assert!(
        example.as_ref().is_some_and(|key| key.starts_with('k')) && why.contains("says nothing"),
        "{why}"
    );
    assert_eq!((first.source_objects, first.failed), (3, 0));
    assert!(first.attributes.is_some() && first.synced_until.is_some(), "{first:?}");
    worker.kill();

    let mut worker = setting.start("run-2");
    let second = setting.comparison_of("run-2", &worker).await;
    assert_eq!((&second.incomplete, &second.attributes), (&first.incomplete, &first.attributes));
    assert_eq!(second.repaired, 0, "nothing was copied again");
    worker.terminate();
    assert_eq!(worker.end(Duration::from_secs(15)).await, Some(0), "{}", worker.log());
}

#[tokio::test]
async fn c17_a_comparison_reports_what_both_sides_held_with_examples() {
    let (source, target) = (stores::minio_a().await, stores::versity().await);
    let put = async |store: &S3Store, key: &str, content: &'static str| {
        store.put(key, Bytes::from_static(content.as_bytes()), &PutOptions::default()).await.unwrap();
    };
    for store in [&source, &target] {
        put(store, "equal", "same").await;
    }
    put(&source, "differing", "here").await;
    put(&target, "differing", "there").await;
    put(&target, "extra", "too much").await;
    for n in 0..5 {
        put(&source, &format!("new-{n}"), "new").await;
    }
    let setting = Setting::new("worker-proof", ends(&source, &target), json!({})).await;
    let mut worker = setting.start("run-1");
    let found = setting.comparison_of("run-1", &worker).await.convergence.expect("it tells what it found");
    assert_eq!(found.equal, 1);
    let told = [found.differing, found.only_at_source, found.only_at_target]
        .map(|found| (found.count, found.examples.join(" ")));
    assert_eq!(
        told,
        [(1, "differing"), (5, "new-0 new-1 new-2"), (1, "extra")].map(|(n, keys)| (n, keys.to_owned()))
    );
    worker.kill();
}
