//! Whole courses, with the worker as a process: it follows, the master lives or is lost, the target takes over, and is
//! followed in turn.

use std::time::{Duration, Instant};

use farshore::{
    mongo::Place,
    standby::{Side, servers},
};
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::{
    Client,
    bson::{Document, doc},
};
use serde_json::Value;

use crate::{
    converge::{compare::assert_equal, follower::Follower},
    fence::Guarded,
    secantus::Secantus,
};

const PATIENCE: Duration = Duration::from_mins(1);

fn orders(client: &Client) -> mongodb::Collection<Document> {
    client.database("shop").collection("orders")
}

async fn write(client: &Client, ids: std::ops::Range<i32>) {
    orders(client).insert_many(ids.map(|id| doc! {"_id": id, "item": "book"})).await.unwrap();
}

async fn until(follower: &Follower, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    loop {
        let report = follower.report();
        if holds(&report) {
            return report;
        }
        assert!(begin.elapsed() < PATIENCE, "not {what}: {}", follower.told());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_following(follower: &Follower) {
    until(follower, "following", |report| report["stage"] == "Following").await;
}

/// Waits until what was written up to now is there.
async fn until_applied(follower: &Follower) {
    // The feed of a quiet master tells of its moments each second.
    let now = Timestamp::now();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    until(follower, "there", |_| follower.has_applied(now)).await;
}

async fn receipt(follower: &Follower) -> Value {
    let report = until(follower, "active", |report| report["stage"] == "Active").await;
    report["activation"]["receipt"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_d12_d13_a_living_master_is_drained_with_proof_and_follows_what_took_over() {
    let master = Guarded::start(true, &[]).await;
    let target = Guarded::start(true, &[]).await;
    let (at_master, at_target) = (master.client().await, target.client().await);
    write(&at_master, 0..500).await;
    let mut follower = Follower::with(&master.follow(&target));
    until_following(&follower).await;
    write(&at_master, 500..600).await;
    follower.signal("USR1");
    let receipt = receipt(&follower).await;
    assert_eq!((&receipt["proved"], &receipt["masterAnswered"]), (&true.into(), &true.into()), "{receipt:#}");
    assert_eq!(follower.ended(), Some(0));
    assert_equal(&at_master, &at_target).await;
    write(&at_target, 600..700).await;

    // The old master is empty again, and follows.
    let old = Guarded::start(true, &[]).await;
    let at_old = old.client().await;
    let mut back = Follower::with(&target.follow(&old));
    until_following(&back).await;
    write(&at_target, 700..800).await;
    until_applied(&back).await;
    back.stop();
    assert_equal(&at_target, &at_old).await;
    assert_eq!(orders(&at_old).count_documents(doc! {}).await.unwrap(), 800);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d03_d12_a_master_that_is_gone_is_not_waited_for_longer_than_the_drain_and_nothing_is_proved() {
    let (mut master, target) = (Secantus::start().await, Secantus::start().await);
    write(&master.client, 0..500).await;
    let mut follower =
        Follower::with(&[master.uri().as_str(), &target.uri(), "--json", "--drain-timeout", "2s"]);
    until_following(&follower).await;
    until_applied(&follower).await;
    master.kill();
    follower.signal("USR1");
    let receipt = receipt(&follower).await;
    assert_eq!(
        (&receipt["proved"], &receipt["masterAnswered"]),
        (&false.into(), &false.into()),
        "{receipt:#}"
    );
    let took = receipt["tookMilliseconds"].as_u64().unwrap();
    assert!((2_000..4_500).contains(&took), "{receipt:#}");
    assert_eq!(follower.ended(), Some(0));
    write(&target.client, 500..501).await;

    // Whoever comes later finds it sealed, and leaves it as it is.
    master.restart().await;
    let mut later = Follower::start(&master, &target);
    until(&later, "told of", |report| report["stage"] == "Active").await;
    assert_eq!(later.ended(), Some(0));
    let mut another =
        Follower::with(&[master.uri().as_str(), &target.uri(), "--json", "--owner", "somebody-else"]);
    assert_ne!(another.ended(), Some(0));
    assert!(another.told().contains("activated") || another.told().contains("another"), "{}", another.told());
    assert_eq!(orders(&target.client).count_documents(doc! {}).await.unwrap(), 501);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d13_a_living_master_that_can_not_be_blocked_holds_the_activation_until_a_person_decides() {
    let (master, target) = (Secantus::start().await, Secantus::start().await);
    write(&master.client, 0..50).await;
    let mut follower = Follower::start(&master, &target);
    until_following(&follower).await;
    follower.signal("USR1");
    let held = until(&follower, "held", |report| report["activation"]["held"].is_string()).await;
    let told = held["activation"]["held"].as_str().unwrap();
    assert!(told.contains("farshore.dev/accept-split-brain"), "{told}");
    // It goes on following meanwhile.
    write(&master.client, 50..60).await;
    let begin = Instant::now();
    while orders(&target.client).count_documents(doc! {}).await.unwrap() < 60 {
        assert!(begin.elapsed() < PATIENCE, "{}", follower.told());
    }
    follower.kill();
    let mut decided = Follower::with(&[
        master.uri().as_str(),
        &target.uri(),
        "--json",
        "--activate",
        "--accept-split-brain",
    ]);
    let receipt = receipt(&decided).await;
    assert_eq!(
        (&receipt["proved"], &receipt["masterAnswered"]),
        (&false.into(), &true.into()),
        "{receipt:#}"
    );
    assert_eq!(decided.ended(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d13_a_living_master_that_misses_one_answer_does_not_end_an_activation_that_is_held() {
    let (master, target) = (Secantus::start().await, Secantus::start().await);
    write(&master.client, 0..50).await;
    let drain = Duration::from_secs(5);
    let follower = Follower::with(&[master.uri().as_str(), &target.uri(), "--json", "--drain-timeout", "5s"]);
    until_following(&follower).await;
    follower.signal("USR1");
    let is_held = |report: &Value| report["activation"]["held"].is_string();
    until(&follower, "held", is_held).await;
    // Longer than the drain may last: time that is held does not count.
    tokio::time::sleep(drain).await;
    master.signal("STOP");
    until(&follower, "missing an answer", |report| !is_held(report)).await;
    master.signal("CONT");
    let report = until(&follower, "held again", is_held).await;
    assert_eq!(report["stage"], "Activating", "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d13_a_worker_that_goes_on_with_a_held_activation_waits_the_whole_drain_for_a_silent_master() {
    let (master, target) = (Secantus::start().await, Secantus::start().await);
    write(&master.client, 0..50).await;
    let (from, to) = (master.uri(), target.uri());
    let activate = [from.as_str(), &to, "--json", "--activate", "--drain-timeout", "18s"];
    let mut follower = Follower::start(&master, &target);
    until_following(&follower).await;
    follower.signal("USR1");
    let is_held = |report: &Value| report["activation"]["held"].is_string();
    until(&follower, "held", is_held).await;
    let begun = Instant::now();
    follower.kill();
    master.signal("STOP");
    // Its lease has to run out first.
    let next = Follower::with(&activate);
    until(&next, "going on", |report| report["stage"] == "Activating").await;
    // From the wish on it is longer now than the drain may last.
    tokio::time::sleep(Duration::from_secs(18).saturating_sub(begun.elapsed())).await;
    // Long enough for a question that stays without an answer.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(next.report()["stage"], "Activating", "{}", next.told());
    master.signal("CONT");
    let report = until(&next, "held again", is_held).await;
    assert_eq!(report["stage"], "Activating", "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d10_a_change_that_the_target_refuses_is_not_left_out_by_an_activation() {
    let (mut master, target) = (Secantus::start().await, Secantus::start().await);
    write(&master.client, 0..1).await;
    let mut follower = Follower::start(&master, &target);
    until_following(&follower).await;
    // Somebody who should not have.
    let index = doc! {"key": {"item": 1}, "name": "by hand", "unique": true};
    let shop = target.client.database("shop");
    shop.run_command(doc! {"createIndexes": "orders", "indexes": [index]}).await.unwrap();
    write(&master.client, 1..2).await;
    orders(&master.client).insert_one(doc! {"_id": 2, "item": "pen"}).await.unwrap();
    let begin = Instant::now();
    while follower.lives() {
        assert!(begin.elapsed() < PATIENCE, "{}", follower.told());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(follower.told().contains("shop.orders, _id 1"), "{}", follower.told());

    master.kill();
    let activate = [master.uri(), target.uri(), "--json".to_owned(), "--activate".to_owned()];
    let mut refused = Follower::with(&activate);
    assert_eq!(refused.ended(), Some(1), "{}", refused.told());
    assert!(refused.told().contains("shop.orders, _id 1"), "{}", refused.told());
    assert_eq!(orders(&target.client).count_documents(doc! {"item": "book"}).await.unwrap(), 1);

    shop.run_command(doc! {"dropIndexes": "orders", "index": "by hand"}).await.unwrap();
    let mut mended = Follower::with(&activate);
    receipt(&mended).await;
    assert_eq!(mended.ended(), Some(0));
    assert!(orders(&target.client).find_one(doc! {"_id": 1}).await.unwrap().is_some());
}

/// Documents of one transaction.
const TOGETHER: i32 = 8;

/// Transactions, one after another, until the server is gone; how many were acknowledged.
async fn transactions(client: Client) -> i32 {
    for number in 0.. {
        let together = async {
            let mut session = client.start_session().await?;
            session.start_transaction().await?;
            for part in 0..TOGETHER {
                let document = doc! {"_id": format!("{number}-{part}"), "transaction": number};
                orders(&client).insert_one(document).session(&mut session).await?;
            }
            session.commit_transaction().await
        };
        if together.await.is_err() {
            return number;
        }
    }
    0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d10_worker_and_master_are_lost_at_once_and_only_whole_transactions_are_there() {
    for milliseconds in [150, 400, 900] {
        let (mut master, target) = (Secantus::with(&[]).await, Secantus::start().await);
        master.client.database("shop").create_collection("orders").await.unwrap();
        let mut follower = Follower::start(&master, &target);
        until_following(&follower).await;
        let writing = tokio::spawn(transactions(master.client.clone()));
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        follower.kill();
        master.kill();
        let acknowledged = writing.await.unwrap();
        let drain = ["--json", "--activate", "--drain-timeout", "1s"];
        let (from, to) = (master.uri(), target.uri());
        let mut last = Follower::with(&[&[from.as_str(), to.as_str()], &drain[..]].concat());
        receipt(&last).await;
        assert_eq!(last.ended(), Some(0));
        let found: Vec<Document> =
            orders(&target.client).find(doc! {}).await.unwrap().try_collect().await.unwrap();
        let whole = found
            .iter()
            .map(|document| document.get_i32("transaction").unwrap())
            .max()
            .map_or(0, |last| last + 1);
        assert_eq!(found.len(), usize::try_from(whole * TOGETHER).unwrap(), "of {acknowledged} transactions");
        assert!(whole <= acknowledged + 1, "{whole} of {acknowledged}");
        println!("{milliseconds} ms: {whole} of {acknowledged} transactions, all of them whole");
    }
}

/// The oldest moment that a server's oplog has.
async fn forgotten(server: &Secantus) -> Place {
    servers::facts::window(&server.client, Side::Master).await.unwrap().unwrap().first
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d09_a_gap_in_the_oplog_is_said_nothing_is_skipped_and_the_copy_can_still_take_over() {
    let arguments = ["--sync-on-commit", "--oplog-max-entries", "100"];
    let (mut master, target) = (Secantus::with(&arguments).await, Secantus::start().await);
    write(&master.client, 0..50).await;
    let mut follower = Follower::start(&master, &target);
    until_following(&follower).await;
    let seen = servers::facts::window(&master.client, Side::Master).await.unwrap().unwrap().last;
    assert_eq!(follower.stop(), Some(0));
    let mut all = 50;
    let begin = Instant::now();
    // The server forgets when it likes to.
    while forgotten(&master).await <= seen {
        assert!(begin.elapsed() < PATIENCE, "the oplog keeps everything");
        write(&master.client, all..all + 200).await;
        all += 200;
    }
    let mut follower = Follower::start(&master, &target);
    let begin = Instant::now();
    while !follower.told().contains("OplogGap") {
        assert!(begin.elapsed() < PATIENCE && follower.lives(), "{}", follower.told());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(follower.told().contains("farshore.dev/resync-requested"), "{}", follower.told());
    assert!(follower.report().is_null(), "it told that it follows before it had looked: {}", follower.told());
    assert_eq!(orders(&target.client).count_documents(doc! {}).await.unwrap(), 50, "nothing after the gap");
    master.kill();
    follower.signal("USR1");
    let receipt = receipt(&follower).await;
    assert_eq!(receipt["proved"], false, "{receipt:#}");
    assert_eq!(follower.ended(), Some(0));

    // Made anew on request only, and never once it has taken over.
    master.restart().await;
    let again = [master.uri(), target.uri(), "--json".to_owned(), "--resync".to_owned()];
    Follower::with(&again).ended();
    assert_eq!(orders(&target.client).count_documents(doc! {}).await.unwrap(), 50);
    let fresh = Secantus::start().await;
    let mut follower = Follower::start(&master, &fresh);
    until_following(&follower).await;
    assert_eq!(orders(&fresh.client).count_documents(doc! {}).await.unwrap(), u64::try_from(all).unwrap());
    follower.stop();
}
