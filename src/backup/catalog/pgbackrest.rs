//! pgBackRest's repository.
//!
//! ```text
//! [any/]backup/<stanza>/<label>/{pg_data/…, bundle/…}                      payload
//! [any/]backup/<stanza>/<label>/backup.manifest.copy                       written early and again
//! [any/]backup/<stanza>/<label>/backup.manifest                            written last
//! [any/]backup/<stanza>/backup.history/<year>/<label>.manifest.gz
//! [any/]backup/<stanza>/backup.info[.copy]                                 rewritten in place
//! [any/]archive/<stanza>/<version>-<id>/<first 16 digits>/<segment>-<sha1>[.zst|…]
//! [any/]archive/<stanza>/archive.info[.copy]                               rewritten in place
//! ```
//!
//! Each manifest begins with all that is needed of its backup, so `backup.info` is a hint: a backup that
//! it forgot is a backup still. Of an encrypted repository only names are read; a backup then counts from
//! its upload, and everything is an estimate.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

use super::{
    Adapter, Answer, Answers, Base, BaseKind, Catalog, Continuity, Keys, Object, Part, Position, Role, Scan,
    Scope, Span, Unknown, Want, Warning, What,
    archive::{self, Archives, Name},
    barman,
};
use crate::backup::window::Basis;

const MANIFEST: &str = "backup.manifest";
/// Where it keeps the manifests of backups that expired, too.
const HISTORY: &str = "/backup.history/";
/// What an encrypted file begins with.
const SALTED: &[u8] = b"Salted__";

#[derive(Default)]
pub(super) struct PgBackRest {
    /// By stanza's folder and label.
    bases: BTreeMap<(String, String), Found>,
    archives: Archives,
    rewritten: Vec<String>,
    unknown: Unknown,
}

#[derive(Default)]
struct Found {
    manifest: Option<Object>,
    /// Files beside the manifest, and folders with data.
    beside: Vec<String>,
    folders: BTreeSet<String>,
    objects: u64,
    bytes: u64,
    newest: Option<Timestamp>,
    lost: bool,
}

enum Kind<'a> {
    /// `file` is relative to the backup's folder; of a history's manifest it is the whole key.
    Base {
        stanza: String,
        label: &'a str,
        file: File<'a>,
    },
    Log {
        stream: String,
        name: Name,
    },
    Rewritten,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum File<'a> {
    Manifest,
    Beside,
    Under(&'a str),
}

/// `20261121-025742F`, or with `_20261121-025746I` or `…D` behind it.
fn is_label(text: &str) -> bool {
    let stamp = |text: &str, kinds: &str| {
        let mut parts = text.splitn(2, '-');
        let (day, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let (time, kind) = rest.split_at_checked(6).unwrap_or_default();
        day.len() == 8
            && digits(day)
            && time.len() == 6
            && digits(time)
            && kind.len() == 1
            && kinds.contains(kind)
    };
    match text.split_once('_') {
        Some((full, rest)) => stamp(full, "F") && stamp(rest, "DI"),
        None => stamp(text, "F"),
    }
}

fn kind(key: &str) -> Option<Kind<'_>> {
    let begins = |folder: &'static str| {
        let at =
            key.match_indices(folder).map(|(at, _)| at).filter(|&at| at == 0 || key[..at].ends_with('/'));
        at.map(move |at| (&key[..at], &key[at + folder.len()..]))
    };
    let backups = begins("backup/").find_map(|(root, rest)| backup(key, root, rest));
    backups.or_else(|| begins("archive/").find_map(|(root, rest)| log(root, rest)))
}

fn is_info(file: &str, name: &str) -> bool {
    file == name || file.strip_suffix(".copy") == Some(name)
}

fn backup<'a>(key: &'a str, root: &str, rest: &'a str) -> Option<Kind<'a>> {
    let (stanza, rest) = rest.split_once('/')?;
    if is_info(rest, "backup.info") {
        return Some(Kind::Rewritten);
    }
    let stanza = format!("{root}{stanza}");
    if let Some(path) = rest.strip_prefix(&HISTORY[1..]) {
        let (_, file) = path.split_once('/')?;
        let label = file.split('.').next().filter(|label| is_label(label))?;
        return Some(Kind::Base { stanza, label, file: File::Beside });
    }
    let (label, file) = rest.split_once('/').filter(|(label, _)| is_label(label))?;
    let file = match file.split_once('/') {
        Some((folder, _)) => File::Under(&key[..=key.len() - file.len() + folder.len()]),
        None if file == MANIFEST => File::Manifest,
        None => File::Beside,
    };
    Some(Kind::Base { stanza, label, file })
}

