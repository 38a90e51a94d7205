//! What a sweep has seen and done.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::super::{Attribute, Complete, Copied, Difference, Error, Left, LeftOut, Result, Settled, Skipped};
use crate::store::Side;

/// Objects of a kind that are named; the others are counted.
const NAMED: usize = 10;
/// As many of those that could be neither copied nor deleted: each of them is somebody's work.
const NAMED_FAILURES: usize = 1000;

/// Objects and bytes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Objects listed at the source, and at the target.
    pub source: u64,
    pub target: u64,
    /// Bytes of those at the source.
    pub source_bytes: u64,
    /// Of the same key, size and ETag on both sides; or copied as they are, though the `ETag`s differ.
    pub alike: u64,
    /// At the source only.
    pub missing: u64,
    /// On both sides, unlike.
    pub unlike: u64,
    /// At the target only.
    pub extra: u64,
    /// Bytes of what is missing or unlike, by the listing.
    pub bytes: u64,
    /// Objects and bytes that were copied.
    pub copied: u64,
    pub copied_bytes: u64,
    /// Bytes sent, repeated ones included.
    pub sent: u64,
    pub deleted: u64,
    /// Objects that were listed and then went, or came back: nothing was to be done any more.
    pub overtaken: u64,
    /// Copied, and equal in all but the ETag: its parts can't be made again, or a side's tags are no MD5s.
    pub other_etag: u64,
    /// Copied, but for something that the target could not be given.
    pub inexact: u64,
    /// Alike, but for attributes; and those of them that were brought in line.
    pub unlike_attributes: u64,
    pub aligned: u64,
    /// What the target holds is to stay: of two buckets that are both written, the opposite direction brings it
    /// to the source.
    pub theirs: u64,
    /// Left where they are: archived.
    pub skipped: u64,
    /// Differences left as they are: the source has not changed since before.
    pub left: u64,
    /// Objects that the source's own lifecycle has let go, and that stay at the target: no extras.
    pub expired_at_source: u64,
    /// Objects that the target's own lifecycle has let go, and that are not written back: not missing.
    pub expired_at_target: u64,
    /// Objects that could be neither copied nor deleted.
    pub failed: u64,
    /// Objects that were not deleted, since they are more than may be.
    pub held: u64,
    /// Time that the comparison waited for listings.
    pub listing: Duration,
}

/// An object that could be neither copied nor deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub key: String,
    /// The one word used in conditions, Events and metrics alike.
    pub reason: &'static str,
    /// What happened, and the next step.
    pub message: String,
}

/// The first of each kind, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examples {
    pub missing: Vec<String>,
    pub unlike: Vec<String>,
    pub extra: Vec<String>,
    pub other_etag: Vec<String>,
    /// With the attributes that differ.
    pub unlike_attributes: Vec<(String, Vec<Attribute>)>,
    /// With what they lack.
    pub inexact: Vec<(String, LeftOut)>,
    pub skipped: Vec<String>,
    pub failed: Vec<Failure>,
}

/// How a sweep ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub counts: Counts,
    pub examples: Examples,
}

impl Report {
    /// True if both sides held the same objects when they were listed.
    #[must_use]
    pub fn were_equal(&self) -> bool {
        let Counts { missing, unlike, extra, unlike_attributes, .. } = self.counts;
        missing + unlike + extra + unlike_attributes == 0
    }

    /// True if the target now holds all that the source held, and, where extras were to go, no more.
    #[must_use]
    pub fn agrees(&self, mirrored: bool) -> bool {
        self.counts.is_settled(mirrored) && self.counts.skipped == 0
    }
}

impl Counts {
    /// True if every difference was dealt with or is left as it is for good, extras too where they were to go.
    #[must_use]
    pub fn is_settled(&self, mirrored: bool) -> bool {
        let Self { missing, unlike, copied, extra, deleted, overtaken, theirs, skipped, failed, .. } = self;
        let settled = copied + deleted + overtaken + theirs + skipped;
        *failed == 0
            && self.aligned == self.unlike_attributes
            && settled == missing + unlike + if mirrored { *extra } else { 0 }
    }
}

impl Counts {
    fn expired(&mut self, lacking: Side) -> &mut u64 {
        match lacking {
            Side::Source => &mut self.expired_at_source,
            Side::Target => &mut self.expired_at_target,
        }
    }
}

/// Counts that many tasks move.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Mutex<Counts>,
    examples: Mutex<Examples>,
    sent: AtomicU64,
}

