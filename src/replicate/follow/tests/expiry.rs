//! Buckets that let objects go on their own (`C10`).

use jiff::SignedDuration;

use super::*;
use crate::store::{Expires, LifecycleFilter, LifecycleRule, Tags, Versioning};

fn days_ago(days: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(24 * days)
}

/// Lets objects go a day after they were written.
fn daily(tags: &[(&str, &str)]) -> Vec<LifecycleRule> {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let filter = LifecycleFilter { prefix: "k".into(), tags, ..LifecycleFilter::default() };
    vec![LifecycleRule { id: "daily".into(), filter, expires: Expires::After { days: 1 } }]
}

/// Objects that were written then.
fn seeded(keys: impl IntoIterator<Item = u32>, modified: Timestamp) -> MemoryStore {
    let store = MemoryStore::new("b");
    seed(&store, keys, modified);
    store
}

fn seed(store: &MemoryStore, keys: impl IntoIterator<Item = u32>, modified: Timestamp) {
    for key in keys {
        store.seed(&name(key), "v1", modified);
    }
}

fn name(key: u32) -> String {
    format!("k{key:04}")
}

/// What is known of buckets that have been in line for long.
fn in_line_until(until: Timestamp) -> Memory {
    let migrated = Migrated { at: days_ago(30), objects: 0, bytes: 0 };
    Memory { synced_until: Some(until), migrated: Some(migrated), ..Memory::default() }
}

async fn three_quiet(run: &mut Run, expired: u64) {
    let before = Timestamp::now();
    for _ in 0..3 {
        let compared = run.until("compare", |compared| compared.started_at > before).await;
        let Counts { copied, sent, deleted, held, missing, extra, .. } = compared.counts;
        assert_eq!((copied, sent, deleted, held, missing, extra), (0, 0, 0, 0, 0, 0));
        assert_eq!(compared.counts.expired_at_source + compared.counts.expired_at_target, expired);
        assert!(compared.memory.synced_until >= Some(before - SignedDuration::from_secs(1)), "it goes on");
    }
}

#[tokio::test]
async fn c10_what_the_target_let_go_is_not_written_back_until_it_changes() {
    let target = MemoryStore::new("b");
    target.set_lifecycle(daily(&[]));
    let mut run = start(seeded(0..20, days_ago(3)), target, Memory::default());
    run.until("migrate", |compared| compared.counts.copied == 20).await;
    for key in 0..15 {
        run.target.unseed(&name(key));
    }
    run.until("see it", |compared| compared.counts.expired_at_target == 15).await;
    let puts = run.target.requests(Verb::Put);
    three_quiet(&mut run, 15).await;
    assert_eq!((run.target.requests(Verb::Put), run.target.keys().len()), (puts, 5));
    put(&run.source, 3, "v2").await;
    run.until("bring the change", |compared| compared.counts.copied == 1).await;
    assert_eq!(run.target.bytes(&name(3)), Some(Bytes::from("v2")));
    three_quiet(&mut run, 14).await;
    // What somebody took away is brought back.
    run.target.unseed(&name(3));
    run.until("repair", |compared| compared.counts.copied == 1).await;
    run.end().await;
}

#[tokio::test]
async fn c10_c18_what_the_source_let_go_stays_at_the_target_and_draws_on_no_budget() {
    let (source, target) = (seeded(0..1500, days_ago(3)), seeded(0..1500, days_ago(3)));
    source.set_lifecycle(daily(&[]));
    let young = Timestamp::now() - SignedDuration::from_secs(5);
    seed(&source, 2000..2003, young);
    seed(&target, 2000..2003, young);
    for key in (0..1400).chain(2000..2002) {
        source.unseed(&name(key));
    }
    let mut run = start(source, target, in_line_until(young));
    let first = run.until("compare", |_| true).await;
    let Counts { expired_at_source, deleted, held, .. } = first.counts;
    assert_eq!((expired_at_source, deleted, held), (1400, 2, 0), "what was deleted goes, and no more");
    assert_eq!(first.memory.spent.map(|spent| spent.objects), Some(2));
    three_quiet(&mut run, 1400).await;
    assert_eq!(run.target.keys().len(), 1501);
    run.end().await;
}

