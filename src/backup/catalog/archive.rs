//! An archive of PostgreSQL's write-ahead log, for every tool that keeps one.
//!
//! Segments go on from one another by their place in the log (the size of a segment is the server's;
//! 16 MiB unless it was made with another). Each promotion begins a timeline: its history file says
//! where it left which other one, and its first segment goes on from there; what the old timeline wrote
//! after that goes on from nothing. Names tell no times, so segments are read, from the newest backwards
//! until one holds a commit: no more than that is needed to say how far the log reaches.

mod line;

use std::{collections::BTreeMap, io::Read};

use jiff::Timestamp;

use super::{
    Answer, Answers, Base, Catalog, Object, Position, Want, Warning, What,
    decode::{self, Packing},
    wal::{self, Commits},
};
use crate::backup::window::Basis;
use line::{Forks, Laid};

/// The stream of an archive that has no name of its own.
pub(super) const STREAM: &str = "wal";
const DEFAULT_SIZE: u32 = 16 << 20;
/// A history file has a line a promotion.
const MAX_HISTORY: u64 = 1 << 20;

/// What a file of an archive is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A whole segment, by timeline and the two halves of its number.
    Segment(u32, u32, u32),
    /// Where a timeline came from.
    History(u32),
    /// A backup's label, or a segment that a promotion left unfinished: kept, needed by nobody.
    Beside,
}

/// Tells a file of an archive: `00000001000000000000000A[-<sha1>][.gz|…]`, `00000002.history[.gz|…]`,
/// `….00000028.backup`, `….partial`.
pub(super) fn parse_name(file: &str) -> Option<Name> {
    let (plain, _) = decode::split(file);
    let (name, suffix) = plain.split_once('.').map_or((plain, None), |(name, rest)| (name, Some(rest)));
    let (name, sum) = name.split_once('-').map_or((name, None), |(name, sum)| (name, Some(sum)));
    let number = |at: usize| {
        let digits = name.get(at..at + 8)?;
        let upper = digits.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
        upper.then(|| u32::from_str_radix(digits, 16).ok())?
    };
    match (name.len(), suffix) {
        (24, None) if sum.is_none_or(|sum| sum.len() == 40) => {
            Some(Name::Segment(number(0)?, number(8)?, number(16)?))
        }
        (24, Some(rest)) if rest == "partial" || rest.ends_with("backup") => number(0).map(|_| Name::Beside),
        (8, Some("history")) => number(0).map(Name::History),
        _ => None,
    }
}

/// All archives of a set, by stream.
#[derive(Default)]
pub(super) struct Archives {
    streams: BTreeMap<String, Archive>,
    /// Sizes of segments, in bytes, as a tool tells them.
    pub told: BTreeMap<String, u32>,
    /// The set is encrypted: nothing in it can be read here.
    pub blind: bool,
}

#[derive(Default)]
struct Archive {
    segments: BTreeMap<(u32, u32, u32), Object>,
    histories: BTreeMap<u32, Object>,
    /// What is kept and says nothing; the second of two files for one segment as well.
    beside: Vec<Object>,
    doubles: Vec<Object>,
}

impl Archives {
    /// Takes a file.
    pub(super) fn see(&mut self, stream: &str, name: Name, object: &Object) {
        let archive = self.streams.entry(stream.to_owned()).or_default();
        match name {
            Name::Segment(timeline, log, segment) => {
                let known = archive.segments.insert((timeline, log, segment), object.clone());
                if let Some(known) = known {
                    // The later one is what a server pushed last.
                    let keep_known = known.modified > object.modified;
                    let double = if keep_known {
                        archive.segments.insert((timeline, log, segment), known)
                    } else {
                        Some(known)
                    };
                    archive.doubles.extend(double);
                }
            }
            Name::History(timeline) => {
                archive.histories.insert(timeline, object.clone());
            }
            Name::Beside => archive.beside.push(object.clone()),
        }
    }

