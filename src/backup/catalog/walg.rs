//! WAL-G's layout for MySQL and MariaDB.
//!
//! ```text
//! basebackups_005/<name>/…                            payload
//! basebackups_005/<name>_backup_stop_sentinel.json    written last
//! binlog_005/<binlog>.<number>[.zst|.lz4|…]
//! binlog_sentinel_005.json                            rewritten in place
//! ```
//!
//! A sentinel names the binlog that was current when the backup began, or none when only one had been
//! uploaded by then: the base is taken by time in that case. Its `ServerVersion` is not to be trusted.

use std::collections::BTreeMap;

use jiff::{Timestamp, Unit};
use serde::Deserialize;

use super::{
    Adapter, Answer, Answers, Base, BaseKind, Catalog, Continuity, Keys, Object, Part, Position, Role, Scan,
    Span, Unknown, Want, Warning, What,
    gtid::Gtids,
    logs::{self, Binlogs},
};
use crate::backup::window::Basis;

const BASES: &str = "basebackups_005/";
const LOGS: &str = "binlog_005/";
const SENTINEL: &str = "_backup_stop_sentinel.json";

#[derive(Default)]
pub(super) struct WalG {
    bases: BTreeMap<String, Found>,
    binlogs: Binlogs,
    rewritten: Vec<String>,
    unknown: Unknown,
}

#[derive(Default)]
struct Found {
    sentinel: Option<Object>,
    objects: u64,
    bytes: u64,
    newest: Option<Timestamp>,
    lost: bool,
}

/// What is read of a sentinel; see WAL-G's `StreamSentinelDto`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sentinel {
    bin_log_start: Option<String>,
    #[serde(rename = "BinLogFileName")]
    file_name: Option<String>,
    #[serde(rename = "BinLogLastGTID")]
    last_gtid: Option<String>,
    start_local_time: Timestamp,
    stop_local_time: Timestamp,
    #[serde(default)]
    compressed_size: u64,
    #[serde(default)]
    is_permanent: bool,
    #[serde(default)]
    is_incremental: bool,
    delta_from: Option<String>,
}

fn base_of(key: &str) -> Option<(&str, Part)> {
    let rest = key.strip_prefix(BASES)?;
    match rest.split_once('/') {
        Some((id, _)) => Some((id, Part::Payload)),
        None => Some((rest.strip_suffix(SENTINEL)?, Part::Commit)),
    }
}

impl Adapter for WalG {
    fn role(&self, key: &str) -> Role {
        if let Some((id, part)) = base_of(key) {
            return Role::Base { id: id.to_owned(), part };
        }
        match key.strip_prefix(LOGS) {
            Some(file) if logs::parse_name(file).is_some() => Role::Log,
            _ if is_rewritten(key) => Role::Rewritten,
            _ => Role::Unknown,
        }
    }

    fn see(&mut self, object: &Object) {
        match base_of(&object.key) {
            Some((id, Part::Payload)) => {
                let found = self.bases.entry(id.to_owned()).or_default();
                found.objects += 1;
                found.bytes += object.size;
                found.newest = found.newest.max(Some(object.modified));
                return;
            }
            Some((id, _)) => {
                self.bases.entry(id.to_owned()).or_default().sentinel = Some(object.clone());
                return;
            }
            None => {}
        }
        match object.key.strip_prefix(LOGS).and_then(logs::parse_name) {
            Some((name, number)) => self.binlogs.see("", name, number, object),
            None if is_rewritten(&object.key) => self.rewritten.push(object.key.clone()),
            None => self.unknown.add(&object.key, object.size),
        }
    }

    fn lost(&mut self, key: &str) {
        if let Some((id, Part::Payload)) = base_of(key) {
            self.bases.entry(id.to_owned()).or_default().lost = true;
        }
    }

