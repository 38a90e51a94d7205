//! Barman's layout in object stores (`barman-cloud-backup`, CloudNativePG).
//!
//! ```text
//! [any/]<server>/base/<YYYYMMDDThhmmss>/{data,<oid>}[_nnnn].tar[.gz|…]   payload
//! [any/]<server>/base/<YYYYMMDDThhmmss>/backup.info                      written last
//! [any/]<server>/wals/<first 16 digits>/<segment>[.gz|…]
//! ```
//!
//! A backup that failed has its `backup.info` too: only `status=DONE` counts. Its end is the moment at
//! which the server was told to stop it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use regex::Regex;

use super::{
    Adapter, Answer, Answers, Base, BaseKind, Catalog, Continuity, Keys, Object, Part, Position, Role, Scan,
    Scope, Span, Unknown, Want, Warning, What,
    archive::{self, Archives, Name},
};
use crate::backup::window::Basis;

const INFO: &str = "backup.info";

#[derive(Default)]
pub(super) struct Barman {
    /// By server's folder and id.
    bases: BTreeMap<(String, String), Found>,
    archives: Archives,
    unknown: Unknown,
}

#[derive(Default)]
struct Found {
    info: Option<Object>,
    files: Vec<Object>,
    lost: bool,
}

enum Kind<'a> {
    Base { server: &'a str, id: &'a str, file: &'a str },
    Log { server: &'a str, name: Name },
}

/// Splits at a folder's name: `pg/src/base/x` → (`pg/src/`, `x`).
fn split_at<'a>(key: &'a str, folder: &str) -> Option<(&'a str, &'a str)> {
    let at = key.match_indices(folder).map(|(at, _)| at).find(|&at| at == 0 || key[..at].ends_with('/'))?;
    Some((&key[..at], &key[at + folder.len()..]))
}

fn kind(key: &str) -> Option<Kind<'_>> {
    if let Some((server, rest)) = split_at(key, "wals/") {
        let name = archive::parse_name(rest.rsplit('/').next()?)?;
        return Some(Kind::Log { server, name });
    }
    let (server, rest) = split_at(key, "base/")?;
    let (id, file) = rest.split_once('/')?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (day, time) = id.split_once('T')?;
    let fits = day.len() == 8 && time.len() == 6 && digits(day) && digits(time) && !file.is_empty();
    fits.then_some(Kind::Base { server, id, file })
}

/// The name of a base, and of its log's stream.
fn named(server: &str, id: &str) -> String {
    format!("{server}{id}")
}

fn stream(server: &str) -> String {
    if server.is_empty() { archive::STREAM.to_owned() } else { server.trim_end_matches('/').to_owned() }
}

impl Adapter for Barman {
    fn role(&self, key: &str) -> Role {
        match kind(key) {
            Some(Kind::Base { server, id, file }) => {
                let part = if file == INFO { Part::Commit } else { Part::Payload };
                Role::Base { id: named(server, id), part }
            }
            Some(Kind::Log { .. }) => Role::Log,
            None => Role::Unknown,
        }
    }

    fn see(&mut self, object: &Object) {
        match kind(&object.key) {
            Some(Kind::Base { server, id, file }) => {
                let found = self.bases.entry((server.to_owned(), id.to_owned())).or_default();
                if file == INFO {
                    found.info = Some(object.clone());
                } else {
                    found.files.push(object.clone());
                }
            }
            Some(Kind::Log { server, name }) => self.archives.see(&stream(server), name, object),
            None => self.unknown.add(&object.key, object.size),
        }
    }

    fn lost(&mut self, key: &str) {
        if let Some(Kind::Base { server, id, .. }) = kind(key) {
            self.bases.entry((server.to_owned(), id.to_owned())).or_default().lost = true;
        }
    }

    fn scan(&mut self, answers: &Answers) -> Scan {
        let infos = self.bases.values().filter_map(|found| found.info.as_ref());
        let missing = infos.filter(|info| answers.get(info, What::Whole).is_none());
        let wants: Vec<Want> = missing.map(|info| Want { object: info.clone(), what: What::Whole }).collect();
        if !wants.is_empty() {
            return Scan::Need(wants);
        }
        let mut catalog = Catalog::new(Basis::Proved, Continuity::Wal);
        for ((server, id), found) in &self.bases {
            let Some((base, size)) = found.read(server, id, answers, &mut catalog.warnings) else { continue };
            self.archives.told.extend(size.map(|size| (stream(server), size)));
            catalog.bases.push(base);
        }
        let wants = self.archives.wants(&catalog.bases, answers);
        if !wants.is_empty() {
            return Scan::Need(wants);
        }
        self.archives.fill(answers, &mut catalog);
        catalog.warnings.extend(several(self.bases.keys().map(|(server, _)| server.trim_end_matches('/'))));
        catalog.unknown = self.unknown.clone();
        catalog.sort();
        Scan::Done(catalog)
    }
}

