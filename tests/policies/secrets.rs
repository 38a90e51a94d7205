//! Nobody makes Farshore use a Secret that he may not read.

use farshore::api::{BackupSyncService, BucketReplicationRule, DatabaseInstance};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::cluster::{Room, acting_as, allowed, refused};

/// A person who may write Farshore's resources, and read the Secret `own` only.
struct Person {
    client: Client,
    namespace: String,
}

trait Kind: Resource<Scope = NamespaceResourceScope, DynamicType = ()> {}
impl Kind for DatabaseInstance {}
impl Kind for BackupSyncService {}
impl Kind for BucketReplicationRule {}

impl Person {
    async fn new(room: &Room, name: &str, may_use: &[&str]) -> Self {
        let user = format!("{name}-of-{}", room.namespace);
        let rules = json!([
            {"apiGroups": ["farshore.dev"], "resources": ["databaseinstances", "backupsyncservices", "bucketreplicationrules"],
             "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"]},
            {"apiGroups": ["farshore.dev"], "resources": ["databaseinstances"], "resourceNames": may_use,
             "verbs": ["use"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["own"], "verbs": ["get"]},
        ]);
        let given = if may_use.is_empty() { json!([rules[0], rules[2]]) } else { rules };
        room.grant(name, json!({"kind": "User", "name": user}), given).await;
        Self { client: acting_as(&user).await, namespace: room.namespace.clone() }
    }

    fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates nothing: the answer is what counts.
    async fn try_create<K>(&self, object: &Value) -> kube::Result<K>
    where
        K: Kind + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object.clone()).unwrap();
        self.api().create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await
    }

    /// Changes nothing either.
    async fn try_edit<K>(&self, name: &str, edit: &Value) -> kube::Result<K>
    where
        K: Kind + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        self.api().patch(name, &params, &Patch::Merge(edit)).await
    }

    async fn may_edit<K>(&self, name: &str, edit: Value)
    where
        K: Kind + Clone + std::fmt::Debug + DeserializeOwned,
    {
        allowed(&format!("{edit}"), async || self.try_edit::<K>(name, &edit).await).await;
    }

    async fn may_not_edit<K>(&self, name: &str, edit: Value, words: &[&str])
    where
        K: Kind + Clone + std::fmt::Debug + DeserializeOwned,
    {
        refused(&format!("{edit}"), words, async || self.try_edit::<K>(name, &edit).await).await;
    }
}

fn instance(name: &str, secret: &str) -> Value {
    json!({
        "apiVersion": "farshore.dev/v1alpha1", "kind": "DatabaseInstance", "metadata": {"name": name},
        "spec": {"engine": "MySQL", "region": "north", "backups": {
            "format": "MariaDBOperator", "bucket": "backups", "prefix": "orders/",
            "credentials": {"secretRef": {"name": secret}},
        }},
    })
}

fn service(name: &str, instance: &str, secret: &str) -> Value {
    json!({
        "apiVersion": "farshore.dev/v1alpha1", "kind": "BackupSyncService", "metadata": {"name": name},
        "spec": {"instanceRef": {"name": instance}, "target": {
            "region": "east", "bucket": "dr-backups", "prefix": "orders/",
            "credentials": {"secretRef": {"name": secret}},
        }},
    })
}

fn with(mut object: Value, path: &str, value: Value) -> Value {
    let mut at = &mut object["spec"];
    for name in path.split('.') {
        at = &mut at[name];
    }
    *at = value;
    object
}

/// Something that the administrator made.
async fn exists<K>(room: &Room, object: Value)
where
    K: Kind + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(room.client.clone(), &room.namespace);
    let object: K = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

#[tokio::test]
async fn p07_an_instance_uses_no_secret_that_its_author_may_not_read() {
    let room = Room::new("policy-instance").await;
    let ann = Person::new(&room, "ann", &[]).await;
    let own = instance("orders", "own");
    allowed("with the own Secret", async || ann.try_create::<DatabaseInstance>(&own).await).await;

    let words = ["DatabaseInstance orders", "Secret foreign", "ask for `get` on that Secret"];
    let foreign = instance("orders", "foreign");
    let told = refused("backups", &words, async || ann.try_create::<DatabaseInstance>(&foreign).await).await;
    assert!(told.contains("spec.backups.credentials"), "{told}");

    let endpoint = json!({"uri": "mysql://orders:3306", "credentials": {"secretRef": {"name": "foreign"}}});
    let asked = with(own, "endpoint", endpoint);
    let told = refused("endpoint", &words, async || ann.try_create::<DatabaseInstance>(&asked).await).await;
    assert!(told.contains("spec.endpoint.credentials"), "{told}");

    let silent = with(instance("orders", "own"), "endpoint", json!({"uri": "mysql://orders:3306"}));
    allowed("an endpoint without one", async || ann.try_create::<DatabaseInstance>(&silent).await).await;
}

