//! With a real mongod: what `SecantusDB` lacks. Nothing of it runs unless two replica sets (6.0 or later, with accounts)
//! are named; **both are emptied**.
//!
//! ```text
//! FARSHORE_TEST_MONGODB_MASTER=mongodb://m-0:27017,m-1:27017,m-2:27017/?replicaSet=m
//! FARSHORE_TEST_MONGODB_TARGET=mongodb://t-0:27017,t-1:27017,t-2:27017/?replicaSet=t
//! FARSHORE_TEST_MONGODB_MASTER_ACCOUNT=DIR   # username, password, if need be ca.crt: root, and an own role with the
//! FARSHORE_TEST_MONGODB_TARGET_ACCOUNT=DIR   # actions setUserWriteBlockMode and bypassWriteBlockingMode
//! cargo test --test standby real:: -- --ignored --nocapture --test-threads 1
//! ```

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use farshore::standby::{Endpoint, Side, servers};
use fastrand::Rng;
use jiff::Timestamp;
use mongodb::{
    Client,
    bson::{Bson, Document, doc},
    error::ErrorKind,
};
use serde_json::Value;

use crate::converge::{compare::assert_equal, follower::Follower, writes::Writer};

const PATIENCE: Duration = Duration::from_mins(3);
const PASSWORD: &str = "of-a-tenant";

/// A replica set that the environment names.
struct Set {
    endpoint: Endpoint,
    client: Client,
}

impl Set {
    async fn named(name: &str, side: Side) -> Self {
        let read = |name: String| {
            std::env::var(&name).unwrap_or_else(|_| panic!("{name} is to be set; see tests/standby/real.rs"))
        };
        let uri = read(format!("FARSHORE_TEST_MONGODB_{name}"));
        let account = PathBuf::from(read(format!("FARSHORE_TEST_MONGODB_{name}_ACCOUNT")));
        let endpoint = Endpoint { uri, credentials: Some(account) };
        let client = servers::connect(&endpoint, side).await.unwrap();
        Self { endpoint, client }
    }

    /// Takes everything away that an earlier test has left, a fence as well.
    async fn empty(&self) {
        let admin = self.client.database("admin");
        admin.run_command(doc! {"setUserWriteBlockMode": 1, "global": false}).await.unwrap();
        for name in self.client.list_database_names().await.unwrap() {
            if !matches!(name.as_str(), "admin" | "config" | "local") {
                self.client.database(&name).drop().await.unwrap();
            }
        }
        match self.client.database("shop").run_command(doc! {"dropUser": "tenant"}).await {
            Ok(_) => {}
            Err(error) => assert!(error.to_string().contains("not found"), "{error}"),
        }
    }

    async fn login(&self, name: &str) -> Client {
        let rest = self.endpoint.uri.strip_prefix("mongodb://").unwrap();
        let (hosts, options) = rest.split_once("/?").unwrap_or((rest.trim_end_matches('/'), ""));
        let uri = format!("mongodb://{name}:{PASSWORD}@{hosts}/shop?{options}");
        Client::with_uri_str(uri).await.unwrap()
    }
}

/// Both, emptied.
async fn sets() -> (Set, Set) {
    let (master, target) =
        (Set::named("MASTER", Side::Master).await, Set::named("TARGET", Side::Target).await);
    master.empty().await;
    target.empty().await;
    (master, target)
}

fn follow((master, target): (&Set, &Set)) -> Follower {
    let account = |set: &Set| set.endpoint.credentials.as_ref().unwrap().display().to_string();
    Follower::with(&[
        master.endpoint.uri.clone(),
        target.endpoint.uri.clone(),
        "--json".to_owned(),
        "--master-credentials".to_owned(),
        account(master),
        "--target-credentials".to_owned(),
        account(target),
    ])
}

