//! What no feed told.

use super::*;
use crate::{replicate::feed::FeedKind, store::memory::Effect};

impl Run {
    /// Waits until the feed is told of like this.
    async fn live(&mut self, what: &str, holds: impl Fn(&Option<Live>) -> bool) {
        let next = async {
            loop {
                match self.updates.recv().await.expect("it goes on") {
                    Update::Progress(progress) if holds(&progress.live) => return,
                    Update::Drawn { written, .. } => written.send(()).unwrap(),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), next).await.unwrap_or_else(|_| panic!("was to {what}"));
    }
}

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

/// A store that can't be listened to for the moment is compared, and listened to as soon as that is possible.
#[tokio::test]
async fn c15_c16_a_feed_that_can_t_be_opened_ends_no_run_and_is_opened_later() {
    let (source, target) = (bucket([1]).await, bucket([]).await);
    source.refuse_listeners(Some(Failure::SlowDown));
    let session = session(&source, &target, None);
    let session = Session { config: Config { feed: Choice::Auto, ..session.config.clone() }, ..session };
    let mut run = start_session(session, source, target);
    let busy = run.until("compare", |compared| compared.memory.migrated.is_some()).await;
    assert_eq!((busy.feed.kind, busy.feed.why.contains("is asked to tell")), (FeedKind::Listen, true));
    run.live("say what keeps it from hearing", |live| {
        live.as_ref().is_some_and(|live| live.until.is_none() && live.trouble.is_some())
    })
    .await;
    put(&run.source, 2, "v1").await;
    run.until("find it by comparing", |compared| compared.counts.target == 2).await;
    // It turns out that this store knows no listening.
    run.source.set_listening(false);
    let polled = run.until("say that it polls", |compared| compared.feed.kind == FeedKind::Poll).await;
    assert!(polled.feed.why.contains("can't be listened to"), "{}", polled.feed.why);
    run.live("have no feed", Option::is_none).await;
    // Somebody has put another release there.
    run.source.set_listening(true);
    run.live("hear", |live| live.as_ref().is_some_and(|live| live.until.is_some() && live.trouble.is_none()))
        .await;
    let heard = run.until("say so", |compared| compared.feed.kind == FeedKind::Listen).await;
    assert!(heard.memory.synced_until.is_some());
    run.end().await;
}
