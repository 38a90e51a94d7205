//! Two sides that are written, deleted and copied at random, and cases that each taught a rule.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::store::ETag;

fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn state(content: Option<u32>) -> State {
    content.map_or(State::Gone, |content| State::Object { etag: ETag(format!("{content}")), size: 1 })
}

/// From words such as `1@0 x@10 2@20`, oldest first: content, or `x` for a marker, and the second.
fn history(words: &str) -> History {
    let version = |word: &str| {
        let (what, at) = word.split_once('@').unwrap();
        Version { state: state(what.parse().ok()), at: moment(at.parse().unwrap()) }
    };
    History { versions: words.split_whitespace().map(version).rev().collect(), is_whole: true }
}

fn sides(skew: i64) -> Sides {
    Sides::new([SignedDuration::from_secs(skew), SignedDuration::ZERO], ["north", "south"])
}

/// Both directions' verdicts.
fn both(north: &str, south: &str) -> [Verdict; 2] {
    let back = Sides::new([SignedDuration::ZERO; 2], ["south", "north"]);
    let (north, south) = (history(north), history(south));
    [decide(&north, &south, sides(0)), decide(&south, &north, back)]
}

const NORTH: [Verdict; 2] = [Verdict::Ours { conflict: false }, Verdict::Theirs];
const SOUTH: [Verdict; 2] = [Verdict::Theirs, Verdict::Ours { conflict: false }];
const ALIKE: [Verdict; 2] = [Verdict::Alike; 2];
const NORTH_WINS: [Verdict; 2] = [Verdict::Ours { conflict: true }, Verdict::Theirs];
const SOUTH_WINS: [Verdict; 2] = [Verdict::Theirs, Verdict::Ours { conflict: true }];

#[test]
fn c08_what_was_known_gives_way_whatever_the_clocks_say() {
    for (north, south, expected, why) in [
        ("", "", ALIKE, "nothing anywhere"),
        ("1@0", "", NORTH, "new"),
        ("1@0", "1@9", ALIKE, "an echo ends here"),
        ("1@0 2@5", "1@9", NORTH, "the replica is younger than the newer original"),
        ("1@0 x@5", "1@9", NORTH, "deleted"),
        ("1@0 x@5", "1@9 x@20", ALIKE, "deleted at both"),
        ("1@0 x@5", "", ALIKE, "came and went"),
        ("1@0 2@5 1@8", "1@9 2@10", NORTH, "an older content was restored"),
        ("1@0 2@5 1@8", "1@9", ALIKE, "and the other side never saw the one between"),
        ("1@0 x@5 1@8", "1@2 x@6", NORTH, "the same was written again after a delete"),
        ("1@0 x@5 2@8", "1@2 x@6", NORTH, "something else was"),
        ("1@0 x@5 2@8", "1@2", NORTH, "the delete was not seen"),
        ("1@0", "1@2 x@6 1@8 x@9", SOUTH, "to and fro"),
        ("1@0 x@5", "1@2 x@6 1@90", SOUTH, "written again at the other side"),
        ("1@0 x@1 2@4", "1@0 2@2 x@3", SOUTH, "a slow copy landed after the delete of what it copied"),
        ("1@9", "1@0 x@5", SOUTH, "a copy that landed a little late"),
        (
            "1@0 1@2 1@3 1@9",
            "1@1 x@4 1@5 1@6 x@8",
            SOUTH,
            "the same again and again, and its attributes a little late",
        ),
        ("1@0 1@10", "1@1 1@3 1@7 x@20", SOUTH, "the same more often at one side"),
        ("1@0", "x@5", NORTH, "a delete of nothing deletes nothing"),
        ("1@0", "2@3 x@5", NORTH, "a delete takes only what its bucket held"),
    ] {
        assert_eq!(both(north, south), expected, "{north} | {south}: {why}");
    }
}

#[test]
fn c08_where_nobody_knew_of_the_other_the_newer_wins_and_it_is_a_conflict() {
    for (north, south, expected, why) in [
        ("1@5", "2@6", SOUTH_WINS, "two first writes"),
        ("1@5", "2@5", NORTH_WINS, "at one moment: by name"),
        ("1@0 2@8", "1@0 3@7", NORTH_WINS, "two changes"),
        ("1@0 2@8", "1@0 x@7", NORTH_WINS, "a change after a delete"),
        ("1@0 2@8", "1@0 x@9", SOUTH_WINS, "a delete after a change"),
        ("1@0 2@5 3@9", "1@0 2@1 1@7", NORTH_WINS, "content 1 is not the first one: it was restored"),
        ("1@50", "1@0 x@5", NORTH_WINS, "long after the delete: not its copy, but written anew"),
        ("1@1 1@50", "1@0 x@5", NORTH_WINS, "and over its copy"),
        ("1@0 x@10 2@20", "1@0 3@15 x@30", SOUTH_WINS, "a delete that can't be the other's, nor undoes it"),
    ] {
        assert_eq!(both(north, south), expected, "{north} | {south}: {why}");
    }
}

