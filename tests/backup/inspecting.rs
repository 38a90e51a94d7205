//! What `inspect` says of a tool's own prefix, and of a copy.

use std::sync::Arc;

use farshore::backup::{catalog::Format, inspect::inspect};

use crate::{catalogs::bucket, stories::time};

#[tokio::test]
async fn b16_b08_inspect_tells_bases_logs_windows_and_whether_a_moment_can_be_restored() {
    let store = Arc::new(bucket("walg-mysql"));
    store.unseed("binlog_005/mysql-bin.000003.zst");
    let at = |at| inspect(store.clone(), "", &Format::WalGMySQL, Some(time(at)));
    let good = at("2026-11-21T02:54:23Z").await.unwrap();
    let moment = good.at.as_ref().unwrap();
    assert!(moment.restorable);
    assert_eq!(moment.bases, ["stream_20261121T025418Z"]);
    assert_eq!(moment.logs.len(), 2);
    let bad = at("2026-11-21T02:52:00Z").await.unwrap();
    let moment = bad.at.as_ref().unwrap();
    assert!(!moment.restorable);
    assert_eq!(moment.before, Some(time("2026-11-21T02:51:22Z")));
    assert_eq!(moment.after, Some(time("2026-11-21T02:54:21Z")));
    let text = bad.to_string();
    for part in ["stream_20261121T025118Z", "mysql-bin.000003", "can't be restored", "2026-11-21T02:54:24Z"] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    let json = serde_json::to_value(&bad).unwrap();
    assert_eq!(json["windows"].as_array().unwrap().len(), 2);
    assert_eq!(json["gaps"][0]["missing"], "mysql-bin.000003");
    assert_eq!(json["at"]["restorable"], false);
    assert_eq!(json["logs"][0]["end"], "0-101-3");
}
