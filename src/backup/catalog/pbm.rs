//! Percona Backup for MongoDB.
//!
//! ```text
//! <name>/…            payload; the name is the moment of its start
//! <name>.pbm.json     written last
//! pbmPitr/<replica set>/<day>/<from>-<n>.<to>-<n>.oplog[.s2|…]
//! .pbm.init           rewritten in place
//! ```
//!
//! Names of slices say all; no slice is opened. Selective and external backups hold less than the whole
//! and are left out.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::Deserialize;

use super::{
    Adapter, Answer, Answers, Base, BaseKind, Catalog, Continuity, Keys, Object, Part, Position, Role, Scan,
    Scope, Span, Unknown, Want, Warning, What,
    oplog::{second, segment},
};
use crate::backup::window::Basis;

const SLICES: &str = "pbmPitr/";
const METADATA: &str = ".pbm.json";

#[derive(Default)]
pub(super) struct Pbm {
    bases: BTreeMap<String, Found>,
    slices: Vec<(String, Slice, Object)>,
    rewritten: Vec<String>,
    unknown: Unknown,
}

#[derive(Default)]
struct Found {
    metadata: Option<Object>,
    objects: u64,
    bytes: u64,
    newest: Option<Timestamp>,
    /// Replica sets with at least one object.
    sets: Vec<String>,
    lost: bool,
}

#[derive(Clone, Copy)]
struct Slice {
    from: (u32, u32),
    to: (u32, u32),
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    src_backup: Option<String>,
    #[serde(default)]
    nss: Option<Vec<String>>,
    #[serde(default)]
    replsets: Vec<ReplicaSet>,
    status: String,
    #[serde(default)]
    start_ts: i64,
    first_write_ts: Option<OplogTime>,
    last_write_ts: OplogTime,
}

#[derive(Deserialize)]
struct ReplicaSet {
    name: String,
}

#[derive(Clone, Copy, Deserialize)]
struct OplogTime {
    #[serde(rename = "T")]
    seconds: u32,
    #[serde(rename = "I")]
    increment: u32,
}

enum Kind<'a> {
    Metadata(&'a str),
    Payload { id: &'a str, rest: &'a str },
    Slice { set: &'a str, slice: Slice },
    Init,
}

fn kind(key: &str) -> Option<Kind<'_>> {
    if key == ".pbm.init" {
        return Some(Kind::Init);
    }
    if let Some(rest) = key.strip_prefix(SLICES) {
        let (set, path) = rest.split_once('/')?;
        let file = path.rsplit('/').next()?;
        return Some(Kind::Slice { set, slice: parse_slice(file)? });
    }
    if let Some((id, rest)) = key.split_once('/') {
        return id.parse::<Timestamp>().is_ok().then_some(Kind::Payload { id, rest });
    }
    key.strip_suffix(METADATA).map(Kind::Metadata)
}

/// `20261120000430-3.20261120001430-1.oplog.s2`
fn parse_slice(file: &str) -> Option<Slice> {
    let mut parts = file.split('.');
    let from = parse_moment(parts.next()?)?;
    let to = parse_moment(parts.next()?)?;
    (parts.next()? == "oplog" && from <= to).then_some(Slice { from, to })
}

fn parse_moment(text: &str) -> Option<(u32, u32)> {
    let (time, increment) = text.split_once('-')?;
    let time = DateTime::strptime("%Y%m%d%H%M%S", time).ok()?.to_zoned(TimeZone::UTC).ok()?;
    Some((u32::try_from(time.timestamp().as_second()).ok()?, increment.parse().ok()?))
}

impl Adapter for Pbm {
    fn role(&self, key: &str) -> Role {
        match kind(key) {
            Some(Kind::Metadata(id)) => Role::Base { id: id.to_owned(), part: Part::Commit },
            Some(Kind::Payload { id, .. }) => Role::Base { id: id.to_owned(), part: Part::Payload },
            Some(Kind::Slice { .. }) => Role::Log,
            Some(Kind::Init) => Role::Rewritten,
            None => Role::Unknown,
        }
    }

    fn see(&mut self, object: &Object) {
        match kind(&object.key) {
            Some(Kind::Metadata(id)) => self.found(id).metadata = Some(object.clone()),
            Some(Kind::Payload { id, rest }) => {
                let set = rest.split('/').next().unwrap_or_default();
                let found = self.found(id);
                found.objects += 1;
                found.bytes += object.size;
                found.newest = found.newest.max(Some(object.modified));
                // A listing comes in key order: sets do not alternate.
                if found.sets.last().is_none_or(|last| last != set) {
                    found.sets.push(set.to_owned());
                }
            }
            Some(Kind::Slice { set, slice }) => self.slices.push((set.to_owned(), slice, object.clone())),
            Some(Kind::Init) => self.rewritten.push(object.key.clone()),
            None => self.unknown.add(&object.key, object.size),
        }
    }

    fn lost(&mut self, key: &str) {
        if let Some(Kind::Payload { id, .. }) = kind(key) {
            self.found(id).lost = true;
        }
    }

