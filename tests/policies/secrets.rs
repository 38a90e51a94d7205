//! Nobody makes Farshore use a Secret that he may not read.

use farshore::api::{
    BackupSyncService, BucketReplicationRule, DatabaseInstance, DisasterRecoveryInstance, RecoveryDrill,
};
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
impl Kind for RecoveryDrill {}
impl Kind for DisasterRecoveryInstance {}

impl Person {
    async fn new(room: &Room, name: &str, may_use: &[&str]) -> Self {
        let user = format!("{name}-of-{}", room.namespace);
        let rules = json!([
            {"apiGroups": ["farshore.dev"], "resources": ["databaseinstances", "backupsyncservices", "bucketreplicationrules", "recoverydrills", "disasterrecoveryinstances"],
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

/// An instance that is restored from the copy of `service`.
fn restored(service: &str, admin: &str, moment: &str) -> Value {
    json!({
        "apiVersion": "farshore.dev/v1alpha1", "kind": "DatabaseInstance", "metadata": {"name": "new"},
        "spec": {"engine": "MySQL", "region": "east", "bootstrap": {
            "recovery": {"serviceRef": {"name": service}, "timePoint": moment},
            "instance": {"image": "i", "storage": "1Gi", "adminSecretRef": {"name": admin}},
        }},
    })
}

fn drill(service: &str) -> Value {
    json!({
        "apiVersion": "farshore.dev/v1alpha1", "kind": "RecoveryDrill", "metadata": {"name": "nightly"},
        "spec": {"serviceRef": {"name": service}, "schedule": "0 3 * * *",
                 "instance": {"image": "i", "storage": "1Gi"}},
    })
}

/// Restoring is reading: nobody restores what he may not read, and no moment that can't be had.
#[tokio::test]
async fn b08_b15_p07_a_restore_uses_no_secret_that_its_author_may_not_read_and_no_moment_outside() {
    let room = Room::new("policy-recovery").await;
    let ann = Person::new(&room, "ann", &["orders"]).await;
    for (name, secret) in [("copy", "own"), ("theirs", "foreign")] {
        exists::<BackupSyncService>(&room, service(name, "orders", secret)).await;
        let windows = json!([{"from": "2026-11-21T08:00:00Z", "to": "2026-11-21T09:00:00Z"}]);
        let status = json!({"status": {"recoveryWindows": windows, "conditions": []}});
        let api: Api<BackupSyncService> = Api::namespaced(room.client.clone(), &room.namespace);
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    }
    let good = restored("copy", "own", "2026-11-21T08:30:00Z");
    allowed("a restore", async || ann.try_create::<DatabaseInstance>(&good).await).await;
    let words = ["DatabaseInstance new", "Secret foreign", "ask for `get` on that Secret"];
    let admin = restored("copy", "foreign", "2026-11-21T08:30:00Z");
    refused("its account", &words, async || ann.try_create::<DatabaseInstance>(&admin).await).await;
    let copy = restored("theirs", "own", "2026-11-21T08:30:00Z");
    refused("its copy", &words, async || ann.try_create::<DatabaseInstance>(&copy).await).await;
    let key = |name: &str| json!({"secretRef": {"name": name}});
    let locked = |name: &str| with(good.clone(), "bootstrap.recovery.decryption", key(name));
    allowed("its key", async || ann.try_create::<DatabaseInstance>(&locked("own")).await).await;
    refused("its key", &words, async || ann.try_create::<DatabaseInstance>(&locked("foreign")).await).await;
    let pulled = with(good.clone(), "bootstrap.instance.imagePullSecrets", json!([{"name": "foreign"}]));
    refused("its image", &words, async || ann.try_create::<DatabaseInstance>(&pulled).await).await;
    let cluster = |address: &str, image: &str| {
        let existing =
            json!({"image": "i", "uriSecretRef": {"name": address}, "imagePullSecrets": [{"name": image}]});
        let bootstrap = json!({"recovery": good["spec"]["bootstrap"]["recovery"], "existing": existing});
        with(with(good.clone(), "engine", json!("MongoDB")), "bootstrap", bootstrap)
    };
    allowed("its cluster", async || ann.try_create::<DatabaseInstance>(&cluster("own", "own")).await).await;
    for (address, image) in [("foreign", "own"), ("own", "foreign")] {
        let foreign = cluster(address, image);
        refused("its cluster", &words, async || ann.try_create::<DatabaseInstance>(&foreign).await).await;
    }
    let words = ["RecoveryDrill nightly", "Secret foreign", "ask for `get` on that Secret"];
    allowed("a drill", async || ann.try_create::<RecoveryDrill>(&drill("copy")).await).await;
    refused("a drill", &words, async || ann.try_create::<RecoveryDrill>(&drill("theirs")).await).await;
    let locked = |name: &str| with(drill("copy"), "decryption", key(name));
    allowed("a drill's key", async || ann.try_create::<RecoveryDrill>(&locked("own")).await).await;
    refused("a drill's key", &words, async || ann.try_create::<RecoveryDrill>(&locked("foreign")).await)
        .await;
    // A key that somebody else named is not led to an image of one's own.
    let theirs = with(locked("foreign"), "instance.image", json!("theirs"));
    exists::<RecoveryDrill>(&room, theirs).await;
    ann.may_not_edit::<RecoveryDrill>("nightly", json!({"spec": {"instance": {"image": "mine"}}}), &words)
        .await;
    let words = ["can't be restored", "2026-11-21T08:00:00Z to 2026-11-21T09:00:00Z"];
    for moment in ["2026-11-21T07:59:59Z", "2026-11-21T09:00:01Z"] {
        let outside = restored("copy", "own", moment);
        refused(moment, &words, async || ann.try_create::<DatabaseInstance>(&outside).await).await;
    }
}

/// A restore that is left to another operator is a resource of that operator.
#[tokio::test]
async fn b08_p07_nobody_has_made_by_another_operator_what_he_may_not_make_himself() {
    let room = Room::new("policy-via").await;
    let ann = Person::new(&room, "ann", &["orders"]).await;
    exists::<BackupSyncService>(&room, service("copy", "orders", "own")).await;
    let plain = restored("copy", "own", "2026-11-21T08:30:00Z");
    let plain = with(plain, "engine", json!("PostgreSQL"));
    let via =
        with(plain, "bootstrap.recovery.via", json!({"operator": "CloudNativePG", "spec": {"instances": 1}}));
    let words = ["DatabaseInstance new", "clusters of postgresql.cnpg.io", "which you may not create"];
    refused("a Cluster", &words, async || ann.try_create::<DatabaseInstance>(&via).await).await;

    // Of three kinds, each is asked for.
    let maria = with(
        with(via.clone(), "engine", json!("MySQL")),
        "bootstrap.recovery.via",
        json!({"operator": "MariaDBOperator"}),
    );
    let subject = || json!({"kind": "User", "name": format!("ann-of-{}", room.namespace)});
    let kinds = ["mariadbs", "physicalbackups", "pointintimerecoveries"];
    for (at, kind) in kinds.into_iter().enumerate() {
        let words = [kind, "of k8s.mariadb.com", "which you may not create"];
        refused(kind, &words, async || ann.try_create::<DatabaseInstance>(&maria).await).await;
        let may = json!([{"apiGroups": ["k8s.mariadb.com"], "resources": [kind], "verbs": ["create"]}]);
        room.grant(&format!("maria-{at}"), subject(), may).await;
    }
    allowed("a MariaDB", async || ann.try_create::<DatabaseInstance>(&maria).await).await;

    // Nor does an edit of what another person wrote.
    exists::<DatabaseInstance>(&room, with_name(via.clone(), "theirs")).await;
    let more = json!({"spec": {"bootstrap": {"recovery": {"via": {"spec": {"instances": 5}}}}}});
    let words = ["DatabaseInstance theirs", "which you may not create"];
    refused("an edit", &words, async || ann.try_edit::<DatabaseInstance>("theirs", &more).await).await;
    let label = json!({"metadata": {"labels": {"team": "shop"}}});
    allowed("a label", async || ann.try_edit::<DatabaseInstance>("theirs", &label).await).await;

    let may = json!([{"apiGroups": ["postgresql.cnpg.io"], "resources": ["clusters"], "verbs": ["create"]}]);
    room.grant("clusters", subject(), may).await;
    allowed("a Cluster", async || ann.try_create::<DatabaseInstance>(&via).await).await;
    let words = ["DatabaseInstance new", "Secret foreign", "ask for `get` on that Secret"];
    let foreign = json!({"secretRef": {"name": "foreign"}});
    let keys = with(via.clone(), "bootstrap.recovery.via.credentials", foreign);
    refused("its keys", &words, async || ann.try_create::<DatabaseInstance>(&keys).await).await;
    let authorities = with(via, "bootstrap.recovery.via.caSecretRef", json!({"name": "foreign"}));
    refused("its authorities", &words, async || ann.try_create::<DatabaseInstance>(&authorities).await).await;
}

fn with_name(mut object: Value, name: &str) -> Value {
    object["metadata"]["name"] = json!(name);
    object
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

/// A copy of `sessions` on servers that are there already.
fn standby(secret: &str) -> Value {
    json!({
        "apiVersion": "farshore.dev/v1alpha1", "kind": "DisasterRecoveryInstance", "metadata": {"name": "copy"},
        "spec": {"masterRef": {"name": "sessions"}, "region": "east", "target": {"existing": {
            "uri": "mongodb://dr-0.east:27017/?replicaSet=dr", "credentials": {"secretRef": {"name": secret}},
        }}},
    })
}

fn master(name: &str, secret: &str) -> Value {
    json!({
        "apiVersion": "farshore.dev/v1alpha1", "kind": "DatabaseInstance", "metadata": {"name": name},
        "spec": {"engine": "MongoDB", "region": "north", "endpoint": {
            "uri": "mongodb://rs0-0.north:27017", "credentials": {"secretRef": {"name": secret}},
        }},
    })
}

#[tokio::test]
async fn d04_p07_a_copy_uses_no_secret_and_no_master_that_its_author_may_not_use() {
    let room = Room::new("policy-standby").await;
    exists::<DatabaseInstance>(&room, master("sessions", "own")).await;
    exists::<DatabaseInstance>(&room, master("theirs", "another")).await;
    let person = Person::new(&room, "author", &["sessions", "theirs"]).await;
    allowed("his own", async || person.try_create::<DisasterRecoveryInstance>(&standby("own")).await).await;
    let managed =
        json!({"managed": {"image": "mongo:7", "storage": "1Gi", "imagePullSecrets": [{"name": "another"}]}});
    for (object, words) in [
        (standby("another"), ["spec.target.existing.credentials.secretRef", "another"]),
        (with(standby("own"), "masterRef.name", json!("theirs")), ["its master theirs", "another"]),
        (with(standby("own"), "masterRef.name", json!("sealed")), ["ask for `use`", "sealed"]),
        (with(standby("own"), "target", managed), ["spec.target.managed.imagePullSecrets", "another"]),
        (
            with(standby("own"), "worker", json!({"imagePullSecrets": [{"name": "another"}]})),
            ["spec.worker.imagePullSecrets", "another"],
        ),
    ] {
        refused(&format!("{object}"), &words, async || {
            person.try_create::<DisasterRecoveryInstance>(&object).await
        })
        .await;
    }
    exists::<DisasterRecoveryInstance>(&room, standby("another")).await;
    let edit = |spec: Value| json!({"spec": spec});
    person.may_edit::<DisasterRecoveryInstance>("copy", edit(json!({"state": "Active"}))).await;
    let uri = json!({"target": {"existing": {"uri": "mongodb://mine.invalid"}}});
    person
        .may_not_edit::<DisasterRecoveryInstance>(
            "copy",
            edit(uri),
            &["spec.target.existing.credentials.secretRef"],
        )
        .await;
}
