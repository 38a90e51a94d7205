//! Reads all runs of a manifest as one stream of facts, sorted by key.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Entry, MANIFEST, Record, at_target,
    codec::{self, Unpacker},
};
use crate::{
    backup::{Error, Result, reader::collect},
    store::{GetOptions, ObjectStore},
};

/// Packed bytes that are unpacked at a time: many runs are read at once.
const SLICE: usize = 1024;
/// Packed bytes that are asked for at a time: no run holds a connection, or more than this, while the
/// others are read.
const WINDOW: u64 = 32 * 1024;

pub(super) fn bad_record(store: &dyn ObjectStore, prefix: &str, name: &str, error: &std::io::Error) -> Error {
    let key = format!("{prefix}{MANIFEST}{name}");
    Error::BadRecord { bucket: store.bucket().to_owned(), key, cause: error.to_string() }
}

/// A manifest being read: a merge of all its runs.
pub struct Records {
    runs: Vec<RunReader>,
    /// The next entry of each run that has one, by key.
    heads: BinaryHeap<Reverse<(String, usize)>>,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("runs", &self.runs.len()).finish_non_exhaustive()
    }
}

impl Records {
    pub(super) async fn open(
        store: Arc<dyn ObjectStore>,
        prefix: String,
        runs: Vec<Vec<String>>,
    ) -> Result<Self> {
        let reader = |names: Vec<String>| RunReader {
            store: Arc::clone(&store),
            prefix: prefix.clone(),
            names: names.into(),
            open: None,
            ready: VecDeque::new(),
        };
        let mut records = Self { runs: runs.into_iter().map(reader).collect(), heads: BinaryHeap::new() };
        for at in 0..records.runs.len() {
            records.push_head(at).await?;
        }
        Ok(records)
    }

    /// The next key and what is known of it.
    ///
    /// # Errors
    /// As [`Manifest::read`](super::Manifest::read).
    pub async fn next(&mut self) -> Result<Option<Record>> {
        Ok(self.next_facts().await?.map(|(key, facts)| Record::of(key, facts)))
    }

    pub(super) async fn next_facts(&mut self) -> Result<Option<(String, Vec<Entry>)>> {
        let Some(Reverse((key, _))) = self.heads.peek().cloned() else { return Ok(None) };
        let mut facts = Vec::new();
        while let Some(Reverse((next, at))) = self.heads.peek() {
            if *next != key {
                break;
            }
            let at = *at;
            self.heads.pop();
            facts.extend(self.runs[at].ready.pop_front());
            self.push_head(at).await?;
        }
        Ok(Some((key, facts)))
    }

    async fn push_head(&mut self, at: usize) -> Result<()> {
        if let Some(key) = self.runs[at].peek().await? {
            self.heads.push(Reverse((key, at)));
        }
        Ok(())
    }
}

struct RunReader {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    names: VecDeque<String>,
    open: Option<OpenSegment>,
    ready: VecDeque<Entry>,
}

struct OpenSegment {
    name: String,
    /// Bytes asked for so far, of how many.
    offset: u64,
    size: u64,
    chunk: Bytes,
    unpacker: Unpacker,
    lines: u64,
}

impl RunReader {
    async fn peek(&mut self) -> Result<Option<String>> {
        while self.ready.is_empty() {
            if self.open.is_none() && !self.open_next().await? {
                return Ok(None);
            }
            self.read_slice().await?;
        }
        Ok(self.ready.front().map(|entry| entry.key.clone()))
    }

    async fn open_next(&mut self) -> Result<bool> {
        let Some(name) = self.names.pop_front() else { return Ok(false) };
        let (chunk, size) = self.fetch(&name, 0).await?;
        let unpacker = Unpacker::new().map_err(|e| bad_record(&*self.store, &self.prefix, &name, &e))?;
        self.open = Some(OpenSegment { name, offset: chunk.len() as u64, size, chunk, unpacker, lines: 0 });
        Ok(true)
    }

    /// A window of a segment, and the segment's size.
    async fn fetch(&self, name: &str, offset: u64) -> Result<(Bytes, u64)> {
        let key = format!("{}{MANIFEST}{name}", self.prefix);
        let options = GetOptions { range: Some((offset, offset + WINDOW - 1)), ..GetOptions::default() };
        // Not found: a twin merged it away. An error that passes: the next reading finds the merge.
        let reply = self.store.get(&key, &options).await.map_err(at_target)?;
        let size = reply.info.size;
        Ok((collect(reply.body).await.map_err(at_target)?, size))
    }

    async fn read_slice(&mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        if open.chunk.is_empty() {
            if open.offset >= open.size {
                return Ok(());
            }
            (open.chunk, _) = self.fetch(&open.name, open.offset).await?;
            open.offset += open.chunk.len() as u64;
            if open.chunk.is_empty() {
                let error = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Err(bad_record(&*self.store, &self.prefix, &open.name, &error));
            }
        }
        let slice = open.chunk.split_to(open.chunk.len().min(SLICE));
        let (lines, ready) = (&mut open.lines, &mut self.ready);
        let fed = open.unpacker.feed(&slice, |line| {
            *lines += 1;
            // The first line is the header. A run's last segment holds nothing else of use.
            if *lines > 1 && !line.starts_with(b"{\"version\"") {
                ready.push_back(codec::parse(line)?);
            }
            Ok(())
        });
        let fed = fed.map_err(|error| bad_record(&*self.store, &self.prefix, &open.name, &error));
        self.open = Some(open);
        fed
    }
}
