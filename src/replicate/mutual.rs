//! What becomes of one key of two buckets that are both written: pure.
//!
//! No journal is kept: the version histories of both sides are the truth. Each side's history is a chain of
//! states, and whoever copies repeats a state of one side at the other. So the longest chain of states that both
//! have in common shows what each side knew, and what happened at one side only. A time of change is asked only
//! where both sides changed without knowing of each other.

mod chain;
mod history;

use jiff::{SignedDuration, Timestamp};

use self::chain::{Chains, Shared};
pub use self::history::{History, State, Version};

/// Skews up to this are taken for none: an endpoint's `Date` is told in whole seconds, and two workers must not
/// come to different winners because one of them saw the second change.
const NO_SKEW: SignedDuration = SignedDuration::from_secs(5);
/// Larger ones are rounded to this, for the same reason.
const ROUNDED_TO: i64 = 10;
/// Longest that a copy is on its way, as a rule.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(3);

/// Two sides' clocks and names: the last word on which of two writes is the newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides {
    /// How far the source's clock is ahead of the target's.
    skew: SignedDuration,
    /// Of two writes of one moment, the source's wins.
    source_first: bool,
}

/// How the same content was written one time after the other, by the target's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replicate) struct Run {
    pub since: Timestamp,
    pub at: Timestamp,
    pub times: usize,
}

impl Run {
    /// True of a copy that was on its way while its original was written once more: its own time is later, and
    /// what it has is older.
    fn is_late_copy_of(self, original: Self) -> bool {
        let after = self.at.duration_since(original.at);
        self.times == 1 && self.since > original.since && !after.is_negative() && after <= ON_ITS_WAY
    }
}

/// What is to be done to bring the target in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both hold the same object, or none.
    Alike,
    /// What the source holds, or that it holds nothing, goes over what the target holds.
    Ours {
        /// The target loses a change that the source knew nothing of.
        conflict: bool,
    },
    /// What the target holds is to stay: the opposite direction brings it to the source.
    Theirs,
}

impl Sides {
    /// `ahead`: how far each endpoint's clock is ahead of ours, the source's first. Of two writes of one moment
    /// that of the region wins whose name comes first.
    #[must_use]
    pub fn new(ahead: [SignedDuration; 2], regions: [&str; 2]) -> Self {
        let skew = ahead[0] - ahead[1];
        let tens = (skew.abs().as_secs() + ROUNDED_TO / 2) / ROUNDED_TO;
        let rounded = SignedDuration::from_secs(tens * ROUNDED_TO * i64::from(skew.signum()));
        let skew = if skew.abs() <= NO_SKEW { SignedDuration::ZERO } else { rounded };
        Self { skew, source_first: regions[0] <= regions[1] }
    }

    /// Which side's attributes stay, of two objects of the same content. Many stores tell whole seconds: then who
    /// was written more often has gone on from what the other holds.
    pub(in crate::replicate) fn is_newer_at_source(self, source: Option<Run>, target: Option<Run>) -> bool {
        if let (Some(source), Some(target)) = (source, target)
            && (source.is_late_copy_of(target) || target.is_late_copy_of(source))
        {
            return target.is_late_copy_of(source);
        }
        let order = |run: Option<Run>| run.map(|run| (run.at, run.times));
        order(source) > order(target) || order(source) == order(target) && self.source_first
    }

    /// A moment of the source's clock, by the target's.
    pub(super) fn by_target(self, at: Timestamp) -> Timestamp {
        at.checked_sub(self.skew).unwrap_or(at)
    }
}

/// Decides on a key.
///
/// What one side knew and went on from gives way to what it went on to, whatever the clocks say. Where both went
/// on by themselves the newer change wins, then the region whose name comes first. A delete takes away only what
/// its bucket has held: of two buckets that never had an object in common, neither's deletes touch the other's.
#[must_use]
pub fn decide(source: &History, target: &History, sides: Sides) -> Verdict {
    let (ours, theirs) = (source.chain(|at| sides.by_target(at)), target.chain(|at| at));
    let (Some(our_last), Some(their_last)) = (ours.last(), theirs.last()) else {
        return match (ours.last(), theirs.last()) {
            (Some(last), None) if !last.is_gone() => Verdict::Ours { conflict: false },
            (None, Some(last)) if !last.is_gone() => Verdict::Theirs,
            _ => Verdict::Alike,
        };
    };
    if our_last.state == their_last.state {
        return Verdict::Alike;
    }
    let chains = Chains { ours: &ours, theirs: &theirs };
    let known = source.is_whole && target.is_whole;
    if known && (our_last.is_gone() || their_last.is_gone()) && !chains.have_met() {
        return verdict(their_last.is_gone(), false);
    }
    match chains.shared() {
        Shared::Ours => verdict(true, false),
        Shared::Theirs => verdict(false, false),
        Shared::Both => {
            let newer = our_last.at.cmp(&their_last.at);
            verdict(newer.is_gt() || newer.is_eq() && sides.source_first, true)
        }
    }
}

fn verdict(ours: bool, conflict: bool) -> Verdict {
    if ours { Verdict::Ours { conflict } } else { Verdict::Theirs }
}

#[cfg(test)]
#[path = "mutual/tests.rs"]
mod tests;