fn log<'a>(root: &str, rest: &'a str) -> Option<Kind<'a>> {
    let (stanza, rest) = rest.split_once('/')?;
    if is_info(rest, "archive.info") {
        return Some(Kind::Rewritten);
    }
    let (id, rest) = rest.split_once('/')?;
    let name = archive::parse_name(rest.rsplit('/').next()?)?;
    Some(Kind::Log { stream: format!("{root}{stanza}/{id}"), name })
}

impl Adapter for PgBackRest {
    fn role(&self, key: &str) -> Role {
        match kind(key) {
            Some(Kind::Base { stanza, label, file }) => {
                let part = match file {
                    File::Manifest => Part::Commit,
                    File::Beside => Part::Metadata,
                    File::Under(_) => Part::Payload,
                };
                Role::Base { id: format!("{stanza}/{label}"), part }
            }
            Some(Kind::Log { .. }) => Role::Log,
            Some(Kind::Rewritten) => Role::Rewritten,
            None => Role::Unknown,
        }
    }

    fn see(&mut self, object: &Object) {
        match kind(&object.key) {
            Some(Kind::Base { stanza, label, file }) => {
                let found = self.bases.entry((stanza, label.to_owned())).or_default();
                found.see(file, object);
            }
            Some(Kind::Log { stream, name }) => self.archives.see(&stream, name, object),
            Some(Kind::Rewritten) => self.rewritten.push(object.key.clone()),
            None => self.unknown.add(&object.key, object.size),
        }
    }

    fn lost(&mut self, key: &str) {
        if let Some(Kind::Base { stanza, label, file: File::Under(_) | File::Manifest }) = kind(key) {
            self.bases.entry((stanza, label.to_owned())).or_default().lost = true;
        }
    }

    fn scan(&mut self, answers: &Answers) -> Scan {
        let manifests = self.bases.values().filter_map(|found| found.manifest.as_ref());
        let missing = manifests.filter(|manifest| answers.get(manifest, What::Start).is_none());
        let wants: Vec<Want> =
            missing.map(|manifest| Want { object: manifest.clone(), what: What::Start }).collect();
        if !wants.is_empty() {
            return Scan::Need(wants);
        }
        let mut catalog = Catalog::new(Basis::Proved, Continuity::Wal);
        self.read(answers, &mut catalog);
        let wants = self.archives.wants(&catalog.bases, answers);
        if !wants.is_empty() {
            return Scan::Need(wants);
        }
        self.archives.fill(answers, &mut catalog);
        catalog.warnings.extend(barman::several(self.bases.keys().map(|(stanza, _)| stanza.as_str())));
        catalog.rewritten.clone_from(&self.rewritten);
        catalog.unknown = self.unknown.clone();
        catalog.sort();
        Scan::Done(catalog)
    }
}

impl PgBackRest {
    fn read(&mut self, answers: &Answers, catalog: &mut Catalog) {
        let mut prior: Option<(String, String)> = None;
        self.archives.blind = false;
        for ((stanza, label), found) in &self.bases {
            let Some(manifest) = &found.manifest else {
                // Of a backup that expired, the history keeps the manifest.
                if found.beside.iter().any(|key| !key.contains(HISTORY)) || !found.folders.is_empty() {
                    let path = format!("backup {stanza}/{label}");
                    catalog.warnings.push(Warning::unfinished(
                        &path,
                        "it has no backup.manifest yet",
                        found.newest,
                    ));
                }
                continue;
            };
            let head = match answers.get(manifest, What::Start) {
                Some(Answer::Whole(bytes)) => bytes.clone(),
                _ => continue,
            };
            if head.starts_with(SALTED) {
                self.archives.blind = true;
                // What is on top of the backup before it, or of another one of the same full backup.
                let full = label.split('_').next().unwrap_or_default();
                let parent =
                    match prior.take().filter(|(of, before)| of == stanza && before.starts_with(full)) {
                        Some((_, before)) if label.ends_with('I') => Some(before),
                        _ if label.contains('_') => Some(full.to_owned()),
                        _ => None,
                    };
                let base = found.blindly(stanza, label, manifest, parent);
                let stream = self.archives.newest(stanza);
                let labelled = stream.as_ref().and_then(|of| self.archives.labelled(of, manifest.modified));
                let position = labelled.unwrap_or_else(|| base.position.clone());
                catalog.bases.push(Base { streams: stream.into_iter().collect(), position, ..base });
            } else if let Some(base) = found.base(stanza, label, manifest, &head) {
                catalog.bases.push(base);
            } else {
                let message = format!(
                    "backup {stanza}/{label} is left out: {} is corrupt; bring that file back, or take another backup",
                    manifest.location()
                );
                catalog.warnings.push(Warning::new("CorruptMetadata", message));
            }
            prior = Some((stanza.clone(), label.clone()));
        }
        if self.archives.blind {
            catalog.basis = Basis::Estimated;
            let message = "the repository is encrypted: it is copied as it is, moments are estimated from names and uploads, and a restore will need its passphrase (spec.bootstrap.recovery.decryption)";
            catalog.warnings.push(Warning::new("Encrypted", message));
        }
    }
}