    fn scan(&mut self, answers: &Answers) -> Scan {
        let mut wants: Vec<Want> = self
            .bases
            .values()
            .filter_map(|found| found.sentinel.as_ref())
            .filter(|sentinel| answers.get(sentinel, What::Whole).is_none())
            .map(|sentinel| Want { object: sentinel.clone(), what: What::Whole })
            .collect();
        wants.extend(self.binlogs.wants(answers));
        if !wants.is_empty() {
            return Scan::Need(wants);
        }
        let mut catalog = Catalog::new(Basis::Proved, Continuity::Binlog);
        catalog.segments = self.binlogs.segments(answers, &mut catalog.opaque, &mut catalog.warnings);
        for (id, found) in &self.bases {
            catalog.bases.extend(found.read(id, answers, &mut catalog.warnings));
        }
        catalog.rewritten.clone_from(&self.rewritten);
        catalog.unknown = self.unknown.clone();
        catalog.sort();
        Scan::Done(catalog)
    }
}

fn corrupt(id: &str, sentinel: &Object, cause: &str) -> Warning {
    let message = format!(
        "backup {id} is left out: {} is corrupt: {cause}; bring that file back, or take another backup",
        sentinel.location()
    );
    Warning::new("CorruptMetadata", message)
}

fn is_rewritten(key: &str) -> bool {
    !key.contains('/') && key.starts_with("binlog_sentinel_") && key.strip_suffix(".json").is_some()
}

impl Found {
    fn read(&self, id: &str, answers: &Answers, warnings: &mut Vec<Warning>) -> Option<Base> {
        let path = format!("{BASES}{id}");
        let Some(object) = &self.sentinel else {
            if self.objects > 0 {
                warnings.push(Warning::unfinished(
                    &format!("{path}/"),
                    "it has no sentinel yet",
                    self.newest,
                ));
            }
            return None;
        };
        let sentinel = match answers.get(object, What::Whole) {
            Some(Answer::Whole(bytes)) => match serde_json::from_slice::<Sentinel>(bytes) {
                Ok(sentinel) => sentinel,
                Err(error) => {
                    warnings.push(corrupt(id, object, &error.to_string()));
                    return None;
                }
            },
            Some(Answer::Unreadable(cause)) => {
                warnings.push(corrupt(id, object, cause));
                return None;
            }
            _ => return None,
        };
        let whole = self.objects > 0 && self.bytes >= sentinel.compressed_size && !self.lost;
        if !whole && !self.lost {
            let message = format!(
                "backup {id} is left out: its sentinel is there, of its data {} of {} bytes are, under {path}/; bring them back, or delete its sentinel and take another backup",
                self.bytes, sentinel.compressed_size
            );
            warnings.push(Warning::new("BackupWithoutData", message));
        }
        Some(self.base(id, &path, &sentinel, whole))
    }

    fn base(&self, id: &str, path: &str, sentinel: &Sentinel, complete: bool) -> Base {
        let gtids = sentinel.last_gtid.as_deref().filter(|gtid| !gtid.is_empty()).and_then(Gtids::parse);
        let file = sentinel.file_name.clone().or_else(|| sentinel.bin_log_start.clone());
        let position = match (file.filter(|file| !file.is_empty()), gtids) {
            (None, None) => Position::Time(sentinel.start_local_time),
            (file, gtids) => Position::Binlog { file, gtids },
        };
        let parent =
            sentinel.delta_from.clone().filter(|parent| sentinel.is_incremental && !parent.is_empty());
        let stop = sentinel.stop_local_time;
        Base {
            id: id.to_owned(),
            kind: if sentinel.is_incremental { BaseKind::Incremental } else { BaseKind::Full },
            parent,
            orphan: false,
            keys: Keys {
                payload: vec![Span::Under(format!("{path}/"))],
                metadata: Vec::new(),
                commit: Some(format!("{path}{SENTINEL}")),
            },
            bytes: self.bytes + self.sentinel.as_ref().map_or(0, |object| object.size),
            objects: self.objects + 1,
            start: sentinel.start_local_time,
            consistent_at: stop.round(Unit::Microsecond).unwrap_or(stop),
            position,
            streams: vec![logs::STREAM.to_owned()],
            complete,
            permanent: sentinel.is_permanent,
        }
    }
}