#[test]
fn c08_a_small_skew_is_none_and_a_large_one_is_taken_off() {
    let (ours, theirs) = (history("1@0 2@1203"), history("1@0 3@100"));
    assert_eq!(decide(&ours, &theirs, sides(0)), Verdict::Ours { conflict: true });
    assert_eq!(decide(&ours, &theirs, sides(1200)), Verdict::Theirs);
    let (ours, theirs) = (history("1@0 2@103"), history("1@0 3@100"));
    assert_eq!(decide(&ours, &theirs, sides(4)), Verdict::Ours { conflict: true });
    for skew in [-1203, -15, 0, 3, 14, 15, 1203] {
        let forth = Sides::new([SignedDuration::from_secs(skew), SignedDuration::ZERO], ["a", "b"]);
        let back = Sides::new([SignedDuration::ZERO, SignedDuration::from_secs(skew)], ["b", "a"]);
        assert_eq!(forth.skew, -back.skew, "both directions see one skew");
    }
}

#[test]
fn c08_of_two_writes_of_one_second_and_of_a_late_copy_the_attributes_of_one_side_stay() {
    let (forth, back) = (sides(0), Sides::new([SignedDuration::ZERO; 2], ["south", "north"]));
    let at = |second, times| Some(Run { since: moment(0), at: moment(second), times });
    let copy = |second, times| Some(Run { since: moment(second), at: moment(second), times });
    for (north, south, is_north) in [
        (at(1, 1), at(2, 1), false),
        (at(2, 1), at(2, 1), true),
        (at(2, 1), at(2, 2), false),
        (at(2, 2), at(2, 1), true),
        (at(2, 1), None, true),
        (at(2, 2), copy(4, 1), true),
        (copy(4, 1), at(2, 2), false),
        (at(2, 2), copy(9, 1), false),
    ] {
        assert_eq!(forth.is_newer_at_source(north, south), is_north, "{north:?} {south:?}");
        assert_eq!(back.is_newer_at_source(south, north), !is_north, "{south:?} {north:?}");
    }
}

/// A version, and what is true of it.
#[derive(Clone, Debug)]
struct Real {
    content: Option<u32>,
    at: i64,
    change: usize,
    /// Changes that whoever made this one knew, or that gave way to it.
    past: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
struct Change {
    at: i64,
    content: Option<u32>,
    past: BTreeSet<usize>,
}

/// What a direction has decided on, and not done yet.
#[derive(Clone, Debug)]
struct Pending {
    source: usize,
    target: usize,
    conflict: bool,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Write(usize),
    Restore(usize, u32),
    Delete(usize),
    Decide(usize),
    Commit(usize),
    Kill(usize),
    /// Other attributes for the same content.
    Touch(usize),
    /// A direction has seen other attributes, and is about to bring them over.
    See(usize),
    Bring(usize),
}

#[derive(Debug)]
struct World {
    sides: [Vec<Real>; 2],
    pending: [Option<Pending>; 2],
    /// Attributes on their way: of which of the source's versions, and since when.
    touching: [Option<(usize, i64)>; 2],
    changes: Vec<Change>,
    now: i64,
    /// How far the second side's clock is ahead.
    skew: i64,
    /// Replicas keep the original's time, where that is the newest and both clocks agree.
    keeps_times: bool,
    conflicts: usize,
    real_conflicts: usize,
}

impl World {
    fn new(skew: i64, keeps_times: bool) -> Self {
        let (sides, pending) = ([Vec::new(), Vec::new()], [None, None]);
        Self {
            sides,
            pending,
            touching: [None, None],
            changes: Vec::new(),
            now: 0,
            skew,
            keeps_times,
            conflicts: 0,
            real_conflicts: 0,
        }
    }

    fn clock(&self, side: usize) -> i64 {
        self.now + if side == 1 { self.skew } else { 0 }
    }

