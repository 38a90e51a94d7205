//! What keeps a copy from following: it is said within a minute for what it is, nothing is shown then that could be
//! read as a lag, and once it is over the copy follows by itself.

#![allow(clippy::print_stdout, reason = "it tells how long things took")]

use std::time::{Duration, Instant};

use mongodb::{
    Collection,
    bson::{Document, Timestamp, doc},
};
use serde_json::Value;

use crate::{
    cluster::{Namespace, apply, await_some, condition, kubectl},
    pair::{
        KIND, PATIENCE, await_copy, await_phase, found, instance, login, orders, patch, servers, standby,
    },
    stopped::{CutOff, Stopped},
};

/// A cause is told within it.
const WITHIN: Duration = Duration::from_mins(1);
const NOWHERE: &str = r#"{"spec":{"worker":{"nodeSelector":{"farshore.dev/nowhere":"true"}}}}"#;
const ANYWHERE: &str = r#"{"spec":{"worker":{"nodeSelector":null}}}"#;

/// A master and a copy that follows it.
struct Pair {
    namespace: String,
    /// Documents of the master.
    written: i32,
}

impl Pair {
    async fn following(space: &Namespace, of_master: &[&str]) -> Self {
        let namespace = space.0.clone();
        servers(&namespace, of_master);
        let mut pair = Self { namespace, written: 0 };
        pair.write(50).await;
        apply(&instance(&pair.namespace));
        apply(&standby(&pair.namespace));
        await_phase(&pair.namespace, "Standby");
        pair.follows().await;
        pair
    }

    async fn master(&self) -> Collection<Document> {
        orders(&self.namespace, "master-0").await
    }

    async fn write(&mut self, count: i32) {
        let ids = self.written..self.written + count;
        let new = ids.map(|id| doc! {"_id": id, "item": "book"});
        self.master().await.insert_many(new).await.expect("written");
        self.written += count;
    }

    async fn copied(&self) -> i32 {
        let there = orders(&self.namespace, "copy-0").await.count_documents(doc! {}).await.expect("counted");
        i32::try_from(there).expect("a few")
    }

