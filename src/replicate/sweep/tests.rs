//! Two buckets brought in line, with listings and requests that fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{
    replicate::{Attribute, Newer},
    store::{
        Attributes, PutOptions,
        memory::{Effect, Failure as Broken, Fault, MemoryStore, Verb},
    },
};

type Objects = BTreeMap<String, u8>;

async fn bucket(name: &str, objects: &Objects) -> MemoryStore {
    let store = MemoryStore::new(name);
    store.set_page_size(3);
    for (key, content) in objects {
        store.put(key, Bytes::from(vec![*content; 3]), &PutOptions::default()).await.unwrap();
    }
    store
}

fn sweep(source: &MemoryStore, target: &MemoryStore, action: Action) -> Sweep {
    let side = |store: &MemoryStore| (Arc::new(store.clone()) as Arc<dyn ObjectStore>, String::new());
    Sweep::new(side(source), side(target), action, Effort { ranges: 2, objects: 4 })
}

async fn content(store: &MemoryStore) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for key in store.keys() {
        all.insert(key.clone(), store.head(&key).await.unwrap().etag.0);
    }
    all
}

fn objects() -> impl Strategy<Value = Objects> {
    prop::collection::btree_map("[a-c]{1,2}(/[a-c\u{e9}]{1,2})?", 0..3u8, 0..40)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #[test]
    fn c13_afterwards_both_sides_hold_the_same(here in objects(), there in objects(), mirror: bool) {
        block_on(async {
            let (source, target) = (bucket("s", &here).await, bucket("t", &there).await);
            let action = if mirror { Action::Mirror } else { Action::Copy };
            let report = sweep(&source, &target, action).run().await.unwrap();
            prop_assert!(report.agrees(mirror), "{:?}", report);
            let mut wanted = content(&source).await;
            if !mirror {
                let own = content(&target).await.into_iter().filter(|(key, _)| !here.contains_key(key));
                wanted.extend(own);
            }
            prop_assert_eq!(content(&target).await, wanted);
            let again = sweep(&source, &target, action).run().await.unwrap();
            prop_assert_eq!((again.counts.copied, again.counts.deleted), (0, 0));
            prop_assert_eq!(again.counts.alike, here.len() as u64);
            Ok(())
        })?;
    }

    #[test]
    fn c17_a_comparison_counts_each_kind_and_changes_nothing(here in objects(), there in objects()) {
        block_on(async {
            let (source, target) = (bucket("s", &here).await, bucket("t", &there).await);
            let report = sweep(&source, &target, Action::Compare).run().await.unwrap();
            let keys = |of: &Objects| of.keys().cloned().collect::<BTreeSet<_>>();
            let alike = here.iter().filter(|(key, content)| there.get(*key) == Some(content)).count();
            let both = keys(&here).intersection(&keys(&there)).count();
            prop_assert_eq!(
                [report.counts.alike, report.counts.unlike, report.counts.missing, report.counts.extra],
                [alike, both - alike, here.len() - both, there.len() - both].map(|n| n as u64)
            );
            prop_assert_eq!(report.were_equal(), here == there);
            prop_assert_eq!(target.keys().into_iter().collect::<BTreeSet<_>>(), keys(&there));
            Ok(())
        })?;
    }

    #[test]
    fn c14_a_listing_that_fails_anywhere_costs_nothing_that_the_source_has(
        here in objects(), there in objects(), page in 0..40u32, source_side: bool,
    ) {
        block_on(async {
            let (source, target) = (bucket("s", &here).await, bucket("t", &there).await);
            let broken = if source_side { &source } else { &target };
            broken.fault(Fault::once(Verb::List, Broken::Unreachable).after(page));
            let ran = sweep(&source, &target, Action::Mirror).run().await;
            for key in there.keys().filter(|key| here.contains_key(*key)) {
                prop_assert!(target.head(key).await.is_ok(), "{} is at the source", key);
            }
            if ran.is_ok() {
                prop_assert_eq!(content(&target).await, content(&source).await);
            }
            Ok(())
        })?;
    }
}

fn numbered(count: usize) -> Objects {
    (0..count).map(|n| (format!("k{n:05}"), 1)).collect()
}

#[tokio::test]
async fn c14_an_extra_that_the_source_has_after_all_stays() {
    let (source, target) = (bucket("s", &numbered(5)).await, bucket("t", &numbered(5)).await);
    let body = source.bytes("k00002").unwrap();
    source.unseed("k00002");
    // It comes back between the listing and the question whether it is really gone.
    source.fault(Fault::once(Verb::Head, Broken::NotFound).with(Effect::Delay(Duration::from_millis(200))));
    let sweep = sweep(&source, &target, Action::Mirror);
    let comes_back = async {
        while source.requests(Verb::Head) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        source.seed("k00002", body, Timestamp::now());
    };
    let (report, ()) = tokio::join!(sweep.run(), comes_back);
    let report = report.unwrap();
    assert_eq!((report.counts.extra, report.counts.deleted, report.counts.copied), (1, 0, 1));
    assert_eq!(target.keys().len(), 5);
}

