//! The layout of the operator of Percona `XtraDB` Cluster.
//!
//! ```text
//! [any/]<cluster>-<YYYY-MM-DD>-<hh:mm:ss>-full/…          chunks of an xbstream, each an object
//! [any/]<cluster>-<YYYY-MM-DD>-<hh:mm:ss>-full.sst_info/… and .md5
//! [any/]binlog_<unix time>_…                              a binlog of whichever server was asked
//! [any/]binlog_<unix time>_…-gtid-set                     its GTIDs, as text
//! [any/]last-binlog-set-<uuid>, gtid-binlog-cache.json    rewritten in place
//! ```
//!
//! Nothing says that a base is whole: it counts once the chunk with `xtrabackup_info` is there, which the
//! tool writes near its end. Binlogs that hold nothing are not uploaded, those of several servers mix, and
//! one that grew is uploaded again: only GTID sets tell how they go on.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::{
    Adapter, Answer, Answers, Base, BaseKind, Catalog, Continuity, Keys, Mark, Object, Part, Position, Role,
    Scan, Scope, Segment, Span, Unknown, Want, Warning, What,
    gtid::Gtids,
    logs::{self, Binlogs},
    xbstream::BackupInfo,
};
use crate::backup::window::Basis;

const FULL: &str = "-full";
const SET: &str = "-gtid-set";
/// `YYYY-MM-DD-hh:mm:ss`
const TIME_LENGTH: usize = 19;

#[derive(Default)]
pub(super) struct Pxc {
    /// By path, with `-full`.
    bases: BTreeMap<String, Found>,
    binlogs: Binlogs,
    /// By the key of their binlog.
    sets: BTreeMap<String, Object>,
    rewritten: Vec<String>,
    unknown: Unknown,
}

#[derive(Default)]
struct Found {
    objects: u64,
    bytes: u64,
    newest: Option<Timestamp>,
    info: Option<Object>,
    /// Beside the folder.
    metadata: Vec<String>,
    lost: bool,
}

enum Kind<'a> {
    Chunk { base: &'a str, file: &'a str },
    Beside { base: &'a str },
    Binlog { time: u64 },
    Set { binlog: &'a str },
    Rewritten,
}

fn kind(key: &str) -> Option<Kind<'_>> {
    let name = key.rsplit('/').next().unwrap_or(key);
    if name.starts_with("last-binlog-set-") || name == "gtid-binlog-cache.json" {
        return Some(Kind::Rewritten);
    }
    if let Some(binlog) = key.strip_suffix(SET) {
        return matches!(kind(binlog), Some(Kind::Binlog { .. })).then_some(Kind::Set { binlog });
    }
    if let Some(rest) = name.strip_prefix("binlog_") {
        let time = rest.split('_').next()?.parse().ok()?;
        return Some(Kind::Binlog { time });
    }
    let mut at = 0;
    while let Some(found) = key[at..].find(FULL) {
        let end = at + found + FULL.len();
        let base = &key[..end];
        if time_of(base).is_some() {
            return match key[end..].split_once('/') {
                Some(("", file)) => Some(Kind::Chunk { base, file }),
                Some((".sst_info", _)) => Some(Kind::Beside { base }),
                None if &key[end..] == ".md5" => Some(Kind::Beside { base }),
                _ => None,
            };
        }
        at = end;
    }
    None
}