    /// What is written now comes to the copy, and it is well.
    async fn follows(&mut self) {
        let begin = Instant::now();
        self.write(1).await;
        while self.copied().await != self.written {
            assert!(begin.elapsed() < PATIENCE, "{:#}", found(&self.namespace)["status"]);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let copied = begin.elapsed();
        await_copy(&self.namespace, "well", |copy| {
            condition(copy, "Ready").0 == "True" && shown(copy) == (true, true)
        });
        println!(
            "  a document comes to the copy after {copied:.0?}, it is well after {:.0?}",
            begin.elapsed()
        );
    }

    /// Name of the pod that works.
    fn worker(&self) -> String {
        let query = ["get", "pods", "-n", &self.namespace, "-l", "farshore.dev/work=standby", "-o"];
        let names = "jsonpath={.items[?(@.status.phase==\"Running\")].metadata.name}";
        kubectl(&[&query[..], &[names]].concat())
    }

    /// Nothing works on it any more, and nothing can.
    fn send_worker_away(&self) {
        let before = self.worker();
        patch(&self.namespace, NOWHERE);
        kubectl(&["delete", "pod", "-n", &self.namespace, &before, "--ignore-not-found"]);
        let gone = || self.worker().is_empty().then_some(());
        await_some("its worker is gone", PATIENCE, gone, || self.worker());
    }

    /// Waits until a cause is told, with these figures shown.
    fn is_told(&self, since: Instant, what: &str, (reason, word): (&str, &str), figures: (bool, bool)) {
        let told = |copy: &Value| {
            let (status, found, message) = condition(copy, "Ready");
            status == "False" && found == reason && message.contains(word) && shown(copy) == figures
        };
        let limit = WITHIN.saturating_sub(since.elapsed());
        let ask = || Some(found(&self.namespace)).filter(told);
        let copy = await_some(what, limit, ask, || format!("{:#}", found(&self.namespace)["status"]));
        let message = condition(&copy, "Ready").2;
        println!("{what}: told after {:.0?}: {reason}: {message}", since.elapsed());
    }

    /// It stays so: at each look until then, this holds.
    async fn stays(&self, until: Instant, holds: impl Fn(&Value) -> bool) {
        while Instant::now() < until {
            let copy = found(&self.namespace);
            assert!(holds(&copy), "{:#}", copy["status"]);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Whether `lastAppliedTime` and `masterTime` are shown.
fn shown(copy: &Value) -> (bool, bool) {
    (copy["status"]["lastAppliedTime"].is_string(), copy["status"]["masterTime"].is_string())
}

#[tokio::test]
async fn d09_a_worker_that_stands_still_or_is_cut_off_or_has_no_node_leaves_no_figure_behind() {
    let space = Namespace::new("silent");
    let mut pair = Pair::following(&space, &[]).await;

    let (stopped, since) = (Stopped::pod(&pair.namespace, &pair.worker()), Instant::now());
    pair.is_told(since, "worker paused", ("Unhealthy", "Readiness probe failed"), (false, false));
    drop(stopped);
    pair.follows().await;

    let (cut_off, since) = (CutOff::pod(&pair.namespace, &pair.worker()), Instant::now());
    pair.is_told(since, "worker cut off", ("Starting", "is not heard"), (false, false));
    drop(cut_off);
    pair.follows().await;

    let since = Instant::now();
    pair.send_worker_away();
    pair.is_told(since, "pod unschedulable", ("Unschedulable", "node"), (false, false));
    let over = jiff::Timestamp::now();
    patch(&pair.namespace, ANYWHERE);
    await_copy(&pair.namespace, "heard again", |copy| {
        let master =
            copy["status"]["masterTime"].as_str().map(|at| at.parse::<jiff::Timestamp>().expect("a time"));
        // A cluster time is in seconds.
        assert!(
            master.is_none_or(|at| at.as_second() >= over.as_second()),
            "of before: {:#}",
            copy["status"]
        );
        condition(copy, "Ready").0 == "True"
    });
    pair.follows().await;
}

#[tokio::test]
async fn d09_a_master_that_does_not_answer_is_said_for_as_long_as_it_lasts_and_the_copy_stays_ready_to_take_over()
 {
    let space = Namespace::new("mute");
    let mut pair = Pair::following(&space, &[]).await;
    let unreachable = |copy: &Value| {
        condition(copy, "Ready").1 == "MasterUnreachable"
            && condition(copy, "ReadyToActivate").0 == "True"
            && shown(copy) == (true, false)
    };

    let (stopped, since) = (Stopped::pod(&pair.namespace, "master-0"), Instant::now());
    pair.is_told(since, "master paused", ("MasterUnreachable", "the master: "), (true, false));
    // Longer than the kubelet takes to doubt a worker that has nothing good to tell.
    pair.stays(since + Duration::from_mins(1), unreachable).await;
    drop(stopped);
    pair.follows().await;

    let since = Instant::now();
    kubectl(&["scale", "statefulset/master", "-n", &pair.namespace, "--replicas=0"]);
    pair.is_told(since, "master gone", ("MasterUnreachable", "the master: "), (true, false));
}

/// An end of the master's oplog: 1 is the oldest entry, -1 the newest.
async fn oplog(namespace: &str, end: i32) -> Timestamp {
    let local = login(namespace, "master-0", "admin").await.database("local");
    let entries = local.collection::<Document>("oplog.rs");
    let entry = entries.find_one(doc! {}).sort(doc! {"$natural": end}).await.expect("read");
    entry.expect("an entry").get_timestamp("ts").expect("its time")
}

#[tokio::test]
async fn d09_an_oplog_that_rolled_over_fails_the_copy_nothing_is_skipped_and_it_is_made_anew_on_request_only()
{
    let space = Namespace::new("gap");
    let mut pair = Pair::following(&space, &["--oplog-max-entries", "100"]).await;
    pair.send_worker_away();
    let (seen, before, begin) = (oplog(&pair.namespace, -1).await, pair.written, Instant::now());
    while oplog(&pair.namespace, 1).await <= seen {
        assert!(begin.elapsed() < PATIENCE, "the oplog keeps everything");
        pair.write(200).await;
    }
    println!("the oplog rolled over after {} documents, {:.0?}", pair.written - before, begin.elapsed());
    await_copy(&pair.namespace, "found silent", |copy| {
        condition(copy, "Ready").0 == "False" && shown(copy) == (false, false)
    });

    let seeded = found(&pair.namespace)["status"]["seed"]["completedAt"].clone();
    // Not even for the moment in which its worker starts.
    let not_well = |copy: &Value| {
        let is_anew = copy["status"]["seed"]["completedAt"] != seeded;
        assert!(condition(copy, "Ready").0 == "False" || is_anew, "{:#}", copy["status"]);
        is_anew
    };
    patch(&pair.namespace, ANYWHERE);
    let since = Instant::now();
    let failed = |copy: &Value| {
        copy["status"]["phase"] == "Failed"
            && condition(copy, "OplogContiguous").0 == "False"
            && condition(copy, "Ready").1 == "OplogGap"
            && condition(copy, "Stalled").2.contains("farshore.dev/resync-requested")
            && !shown(copy).1
    };
    await_copy(&pair.namespace, "failed", |copy| !not_well(copy) && failed(copy));
    println!(
        "said after {:.0?}: {}",
        since.elapsed(),
        condition(&found(&pair.namespace), "OplogContiguous").2
    );
    pair.write(1).await;
    pair.stays(since + Duration::from_secs(50), failed).await;
    assert_eq!(pair.copied().await, before, "nothing of what came after the gap");

    let (asked, since) = (jiff::Timestamp::now(), Instant::now());
    let request = format!("farshore.dev/resync-requested={}", asked.strftime("%FT%TZ"));
    kubectl(&["annotate", KIND, "copy", "-n", &pair.namespace, &request]);
    await_copy(&pair.namespace, "made anew", |copy| {
        not_well(copy)
            && copy["status"]["phase"] == "Standby"
            && condition(copy, "OplogContiguous").0 == "True"
    });
    println!("made anew after {:.0?}", since.elapsed());
    pair.follows().await;
}
