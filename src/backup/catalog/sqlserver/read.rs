//! From files and headers to bases and logs.

use std::collections::BTreeMap;

use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};

use super::{Found, Kind, Name, SqlServer};
use crate::backup::catalog::{
    Answers, Base, BaseKind, Catalog, Keys, Mark, Object, Position, Scope, Segment, Span, Warning,
    mssql::{self, Header, Lsn},
};

/// One backup with what its header says.
struct Backup<'a> {
    name: &'a Name,
    found: &'a Found,
    header: Option<Header>,
    /// When it began; by its header where there is one.
    started: Timestamp,
}

/// Fills a catalog. With `proved`, only what has a header counts.
pub(super) fn fill(of: &SqlServer, answers: &Answers, proved: bool, catalog: &mut Catalog) {
    let mut scopes: BTreeMap<&str, Vec<Backup>> = BTreeMap::new();
    for (name, found) in &of.found {
        if let Some(backup) = backup(of, name, found, answers, proved, catalog) {
            scopes.entry(&name.scope).or_default().push(backup);
        }
    }
    for (name, mut backups) in scopes {
        backups.sort_by_key(|backup| backup.started);
        let born = born(of, &backups);
        let scope = Scope { name: name.to_owned(), aside: of.aside(name), born };
        for at in 0..backups.len() {
            if backups[at].name.kind != Kind::Log {
                let base = base(of, &backups, at, &scope, &mut catalog.warnings);
                catalog.bases.push(base);
            }
        }
        segments(&backups, &mut catalog.segments);
    }
    if !proved {
        warn_of_late(&catalog.bases, &mut catalog.warnings);
    }
}

/// A backup that can be used; what can't is named, and the files of a log are kept.
fn backup<'a>(
    of: &SqlServer,
    name: &'a Name,
    found: &'a Found,
    answers: &Answers,
    proved: bool,
    catalog: &mut Catalog,
) -> Option<Backup<'a>> {
    let id = name.id();
    if name.partial {
        let message = format!("backup {id} is left out: it is partial, no restore can begin from it");
        catalog.warnings.push(Warning::new("PartialBackup", message));
        return None;
    }
    if found.files.is_empty() {
        return None;
    }
    let header = found.header(answers, &mut catalog.warnings);
    let missing = found.missing(header.as_ref());
    let unread = proved && header.is_none();
    if name.kind == Kind::Log && (missing.is_some() || found.lost || unread) {
        if let Some(missing) = missing {
            let message = format!("log {id} is left out: its stripes {missing} are missing; bring them back");
            catalog.warnings.push(Warning::new("LogIncomplete", message));
        }
        catalog.opaque.extend(found.objects().cloned());
        return None;
    }
    let started = header.as_ref().and_then(|h| mssql::local_time(&h.backup_start_date, of.offset));
    Some(Backup { name, found, started: started.unwrap_or(name.time), header })
}

/// The moment up to which nobody can miss a database: when it was created, as its header says; without
/// headers, its first backup.
fn born(of: &SqlServer, backups: &[Backup]) -> Option<Timestamp> {
    let first = backups.iter().find(|backup| backup.name.kind == Kind::Full)?;
    match &first.header {
        Some(header) => mssql::local_time(header.database_creation_date.as_deref()?, of.offset),
        None => Some(first.finished(of)),
    }
}

/// Without headers a database may have been there before its first backup: said where it would be missed.
fn warn_of_late(bases: &[Base], warnings: &mut Vec<Warning>) {
    let mut first: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for base in bases.iter().filter(|base| !base.scope.aside) {
        let at = first.entry(&base.scope.name).or_insert(base.consistent_at);
        *at = (*at).min(base.consistent_at);
    }
    let Some(earliest) = first.values().min().copied() else { return };
    // Databases of one run are backed up one after another.
    let late = first.iter().filter(|(_, at)| at.duration_since(earliest) > SignedDuration::from_hours(24));
    for (name, at) in late {
        let message = format!(
            "database {name} has no backup before {at}: if it was there before, a restore to an earlier moment lacks it"
        );
        warnings.push(Warning::new("NewDatabase", message));
    }
}

