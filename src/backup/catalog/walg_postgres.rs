//! WAL-G's layout for PostgreSQL.
//!
//! ```text
//! basebackups_005/base_<segment>[_D_<segment>]/{metadata.json, tar_partitions/…}   payload
//! basebackups_005/base_<segment>[_D_<segment>]_backup_stop_sentinel.json           written last
//! wal_005/<segment>[.lz4|.zst|…], <timeline>.history[…], <segment>.<offset>.backup[…]
//! ```
//!
//! A base's name begins with the segment that it begins in, and with that its timeline. A delta goes on
//! top of the base that its sentinel names.

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Adapter, Answers, Base, BaseKind, Catalog, Continuity, Object, Position, Role, Scan, Scope, Unknown,
    Warning,
    archive::{self, Archives, Name},
    basebackups::{Basebackups, Sentineled},
};
use crate::backup::window::Basis;

const LOGS: &str = "wal_005/";

#[derive(Default)]
pub(super) struct WalGPostgres {
    bases: Basebackups,
    archives: Archives,
    unknown: Unknown,
}

/// What is read of a sentinel; see WAL-G's `BackupSentinelDtoV2`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sentinel {
    #[serde(rename = "LSN")]
    start: u64,
    #[serde(rename = "FinishLSN")]
    stop: u64,
    delta_from: Option<String>,
    #[serde(default)]
    compressed_size: u64,
    start_time: Timestamp,
    finish_time: Timestamp,
    #[serde(default)]
    is_permanent: bool,
}

fn log_of(key: &str) -> Option<Name> {
    archive::parse_name(key.strip_prefix(LOGS)?)
}

impl Adapter for WalGPostgres {
    fn role(&self, key: &str) -> Role {
        Basebackups::role(key).unwrap_or(if log_of(key).is_some() { Role::Log } else { Role::Unknown })
    }

    fn see(&mut self, object: &Object) {
        if self.bases.see(object) {
            return;
        }
        match log_of(&object.key) {
            Some(name) => self.archives.see(archive::STREAM, name, object),
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
        let mut catalog = Catalog::new(Basis::Proved, Continuity::Wal);
        let size = |sentinel: &Sentinel| sentinel.compressed_size;
        let found = self.bases.read(answers, &mut catalog.warnings, size);
        for found in found {
            match timeline(&found.id) {
                Some(timeline) => catalog.bases.push(base(found, timeline)),
                None => catalog.warnings.push(nameless(&found.id)),
            }
        }
        let wants = self.archives.wants(&catalog.bases, answers);
        if !wants.is_empty() {
            return Scan::Need(wants);
        }
        self.archives.fill(answers, &mut catalog);
        catalog.unknown = self.unknown.clone();
        catalog.sort();
        Scan::Done(catalog)
    }
}

/// `base_000000010000000000000002_D_…` → 1
fn timeline(id: &str) -> Option<u32> {
    u32::from_str_radix(id.strip_prefix("base_")?.get(..8)?, 16).ok()
}

fn nameless(id: &str) -> Warning {
    let message = format!("backup {id} is left out: its name tells no segment; is the engine PostgreSQL?");
    Warning::new("CorruptMetadata", message)
}

fn base(found: Sentineled<Sentinel>, timeline: u32) -> Base {
    let Sentineled { id, sentinel, keys, bytes, objects, complete, stream: _ } = found;
    let parent = sentinel.delta_from.filter(|parent| !parent.is_empty());
    Base {
        id,
        scope: Scope::default(),
        kind: if parent.is_some() { BaseKind::Incremental } else { BaseKind::Full },
        parent,
        orphan: false,
        keys,
        bytes,
        objects,
        start: sentinel.start_time,
        consistent_at: sentinel.finish_time,
        position: Position::Wal { timeline, start: sentinel.start, stop: sentinel.stop },
        streams: vec![archive::STREAM.to_owned()],
        fuzzy: false,
        complete,
        permanent: sentinel.is_permanent,
    }
}
