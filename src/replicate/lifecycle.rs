//! What a bucket's own lifecycle lets go (`C10`): pure.
//!
//! Nobody tells why an object is gone. Where a rule of its bucket explains it, the rule is believed: the other
//! bucket keeps its copy, and the object is not written back, until it changes at the other side.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use crate::store::{Expires, LifecycleFilter, LifecycleRule, Listed, Side, Tags};

/// How much earlier than expected an object may go: clocks differ, and listings round.
const SLACK: SignedDuration = SignedDuration::from_mins(15);
/// Longest that a change is on its way, once what was there before is over.
const LAG: SignedDuration = SignedDuration::from_hours(1);
/// Copies of a migration are made until this long after the beginning of the comparison that ended it.
const SETTLING: SignedDuration = SignedDuration::from_hours(24);
const SECOND: SignedDuration = SignedDuration::from_secs(1);
const DAY: i64 = 24 * 60 * 60;
/// Rules that are there no more and are remembered: the last of them.
const GONE: usize = 32;
/// Most answers that are remembered: sixteen megabytes. Of the others the stores are asked again each time.
const MOST: usize = 1 << 20;

/// Whether a lifecycle explains that an object is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    No,
    Yes,
    /// What was listed does not tell: its tags do, or its versions.
    Ask,
}

/// An object that was there.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    pub key: &'a str,
    /// Bytes.
    pub size: u64,
    /// It was written then or later, by its store's clock; `None`: nobody knows.
    pub written: Option<Timestamp>,
    /// It was gone then, by the same clock.
    pub gone: Timestamp,
}

/// A rule, and how long it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub rule: LifecycleRule,
    /// When it was found to be there no more: what it let go until then stays explained. `None`: it is there.
    pub until: Option<Timestamp>,
}

/// The rules of one bucket, those too that it has no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle(Vec<Seen>);

impl Lifecycle {
    /// Rules that were seen.
    #[must_use]
    pub fn new(seen: Vec<Seen>) -> Self {
        Self(seen)
    }

    /// What is known after the rules were read, those first that are there; whatever was known before and is
    /// not among them is there no more.
    #[must_use]
    pub fn updated(&self, found: Vec<LifecycleRule>, now: Timestamp) -> Self {
        let says_the_same =
            |a: &LifecycleRule, b: &LifecycleRule| a.filter == b.filter && a.expires == b.expires;
        let gone = self.0.iter().filter(|seen| !found.iter().any(|rule| says_the_same(rule, &seen.rule)));
        let gone = gone.map(|seen| Seen { until: seen.until.or(Some(now)), ..seen.clone() });
        let mut gone: Vec<_> = gone.collect();
        gone.sort_by_key(|seen| std::cmp::Reverse(seen.until));
        gone.truncate(GONE);
        Self(found.into_iter().map(|rule| Seen { rule, until: None }).chain(gone).collect())
    }

    /// The rules, those first that are there.
    #[must_use]
    pub fn seen(&self) -> &[Seen] {
        &self.0
    }

    /// The same rules, about keys without a prefix that all of them have.
    #[must_use]
    pub fn under(&self, prefix: &str) -> Self {
        let rebased = |seen: &Seen| {
            let of = &seen.rule.filter.prefix;
            // A rule about more than what is under the prefix is about all of that.
            let rest = of.strip_prefix(prefix).or_else(|| prefix.starts_with(of.as_str()).then_some(""))?;
            let mut seen = seen.clone();
            rest.clone_into(&mut seen.rule.filter.prefix);
            Some(seen)
        };
        Self(self.0.iter().filter_map(rebased).collect())
    }

    /// True where objects stay until somebody deletes them, and always did.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a rule explains it, whatever tags the object had: then [`Answer::Ask`] for them.
    #[must_use]
    pub fn explains(&self, past: &Past<'_>) -> Answer {
        let mut answer = Answer::No;
        for seen in self.0.iter().filter(|seen| may_explain(seen, past)) {
            if seen.rule.filter.tags.is_empty() {
                return Answer::Yes;
            }
            answer = Answer::Ask;
        }
        answer
    }

    /// Whether a rule explains it of an object with these tags; `None`: nobody can tell them any more, so that
    /// no rule that asks for some does.
    #[must_use]
    pub fn explains_tagged(&self, past: &Past<'_>, tags: Option<&Tags>) -> bool {
        let has = |(name, value): (&String, &String)| tags.is_some_and(|tags| tags.get(name) == Some(value));
        self.0.iter().any(|seen| may_explain(seen, past) && seen.rule.filter.tags.iter().all(has))
    }
}

fn may_explain(Seen { rule, until }: &Seen, past: &Past<'_>) -> bool {
    let LifecycleFilter { prefix, tags: _, larger_than, smaller_than } = &rule.filter;
    let gone = past.gone.saturating_add(SLACK).unwrap_or(past.gone);
    let gone = until.map_or(gone, |until| until.min(gone));
    past.key.starts_with(prefix.as_str())
        && larger_than.is_none_or(|bytes| past.size > bytes)
        && smaller_than.is_none_or(|bytes| past.size < bytes)
        && due(rule.expires, past.written).is_none_or(|due| due <= gone)
}

/// From when on an object may be gone; `None`: from any moment on.
fn due(expires: Expires, written: Option<Timestamp>) -> Option<Timestamp> {
    match (expires, written) {
        (Expires::On(day), _) => Some(day),
        (Expires::After { .. }, None) => None,
        (Expires::After { days }, Some(written)) => {
            let second = written.as_second().saturating_add(i64::from(days) * DAY);
            let midnight = second.div_euclid(DAY).saturating_add(i64::from(second.rem_euclid(DAY) > 0));
            Some(Timestamp::from_second(midnight.saturating_mul(DAY)).unwrap_or(Timestamp::MAX))
        }
    }
}

