//! What one comparison leaves to the next, whichever run makes it: pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{AllLooked, Config};
use crate::replicate::{
    Lacks,
    lifecycle::Lifecycle,
    sweep::{Counts, DeleteBudget, Examples},
};

/// Time over which deletes are counted.
const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// How far a release may lie ahead of our clock.
const AHEAD: SignedDuration = SignedDuration::from_mins(1);
/// Listing takes at most the tenth part of the time.
const SHARE: u32 = 10;

/// What is known from comparison to comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Every change of the source up to it is at the target.
    pub synced_until: Option<Timestamp>,
    /// Objects of the larger side, as last compared; `None`: never yet.
    pub objects: Option<u64>,
    /// When all that the source held before was at the target.
    pub migrated: Option<Migrated>,
    /// Differences repaired since.
    pub repaired: u64,
    /// Changes at the target that gave way to one of the source that knew nothing of them.
    pub conflicts: u64,
    pub held: Option<Held>,
    pub spent: Option<Spent>,
    /// What copies lack.
    pub lacks: Lacks,
    /// When all objects were looked at for their attributes, and none failed that was not looked at again.
    pub looked: Option<AllLooked>,
    pub lifecycles: Lifecycles,
}

/// The lifecycle rules of both buckets, those too that were there once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycles {
    pub source: Lifecycle,
    pub target: Lifecycle,
}

/// A migration that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    pub at: Timestamp,
    pub objects: u64,
    pub bytes: u64,
}

/// Deletes beyond the budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Since when they wait: a release must not be older.
    pub since: Timestamp,
    pub objects: u64,
    pub example: Option<String>,
}

/// What was drawn on the budget in the current hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    pub since: Timestamp,
    pub objects: u64,
}

impl Memory {
    /// What may be deleted by a comparison that begins now; `released`: when somebody released what was
    /// held then. A moment to come releases nothing.
    #[must_use]
    pub fn budget(&self, config: &Config, released: Option<Timestamp>, now: Timestamp) -> DeleteBudget {
        DeleteBudget {
            count: config.delete_count,
            percent: config.delete_percent,
            spent: self.spent_in_hour(now).map_or(0, |spent| spent.objects),
            released: self
                .held
                .as_ref()
                .filter(|_| self.is_released(released, now))
                .map_or(0, |held| held.objects),
        }
    }

    /// True when what is held was released, after it was held. People write whole seconds.
    fn is_released(&self, released: Option<Timestamp>, now: Timestamp) -> bool {
        let since = self.held.as_ref().map(|held| held.since.as_second());
        released.zip(since).is_some_and(|(at, since)| at.as_second() >= since && at <= now + AHEAD)
    }

    fn spent_in_hour(&self, now: Timestamp) -> Option<Spent> {
        self.spent.filter(|spent| now.duration_since(spent.since) < HOUR)
    }

    /// The same, with so many deletes drawn on the budget of the current hour.
    #[must_use]
    pub fn drawing(&self, deletes: u64, now: Timestamp) -> Self {
        let earlier = self.spent_in_hour(now).unwrap_or(Spent { since: now, objects: 0 });
        let spent = Spent { objects: earlier.objects.saturating_add(deletes), ..earlier };
        Self { spent: Some(spent), ..self.clone() }
    }

    /// What is known after a comparison that was complete and began at `began`; `until` is the moment up
    /// to which it saw every change.
    #[must_use]
    pub fn after(
        &self,
        (counts, examples): (&Counts, &Examples),
        released: Option<Timestamp>,
        (began, until): (Timestamp, Timestamp),
        config: &Config,
    ) -> Self {
        let settled = counts.is_settled(config.deletes);
        // What was there before is left where it is: nothing is migrated, whatever comes over later.
        let copied_all = counts.failed == 0 && config.since.is_none();
        let migrated = self.migrated.or_else(|| {
            copied_all.then_some(Migrated { at: began, objects: counts.source, bytes: counts.source_bytes })
        });
        let repaired = if self.migrated.is_some() || config.since.is_some() {
            counts.copied + counts.aligned + counts.deleted
        } else {
            0
        };
        Self {
            synced_until: if settled { self.synced_until.max(Some(until)) } else { self.synced_until },
            objects: Some(counts.source.max(counts.target)),
            migrated,
            repaired: self.repaired + repaired,
            conflicts: self.conflicts,
            held: (counts.held > 0)
                .then(|| self.holding(counts, examples, self.is_released(released, began), began)),
            spent: self.spent_in_hour(began),
            lifecycles: self.lifecycles.clone(),
            lacks: self.lacks.clone(),
            looked: self.looked.clone(),
        }
    }

