//! The demo's pair: a bucket that is written in both regions.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::{
    buckets::{self, Bucket},
    cluster::{DEMO, SOURCE, TARGET, await_some, condition, get},
};

/// A period, and room for a busy machine.
const SOON: Duration = Duration::from_secs(90);

fn rule(name: &str) -> Value {
    get("bucketreplicationrules.farshore.dev", DEMO, name).expect("the demo's rule")
}

fn both() -> String {
    format!("{:#} {:#}", rule("docs-east")["status"], rule("docs-north")["status"])
}

fn await_content(bucket: &Bucket, key: &str, content: Option<&str>) {
    let holds = || {
        let holds = match content {
            None => buckets::list(bucket, key).is_empty(),
            Some(content) => buckets::read_all(bucket, key).first().is_some_and(|(_, body)| body == content),
        };
        holds.then_some(())
    };
    await_some(&format!("{key}: {content:?}"), SOON, holds, both);
}

#[test]
fn c08_a_bucket_that_is_written_in_both_regions_is_kept_equal() {
    for name in ["docs-east", "docs-north"] {
        let ask = || Some(rule(name)).filter(|rule| rule["status"]["phase"] == "Replicating");
        let replicating = await_some(&format!("{name} replicates"), SOON, ask, both);
        assert_eq!(condition(&replicating, "Ready").0, "True", "{:#}", replicating["status"]);
        assert_eq!(replicating["status"]["mutual"], true);
    }
    let (north, east) = (buckets::open(SOURCE, "docs"), buckets::open(TARGET, "docs"));
    let key = format!("e2e/{}.txt", std::process::id());
    buckets::write(&north, &key, Bytes::from_static(b"from the north"));
    await_content(&east, &key, Some("from the north"));
    buckets::write(&east, &key, Bytes::from_static(b"and from the east"));
    await_content(&north, &key, Some("and from the east"));
    buckets::delete(&north, &key);
    await_content(&east, &key, None);
    // Nothing brings it back: both directions compare everything once more.
    let gone = jiff::Timestamp::now();
    for name in ["docs-east", "docs-north"] {
        let proved = || {
            let moment =
                rule(name)["status"]["lastSyncTimePoint"].as_str()?.parse::<jiff::Timestamp>().ok()?;
            (moment > gone).then_some(())
        };
        await_some(&format!("{name} proves a later moment"), SOON, proved, both);
    }
    await_content(&north, &key, None);
    await_content(&east, &key, None);
    buckets::write(&east, &key, Bytes::from_static(b"made anew"));
    await_content(&north, &key, Some("made anew"));
    buckets::delete(&east, &key);
    await_content(&north, &key, None);
}