/// One side of a pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    pub lifecycle: Lifecycle,
    /// It keeps versions: they tell when an object was written, and when it went.
    pub versioned: bool,
    /// How far its clock is ahead of ours.
    pub ahead: SignedDuration,
}

/// What is known about both buckets of a pair. Keys are without the sides' prefixes, and so are those that the rules
/// are about: [`Lifecycle::under`].
#[derive(Debug, Default)]
pub struct Expiry {
    pub source: Bucket,
    pub target: Bucket,
    /// Up to when every change of the source was at the target: an object that was written before has been there.
    pub synced_until: Option<Timestamp>,
    /// The beginning of the comparison with which the migration was over: copies that were made long before it
    /// are of objects that are older by nobody knows how much.
    pub migrated_at: Option<Timestamp>,
    /// Copies bear the time of their original.
    pub keeps_times: bool,
    pub(super) asked: Asked,
}

/// When an object was written and went, as its bucket's versions tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// `None`: the version is gone as well.
    pub written: Option<Timestamp>,
    pub gone: Timestamp,
}

impl Expiry {
    /// Whether the source's own lifecycle explains that it has no longer what the target has.
    #[must_use]
    pub fn at_source(&self, extra: &Listed, now: Timestamp) -> Answer {
        if self.source.lifecycle.is_empty() {
            return Answer::No;
        }
        if let Some(answer) = self.asked.answer(Side::Source, extra) {
            return answer;
        }
        match self.source.lifecycle.explains(&self.past_at_source(extra, None, now)) {
            Answer::Yes if self.source.versioned => Answer::Ask,
            answer => answer,
        }
    }

    /// What is known of the original of an object that only the target has.
    #[must_use]
    pub fn past_at_source<'a>(&self, extra: &'a Listed, trace: Option<Trace>, now: Timestamp) -> Past<'a> {
        let written = trace.and_then(|trace| trace.written).or_else(|| self.original_of(extra));
        let gone = trace.map_or(by_clock(now, self.source.ahead), |trace| trace.gone);
        Past { key: &extra.key, size: extra.size, written, gone }
    }

    /// When the original of a copy was written, at the earliest.
    fn original_of(&self, copy: &Listed) -> Option<Timestamp> {
        if self.keeps_times {
            return Some(copy.modified);
        }
        let after = self.migrated_at?.saturating_add(SETTLING).ok()?;
        (copy.modified > after).then(|| copy.modified.saturating_sub(LAG).unwrap_or(Timestamp::MIN))
    }

    /// Whether the target's own lifecycle explains that it has no longer what the source has.
    #[must_use]
    pub fn at_target(&self, missing: &Listed, now: Timestamp) -> Answer {
        if self.target.lifecycle.is_empty() {
            return Answer::No;
        }
        if let Some(answer) = self.asked.answer(Side::Target, missing) {
            return answer;
        }
        let was_there = self.was_there(missing);
        match self.target.lifecycle.explains(&self.past_at_target(missing, None, now)) {
            Answer::No => Answer::No,
            answer if was_there => answer,
            // A marker may tell that it was there.
            _ if self.target.versioned => Answer::Ask,
            _ => Answer::No,
        }
    }

    /// True for an object that has not changed since all of the source was at the target.
    #[must_use]
    pub fn was_there(&self, missing: &Listed) -> bool {
        self.synced_until.is_some_and(|until| written_by(missing) <= until)
    }

    /// What is known of the copy of an object that only the source has. A copy is at most as old as its original:
    /// what a rule says about the age of one is meant for the other.
    #[must_use]
    pub fn past_at_target<'a>(&self, missing: &'a Listed, trace: Option<Trace>, now: Timestamp) -> Past<'a> {
        let gone = trace.map_or(by_clock(now, self.target.ahead), |trace| trace.gone);
        Past { key: &missing.key, size: missing.size, written: Some(missing.modified), gone }
    }

    /// Remembers what the stores were asked about an object that is at the other side only.
    pub fn remember(&self, side: Side, other: &Listed, expired: bool) {
        if expired {
            self.asked.insert(side, other);
        }
    }

    /// The same, with what was remembered, where nothing is set otherwise than before.
    #[must_use]
    pub fn with_answers_of(self, earlier: &Self) -> Self {
        let same = |a: &Bucket, b: &Bucket| a.lifecycle == b.lifecycle && a.versioned == b.versioned;
        if same(&self.source, &earlier.source) && same(&self.target, &earlier.target) {
            let asked = std::mem::take(&mut *earlier.asked.0.lock().unwrap_or_else(PoisonError::into_inner));
            return Self { asked: Asked(Mutex::new(asked)), ..self };
        }
        self
    }
}

/// When an object had been written at the latest: many stores tell whole seconds.
#[must_use]
pub fn written_by(object: &Listed) -> Timestamp {
    let exact = object.modified.subsec_nanosecond() != 0;
    if exact { object.modified } else { object.modified.saturating_add(SECOND).unwrap_or(Timestamp::MAX) }
}

fn by_clock(now: Timestamp, ahead: SignedDuration) -> Timestamp {
    now.saturating_add(ahead).unwrap_or(now)
}

/// Objects that were found to be expired by asking.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<HashSet<u64>>);

impl Asked {
    fn answer(&self, side: Side, object: &Listed) -> Option<Answer> {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.contains(&hash(side, object)).then_some(Answer::Yes)
    }

    fn insert(&self, side: Side, object: &Listed) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() < MOST {
            asked.insert(hash(side, object));
        }
    }
}

fn hash(side: Side, object: &Listed) -> u64 {
    let mut hasher = DefaultHasher::new();
    (side == Side::Source, &object.key, &object.etag, object.modified).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