    /// What was released and has grown since is held anew: a release is about what was there.
    fn holding(&self, counts: &Counts, examples: &Examples, released: bool, began: Timestamp) -> Held {
        let earlier = self.held.as_ref().filter(|_| !released).map(|held| held.since);
        Held {
            since: earlier.unwrap_or(began),
            objects: counts.held,
            example: examples.extra.first().cloned(),
        }
    }
}

/// Time from the beginning of one comparison to that of the next.
#[must_use]
pub fn period(listing: Duration, config: &Config) -> Duration {
    listing.saturating_mul(SHARE).max(config.least_period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn config() -> Config {
        Config { delete_count: 10, feed: crate::replicate::feed::Choice::Poll, ..Config::default() }
    }

    fn step(memory: &Memory, counts: Counts, released: Option<Timestamp>, now: i64) -> Memory {
        let budget = memory.budget(&config(), released, at(now));
        let (mut memory, mut counts) = (memory.clone(), counts);
        if budget.allows(counts.extra, counts.target) {
            counts.deleted = counts.extra;
            let drawn = budget.drawn(counts.deleted);
            memory = if drawn > 0 { memory.drawing(drawn, at(now)) } else { memory };
        } else {
            counts.held = counts.extra;
        }
        memory.after((&counts, &Examples::default()), released, (at(now), at(now)), &config())
    }

    fn extras(extra: u64) -> Counts {
        Counts { extra, target: 100, source: 100 - extra, alike: 100 - extra, ..Counts::default() }
    }

    #[test]
    fn c18_what_is_held_is_released_once_and_only_by_a_later_date() {
        let memory = step(&Memory::default(), extras(50), None, 0);
        let held = memory.held.clone().unwrap();
        assert_eq!((held.objects, held.since, memory.synced_until), (50, at(0), None));
        for (released, why) in [(at(-1), "left over"), (at(4000), "a moment to come")] {
            let still = step(&memory, extras(50), Some(released), 10);
            assert_eq!(still.held.unwrap().since, at(0), "{why}");
        }
        let gone = step(&memory, extras(50), Some(at(5)), 10);
        assert_eq!((gone.held.clone(), gone.spent, gone.synced_until), (None, None, Some(at(10))));
        // Another burst needs another date.
        assert!(step(&gone, extras(50), Some(at(5)), 20).held.is_some());
    }

    #[test]
    fn c18_what_has_grown_beyond_its_release_is_held_anew() {
        let memory = step(&Memory::default(), extras(20), None, 0);
        let grown = step(&memory, extras(90), Some(at(5)), 10);
        assert_eq!(grown.held.clone().unwrap().since, at(10));
        assert!(step(&grown, extras(90), Some(at(5)), 20).held.is_some(), "the old date is used up");
        assert!(step(&grown, extras(90), Some(at(15)), 20).held.is_none());
    }

    #[test]
    fn c18_many_small_deletes_are_one_burst_within_the_hour() {
        let mut memory = Memory::default();
        for n in 0..2 {
            memory = step(&memory, extras(5), None, n * 10);
        }
        assert_eq!(memory.spent.unwrap().objects, 10);
        assert!(step(&memory, extras(5), None, 30).held.is_some());
        assert!(step(&memory, extras(5), None, 3_700).held.is_none(), "another hour");
    }

    #[test]
    fn c05_the_time_point_stops_before_what_failed_and_never_goes_back() {
        let fine = Counts { source: 5, target: 5, alike: 5, ..Counts::default() };
        let failed = Counts { missing: 1, failed: 1, ..fine };
        let memory = step(&Memory::default(), fine, None, 100);
        assert_eq!(memory.synced_until, Some(at(100)));
        assert_eq!(step(&memory, failed, None, 110).synced_until, Some(at(100)));
        assert_eq!(step(&memory, fine, None, 90).synced_until, Some(at(100)), "a clock that was set back");
        assert_eq!(step(&memory, fine, None, 120).synced_until, Some(at(120)), "idle, and still it moves");
    }

    #[test]
    fn c04_c16_what_is_repaired_counts_once_the_migration_is_over() {
        let copied = Counts { source: 9, missing: 9, copied: 9, ..Counts::default() };
        let failed = Counts { failed: 1, copied: 8, ..copied };
        let memory = step(&Memory::default(), failed, None, 0);
        assert_eq!((memory.migrated, memory.repaired), (None, 0), "not all of it is there");
        let memory = step(&memory, copied, None, 10);
        assert_eq!((memory.migrated.map(|migrated| migrated.objects), memory.repaired), (Some(9), 0));
        assert_eq!(step(&memory, copied, None, 20).repaired, 9);
    }

    #[test]
    fn c05_comparisons_come_as_often_as_listing_may_cost() {
        for (listing, seconds) in [(0, 10), (1, 10), (2, 20), (90, 900)] {
            assert_eq!(period(Duration::from_secs(listing), &config()).as_secs(), seconds);
        }
    }
}