#[tokio::test]
async fn more_extras_than_a_range_tells_of_go_all_the_same() {
    let (source, target) = (bucket("s", &numbered(2)).await, bucket("t", &numbered(5000)).await);
    target.set_page_size(1000);
    let report = sweep(&source, &target, Action::Mirror).run().await.unwrap();
    assert_eq!((report.counts.extra, report.counts.deleted), (4998, 4998));
    assert_eq!(target.keys().len(), 2);
}

#[tokio::test]
async fn one_object_that_fails_is_named_and_the_rest_goes_on() {
    let (source, target) = (bucket("s", &numbered(9)).await, bucket("t", &Objects::new()).await);
    source.fault(Fault::once(Verb::Get, Broken::AccessDenied).on("k00003"));
    let report = sweep(&source, &target, Action::Copy).run().await.unwrap();
    assert_eq!((report.counts.copied, report.counts.failed), (8, 1));
    assert!(!report.agrees(false));
    let failure = &report.examples.failed[0];
    assert_eq!((failure.key.as_str(), failure.reason), ("k00003", "AccessDenied"));
}

#[tokio::test]
async fn refused_credentials_end_it_at_once() {
    let (source, target) = (bucket("s", &numbered(50)).await, bucket("t", &Objects::new()).await);
    target.fault(Fault::always(Verb::Put, Broken::BadCredentials));
    let error = sweep(&source, &target, Action::Copy).run().await.unwrap_err();
    assert_eq!(error.reason(), "CredentialsRefused");
    assert!(target.requests(Verb::Put) <= 4, "no storm of requests");
}

#[tokio::test]
async fn a_small_object_costs_one_get_and_one_put() {
    let (source, target) = (bucket("s", &numbered(20)).await, bucket("t", &Objects::new()).await);
    source.set_page_size(1000);
    sweep(&source, &target, Action::Copy).run().await.unwrap();
    assert_eq!((source.requests(Verb::Get), source.requests(Verb::Head)), (20, 0));
    assert_eq!((target.requests(Verb::Put), target.requests(Verb::Head)), (20, 0));
    assert!(source.requests(Verb::List) + target.requests(Verb::List) <= 4);
}

/// Objects of the same content on both sides, two of other attributes.
async fn unlike_in_attributes() -> (MemoryStore, MemoryStore) {
    let (source, target) = (MemoryStore::new("s"), MemoryStore::new("t"));
    let metadata = |value: &str| Attributes {
        metadata: [("m".to_owned(), value.to_owned())].into(),
        ..Attributes::default()
    };
    for n in 0..20 {
        let key = format!("k{n:02}");
        let here = PutOptions { attributes: metadata("1"), ..PutOptions::default() };
        let mut there = here.clone();
        match n {
            3 => there.attributes = metadata("2"),
            7 => there.tags = [("t".to_owned(), String::new())].into(),
            _ => {}
        }
        source.put(&key, "1".into(), &here).await.unwrap();
        target.put(&key, "1".into(), &there).await.unwrap();
    }
    (source, target)
}

#[tokio::test]
async fn c02_c17_attributes_are_compared_where_that_is_asked_for() {
    let (source, target) = unlike_in_attributes().await;
    let report = sweep(&source, &target, Action::Compare).run().await.unwrap();
    assert!(report.were_equal(), "listings show nothing of them: {report:?}");
    assert_eq!(source.requests(Verb::Head), 0);
    let report = sweep(&source, &target, Action::Compare).with_attributes(true).run().await.unwrap();
    let Report { counts, examples } = &report;
    assert_eq!((counts.alike, counts.unlike_attributes, counts.failed), (20, 2, 0));
    let mut unlike = examples.unlike_attributes.clone();
    unlike.sort();
    let one = |key: &str, attribute| (key.to_owned(), vec![attribute]);
    assert_eq!(unlike, [one("k03", Attribute::Metadata), one("k07", Attribute::Tags)]);
    assert!(!report.were_equal() && target.requests(Verb::Rewrite) + target.requests(Verb::PutTags) == 0);
}

