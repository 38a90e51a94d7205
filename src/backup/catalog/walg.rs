//! WAL-G's layout for MySQL and MariaDB.
//!
//! ```text
//! basebackups_005/…                                   bases and their sentinels
//! binlog_005/<binlog>.<number>[.zst|.lz4|…]
//! binlog_sentinel_005.json                            rewritten in place
//! ```
//!
//! A sentinel names the binlog that was current when the backup began, or none when only one had been
//! uploaded by then: the base is taken by time in that case. Its `ServerVersion` is not to be trusted.
//!
//! A base is what the user's own command printed: an xbstream, or a dump, which says in its head where the log goes
//! on. A dump holds what was there when it began, and is done when its last row is written: with a log, moments begin
//! there.

use jiff::{Timestamp, Unit};
use serde::Deserialize;

use super::{
    Adapter, Answer, Answers, Base, BaseKind, Catalog, Continuity, Object, Position, Role, Scan, Scope,
    Unknown, Warning, What,
    basebackups::{Basebackups, Sentineled},
    dump::Head,
    gtid::Gtids,
    logs::{self, Binlogs},
};
use crate::backup::window::Basis;

const LOGS: &str = "binlog_005/";

#[derive(Default)]
pub(super) struct WalG {
    bases: Basebackups,
    binlogs: Binlogs,
    rewritten: Vec<String>,
    unknown: Unknown,
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

impl Adapter for WalG {
    fn role(&self, key: &str) -> Role {
        if let Some(role) = Basebackups::role(key) {
            return role;
        }
        match key.strip_prefix(LOGS) {
            Some(file) if logs::parse_name(file).is_some() => Role::Log,
            _ if is_rewritten(key) => Role::Rewritten,
            _ => Role::Unknown,
        }
    }

    fn see(&mut self, object: &Object) {
        if self.bases.see(object) {
            return;
        }
        match object.key.strip_prefix(LOGS).and_then(logs::parse_name) {
            Some((name, number)) => self.binlogs.see("", name, number, object),
            None if is_rewritten(&object.key) => self.rewritten.push(object.key.clone()),
            None => self.unknown.add(&object.key, object.size),
        }
    }

    fn lost(&mut self, key: &str) {
        self.bases.lost(key);
    }

