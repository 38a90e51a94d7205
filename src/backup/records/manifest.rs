//! The manifest: append-only, on a store that can't append.
//!
//! Every append is an object of its own, sorted by key, under a name that nobody else uses; so two
//! workers may append at once. Objects of one level are merged into one run of the next when there are
//! [`FAN_IN`] of them: their number stays O(log entries), and all are read together as one sorted stream
//! in bounded memory. A merge is written first and names what it replaces in its last object; a crash in
//! between leaves facts that are there twice, which does no harm.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::StreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Entry, Fact, MANIFEST, at_target,
    codec::{Packer, Unpacker},
    entry,
    reading::{Records, bad_record},
};
use crate::{
    backup::{Error, Result},
    store::{self, GetOptions, ListRequest, ObjectStore, PutOptions},
};

/// Runs of a level from which on they are merged into one of the next.
const FAN_IN: usize = 8;
/// Runs that are merged at once: each being read costs a decoder.
const MERGED: usize = 16;
/// How long a merge's inputs stay, for who is reading them.
const GRACE_MICROS: u64 = 15 * 60 * 1_000_000;
/// Appends after which a long copy merges by itself.
const APPENDS: u64 = 16;
/// Packed size at which a merge goes on in another object.
const SEGMENT: usize = 1 << 20;
/// Entries of an append that go into one object.
const APPEND: usize = 4096;
/// How long it is remembered that a key is gone: far longer than a worker may be late.
const FORGET_MICROS: u64 = 7 * 24 * 3600 * 1_000_000;

/// The manifest of one copy. Shared by all that write in one run.
#[derive(Debug)]
pub struct Manifest {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    /// The highest order seen or given.
    order: AtomicU64,
    /// Appends since the last merge.
    appends: AtomicU64,
    /// One merge at a time.
    merging: tokio::sync::Mutex<()>,
    /// Keys that are gone are remembered for ever: old versions of them may still lie there.
    keep_gone: bool,
}

/// First line of a segment.
#[derive(Default, Serialize, Deserialize)]
struct Header {
    version: u32,
    /// Object names that this run takes the place of; in its last segment only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replaces: Vec<String>,
}

/// One merge or append: its segments in key order.
#[derive(Debug)]
struct Run {
    level: u32,
    names: Vec<String>,
}

