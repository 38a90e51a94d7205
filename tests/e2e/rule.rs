//! The demo's rule: a bucket with a history and a writer, replicated to the other region.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::{
    buckets::{self, Bucket},
    cluster::{DEMO, SOURCE, TARGET, await_some, condition, get, kubectl},
};

/// A period, and room for a busy machine.
const SOON: Duration = Duration::from_secs(90);

fn rule() -> Value {
    get("bucketreplicationrules.farshore.dev", DEMO, "photos").expect("the demo's rule")
}

fn await_rule(what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let ask = || Some(rule()).filter(|rule| holds(rule));
    await_some(&format!("rule photos: {what}"), SOON, ask, || format!("{:#}", rule()["status"]))
}

fn moment(object: &Value) -> Option<jiff::Timestamp> {
    object["status"]["lastSyncTimePoint"].as_str().map(|text| text.parse().expect("RFC 3339"))
}

fn holds(bucket: &Bucket, key: &str) -> bool {
    !buckets::list(bucket, key).is_empty()
}

fn await_at_target(target: &Bucket, key: &str, there: bool) {
    let what = format!("{key} at the target: {there}");
    await_some(
        &what,
        SOON,
        || (holds(target, key) == there).then_some(()),
        || format!("{:#}", rule()["status"]),
    );
}

/// One after the other: all of it is about one rule.
#[test]
fn c01_c04_c05_c11_a_bucket_is_replicated_history_first_then_what_changes() {
    let done =
        await_rule("has brought the history over", |rule| rule["status"]["migration"]["percent"] == 100);
    assert!(done["status"]["migration"]["objects"]["done"].as_u64() >= Some(2000), "{:#}", done["status"]);
    assert_eq!(condition(&done, "Migrated").0, "True");
    let replicating = await_rule("replicates", |rule| rule["status"]["phase"] == "Replicating");
    assert_eq!(condition(&replicating, "Ready").0, "True", "{:#}", replicating["status"]);

    let (source, target) = (buckets::open(SOURCE, "photos"), buckets::open(TARGET, "photos-copy"));
    let key = format!("e2e/{}.jpg", std::process::id());
    buckets::write(&source, &key, Bytes::from_static(b"first"));
    await_at_target(&target, &key, true);
    buckets::write(&source, &key, Bytes::from_static(b"second, longer"));
    await_some(
        "the new content",
        SOON,
        || (buckets::read_all(&target, &key).first()?.1 == "second, longer").then_some(()),
        String::new,
    );
    buckets::delete(&source, &key);
    await_at_target(&target, &key, false);
    let before = jiff::Timestamp::now();
    await_rule("proves the moment", |rule| moment(rule) > Some(before));

    let patch = |suspend| {
        let patch = format!("{{\"spec\":{{\"suspend\":{suspend}}}}}");
        kubectl(&["patch", "brr", "photos", "-n", DEMO, "--type=merge", "-p", &patch]);
    };
    patch(true);
    let suspended = await_rule("is suspended", |rule| {
        rule["status"]["phase"] == "Suspended" && rule["status"]["liveTimePoint"].is_null()
    });
    buckets::write(&source, &key, Bytes::from_static(b"while suspended"));
    std::thread::sleep(Duration::from_secs(12));
    assert!(!holds(&target, &key), "nothing is replicated while it is suspended");
    assert_eq!(moment(&rule()), moment(&suspended));
    patch(false);
    await_at_target(&target, &key, true);
    buckets::delete(&source, &key);
    await_at_target(&target, &key, false);
    let caught_up = await_rule("replicates again", |rule| {
        rule["status"]["phase"] == "Replicating" && moment(rule) > moment(&suspended)
    });
    assert_eq!(caught_up["status"]["migration"]["percent"], 100);
}