async fn until(follower: &Follower, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    loop {
        let report = follower.report();
        if holds(&report) {
            return report;
        }
        assert!(begin.elapsed() < PATIENCE, "not {what}: {}", follower.told());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until_following(follower: &Follower) {
    until(follower, "following", |report| report["stage"] == "Following").await;
}

async fn until_applied(follower: &Follower, master: &Set) {
    let note = doc! {"appendOplogNote": 1, "data": {"a": "moment"}};
    let now = Timestamp::now();
    master.client.database("admin").run_command(note).await.unwrap();
    until(follower, "there", |_| follower.has_applied(now)).await;
}

async fn step_down(set: &Set) {
    // The answer may be lost with the connection.
    set.client
        .database("admin")
        .run_command(doc! {"replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 3})
        .await
        .ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs two real replica sets"]
async fn d01_d10_random_writes_through_elections_on_both_sides_end_equal() {
    let (master, target) = sets().await;
    let mut writer = Writer::new(&master.client, Rng::with_seed(7));
    writer.history(3_000).await;
    let mut follower = follow((&master, &target));
    for round in 0..20 {
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            writer.write().await;
        }
        match round % 4 {
            0 => step_down(&master).await,
            1 => step_down(&target).await,
            2 => follower.kill(),
            _ => {}
        }
        if !follower.lives() {
            follower = follow((&master, &target));
        }
    }
    writer.end().await;
    until_applied(&follower, &master).await;
    follower.stop();
    assert_equal(&master.client, &target.client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs two real replica sets"]
async fn d01_events_that_are_larger_than_a_document_may_be_are_put_together() {
    let (master, target) = sets().await;
    let of = master.client.database("shop").collection::<Document>("large");
    of.insert_one(doc! {"_id": 1, "a": "x".repeat(15 << 20)}).await.unwrap();
    let mut follower = follow((&master, &target));
    until_following(&follower).await;
    of.update_one(doc! {"_id": 1}, doc! {"$set": {"a": "y".repeat(15 << 20)}}).await.unwrap();
    of.replace_one(doc! {"_id": 1}, doc! {"b": "z".repeat(16_700_000)}).await.unwrap();
    until_applied(&follower, &master).await;
    follower.stop();
    assert_equal(&master.client, &target.client).await;
}

async fn code(client: &Client, command: Document) -> Option<i32> {
    match client.database("shop").run_command(command).await {
        Ok(_) => None,
        Err(error) => match *error.kind {
            ErrorKind::Command(ref refused) => Some(refused.code),
            _ => panic!("{error}"),
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs two real replica sets"]
async fn d03_d04_d13_the_servers_own_fence_holds_until_a_drained_activation() {
    let (master, target) = sets().await;
    let roles = vec!["readWrite", "dbAdmin", "userAdmin"];
    let create = doc! {"createUser": "tenant", "pwd": PASSWORD, "roles": roles};
    master.client.database("shop").run_command(create).await.unwrap();
    let sessions = master.client.database("shop").collection::<Document>("sessions");
    sessions.insert_one(doc! {"_id": 1, "at": Bson::DateTime(mongodb::bson::DateTime::now())}).await.unwrap();
    let mut follower = follow((&master, &target));
    let report = until(&follower, "fenced", |report| report["fence"]["level"] == "WriteBlock").await;
    assert_eq!(report["members"].as_array().map(Vec::len).unwrap_or_default(), 3, "{report:#}");
    until_following(&follower).await;

    let tenant = target.login("tenant").await;
    let insert = || doc! {"insert": "sessions", "documents": [{"_id": "by the tenant"}]};
    let made = || doc! {"createUser": "friend", "pwd": PASSWORD, "roles": []};
    for (what, command) in
        [("insert", insert()), ("createUser", made()), ("dropDatabase", doc! {"dropDatabase": 1})]
    {
        let refused = code(&tenant, command).await;
        println!("{what}: {refused:?}");
        assert!(matches!(refused, Some(13 | 371)), "{what}: {refused:?}");
    }
    follower.signal("USR1");
    let active = until(&follower, "active", |report| report["stage"] == "Active").await;
    assert_eq!(active["activation"]["receipt"]["proved"], true, "{active:#}");
    assert_eq!(follower.ended(), Some(0));
    let refused = code(&master.login("tenant").await, insert()).await;
    assert_eq!(refused, Some(371), "the master is kept from writing");
    assert_eq!(code(&target.login("tenant").await, insert()).await, None);
    let ttl = target
        .client
        .database("admin")
        .run_command(doc! {"getParameter": 1, "ttlMonitorEnabled": 1})
        .await
        .unwrap();
    assert!(ttl.get_bool("ttlMonitorEnabled").unwrap(), "{ttl}");
}
