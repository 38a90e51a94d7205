//! What a catalog is made of: plain data.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde::Serialize;

use super::gtid::Gtids;
use crate::{
    backup::window::Basis,
    store::{ETag, Listed},
};

/// One object, under the name that its tool gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// Relative to the set's prefix.
    pub key: String,
    /// Where it lies, relative to the prefix, when that is elsewhere (a kept generation).
    pub stored_as: Option<String>,
    pub size: u64,
    /// Its tool's: the source's own, also for a copy.
    #[serde(serialize_with = "tag")]
    pub etag: ETag,
    /// The tag that it bears where it lies, when that is another one.
    #[serde(skip)]
    pub stored_etag: Option<ETag>,
    /// When the tool wrote it: the source's time, also for a copy.
    pub modified: Timestamp,
}

impl Object {
    /// An object that lies where it is called, listed under `prefix`.
    #[must_use]
    pub fn listed(listed: &Listed, prefix: &str) -> Self {
        Self {
            key: listed.key.strip_prefix(prefix).unwrap_or(&listed.key).to_owned(),
            stored_as: None,
            size: listed.size,
            etag: listed.etag.clone(),
            stored_etag: None,
            modified: listed.modified,
        }
    }

    /// The key to read it from, relative to the prefix.
    #[must_use]
    pub fn location(&self) -> &str {
        self.stored_as.as_deref().unwrap_or(&self.key)
    }

    /// The tag that it bears where it lies; `None` where nobody noted one.
    #[must_use]
    pub fn tag(&self) -> Option<&ETag> {
        Some(self.stored_etag.as_ref().unwrap_or(&self.etag)).filter(|tag| !tag.0.is_empty())
    }
}

/// Everything that a set of backups holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Catalog {
    pub basis: Basis,
    pub continuity: Continuity,
    /// By the moment that they hold, oldest first.
    pub bases: Vec<Base>,
    /// By stream, then in log order.
    pub segments: Vec<Segment>,
    /// Logs that can't be read: encrypted, packed in an unknown way, or damaged. They are kept, and
    /// vouch for nothing.
    pub opaque: Vec<Object>,
    /// Files that their tool rewrites in place.
    pub rewritten: Vec<String>,
    pub unknown: Unknown,
    pub warnings: Vec<Warning>,
}

impl Catalog {
    pub(crate) fn new(basis: Basis, continuity: Continuity) -> Self {
        Self {
            basis,
            continuity,
            bases: Vec::new(),
            segments: Vec::new(),
            opaque: Vec::new(),
            rewritten: Vec::new(),
            unknown: Unknown::default(),
            warnings: Vec::new(),
        }
    }

    /// A set that holds nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(Basis::Proved, Continuity::Assumed)
    }

    pub(crate) fn sort(&mut self) {
        self.bases.sort_by(|a, b| (a.consistent_at, &a.id).cmp(&(b.consistent_at, &b.id)));
        self.segments.sort_by(|a, b| {
            (&a.stream, a.from, &a.branch, a.number).cmp(&(&b.stream, b.from, &b.branch, b.number))
        });
    }

    /// The base with an id.
    #[must_use]
    pub fn base(&self, id: &str) -> Option<&Base> {
        self.bases.iter().find(|base| base.id == id)
    }

    /// Both sets as one: what `other` has and `self` lacks is added. Where both have a base, a whole
    /// one wins; where both have a log, `self`'s.
    pub fn join(&mut self, other: &Self) {
        let mut at: HashMap<&str, usize> = HashMap::new();
        let ids: Vec<String> = self.bases.iter().map(|base| base.id.clone()).collect();
        for (index, id) in ids.iter().enumerate() {
            at.insert(id, index);
        }
        for base in &other.bases {
            match at.get(base.id.as_str()) {
                Some(&index) if base.complete && !self.bases[index].complete => {
                    self.bases[index] = base.clone();
                }
                Some(_) => {}
                None => self.bases.push(base.clone()),
            }
        }
        let known: HashSet<(&str, &ETag)> = self.segments.iter().map(Segment::content).collect();
        let fresh: Vec<Segment> =
            other.segments.iter().filter(|segment| !known.contains(&segment.content())).cloned().collect();
        self.segments.extend(fresh);
        self.sort();
    }
}

/// How one log is known to go on where another ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Continuity {
    /// Binlogs: the next number, and the GTIDs before it are those after its predecessor.
    Binlog,
    /// Slices of an oplog: the next begins no later than the last ended.
    Overlap,
    /// Logs of SQL Server: the next begins no later than the last ended, in the same line of recoveries.
    Lsn,
    /// Binlogs of several servers with one set of GTIDs: the next needs no more than what the run holds.
    Gtids,
    /// PostgreSQL's log: the next begins where the last one ends, on its timeline or on one that left it
    /// there.
    Wal,
    /// Nothing says; taken to go on.
    Assumed,
}

/// One backup that a restore can begin from, or that goes on top of its parent.
#[allow(clippy::struct_excessive_bools, reason = "facts that have nothing to do with one another")]
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own: any of them may go with any other"
)]
pub struct Base {
    pub id: String,
    pub scope: Scope,
    pub kind: BaseKind,
    /// The backup that this one goes on top of.
    pub parent: Option<String>,
    /// It goes on top of a backup that can't be told.
    pub orphan: bool,
    pub keys: Keys,
    pub bytes: u64,
    pub objects: u64,
    pub start: Timestamp,
    /// The moment that a restore of it alone shows.
    pub consistent_at: Timestamp,
    pub position: Position,
    /// Logs that must be replayed from `position`, one stream each.
    pub streams: Vec<String>,
    /// Alone it shows no moment: it was taken while the database was written, and only logs up to
    /// `consistent_at` make it whole.
    pub fuzzy: bool,
    /// Every object of it is there (its parents not counted).
    pub complete: bool,
    /// Marked by its tool to be kept for ever.
    pub permanent: bool,
}

