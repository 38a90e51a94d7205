//! Commits in a segment of PostgreSQL's write-ahead log, versions 12 to 18.
//!
//! A segment is walked record by record, as the server does: pages with a header each, records that
//! go on over pages, each with a checksum. Whatever does not hold ends the walk there, as it would end
//! the server's recovery: a switch of segments leaves zeros behind it, a crash leaves older pages.
//! The cost is that of reading (and unpacking) the segment; memory is a page and the head of a record.
//!
//! Layout: PostgreSQL's `access/xlog_internal.h`, `access/xlogrecord.h` and `access/xact.h`.

use std::io::Read;

use crc_fast::{CrcAlgorithm, Digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::binlog::{Unreadable, fill};

/// Page headers' magic numbers of PostgreSQL 12 to 18.
const MAGICS: std::ops::RangeInclusive<u16> = 0xd101..=0xd118;
const SHORT_HEADER: usize = 24;
const LONG_HEADER: usize = 40;
const RECORD_HEADER: usize = 24;
/// The checksum covers a record's header up to here.
const CHECKED_HEADER: usize = 20;
/// What is looked at of a record's body.
const KEPT_BODY: usize = 64;
/// Longer than any record that a server writes.
const MAX_RECORD: usize = (1 << 30) + (1 << 20);
/// Smallest and largest page and segment that a server can be built or made with.
const PAGES: std::ops::RangeInclusive<usize> = 1 << 10..=1 << 16;
pub(super) const SEGMENTS: std::ops::RangeInclusive<u32> = 1 << 20..=1 << 30;
/// Microseconds from 1970 to 2000, where the server's clock begins.
const EPOCH: i64 = 946_684_800_000_000;

/// A page begins within a record of the page before it.
const CONTINUES: u16 = 1;
const LONG: u16 = 2;

/// What a segment holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Commits {
    /// Bytes of a segment, as the server was made with.
    pub segment_size: u32,
    /// The least and the greatest recorded commit time: commits running beside one another may stand in
    /// another order than their times. A commit that ends in the next segment is not counted.
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
}

/// Reads a whole segment.
///
/// # Errors
/// [`Unreadable`] when it is no segment, or shorter or longer than it says it is.
pub fn read_commits(mut input: impl Read) -> Result<Commits, Unreadable> {
    let mut page = vec![0; LONG_HEADER];
    let head = fill(&mut input, &mut page)?;
    let long = u16_at(&page, 2) & LONG != 0;
    if head < LONG_HEADER || !MAGICS.contains(&u16_at(&page, 0)) || !long {
        return Err(Unreadable::NotWal);
    }
    let (segment_size, page_size) = (u32_at(&page, 32), u32_at(&page, 36) as usize);
    let fits = PAGES.contains(&page_size) && page_size.is_power_of_two();
    if !fits || !SEGMENTS.contains(&segment_size) || !segment_size.is_power_of_two() {
        return Err(Unreadable::NotWal);
    }
    page.resize(page_size, 0);
    let mut walk = Walk {
        magic: u16_at(&page, 0),
        address: u64_at(&page, 8),
        state: State::Between,
        found: Found::default(),
    };
    let mut length = LONG_HEADER + fill(&mut input, &mut page[LONG_HEADER..])?;
    let mut walking = length == page_size;
    while length.is_multiple_of(page_size) && length > 0 {
        walking = walking && walk.page(&page);
        match fill(&mut input, &mut page)? {
            0 => break,
            more => length += more,
        }
        if length > segment_size as usize {
            break;
        }
    }
    if length != segment_size as usize {
        return Err(Unreadable::Length { length: length as u64, expected: u64::from(segment_size) });
    }
    Ok(Commits { segment_size, first: walk.found.first, last: walk.found.last })
}