    fn change(&mut self, side: usize, content: Option<u32>) {
        let mut past = BTreeSet::new();
        if let Some(last) = self.sides[side].last() {
            past.clone_from(&last.past);
            past.insert(last.change);
        }
        let (at, change) = (self.clock(side), self.changes.len());
        self.changes.push(Change { at: self.now, content, past: past.clone() });
        self.sides[side].push(Real { content, at, change, past });
    }

    fn seen(&self, side: usize) -> History {
        let version = |real: &Real| Version { state: state(real.content), at: moment(real.at) };
        History { versions: self.sides[side].iter().rev().map(version).collect(), is_whole: true }
    }

    fn verdict(&self, from: usize) -> Verdict {
        let (names, ahead) = (["a", "b"], [0, self.skew].map(SignedDuration::from_secs));
        let to = 1 - from;
        let sides = Sides::new([ahead[from], ahead[to]], [names[from], names[to]]);
        decide(&self.seen(from), &self.seen(to), sides)
    }

    fn decide(&mut self, from: usize) -> bool {
        let Verdict::Ours { conflict } = self.verdict(from) else { return false };
        let target = self.sides[1 - from].len();
        self.pending[from] = Some(Pending { source: self.sides[from].len() - 1, target, conflict });
        true
    }

    /// A write is made only on what was seen, and taken back if it was deleted meanwhile; a delete is taken back
    /// if either side went on.
    fn commit(&mut self, from: usize) {
        let Some(Pending { source, target, conflict }) = self.pending[from].take() else { return };
        let to = 1 - from;
        let origin = self.sides[from][source].clone();
        let since = &self.sides[from][source + 1..];
        let stale = since.iter().any(|since| origin.content.is_none() || since.content.is_none());
        if self.sides[to].len() != target || stale {
            return;
        }
        let mut past = origin.past.clone();
        let mut really = false;
        let newest = self.sides[to].last().map_or(i64::MIN, |there| there.at);
        let keeps = self.keeps_times
            && self.skew == 0
            && origin.content.is_some()
            && (newest..self.clock(to)).contains(&origin.at);
        let at = if keeps { origin.at } else { self.clock(to) };
        if let Some(there) = self.sides[to].last() {
            really = there.change != origin.change && !past.contains(&there.change);
            past.extend(&there.past);
            past.insert(there.change);
        }
        past.remove(&origin.change);
        // Two deletes are one, whoever made the second.
        let lost = self.held(to).is_some();
        self.conflicts += usize::from(conflict && lost);
        self.real_conflicts += usize::from(really && lost);
        self.sides[to].push(Real { at, past, ..origin });
    }

    /// True if a side has not deleted a content that it held, or has only just. What is touched long after is a change of
    /// its own, as good as any.
    fn has_not_long_deleted(&self, side: usize, content: Option<u32>) -> bool {
        let Some(held) = self.sides[side].iter().rposition(|real| real.content == content) else {
            return true;
        };
        let deleted = self.sides[side][held..].iter().find(|next| next.content.is_none());
        deleted.is_none_or(|deleted| deleted.at + 10 >= self.clock(side))
    }

    /// The same content again is no change of what there is.
    fn touch(&mut self, side: usize, at: i64) {
        if let Some(last) = self.last(side).filter(|last| last.content.is_some()).cloned() {
            self.sides[side].push(Real { at, ..last });
        }
    }

    /// Attributes are written only where the content is still the one that was seen, and taken back if that took
    /// long and the source went on.
    fn bring(&mut self, from: usize) {
        let Some((source, since)) = self.touching[from].take() else { return };
        let to = 1 - from;
        let stale = self.sides[from].len() > source + 1 && self.now > since + 20;
        if self.held(to) == self.sides[from][source].content && !stale {
            self.touch(to, self.clock(to));
        }
    }

    fn act(&mut self, act: Act) {
        self.now += 10;
        let contents = u32::try_from(self.changes.len()).unwrap();
        match act {
            Act::Write(side) => self.change(side, Some(contents)),
            Act::Restore(side, which) if contents > 0 => {
                let content = self.changes[(which % contents) as usize].content;
                if content.is_some() {
                    self.change(side, content);
                }
            }
            Act::Delete(side) if self.sides[side].last().is_some_and(|last| last.content.is_some()) => {
                self.change(side, None);
            }
            Act::Decide(from) => {
                self.decide(from);
            }
            Act::Commit(from) => self.commit(from),
            Act::Kill(from) => {
                self.pending[from] = None;
                self.touching[from] = None;
            }
            // Long after the other side went on it is a change of its own, as good as any.
            Act::Touch(side)
                if self.held(side).is_some() && self.has_not_long_deleted(1 - side, self.held(side)) =>
            {
                self.touch(side, self.clock(side));
                if let Some(change) = self.last(side).map(|last| last.change) {
                    self.changes[change].at = self.now;
                }
            }
            Act::See(from) => {
                let alike = self.held(from).is_some() && self.held(from) == self.held(1 - from);
                self.touching[from] = alike.then(|| (self.sides[from].len() - 1, self.now));
            }
            Act::Bring(from) => self.bring(from),
            Act::Restore(..) | Act::Delete(_) | Act::Touch(_) => {}
        }
    }

