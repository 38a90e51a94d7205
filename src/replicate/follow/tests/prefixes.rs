//! Keys under a prefix of one bucket, kept under another prefix of the other.

use super::*;
use crate::store::{Expires, LifecycleFilter, LifecycleRule};

/// A part of the source, and a part of the target: what else is in both is as it was.
fn parts(source: &MemoryStore, target: &MemoryStore, feed: Choice) -> Session {
    let session = session(source, target, None);
    let config = Config { source_prefix: "in/".into(), target_prefix: "out/".into(), feed, ..config() };
    Session { config, ..session }
}

#[tokio::test]
async fn p06_c14_only_what_is_under_the_prefixes_is_copied_and_deleted() {
    for feed in [Choice::Poll, Choice::Listen] {
        let (source, target) = (MemoryStore::new("b"), MemoryStore::new("b"));
        let long_ago = Timestamp::now() - jiff::SignedDuration::from_hours(1);
        for key in ["in/a", "in/gone", "in", "inn/a", "else"] {
            source.seed(key, "1", long_ago);
        }
        for key in ["out/extra", "out", "a", "in/x", "outer/y"] {
            target.seed(key, "1", long_ago);
        }
        let mut run = start_session(parts(&source, &target, feed), source.clone(), target.clone());
        run.until("compare", |compared| compared.counts.deleted == 1).await;
        source.delete("in/gone", None).await.unwrap();
        for key in ["in/b", "new", "inner/c"] {
            source.put(key, Bytes::from("2"), &PutOptions::default()).await.unwrap();
        }
        let there: BTreeSet<String> =
            ["out/a", "out/b", "out", "a", "in/x", "outer/y"].map(str::to_owned).into();
        let began = Instant::now();
        while target.keys().into_iter().collect::<BTreeSet<_>>() != there {
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", target.keys());
            while let Ok(update) = run.updates.try_recv() {
                if let Update::Drawn { written, .. } = update {
                    written.send(()).unwrap();
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let last = run.until("settle", |compared| compared.counts.alike == 2).await;
        assert_eq!(
            (last.counts.source, last.counts.target),
            (2, 2),
            "a tenth is of what is under the prefix"
        );
        run.end().await;
    }
}

#[tokio::test]
async fn c10_p06_a_lifecycle_is_about_whole_keys() {
    let (source, target) = (MemoryStore::new("b"), MemoryStore::new("b"));
    let long_ago = Timestamp::now() - jiff::SignedDuration::from_hours(72);
    let filter = LifecycleFilter { prefix: "in/logs/".into(), ..LifecycleFilter::default() };
    let rule = LifecycleRule { id: "r".into(), filter, expires: Expires::After { days: 1 } };
    source.set_lifecycle(vec![rule]);
    source.seed("in/a", "1", long_ago);
    // Both are at the target only. One the source's lifecycle has let go.
    for key in ["out/logs/old", "out/old"] {
        target.seed(key, "1", long_ago);
    }
    let mut run = start_session(parts(&source, &target, Choice::Poll), source, target);
    run.until("delete one", |compared| compared.counts.deleted == 1).await;
    assert_eq!(run.target.keys(), ["out/a", "out/logs/old"]);
    run.end().await;
}
