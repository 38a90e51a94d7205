//! The head and the tail of a binlog, as MariaDB and MySQL write it.
//!
//! Only event headers and a few bodies are looked at; everything else is skipped, so the cost is that
//! of reading (and unpacking) the file, and memory is a few KiB plus the GTID list.

mod cut;

use std::io::{self, Read};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::gtid::Gtids;
pub use cut::{Applied, Cut, cut};

const MAGIC: [u8; 4] = *b"\xfebin";
const HEADER: u32 = 19;
/// A GTID list of a server with a long history; more is not a GTID list.
const MAX_BODY: u32 = 4 << 20;
const IN_USE: u16 = 1;

mod event {
    pub const STOP: u8 = 3;
    pub const ROTATE: u8 = 4;
    pub const FORMAT: u8 = 15;
    pub const GTID_MYSQL: u8 = 33;
    pub const PREVIOUS_GTIDS: u8 = 35;
    pub const GTID_TAGGED: u8 = 42;
    pub const GTID_MARIADB: u8 = 162;
    pub const GTID_LIST: u8 = 163;
    pub const START_ENCRYPTION: u8 = 164;
}

/// What the first events of a binlog tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    pub created: Timestamp,
    pub server_id: u32,
    pub server_version: String,
    /// The server had not closed the file when it was read.
    pub in_use: bool,
    /// What was applied before this file. `None`: the server does not say.
    pub previous: Option<Gtids>,
}

/// How a binlog ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Closed, another file follows.
    Rotate,
    /// Closed by a server that shut down.
    Stop,
    /// Not closed: a crash, or a file that was still being written.
    Open,
}

/// What reading a binlog to its end tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tail {
    pub end: End,
    /// Time of the last event: the second in which the file was closed, if it was.
    pub closed: Timestamp,
    /// What is applied after this file. `None`: the server does not say.
    pub state: Option<Gtids>,
    pub first_commit: Option<Timestamp>,
    /// The greatest recorded commit time.
    pub last_commit: Option<Timestamp>,
    /// Transactions with a GTID.
    pub transactions: u64,
}

/// Why a file is not a binlog that can be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("not a binlog")]
    NotABinlog,
    #[error("not an xbstream")]
    NotABackup,
    #[error("not a segment of PostgreSQL's log, versions 12 to 18")]
    NotWal,
    #[error("has {length} bytes, a segment of this server has {expected}")]
    Length { length: u64, expected: u64 },
    #[error("ends within its head")]
    Short,
    #[error("encrypted by the server")]
    Encrypted,
    #[error("damaged at byte {0}")]
    Damaged(u64),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Reads the head. [`Unreadable::Short`] when `input` ends before it is whole: give more.
pub fn read_head(input: impl Read) -> Result<Head, Unreadable> {
    let mut events = Events::open(input)?;
    events.read_head()
}

/// Reads a file to its end: head and tail. A last event that is cut off ends the file before it.
pub fn read_all(input: impl Read) -> Result<(Head, Tail), Unreadable> {
    let mut events = Events::open(input)?;
    let head = events.read_head()?;
    let tail = events.read_tail(&head)?;
    Ok((head, tail))
}

struct Event {
    time: u32,
    kind: u8,
    server_id: u32,
    flags: u16,
    body: u32,
}

struct Events<R> {
    input: R,
    offset: u64,
}

impl<R: Read> Events<R> {
    fn open(mut input: R) -> Result<Self, Unreadable> {
        let mut magic = [0; 4];
        match fill(&mut input, &mut magic)? {
            4 if magic == MAGIC => Ok(Self { input, offset: 4 }),
            n if magic[..n] == MAGIC[..n] => Err(Unreadable::Short),
            _ => Err(Unreadable::NotABinlog),
        }
    }

    /// The next event's header; `None` at the end, or where the file is cut off within one.
    fn next(&mut self) -> Result<Option<Event>, Unreadable> {
        let mut raw = [0; HEADER as usize];
        if fill(&mut self.input, &mut raw)? < raw.len() {
            return Ok(None);
        }
        let length = u32_at(&raw, 9);
        let Some(body) = length.checked_sub(HEADER) else {
            return Err(Unreadable::Damaged(self.offset));
        };
        self.offset += u64::from(HEADER);
        Ok(Some(Event {
            time: u32_at(&raw, 0),
            kind: raw[4],
            server_id: u32_at(&raw, 5),
            flags: u16::from_le_bytes([raw[17], raw[18]]),
            body,
        }))
    }

    /// The event's body; `None` where the file is cut off within it.
    fn body(&mut self, event: &Event) -> Result<Option<Vec<u8>>, Unreadable> {
        if event.body > MAX_BODY {
            return Err(Unreadable::Damaged(self.offset));
        }
        let mut body = vec![0; event.body as usize];
        if fill(&mut self.input, &mut body)? < body.len() {
            return Ok(None);
        }
        self.offset += u64::from(event.body);
        Ok(Some(body))
    }

    /// Skips the event's body; false where the file is cut off within it.
    fn skip(&mut self, event: &Event) -> Result<bool, Unreadable> {
        let skipped = io::copy(&mut (&mut self.input).take(u64::from(event.body)), &mut io::sink())?;
        self.offset += skipped;
        Ok(skipped == u64::from(event.body))
    }