    /// The stream of a stanza's newest server.
    pub(super) fn newest(&self, stanza: &str) -> Option<String> {
        let id = |stream: &str| {
            let (_, id) = stream.strip_prefix(stanza)?.strip_prefix('/')?.rsplit_once('-')?;
            id.parse::<u32>().ok()
        };
        let numbered = self.streams.keys().filter_map(|stream| Some((id(stream)?, stream)));
        numbered.max().map(|(_, stream)| stream.clone())
    }

    /// The size of segments in bytes: as a segment says, else its tool, else the usual one.
    fn segment_size(&self, stream: &str, archive: &Archive, answers: &Answers) -> u64 {
        let told = self.told_size(stream, archive, answers);
        // Numbers beyond 0xFF are those of smaller segments.
        let most = archive.segments.keys().map(|(_, _, number)| *number).max().unwrap_or_default();
        let by_names = (1u64 << 32) / (u64::from(most.max(0xff)) + 1).next_power_of_two();
        let size = told.or_else(|| u32::try_from(by_names).ok());
        u64::from(size.filter(|size| wal::SEGMENTS.contains(size)).unwrap_or(DEFAULT_SIZE))
    }

    /// Where the log of a backup begins that was done by `done`: the newest label tells by its name. The archive's
    /// segments can't be read then, so they are taken to have the usual size.
    pub(super) fn labelled(&self, stream: &str, done: Timestamp) -> Option<Position> {
        let labels = self.streams.get(stream)?.beside.iter().filter(|object| object.modified <= done);
        let begun = labels.filter_map(|object| Some((object.modified, label(&object.key)?)));
        let (_, (timeline, start)) = begun.max()?;
        Some(Position::Wal { timeline, start, stop: start + 1 })
    }

    fn told_size(&self, stream: &str, archive: &Archive, answers: &Answers) -> Option<u32> {
        let read = archive.segments.values().rev().find_map(|object| commits(answers, object));
        read.map(|commits| commits.segment_size).or(self.told.get(stream).copied())
    }

    /// The newest segment, where nothing else tells their size and a base needs to know.
    fn sizer(&self, stream: &str, archive: &Archive, bases: &[Base], answers: &Answers) -> Option<Want> {
        let needed = bases.iter().any(|base| base.complete && base.streams.iter().any(|of| of == stream));
        let unknown = needed && self.told_size(stream, archive, answers).is_none();
        let newest = archive.segments.values().next_back().filter(|_| unknown)?;
        let asked = answers.get(newest, What::WalCommits).is_some() || !is_readable(newest);
        (!asked).then(|| Want { object: newest.clone(), what: What::WalCommits })
    }

    /// What must be looked at to say how far the log behind `bases` reaches: histories, and the newest
    /// segments of each line that a base begins in.
    pub(super) fn wants(&self, bases: &[Base], answers: &Answers) -> Vec<Want> {
        if self.blind {
            return Vec::new();
        }
        let mut wants = Vec::new();
        for (stream, archive) in &self.streams {
            let histories = archive.histories.values().filter(|object| object.size <= MAX_HISTORY);
            let unknown = histories.filter(|object| answers.get(object, What::Whole).is_none());
            let unknown: Vec<Want> =
                unknown.map(|object| Want { object: object.clone(), what: What::Whole }).collect();
            if !unknown.is_empty() {
                wants.extend(unknown);
                continue;
            }
            if let Some(want) = self.sizer(stream, archive, bases, answers) {
                wants.push(want);
                continue;
            }
            let laid = self.lay(stream, archive, answers);
            for line in &laid.lines {
                wants.extend(laid.probe(line, bases, answers));
            }
        }
        wants
    }

    /// Puts the segments into a catalog that has its bases already.
    pub(super) fn fill(&self, answers: &Answers, catalog: &mut Catalog) {
        for (stream, archive) in &self.streams {
            let mut laid = self.lay(stream, archive, answers);
            for line in laid.lines.clone() {
                let read = !self.blind && laid.readable(&line);
                if !laid.date(&line, &catalog.bases, answers, read) {
                    catalog.basis = Basis::Estimated;
                }
            }
            archive.name_the_rest(answers, catalog);
            for base in catalog.bases.iter().filter(|base| base.streams.contains(stream)) {
                let lacks = base.complete && !laid.serves(base);
                if lacks && let Some(warning) = without_log(base) {
                    catalog.warnings.push(warning);
                }
            }
            catalog.segments.append(&mut laid.segments);
        }
    }

