//! What was done at both sides of a mutual pair, when, and what its doer knew: what either bucket may hold at a
//! moment, and at the end. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::history::State;

/// Names of both sides.
pub const NAMES: [&str; 2] = ["north", "south"];

/// Clocks of stores are known to a second. A delete within so long after a write at the other side may be the repetition
/// of one that came before that write.
const NOISE: SignedDuration = SignedDuration::from_secs(1);
/// Attributes that change within so long, over a link on which a copy takes as long: a copy of the earlier ones that
/// lands after the later change is taken for the newest. S3 has no way to tell that from a change.
const LATE: SignedDuration = SignedDuration::from_secs(5);

/// A change that somebody made at one side.
#[derive(Clone, Debug)]
struct Change {
    side: usize,
    state: State,
    /// Its content was there before, under this key or as an empty object anywhere: stores can't tell it from that.
    repeats: bool,
    begun: Timestamp,
    end: End,
    /// Changes of the same key that its doer knew.
    past: BTreeSet<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    UnderWay,
    /// When the store had said so.
    Done(Timestamp),
    /// The store was killed, and what is there now tells nothing.
    Unknown,
    Never,
}

/// All changes, key by key. At one side no key has two at a time.
#[derive(Debug, Default)]
pub struct Changes {
    keys: BTreeMap<String, Vec<Change>>,
    /// The last one done at a side.
    last: BTreeMap<(usize, String), usize>,
}

/// A change under way.
#[derive(Clone, Copy, Debug)]
pub struct Ticket(usize);

impl Changes {
    /// Somebody saw what lay under a key at a side, and goes on from there.
    pub fn begin(
        &mut self,
        (side, key): (usize, &str),
        seen: State,
        (state, repeats): (State, bool),
        now: Timestamp,
    ) -> Ticket {
        let changes = self.keys.entry(key.to_owned()).or_default();
        let holds = |change: &Change| seen != State::Absent && change.state == seen;
        let last = self.last.get(&(side, key.to_owned())).copied();
        let mut past = BTreeSet::new();
        for known in [changes.iter().position(holds), last].into_iter().flatten() {
            past.extend(&changes[known].past);
            past.insert(known);
        }
        changes.push(Change { side, state, repeats, begun: now, end: End::UnderWay, past });
        Ticket(changes.len() - 1)
    }

    /// The store said that it is done, or holds it.
    pub fn is_done(&mut self, (side, key): (usize, &str), Ticket(change): Ticket, now: Timestamp) {
        self.change(key, change).end = End::Done(now);
        self.last.insert((side, key.to_owned()), change);
    }

    /// The store said that it will not be done.
    pub fn is_refused(&mut self, key: &str, Ticket(change): Ticket) {
        self.change(key, change).end = End::Never;
    }

    /// Nobody can say whether it was done.
    pub fn is_unknown(&mut self, key: &str, Ticket(change): Ticket) {
        self.change(key, change).end = End::Unknown;
    }

    fn change(&mut self, key: &str, change: usize) -> &mut Change {
        &mut self.keys.get_mut(key).unwrap()[change]
    }

    pub fn keys(&self) -> Vec<String> {
        self.keys.keys().cloned().collect()
    }

    /// Why the other side, that holds `state` under `key`, is not what it claims to be: it has all that was done at
    /// `side` before `until`, or what went over that.
    pub fn objection(&self, side: usize, key: &str, state: State, until: Timestamp) -> Option<String> {
        let changes = self.keys.get(key)?;
        let is_due =
            |change: &Change| change.side == side && matches!(change.end, End::Done(at) if at < until);
        let due = changes.iter().rposition(is_due)?;
        let stays = |(number, change): (usize, &Change)| {
            change.state == state
                && change.end != End::Never
                && (number == due
                    || !(changes[due].replaces(number, changes) || changes[due].wins_over(change, changes)))
        };
        let fine = changes.iter().enumerate().any(stays);
        (!fine).then(|| format!("{} of {key:?} is {state:?} by {until}: {}", NAMES[1 - side], told(changes)))
    }

    /// Why what both sides hold once all is over is not what should be left of all changes.
    pub fn last_objection(&self, key: &str, state: State) -> Option<String> {
        let changes = self.keys.get(key)?;
        let is_done = |change: &Change| matches!(change.end, End::Done(_));
        let is_known = |number: &usize| {
            changes.iter().any(|change| is_done(change) && change.replaces(*number, changes))
        };
        let known: BTreeSet<usize> = (0..changes.len()).filter(is_known).collect();
        let latest = || {
            let latest = changes.iter().enumerate().filter(|(number, _)| !known.contains(number));
            latest.map(|(_, change)| change).filter(|change| change.end != End::Never)
        };
        let never = state == State::Absent && !changes.iter().any(is_done);
        let stays = |change: &Change| {
            change.state == state && !latest().any(|other| is_done(other) && other.wins_over(change, changes))
        };
        (!never && !latest().any(stays)).then(|| format!("{key:?} is {state:?} at last: {}", told(changes)))
    }
}

impl Change {
    /// True if its doer knew of the other, and it can be told from a late copy of that.
    fn replaces(&self, other: usize, all: &[Self]) -> bool {
        let soon = matches!(all[other].end, End::Done(at) if self.begun < at + LATE);
        self.past.contains(&other) && !(self.repeats && soon)
    }

