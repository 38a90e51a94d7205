use mongodb::bson::{Timestamp, doc};

use super::{capitalized, compatibility, members, why_uncopied, written};
use crate::{mongo::Place, standby::Member};

#[test]
fn d01_answers_are_read_as_servers_write_them() {
    let status = doc! {"members": [
        {"name": "a:27017", "health": 1.0, "stateStr": "PRIMARY"},
        {"name": "b:27017", "health": 0.0, "stateStr": "(not reachable/healthy)"},
        {"name": "c:27017", "health": 1, "stateStr": "SECONDARY"},
    ]};
    let member = |name: &str, role: &str, healthy| Member { name: name.into(), role: role.into(), healthy };
    let expected = [
        member("a:27017", "Primary", true),
        member("b:27017", "(not reachable/healthy)", false),
        member("c:27017", "Secondary", true),
    ];
    assert_eq!(members(&status), expected);
    assert_eq!(capitalized(""), "");
    let version = compatibility(&doc! {"featureCompatibilityVersion": {"version": "7.0"}, "ok": 1});
    assert_eq!(version.as_deref(), Some("7.0"));
    let ts = Timestamp { time: 7, increment: 3 };
    let greeting = doc! {"lastWrite": {"opTime": {"ts": Timestamp { time: 9, increment: 9 }}, "majorityOpTime": {"ts": ts}}};
    assert_eq!(written(&greeting, "majorityOpTime"), Some(Place { seconds: 7, increment: 3 }));
    assert_eq!(written(&doc! {"isWritablePrimary": true}, "opTime"), None);
}

#[test]
fn d01_collections_that_can_not_be_copied_are_known() {
    let cases = [
        (doc! {"name": "a", "type": "collection", "options": {}}, None),
        (doc! {"name": "a", "type": "timeseries", "options": {"timeseries": {}}}, Some("a time series")),
        (doc! {"name": "system.buckets.a", "type": "collection"}, Some("a time series")),
        (doc! {"name": "a", "options": {"encryptedFields": {}}}, Some("of queryable encryption")),
        (doc! {"name": "enxcol_.a.esc", "options": {}}, Some("of queryable encryption")),
        (doc! {"name": "v", "type": "view", "options": {"viewOn": "a"}}, None),
    ];
    for (collection, expected) in cases {
        assert_eq!(why_uncopied(&collection), expected, "{collection}");
    }
}
