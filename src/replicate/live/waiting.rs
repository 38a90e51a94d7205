//! Keys that wait to be dealt with: one entry a key, no I/O.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::Options;
use crate::replicate::{
    feed::{Change, Kind, Receipt},
    pace::jittered,
};

/// What an entry takes besides its key, which stands in it three times at most.
const ENTRY: usize = 400;

/// What has changed and is not dealt with.
#[derive(Debug)]
pub(super) struct Waiting {
    options: Options,
    entries: HashMap<String, Entry>,
    /// Keys that can be taken, first come first served.
    ready: VecDeque<String>,
    /// Keys to be tried again.
    later: BTreeSet<(Instant, String)>,
    /// How many pieces of work are as old as that.
    times: BTreeMap<Timestamp, usize>,
    failing: usize,
    memory: usize,
}

/// One key. It is in `ready` or in `later` exactly when it waits and is not under way.
#[derive(Debug, Default)]
struct Entry {
    under_way: Option<Work>,
    waits: Option<Work>,
    /// Tries that failed in a row.
    failures: u32,
}

/// Hints about one key, taken together.
#[derive(Debug)]
struct Work {
    change: Change,
    /// When the first of them was told.
    since: Timestamp,
    receipt: Receipt,
}

/// A key to be dealt with now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub key: String,
    pub change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    Waits,
    /// There is no room for another key.
    NoRoom,
}

impl Waiting {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            entries: HashMap::new(),
            ready: VecDeque::new(),
            later: BTreeSet::new(),
            times: BTreeMap::new(),
            failing: 0,
            memory: 0,
        }
    }

    /// Keys that wait or are under way.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Keys whose last try failed.
    pub(super) fn failing(&self) -> usize {
        self.failing
    }

    pub(super) fn is_full(&self) -> bool {
        self.memory >= self.options.memory
    }

    /// When the oldest hint was told that is not dealt with.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.times.first_key_value().map(|(since, _)| *since)
    }

    /// Takes a hint in. One about a key that is there already needs no room.
    pub(super) fn add(&mut self, change: Change, receipt: Receipt, now: Timestamp) -> Added {
        if self.is_full() && !self.entries.contains_key(&change.key) {
            return Added::NoRoom;
        }
        let key = change.key.clone();
        let since = change.at.map_or(now, |at| at.min(now));
        let entry = self.entries.entry(key.clone()).or_insert_with(|| {
            self.memory += cost(&key);
            Entry::default()
        });
        let queued = entry.waits.is_some() || entry.under_way.is_some();
        *self.times.entry(since).or_default() += 1;
        let work = Work { change, since, receipt };
        entry.waits = Some(match entry.waits.take() {
            Some(earlier) => joined(earlier, work, &mut self.times),
            None => work,
        });
        if !queued {
            self.ready.push_back(key);
        }
        Added::Waits
    }

    /// The next key whose turn it is; it is under way until [`Self::done`] or [`Self::failed`].
    pub(super) fn take(&mut self, now: Instant) -> Option<Job> {
        while let Some((due, _)) = self.later.first()
            && *due <= now
        {
            let (_, key) = self.later.pop_first()?;
            self.ready.push_back(key);
        }
        let key = self.ready.pop_front()?;
        let entry = self.entries.get_mut(&key)?;
        let work = entry.waits.take()?;
        let change = work.change.clone();
        entry.under_way = Some(work);
        Some(Job { key, change })
    }

    /// When [`Self::take`] has something to give, as far as it is known.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.ready.is_empty() { self.later.first().map(|(due, _)| *due) } else { Some(Instant::now()) }
    }

    /// A key is dealt with, but for what was told of it meanwhile.
    pub(super) fn done(&mut self, key: &str) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Some(work) = entry.under_way.take() {
            forget(&mut self.times, work.since);
            work.receipt.hand_in();
        }
        self.failing -= usize::from(entry.failures > 0);
        entry.failures = 0;
        if entry.waits.is_some() {
            self.ready.push_back(key.to_owned());
        } else {
            self.entries.remove(key);
            self.memory -= cost(key);
        }
    }

    /// A key waits for its next try, with what was told of it meanwhile; says for how long.
    pub(super) fn failed(&mut self, key: &str, now: Instant) -> Duration {
        let Some(entry) = self.entries.get_mut(key) else { return Duration::ZERO };
        let doubled = self.options.pause.saturating_mul(1 << entry.failures.min(16));
        let pause = jittered(doubled.min(self.options.longest_pause));
        self.failing += usize::from(entry.failures == 0);
        entry.failures = entry.failures.saturating_add(1);
        if let Some(work) = entry.under_way.take() {
            entry.waits = Some(match entry.waits.take() {
                Some(later) => joined(work, later, &mut self.times),
                None => work,
            });
        }
        self.later.insert((now + pause, key.to_owned()));
        pause
    }
}