#[derive(Default)]
struct Found {
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

struct Walk {
    magic: u16,
    /// Where the next page lies in the log.
    address: u64,
    state: State,
    found: Found,
}

enum State {
    /// The next record begins at the next aligned place.
    Between,
    /// In the rest of a record whose beginning is not here, so many bytes from its end.
    Skipping(usize),
    Within(Box<Record>),
}

/// A record as far as it has been read.
struct Record {
    total: usize,
    read: usize,
    header: [u8; RECORD_HEADER],
    body: Vec<u8>,
    checksum: Digest,
}

impl Walk {
    /// Takes the next page. False: the log ends here.
    fn page(&mut self, page: &[u8]) -> bool {
        let flags = u16_at(page, 2);
        if u16_at(page, 0) != self.magic || u64_at(page, 8) != self.address {
            return false;
        }
        self.address += page.len() as u64;
        let rest = u32_at(page, 16) as usize;
        let continues = flags & CONTINUES != 0;
        match &self.state {
            State::Within(record) if continues && rest == record.total - record.read => {}
            State::Skipping(left) if continues && rest == *left => {}
            // The beginning lies in the segment before, or was given up by a crash.
            _ if continues => self.state = State::Skipping(rest),
            _ => self.state = State::Between,
        }
        let mut at = if flags & LONG == 0 { SHORT_HEADER } else { LONG_HEADER };
        while at < page.len() {
            let Some(next) = self.step(page, at) else { return false };
            at = next;
        }
        true
    }

    /// Goes on from `at`; answers how far it came, `None` at the end of the log.
    fn step(&mut self, page: &[u8], at: usize) -> Option<usize> {
        let state = std::mem::replace(&mut self.state, State::Between);
        let (left, end) = match state {
            State::Between => {
                let total = u32_at(page, at) as usize;
                if !(RECORD_HEADER..=MAX_RECORD).contains(&total) {
                    return None;
                }
                self.state = State::Within(Box::new(Record::new(total)));
                return Some(at);
            }
            State::Skipping(left) => {
                let end = page.len().min(at + left);
                (left - (end - at), end)
            }
            State::Within(mut record) => {
                let end = page.len().min(at + record.total - record.read);
                record.take(&page[at..end]);
                if record.read < record.total {
                    self.state = State::Within(record);
                    return Some(end);
                }
                if !record.is_sound() || record.switches() {
                    return None;
                }
                self.found.note(record.commit_time());
                (0, end)
            }
        };
        if left > 0 {
            self.state = State::Skipping(left);
        }
        // Records begin at multiples of eight bytes.
        Some(end.next_multiple_of(8))
    }
}

impl Found {
    fn note(&mut self, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.first = Some(self.first.map_or(time, |first| first.min(time)));
            self.last = self.last.max(Some(time));
        }
    }
}

impl Record {
    fn new(total: usize) -> Self {
        let checksum = Digest::new(CrcAlgorithm::Crc32Iscsi);
        Self { total, read: 0, header: [0; RECORD_HEADER], body: Vec::new(), checksum }
    }

    fn take(&mut self, bytes: &[u8]) {
        let of_header = bytes.len().min(RECORD_HEADER.saturating_sub(self.read));
        self.header[self.read.min(RECORD_HEADER)..][..of_header].copy_from_slice(&bytes[..of_header]);
        let body = &bytes[of_header..];
        self.checksum.update(body);
        let kept = body.len().min(KEPT_BODY.saturating_sub(self.body.len()));
        self.body.extend_from_slice(&body[..kept]);
        self.read += bytes.len();
    }

    /// The body is checked before the header.
    fn is_sound(&mut self) -> bool {
        self.checksum.update(&self.header[..CHECKED_HEADER]);
        self.checksum.finalize() == u64::from(u32_at(&self.header, 20))
    }

    fn info(&self) -> u8 {
        self.header[16]
    }

    fn manager(&self) -> u8 {
        self.header[17]
    }

    /// The rest of the segment is empty.
    fn switches(&self) -> bool {
        self.manager() == 0 && self.info() & 0xf0 == 0x40
    }

    /// The time that a commit, also of a prepared transaction, recorded.
    fn commit_time(&self) -> Option<Timestamp> {
        if self.manager() != 1 || !matches!(self.info() & 0x70, 0x00 | 0x30) {
            return None;
        }
        let at = main_data(&self.body)?;
        let time = self.body.get(at..at + 8)?;
        let micros = i64::from_le_bytes(time.try_into().ok()?).checked_add(EPOCH)?;
        Timestamp::from_microsecond(micros).ok()
    }
}

/// Where a record's own data begin, after small headers.
fn main_data(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match body.get(at)? {
            255 => return Some(at + 2),
            254 => return Some(at + 5),
            // Where the transaction came from, and the one that it is part of.
            253 => at += 3,
            252 => at += 5,
            _ => return None,
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at + 4)) << 32 | u64::from(u32_at(bytes, at))
}
