//! Ranges and the two-sided merge, against naive models, and with listings that lie.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use farshore::{
    replicate::{Complete, Difference, Error, KeyRange, Listing, Merge, Pages, Step, split},
    store::{
        self, ETag, ListPage, ListRequest, Listed, ObjectStore, Side,
        memory::{Failure, Fault, MemoryStore, Verb},
    },
};
use jiff::Timestamp;
use proptest::prelude::*;

use crate::alone::{alone, peak_rss};

fn listing(store: &MemoryStore, prefix: &str) -> Listing {
    let pages: Arc<dyn ObjectStore> = Arc::new(store.clone());
    Listing { pages, prefix: prefix.to_owned() }
}

fn filled(objects: &BTreeMap<String, u8>, prefix: &str, page: usize) -> MemoryStore {
    let store = MemoryStore::new("b");
    store.set_page_size(page);
    for (key, body) in objects {
        store.seed(&format!("{prefix}{key}"), vec![*body], Timestamp::UNIX_EPOCH);
    }
    store.seed("a-neighbour", "x", Timestamp::UNIX_EPOCH);
    store.seed("zz-neighbour", "x", Timestamp::UNIX_EPOCH);
    store
}

async fn run(mut merge: Merge) -> Result<(Vec<Difference>, Complete), Error> {
    let mut differences = Vec::new();
    loop {
        match merge.next().await? {
            Step::Difference(difference) => differences.push(difference),
            Step::Alike { source, .. } => panic!("nobody asked for {}", source.key),
            Step::Complete(complete) => return Ok((differences, complete)),
        }
    }
}

/// Keys missing, unlike and extra, by looking at everything at once.
type Model = (Vec<String>, Vec<String>, Vec<String>);

fn model(source: &BTreeMap<String, u8>, target: &BTreeMap<String, u8>, range: &KeyRange) -> Model {
    let within = |key: &&String| range.contains(key);
    (
        source.keys().filter(within).filter(|k| !target.contains_key(*k)).cloned().collect(),
        source
            .keys()
            .filter(within)
            .filter(|k| target.get(*k).is_some_and(|v| *v != source[*k]))
            .cloned()
            .collect(),
        target.keys().filter(within).filter(|k| !source.contains_key(*k)).cloned().collect(),
    )
}

fn objects() -> impl Strategy<Value = BTreeMap<String, u8>> {
    prop::collection::btree_map("[a-d/~äé]{1,4}", 0_u8..3, 0..40)
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #[test]
    fn the_merge_finds_what_a_naive_comparison_finds(
        source in objects(), target in objects(), page in 1_usize..7,
        after in prop::option::of("[a-d/~]{0,2}"), until in prop::option::of("[a-d/~]{0,2}"),
    ) {
        let range = KeyRange { after, until };
        let (s, t) = (filled(&source, "p/", page), filled(&target, "other/", page));
        let merge = || Merge::new(listing(&s, "p/"), listing(&t, "other/"), range.clone());
        let (differences, complete) = block(async { run(merge()).await }).unwrap();
        let (mut missing, mut unlike) = (Vec::new(), Vec::new());
        for difference in differences {
            match difference {
                Difference::Missing(object) => missing.push(object.key),
                Difference::Unlike { source, .. } => unlike.push(source.key),
            }
        }
        let extras = complete.extras.iter().map(|o| o.key.clone()).collect::<Vec<_>>();
        prop_assert_eq!((missing, unlike, extras), model(&source, &target, &range));
        prop_assert_eq!(complete.more_extras, 0);
    }

    #[test]
    fn ranges_hold_every_key_once(source in objects(), count in 1_usize..9) {
        let store = filled(&source, "p/", 1000);
        let ranges = block(async { split(&listing(&store, "p/"), count).await }).unwrap();
        prop_assert!(ranges.len() <= count);
        for key in source.keys().map(String::as_str).chain(["", "\u{10ffff}", "c/zzz"]) {
            prop_assert_eq!(ranges.iter().filter(|r| r.contains(key)).count(), 1, "{:?} {:?}", key, ranges);
        }
    }

    #[test]
    fn b18_a_side_that_fails_at_any_page_is_an_error_and_never_an_end(
        source in objects(), target in objects(), page in 1_usize..5, at in 0_u32..4, fail_source: bool,
    ) {
        let (s, t) = (filled(&source, "p/", page), filled(&target, "p/", page));
        let failing = if fail_source { &s } else { &t };
        failing.fault(Fault::always(Verb::List, Failure::Protocol).after(at));
        let merge = || Merge::new(listing(&s, "p/"), listing(&t, "p/"), KeyRange::default());
        let result = block(async { run(merge()).await });
        let pages = failing.requests(Verb::List);
        if pages > u64::from(at) {
            let side = if fail_source { Side::Source } else { Side::Target };
            prop_assert_eq!(result.unwrap_err().side(), side);
        } else {
            prop_assert!(result.is_ok());
        }
    }
}