/// What a base is of, where a set has databases that are restored side by side: a moment needs a base of
/// each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// Empty: the whole instance.
    pub name: String,
    /// Kept with the set, and no moment depends on it.
    pub aside: bool,
    /// Moments up to this one do without it: it was not there yet.
    pub born: Option<Timestamp>,
}

/// Full, or on top of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum BaseKind {
    Full,
    Incremental,
}

/// Objects of a base, relative to the set's prefix, in copy order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    pub payload: Vec<Span>,
    pub metadata: Vec<String>,
    pub commit: Option<String>,
}

/// Payload: one object, or all under a prefix (a base may have more objects than memory holds).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Span {
    One(String),
    Under(String),
}

/// One log file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    pub stream: String,
    /// Within a stream, files of one branch are numbered: a server's binlogs.
    pub branch: String,
    pub number: u64,
    /// As the tool would call it, without path and packing.
    pub name: String,
    #[serde(flatten)]
    pub object: Object,
    pub from: Timestamp,
    /// The greatest moment to which this file, with all before it, is the whole truth.
    pub to: Timestamp,
    pub start: Mark,
    pub end: Mark,
    /// Not closed by its server, or not looked at to its end.
    pub open: bool,
    /// Closed by a server that shut down: another server's log may go on from here.
    pub stopped: bool,
    /// It can be replayed as a whole only: no moment between its beginning and its end can be chosen.
    pub indivisible: bool,
}

impl Segment {
    /// Name and content: what tells this file from every other.
    #[must_use]
    pub fn content(&self) -> (&str, &ETag) {
        (&self.object.key, &self.object.etag)
    }
}

/// A place in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Mark {
    Unknown,
    Gtids(#[serde(serialize_with = "as_text")] Gtids),
    /// Seconds, and the increment within.
    Oplog(u32, u32),
    /// A log sequence number of SQL Server, and the line of recoveries that it counts in.
    Lsn {
        #[serde(serialize_with = "as_text")]
        lsn: u128,
        fork: String,
    },
    /// Timeline, and the byte in PostgreSQL's log.
    Wal(u32, u64),
}

/// Among `segments` that go on from one another, the place of the one that `start` lies in on `timeline`,
/// and of the one that `stop` is the end of, or lies in.
pub(crate) fn wal_reaches<'a>(
    segments: impl Iterator<Item = &'a Segment>,
    timeline: u32,
    start: u64,
    stop: u64,
) -> Option<(usize, usize)> {
    let (mut first, mut last) = (None, None);
    for (at, segment) in segments.enumerate() {
        if segment.holds_wal(timeline, start) {
            first = Some(at);
        }
        if segment.holds_wal(timeline, stop.saturating_sub(1).max(start)) {
            last = Some(at);
        }
    }
    Some((first?, last?))
}

impl Segment {
    /// True when the byte of a timeline lies in this segment: its own, or the one that it left here.
    fn holds_wal(&self, timeline: u32, lsn: u64) -> bool {
        let (Mark::Wal(own, end), start) = (&self.end, &self.start) else { return false };
        let left = matches!(start, Mark::Wal(parent, _) if *parent == timeline);
        (*own == timeline || left) && (self.number..*end).contains(&lsn)
    }
}

fn tag<S: serde::Serializer>(etag: &ETag, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&etag.0)
}

fn as_text<S: serde::Serializer>(of: &impl std::fmt::Display, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(of)
}

/// Where replay on top of a base begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Position {
    /// A binlog by name, GTIDs where they are known.
    Binlog {
        file: Option<String>,
        #[serde(skip)]
        gtids: Option<Gtids>,
    },
    Oplog(u32, u32),
    /// The last log sequence number that the base holds.
    Lsn {
        #[serde(serialize_with = "as_text")]
        lsn: u128,
        fork: String,
    },
    /// PostgreSQL's log from `start` to `stop`: without all of it the base can't be restored at all.
    Wal {
        timeline: u32,
        start: u64,
        stop: u64,
    },
    /// Not recorded: the log that was being written at this moment, or any later one, will do.
    Time(Timestamp),
    /// There are no logs.
    None,
}

/// Objects that belong to no backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unknown {
    pub objects: u64,
    pub bytes: u64,
    pub example: Option<String>,
}

impl Unknown {
    pub(crate) fn add(&mut self, key: &str, size: u64) {
        self.objects += 1;
        self.bytes += size;
        self.example.get_or_insert_with(|| key.to_owned());
    }
}

/// Something a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    pub reason: &'static str,
    /// Names the object and the next step.
    pub message: String,
    /// Last write to what is not finished: somebody may be at it still. `None`: time mends nothing.
    #[serde(skip)]
    pub written: Option<Timestamp>,
}

impl Warning {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), written: None }
    }

    /// A backup that is not finished, by what is `missing`, and was last written to at a moment.
    pub(crate) fn unfinished(path: &str, missing: &str, written: Option<Timestamp>) -> Self {
        let at = written.map(|at| format!(", its newest file is of {at}")).unwrap_or_default();
        let message = format!(
            "backup {path} is left out: {missing}{at}; if nobody is writing it any more, delete it at the source"
        );
        Self { written, ..Self::new("BackupIncomplete", message) }
    }
}