#[tokio::test]
async fn c10_rules_for_tags_are_about_objects_with_these_tags() {
    let [source, target] = ["b", "b"].map(MemoryStore::new);
    source.set_lifecycle(daily(&[("class", "scratch")]));
    for store in [&source, &target] {
        store.set_now(Some(days_ago(3)));
        for key in 0..6 {
            let class = if key < 4 { "scratch" } else { "keep" };
            let tags: Tags = [("class".to_owned(), class.to_owned())].into();
            let options = PutOptions { tags, ..PutOptions::default() };
            store.put(&name(key), Bytes::from("v1"), &options).await.unwrap();
        }
        store.set_now(None);
    }
    for key in 0..5 {
        source.unseed(&name(key));
    }
    let mut run = start(source, target, in_line_until(Timestamp::now()));
    let first = run.until("compare", |_| true).await;
    assert_eq!((first.counts.expired_at_source, first.counts.deleted), (4, 1));
    let asked = run.target.requests(Verb::Tags);
    three_quiet(&mut run, 4).await;
    assert_eq!(run.target.requests(Verb::Tags), asked, "it is asked once");
    assert!(!keys(&run.target).contains(&name(4)));
    run.end().await;
}

#[tokio::test]
async fn c10_versions_tell_what_expired_from_what_was_deleted() {
    let versioned = || {
        let store = MemoryStore::new("b");
        store.set_versioning(Versioning::Enabled);
        store.set_lifecycle(daily(&[]));
        seed(&store, 0..3, days_ago(6));
        for (key, gone) in [(0, 4), (1, 6)] {
            store.set_now(Some(days_ago(gone) + SignedDuration::from_mins(1)));
            store.unseed(&name(key));
        }
        store.set_now(None);
        store
    };
    // At the source: its own rule let the first go; somebody deleted the second before it was due.
    let mut run = start(versioned(), seeded(0..3, days_ago(6)), in_line_until(days_ago(7)));
    let first = run.until("compare", |_| true).await;
    assert_eq!((first.counts.expired_at_source, first.counts.deleted), (1, 1));
    assert_eq!(keys(&run.target), [name(0), name(2)].into());
    run.end().await;
    // At the target: nobody knows what was there before, but for its markers.
    let mut run = start(seeded(0..3, days_ago(6)), versioned(), Memory::default());
    let first = run.until("compare", |_| true).await;
    assert_eq!((first.counts.expired_at_target, first.counts.copied), (1, 1));
    assert_eq!(keys(&run.target), [name(1), name(2)].into());
    three_quiet(&mut run, 1).await;
    run.end().await;
}

#[tokio::test]
async fn c10_c08_neither_rule_of_a_pair_undoes_what_a_lifecycle_did() {
    let (a, b) = (seeded(0..20, days_ago(3)), seeded(0..20, days_ago(3)));
    b.set_lifecycle(daily(&[]));
    for key in 0..12 {
        b.unseed(&name(key));
    }
    let memory = in_line_until(Timestamp::now());
    let mut there = start(a.clone(), b.clone(), memory.clone());
    let mut back = start(b.clone(), a.clone(), memory);
    three_quiet(&mut there, 12).await;
    three_quiet(&mut back, 12).await;
    assert_eq!((a.keys().len(), b.keys().len()), (20, 8));
    there.end().await;
    back.end().await;
}

#[tokio::test]
async fn c10_what_a_rule_did_stays_when_the_rule_is_taken_away_and_in_the_next_run() {
    let target = MemoryStore::new("b");
    target.set_lifecycle(daily(&[]));
    let mut run = start(seeded(0..5, days_ago(3)), target, Memory::default());
    run.until("migrate", |compared| compared.counts.copied == 5).await;
    run.target.unseed(&name(0));
    let last = run.until("see it", |compared| compared.counts.expired_at_target == 1).await;
    let (source, target) = (run.source.clone(), run.target.clone());
    run.end().await;
    target.set_lifecycle(Vec::new());
    let mut run = start(source, target, last.memory);
    three_quiet(&mut run, 1).await;
    run.end().await;
}
