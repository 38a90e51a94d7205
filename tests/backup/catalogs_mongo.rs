//! Catalogs of WAL-G's layout for MongoDB.

use farshore::{
    backup::{catalog::Format, window::timeline},
    store::memory::MemoryStore,
};

use crate::catalogs::{bucket, catalog, span, spans, time};

const START: u32 = 1_795_132_780;

/// Moves a slice's object to another name.
fn rename(store: &MemoryStore, from: &str, to: &str) {
    let (from, to) = (format!("oplog_005/{from}.br"), format!("oplog_005/{to}.br"));
    let body = store.bytes(&from).unwrap();
    store.unseed(&from);
    store.seed(&to, body, time("2026-11-20T00:05:00Z"));
}

async fn windows(store: &MemoryStore) -> Vec<(String, String)> {
    spans(&timeline(&catalog(store, &Format::WalGMongoDB).await))
}

#[tokio::test]
async fn b14_b06_walg_mongodb() {
    let store = bucket("walg-mongo");
    let catalog = catalog(&store, &Format::WalGMongoDB).await;
    assert_eq!(catalog.warnings, []);
    assert_eq!(catalog.unknown.objects, 0);
    let timeline = timeline(&catalog);
    // EXPECTED.txt: the last slice ends at 00:04:40, with the fifth entry of that second. A sixth may be
    // in the next slice: a second less is what can be promised.
    assert_eq!(spans(&timeline), [span("2026-11-20T00:00:30Z", "2026-11-20T00:04:39Z")]);
    assert_eq!(timeline.gaps, []);
    // The dump began to be read at Before.LastMajTS: the slice that holds it is where replay begins.
    let chain = timeline.chain_for(time("2026-11-20T00:00:30Z")).unwrap();
    let logs: Vec<&str> = chain.logs.iter().map(|&at| catalog.segments[at].name.as_str()).collect();
    assert_eq!(logs[0], "oplog_1795132780.1_1795132840.1.br");
    assert_eq!(logs.len(), 5);
}

#[tokio::test]
async fn b06_a_dump_without_the_oplog_of_its_time_shows_no_moment() {
    let store = bucket("walg-mongo");
    let slices: Vec<String> = store.keys().into_iter().filter(|key| key.starts_with("oplog_005/")).collect();
    for key in &slices {
        store.unseed(key);
    }
    assert_eq!(windows(&store).await, []);
    // A slice that ends before the dump did is not enough.
    store.seed("oplog_005/oplog_1795132780.1_1795132820.1.br", "x", time("2026-11-20T00:00:20Z"));
    assert_eq!(windows(&store).await, []);
    // A binary base holds a moment of its own.
    let key = "basebackups_005/stream_20261120T000000Z_backup_stop_sentinel.json";
    let mut sentinel: serde_json::Value = serde_json::from_slice(&store.bytes(key).unwrap()).unwrap();
    sentinel["BackupType"] = "binary".into();
    sentinel["MongoMeta"]["BackupLastTS"] = serde_json::json!({"TS": 1_795_132_829, "Inc": 7});
    store.seed(key, sentinel.to_string(), time("2026-11-20T00:00:31Z"));
    assert_eq!(windows(&store).await, [span("2026-11-20T00:00:29Z", "2026-11-20T00:00:29Z")]);
}

#[tokio::test]
async fn b16_a_missing_oplog_slice_ends_the_window_and_is_named() {
    let store = bucket("walg-mongo");
    store.unseed("oplog_005/oplog_1795132900.2_1795132960.3.br");
    let timeline = timeline(&catalog(&store, &Format::WalGMongoDB).await);
    assert_eq!(spans(&timeline), [span("2026-11-20T00:00:30Z", "2026-11-20T00:01:39Z")]);
    assert_eq!(timeline.gaps.len(), 1);
    assert_eq!(timeline.gaps[0].missing, "oplog from 2026-11-20T00:01:40Z to 2026-11-20T00:02:40Z");
}

#[tokio::test]
async fn b16_a_hole_that_walg_marked_is_kept_and_nothing_goes_on_over_it() {
    let store = bucket("walg-mongo");
    rename(&store, "oplog_1795132900.2_1795132960.3", "gap_1795132900.2_1795132960.3");
    let with_hole = catalog(&store, &Format::WalGMongoDB).await;
    assert_eq!(with_hole.opaque.len(), 1);
    assert_eq!(spans(&timeline(&with_hole)), [span("2026-11-20T00:00:30Z", "2026-11-20T00:01:39Z")]);
    // Another writer had what the first one missed.
    store.seed("oplog_005/oplog_1795132890.1_1795132970.1.br", "x", time("2026-11-20T00:03:00Z"));
    assert_eq!(windows(&store).await, [span("2026-11-20T00:00:30Z", "2026-11-20T00:04:39Z")]);
}

#[tokio::test]
async fn b06_slices_of_several_writers_overlap_and_may_end_alike() {
    let store = bucket("walg-mongo");
    let add = |name: &str| store.seed(&format!("oplog_005/{name}.br"), "x", time("2026-11-20T00:05:00Z"));
    // The same end twice, and a short one within a long one, both of which hold the dump's beginning.
    add("oplog_1795132850.1_1795132900.2");
    add("oplog_1795132795.1_1795132810.1");
    let found = catalog(&store, &Format::WalGMongoDB).await;
    let line = timeline(&found);
    assert_eq!(spans(&line), [span("2026-11-20T00:00:30Z", "2026-11-20T00:04:39Z")]);
    let chain = &line.chains[0];
    // Without the long one, which begins before the short one, the chain would have a hole.
    let held = |seconds: u32| {
        chain.logs.iter().any(|&at| {
            let name = &found.segments[at].name;
            let mut ends = name[6..].split(['_', '.']).map(|part| part.parse::<u32>().unwrap_or_default());
            let (from, to) = (ends.next().unwrap(), ends.nth(1).unwrap());
            from < seconds && seconds <= to
        })
    };
    let missing: Vec<u32> = (START + 21..=START + 300).filter(|second| !held(*second)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