/// The moment in a base's name, in UTC.
fn time_of(base: &str) -> Option<Timestamp> {
    let stem = base.strip_suffix(FULL)?;
    let time = stem.get(stem.len().checked_sub(TIME_LENGTH)?..)?;
    let time = DateTime::strptime("%Y-%m-%d-%H:%M:%S", time).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The last folder of a path.
fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl Adapter for Pxc {
    fn role(&self, key: &str) -> Role {
        let base = |base: &str, part| Role::Base { id: name_of(base).to_owned(), part };
        match kind(key) {
            Some(Kind::Chunk { base: of, file }) if is_info(file) => base(of, Part::Commit),
            Some(Kind::Chunk { base: of, .. }) => base(of, Part::Payload),
            Some(Kind::Beside { base: of }) => base(of, Part::Metadata),
            Some(Kind::Binlog { .. } | Kind::Set { .. }) => Role::Log,
            Some(Kind::Rewritten) => Role::Rewritten,
            None => Role::Unknown,
        }
    }

    fn see(&mut self, object: &Object) {
        match kind(&object.key) {
            Some(Kind::Chunk { base, file }) => {
                let found = self.bases.entry(base.to_owned()).or_default();
                found.take(object);
                if is_info(file) {
                    found.info = Some(object.clone());
                }
            }
            Some(Kind::Beside { base }) => {
                let found = self.bases.entry(base.to_owned()).or_default();
                found.take(object);
                found.metadata.push(object.key.clone());
            }
            // Numbers would tell nothing: the time only keeps names apart.
            Some(Kind::Binlog { time }) => self.binlogs.see("", name_of(&object.key), time, object),
            Some(Kind::Set { binlog }) => {
                self.sets.insert(binlog.to_owned(), object.clone());
            }
            Some(Kind::Rewritten) => self.rewritten.push(object.key.clone()),
            None => self.unknown.add(&object.key, object.size),
        }
    }

    fn lost(&mut self, key: &str) {
        if let Some(Kind::Chunk { base, .. }) = kind(key) {
            self.bases.entry(base.to_owned()).or_default().lost = true;
        }
    }

    fn scan(&mut self, answers: &Answers) -> Scan {
        let small = |object: &Object, what| {
            let known = answers.get(object, what).is_some();
            (!known).then(|| Want { object: object.clone(), what })
        };
        let mut wants = self.binlogs.wants(answers);
        wants.extend(self.sets.values().filter_map(|set| small(set, What::GtidSet)));
        let infos = self.bases.values().filter_map(|found| found.info.as_ref());
        wants.extend(infos.filter_map(|info| small(info, What::BackupInfo)));
        if !wants.is_empty() {
            return Scan::Need(wants);
        }
        let mut catalog = Catalog::new(Basis::Proved, Continuity::Gtids);
        let read = self.binlogs.segments(answers, &mut catalog.opaque, &mut catalog.warnings);
        catalog.segments = self.with_sets(read, answers);
        let unread: Vec<Object> =
            catalog.opaque.iter().filter_map(|log| self.sets.get(&log.key)).cloned().collect();
        catalog.opaque.extend(unread);
        for (path, found) in &self.bases {
            catalog.bases.extend(found.read(path, answers, &mut catalog.warnings));
        }
        catalog.rewritten.clone_from(&self.rewritten);
        catalog.unknown = self.unknown.clone();
        catalog.sort();
        Scan::Done(catalog)
    }
}

impl Pxc {
    /// Binlogs, each followed by the file with its GTIDs: they are kept and let go together. Where nobody
    /// read a binlog to its end, that file tells what it ends with.
    fn with_sets(&self, read: Vec<Segment>, answers: &Answers) -> Vec<Segment> {
        let mut segments = Vec::with_capacity(read.len() * 2);
        for mut segment in read {
            let set = self.sets.get(&segment.object.key);
            let said = match set.and_then(|set| answers.get(set, What::GtidSet)) {
                Some(Answer::Gtids(gtids)) => Some(gtids),
                _ => None,
            };
            if let (Mark::Unknown, Mark::Gtids(start), Some(gtids)) = (&segment.end, &segment.start, said) {
                segment.end = Mark::Gtids(start.union(gtids));
            }
            if let Some(set) = set {
                let name = format!("{}{SET}", segment.name);
                segments.push(Segment { name, object: set.clone(), ..segment.clone() });
            }
            segments.push(segment);
        }
        segments
    }
}

/// The first chunk of the file that says what the base is; packed ones can't be read here.
fn is_info(file: &str) -> bool {
    let Some(rest) = file.strip_prefix("xtrabackup_info") else { return false };
    rest.rsplit_once('.').is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|b| b == b'0'))
}

impl Found {
    fn take(&mut self, object: &Object) {
        self.objects += 1;
        self.bytes += object.size;
        self.newest = self.newest.max(Some(object.modified));
    }

    fn read(&self, path: &str, answers: &Answers, warnings: &mut Vec<Warning>) -> Option<Base> {
        let started = time_of(path)?;
        let Some(object) = &self.info else {
            let missing = "it has no xtrabackup_info yet";
            warnings.push(Warning::unfinished(&format!("{path}/"), missing, self.newest));
            return None;
        };
        let info = match answers.get(object, What::BackupInfo) {
            Some(Answer::Info(info)) => info.clone(),
            _ => BackupInfo::default(),
        };
        let gtids = info.gtid.as_deref().filter(|gtid| !gtid.is_empty()).and_then(Gtids::parse);
        let position = match gtids {
            Some(gtids) => Position::Binlog { file: None, gtids: Some(gtids) },
            None => Position::Time(started),
        };
        // The time in the file is the server's, whose zone nobody tells; an upload is never earlier.
        let done = self.newest.unwrap_or(started).max(started);
        Some(Base {
            id: name_of(path).to_owned(),
            scope: Scope::default(),
            kind: BaseKind::Full,
            parent: None,
            orphan: false,
            keys: Keys {
                payload: vec![Span::Under(format!("{path}/"))],
                metadata: self.metadata.clone(),
                commit: Some(object.key.clone()),
            },
            bytes: self.bytes,
            objects: self.objects,
            start: started,
            consistent_at: done,
            position,
            streams: vec![logs::STREAM.to_owned()],
            fuzzy: false,
            complete: !self.lost,
            permanent: false,
        })
    }
}
