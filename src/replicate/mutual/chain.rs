//! What two chains of states have in common.

use jiff::SignedDuration;

use super::history::{State, Stay};

/// How far two stores' clocks may differ unnoticed.
const NOISE: SignedDuration = SignedDuration::from_secs(1);
/// A copy that lands later than this after its original was deleted is none: somebody wrote the same anew. More
/// than two clocks may differ that count as equal.
pub(super) const LATE: SignedDuration = SignedDuration::from_secs(10);

/// What both sides have held, oldest first, by one clock. Neither is empty, and they end differently.
#[derive(Clone, Copy)]
pub(super) struct Chains<'a> {
    pub ours: &'a [Stay],
    pub theirs: &'a [Stay],
}

/// Who went on after the last state that both had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shared {
    Ours,
    Theirs,
    Both,
}

/// The longest chain in common that ends with one side's last state: its length, and where the other side has
/// that state.
type Ending = Option<(usize, usize)>;

impl Chains<'_> {
    /// True if some object was at both sides.
    pub(super) fn have_met(&self) -> bool {
        have_met(self.ours, self.theirs)
    }

    /// Three ways to explain what is there: ours went on from what theirs ends with, or the other way round, or
    /// both went on. The one that explains the most is taken; where two explain as much, it is not known who
    /// knew what.
    pub(super) fn shared(&self) -> Shared {
        let (ours, theirs, apart) = self.lengths();
        match (ours, theirs) {
            (Some((length, at)), Some((same, there))) if length == same && length > apart => {
                // Each side ends with what the other had before. Of these two, the newer went over the other
                // then; what came after it at its own side is a change that nobody else knows.
                if self.theirs[there].since > self.ours[at].since { Shared::Theirs } else { Shared::Ours }
            }
            (Some((length, _)), theirs)
                if length > apart && theirs.is_none_or(|(other, _)| length > other) =>
            {
                Shared::Ours
            }
            (ours, Some((length, _))) if length > apart && ours.is_none_or(|(other, _)| length > other) => {
                Shared::Theirs
            }
            _ => Shared::Both,
        }
    }

    /// Of the longest chain in common that ends with their last state; with ours; and with neither.
    fn lengths(&self) -> (Ending, Ending, usize) {
        let (our_last, their_last) = (self.ours.len() - 1, self.theirs.len() - 1);
        let longer = |ending: Ending, length, at| match ending {
            Some((so_far, _)) if so_far > length => ending,
            _ => Some((length, at)),
        };
        let (mut ends_theirs, mut ends_ours) = (None, None);
        // The longest chain in common of what comes before a place of ours and each place of theirs.
        let mut above = vec![0; self.theirs.len()];
        for ours in 0..our_last {
            if self.are_one(ours, their_last) && is_left(self.ours, ours, &self.theirs[their_last]) {
                ends_theirs = longer(ends_theirs, above[their_last] + 1, ours);
            }
            let mut row = vec![0; self.theirs.len()];
            for theirs in 0..their_last {
                let with = above[theirs] + usize::from(self.are_one(ours, theirs));
                row[theirs + 1] = with.max(above[theirs + 1]).max(row[theirs]);
            }
            above = row;
        }
        for (theirs, length) in above.iter().take(their_last).enumerate() {
            if self.are_one(our_last, theirs) && is_left(self.theirs, theirs, &self.ours[our_last]) {
                ends_ours = longer(ends_ours, length + 1, theirs);
            }
        }
        (ends_theirs, ends_ours, above[their_last])
    }

    /// True if one is a repetition of the other.
    fn are_one(&self, ours: usize, theirs: usize) -> bool {
        let (a, b) = (&self.ours[ours], &self.theirs[theirs]);
        let (earlier, later) = if a.since <= b.since {
            ((self.ours, ours), (self.theirs, theirs))
        } else {
            ((self.theirs, theirs), (self.ours, ours))
        };
        a.state == b.state
            && match a.state {
                State::Gone => repeats_delete(earlier, later),
                State::Object { .. } => repeats_write(earlier, later),
            }
    }
}

/// True if a side may have gone on from a state as the other one has it now: what was written there long after a
/// delete is a change of its own, though it is the same again.
fn is_left(side: &[Stay], at: usize, other: &Stay) -> bool {
    let deleted = side[at..].iter().find(|next| next.is_gone());
    other.is_gone() || deleted.is_none_or(|deleted| other.at <= deleted.since + LATE)
}

fn have_met(ours: &[Stay], theirs: &[Stay]) -> bool {
    let mut objects = ours.iter().filter(|version| !version.is_gone());
    objects.any(|ours| theirs.iter().any(|theirs| theirs.state == ours.state))
}

/// True if a write may be the repetition of an earlier one at the other side: that one's side had not deleted it
/// long ago. Who copies makes sure of it.
fn repeats_write((first, at): (&[Stay], usize), (second, there): (&[Stay], usize)) -> bool {
    let deleted = first[at..].iter().find(|next| next.is_gone());
    deleted.is_none_or(|deleted| second[there].since <= deleted.since + LATE)
}

/// True if a delete may be the repetition of an earlier one at the other side: that one's side had not gone on
/// when it was made, and what it deleted was known there, or was an older change of what was.
fn repeats_delete((first, at): (&[Stay], usize), (second, there): (&[Stay], usize)) -> bool {
    let (original, repetition) = (&first[at], &second[there]);
    let in_time = first.get(at + 1).is_none_or(|next| repetition.since <= next.since + NOISE);
    let Some(deleted) = there.checked_sub(1).map(|before| &second[before]) else { return in_time };
    let was_there = || first[..at].iter().any(|known| known.state == deleted.state);
    let was_older = || deleted.at <= original.since + NOISE && have_met(&first[..at], &second[..there]);
    in_time && (was_there() || was_older())
}