    fn scan(&mut self, answers: &Answers) -> Scan {
        let mut wants = self.bases.wants(answers);
        wants.extend(self.bases.kinds(answers));
        wants.extend(self.binlogs.wants(answers));
        if !wants.is_empty() {
            return Scan::Need(wants);
        }
        let mut catalog = Catalog::new(Basis::Proved, Continuity::Binlog);
        catalog.segments = self.binlogs.segments(answers, &mut catalog.opaque, &mut catalog.warnings);
        let read = self.bases.read(answers, &mut catalog.warnings, |of: &Sentinel| of.compressed_size);
        for read in read {
            let answer = read.stream.as_ref().and_then(|stream| answers.get(stream, What::DumpHead));
            let head =
                answer.and_then(|answer| if let Answer::Dump(head) = answer { head.clone() } else { None });
            let mut base = base(read);
            if let Some(head) = head {
                is_a_dump(&mut base, head, (!catalog.segments.is_empty(), &mut catalog.warnings));
            }
            catalog.bases.push(base);
        }
        catalog.rewritten.clone_from(&self.rewritten);
        catalog.unknown = self.unknown.clone();
        catalog.sort();
        Scan::Done(catalog)
    }
}

fn is_rewritten(key: &str) -> bool {
    !key.contains('/') && key.starts_with("binlog_sentinel_") && key.strip_suffix(".json").is_some()
}

fn base(read: Sentineled<Sentinel>) -> Base {
    let sentinel = read.sentinel;
    let gtids = sentinel.last_gtid.as_deref().filter(|gtid| !gtid.is_empty()).and_then(Gtids::parse);
    let file = sentinel.file_name.or(sentinel.bin_log_start);
    let position = match (file.filter(|file| !file.is_empty()), gtids) {
        (None, None) => Position::Time(sentinel.start_local_time),
        (file, gtids) => Position::Binlog { file, gtids },
    };
    let stop = sentinel.stop_local_time;
    Base {
        id: read.id,
        scope: Scope::default(),
        kind: if sentinel.is_incremental { BaseKind::Incremental } else { BaseKind::Full },
        parent: sentinel.delta_from.filter(|parent| sentinel.is_incremental && !parent.is_empty()),
        orphan: false,
        keys: read.keys,
        bytes: read.bytes,
        objects: read.objects,
        start: sentinel.start_local_time,
        consistent_at: stop.round(Unit::Microsecond).unwrap_or(stop),
        position,
        streams: vec![logs::STREAM.to_owned()],
        fuzzy: false,
        complete: read.complete,
        permanent: sentinel.is_permanent,
    }
}

/// A dump shows the moment at which it began, which its sentinel tells but roughly: only the log makes it a moment
/// that is known.
fn is_a_dump(base: &mut Base, head: Head, (has_logs, warnings): (bool, &mut Vec<Warning>)) {
    if !has_logs || !head.is_placed() {
        base.consistent_at = base.start.round(Unit::Microsecond).unwrap_or(base.start);
    }
    if !head.is_placed() {
        if has_logs {
            let message = format!(
                "dump {} shows its own moment only: it doesn't say where the log goes on; let it be taken with --source-data=2 (MariaDB: --master-data=2)",
                base.id
            );
            warnings.push(Warning::new("DumpWithoutPosition", message));
        }
        base.position = Position::None;
        base.streams.clear();
        return;
    }
    base.fuzzy = has_logs;
    base.position = Position::Binlog { file: head.file, gtids: head.gtids.as_deref().and_then(Gtids::parse) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ETag;

    fn object(key: &str, size: u64) -> Object {
        let modified = "2026-11-21T03:00:00Z".parse().unwrap();
        Object {
            key: key.to_owned(),
            stored_as: None,
            stored_etag: None,
            size,
            etag: ETag("e".to_owned()),
            modified,
        }
    }

    fn catalog(head: Option<Head>, log: bool) -> Catalog {
        let sentinel = object("basebackups_005/stream_1_backup_stop_sentinel.json", 9);
        let stream = object("basebackups_005/stream_1/stream.br", 9);
        let binlog = object("binlog_005/b.000001.br", 9);
        let mut adapter = WalG::default();
        let mut answers = Answers::default();
        let json =
            br#"{"StartLocalTime": "2026-11-21T02:00:00.5Z", "StopLocalTime": "2026-11-21T02:10:00Z"}"#;
        answers.put(&sentinel.key, &sentinel.etag, What::Whole, Answer::Whole(json.as_slice().into()));
        answers.put(&stream.key, &stream.etag, What::DumpHead, Answer::Dump(head));
        let created = "2026-11-21T01:00:00Z".parse().unwrap();
        let read = super::super::binlog::Head {
            created,
            server_id: 1,
            server_version: "9.7.4".to_owned(),
            in_use: false,
            previous: None,
        };
        answers.put(&binlog.key, &binlog.etag, What::BinlogHead, Answer::Head(read));
        answers.put(&binlog.key, &binlog.etag, What::BinlogTail, Answer::Withheld);
        for object in [&sentinel, &stream].into_iter().chain(log.then_some(&binlog)) {
            adapter.see(object);
        }
        match adapter.scan(&answers) {
            Scan::Done(catalog) => catalog,
            Scan::Need(wants) => panic!("{wants:?}"),
        }
    }

    fn placed() -> Head {
        Head { file: Some("b.000001".to_owned()), position: Some(157), gtids: None }
    }

    #[test]
    fn b06_a_dump_counts_once_the_log_reaches_its_end() {
        let with = &catalog(Some(placed()), true).bases[0];
        assert!(with.fuzzy && with.consistent_at.to_string() == "2026-11-21T02:10:00Z", "{with:?}");
        let file = Some("b.000001".to_owned());
        assert_eq!(with.position, Position::Binlog { file, gtids: None });
        // Alone, what it shows is its beginning's.
        let alone = &catalog(Some(placed()), false).bases[0];
        assert!(!alone.fuzzy && alone.consistent_at.to_string() == "2026-11-21T02:00:00.5Z", "{alone:?}");
        // What is no dump is consistent when it is done.
        let other = &catalog(None, true).bases[0];
        assert!(!other.fuzzy && other.consistent_at == with.consistent_at, "{other:?}");
    }

    #[test]
    fn b06_a_dump_that_says_nothing_of_the_log_goes_nowhere() {
        let catalog = catalog(Some(Head::default()), true);
        assert!(catalog.bases[0].streams.is_empty() && catalog.bases[0].position == Position::None);
        assert_eq!(catalog.warnings[0].reason, "DumpWithoutPosition");
    }
}
