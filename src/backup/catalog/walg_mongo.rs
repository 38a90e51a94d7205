//! WAL-G's layout for MongoDB.
//!
//! ```text
//! basebackups_005/…                                   bases and their sentinels
//! oplog_005/oplog_<from>.<n>_<to>.<n>.<packing>       entries after `from`, up to and with `to`
//! oplog_005/gap_<from>.<n>_<to>.<n>.<packing>         a hole that WAL-G knows of
//! ```
//!
//! Names of slices say all; no slice is opened. Several writers may overlap, and two slices may end at one
//! place. A logical base is a dump taken while the database is written: it shows no moment without the
//! oplog from `Before.LastMajTS` to `After.LastMajTS`.

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Adapter, Answers, Base, BaseKind, Catalog, Continuity, Object, Position, Role, Scan, Scope, Unknown,
    basebackups::{Basebackups, Sentineled},
    oplog::{second, segment},
};
use crate::backup::window::Basis;

const LOGS: &str = "oplog_005/";
/// The one replica set's oplog: WAL-G writes each shard to a prefix of its own.
const STREAM: &str = "";

#[derive(Default)]
pub(super) struct WalGMongo {
    bases: Basebackups,
    slices: Vec<(Slice, Object)>,
    /// Holes that WAL-G marked: kept with the set, and nothing goes on over them.
    holes: Vec<Object>,
    unknown: Unknown,
}

#[derive(Clone, Copy)]
struct Slice {
    hole: bool,
    from: (u32, u32),
    to: (u32, u32),
}

/// What is read of a sentinel; see WAL-G's `models.Backup`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sentinel {
    #[serde(default)]
    backup_type: String,
    start_local_time: Timestamp,
    mongo_meta: Meta,
    #[serde(default)]
    permanent: bool,
    #[serde(default)]
    data_size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    before: Node,
    after: Node,
    /// Of a binary base: the moment that its files hold.
    #[serde(rename = "BackupLastTS")]
    last: Option<OplogTime>,
}

#[derive(Deserialize)]
struct Node {
    #[serde(rename = "LastMajTS")]
    majority: OplogTime,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
struct OplogTime {
    #[serde(rename = "TS", default)]
    seconds: u32,
    #[serde(rename = "Inc", default)]
    increment: u32,
}

/// `oplog_1795132780.1_1795132840.1.br`
fn parse(key: &str) -> Option<Slice> {
    let file = key.strip_prefix(LOGS)?;
    let (kind, rest) = file.split_once('_')?;
    let hole = match kind {
        "oplog" => false,
        "gap" => true,
        _ => return None,
    };
    let (from, rest) = rest.split_once('_')?;
    let (seconds, rest) = rest.split_once('.')?;
    let (increment, packing) = rest.split_once('.')?;
    let from = from.split_once('.').and_then(|(s, i)| Some((s.parse().ok()?, i.parse().ok()?)))?;
    let to = (seconds.parse().ok()?, increment.parse().ok()?);
    (from <= to && !packing.is_empty()).then_some(Slice { hole, from, to })
}

/// The place in the oplog that a slice ends with, by its key.
#[must_use]
pub fn slice_end(key: &str) -> Option<(u32, u32)> {
    parse(key).map(|slice| slice.to)
}

impl Adapter for WalGMongo {
    fn role(&self, key: &str) -> Role {
        match Basebackups::role(key) {
            Some(role) => role,
            None if parse(key).is_some() => Role::Log,
            None => Role::Unknown,
        }
    }

    fn see(&mut self, object: &Object) {
        if self.bases.see(object) {
            return;
        }
        match parse(&object.key) {
            Some(slice) if slice.hole => self.holes.push(object.clone()),
            Some(slice) => self.slices.push((slice, object.clone())),
            None => self.unknown.add(&object.key, object.size),
        }
    }

    fn lost(&mut self, key: &str) {
        self.bases.lost(key);
    }

    fn scan(&mut self, answers: &Answers) -> Scan {
        let wants = self.bases.wants(answers);
        if !wants.is_empty() {
            return Scan::Need(wants);
        }
        let mut catalog = Catalog::new(Basis::Proved, Continuity::Overlap);
        catalog.segments = self
            .slices
            .iter()
            .map(|(slice, object)| segment(STREAM, (slice.from, slice.to), object))
            .collect();
        let read = self.bases.read(answers, &mut catalog.warnings, |of: &Sentinel| of.data_size);
        catalog.bases = read.into_iter().map(base).collect();
        catalog.opaque.clone_from(&self.holes);
        catalog.unknown = self.unknown.clone();
        catalog.sort();
        Scan::Done(catalog)
    }
}

fn base(read: Sentineled<Sentinel>) -> Base {
    let sentinel = read.sentinel;
    let meta = &sentinel.mongo_meta;
    let binary = sentinel.backup_type == "binary";
    // The files of a binary base hold a moment; a dump begins to be read at one and ends at another.
    let (position, consistent) = match meta.last {
        Some(last) if binary && last != OplogTime::default() => (last, last),
        _ => (meta.before.majority, meta.after.majority),
    };
    Base {
        id: read.id,
        scope: Scope::default(),
        kind: BaseKind::Full,
        parent: None,
        orphan: false,
        keys: read.keys,
        bytes: read.bytes,
        objects: read.objects,
        start: sentinel.start_local_time,
        consistent_at: second(consistent.seconds),
        position: Position::Oplog(position.seconds, position.increment),
        streams: vec![STREAM.to_owned()],
        fuzzy: position != consistent,
        complete: read.complete,
        permanent: sentinel.permanent,
    }
}
