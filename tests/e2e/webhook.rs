//! A store of its own that tells a rule's worker of changes by webhook.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    buckets::{self, Bucket},
    cluster::{
        Namespace, SOURCE, TARGET, apply, await_some, get, kubectl, secret_value, store_secret, try_kubectl,
    },
};

const SOON: Duration = Duration::from_mins(2);
/// Comparisons begin 10 s apart at least: what is at the target sooner, time and again, was heard of.
const AT_ONCE: Duration = Duration::from_secs(4);
const TOKEN: &str = "t0ken-of-stories";

/// The story's own Region: it belongs to no namespace.
struct Region(String);

impl Drop for Region {
    fn drop(&mut self) {
        drop(try_kubectl(
            &["delete", "region.farshore.dev", &self.0, "--wait=false", "--ignore-not-found"],
            None,
        ));
    }
}

fn rule(namespace: &str) -> Value {
    get("bucketreplicationrules.farshore.dev", namespace, "hooked").expect("the rule")
}

fn await_rule(namespace: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let ask = || Some(rule(namespace)).filter(|rule| holds(rule));
    await_some(&format!("rule hooked: {what}"), SOON, ask, || format!("{:#}", rule(namespace)["status"]))
}

fn patch(namespace: &str, spec: &Value) {
    let patch = json!({"spec": spec}).to_string();
    kubectl(&["patch", "brr", "hooked", "-n", namespace, "--type=merge", "-p", &patch]);
}

/// A MinIO that posts to an address, with the image of the demo's.
fn minio(namespace: &str, endpoint: &str) -> String {
    let demo = get("deployment", SOURCE, "minio").expect("the demo's MinIO");
    let mut pod = demo["spec"]["template"]["spec"].clone();
    let env = pod["containers"][0]["env"].as_array_mut().expect("its environment");
    let secret = |name: &str, key: &str| json!({"secretKeyRef": {"name": name, "key": key}});
    env.extend([
        json!({"name": "MINIO_NOTIFY_WEBHOOK_ENABLE_FARSHORE", "value": "on"}),
        json!({"name": "MINIO_NOTIFY_WEBHOOK_ENDPOINT_FARSHORE", "value": endpoint}),
        json!({"name": "MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_FARSHORE", "valueFrom": secret("hook", "token")}),
    ]);
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "minio", "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "minio"}},
                 "template": {"metadata": {"labels": {"app": "minio"}}, "spec": pod}},
    });
    deployment.to_string()
}

fn await_at_target(namespace: &str, target: &Bucket, key: &str, there: bool, limit: Duration) {
    let began = Instant::now();
    let holds = || (buckets::list(target, key).is_empty() != there).then_some(());
    await_some(&format!("{key} at the target: {there}"), SOON, holds, || {
        format!("{:#}", rule(namespace)["status"])
    });
    assert!(began.elapsed() < limit, "{key} took {:?}: it was compared, not heard of", began.elapsed());
}

/// Waits until a Service leads to one worker that is ready.
fn await_one_behind(namespace: &str, service: &str) {
    let label = format!("kubernetes.io/service-name={service}");
    let path = "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}";
    let ready = || kubectl(&["get", "endpointslices", "-n", namespace, "-l", &label, "-o", path]);
    let one = || (ready().split_whitespace().count() == 1).then_some(());
    await_some("one worker behind the Service", SOON, one, ready);
}

/// What is written goes over at once, and what is deleted.
fn hears(namespace: &str, (source, target): (&Bucket, &Bucket), stem: &str) {
    for n in 0..6 {
        let key = format!("{stem}/{n} a+b.jpg");
        buckets::write(source, &key, Bytes::from_static(b"content"));
        await_at_target(namespace, target, &key, true, AT_ONCE);
        buckets::delete(source, &key);
        await_at_target(namespace, target, &key, false, AT_ONCE);
    }
}

