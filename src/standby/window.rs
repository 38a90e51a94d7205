//! Groups of changes that are written down and applied together.

use std::{
    io::{Read, Write},
    time::Duration,
};

use mongodb::bson;
use serde::{Deserialize, Serialize};

use super::{
    Error, Result,
    feed::{Group, Position},
};
use crate::mongo::{Change, diff::Update};

/// Changes of a window at most, but for a transaction, which is never divided.
const CHANGES: usize = 2_000;
/// However slow a target is, so many are written together.
const FEW: usize = 50;
/// Changes of the first window, when nothing is known of the target yet.
const FIRST: usize = 500;
/// What a run that is killed has begun is repeated by the next one: it shall be no more than a second's work.
const LONG: Duration = Duration::from_millis(700);
/// A window that takes less may be larger.
const SHORT: Duration = Duration::from_millis(250);
/// Their size.
const BYTES: usize = 4 << 20;
/// Little of the time of a write, and a third of the size.
const LEVEL: i32 = 1;
/// A message of a server holds no more.
const DOCUMENT: usize = 48 << 20;

/// Whole groups, in the master's order; at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// One more than that of the window before.
    pub number: i64,
    pub groups: Vec<Group>,
}

impl Window {
    /// Where it ends.
    ///
    /// # Errors
    /// [`Error::Broken`] for a window that holds nothing.
    pub fn position(&self) -> Result<&Position> {
        let last = self.groups.last().map(|group| &group.position);
        last.ok_or_else(|| Error::Broken(format!("window {} holds nothing", self.number)))
    }

    /// Number of changes.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.groups.iter().map(|group| group.changes.len()).sum()
    }

    /// Transactions of more than one change.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.groups.iter().filter(|group| group.changes.len() > 1).count()
    }

    /// As compressed BSON: each change, and after those of a group its position.
    ///
    /// # Errors
    /// [`Error::Broken`] for what can't be written as BSON.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let failed =
            |error: &dyn std::fmt::Display| Error::Broken(format!("window {}: {error}", self.number));
        let mut output = zstd::Encoder::new(Vec::new(), LEVEL).map_err(|error| failed(&error))?;
        let mut buffer = Vec::new();
        let mut write = |line: &Line<&Change, &Position>| -> Result<()> {
            buffer.clear();
            bson::serialize_to_buffer(line, &mut buffer).map_err(|error| failed(&error))?;
            output.write_all(&buffer).map_err(|error| failed(&error))
        };
        for group in &self.groups {
            for change in &group.changes {
                write(&Line::Change(change))?;
            }
            write(&Line::End(&group.position))?;
        }
        output.finish().map_err(|error| failed(&error))
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`Error::Broken`] for what it didn't write.
    pub fn decode(number: i64, bytes: &[u8]) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::Broken(format!("window {number} of farshore.journal can't be read: {error}"))
        };
        let mut input = zstd::Decoder::new(bytes).map_err(|error| failed(&error))?;
        let (mut groups, mut changes, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
        while next(&mut input, &mut buffer).map_err(|error| failed(&error))? {
            match bson::deserialize_from_slice(&buffer).map_err(|error| failed(&error))? {
                Line::Change(change) => changes.push(change),
                Line::End(position) => groups.push(Group { changes: std::mem::take(&mut changes), position }),
            }
        }
        if changes.is_empty() {
            Ok(Self { number, groups })
        } else {
            Err(failed(&"it ends within a transaction"))
        }
    }
}

#[derive(Serialize, Deserialize)]
enum Line<C, P> {
    Change(C),
    End(P),
}

/// Reads one document; false at the end.
fn next(input: &mut impl Read, buffer: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut head = [0; 4];
    if input.read(&mut head[..1])? == 0 {
        return Ok(false);
    }
    input.read_exact(&mut head[1..])?;
    let length = usize::try_from(i32::from_le_bytes(head)).unwrap_or_default();
    if !(5..=DOCUMENT).contains(&length) {
        return Err(std::io::Error::other(format!("a document of {length} bytes")));
    }
    buffer.clear();
    buffer.extend_from_slice(&head);
    buffer.resize(length, 0);
    input.read_exact(&mut buffer[4..])?;
    Ok(true)
}

/// Gathers groups until they are a window.
#[derive(Debug)]
pub struct Gathering {
    groups: Vec<Group>,
    changes: usize,
    bytes: usize,
    /// Changes of a window, as fast as the target is.
    most: usize,
}

impl Default for Gathering {
    fn default() -> Self {
        Self { groups: Vec::new(), changes: 0, bytes: 0, most: FIRST }
    }
}

impl Gathering {
    pub fn add(&mut self, group: Group) {
        self.changes += group.changes.len();
        self.bytes += weight(&group);
        self.groups.push(group);
    }

    /// No more should be added, even where the window before is not through.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.changes >= self.most || self.bytes >= BYTES
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// What was gathered, as a window; begins anew.
    #[must_use]
    pub fn take(&mut self, number: i64) -> Window {
        (self.changes, self.bytes) = (0, 0);
        Window { number, groups: std::mem::take(&mut self.groups) }
    }

    /// Takes note of how long a window of so many changes took.
    pub fn pace(&mut self, changes: usize, took: Duration) {
        if took > LONG {
            self.most = (self.most.min(changes) / 2).max(FEW);
        } else if took < SHORT && changes >= self.most {
            self.most = (self.most * 2).min(CHANGES);
        }
    }
}

/// About the size of a group in memory.
#[must_use]
pub fn weight(group: &Group) -> usize {
    group.changes.iter().map(size).sum()
}

/// About its size in memory.
fn size(change: &Change) -> usize {
    let of = |document: &bson::Document| {
        let mut count = Count(0);
        document.to_writer(&mut count).map_or(0, |()| count.0)
    };
    match change {
        Change::Put { document, .. } => of(document),
        Change::Update { update, .. } => bytes(update),
        Change::Remove { .. } | Change::Define(_) => 64,
    }
}

fn bytes(update: &Update) -> usize {
    let mut count = Count(0);
    bson::serialize_to_vec(update).map_or(0, |written| count.write(&written).unwrap_or_default())
}

/// Counts what is written.
struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