fn base(of: &SqlServer, backups: &[Backup], at: usize, scope: &Scope, warnings: &mut Vec<Warning>) -> Base {
    let backup = &backups[at];
    let id = backup.name.id();
    let incremental = backup.name.kind == Kind::Differential;
    let parent = incremental.then(|| parent(backups, at)).flatten().map(|parent| parent.name.id());
    if incremental && parent.is_none() {
        let message =
            format!("differential {id} can't be restored: its full backup is not there; take a full one");
        warnings.push(Warning::new("NoParent", message));
    }
    let missing = backup.found.missing(backup.header.as_ref());
    if let (Some(missing), false) = (&missing, backup.found.lost) {
        let message = format!(
            "backup {id} is left out: its stripes {missing} are missing; bring them back, or take another backup"
        );
        warnings.push(Warning::new("BackupIncomplete", message));
    }
    let position = match &backup.header {
        Some(header) => Position::Lsn { lsn: header.last.0, fork: header.fork.clone() },
        None => Position::Time(backup.started),
    };
    let objects = backup.found.objects();
    Base {
        id,
        scope: scope.clone(),
        kind: if incremental { BaseKind::Incremental } else { BaseKind::Full },
        orphan: incremental && parent.is_none(),
        parent,
        keys: Keys {
            payload: backup.found.files.values().rev().map(|file| Span::One(file.key.clone())).collect(),
            metadata: backup.found.headers.iter().map(|header| header.key.clone()).collect(),
            commit: None,
        },
        bytes: objects.clone().map(|object| object.size).sum(),
        objects: objects.count() as u64,
        start: backup.started,
        consistent_at: backup.finished(of),
        position,
        streams: vec![backup.name.scope.clone()],
        fuzzy: false,
        complete: missing.is_none() && !backup.found.lost,
        permanent: false,
    }
}

/// The full backup that a differential one goes on top of.
fn parent<'a, 'b>(backups: &'a [Backup<'b>], at: usize) -> Option<&'a Backup<'b>> {
    let base = backups[at].header.as_ref().and_then(|header| header.base);
    let mut fulls = backups[..at].iter().rev().filter(|full| full.name.kind == Kind::Full);
    match base {
        Some(lsn) => {
            fulls.find(|full| full.header.as_ref().and_then(|header| header.checkpoint) == Some(lsn))
        }
        None => fulls.find(|full| !full.name.copy_only),
    }
}

impl Found {
    /// The last stripe first: copied in this order, and deleted the other way round, what is not whole lacks
    /// a number.
    fn objects(&self) -> impl Iterator<Item = &Object> + Clone {
        self.files.values().rev().chain(&self.headers)
    }
}

impl Backup<'_> {
    /// When it was done: it shows that moment. By its last write where no header says.
    fn finished(&self, of: &SqlServer) -> Timestamp {
        let said = self.header.as_ref().and_then(|h| mssql::local_time(&h.backup_finish_date, of.offset));
        let written = self.found.files.values().map(|file| file.modified).max();
        let finished = said.or(written).map_or(self.started, |at| at.max(self.started));
        let up = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil);
        finished.round(up).unwrap_or(finished)
    }
}

/// Logs of one database. A log holds all that was committed when it began to be written.
fn segments(backups: &[Backup], segments: &mut Vec<Segment>) {
    let mut from: Option<Timestamp> = None;
    for (number, backup) in (0..).zip(backups) {
        if backup.name.kind != Kind::Log {
            // Before the first log nothing tells since when it holds: since the newest base at most.
            if segments.last().is_none_or(|last| last.stream != backup.name.scope) {
                from = Some(backup.started);
            }
            continue;
        }
        let start = from.unwrap_or(backup.started);
        let mark = |lsn: fn(&Header) -> Lsn, fork: fn(&Header) -> String| {
            let of = |header: &Header| Mark::Lsn { lsn: lsn(header).0, fork: fork(header) };
            backup.header.as_ref().map_or(Mark::Unknown, of)
        };
        // Stripes and headers are replayed, kept and let go together.
        for object in backup.found.objects() {
            segments.push(Segment {
                stream: backup.name.scope.clone(),
                branch: String::new(),
                number,
                name: object.key.rsplit('/').next().unwrap_or(&object.key).to_owned(),
                object: object.clone(),
                from: start,
                to: backup.started,
                start: mark(|h| h.first, |h| h.first_fork.clone().unwrap_or_else(|| h.fork.clone())),
                end: mark(|h| h.last, |h| h.fork.clone()),
                open: false,
                stopped: false,
                indivisible: backup.header.as_ref().is_some_and(|header| header.has_bulk_logged_data),
            });
        }
        from = Some(backup.started);
    }
}