#[test]
fn c03_c16_a_store_that_can_only_post_is_heard_at_once_also_by_the_next_worker() {
    let room = Namespace::new("hooked");
    let namespace = room.0.as_str();
    let _region = Region(namespace.to_owned());
    let bucket = format!("hooked-{}", std::process::id());
    let key = |name: &str| secret_value(TARGET, "minio", name);
    let (user, password) = (key("rootUser"), key("rootPassword"));
    store_secret(namespace, "keys", &user, &password);
    for (name, data) in
        [("minio", json!({"rootUser": user, "rootPassword": password})), ("hook", json!({"token": TOKEN}))]
    {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": data});
        apply(&secret.to_string());
    }
    apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: minio, namespace: {namespace}}}\nspec:\n  selector: {{app: minio}}\n  ports: [{{name: s3, port: 9000}}]\n"
    ));
    apply(&format!(
        "apiVersion: farshore.dev/v1alpha1\nkind: Region\nmetadata: {{name: {namespace}}}\nspec:\n  objectStore: {{endpoint: \"http://minio.{namespace}:9000\"}}\n"
    ));
    buckets::make(TARGET, &bucket);

    // The address is there before the store that must be given it.
    apply(&format!(
        "apiVersion: farshore.dev/v1alpha1\nkind: BucketReplicationRule\nmetadata: {{name: hooked, namespace: {namespace}}}\nspec:\n  suspend: true\n  source: {{region: {namespace}, bucket: {bucket}, credentials: {{secretRef: {{name: keys}}}}}}\n  target: {{region: {TARGET}, bucket: {bucket}, credentials: {{secretRef: {{name: keys}}}}}}\n  feed: Webhook\n  webhook: {{tokenSecretRef: {{name: hook}}}}\n"
    ));
    let told =
        await_rule(namespace, "tells its address", |rule| rule["status"]["feed"]["endpoint"].is_string());
    let endpoint = told["status"]["feed"]["endpoint"].as_str().expect("an address");
    apply(&minio(namespace, endpoint));
    kubectl(&["rollout", "status", "deployment/minio", "-n", namespace, "--timeout=120s"]);
    let (source, target) = (buckets::open(namespace, &bucket), buckets::open(TARGET, &bucket));
    buckets::make(namespace, &bucket);
    buckets::have_told(&source, "arn:minio:sqs::FARSHORE:webhook");

    patch(namespace, &json!({"suspend": false}));
    await_rule(namespace, "replicates", |rule| {
        rule["status"]["phase"] == "Replicating" && rule["status"]["feed"]["kind"] == "Webhook"
    });
    let name = endpoint.trim_start_matches("http://").split('.').next().expect("the Service's name");
    await_one_behind(namespace, name);
    hears(namespace, (&source, &target), "first");

    // Its Job goes, and the Service leads to the worker of the next one.
    let job = ["get", "jobs", "-n", namespace, "-o", "jsonpath={.items[*].metadata.uid}"];
    let before = kubectl(&job);
    kubectl(&["delete", "jobs", "--all", "-n", namespace]);
    await_some(
        "another worker",
        SOON,
        || Some(kubectl(&job)).filter(|now| !now.is_empty() && *now != before),
        String::new,
    );
    // Its first comparison is over.
    let since = jiff::Timestamp::now();
    await_rule(namespace, "proves a later moment", |rule| {
        let moment = rule["status"]["lastSyncTimePoint"]
            .as_str()
            .and_then(|text| text.parse::<jiff::Timestamp>().ok());
        moment > Some(since)
    });
    await_one_behind(namespace, name);
    hears(namespace, (&source, &target), "second");

    // Without a webhook there is no way in.
    patch(namespace, &json!({"feed": "Poll", "webhook": null}));
    for kind in ["service", "networkpolicy"] {
        await_some(
            &format!("no {kind}"),
            SOON,
            || get(kind, namespace, name).is_none().then_some(()),
            String::new,
        );
    }
    await_rule(namespace, "tells no address", |rule| rule["status"]["feed"]["endpoint"].is_null());
}
