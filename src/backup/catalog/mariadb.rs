//! mariadb-operator's layout: one xbstream a base, binlogs by server.
//!
//! ```text
//! [any/]physicalbackup-<YYYYMMDDhhmmss>.xb[.gz|.bz2|…]    a full base
//! [any/]incremental-<YYYYMMDDhhmmss>.xb[.gz|.bz2|…]       on top of the newest earlier base whose LSN it goes on from
//!       <same name>.info, <same name>.checkpoints         optional: what the tool says of the base
//! [any/]server-<id>/<binlog>.<number>[.gz|.bz2|…]
//! [any/]index.yaml                                        rewritten in place: a hint only
//! ```
//!
//! The operator keeps a base's GTID in its resource, not in the bucket. Without sidecars the base itself
//! is read once for the files that mariadb-backup puts in the stream; where that is withheld, the base
//! is taken by time: consistent when its upload was done, replayed from the log that was being written
//! when it began.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

use super::{
    Adapter, Answer, Answers, Base, BaseKind, Catalog, Continuity, Keys, Object, Part, Position, Role, Scan,
    Scope, Span, Unknown, Want, Warning, What, decode,
    gtid::Gtids,
    logs::{self, Binlogs},
    xbstream::BackupInfo,
};
use crate::backup::window::Basis;

#[derive(Default)]
pub(super) struct MariaDbOperator {
    bases: BTreeMap<String, Found>,
    binlogs: Binlogs,
    rewritten: Vec<String>,
    unknown: Unknown,
}

#[derive(Default)]
struct Found {
    stream: Option<Object>,
    info: Option<Object>,
    checkpoints: Option<Object>,
    lost: bool,
}