    fn read_head(&mut self) -> Result<Head, Unreadable> {
        let format = self.next()?.ok_or(Unreadable::Short)?;
        if format.kind != event::FORMAT {
            return Err(Unreadable::NotABinlog);
        }
        let body = self.body(&format)?.ok_or(Unreadable::Short)?;
        let version = body.get(2..52).ok_or(Unreadable::NotABinlog)?;
        let mut head = Head {
            created: second(format.time),
            server_id: format.server_id,
            server_version: String::from_utf8_lossy(version).trim_end_matches('\0').to_owned(),
            in_use: format.flags & IN_USE != 0,
            previous: None,
        };
        // The list is the second event, or the third behind an encryption's start.
        let Some(next) = self.next()? else { return Err(Unreadable::Short) };
        match next.kind {
            event::START_ENCRYPTION => return Err(Unreadable::Encrypted),
            event::GTID_LIST => {
                head.previous = parse_gtid_list(&self.body(&next)?.ok_or(Unreadable::Short)?);
            }
            event::PREVIOUS_GTIDS => {
                head.previous = parse_previous_gtids(&self.body(&next)?.ok_or(Unreadable::Short)?);
            }
            _ => {
                self.skip(&next)?;
            }
        }
        Ok(head)
    }

    fn read_tail(&mut self, head: &Head) -> Result<Tail, Unreadable> {
        let mut tail = Tail {
            end: End::Open,
            closed: head.created,
            state: head.previous.clone(),
            first_commit: None,
            last_commit: None,
            transactions: 0,
        };
        while let Some(found) = self.next()? {
            let whole = match found.kind {
                event::GTID_MARIADB | event::GTID_MYSQL => match self.body(&found)? {
                    Some(body) => tail.commit(&found, &body),
                    None => false,
                },
                event::GTID_TAGGED => {
                    tail.state = None;
                    tail.commit_at(second(found.time));
                    self.skip(&found)?
                }
                _ => self.skip(&found)?,
            };
            if !whole {
                tail.end = End::Open;
                break;
            }
            // Events made by a server for itself bear no time.
            if found.time != 0 {
                tail.closed = tail.closed.max(second(found.time));
            }
            tail.end = match found.kind {
                event::ROTATE => End::Rotate,
                event::STOP => End::Stop,
                _ => End::Open,
            };
        }
        Ok(tail)
    }
}

impl Tail {
    fn commit_at(&mut self, time: Timestamp) {
        self.first_commit.get_or_insert(time);
        self.last_commit = self.last_commit.max(Some(time));
        self.transactions += 1;
    }

    fn commit(&mut self, found: &Event, body: &[u8]) -> bool {
        self.commit_at(second(found.time));
        if found.kind == event::GTID_MARIADB {
            if body.len() < 12 {
                return false;
            }
            let state = self.state.get_or_insert_with(|| Gtids::MariaDb(std::collections::BTreeMap::new()));
            state.add_mariadb(u32_at(body, 8), found.server_id, u64_at(body, 0));
        } else {
            if body.len() < 25 {
                return false;
            }
            if let Some(state) = &mut self.state {
                let number = u64_at(body, 17);
                state.add_range(&uuid(&body[1..17]), number, number);
            }
        }
        true
    }
}

fn parse_gtid_list(body: &[u8]) -> Option<Gtids> {
    // The upper four bits are flags.
    let count = u32_at(body.get(..4)?, 0) & 0x0fff_ffff;
    let mut state = Gtids::MariaDb(std::collections::BTreeMap::new());
    for row in body.get(4..4 + 16 * count as usize)?.chunks_exact(16) {
        state.add_mariadb(u32_at(row, 0), u32_at(row, 4), u64_at(row, 8));
    }
    Some(state)
}

/// `None` for sets with tags (MySQL 8.3 and later), whose form is another one.
fn parse_previous_gtids(body: &[u8]) -> Option<Gtids> {
    let sources = u64_at(body.get(..8)?, 0);
    if sources > u64::from(MAX_BODY) / 40 {
        return None;
    }
    let mut set = Gtids::MySql(std::collections::BTreeMap::new());
    let mut rest = &body[8..];
    for _ in 0..sources {
        let source = uuid(rest.get(..16)?);
        let ranges = u64_at(rest.get(16..24)?, 0);
        rest = &rest[24..];
        for _ in 0..ranges {
            let (from, end) = (u64_at(rest.get(..8)?, 0), u64_at(rest.get(8..16)?, 0));
            set.add_range(&source, from, end.checked_sub(1)?);
            rest = &rest[16..];
        }
    }
    Some(set)
}

fn uuid(raw: &[u8]) -> String {
    let hex = hex::encode(raw);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn second(seconds: u32) -> Timestamp {
    Timestamp::from_second(i64::from(seconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn u32_at(raw: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]])
}

fn u64_at(raw: &[u8], at: usize) -> u64 {
    u64::from(u32_at(raw, at)) | u64::from(u32_at(raw, at + 4)) << 32
}

/// Reads until `buffer` is full or the input ends; answers how much was read.
pub(super) fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Unreadable> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A compressed file that is cut off: the packer's way to say that the input ended.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}