#[tokio::test]
async fn c02_a_copy_brings_attributes_in_line_and_moves_no_content() {
    let (source, target) = unlike_in_attributes().await;
    let copy = || sweep(&source, &target, Action::Copy).with_attributes(true);
    target.fault(Fault::once(Verb::PutTags, Broken::AccessDenied));
    let report = copy().run().await.unwrap();
    assert_eq!((report.counts.aligned, report.counts.failed, report.agrees(false)), (1, 1, false));
    let report = copy().run().await.unwrap();
    assert_eq!((report.counts.unlike_attributes, report.counts.aligned), (1, 1));
    assert!(report.agrees(false) && report.counts.sent == 0, "{report:?}");
    assert_eq!(source.requests(Verb::Get), 0);
    let report = sweep(&source, &target, Action::Compare).with_attributes(true).run().await.unwrap();
    assert!(report.were_equal(), "{report:?}");
}

#[tokio::test]
async fn c02_c17_attributes_of_what_goes_meanwhile_are_nobodys() {
    let (source, target) = unlike_in_attributes().await;
    source.fault(Fault::always(Verb::Head, Broken::NotFound).on("k03"));
    source.fault(Fault::always(Verb::Head, Broken::AccessDenied).on("k07"));
    let report = sweep(&source, &target, Action::Compare).with_attributes(true).run().await.unwrap();
    assert_eq!((report.counts.unlike_attributes, report.counts.failed), (0, 1), "{report:?}");
}

/// Two buckets that are both written; one object that was copied from the first to the second.
async fn mutual_pair() -> (MemoryStore, MemoryStore) {
    let (one, other) = (MemoryStore::new("one"), MemoryStore::new("other"));
    for bucket in [&one, &other] {
        bucket.set_versioning(crate::store::Versioning::Enabled);
    }
    one.put("k", "1".into(), &PutOptions::default()).await.unwrap();
    look_both_ways(&one, &other).await;
    assert_eq!(other.bytes("k"), one.bytes("k"));
    (one, other)
}

/// Left to the feed, the target would hold what was deleted before the time point that this comparison proves.
#[tokio::test]
async fn c05_c08_what_was_deleted_and_put_anew_while_it_was_compared_is_brought_over() {
    let (one, other) = mutual_pair().await;
    one.delete("k", None).await.unwrap();
    let slow = Fault::once(Verb::ListVersions, Broken::Full).with(Effect::Delay(Duration::from_millis(200)));
    one.fault(slow);
    let before = one.requests(Verb::ListVersions);
    let comes_back = async {
        while one.requests(Verb::ListVersions) == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        one.put("k", "2".into(), &PutOptions::default()).await.unwrap();
    };
    let sweep = sweep(&one, &other, Action::Mirror).mutual(["a", "o"].map(str::to_owned));
    let (report, ()) = tokio::join!(sweep.run(), comes_back);
    let report = report.unwrap();
    assert_eq!((report.counts.extra, report.counts.deleted, report.counts.copied), (1, 0, 1));
    assert!(report.counts.is_settled(true), "{report:?}");
    assert_eq!(other.bytes("k"), one.bytes("k"));
}

/// Each side's worker compares, the second one first.
async fn look_both_ways(one: &MemoryStore, other: &MemoryStore) {
    let newer = Newer { mutual: true, ..Newer::default() };
    for (from, to, regions) in [(other, one, ["o", "a"]), (one, other, ["a", "o"])] {
        let sweep = sweep(from, to, Action::Mirror).mutual(regions.map(str::to_owned));
        let report = sweep.looking_at(Looks::Newer(newer.clone())).run().await.unwrap();
        assert_eq!(report.counts.failed, 0, "{report:?}");
    }
}

#[tokio::test]
async fn c02_c08_a_copy_takes_no_tags_away_from_its_original() {
    let (one, other) = mutual_pair().await;
    let tags: crate::store::Tags = [("kept".to_owned(), "yes".to_owned())].into();
    one.put_tags("k", &tags).await.unwrap();
    look_both_ways(&one, &other).await;
    assert_eq!(one.tags("k").await.unwrap(), tags, "the copy has the later time, and no tags");
}

#[tokio::test]
async fn c02_c08_metadata_that_either_side_wrote_last_goes_to_the_other() {
    let (one, other) = mutual_pair().await;
    for (n, writer) in [(1, &other), (2, &one), (3, &other)] {
        let mark = |n: i32| Attributes {
            metadata: [("m".to_owned(), n.to_string())].into(),
            ..Attributes::default()
        };
        let options = PutOptions { attributes: mark(n), ..PutOptions::default() };
        writer.put("k", "1".into(), &options).await.unwrap();
        look_both_ways(&one, &other).await;
        for side in [&one, &other] {
            assert_eq!(side.head("k").await.unwrap().attributes, mark(n), "{} after {n}", side.bucket());
        }
    }
}