    fn scan(&mut self, answers: &Answers) -> Scan {
        let wants: Vec<Want> = self
            .bases
            .values()
            .filter_map(|found| found.metadata.as_ref())
            .filter(|metadata| answers.get(metadata, What::Whole).is_none())
            .map(|metadata| Want { object: metadata.clone(), what: What::Whole })
            .collect();
        if !wants.is_empty() {
            return Scan::Need(wants);
        }
        let mut catalog = Catalog::new(Basis::Proved, Continuity::Overlap);
        catalog.segments = self
            .slices
            .iter()
            .map(|(set, slice, object)| segment(set, (slice.from, slice.to), object))
            .collect();
        for (id, found) in &self.bases {
            catalog.bases.extend(found.read(id, answers, &mut catalog.warnings));
        }
        catalog.rewritten.clone_from(&self.rewritten);
        catalog.unknown = self.unknown.clone();
        catalog.sort();
        Scan::Done(catalog)
    }
}

impl Pbm {
    fn found(&mut self, id: &str) -> &mut Found {
        self.bases.entry(id.to_owned()).or_default()
    }
}

impl Found {
    fn read(&self, id: &str, answers: &Answers, warnings: &mut Vec<Warning>) -> Option<Base> {
        let Some(object) = &self.metadata else {
            let missing = format!("it has no {id}{METADATA} yet");
            warnings.push(Warning::unfinished(&format!("{id}/"), &missing, self.newest));
            return None;
        };
        let parsed = match answers.get(object, What::Whole) {
            Some(Answer::Whole(bytes)) => {
                serde_json::from_slice::<Metadata>(bytes).map_err(|e| e.to_string())
            }
            Some(Answer::Unreadable(cause)) => Err(cause.clone()),
            _ => return None,
        };
        let metadata = match parsed {
            Ok(metadata) => metadata,
            Err(cause) => {
                let message = format!(
                    "backup {id} is left out: {} is corrupt: {cause}; bring that file back, or take another backup",
                    object.location()
                );
                warnings.push(Warning::new("CorruptMetadata", message));
                return None;
            }
        };
        if let Some(cause) = metadata.partial() {
            let message = format!(
                "backup {id} is left out: it is {cause}, no restore can begin from it; take a full one"
            );
            warnings.push(Warning::new("PartialBackup", message));
            return None;
        }
        if metadata.status != "done" {
            warnings.push(self.not_done(id, object, &metadata.status));
            return None;
        }
        let empty = metadata.replsets.iter().find(|set| !self.sets.contains(&set.name));
        if let Some(set) = empty.filter(|_| !self.lost) {
            let message = format!(
                "backup {id} is left out: it has metadata but no data under {id}/{}/; bring them back, or delete {} and take another backup",
                set.name,
                object.location()
            );
            warnings.push(Warning::new("BackupWithoutData", message));
        }
        Some(self.base(id, object, &metadata, empty.is_none() && !self.lost))
    }

    /// A status of Percona's agents but `done`: some are an end, all others are on the way to one.
    fn not_done(&self, id: &str, object: &Object, status: &str) -> Warning {
        if matches!(status, "error" | "canceled" | "cancelled" | "partlyDone") {
            let message = format!("backup {id} is left out: its status is {status}; take another backup");
            return Warning::new("BackupIncomplete", message);
        }
        let written = self.newest.max(Some(object.modified));
        Warning::unfinished(id, &format!("its status is {status}, not done"), written)
    }

    fn base(&self, id: &str, object: &Object, metadata: &Metadata, complete: bool) -> Base {
        let parent =
            metadata.src_backup.clone().filter(|parent| metadata.kind == "incremental" && !parent.is_empty());
        let last = metadata.last_write_ts;
        let started = metadata.first_write_ts.map(|first| second(first.seconds));
        Base {
            id: id.to_owned(),
            scope: Scope::default(),
            kind: if parent.is_some() { BaseKind::Incremental } else { BaseKind::Full },
            parent,
            orphan: false,
            keys: Keys {
                payload: vec![Span::Under(format!("{id}/"))],
                metadata: Vec::new(),
                commit: Some(object.key.clone()),
            },
            bytes: self.bytes + object.size,
            objects: self.objects + 1,
            start: started
                .or_else(|| Timestamp::from_second(metadata.start_ts).ok())
                .unwrap_or(second(last.seconds)),
            consistent_at: second(last.seconds),
            position: Position::Oplog(last.seconds, last.increment),
            streams: metadata.replsets.iter().map(|set| set.name.clone()).collect(),
            fuzzy: false,
            complete,
            permanent: false,
        }
    }
}

impl Metadata {
    /// Why no restore can begin from it.
    fn partial(&self) -> Option<&'static str> {
        if self.kind == "external" {
            return Some("external");
        }
        let all =
            |names: &Vec<String>| names.is_empty() || names.iter().any(|name| name == "*.*" || name == "*");
        self.nss.as_ref().is_some_and(|names| !all(names)).then_some("selective")
    }
}
