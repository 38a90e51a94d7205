//! Random histories, copied by workers that are cut off anywhere.

use std::{collections::BTreeSet, sync::Arc};

use farshore::{
    backup::{catalog::Format, inspect::inspect, window::Window},
    store::memory::{Failure, Fault, MemoryStore, Verb},
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::stories::{World, sync_once};

#[derive(Clone, Copy, Debug)]
enum Step {
    Work(i64),
    Full,
    Increment,
    /// A log disappears from the source before anybody saw it.
    Lose,
    /// The source forgets everything.
    Empty,
    Silence(i64),
    /// A worker runs until its n-th write is refused.
    CutOff(u32),
    Sync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (2..4000i64).prop_map(Step::Work),
        3 => Just(Step::Full),
        1 => Just(Step::Increment),
        1 => Just(Step::Lose),
        1 => Just(Step::Empty),
        1 => (1..20_000i64).prop_map(Step::Silence),
        3 => (0..20u32).prop_map(Step::CutOff),
        3 => Just(Step::Sync),
    ];
    prop::collection::vec(step, 1..30)
}

async fn windows(store: &MemoryStore, prefix: &str) -> (Vec<Window>, Option<Timestamp>) {
    let found = inspect(Arc::new(store.clone()), prefix, &Format::MariaDBOperator, None).await.unwrap();
    (found.windows, found.latest)
}

/// Moments of windows within a stretch, by the minute and at their ends.
fn moments(windows: &[Window], from: Timestamp, to: Timestamp) -> BTreeSet<Timestamp> {
    let mut moments = BTreeSet::new();
    for window in windows {
        let mut at = window.from.max(from);
        while at <= window.to.min(to) {
            moments.insert(at);
            at += SignedDuration::from_secs(61);
        }
    }
    moments
}

async fn play(steps: Vec<Step>) {
    let mut world = World::new();
    world.config.retention = std::time::Duration::from_hours(2);
    // Everything that the source ever held.
    let ever = MemoryStore::new("backups");
    let mut latest = None;
    for step in steps {
        match step {
            Step::Work(seconds) => drop(world.work(seconds)),
            Step::Lose => {
                let key = world.work(10);
                world.source.unseed(&format!("orders/{key}"));
            }
            Step::Full => {
                world.server.pass(1);
                world.base();
            }
            Step::Increment => {
                let mut bucket = world.bucket();
                world.server.pass(1);
                let lsn = world.server.sequence + 1;
                world.server.increment(lsn, &mut bucket);
            }
            Step::Empty => world.source.keys().iter().for_each(|key| world.source.unseed(key)),
            Step::Silence(seconds) => world.server.pass(seconds),
            Step::CutOff(_) | Step::Sync => {}
        }
        world.set_now(world.server.now);
        for key in world.source.keys() {
            ever.seed(&key, world.source.bytes(&key).unwrap(), world.server.now);
        }
        let (before, _) = windows(&world.target, "copies/orders/").await;
        match step {
            Step::CutOff(after) => {
                for verb in [Verb::Put, Verb::Delete] {
                    world.target.fault(Fault::always(verb, Failure::AccessDenied).after(after));
                }
                sync_once(world.session()).await.ok();
                world.target.heal();
            }
            Step::Sync => drop(world.once().await),
            _ => continue,
        }
        let (after, new_latest) = windows(&world.target, "copies/orders/").await;
        let (truth, _) = windows(&ever, "orders/").await;
        let inside = |w: &Window| truth.iter().any(|t| t.from <= w.from && w.to <= t.to);
        assert!(after.iter().all(inside), "{after:?} of {truth:?}");
        assert!(new_latest >= latest, "latest moved back: {latest:?} to {new_latest:?}");
        latest = new_latest;
        // Nothing that could be restored in the retention was lost.
        if let Some(latest) = latest {
            let horizon = latest.min(world.server.now) - SignedDuration::from_hours(2);
            let (had, has) = (moments(&before, horizon, latest), &after);
            let lost: Vec<_> = had.iter().filter(|at| !has.iter().any(|w| w.contains(**at))).collect();
            assert!(lost.is_empty(), "{lost:?} of {before:?} in {after:?}");
        }
    }
    // Whatever was cut off, the next whole run has all that the source has within the retention.
    world.once().await;
    let (copy, latest) = windows(&world.target, "copies/orders/").await;
    let (source, source_latest) = windows(&world.source, "orders/").await;
    if let Some(latest) = source_latest.max(latest) {
        let horizon = latest.min(world.server.now) - SignedDuration::from_hours(2);
        let wanted = moments(&source, horizon, latest);
        assert!(wanted.iter().all(|at| copy.iter().any(|w| w.contains(*at))), "{source:?} in {copy:?}");
    }
    let copied = world.copied();
    let again = world.once().await;
    assert_eq!(again.copied_objects, 0, "{copied:?}, then {:?}", world.copied());
}

proptest! {
    #[test]
    fn b01_b07_b18_cut_off_anywhere_the_copy_is_true_and_loses_nothing(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(play(steps));
    }
}