    fn lay(&self, stream: &str, archive: &Archive, answers: &Answers) -> Laid {
        let size = self.segment_size(stream, archive, answers);
        let sound = archive.segments.iter().filter(|(_, object)| {
            !matches!(answers.get(object, What::WalCommits), Some(Answer::Unreadable(_)))
        });
        Laid::new(stream, size, &archive.forks(answers), sound)
    }
}

impl Archive {
    fn forks(&self, answers: &Answers) -> Forks {
        let fork = |(timeline, object): (&u32, &Object)| {
            let Some(Answer::Whole(packed)) = answers.get(object, What::Whole) else { return None };
            let packing = decode::split(&object.key).1;
            let mut text = String::new();
            let plain = decode::unpack(packing, Box::new(std::io::Cursor::new(packed.clone())));
            plain.take(MAX_HISTORY).read_to_string(&mut text).ok()?;
            Some((*timeline, last_fork(&text)?))
        };
        self.histories.iter().filter_map(fork).collect()
    }

    /// Kept, and vouching for nothing.
    fn name_the_rest(&self, answers: &Answers, catalog: &mut Catalog) {
        catalog.opaque.extend(self.histories.values().chain(&self.beside).cloned());
        for object in &self.doubles {
            let message = format!(
                "{} is the second file for one segment of the log and is left out; a tool's restore may refuse both: find out which server pushed it",
                object.location()
            );
            catalog.warnings.push(Warning::new("SegmentTwice", message));
            catalog.opaque.push(object.clone());
        }
        for object in self.segments.values() {
            if let Some(Answer::Unreadable(cause)) = answers.get(object, What::WalCommits) {
                let message = format!(
                    "log {} is left out: {cause}; restore the file at the source if you can",
                    object.location()
                );
                catalog.warnings.push(Warning::new("CorruptLog", message));
                catalog.opaque.push(object.clone());
            }
        }
    }
}

/// `…/000000010000000000000002.00000028.backup` → timeline 1, byte 0x2000028
fn label(key: &str) -> Option<(u32, u64)> {
    let (name, rest) = key.rsplit('/').next()?.split_once('.')?;
    let offset = u64::from_str_radix(rest.strip_suffix(".backup")?, 16).ok()?;
    let Name::Segment(timeline, log, number) = parse_name(name)? else { return None };
    Some((timeline, (u64::from(log) << 32) + u64::from(number) * u64::from(DEFAULT_SIZE) + offset))
}

fn is_readable(object: &Object) -> bool {
    decode::split(&object.key).1 != Packing::Other
}

fn commits<'a>(answers: &'a Answers, object: &Object) -> Option<&'a Commits> {
    match answers.get(object, What::WalCommits)? {
        Answer::Commits(commits) => Some(commits),
        _ => None,
    }
}

/// The last line of a history file: the timeline before it, and where it ended.
fn last_fork(text: &str) -> Option<(u32, u64)> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut words = lines.next_back()?.split_whitespace();
    Some((words.next()?.parse().ok()?, parse_lsn(words.next()?)?))
}

/// `16/B374D848`
pub(super) fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from(u32::from_str_radix(high, 16).ok()?) << 32 | u64::from(u32::from_str_radix(low, 16).ok()?))
}

/// The log of a base that is not all there: it may come yet.
fn without_log(base: &Base) -> Option<Warning> {
    let Position::Wal { timeline, start, stop } = base.position else { return None };
    let lsn = |lsn: u64| format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff);
    let message = format!(
        "backup {} can't be restored yet: its log from {} to {} on timeline {timeline} is not all there; see why the server archives no more, or take another backup",
        base.id,
        lsn(start),
        lsn(stop)
    );
    Some(Warning { written: Some(base.consistent_at), ..Warning::new("BackupWithoutLog", message) })
}