#[tokio::test]
async fn p07_a_service_uses_no_secret_that_its_author_may_not_read() {
    let room = Room::new("policy-service").await;
    let ann = Person::new(&room, "ann", &["orders"]).await;
    let own = service("copy", "orders", "own");
    allowed("with the own Secret", async || ann.try_create::<BackupSyncService>(&own).await).await;

    let words = ["BackupSyncService copy", "Secret foreign", "ask for `get` on that Secret"];
    let foreign = service("copy", "orders", "foreign");
    let told = refused("target", &words, async || ann.try_create::<BackupSyncService>(&foreign).await).await;
    assert!(told.contains("spec.target.credentials"), "{told}");

    let pulling = with(own, "worker", json!({"imagePullSecrets": [{"name": "own"}, {"name": "foreign"}]}));
    let told = refused("pull", &words, async || ann.try_create::<BackupSyncService>(&pulling).await).await;
    assert!(told.contains("spec.worker.imagePullSecrets"), "{told}");
}

#[tokio::test]
async fn p07_an_existing_instance_is_no_way_round() {
    let room = Room::new("policy-source").await;
    exists::<DatabaseInstance>(&room, instance("theirs", "foreign")).await;
    let endpoint = json!({"uri": "mysql://orders:3306", "credentials": {"secretRef": {"name": "foreign"}}});
    exists::<DatabaseInstance>(&room, with(instance("asked", "own"), "endpoint", endpoint)).await;
    exists::<DatabaseInstance>(&room, instance("mine", "own")).await;
    let ann = Person::new(&room, "ann", &["theirs", "asked", "mine"]).await;
    let create = async |on: &str| ann.try_create::<BackupSyncService>(&service("copy", on, "own")).await;

    let words = ["BackupSyncService copy", "DatabaseInstance theirs", "backups with Secret foreign", "`get`"];
    refused("another's backups", &words, async || create("theirs").await).await;
    let words = ["BackupSyncService copy", "DatabaseInstance asked", "asked with Secret foreign", "`get`"];
    refused("another's endpoint", &words, async || create("asked").await).await;
    allowed("the own instance", async || create("mine").await).await;
}

#[tokio::test]
async fn p07_a_service_written_before_its_instance_is_no_way_round() {
    let room = Room::new("policy-use").await;
    let ann = Person::new(&room, "ann", &["orders"]).await;
    let create = async |on: &str| ann.try_create::<BackupSyncService>(&service("copy", on, "own")).await;
    let words = [
        "BackupSyncService copy",
        "DatabaseInstance payroll",
        "ask for the verb `use` on that DatabaseInstance",
    ];
    refused("an instance to come", &words, async || create("payroll").await).await;
    allowed("an instance that one may use", async || create("orders").await).await;
}

#[tokio::test]
async fn p07_an_edit_asks_for_rights_where_a_secret_or_its_address_changes_and_nowhere_else() {
    let room = Room::new("policy-edit").await;
    let pulling = json!({"imagePullSecrets": [{"name": "foreign"}]});
    let both = with(service("copy", "orders", "foreign"), "worker", pulling);
    exists::<DatabaseInstance>(&room, instance("orders", "foreign")).await;
    exists::<BackupSyncService>(&room, both).await;
    let bob = Person::new(&room, "bob", &[]).await;

    for edit in [
        json!({"spec": {"interval": "15m"}}),
        json!({"spec": {"suspend": true, "deletionPolicy": "Retain"}}),
        json!({"spec": {"worker": {"priorityClassName": "low"}}}),
        json!({"spec": {"worker": {"imagePullSecrets": null}}}),
        json!({"metadata": {"annotations": {"farshore.dev/run-requested": "2026-01-01T00:00:00Z"}}}),
    ] {
        bob.may_edit::<BackupSyncService>("copy", edit).await;
    }
    bob.may_edit::<DatabaseInstance>("orders", json!({"spec": {"version": "11.4"}})).await;

    let secret = json!({"secretRef": {"name": "other"}});
    let words = ["BackupSyncService copy", "Secret other", "ask for `get`"];
    bob.may_not_edit::<BackupSyncService>(
        "copy",
        json!({"spec": {"target": {"credentials": secret}}}),
        &words,
    )
    .await;
    let pulls = json!({"spec": {"worker": {"imagePullSecrets": [{"name": "other"}]}}});
    bob.may_not_edit::<BackupSyncService>("copy", pulls, &words).await;

    let words = ["DatabaseInstance orders", "Secret foreign", "ask for `get`"];
    for edit in [
        json!({"spec": {"backups": {"prefix": "payroll/"}}}),
        json!({"spec": {"backups": {"bucket": "elsewhere"}}}),
        json!({"spec": {"region": "west"}}),
    ] {
        bob.may_not_edit::<DatabaseInstance>("orders", edit, &words).await;
    }
    let words = ["DatabaseInstance orders", "Secret other", "ask for `get`"];
    bob.may_not_edit::<DatabaseInstance>(
        "orders",
        json!({"spec": {"backups": {"credentials": secret}}}),
        &words,
    )
    .await;
}

