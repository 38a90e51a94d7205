//! Reads all runs of a manifest as one stream of facts, sorted by key.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use futures::StreamExt;

use super::{
    Entry, MANIFEST, Record, at_target,
    codec::{self, Unpacker},
};
use crate::{
    backup::{Error, Result},
    store::{ByteStream, GetOptions, ObjectStore},
};

/// Packed bytes that are unpacked at a time: many runs are read at once.
const SLICE: usize = 4096;

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
    body: ByteStream,
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
            self.read_chunk().await?;
        }
        Ok(self.ready.front().map(|entry| entry.key.clone()))
    }

    async fn open_next(&mut self) -> Result<bool> {
        let Some(name) = self.names.pop_front() else { return Ok(false) };
        let key = format!("{}{MANIFEST}{name}", self.prefix);
        // Not found: a twin merged it away. An error that passes: the next reading finds the merge.
        let reply = self.store.get(&key, &GetOptions::default()).await.map_err(at_target)?;
        let unpacker = Unpacker::new().map_err(|e| bad_record(&*self.store, &self.prefix, &name, &e))?;
        self.open = Some(OpenSegment { name, body: reply.body, chunk: Bytes::new(), unpacker, lines: 0 });
        Ok(true)
    }

    async fn read_chunk(&mut self) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.chunk.is_empty() {
            let Some(chunk) = open.body.next().await else {
                self.open = None;
                return Ok(());
            };
            open.chunk = chunk.map_err(at_target)?;
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
        fed.map_err(|error| bad_record(&*self.store, &self.prefix, &open.name, &error))
    }
}