impl Manifest {
    /// A manifest below `prefix`. `keep_gone` where the bucket keeps versions.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str, keep_gone: bool) -> Self {
        Self {
            store,
            prefix: prefix.to_owned(),
            order: AtomicU64::new(0),
            appends: AtomicU64::new(0),
            merging: tokio::sync::Mutex::new(()),
            keep_gone,
        }
    }

    /// Adds facts. They hold when this returns; after an error some may.
    ///
    /// # Errors
    /// [`Error::Store`], and [`Error::BadRecord`] for what can't be written as JSON.
    pub async fn append(&self, now: Timestamp, facts: Vec<(String, Fact)>) -> Result<()> {
        if facts.is_empty() {
            return Ok(());
        }
        let order = self.next_order(now);
        let mut entries: Vec<Entry> =
            facts.into_iter().map(|(key, fact)| Entry { key, order, fact }).collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        for (at, chunk) in entries.chunks(APPEND).enumerate() {
            // Each one stands for itself.
            let run = format!("0-{order:016x}-{:016x}{at:04x}", fastrand::u64(..));
            let mut packer = self.packer(&run, &Header { version: 1, replaces: Vec::new() })?;
            for entry in chunk {
                packer.push(entry).map_err(|error| self.bad(&run, &error))?;
            }
            self.write(&run, 0, packer).await?;
            self.appends.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Merges when a long copy has appended much since the last merge.
    ///
    /// # Errors
    /// As [`Manifest::compact`].
    pub async fn compact_if_grown(&self, now: Timestamp) -> Result<()> {
        if self.appends.load(Ordering::Relaxed) < APPENDS { Ok(()) } else { self.compact(now).await }
    }

    /// Everything that is known, key by key in bytewise order.
    ///
    /// # Errors
    /// [`Error::Store`], and [`Error::BadRecord`] for a segment that is not ours.
    pub async fn read(&self) -> Result<Records> {
        let (runs, _) = self.runs().await?;
        let names = runs.into_iter().map(|run| run.names).collect();
        Records::open(Arc::clone(&self.store), self.prefix.clone(), names).await
    }

    /// Merges levels that have grown, and removes what was merged long enough ago. Cheap when nothing
    /// has grown; does nothing while another merge of this process goes on.
    ///
    /// # Errors
    /// As [`Manifest::read`]. Nothing is lost by a failure.
    pub async fn compact(&self, now: Timestamp) -> Result<()> {
        let Ok(_merging) = self.merging.try_lock() else { return Ok(()) };
        self.appends.store(0, Ordering::Relaxed);
        loop {
            let (runs, mut replaced) = self.runs().await?;
            let late = self.micros(now).saturating_sub(GRACE_MICROS);
            replaced.retain(|(order, _)| *order <= late);
            // What was replaced first goes first: who names it must outlive it.
            replaced.sort();
            self.remove(replaced.iter().map(|(_, name)| name)).await?;
            let mut levels: BTreeMap<u32, Vec<Run>> = BTreeMap::new();
            let total = runs.len();
            for run in runs {
                levels.entry(run.level).or_default().push(run);
            }
            let Some((level, runs)) = levels.into_iter().find(|(_, runs)| runs.len() >= FAN_IN) else {
                return Ok(());
            };
            let inputs: Vec<Vec<String>> = runs.into_iter().take(MERGED).map(|run| run.names).collect();
            let all = inputs.len() == total;
            self.merge(now, level + 1, inputs, all).await?;
        }
    }

    async fn merge(&self, now: Timestamp, level: u32, inputs: Vec<Vec<String>>, all: bool) -> Result<()> {
        let order = self.next_order(now);
        let forget = order.saturating_sub(FORGET_MICROS);
        let run = format!("{level}-{order:016x}-{:016x}0000", fastrand::u64(..));
        let replaces: Vec<String> = inputs.iter().flatten().cloned().collect();
        let mut input = Records::open(Arc::clone(&self.store), self.prefix.clone(), inputs).await?;
        let mut packer = self.packer(&run, &Header { version: 1, replaces: Vec::new() })?;
        let mut part = 0;
        while let Some((_, facts)) = input.next_facts().await? {
            let facts = entry::current(facts);
            let gone = |entry: &Entry| entry.fact == Fact::Gone && entry.order < forget;
            // Only who sees all facts about a key may forget it.
            if all && !self.keep_gone && facts.iter().any(gone) {
                continue;
            }
            for entry in &facts {
                packer.push(entry).map_err(|error| self.bad(&run, &error))?;
            }
            if packer.len() > SEGMENT {
                let full = self.packer(&run, &Header { version: 1, replaces: Vec::new() })?;
                self.write(&run, part, std::mem::replace(&mut packer, full)).await?;
                part += 1;
            }
        }
        self.write(&run, part, packer).await?;
        let mut last = self.packer(&run, &Header { version: 1, replaces: replaces.clone() })?;
        last.push(&Header::default()).map_err(|error| self.bad(&run, &error))?;
        self.write(&run, part + 1, last).await
    }

    fn micros(&self, now: Timestamp) -> u64 {
        // A clock that went back must not make anything look old.
        u64::try_from(now.as_microsecond()).unwrap_or_default().min(self.order.load(Ordering::SeqCst))
    }

    fn next_order(&self, now: Timestamp) -> u64 {
        let now = u64::try_from(now.as_microsecond()).unwrap_or_default();
        let next = |order: u64| Some(now.max(order + 1));
        let last = self.order.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).unwrap_or_default();
        now.max(last + 1)
    }

    fn packer(&self, name: &str, header: &Header) -> Result<Packer> {
        let mut packer = Packer::new().map_err(|error| self.bad(name, &error))?;
        packer.push(header).map_err(|error| self.bad(name, &error))?;
        Ok(packer)
    }

    async fn write(&self, run: &str, part: u32, packer: Packer) -> Result<()> {
        let name = format!("{run}-{part:06}.jsonl.zst");
        let body = packer.finish().map_err(|error| self.bad(&name, &error))?;
        let key = format!("{}{MANIFEST}{name}", self.prefix);
        self.store.put(&key, body, &PutOptions::default()).await.map_err(at_target)?;
        Ok(())
    }

    async fn remove(&self, names: impl Iterator<Item = &String>) -> Result<()> {
        for name in names {
            let key = format!("{}{MANIFEST}{name}", self.prefix);
            self.store.delete(&key, None).await.map_err(at_target)?;
        }
        Ok(())
    }

    fn bad(&self, name: &str, error: &std::io::Error) -> Error {
        bad_record(&*self.store, &self.prefix, name, error)
    }

    /// Runs that hold, and segments that others have taken the place of, with the order of who did.
    async fn runs(&self) -> Result<(Vec<Run>, Vec<(u64, String)>)> {
        let names = self.names().await?;
        let run_of = |name: &str| name.rsplit_once('-').map(|(run, _)| run.to_owned());
        let mut replaced: HashMap<String, u64> = HashMap::new();
        for (at, name) in names.iter().enumerate() {
            let order = name.split('-').nth(1).and_then(|hex| u64::from_str_radix(hex, 16).ok());
            let order = order.unwrap_or_default();
            self.order.fetch_max(order, Ordering::SeqCst);
            // Only the last segment of a merge says what it replaces.
            let last = names.get(at + 1).is_none_or(|next| run_of(next) != run_of(name));
            if last && !name.starts_with("0-") {
                replaced.extend(self.header(name).await?.replaces.into_iter().map(|name| (name, order)));
            }
        }
        let mut runs: BTreeMap<String, Run> = BTreeMap::new();
        let mut stale = Vec::new();
        for name in names {
            if let Some(order) = replaced.get(&name) {
                stale.push((*order, name));
                continue;
            }
            let Some(run) = run_of(&name) else { continue };
            let level = run.split('-').next().and_then(|level| level.parse().ok()).unwrap_or_default();
            runs.entry(run).or_insert(Run { level, names: Vec::new() }).names.push(name);
        }
        Ok((runs.into_values().collect(), stale))
    }

    async fn names(&self) -> Result<Vec<String>> {
        let folder = format!("{}{MANIFEST}", self.prefix);
        let mut names = Vec::new();
        let mut token = None;
        loop {
            let request = ListRequest { prefix: folder.clone(), token, ..ListRequest::default() };
            let page = self.store.list(&request).await.map_err(at_target)?;
            names.extend(page.objects.iter().filter_map(|o| o.key.strip_prefix(&folder).map(str::to_owned)));
            token = page.next;
            if token.is_none() {
                return Ok(names);
            }
        }
    }

    /// What a merged segment replaces. Only the last of a run says so; it is small.
    async fn header(&self, name: &str) -> Result<Header> {
        let key = format!("{}{MANIFEST}{name}", self.prefix);
        let options = GetOptions { range: Some((0, 64 * 1024 - 1)), ..GetOptions::default() };
        let mut body = match self.store.get(&key, &options).await {
            Ok(reply) => reply.body,
            // Merged away meanwhile: whoever did it replaces this one too.
            Err(store::Error::NotFound(_)) => return Ok(Header::default()),
            Err(error) => return Err(at_target(error)),
        };
        let mut unpacker = Unpacker::new().map_err(|error| self.bad(name, &error))?;
        let mut header = None;
        while header.is_none()
            && let Some(chunk) = body.next().await
        {
            let chunk = chunk.map_err(at_target)?;
            let fed = unpacker.feed(&chunk, |line| {
                if header.is_none() {
                    header = Some(serde_json::from_slice::<Header>(line)?);
                }
                Ok(())
            });
            fed.map_err(|error| self.bad(name, &error))?;
        }
        Ok(header.unwrap_or_default())
    }
}