impl Tally {
    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = self.change(|counts| *counts);
        counts.sent = self.sent.load(Relaxed);
        counts
    }

    /// The counts so far, with examples.
    #[must_use]
    pub fn report(&self) -> Report {
        let examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Report { counts: self.counts(), examples }
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Relaxed);
    }

    pub(super) fn differs(&self, difference: &Difference) {
        let (key, size) = match difference {
            Difference::Missing(source) | Difference::Unlike { source, .. } => (&source.key, source.size),
        };
        let missing = matches!(difference, Difference::Missing(_));
        self.change(|counts| {
            counts.bytes += size;
            *if missing { &mut counts.missing } else { &mut counts.unlike } += 1;
        });
        self.name(
            |examples| if missing { &mut examples.missing } else { &mut examples.unlike },
            || key.clone(),
        );
    }

    pub(super) fn compared(&self, complete: &Complete) {
        self.change(|counts| {
            counts.source += complete.source;
            counts.source_bytes += complete.source_bytes;
            counts.target += complete.target;
            counts.alike += complete.alike;
            counts.extra += complete.extras.len() as u64 + complete.more_extras;
            counts.expired_at_source += complete.left;
        });
        for extra in complete.extras.iter().take(NAMED) {
            self.name(|examples| &mut examples.extra, || extra.key.clone());
        }
    }

    pub(super) fn settled(&self, key: &str, settled: Result<Settled>) {
        match settled {
            Ok(Settled::Copied(copied)) => self.copied(key, &copied),
            Ok(Settled::Deleted) => self.change(|counts| counts.deleted += 1),
            Ok(Settled::Overtaken | Settled::Gone) => self.change(|counts| counts.overtaken += 1),
            Ok(Settled::Theirs) => self.theirs(1),
            Ok(Settled::Skipped(Skipped::Archived)) => self.skipped(key),
            Ok(Settled::Left(Left::Expired(side))) => self.left_for_good(side),
            Err(error) => self.failed(key, &error),
        }
    }

    fn copied(&self, key: &str, copied: &Copied) {
        let exact = copied.source_etag == copied.target_etag;
        self.change(|counts| {
            counts.copied += 1;
            counts.copied_bytes += copied.size;
            counts.other_etag += u64::from(!exact);
        });
        self.lacks(key, &copied.left_out);
        if !exact {
            self.name(|examples| &mut examples.other_etag, || key.to_owned());
        }
    }

    /// Some of each attribute are named.
    fn lacks(&self, key: &str, left_out: &[LeftOut]) {
        self.change(|counts| counts.inexact += u64::from(!left_out.is_empty()));
        let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        for lacks in left_out {
            let alike = examples.inexact.iter().filter(|(_, other)| other.attribute == lacks.attribute);
            if alike.count() < NAMED {
                examples.inexact.push((key.to_owned(), lacks.clone()));
            }
        }
    }

    pub(super) fn unlike_in(&self, key: &str, differences: Vec<Attribute>) {
        self.change(|counts| counts.unlike_attributes += 1);
        if !differences.is_empty() {
            self.name(|examples| &mut examples.unlike_attributes, || (key.to_owned(), differences));
        }
    }

    pub(super) fn aligned(&self, key: &str, left_out: &[LeftOut]) {
        self.change(|counts| counts.aligned += 1);
        self.lacks(key, left_out);
    }

    /// Objects that the lifecycle of the side that lacks them has let go.
    pub(super) fn expired(&self, side: Side, objects: u64) {
        self.change(|counts| *counts.expired(side) += objects);
    }

    /// One that was counted as a difference before that was known.
    fn left_for_good(&self, side: Side) {
        self.change(|counts| {
            let differences = if side == Side::Target { &mut counts.missing } else { &mut counts.extra };
            *differences = differences.saturating_sub(1);
            *counts.expired(side) += 1;
        });
    }

    pub(super) fn held(&self, deletes: u64) {
        self.change(|counts| counts.held = deletes);
    }

    pub(super) fn theirs(&self, objects: u64) {
        self.change(|counts| counts.theirs += objects);
    }

    pub(super) fn listed(&self, took: Duration) {
        self.change(|counts| counts.listing += took);
    }

    /// A pair that differs in nothing but the ETag, as the copy of it did.
    pub(super) fn same(&self) {
        self.change(|counts| counts.alike += 1);
    }

    pub(super) fn left(&self) {
        self.change(|counts| counts.left += 1);
    }

    fn skipped(&self, key: &str) {
        self.change(|counts| counts.skipped += 1);
        self.name(|examples| &mut examples.skipped, || key.to_owned());
    }

    fn failed(&self, key: &str, error: &Error) {
        self.change(|counts| counts.failed += 1);
        let failure = || Failure { key: key.to_owned(), reason: error.reason(), message: error.to_string() };
        self.name_up_to(NAMED_FAILURES, |examples| &mut examples.failed, failure);
    }

    fn change<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn name<T>(&self, kind: impl FnOnce(&mut Examples) -> &mut Vec<T>, example: impl FnOnce() -> T) {
        self.name_up_to(NAMED, kind, example);
    }

    fn name_up_to<T>(
        &self,
        most: usize,
        kind: impl FnOnce(&mut Examples) -> &mut Vec<T>,
        example: impl FnOnce() -> T,
    ) {
        let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kind(&mut examples);
        if kind.len() < most {
            kind.push(example());
        }
    }
}
