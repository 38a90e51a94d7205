//! How a rule hears of changes (`C03`, `C16`): the way by which a store's messages reach its worker, and what can't be.

use farshore::{
    api::{BucketReplicationRule, FeedInUse},
    task::{Task, Work},
};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{ConfigMap, Service},
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::{apis::meta::v1::Condition, util::intstr::IntOrString},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    cluster::World,
    migrating::{until, until_job},
};

fn spec(world: &World, more: &Value) -> Value {
    let end = |region: &str, bucket: &str| json!({"region": region, "bucket": bucket, "credentials": {"secretRef": {"name": "keys"}}});
    let mut spec = json!({
        "source": end(&world.north, "photos"), "target": end(&world.east, "photos"),
        "worker": {"nodeSelector": {"farshore.dev/nowhere": "true"}},
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn webhook(secret: &str) -> Value {
    json!({"feed": "Webhook", "webhook": {"tokenSecretRef": {"name": secret}}})
}

async fn create(world: &World, more: &Value) -> kube::Result<BucketReplicationRule> {
    world.create("BucketReplicationRule", "photos", spec(world, more)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn c03_p02_a_feed_that_can_not_be_is_refused_on_apply_with_words_that_help() {
    let world = World::new("badfeed").await;
    let sqs = |sqs: Value| json!({"feed": "SQS", "sqs": sqs});
    let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/changes";
    let of_queue = "must be the URL of a queue like https://sqs";
    let of_host = "must be a URL like https://host";
    let with = |url: &str, more: (&str, Value)| {
        let mut queue = json!({"queueURL": url});
        queue[more.0] = more.1;
        sqs(queue)
    };
    let cases = [
        (json!({"feed": "Webhook"}), "feed Webhook needs spec.webhook.tokenSecretRef"),
        (json!({"feed": "Webhook", "webhook": {}}), "tokenSecretRef"),
        (json!({"feed": "Webhook", "webhook": {"tokenSecretRef": {"name": ""}}}), "tokenSecretRef.name"),
        (json!({"webhook": {"tokenSecretRef": {"name": "hook"}}}), "spec.webhook is for feed Webhook only"),
        (json!({"feed": "SQS"}), "feed SQS needs spec.sqs.queueURL"),
        (json!({"feed": "SQS", "sqs": {}}), "queueURL"),
        (json!({"feed": "Poll", "sqs": {"queueURL": url}}), "spec.sqs is for feed SQS only"),
        (sqs(json!({"queueURL": "changes"})), of_queue),
        (sqs(json!({"queueURL": "http://sqs.example"})), of_queue),
        (sqs(json!({"queueURL": "http://sqs.example/"})), of_queue),
        (sqs(json!({"queueURL": "ftp://sqs.example/1/changes"})), of_queue),
        (sqs(json!({"queueURL": "https://key:secret@sqs.example/1/changes"})), of_queue),
        (sqs(json!({"queueURL": "https://sqs.example/1/changes?x=y"})), of_queue),
        (with(url, ("endpoint", json!("vpce-1.sqs.example"))), of_host),
        (with(url, ("endpoint", json!("https://vpce-1.sqs.example/path"))), of_host),
        (with(url, ("region", json!(""))), "spec.sqs.region"),
        (with(url, ("credentials", json!({}))), "secretRef"),
        (json!({"feed": "Kafka"}), "Unsupported value"),
    ];
    for (more, words) in cases {
        match create(&world, &more).await {
            Err(kube::Error::Api(status)) => {
                assert!(status.message.contains(words), "{words:?} was to be in: {}", status.message);
            }
            other => panic!("{more} was to be refused; it was {other:?}"),
        }
    }
    for more in [
        webhook("hook"),
        sqs(json!({"queueURL": url})),
        with("http://127.0.0.1:4566/000000000000/changes", ("endpoint", json!("http://localhost:4566/"))),
        json!({"feed": "Auto", "sqs": null}),
    ] {
        let rule = create(&world, &more).await;
        assert!(rule.is_ok(), "{more}: {rule:?}");
    }
    world.end().await;
}

async fn feed(world: &World, what: &str, holds: impl Fn(Option<&FeedInUse>) -> bool) -> Option<FeedInUse> {
    until(what, async || {
        let rule = world.api::<BucketReplicationRule>().get("photos").await.unwrap();
        let feed = rule.status.clone().and_then(|status| status.feed);
        if holds(feed.as_ref()) { Ok(feed) } else { Err(format!("{:#?}", rule.status)) }
    })
    .await
}

async fn task_of(world: &World, job: &Job) -> Task {
    let pod = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    let map = pod.volumes.iter().flatten().find_map(|volume| volume.config_map.clone()).unwrap();
    let text = world.api::<ConfigMap>().get(&map.name).await.unwrap().data.unwrap()["task.json"].clone();
    serde_json::from_str(&text).unwrap()
}

fn secrets(job: &Job) -> Vec<String> {
    let pod = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    let secrets = pod.volumes.iter().flatten().filter_map(|volume| volume.secret.clone()?.secret_name);
    secrets.collect()
}

/// The one Service of a namespace, and the one `NetworkPolicy`.
async fn until_open(world: &World) -> (Service, NetworkPolicy) {
    until("have a way in", async || {
        let all = ListParams::default();
        let services = world.api::<Service>().list(&all).await.unwrap().items;
        let policies = world.api::<NetworkPolicy>().list(&all).await.unwrap().items;
        match (&services[..], &policies[..]) {
            ([service], [policy]) => Ok((service.clone(), policy.clone())),
            other => Err(format!("{other:#?}")),
        }
    })
    .await
}

async fn until_closed(world: &World) {
    until("have no way in", async || {
        let all = ListParams::default();
        let services = world.api::<Service>().list(&all).await.unwrap().items;
        let policies = world.api::<NetworkPolicy>().list(&all).await.unwrap().items;
        let left = services.len() + policies.len();
        if left == 0 { Ok(()) } else { Err(format!("{services:#?} {policies:#?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c03_c16_a_webhook_has_a_way_in_as_long_as_it_is_asked_for_and_the_status_says_where() {
    let mut world = World::new("webhook").await;
    world.start().await;
    let rule = create(&world, &webhook("hook")).await.unwrap();
    let told =
        feed(&world, "tell the address", |feed| feed.is_some_and(|feed| feed.endpoint.is_some())).await;
    let (service, policy) = until_open(&world).await;
    let (name, namespace) = (service.name_any(), &world.namespace);
    let address = format!("http://{name}.{namespace}.svc:8082/");
    let told = told.unwrap();
    assert_eq!((told.kind.as_str(), told.endpoint.as_deref()), ("Webhook", Some(address.as_str())));
    for owners in [service.owner_references(), policy.owner_references()] {
        let owner = &owners[0];
        assert_eq!((Some(&owner.uid), owner.controller), (rule.metadata.uid.as_ref(), Some(true)));
    }

    let job =
        until_job(&world, "replicate", "have a worker", |job| secrets(job).contains(&"hook".to_owned()))
            .await;
    let pod = job.spec.as_ref().unwrap().template.metadata.as_ref().unwrap().labels.clone().unwrap();
    let leads = service.spec.as_ref().unwrap().selector.clone().unwrap();
    assert!(leads.iter().all(|(key, value)| pod.get(key) == Some(value)), "{leads:?} are to find {pod:?}");
    let confined = policy.spec.as_ref().unwrap().pod_selector.clone().unwrap().match_labels;
    assert_eq!(confined, Some(leads));
    let port = &service.spec.as_ref().unwrap().ports.as_ref().unwrap()[0];
    assert_eq!((port.port, port.target_port.clone()), (8082, Some(IntOrString::Int(8082))));

    // A user may have the store come from outside; and what somebody takes away is there again.
    let outside = json!({"spec": {"type": "LoadBalancer"}, "metadata": {"annotations": {"x": "y"}}});
    world.edit::<Service>(&name, outside).await;
    world.api::<NetworkPolicy>().delete(&name, &DeleteParams::default()).await.unwrap();
    let astray = json!({"spec": {"selector": {"farshore.dev/work": "other"}}});
    world.edit::<Service>(&name, astray).await;
    until("be mended", async || {
        let service = world.api::<Service>().get(&name).await.unwrap();
        let policy = world.api::<NetworkPolicy>().get_opt(&name).await.unwrap();
        let spec = service.spec.clone().unwrap();
        let mended = policy.is_some() && spec.selector.unwrap()["farshore.dev/work"] == "replicate";
        let kept = spec.type_.as_deref() == Some("LoadBalancer") && service.annotations().contains_key("x");
        if mended && kept { Ok(()) } else { Err(format!("{service:#?} {policy:#?}")) }
    })
    .await;

    // Another Secret is another task; another feed needs no way in.
    world.edit::<BucketReplicationRule>("photos", json!({"spec": webhook("other")})).await;
    until_job(&world, "replicate", "have the other Secret", |job| secrets(job).contains(&"other".to_owned()))
        .await;
    let poll = json!({"spec": {"feed": "Poll", "webhook": null}});
    world.edit::<BucketReplicationRule>("photos", poll).await;
    until_closed(&world).await;
    feed(&world, "tell no address", |feed| feed.is_none_or(|feed| feed.endpoint.is_none())).await;

    // Its address is the old one when it comes back, and it goes with the rule.
    world.edit::<BucketReplicationRule>("photos", json!({"spec": webhook("hook")})).await;
    let (again, _) = until_open(&world).await;
    assert_eq!(again.name_any(), name);
    world.api::<BucketReplicationRule>().delete("photos", &DeleteParams::default()).await.unwrap();
    until_closed(&world).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c03_the_worker_of_a_queue_is_told_of_it_and_its_trouble_names_the_secret() {
    let mut world = World::new("sqs").await;
    world.start().await;
    let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/changes";
    let queue =
        json!({"queueURL": url, "region": "eu-west-1", "credentials": {"secretRef": {"name": "queue-keys"}}});
    create(&world, &json!({"feed": "SQS", "sqs": queue})).await.unwrap();
    let job = until_job(&world, "replicate", "have a worker", |_| true).await;
    assert_eq!(secrets(&job), ["keys", "keys", "queue-keys"]);
    let Work::Replicate(work) = task_of(&world, &job).await.work else { panic!() };
    let told = work.queue.unwrap();
    assert_eq!((told.url.as_str(), told.region.as_str(), told.endpoint), (url, "eu-west-1", None));
    assert!(world.api::<Service>().list(&ListParams::default()).await.unwrap().items.is_empty());

    let failure = json!({"side": "Source", "reason": "QueueRefused", "permanent": true, "since": jiff::Timestamp::now(),
        "message": format!("SQS feed: {url}: AccessDenied; correct the queue's address, its policy or the credentials")});
    let body = json!({
        "apiVersion": "farshore.dev/v1alpha1", "kind": "BucketReplicationRule", "metadata": {"name": "photos"},
        "status": {"observed": {"runID": job.annotations()["farshore.dev/run-id"], "generation": 1,
                                "reportedAt": jiff::Timestamp::now(), "failure": failure}},
    });
    let rules = world.api::<BucketReplicationRule>();
    rules.patch_status("photos", &PatchParams::apply("farshore-worker"), &Patch::Apply(&body)).await.unwrap();
    until("name the queue and the Secret", async || {
        let status = rules.get("photos").await.unwrap().status.unwrap();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").cloned();
        let named = |ready: &Condition| {
            ready.reason == "QueueRefused"
                && ready.message.contains(url)
                && ready.message.contains("Secret queue-keys")
        };
        ready.filter(named).map(drop).ok_or_else(|| format!("{:#?}", status.conditions))
    })
    .await;
    world.end().await;
}