impl Found {
    fn see(&mut self, file: File<'_>, object: &Object) {
        match file {
            File::Manifest => self.manifest = Some(object.clone()),
            File::Beside => self.beside.push(object.key.clone()),
            File::Under(folder) => {
                if !self.folders.contains(folder) {
                    self.folders.insert(folder.to_owned());
                }
                self.newest = self.newest.max(Some(object.modified));
            }
        }
        self.objects += 1;
        self.bytes += object.size;
    }

    /// Reads the manifest's beginning; `None` when it lacks something.
    fn base(&self, stanza: &str, label: &str, manifest: &Object, head: &[u8]) -> Option<Base> {
        let text = String::from_utf8_lossy(head);
        let head = Head(&text);
        let parent = head.text("backup", "backup-prior").map(|prior| format!("{stanza}/{prior}"));
        let second = |name| Timestamp::from_second(head.field("backup", name)?.parse().ok()?).ok();
        let (start, stop) = (second("backup-timestamp-start")?, second("backup-timestamp-stop")?);
        let (version, id) = (head.text("backup:db", "db-version")?, head.field("backup:db", "db-id")?);
        let (position, streams) = match head.text("backup", "backup-archive-start") {
            Some(segment) => {
                let lsn = |name| archive::parse_lsn(head.text("backup", name)?);
                let timeline = u32::from_str_radix(segment.get(..8)?, 16).ok()?;
                let (start, stop) = (lsn("backup-lsn-start")?, lsn("backup-lsn-stop")?);
                (Position::Wal { timeline, start, stop }, vec![format!("{stanza}/{version}-{id}")])
            }
            // Taken while the server was down.
            None => (Position::None, Vec::new()),
        };
        Some(Base {
            kind: if parent.is_some() { BaseKind::Incremental } else { BaseKind::Full },
            parent,
            start,
            // It ended within this second: all of it counts only together with the log.
            consistent_at: stop.checked_add(SignedDuration::from_micros(1)).ok()?,
            position,
            streams,
            ..self.blindly(stanza, label, manifest, None)
        })
    }

    /// What names and uploads tell.
    fn blindly(&self, stanza: &str, label: &str, manifest: &Object, parent: Option<String>) -> Base {
        let at = manifest.modified;
        let stamp = label.rsplit('_').next().unwrap_or_default();
        let start = stamp.get(..15).and_then(|stamp| DateTime::strptime("%Y%m%d-%H%M%S", stamp).ok());
        let start = start.and_then(|start| start.to_zoned(TimeZone::UTC).ok()).map(|start| start.timestamp());
        // Labels are in the time of their host.
        let start = start.filter(|start| *start <= at).unwrap_or(at);
        Base {
            id: format!("{stanza}/{label}"),
            scope: Scope::default(),
            kind: if parent.is_some() { BaseKind::Incremental } else { BaseKind::Full },
            parent: parent.map(|parent| format!("{stanza}/{parent}")),
            orphan: false,
            keys: Keys {
                payload: self.folders.iter().map(|folder| Span::Under(folder.clone())).collect(),
                metadata: self.beside.clone(),
                commit: Some(manifest.key.clone()),
            },
            bytes: self.bytes,
            objects: self.objects,
            start,
            consistent_at: at,
            position: Position::Time(start),
            streams: Vec::new(),
            fuzzy: false,
            complete: !self.folders.is_empty() && !self.lost,
            permanent: false,
        }
    }
}

/// The beginning of a manifest: sections of `name=value`, values in JSON.
struct Head<'a>(&'a str);

impl<'a> Head<'a> {
    fn field(&self, section: &str, name: &str) -> Option<&'a str> {
        let mut lines = self.0.lines();
        lines.find(|line| line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) == Some(section))?;
        let mut own = lines.take_while(|line| !line.starts_with('['));
        own.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }

    fn text(&self, section: &str, name: &str) -> Option<&'a str> {
        self.field(section, name)?.strip_prefix('"')?.strip_suffix('"')
    }
}