enum Kind<'a> {
    /// Path without suffixes.
    Stream(&'a str),
    Info(&'a str),
    Checkpoints(&'a str),
    Binlog {
        branch: &'a str,
        name: &'a str,
        number: u64,
    },
    Index,
}

fn kind(key: &str) -> Option<Kind<'_>> {
    let (folder, file) = key.rsplit_once('/').unwrap_or(("", key));
    if file == "index.yaml" {
        return Some(Kind::Index);
    }
    if file.starts_with("physicalbackup-") || file.starts_with("incremental-") {
        let (plain, _) = decode::split(key);
        return if let Some(stem) = plain.strip_suffix(".xb") {
            Some(Kind::Stream(stem))
        } else if let Some(stem) = key.strip_suffix(".info") {
            Some(Kind::Info(stem))
        } else {
            key.strip_suffix(".checkpoints").map(Kind::Checkpoints)
        };
    }
    let branch = folder.rsplit('/').next().unwrap_or_default();
    let id = branch.strip_prefix("server-")?;
    (!id.is_empty() && id.bytes().all(|b| b.is_ascii_digit())).then_some(())?;
    let (name, number) = logs::parse_name(file)?;
    Some(Kind::Binlog { branch, name, number })
}

fn name_of(stem: &str) -> &str {
    stem.rsplit('/').next().unwrap_or(stem)
}

impl Adapter for MariaDbOperator {
    fn role(&self, key: &str) -> Role {
        let base = |stem: &str, part| Role::Base { id: name_of(stem).to_owned(), part };
        match kind(key) {
            Some(Kind::Stream(stem)) => base(stem, Part::Payload),
            Some(Kind::Info(stem) | Kind::Checkpoints(stem)) => base(stem, Part::Metadata),
            Some(Kind::Binlog { .. }) => Role::Log,
            Some(Kind::Index) => Role::Rewritten,
            None => Role::Unknown,
        }
    }

    fn see(&mut self, object: &Object) {
        match kind(&object.key) {
            Some(Kind::Stream(stem)) => self.found(stem).stream = Some(object.clone()),
            Some(Kind::Info(stem)) => self.found(stem).info = Some(object.clone()),
            Some(Kind::Checkpoints(stem)) => self.found(stem).checkpoints = Some(object.clone()),
            Some(Kind::Binlog { branch, name, number }) => self.binlogs.see(branch, name, number, object),
            Some(Kind::Index) => self.rewritten.push(object.key.clone()),
            None => self.unknown.add(&object.key, object.size),
        }
    }

    fn lost(&mut self, key: &str) {
        if let Some(Kind::Stream(stem)) = kind(key) {
            self.found(stem).lost = true;
        }
    }

    fn scan(&mut self, answers: &Answers) -> Scan {
        let mut wants: Vec<Want> = self.bases.values().flat_map(|found| found.wants(answers)).collect();
        wants.extend(self.binlogs.wants(answers));
        if !wants.is_empty() {
            return Scan::Need(wants);
        }
        let mut catalog = Catalog::new(Basis::Proved, Continuity::Binlog);
        catalog.segments = self.binlogs.segments(answers, &mut catalog.opaque, &mut catalog.warnings);
        let mut read: Vec<Read> = Vec::new();
        for (stem, found) in &self.bases {
            read.extend(found.read(stem, answers, &mut catalog.warnings));
        }
        read.sort_by(|a, b| (a.base.consistent_at, &a.base.id).cmp(&(b.base.consistent_at, &b.base.id)));
        link_parents(&mut read, &mut catalog.warnings);
        catalog.bases = read.into_iter().map(|read| read.base).collect();
        catalog.rewritten.clone_from(&self.rewritten);
        catalog.unknown = self.unknown.clone();
        catalog.sort();
        Scan::Done(catalog)
    }
}

impl MariaDbOperator {
    fn found(&mut self, stem: &str) -> &mut Found {
        self.bases.entry(stem.to_owned()).or_default()
    }
}

/// A base, with what is needed to find its parent.
struct Read {
    base: Base,
    from_lsn: Option<u64>,
    to_lsn: Option<u64>,
}

/// Each increment's parent is the newest earlier base whose last LSN is the increment's first. Equal
/// LSNs are common on a quiet server: hence "newest earlier", not "equal".
fn link_parents(read: &mut [Read], warnings: &mut Vec<Warning>) {
    for at in 0..read.len() {
        if read[at].base.kind == BaseKind::Full {
            continue;
        }
        let from = read[at].from_lsn;
        let parent = read[..at].iter().rev().find(|earlier| from.is_some() && earlier.to_lsn == from);
        let parent = parent.map(|parent| parent.base.id.clone());
        if parent.is_none() {
            let id = &read[at].base.id;
            let cause = match from {
                Some(lsn) => format!("no earlier backup ends at its LSN {lsn}"),
                None => "nothing tells its LSN".to_owned(),
            };
            warnings.push(Warning::new(
                "NoParent",
                format!("incremental {id} can't be restored: {cause}; take a full backup"),
            ));
            read[at].base.orphan = true;
        }
        read[at].base.parent = parent;
    }
}

impl Found {
    fn wants(&self, answers: &Answers) -> Vec<Want> {
        let Some(stream) = &self.stream else { return Vec::new() };
        let mut wants = Vec::new();
        for object in [&self.info, &self.checkpoints].into_iter().flatten() {
            if answers.get(object, What::Whole).is_none() {
                wants.push(Want { object: object.clone(), what: What::Whole });
            }
        }
        // The stream itself only when no sidecar can tell.
        if wants.is_empty()
            && self.sidecars(answers).is_none()
            && answers.get(stream, What::BackupInfo).is_none()
        {
            wants.push(Want { object: stream.clone(), what: What::BackupInfo });
        }
        wants
    }

    fn sidecars(&self, answers: &Answers) -> Option<BackupInfo> {
        let mut info = BackupInfo::default();
        for object in [&self.info, &self.checkpoints].into_iter().flatten() {
            if let Some(Answer::Whole(bytes)) = answers.get(object, What::Whole) {
                info.read_properties(&String::from_utf8_lossy(bytes));
            }
        }
        (info.end_time.is_some() && info.binlog_file.is_some()).then_some(info)
    }

    fn read(&self, stem: &str, answers: &Answers, warnings: &mut Vec<Warning>) -> Option<Read> {
        let Some(stream) = &self.stream else {
            if !self.lost {
                let message = format!(
                    "{stem} has sidecars but no data: it is left out; bring its data back, or delete them"
                );
                warnings.push(Warning::new("BackupWithoutData", message));
            }
            return None;
        };
        let name = name_of(stem);
        let mut complete = !self.lost;
        let info = match (self.sidecars(answers), answers.get(stream, What::BackupInfo)) {
            (Some(info), _) => info,
            (None, Some(Answer::Info(info))) => info.clone(),
            (None, Some(Answer::Unreadable(cause))) => {
                let key = stream.location();
                let message = format!("backup {key} is left out: {cause}; take a new one");
                warnings.push(Warning::new("CorruptBackup", message));
                complete = false;
                BackupInfo::default()
            }
            _ => BackupInfo::default(),
        };
        if self.info.is_some() && self.sidecars(answers).is_none() && complete {
            let message = format!(
                "{stem}.info can't be read: the backup itself is read instead; its sidecar is corrupt: bring it back or delete it"
            );
            warnings.push(Warning::new("CorruptMetadata", message));
        }
        let incremental = info.incremental.unwrap_or_else(|| name.starts_with("incremental-"));
        let named = name.rsplit_once('-').and_then(|(_, time)| compact_time(time));
        let (start, consistent_at) = times(&info, named, stream.modified);
        let position = match (&info.binlog_file, &info.gtid) {
            (None, None) => Position::Time(start),
            (file, gtid) => {
                let gtids = gtid.as_deref().filter(|gtid| !gtid.is_empty()).and_then(Gtids::parse);
                Position::Binlog { file: file.clone(), gtids }
            }
        };
        let sidecars = [&self.info, &self.checkpoints];
        let metadata: Vec<&Object> = sidecars.into_iter().flatten().collect();
        let base = Base {
            id: name.to_owned(),
            scope: Scope::default(),
            kind: if incremental { BaseKind::Incremental } else { BaseKind::Full },
            parent: None,
            orphan: false,
            bytes: stream.size + metadata.iter().map(|object| object.size).sum::<u64>(),
            objects: 1 + metadata.len() as u64,
            keys: Keys {
                payload: vec![Span::One(stream.key.clone())],
                metadata: metadata.iter().map(|object| object.key.clone()).collect(),
                commit: None,
            },
            start,
            consistent_at,
            position,
            streams: vec![logs::STREAM.to_owned()],
            fuzzy: false,
            complete,
            permanent: false,
        };
        Some(Read { base, from_lsn: info.from_lsn, to_lsn: info.to_lsn })
    }
}

/// Start and end of a base in UTC. The tool writes its machine's local time; the zone is what makes the
/// start agree with the name (UTC), or the end with the upload, in quarters of an hour.
fn times(info: &BackupInfo, named: Option<Timestamp>, uploaded: Timestamp) -> (Timestamp, Timestamp) {
    let local = |text: &Option<String>| text.as_deref().and_then(utc);
    let start = local(&info.start_time);
    let end = local(&info.end_time);
    let offset = match (start, end, named) {
        (Some(start), _, Some(named)) => zone_offset(start, named),
        (_, Some(end), None) => zone_offset(end, uploaded),
        _ => SignedDuration::ZERO,
    };
    let shift = |time: Timestamp| time.checked_sub(offset).unwrap_or(time);
    let start = start.map(shift).or(named).unwrap_or(uploaded);
    (start, end.map_or(uploaded.max(start), shift))
}

fn zone_offset(local: Timestamp, truth: Timestamp) -> SignedDuration {
    const QUARTER: i64 = 15 * 60;
    let seconds = local.duration_since(truth).as_secs();
    SignedDuration::from_secs((seconds + QUARTER / 2).div_euclid(QUARTER) * QUARTER)
}

fn utc(text: &str) -> Option<Timestamp> {
    let time: DateTime = text.parse().ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// `20261121025531`
fn compact_time(digits: &str) -> Option<Timestamp> {
    (digits.len() == 14 && digits.bytes().all(|b| b.is_ascii_digit())).then_some(())?;
    DateTime::strptime("%Y%m%d%H%M%S", digits).ok()?.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp())
}