#[tokio::test]
async fn a_flat_key_space_splits_as_evenly_as_a_deep_one() {
    for name in [|n| format!("{n:07}"), |n| format!("2026/{:02}/{:02}/log.{n}", n / 1000 % 12, n % 28)] {
        let store = MemoryStore::new("b");
        for n in 0..20_000 {
            store.seed(&name(n), "x", Timestamp::UNIX_EPOCH);
        }
        let ranges = split(&listing(&store, ""), 16).await.unwrap();
        let keys = store.keys();
        let largest = ranges.iter().map(|r| keys.iter().filter(|k| r.contains(k)).count()).max().unwrap();
        assert!(ranges.len() >= 12, "{} ranges", ranges.len());
        assert!(largest <= keys.len() / 4, "the largest of {} holds {largest}: {ranges:?}", ranges.len());
        assert!(store.requests(Verb::List) <= 16 * 12 + 1, "{} requests", store.requests(Verb::List));
    }
}

/// A listing that was never stored anywhere, and how it may lie.
struct Synthetic {
    count: u64,
    pages: AtomicU64,
    lie: Lie,
}

enum Lie {
    None,
    Disorder,
    Loop,
}

impl Synthetic {
    fn listing(count: u64, lie: Lie) -> Listing<Self> {
        Listing { pages: Arc::new(Self { count, pages: AtomicU64::new(0), lie }), prefix: String::new() }
    }
}

#[async_trait]
impl Pages for Synthetic {
    async fn page(&self, request: &ListRequest) -> store::Result<ListPage> {
        self.pages.fetch_add(1, Ordering::Relaxed);
        let from: u64 = request.token.as_deref().map_or(0, |token| token.parse().unwrap());
        let until = (from + 1000).min(self.count);
        let objects = (from..until).map(|n| Listed {
            key: match self.lie {
                Lie::Disorder if n == 1500 => "0".to_owned(),
                _ => format!("some/folder/with/a/name/and-an-object-{n:012}"),
            },
            size: n,
            etag: ETag(format!("{n:032x}")),
            modified: Timestamp::UNIX_EPOCH,
            storage_class: None,
        });
        let next = match self.lie {
            Lie::Loop => Some("0".to_owned()),
            _ => (until < self.count).then(|| until.to_string()),
        };
        Ok(ListPage { objects: objects.collect(), next })
    }
}

#[tokio::test]
async fn a_listing_out_of_order_or_without_end_is_an_error() {
    for lie in [Lie::Disorder, Lie::Loop] {
        let merge = Merge::new(
            Synthetic::listing(5000, lie),
            Synthetic::listing(5000, Lie::None),
            KeyRange::default(),
        );
        let error = run(merge).await.unwrap_err();
        assert_eq!((error.side(), error.reason()), (Side::Source, "UnexpectedAnswer"), "{error}");
    }
}

#[tokio::test]
async fn two_million_objects_are_compared_in_the_memory_of_a_few_pages() {
    // In a process of its own: the other tests' memory is not this one's.
    if alone("comparing::two_million_objects_are_compared_in_the_memory_of_a_few_pages") {
        let before = peak_rss();
        let (source, target) =
            (Synthetic::listing(2_000_000, Lie::None), Synthetic::listing(1_999_990, Lie::None));
        let (differences, complete) = run(Merge::new(source, target, KeyRange::default())).await.unwrap();
        assert_eq!((differences.len(), complete.alike), (10, 1_999_990));
        let peak = peak_rss();
        println!("peak RSS {peak} KiB, {} KiB of it for the merge", peak - before);
        assert!(peak < 64 * 1024, "{peak} KiB");
    }
}

#[tokio::test]
async fn extras_beyond_what_is_held_are_counted() {
    let merge = Merge::new(
        Synthetic::listing(0, Lie::None),
        Synthetic::listing(5000, Lie::None),
        KeyRange::default(),
    );
    let (_, complete) = run(merge).await.unwrap();
    assert_eq!((complete.extras.len(), complete.more_extras, complete.target), (1000, 4000, 5000));
}
