//! The main job on real input: the demo's MariaDB writes, its archive is copied, and what the status
//! says is held against the database and against the binlogs that lie at the target.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    buckets,
    cluster::{DEMO, SOURCE, await_service, condition, kubectl, service},
};

fn latest(object: &serde_json::Value) -> Option<jiff::Timestamp> {
    object["status"]["latestDataTimePoint"].as_str().map(|text| text.parse().expect("RFC 3339"))
}

fn on_source(container: &str, script: &str) -> String {
    kubectl(&["exec", "-n", SOURCE, "orders-0", "-c", container, "--", "bash", "-ec", script])
}

fn sql(query: &str) -> String {
    on_source("mariadb", &format!("mariadb --no-defaults --user=root --socket=\"$SOCKET\" -BNe \"{query}\""))
}

/// Twice the interval of the demo's service plus that of its archiver, and room for a busy machine.
const TWO_INTERVALS: Duration = Duration::from_secs(90);

#[test]
fn b01_b06_the_latest_moment_advances_while_the_database_is_written_to() {
    let first = await_service(DEMO, "orders", "has a latest moment", TWO_INTERVALS, |s| latest(s).is_some());
    let first = latest(&first).expect("it has one");
    let later = await_service(DEMO, "orders", "moves on", TWO_INTERVALS, |s| latest(s) > Some(first));
    assert_eq!(later["status"]["phase"], "Synced");
    assert_eq!(later["status"]["timePointBasis"], "Proved");
    assert_eq!(condition(&later, "Ready").0, "True", "{:?}", condition(&later, "Ready"));
    assert_eq!(condition(&later, "WithinRPO").0, "True", "{:?}", condition(&later, "WithinRPO"));
    assert_eq!(condition(&later, "WindowContiguous").0, "True");
}

/// Ids of the orders whose insertion is in the binlogs that lie at the target, read by `mariadb-binlog`
/// from the target's copies in the target's container.
fn orders_in_target_binlogs() -> BTreeSet<u64> {
    let target = buckets::open(crate::cluster::TARGET, "dr-backups");
    let directory = format!("/tmp/e2e-binlogs-{}", std::process::id());
    on_source("mariadb", &format!("rm -rf {directory}; mkdir -p {directory}"));
    for (key, bytes) in buckets::read_all(&target, "orders/binlogs/server-") {
        let name = key.rsplit('/').next().expect("a name");
        buckets::pipe_into_pod(
            SOURCE,
            "orders-0",
            "mariadb",
            &format!("gunzip > {directory}/{}", name.trim_end_matches(".gz")),
            &bytes,
        );
    }
    // Row events in words: `###   @1=17` is the id of an inserted order.
    let words = on_source(
        "mariadb",
        &format!(
            "set -o pipefail; TZ=UTC mariadb-binlog --base64-output=decode-rows -v $(ls {directory}/* | sort -t. -k2n) \
             | grep -A2 'INSERT INTO `orders`.`orders`' | sed -n 's/^###   @1=//p'; rm -rf {directory}"
        ),
    );
    words.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

#[test]
fn b06_the_latest_moment_is_never_later_than_the_truth() {
    let object = await_service(DEMO, "orders", "has a latest moment", TWO_INTERVALS, |s| latest(s).is_some());
    let moment = latest(&object).expect("it has one");
    // Everything that the database committed up to the moment (its end of second) must be in the logs
    // at the target: nothing was written that the status promises and the target lacks.
    let committed = sql(&format!(
        "SELECT id FROM orders.orders WHERE placed_at <= '{}' ORDER BY id",
        moment.strftime("%Y-%m-%d %H:%M:%S.999999")
    ));
    let committed: BTreeSet<u64> = committed.lines().filter_map(|line| line.trim().parse().ok()).collect();
    assert!(committed.len() > 5, "the demo's writer has written: {}", committed.len());
    let copied = orders_in_target_binlogs();
    let missing: Vec<_> = committed.difference(&copied).collect();
    assert!(
        missing.is_empty(),
        "{moment} is promised, but orders {missing:?} are not in the target's binlogs"
    );
    // And the promise is no more than the target's own end: the source is ahead of it.
    let window =
        object["status"]["recoveryWindows"].as_array().and_then(|all| all.last()).expect("a window").clone();
    assert_eq!(window["to"], object["status"]["latestDataTimePoint"]);
}

#[test]
fn b13_usage_is_what_lies_in_the_bucket() {
    let object = await_service(DEMO, "orders", "meters its use", TWO_INTERVALS, |s| {
        s["status"]["usage"]["storedBytes"].as_u64() > Some(0)
    });
    let before = object["status"]["usage"]["storedBytes"].as_u64().expect("a figure");
    let target = buckets::open(crate::cluster::TARGET, "dr-backups");
    let in_bucket: u64 = buckets::list(&target, "orders/").into_iter().map(|object| object.size).sum();
    let after = await_service(DEMO, "orders", "meters on", TWO_INTERVALS, |s| {
        s["status"]["usage"]["storedBytes"].as_u64() >= Some(in_bucket)
    });
    assert!(before <= in_bucket, "metered {before}, in the bucket {in_bucket}");
    let transferred = after["status"]["usage"]["transferredBytes"].as_u64().expect("a figure");
    assert!(
        transferred >= after["status"]["usage"]["storedBytes"].as_u64().expect("a figure"),
        "{:#}",
        after["status"]["usage"]
    );
}

#[test]
fn b01_a_killed_worker_is_followed_by_another_that_goes_on() {
    await_service(DEMO, "orders", "is synced", TWO_INTERVALS, |s| s["status"]["phase"] == "Synced");
    let run = service(DEMO, "orders")["status"]["observed"]["runID"].as_str().expect("a run").to_owned();
    kubectl(&[
        "delete",
        "job",
        "-n",
        DEMO,
        "-l",
        "farshore.dev/service=orders",
        "--cascade=foreground",
        "--wait=true",
    ]);
    let after = await_service(DEMO, "orders", "is reported on by another run", TWO_INTERVALS, |s| {
        s["status"]["observed"]["runID"].as_str().is_some_and(|next| next > run.as_str())
            && s["status"]["phase"] == "Synced"
    });
    let moment = latest(&after);
    await_service(DEMO, "orders", "moves on after the kill", TWO_INTERVALS, |s| latest(s) > moment);
}
