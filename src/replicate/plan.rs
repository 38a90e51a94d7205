//! What a large history is split into, so that many can copy it at once: a fixed plan.
//!
//! The plan is made from what a count has listed, so its figures are exact for that moment and its ranges
//! hold about the same work, however uneven the keys. Ranges in which nothing was lacking are left out.

mod bound;
mod codec;
mod sampler;

use super::KeyRange;

pub use codec::{Encoded, Error};
pub use sampler::{Chunk, Sampler};

/// Fewest and most ranges: enough that the slowest does not decide, few enough for one Job.
const RANGES: (u64, u64) = (64, 1024);
/// Work of one range, where that gives a number between: some four thousand small objects, so that a pod's
/// start is a small part of it.
const EACH: u64 = 256 << 20;
/// What a small object costs besides its bytes: about the time in which this many bytes are copied.
const OBJECT: u64 = 64 << 10;
/// Below both, starting pods costs more than copying.
const SMALL: Volume = Volume { objects: 20_000, bytes: 10 << 30 };

/// Objects, and bytes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    pub objects: u64,
    pub bytes: u64,
}

impl Volume {
    /// True for so little that one worker has it copied before others have started.
    #[must_use]
    pub fn is_small(self) -> bool {
        self.objects < SMALL.objects && self.bytes < SMALL.bytes
    }

    /// Work to copy it.
    fn cost(self) -> u64 {
        self.objects.saturating_mul(OBJECT).saturating_add(self.bytes)
    }

    fn add(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
    }
}

/// A part of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRange {
    pub range: KeyRange,
    /// What the target lacked there when it was counted.
    pub lacking: Volume,
}

/// Ranges that hold all that the target lacks, in order. It never changes: range *i* is always the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What it is about: a plan for other buckets is none.
    pub about: String,
    /// All that the source held when it was counted.
    pub held: Volume,
    pub ranges: Vec<PlannedRange>,
}

impl Plan {
    /// Plans what these chunks lack, in at most `most` ranges. The chunks cover the key space in order.
    #[must_use]
    fn of(about: &str, chunks: &[Chunk], most: u64) -> Self {
        let (mut held, mut lacking) = (Volume::default(), Volume::default());
        for chunk in chunks {
            held.add(chunk.held);
            lacking.add(chunk.lacking);
        }
        let count = (lacking.cost() / EACH).clamp(RANGES.0, RANGES.1).min(most).max(1);
        let mut plan = Self { about: about.to_owned(), held, ranges: Vec::new() };
        let (mut after, mut open, mut planned) = (None, None::<PlannedRange>, 0_u128);
        for chunk in chunks {
            if chunk.lacking.objects > 0 {
                let begun = PlannedRange {
                    range: KeyRange { after: after.clone(), until: None },
                    lacking: Volume::default(),
                };
                let range = open.get_or_insert(begun);
                range.lacking.add(chunk.lacking);
                range.range.until.clone_from(&chunk.until);
                planned += u128::from(chunk.lacking.cost());
                let share = u128::from(lacking.cost()) * (plan.ranges.len() as u128 + 1) / u128::from(count);
                if planned >= share {
                    plan.ranges.extend(open.take());
                }
            }
            after.clone_from(&chunk.until);
        }
        plan.ranges.extend(open);
        plan
    }

    /// What the target lacked.
    #[must_use]
    pub fn lacking(&self) -> Volume {
        let mut all = Volume::default();
        for range in &self.ranges {
            all.add(range.lacking);
        }
        all
    }
}

#[cfg(test)]
mod tests;