#[tokio::test]
async fn p07_an_administrator_of_the_namespace_gets_through_and_an_editor_needs_use() {
    let room = Room::new("policy-admin").await;
    let subject = |name: &str| json!({"kind": "User", "name": format!("{name}-of-{}", room.namespace)});
    room.bind("chief", subject("chief"), "ClusterRole", "admin").await;
    room.bind("eve", subject("eve"), "ClusterRole", "edit").await;
    exists::<DatabaseInstance>(&room, instance("orders", "any")).await;
    let all: Vec<_> = (0..8).map(|n| json!({"name": format!("pull-{n}")})).collect();
    let rich = with(service("copy", "orders", "any"), "worker", json!({"imagePullSecrets": all}));
    let person = async |name: &str| Person {
        client: acting_as(&format!("{name}-of-{}", room.namespace)).await,
        namespace: room.namespace.clone(),
    };

    let chief = person("chief").await;
    allowed("an instance", async || chief.try_create::<DatabaseInstance>(&instance("new", "any")).await)
        .await;
    allowed("a service", async || chief.try_create::<BackupSyncService>(&rich).await).await;
    let eve = person("eve").await;
    allowed("an instance", async || eve.try_create::<DatabaseInstance>(&instance("new", "any")).await).await;
    let words = ["DatabaseInstance orders", "the verb `use`"];
    refused("a service", &words, async || eve.try_create::<BackupSyncService>(&rich).await).await;
}

fn rule(source: &str, feed: Value) -> Value {
    let end = |region: &str, bucket: &str, secret: &str| json!({"region": region, "bucket": bucket, "credentials": {"secretRef": {"name": secret}}});
    let mut spec = feed;
    (spec["source"], spec["target"]) = (end("north", "photos", source), end("east", "photos-copy", "own"));
    json!({"apiVersion": "farshore.dev/v1alpha1", "kind": "BucketReplicationRule", "metadata": {"name": "photos"}, "spec": spec})
}

#[tokio::test]
async fn c03_p07_a_rule_s_feed_uses_no_secret_that_its_author_may_not_read() {
    let room = Room::new("policy-feed").await;
    let ann = Person::new(&room, "ann", &[]).await;
    let may = async |what: &str, object: Value| {
        allowed(what, async || ann.try_create::<BucketReplicationRule>(&object).await).await;
    };
    let may_not = async |what: &str, object: Value, field: &str| {
        let words = ["BucketReplicationRule photos", field, "Secret foreign", "ask for `get` on that Secret"];
        refused(what, &words, async || ann.try_create::<BucketReplicationRule>(&object).await).await;
    };
    let webhook = |secret: &str| json!({"feed": "Webhook", "webhook": {"tokenSecretRef": {"name": secret}}});
    let url = "https://sqs.example/1/changes";
    let queue = |secret: &str| json!({"feed": "SQS", "sqs": {"queueURL": url, "credentials": {"secretRef": {"name": secret}}}});
    may("no feed of its own", rule("own", json!({}))).await;
    may("the own token", rule("own", webhook("own"))).await;
    may_not("another's token", rule("own", webhook("foreign")), "spec.webhook.tokenSecretRef").await;
    may("the own keys", rule("own", queue("own"))).await;
    may_not("another's keys", rule("own", queue("foreign")), "spec.sqs").await;
    may("the source's keys", rule("own", json!({"feed": "SQS", "sqs": {"queueURL": url}}))).await;

    // Another's rule may be suspended; its keys are shown to no address that the author chooses.
    exists::<BucketReplicationRule>(&room, rule("foreign", json!({"feed": "SQS", "sqs": {"queueURL": url}})))
        .await;
    ann.may_edit::<BucketReplicationRule>("photos", json!({"spec": {"suspend": true}})).await;
    let elsewhere = json!({"spec": {"sqs": {"queueURL": "https://mine.example/1/changes"}}});
    let words = ["spec.sqs", "Secret foreign"];
    ann.may_not_edit::<BucketReplicationRule>("photos", elsewhere, &words).await;
    let mine = json!({"spec": webhook("own")});
    ann.may_edit::<BucketReplicationRule>(
        "photos",
        json!({"spec": {"feed": "Webhook", "sqs": null, "webhook": mine["spec"]["webhook"]}}),
    )
    .await;
}