    /// Until neither direction has anything to do; `false`: that never was.
    fn settle(&mut self) -> bool {
        (self.pending, self.touching) = ([None, None], [None, None]);
        for _ in 0..6 {
            let mut quiet = true;
            for from in [0, 1] {
                self.now += 10;
                if self.decide(from) {
                    quiet = false;
                    self.commit(from);
                }
            }
            if quiet {
                return true;
            }
        }
        false
    }

    fn last(&self, side: usize) -> Option<&Real> {
        self.sides[side].last()
    }

    fn held(&self, side: usize) -> Option<u32> {
        self.last(side).and_then(|last| last.content)
    }

    /// Changes that nobody who made another one knew of.
    fn latest(&self) -> Vec<&Change> {
        let known: BTreeSet<usize> = self.changes.iter().flat_map(|change| change.past.clone()).collect();
        let latest = self.changes.iter().enumerate().filter(|(number, _)| !known.contains(number));
        latest.map(|(_, change)| change).collect()
    }
}

fn act(restores: bool) -> impl Strategy<Value = Act> {
    let side = || 0..2usize;
    prop_oneof![
        3 => side().prop_map(Act::Write),
        2 => (side(), any::<u32>()).prop_map(move |(side, which)| {
            if restores { Act::Restore(side, which) } else { Act::Write(side) }
        }),
        3 => side().prop_map(Act::Delete),
        5 => side().prop_map(Act::Decide),
        5 => side().prop_map(Act::Commit),
        1 => side().prop_map(Act::Kill),
    ]
}

/// The same, and attributes are changed and brought over.
fn act_or_touch() -> impl Strategy<Value = Act> {
    let side = || 0..2usize;
    prop_oneof![
        19 => act(false),
        4 => side().prop_map(Act::Touch),
        4 => side().prop_map(Act::See),
        4 => side().prop_map(Act::Bring),
    ]
}

fn skew() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), Just(1200), Just(-1200), Just(40)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn c08_two_buckets_agree_on_the_newest_of_what_nobody_knew_to_be_replaced(
        acts in prop::collection::vec(act_or_touch(), 0..24), skew in skew(), keeps_times: bool,
    ) {
        let mut world = World::new(skew, keeps_times);
        world.act(Act::Write(0));
        prop_assert!(world.settle());
        for act in acts {
            world.act(act);
        }
        prop_assert!(world.settle(), "they never agree: {world:#?}");
        prop_assert_eq!(world.held(0), world.held(1));
        let newest = world.latest().into_iter().max_by_key(|change| change.at).unwrap();
        prop_assert_eq!(world.held(0), newest.content, "{:#?}", world);
        prop_assert_eq!(world.conflicts, world.real_conflicts, "{:#?}", world);
    }

    #[test]
    fn c08_whatever_is_written_again_at_one_time_two_buckets_agree(
        acts in prop::collection::vec(act(true), 0..24), skew in skew(), keeps_times: bool,
    ) {
        let mut world = World::new(skew, keeps_times);
        for act in acts {
            world.act(act);
        }
        prop_assert!(world.settle(), "they never agree: {world:#?}");
        prop_assert_eq!(world.held(0), world.held(1));
    }

    #[test]
    fn c08_a_change_that_knew_all_others_is_what_stays_though_it_was_there_before(
        acts in prop::collection::vec((act(true), any::<bool>()), 0..24), skew in skew(), keeps_times: bool,
    ) {
        let mut world = World::new(skew, keeps_times);
        for (act, rest) in acts {
            let changes = world.changes.len();
            let rested = rest && world.settle();
            world.act(match act {
                // What two sides write of one content at one time can't be told apart afterwards.
                Act::Restore(side, _) if !rested => Act::Write(side),
                act => act,
            });
            if rested && world.changes.len() > changes {
                let wanted = world.changes[changes].content;
                prop_assert!(world.settle());
                prop_assert_eq!([world.held(0), world.held(1)], [wanted; 2], "{:#?}", world);
            }
        }
    }
}