fn cost(key: &str) -> usize {
    ENTRY + 3 * key.len()
}

/// Two hints about one key, as one.
fn joined(mut work: Work, later: Work, times: &mut BTreeMap<Timestamp, usize>) -> Work {
    forget(times, work.since.max(later.since));
    work.since = work.since.min(later.since);
    work.receipt.join(later.receipt);
    if replaces(&work.change, &later.change) {
        work.change = later.change;
    }
    work
}

fn forget(times: &mut BTreeMap<Timestamp, usize>, since: Timestamp) {
    if let Some(count) = times.get_mut(&since) {
        *count -= 1;
        if *count == 0 {
            times.remove(&since);
        }
    }
}

/// True where the later hint tells more. Once more than attributes changed, all must be looked at; who
/// deleted last is told by the store's own order where it has one, since feeds reorder.
fn replaces(earlier: &Change, later: &Change) -> bool {
    match (earlier.kind, later.kind) {
        (Kind::Attributes, _) => true,
        (_, Kind::Attributes) => false,
        _ => match (&earlier.sequencer, &later.sequencer) {
            (Some(earlier), Some(later)) => !later.is_before(earlier),
            _ => true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, kind: Kind, at: i64) -> Change {
        let at = Some(Timestamp::from_second(at).unwrap());
        Change { key: key.into(), kind, at, version: None, sequencer: None }
    }

    fn waiting() -> Waiting {
        Waiting::new(Options { memory: 10 * cost("key"), ..Options::default() })
    }

    fn add(waiting: &mut Waiting, key: &str, kind: Kind, at: i64) -> Added {
        waiting.add(change(key, kind, at), Receipt::default(), Timestamp::from_second(1_000_000).unwrap())
    }

    fn take(waiting: &mut Waiting, now: Instant) -> Option<(String, Kind)> {
        waiting.take(now).map(|job| (job.key, job.change.kind))
    }

    #[test]
    fn hints_about_a_key_are_one_piece_of_work_and_keys_keep_their_turn() {
        let (mut all, now) = (waiting(), Instant::now());
        for (key, kind) in [("b", Kind::Written), ("a", Kind::Written), ("b", Kind::Removed)] {
            assert_eq!(add(&mut all, key, kind, 5), Added::Waits);
        }
        assert_eq!(take(&mut all, now), Some(("b".into(), Kind::Removed)));
        assert_eq!(take(&mut all, now), Some(("a".into(), Kind::Written)));
        assert_eq!(take(&mut all, now), None);
        assert_eq!(all.len(), 2, "both are under way");
        all.done("a");
        all.done("b");
        assert_eq!((all.len(), all.memory, all.oldest()), (0, 0, None));
        assert!(all.times.is_empty());
    }

    #[test]
    fn no_key_is_dealt_with_twice_at_a_time() {
        let (mut all, now) = (waiting(), Instant::now());
        add(&mut all, "k", Kind::Written, 5);
        assert!(take(&mut all, now).is_some());
        add(&mut all, "k", Kind::Removed, 6);
        assert_eq!(take(&mut all, now), None);
        assert_eq!(all.oldest(), Some(Timestamp::from_second(5).unwrap()));
        all.done("k");
        assert_eq!(all.oldest(), Some(Timestamp::from_second(6).unwrap()));
        assert_eq!(take(&mut all, now), Some(("k".into(), Kind::Removed)));
        assert_eq!(take(&mut all, now), None);
    }

    #[test]
    fn a_key_that_fails_waits_longer_each_time_while_others_go_on() {
        let (mut all, mut now) = (waiting(), Instant::now());
        add(&mut all, "bad", Kind::Written, 5);
        let mut last = Duration::ZERO;
        for _ in 0..12 {
            assert_eq!(take(&mut all, now), Some(("bad".into(), Kind::Written)));
            let pause = all.failed("bad", now);
            assert!(pause > last || pause > Duration::from_secs(200), "{pause:?} after {last:?}");
            assert!(pause <= Duration::from_secs(330), "{pause:?}");
            assert_eq!((take(&mut all, now), all.failing()), (None, 1));
            add(&mut all, "good", Kind::Written, 6);
            assert_eq!(take(&mut all, now), Some(("good".into(), Kind::Written)));
            all.done("good");
            (last, now) = (pause, all.next_due().unwrap());
        }
        assert_eq!(all.oldest(), Some(Timestamp::from_second(5).unwrap()));
        assert!(take(&mut all, now).is_some());
        all.done("bad");
        assert_eq!((all.len(), all.failing(), all.next_due()), (0, 0, None));
    }

    #[test]
    fn what_is_told_while_a_key_is_to_be_tried_again_waits_with_it() {
        let (mut all, now) = (waiting(), Instant::now());
        add(&mut all, "k", Kind::Written, 5);
        take(&mut all, now);
        add(&mut all, "k", Kind::Removed, 6);
        all.failed("k", now);
        add(&mut all, "k", Kind::Attributes, 7);
        assert_eq!(take(&mut all, now), None, "a store that has trouble is given a pause");
        let due = all.next_due().unwrap();
        assert_eq!(take(&mut all, due), Some(("k".into(), Kind::Removed)));
        all.done("k");
        assert_eq!(all.len(), 0);
    }

    #[test]
    fn c10_who_deleted_last_is_told_by_the_store_s_own_order() {
        let told = |kind, number: Option<&str>| {
            let text = format!(
                r#"{{"Records":[{{"eventSource":"minio:s3","eventName":"s3:ObjectRemoved:Delete",
                "source":{{"userAgent":"{}"}},"s3":{{"bucket":{{"name":"b"}},
                "object":{{"key":"k","sequencer":"{}"}}}}}}]}}"#,
                if kind == Kind::Expired { "Internal: [ILM-Expiry]" } else { "mc" },
                number.unwrap_or_default(),
            );
            let message = crate::replicate::feed::parse(text.as_bytes(), crate::replicate::feed::Via::Pushed);
            let Ok(crate::replicate::feed::Message::Changes(mut all)) = message else { panic!() };
            all.remove(0).1
        };
        for (first, second, kind) in [
            ((Kind::Removed, Some("0A")), (Kind::Expired, Some("0B")), Kind::Expired),
            ((Kind::Removed, Some("0B")), (Kind::Expired, Some("0A")), Kind::Removed),
            ((Kind::Removed, None), (Kind::Expired, Some("0A")), Kind::Expired),
        ] {
            let mut all = waiting();
            for (kind, number) in [first, second] {
                all.add(told(kind, number), Receipt::default(), Timestamp::UNIX_EPOCH);
            }
            assert_eq!(take(&mut all, Instant::now()), Some(("k".into(), kind)), "{first:?} {second:?}");
        }
        let mut all = waiting();
        for kind in [Kind::Attributes, Kind::Written, Kind::Attributes] {
            add(&mut all, "k", kind, 5);
        }
        assert_eq!(take(&mut all, Instant::now()), Some(("k".into(), Kind::Written)));
    }

    #[test]
    fn c16_there_is_room_for_so_many_keys_and_no_more() {
        let mut all = waiting();
        for n in 0..10 {
            assert_eq!(add(&mut all, &format!("k{n:02}"), Kind::Written, 5), Added::Waits);
        }
        assert_eq!(add(&mut all, "one", Kind::Written, 5), Added::NoRoom);
        assert_eq!(add(&mut all, "k03", Kind::Removed, 5), Added::Waits, "it is there already");
        let job = all.take(Instant::now()).unwrap();
        all.done(&job.key);
        assert_eq!(add(&mut all, "one", Kind::Written, 5), Added::Waits);
    }
}
