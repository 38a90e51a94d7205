//! What no feed told.

use super::*;
use crate::store::memory::Effect;

/// A run that listens, with one object at the target, and a target that takes a while to write another version.
async fn slow_to_write() -> Run {
    let (source, target) = (bucket([7]).await, bucket([]).await);
    let session = session(&source, &target, None);
    let session = Session { config: Config { feed: Choice::Listen, ..session.config.clone() }, ..session };
    let mut run = start_session(session, source, target);
    run.until("migrate", |compared| compared.memory.migrated.is_some()).await;
    let puts = run.target.requests(Verb::Put);
    let slow = Fault::once(Verb::Put, Failure::Full).on("k0007");
    run.target.fault(slow.with(Effect::Delay(Duration::from_millis(2500))));
    put(&run.source, 7, "heard").await;
    while run.target.requests(Verb::Put) == puts {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run
}

/// A look that a comparison finds under way has read what the source held before.
#[tokio::test]
async fn c05_c16_the_time_point_waits_for_looks_that_began_before() {
    for deleted in [false, true] {
        let mut run = slow_to_write().await;
        // It has read by now, and nobody hears of this.
        let changed = Timestamp::now();
        if deleted {
            run.source.unseed("k0007");
        } else {
            run.source.seed("k0007", "unheard", changed);
        }
        let wanted = (!deleted).then(|| Bytes::from("unheard"));
        let is_there = |target: &MemoryStore| target.bytes("k0007") == wanted;
        let target = run.target.clone();
        let proved = run.until("prove it", |compared| {
            let claims = compared.memory.synced_until > Some(changed);
            assert!(!claims || is_there(&target), "{claims} {:?}", target.bytes("k0007"));
            claims
        });
        proved.await;
        run.end().await;
    }
}

/// Attributes that are written a moment after the copy, unheard, and no worker runs for a while: the tag stays, and
/// the times are too near for clocks to tell.
#[tokio::test]
async fn c02_c16_attributes_that_changed_unheard_are_found_by_the_next_run() {
    let (source, target) = (bucket([7]).await, bucket([]).await);
    let mut run = start(source.clone(), target.clone(), None);
    let first = run.until("migrate", |compared| compared.memory.migrated.is_some()).await;
    run.end().await;
    let mut options = PutOptions::default();
    options.attributes.content_type = Some("text/x-other".to_owned());
    let etag = source.head("k0007").await.unwrap().etag;
    source.rewrite("k0007", &etag, &options).await.unwrap();
    // As if the source's clock was told a little wrong.
    source.set_clock_offset(jiff::SignedDuration::from_millis(900));
    let mut run = start(source, target, first.memory);
    let seen = run.until("see it", |compared| compared.counts.unlike_attributes > 0).await;
    assert_eq!((seen.counts.aligned, seen.counts.copied, seen.memory.repaired), (1, 0, 1));
    let there = run.target.head("k0007").await.unwrap();
    assert_eq!(there.attributes.content_type.as_deref(), Some("text/x-other"));
    run.end().await;
}

/// What changes again while it is compared must not be left as it was before the comparison.
#[tokio::test]
async fn c05_c13_the_time_point_is_true_of_what_changes_while_it_is_compared() {
    let (source, target) = (bucket(0..3).await, bucket([]).await);
    let mut run = start(source, target, None);
    run.until("migrate", |compared| compared.memory.migrated.is_some()).await;
    let slow =
        |verb, key| Fault::once(verb, Failure::Full).on(key).with(Effect::Delay(Duration::from_millis(300)));
    // One is written and goes before it is read, one goes and is back before it is deleted.
    run.source.fault(slow(Verb::Get, "k0001"));
    run.source.fault(slow(Verb::Head, "k0002"));
    let (gets, heads) = (run.source.requests(Verb::Get), run.source.requests(Verb::Head));
    put(&run.source, 1, "v2").await;
    run.source.delete("k0002", None).await.unwrap();
    let changed = Timestamp::now();
    while run.source.requests(Verb::Get) == gets || run.source.requests(Verb::Head) == heads {
        if run.source.requests(Verb::Get) > gets {
            run.source.unseed("k0001");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run.source.seed("k0002", "v3", Timestamp::now());
    let (source, target) = (run.source.clone(), run.target.clone());
    let proved = run.until("prove it", |compared| compared.memory.synced_until > Some(changed)).await;
    assert!(proved.started_at > changed);
    for key in ["k0001", "k0002"] {
        assert_eq!(target.bytes(key), source.bytes(key), "{key}");
    }
    run.end().await;
}
