//! The manifest against a map, with twins, crashes and merges.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{Fact, Manifest, Stored, is_record};
use crate::store::memory::{Failure, Fault, MemoryStore, Verb};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn stored(size: u64) -> Fact {
    let source_etag = format!("tag-{size}");
    Fact::Stored(Stored { size, etag: None, source_etag, source_key: None, source_time: now(), part: None })
}

async fn all(manifest: &Manifest) -> BTreeMap<String, Option<u64>> {
    let mut records = manifest.read().await.unwrap();
    let mut found = BTreeMap::new();
    let mut last = String::new();
    while let Some(record) = records.next().await.unwrap() {
        assert!(record.key > last || last.is_empty(), "in key order");
        last.clone_from(&record.key);
        found.insert(record.key, record.stored.map(|stored| stored.size));
    }
    found
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        twin: bool,
        keys: Vec<(u8, Option<u16>)>,
    },
    Compact {
        twin: bool,
    },
    /// A merge whose process dies after so many requests.
    Crash(u32),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = prop::collection::vec((any::<u8>(), prop::option::weighted(0.8, any::<u16>())), 1..6);
    let step = prop_oneof![
        12 => (any::<bool>(), keys).prop_map(|(twin, keys)| Step::Append { twin, keys }),
        3 => any::<bool>().prop_map(|twin| Step::Compact { twin }),
        1 => (0..30u32).prop_map(Step::Crash),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #[test]
    fn b18_the_manifest_is_a_map_whatever_happens(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = MemoryStore::new("dr");
            let open = || Manifest::new(Arc::new(store.clone()), "p/", false);
            let (mut one, mut other) = (open(), open());
            let mut model: BTreeMap<String, Option<u64>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Append { twin, keys } => {
                        let writer = if twin { &other } else { &one };
                        // Twins learn of each other's order by reading, as a survey does.
                        writer.read().await.unwrap();
                        let keys: BTreeMap<String, Option<u64>> =
                            keys.into_iter().map(|(k, v)| (format!("key-{k}"), v.map(u64::from))).collect();
                        let fact = |size: &Option<u64>| size.map_or(Fact::Gone, stored);
                        let facts = keys.iter().map(|(key, size)| (key.clone(), fact(size))).collect();
                        writer.append(now(), facts).await.unwrap();
                        model.extend(keys);
                    }
                    Step::Compact { twin } => {
                        if twin { &other } else { &one }.compact(now()).await.unwrap();
                    }
                    Step::Crash(after) => {
                        for verb in [Verb::Put, Verb::Delete] {
                            store.fault(Fault::always(verb, Failure::Unreachable).after(after / 3));
                        }
                        one.compact(now()).await.ok();
                        store.heal();
                    }
                    Step::Restart => (one, other) = (open(), open()),
                }
                assert_eq!(all(&one).await, model);
            }
        });
    }
}

#[tokio::test]
async fn b18_the_manifest_stays_few_objects() {
    let store = MemoryStore::new("dr");
    let manifest = Manifest::new(Arc::new(store.clone()), "p/", false);
    for round in 0..600u64 {
        let at = now() + SignedDuration::from_mins(i64::try_from(round).unwrap());
        manifest.append(at, vec![(format!("key-{:04}", round % 50), stored(round))]).await.unwrap();
        manifest.compact(at).await.unwrap();
    }
    let objects = store.keys().len();
    assert!(objects < 60, "{objects} objects for 600 appends");
    assert!(store.keys().iter().all(|key| is_record(key.strip_prefix("p/").unwrap())));
    assert_eq!(all(&manifest).await.len(), 50);
}

#[tokio::test]
async fn b18_what_is_gone_is_forgotten_in_the_end() {
    let store = MemoryStore::new("dr");
    for (keep_gone, left) in [(false, 0), (true, 1)] {
        store.keys().iter().for_each(|key| store.unseed(key));
        let manifest = Manifest::new(Arc::new(store.clone()), "p/", keep_gone);
        for round in 0..4 {
            manifest.append(now(), vec![("key".into(), stored(round))]).await.unwrap();
            manifest.append(now(), vec![("key".into(), Fact::Gone)]).await.unwrap();
        }
        for days in [8, 9] {
            manifest.compact(now() + SignedDuration::from_hours(24 * days)).await.unwrap();
        }
        assert_eq!(all(&manifest).await.len(), left);
    }
}

#[tokio::test]
async fn b18_a_record_that_is_not_ours_is_an_error_with_its_name() {
    let store = MemoryStore::new("dr");
    let manifest = Manifest::new(Arc::new(store.clone()), "p/", false);
    manifest.append(now(), vec![("key".into(), stored(1))]).await.unwrap();
    let key = store.keys().pop().unwrap();
    store.seed(&key, "spoiled", now());
    let error = manifest.read().await.unwrap_err();
    assert_eq!(error.reason(), "BadRecord");
    assert!(error.to_string().contains(&key), "{error}");
}