    /// True if both were made without knowing of each other, and this one is newer beyond doubt. A delete takes
    /// away only what its bucket has held, and may be another one's repetition.
    fn wins_over(&self, other: &Self, all: &[Self]) -> bool {
        let older = matches!(other.end, End::Done(at) if at + NOISE < self.begun);
        let had = |change: &Self| -> BTreeSet<usize> {
            change.past.iter().copied().filter(|&known| all[known].state != State::Absent).collect()
        };
        let have_met = || !had(self).is_disjoint(&had(other));
        let has_gone = self.state == State::Absent || other.state == State::Absent;
        older && !self.repeats && (!has_gone || have_met())
    }

    fn told(&self) -> String {
        let end = match self.end {
            End::Done(at) => at.to_string(),
            End::UnderWay => "…".to_owned(),
            End::Unknown => "nobody knows".to_owned(),
            End::Never => "never".to_owned(),
        };
        let known: Vec<_> = self.past.iter().rev().take(4).collect();
        let repeats = if self.repeats { " again" } else { "" };
        format!("{} {:?}{repeats} from {} to {end}, knew {known:?}", NAMES[self.side], self.state, self.begun)
    }
}

fn told(changes: &[Change]) -> String {
    let from = changes.len().saturating_sub(10);
    let lines = changes
        .iter()
        .enumerate()
        .skip(from)
        .map(|(number, change)| format!("  {number}: {}", change.told()));
    std::iter::once(String::new()).chain(lines).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORTH: (usize, &str) = (0, "k");
    const SOUTH: (usize, &str) = (1, "k");

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn make(changes: &mut Changes, place: (usize, &str), seen: State, state: State, second: i64) {
        let ticket = changes.begin(place, seen, (state, false), at(second));
        changes.is_done(place, ticket, at(second + 1));
    }

    /// Both sides have the first object; then the north goes on, and the south deletes.
    fn apart() -> Changes {
        let mut changes = Changes::default();
        make(&mut changes, NORTH, State::Absent, State::Holds(1), 10);
        make(&mut changes, NORTH, State::Holds(1), State::Holds(2), 20);
        make(&mut changes, SOUTH, State::Holds(1), State::Absent, 30);
        changes
    }

    #[test]
    fn c05_c08_what_the_other_side_knew_to_be_replaced_is_no_proof() {
        let changes = apart();
        let fine = |side, state, second| changes.objection(side, "k", state, at(second)).is_none();
        assert!(fine(0, State::Absent, 5), "nothing is due yet");
        assert!(fine(0, State::Holds(1), 15) && fine(0, State::Holds(2), 15) && fine(0, State::Absent, 15));
        assert!(!fine(0, State::Holds(1), 25) && fine(0, State::Holds(2), 25) && fine(0, State::Absent, 25));
        assert!(!fine(1, State::Holds(1), 35), "deleted");
        assert!(!fine(1, State::Holds(2), 35), "an older change that the delete knew nothing of");
        assert!(fine(1, State::Holds(2), 25) && fine(1, State::Absent, 35));
    }

    #[test]
    fn c08_of_two_that_knew_nothing_of_each_other_the_newer_is_left() {
        let mut changes = apart();
        let fine = |changes: &Changes, state| changes.last_objection("k", state).is_none();
        assert!(fine(&changes, State::Absent));
        assert!(!fine(&changes, State::Holds(1)), "back again");
        assert!(!fine(&changes, State::Holds(2)), "the winner is lost");
        let ticket = changes.begin(NORTH, State::Absent, (State::Holds(3), false), at(40));
        assert!(fine(&changes, State::Absent) && fine(&changes, State::Holds(3)), "under way");
        changes.is_refused("k", ticket);
        assert!(fine(&changes, State::Absent) && !fine(&changes, State::Holds(3)));
        let ticket = changes.begin(NORTH, State::Absent, (State::Holds(4), false), at(50));
        changes.is_unknown("k", ticket);
        assert!(fine(&changes, State::Absent) && fine(&changes, State::Holds(4)));
        make(&mut changes, NORTH, State::Absent, State::Holds(5), 60);
        assert!(!fine(&changes, State::Absent) && fine(&changes, State::Holds(5)));
    }

    #[test]
    fn c08_attributes_are_told_from_a_late_copy_of_earlier_ones_after_a_while_only() {
        for (second, fine) in [(22, true), (40, false)] {
            let mut changes = Changes::default();
            make(&mut changes, NORTH, State::Absent, State::Holds(1), 20);
            let ticket = changes.begin(NORTH, State::Holds(1), (State::Holds(2), true), at(second));
            changes.is_done(NORTH, ticket, at(second + 1));
            assert_eq!(changes.objection(0, "k", State::Holds(1), at(second + 5)).is_none(), fine);
            assert_eq!(changes.last_objection("k", State::Holds(1)).is_none(), fine);
            assert!(changes.last_objection("k", State::Holds(2)).is_none());
        }
    }

    #[test]
    fn c08_a_delete_takes_away_only_what_its_bucket_has_held() {
        let mut changes = Changes::default();
        make(&mut changes, NORTH, State::Absent, State::Holds(1), 10);
        make(&mut changes, SOUTH, State::Absent, State::Holds(2), 20);
        make(&mut changes, SOUTH, State::Holds(2), State::Absent, 30);
        assert!(changes.last_objection("k", State::Holds(1)).is_none(), "they have never met");
        assert!(changes.last_objection("k", State::Holds(2)).is_some());
    }
}
