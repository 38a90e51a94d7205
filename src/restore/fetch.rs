//! From the store straight into whoever unpacks: ranges of an object in parallel, in order.

use std::{
    collections::VecDeque,
    io::{self, Read},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Error, Reporter, Result};
use crate::{
    backup::catalog::Object,
    store::{self, ETag, GetOptions, ObjectStore},
};

/// Length of a range, in bytes. Stores spend on each request what a MiB costs them: shorter ones cost more than they
/// bring.
const RANGE: u64 = 8 << 20;
/// Ranges of one object that are fetched at a time, while one is unpacked.
const PARALLEL: usize = 4;
/// MiB that are being fetched or wait to be unpacked, of all objects that are read side by side.
const ROOM: usize = 40;
/// A range whose transfer breaks is fetched again so many times.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);

/// A copy of backups, as a restore sees it.
#[derive(Clone, Debug)]
pub struct Origin {
    pub store: Arc<dyn ObjectStore>,
    /// Of the copy.
    pub prefix: String,
    pub reporter: Reporter,
}

/// Memory for ranges, shared by all who read side by side. Each range is let in in its object's order, so the one
/// that an object is unpacked next from never waits for one that comes later.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(ROOM)))
    }
}

/// An object that is being read.
#[derive(Clone, Debug)]
struct Reading {
    origin: Origin,
    key: Arc<str>,
    /// What the store calls its content: all ranges are of the same. Told by the first of them.
    tag: Arc<OnceLock<ETag>>,
}

/// Some bytes of an object, as they came.
struct Range {
    chunks: VecDeque<Bytes>,
    /// Held until the bytes are unpacked.
    _room: Option<OwnedSemaphorePermit>,
}

impl Origin {
    /// Gives an object to `take`, which reads it from the beginning, on a thread of its own.
    ///
    /// # Errors
    /// [`Error::Backup`] when the store fails, again and again; [`Error::Damaged`] for an object that is not what it
    /// was when it was planned, or is replaced meanwhile; else what `take` says.
    pub(super) async fn read<T, F>(&self, object: &Object, take: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Box<dyn Read>) -> Result<T> + Send + 'static,
    {
        self.read_beside(&Room::new(), object, take).await
    }

    /// The same, beside others.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) async fn read_beside<T, F>(&self, room: &Room, object: &Object, take: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Box<dyn Read>) -> Result<T> + Send + 'static,
    {
        let reading = self.open(object);
        let ranges = (0..object.size.div_ceil(RANGE)).map(|at| {
            let (first, last) = (at * RANGE, ((at + 1) * RANGE).min(object.size) - 1);
            let (reading, room) = (reading.clone(), Arc::clone(&room.0));
            async move {
                let mib = u32::try_from((last - first) >> 20).unwrap_or_default() + 1;
                let held = room.acquire_many_owned(mib).await;
                let held = held.map_err(|error| Error::Broken(error.to_string()))?;
                Ok(Range { chunks: reading.range(first, last).await?, _room: Some(held) })
            }
            .boxed()
        });
        let mut ranges = stream::iter(ranges).buffered(PARALLEL);
        // It takes all that there is room for: while we waited to hand on, nothing would be fetched.
        let (sender, receiver) = mpsc::channel(ROOM);
        let taking = tokio::task::spawn_blocking(move || {
            let current = Range { chunks: VecDeque::new(), _room: None };
            take(Box::new(Pipe { receiver, current, ended: false }))
        });
        while let Some(range) = ranges.next().await {
            let failed = range.is_err();
            let range = range.map_err(|error| io::Error::other(Broken(Some(error))));
            // A reader that is gone has seen enough, or says itself what it did not like.
            if sender.send(Some(range)).await.is_err() || failed {
                break;
            }
        }
        // Without this, a stream that broke off would look like one that ended.
        sender.send(None).await.ok();
        let taken = taking.await.map_err(|error| Error::Broken(error.to_string()))?;
        taken.map_err(Error::unwrap_store)
    }

