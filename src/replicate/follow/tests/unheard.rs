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
