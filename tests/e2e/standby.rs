//! A live copy of a database: it is fenced, takes over when it is told to, and stays what it is then.

use mongodb::{
    Client, Collection,
    bson::{Document, doc},
    error::ErrorKind,
};

use crate::{
    cluster::{Namespace, apply, condition, kubectl, try_kubectl},
    pair::{KIND, PASSWORD, await_copy, await_phase, instance, login, orders, patch, servers, standby},
};

/// The answer of a server to who may not do something.
const UNAUTHORIZED: i32 = 13;

/// What a tenant does who may write and manage accounts at the master.
fn five() -> [(&'static str, Document); 5] {
    [
        ("insert", doc! {"insert": "orders", "documents": [{"_id": "by the tenant"}]}),
        ("create", doc! {"create": "of_the_tenant"}),
        ("createUser", doc! {"createUser": "friend", "pwd": PASSWORD, "roles": []}),
        ("grantRolesToUser", doc! {"grantRolesToUser": "friend", "roles": [{"role": "read", "db": "shop"}]}),
        ("dropDatabase", doc! {"dropDatabase": 1}),
    ]
}

async fn attempt(client: &Client, command: Document) -> Result<(), i32> {
    match client.database("shop").run_command(command).await {
        Ok(_) => Ok(()),
        Err(error) => match *error.kind {
            ErrorKind::Command(refused) => Err(refused.code),
            other => panic!("{other:?}"),
        },
    }
}

#[tokio::test]
async fn d03_d04_d12_d13_a_copy_is_fenced_takes_over_once_and_is_never_seeded_over() {
    let space = Namespace::new("standby");
    let namespace = &space.0;
    servers(namespace, &[]);
    let of_master = orders(namespace, "master-0").await;
    of_master.insert_many((0..500).map(|id| doc! {"_id": id, "item": "book"})).await.expect("written");
    apply(&instance(namespace));
    apply(&standby(namespace));
    let copy = await_phase(namespace, "Standby");
    assert_eq!(condition(&copy, "Fenced").0, "True", "{:#}", copy["status"]);

    println!("a tenant at the copy:");
    let tenant = login(namespace, "copy-0", "tenant").await;
    for (what, command) in five() {
        let refused = attempt(&tenant, command).await.expect_err(what);
        println!("  {what}: refused with code {refused}");
        assert_eq!(refused, UNAUTHORIZED, "{what}");
    }
    let there = orders(namespace, "copy-0").await;
    assert_eq!(there.count_documents(doc! {}).await.expect("counted"), 500);

    // The master lives and can't be kept from writing: nobody takes over by accident.
    patch(namespace, r#"{"spec":{"state":"Active"}}"#);
    let held = await_copy(namespace, "held", |copy| copy["status"]["activation"]["held"].is_string());
    let told = held["status"]["activation"]["held"].as_str().expect("words");
    assert!(told.contains("farshore.dev/accept-split-brain"), "{told}");
    let now = format!("farshore.dev/accept-split-brain={}", jiff::Timestamp::now().strftime("%FT%TZ"));
    kubectl(&["annotate", KIND, "copy", "-n", namespace, &now]);
    let active = await_phase(namespace, "Active");
    let activation = &active["status"]["activation"];
    assert_eq!(activation["dataLoss"]["proved"], false, "{activation:#}");
    println!("{activation:#}");

    still_active(namespace);
    let tenant = login(namespace, "copy-0", "tenant").await;
    for (what, command) in five() {
        attempt(&tenant, command).await.unwrap_or_else(|code| panic!("{what}: code {code}"));
        println!("  {what}: done");
    }
    never_seeded_over(namespace, &there).await;
}

/// What Git says afterwards changes nothing, and is not refused either.
fn still_active(namespace: &str) {
    let manifest = standby(namespace);
    let args = |more: &'static [&'static str]| {
        let common = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=kustomize-controller",
            "-f",
            "-",
        ];
        [&common[..], more].concat()
    };
    try_kubectl(&args(&["--dry-run=server"]), Some(&manifest)).expect("a dry run is let in");
    try_kubectl(&args(&[]), Some(&manifest)).expect("it is let in");
    let copy = await_copy(namespace, "seen", |copy| {
        copy["status"]["observedGeneration"] == copy["metadata"]["generation"]
    });
    assert_eq!(copy["status"]["phase"], "Active", "{:#}", copy["status"]);
    assert_eq!(condition(&copy, "Ready").0, "True", "{:#}", copy["status"]);
}

/// The same resource, made anew, does not touch what was activated.
async fn never_seeded_over(namespace: &str, there: &Collection<Document>) {
    there.insert_one(doc! {"_id": "of its own"}).await.expect("it may be written");
    kubectl(&["delete", KIND, "copy", "-n", namespace, "--timeout=60s"]);
    apply(&standby(namespace));
    // The instance that it became bears its name.
    await_copy(namespace, "refused", |copy| condition(copy, "Ready").1 == "NameTaken");
    kubectl(&["delete", "databaseinstances.farshore.dev", "copy", "-n", namespace, "--timeout=60s"]);
    // Not even then: the target itself says what it is.
    await_copy(namespace, "refused by its target", |copy| {
        condition(copy, "Ready").1 == "TargetSealed" && condition(copy, "Stalled").0 == "True"
    });
    assert_eq!(there.count_documents(doc! {"_id": "of its own"}).await.expect("counted"), 1);
}