/// Backups of several servers in one set: a moment of one says nothing of another.
pub(super) fn several<'a>(servers: impl Iterator<Item = &'a str>) -> Option<Warning> {
    let servers: BTreeSet<&str> = servers.collect();
    let names: Vec<&str> = servers.into_iter().collect();
    let message = format!(
        "backups of {} servers lie here, as {} and {}: give each an instance of its own, with a prefix that holds only its backups",
        names.len(),
        names.first()?,
        names.get(1)?
    );
    Some(Warning::new("SeveralServers", message))
}

impl Found {
    /// The base, and the size of its server's segments.
    fn read(
        &self,
        server: &str,
        id: &str,
        answers: &Answers,
        warnings: &mut Vec<Warning>,
    ) -> Option<(Base, Option<u32>)> {
        let name = named(server, id);
        let path = format!("{server}base/{id}/");
        let Some(object) = &self.info else {
            let newest = self.files.iter().map(|file| file.modified).max();
            if newest.is_some() {
                warnings.push(Warning::unfinished(&path, "it has no backup.info yet", newest));
            }
            return None;
        };
        let corrupt = |cause: &str| {
            let message = format!(
                "backup {name} is left out: {} is corrupt: {cause}; bring that file back, or take another backup",
                object.location()
            );
            Warning::new("CorruptMetadata", message)
        };
        let text = match answers.get(object, What::Whole)? {
            Answer::Whole(bytes) => String::from_utf8_lossy(bytes),
            Answer::Unreadable(cause) => {
                warnings.push(corrupt(cause));
                return None;
            }
            _ => return None,
        };
        let info = Info(&text);
        if info.get("status") != Some("DONE") {
            let status = format!("its status is {}", info.get("status").unwrap_or("not told"));
            warnings.push(Warning::unfinished(&path, &status, Some(object.modified)));
            return None;
        }
        if info.get("snapshots_info").is_some() {
            let message = format!(
                "backup {name} is left out: its data are volume snapshots, not in this bucket; take one with barman-cloud-backup"
            );
            warnings.push(Warning::new("PartialBackup", message));
            return None;
        }
        let Some((position, start, stop)) = info.log() else {
            warnings.push(corrupt("timeline, begin_xlog, end_xlog, begin_time or end_time is missing"));
            return None;
        };
        let lacking = info.lacking(&path, &self.files);
        if let Some(file) = lacking.as_ref().filter(|_| !self.lost) {
            let message = format!(
                "backup {name} is left out: its backup.info is there, {path}{file}.tar is not; bring it back, or delete {} and take another backup",
                object.location()
            );
            warnings.push(Warning::new("BackupWithoutData", message));
        }
        let parent = info.get("parent_backup_id").map(|parent| named(server, parent));
        let base = Base {
            id: name,
            scope: Scope::default(),
            kind: if parent.is_some() { BaseKind::Incremental } else { BaseKind::Full },
            parent,
            orphan: false,
            keys: Keys {
                payload: self.files.iter().map(|file| Span::One(file.key.clone())).collect(),
                metadata: Vec::new(),
                commit: Some(object.key.clone()),
            },
            bytes: self.files.iter().map(|file| file.size).sum::<u64>() + object.size,
            objects: self.files.len() as u64 + 1,
            start,
            consistent_at: stop,
            position,
            streams: vec![stream(server)],
            fuzzy: false,
            complete: lacking.is_none() && !self.lost,
            // What keeps it is a list of its own at the source: `barman-cloud-backup-keep`.
            permanent: false,
        };
        Some((base, info.get("xlog_segment_size").and_then(|size| size.parse().ok())))
    }
}

/// A `backup.info`: a line a field, in Python's spelling.
struct Info<'a>(&'a str);

impl<'a> Info<'a> {
    fn get(&self, field: &str) -> Option<&'a str> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix('='))?;
        Some(value.trim()).filter(|value| !matches!(*value, "None" | ""))
    }

    fn log(&self) -> Option<(Position, Timestamp, Timestamp)> {
        let lsn = |field| archive::parse_lsn(self.get(field)?);
        let time = |field| self.get(field)?.parse::<Timestamp>().ok();
        let timeline = self.get("timeline")?.parse().ok()?;
        let position = Position::Wal { timeline, start: lsn("begin_xlog")?, stop: lsn("end_xlog")? };
        Some((position, time("begin_time")?, time("end_time")?))
    }

    /// The first file that should be there: the data, and one for each tablespace.
    fn lacking(&self, path: &str, files: &[Object]) -> Option<String> {
        let mut names = vec!["data".to_owned()];
        if let Ok(oids) = Regex::new(r"'\s*,\s*(\d+)\s*,") {
            let spaces = self.get("tablespaces").unwrap_or_default();
            names.extend(oids.captures_iter(spaces).map(|found| found[1].to_owned()));
        }
        let there = |name: &str| {
            files.iter().any(|file| {
                file.key
                    .strip_prefix(path)
                    .and_then(|key| key.strip_prefix(name))
                    .is_some_and(|rest| rest.starts_with(".tar"))
            })
        };
        names.into_iter().find(|name| !there(name))
    }
}