    /// An object's first bytes, at most so many.
    pub(super) async fn peek(&self, object: &Object, length: u64) -> Result<Bytes> {
        match object.size.min(length) {
            0 => Ok(Bytes::new()),
            length => {
                let chunks = self.open(object).range(0, length - 1).await?;
                Ok(Vec::from(chunks).concat().into())
            }
        }
    }

    fn open(&self, object: &Object) -> Reading {
        let tag = object.tag().map_or_else(OnceLock::new, |tag| OnceLock::from(tag.clone()));
        let key = format!("{}{}", self.prefix, object.location()).into();
        Reading { origin: self.clone(), key, tag: Arc::new(tag) }
    }
}

impl Reading {
    async fn range(&self, first: u64, last: u64) -> Result<VecDeque<Bytes>> {
        let wanted = last - first + 1;
        let mut attempt = 1;
        loop {
            match self.fetch(first, last).await {
                Ok(chunks) => {
                    let length: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
                    if length != wanted {
                        return Err(
                            self.damaged(format!("{length} bytes from {first} on, where {wanted} should be"))
                        );
                    }
                    self.origin.reporter.fetched(wanted);
                    return Ok(chunks.into());
                }
                Err(store::Error::NotFound(_)) => {
                    return Err(self.damaged("it is not there any more".to_owned()));
                }
                Err(store::Error::Changed(_)) => {
                    return Err(self.damaged(
                        "it was replaced under its name since the restore was planned; plan anew".to_owned(),
                    ));
                }
                Err(error) if error.is_permanent() || error.is_denied() || attempt == ATTEMPTS => {
                    return Err(Error::store(error));
                }
                Err(error) => tracing::warn!(%error, attempt, "a range is fetched again"),
            }
            tokio::time::sleep(PAUSE * attempt).await;
            attempt += 1;
        }
    }

    async fn fetch(&self, first: u64, last: u64) -> store::Result<Vec<Bytes>> {
        let known = self.tag.get().cloned();
        let options = GetOptions { range: Some((first, last)), if_match: known, ..GetOptions::default() };
        let got = self.origin.store.get(&self.key, &options).await?;
        // Ranges that were asked for before the first had told, and stores that don't compare.
        if *self.tag.get_or_init(|| got.info.etag.clone()) != got.info.etag {
            let context = store::Context { key: Some(self.key.to_string()), ..store::Context::default() };
            return Err(store::Error::Changed(context));
        }
        got.body.try_collect().await
    }

    fn damaged(&self, cause: String) -> Error {
        Error::Damaged { key: self.key.to_string(), cause }
    }
}

/// The store's failure on its way through a reader.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.as_ref().map(ToString::to_string).unwrap_or_default())]
struct Broken(Option<Error>);

impl Error {
    /// What a reader met as an error of its input is the store's failure.
    fn unwrap_store(self) -> Self {
        let (path, source) = match self {
            Self::File { path, source } => (path, source),
            other => return other,
        };
        match source.downcast::<Broken>() {
            Ok(Broken(Some(error))) => error,
            Ok(Broken(None)) => Self::Broken(path),
            Err(source) => Self::File { path, source },
        }
    }
}

/// The reading end.
struct Pipe {
    receiver: mpsc::Receiver<Option<io::Result<Range>>>,
    current: Range,
    ended: bool,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(chunk) = self.current.chunks.front_mut() {
                let count = chunk.len().min(buffer.len());
                chunk.copy_to_slice(&mut buffer[..count]);
                if chunk.is_empty() {
                    self.current.chunks.pop_front();
                }
                if count > 0 || buffer.is_empty() {
                    return Ok(count);
                }
            } else if self.ended {
                return Ok(0);
            } else {
                match self.receiver.blocking_recv() {
                    Some(Some(range)) => self.current = range?,
                    Some(None) => self.ended = true,
                    None => return Err(io::ErrorKind::BrokenPipe.into()),
                }
            }
        }
    }
}
