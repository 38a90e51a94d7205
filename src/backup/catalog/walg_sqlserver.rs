//! WAL-G's layout for SQL Server.
//!
//! ```text
//! basebackups_005/base_<YYYYMMDDThhmmssZ>/<database>/blob_<n>/…   and its sentinel
//! wal_005/wal_<YYYYMMDDThhmmssZ>/<database>/blob_<n>/…            no sentinel
//! ```
//!
//! A name holds the time at which a log began to be written. A log has no file that says it is whole: it
//! counts once every block of its blobs is committed and there, and a later log of its database is there as
//! well. How logs go on from one another only their headers tell, and only SQL Server reads those, through
//! WAL-G: estimated.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::Deserialize;

use super::{
    Adapter, Answer, Answers, Base, BaseKind, Catalog, Continuity, Mark, Object, Position, Role, Scan, Scope,
    Segment, Unknown, Want, What,
    basebackups::{Basebackups, Sentineled},
};
use crate::backup::window::Basis;

const LOGS: &str = "wal_005/wal_";
const INDEX: &str = "__blob_index.json";
/// WAL-G takes no logs of these.
const SYSTEM: [&str; 3] = ["master", "model", "msdb"];

#[derive(Default)]
pub(super) struct WalGSqlServer {
    bases: Basebackups,
    /// By database and time, then by blob.
    logs: BTreeMap<(String, Timestamp), BTreeMap<String, Blob>>,
    unknown: Unknown,
}

#[derive(Default)]
struct Blob {
    index: Option<Object>,
    blocks: Vec<Object>,
    lost: bool,
}

/// What is read of a sentinel; see WAL-G's `SentinelDto`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sentinel {
    databases: Vec<String>,
    start_local_time: Timestamp,
    stop_local_time: Option<Timestamp>,
}

struct Name<'a> {
    time: Timestamp,
    database: &'a str,
    blob: &'a str,
    file: &'a str,
}

fn parse(key: &str) -> Option<Name<'_>> {
    let mut parts = key.strip_prefix(LOGS)?.splitn(4, '/');
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", parts.next()?).ok()?;
    let time = time.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(Name { time, database: parts.next()?, blob: parts.next()?, file: parts.next()? })
}

impl Adapter for WalGSqlServer {
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
        let Some(name) = parse(&object.key) else {
            return self.unknown.add(&object.key, object.size);
        };
        let file = name.file.to_owned();
        let blob = self.blob(&name);
        if file == INDEX {
            blob.index = Some(object.clone());
        } else {
            blob.blocks.push(object.clone());
        }
    }

    fn lost(&mut self, key: &str) {
        self.bases.lost(key);
        if let Some(name) = parse(key) {
            self.blob(&name).lost = true;
        }
    }

    fn scan(&mut self, answers: &Answers) -> Scan {
        let mut wants = self.bases.wants(answers);
        let indices = self.logs.values().flat_map(BTreeMap::values).filter_map(|blob| blob.index.as_ref());
        let indices = indices.filter(|index| answers.get(index, What::BlobIndex).is_none());
        wants.extend(indices.map(|index| Want { object: index.clone(), what: What::BlobIndex }));
        if !wants.is_empty() {
            return Scan::Need(wants);
        }
        let mut catalog = Catalog::new(Basis::Estimated, Continuity::Assumed);
        // A sentinel tells no size.
        let read = self.bases.read(answers, &mut catalog.warnings, |_: &Sentinel| 0);
        catalog.bases = read.into_iter().map(base).collect();
        let first = catalog.bases.iter().map(|base| base.start).min();
        catalog.segments = self.segments(answers, first);
        catalog.unknown = self.unknown.clone();
        catalog.sort();
        Scan::Done(catalog)
    }
}

impl WalGSqlServer {
    fn blob(&mut self, name: &Name) -> &mut Blob {
        let log = self.logs.entry((name.database.to_owned(), name.time)).or_default();
        log.entry(name.blob.to_owned()).or_default()
    }

    /// Logs that are whole, of each database up to the first that is not.
    fn segments(&self, answers: &Answers, first: Option<Timestamp>) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut logs = self.logs.iter().zip(0..).peekable();
        let (mut database, mut from, mut broken) = ("", None, false);
        while let Some((((name, time), blobs), number)) = logs.next() {
            if name != database {
                (database, from, broken) = (name, first, false);
            }
            let followed = logs.peek().is_some_and(|(((next, _), _), _)| next == name);
            broken |= !followed || !blobs.values().all(|blob| blob.whole(answers));
            if broken {
                continue;
            }
            let start = from.map_or(*time, |from: Timestamp| from.min(*time));
            for object in blobs.values().flat_map(Blob::objects) {
                segments.push(segment(name, number, object, (start, *time)));
            }
            from = Some(*time);
        }
        segments
    }
}

impl Blob {
    fn objects(&self) -> impl Iterator<Item = &Object> {
        self.blocks.iter().chain(&self.index)
    }

    fn whole(&self, answers: &Answers) -> bool {
        let index = self.index.as_ref().and_then(|index| answers.get(index, What::BlobIndex));
        matches!(index, Some(Answer::Blob(index)) if index.committed && self.blocks.len() as u64 >= index.blocks)
            && !self.lost
    }
}

fn segment(database: &str, number: u64, object: &Object, (from, to): (Timestamp, Timestamp)) -> Segment {
    Segment {
        stream: database.to_owned(),
        branch: String::new(),
        number,
        name: object.key.strip_prefix("wal_005/").unwrap_or(&object.key).to_owned(),
        object: object.clone(),
        from,
        to,
        start: Mark::Unknown,
        end: Mark::Unknown,
        open: false,
        stopped: false,
        indivisible: false,
    }
}

fn base(read: Sentineled<Sentinel>) -> Base {
    let sentinel = read.sentinel;
    let user = sentinel.databases.into_iter().filter(|name| !SYSTEM.contains(&name.as_str()));
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
        consistent_at: sentinel.stop_local_time.unwrap_or(sentinel.start_local_time),
        position: Position::Time(sentinel.start_local_time),
        streams: user.collect(),
        fuzzy: false,
        complete: read.complete,
        permanent: false,
    }
}
