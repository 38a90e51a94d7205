//! Copies one object exactly: bytes, content headers, user metadata, the ETag with its parts, tags, locks,
//! and whatever else is asked for.

mod align;
mod keep;
mod lacks;
mod layout;
mod look;
mod parts;
mod pipe;
mod small;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::{Error, Result};
use crate::store::{
    self, ETag, GetOptions, ObjectInfo, ObjectStore, Precondition, PutOptions, PutReply, Side,
    abilities::Abilities,
};
pub use keep::{Attribute, Created, Keep, LeftOut};
use keep::{Found, with_tags_named};
pub use lacks::cannot_hold;
use layout::Layout;
use pipe::Tap;

/// Objects up to this size go from memory in one request; larger ones are streamed.
const SMALL: u64 = 8 << 20;
/// Largest object that one PUT may make.
const LARGEST_PUT: u64 = 5 << 30;
/// Parts of large objects on their way at a time, of all objects together: about 1 MiB each.
const PARTS: usize = 32;
/// Memory of all small objects of one copier.
const BUFFERS: u64 = 16 << 20;
const KIB: u64 = 1024;
/// Times that one transfer is begun anew.
const TRIES: u32 = 5;
/// Times that a changing source is followed.
const FOLLOWED: u32 = 3;

/// Told how many more bytes went on their way to the target. Called often: count, and sample the count.
pub type OnBytes = Arc<dyn Fn(u64) + Send + Sync>;

/// What to copy.
#[derive(Clone, Debug)]
pub struct CopyRequest {
    pub source_key: String,
    pub target_key: String,
    /// Size seen in a listing: saves a request for large objects, decides nothing.
    pub size: Option<u64>,
    /// Copies only this content: another one ends in [`Outcome::Changed`]. `None` copies whatever is
    /// there, following changes.
    pub etag: Option<ETag>,
    /// When the target may be written.
    pub precondition: Precondition,
}

impl CopyRequest {
    /// Copies what is there now, under the same key, over whatever the target holds.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        let key = key.into();
        Self {
            source_key: key.clone(),
            target_key: key,
            size: None,
            etag: None,
            precondition: Precondition::None,
        }
    }
}

/// How a copy ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target holds the object.
    Copied(Copied),
    /// The source holds no such object (any more). The target is as it was.
    Gone,
    /// The source holds another content than asked for. The target is as it was.
    Changed,
    /// The object can't be copied as it lies there. The target is as it was.
    Skipped(Skipped),
}

/// Why an object was left where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It lies in an archive, from which somebody must restore it first.
    Archived,
}

/// An object that was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of the object.
    pub size: u64,
    pub source_etag: ETag,
    /// Equal to `source_etag` unless a side's tags are not MD5s (encryption with a key service) or the
    /// parts could not be made again (smaller than the target takes, or hidden by the source).
    pub target_etag: ETag,
    /// Version at the target, where it keeps versions.
    pub version: Option<String>,
    /// The target's object was written by this copy; false where it was there, and at most its tags or its lock were
    /// changed in place.
    pub wrote: bool,
    /// The source's time of the last write, by the source's clock.
    pub modified: Timestamp,
    /// Bytes sent by this copy: less than `size` after a resumption.
    pub sent: u64,
    /// Parts found at the target from an earlier copy that was cut short.
    pub parts_reused: u32,
    /// What the target could not be given.
    pub left_out: Vec<LeftOut>,
}

impl Copied {
    fn whole(info: &ObjectInfo, put: PutReply, left_out: Vec<LeftOut>) -> Self {
        Self {
            size: info.size,
            source_etag: info.etag.clone(),
            target_etag: put.etag,
            version: put.version,
            wrote: true,
            modified: info.modified,
            sent: info.size,
            parts_reused: 0,
            left_out,
        }
    }
}

/// Copies objects from one store to another. Shared by all copies of a run: it bounds their memory to
/// 16 MiB of small objects, and about 1 MiB for each part in flight of large ones, of which there are at most 32.
#[derive(Clone)]
pub struct Copier {
    source: Arc<dyn ObjectStore>,
    target: Arc<dyn ObjectStore>,
    parts_in_flight: usize,
    buffers: Arc<Semaphore>,
    parts: Arc<Semaphore>,
    on_bytes: OnBytes,
    keep: Arc<Keep>,
    /// The source's, and the target's.
    abilities: Arc<(Option<Abilities>, Option<Abilities>)>,
    found: Arc<Found>,
    /// Why this object is copied without its tags.
    tags_refused: Option<Arc<str>>,
    /// The tag of an object in parts was no proof of its content: a side encrypts. Parts are hashed then.
    tags_prove_nothing: Arc<AtomicBool>,
}

impl std::fmt::Debug for Copier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copier")
            .field("source", &self.source)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Copier {
    /// A copier with four parts in flight.
    #[must_use]
    pub fn new(source: Arc<dyn ObjectStore>, target: Arc<dyn ObjectStore>) -> Self {
        let buffers = Arc::new(Semaphore::new(kib(BUFFERS) as usize));
        Self {
            source,
            target,
            parts_in_flight: 4,
            buffers,
            parts: Arc::new(Semaphore::new(PARTS)),
            on_bytes: Arc::new(|_| {}),
            keep: Arc::default(),
            abilities: Arc::default(),
            found: Arc::default(),
            tags_refused: None,
            tags_prove_nothing: Arc::default(),
        }
    }

    /// Parts of one large object that are in flight at once.
    #[must_use]
    pub fn parts_in_flight(mut self, parts: usize) -> Self {
        self.parts_in_flight = parts.max(1);
        self
    }

    /// Who is told of bytes on their way.
    #[must_use]
    pub fn on_bytes(mut self, on_bytes: OnBytes) -> Self {
        self.on_bytes = on_bytes;
        self
    }

    /// Copies one object and verifies it from the replies.
    ///
    /// A small object costs one GET and one PUT. A multipart object is sent in the source's own
    /// parts, so that its ETag is the same; parts that an earlier copy left at the target are not
    /// sent again. A large object that the source holds in one piece is sent in one piece, for the
    /// same reason, and can't be resumed; after two broken tries it is sent in parts.
    ///
    /// Every read of a large object is bound to the ETag seen first. Dropping the future, an error
    /// and a kill all leave the target's object as it was; uploaded parts stay for the next copy.
    ///
    /// # Errors
    /// [`Error::Store`] with the side that failed. `Changed` at the target: the precondition did not
    /// hold, and what is there is not this object. [`Error::Restless`] when the source changed three
    /// times meanwhile.
    pub async fn copy(&self, request: &CopyRequest) -> Result<Outcome> {
        for tries in 1..=FOLLOWED {
            return match self.copy_once(request).await {
                Ok(copied) => Ok(Outcome::Copied(copied)),
                Err(Error::Store { side: Side::Source, source: store::Error::NotFound(_) }) => {
                    Ok(Outcome::Gone)
                }
                Err(Error::Store { side: Side::Source, source: store::Error::Changed(_) }) => {
                    if request.etag.is_some() {
                        return Ok(Outcome::Changed);
                    }
                    continue;
                }
                Err(Error::Store { side: Side::Source, source: store::Error::Archived(_) }) => {
                    Ok(Outcome::Skipped(Skipped::Archived))
                }
                Err(error) if self.does_without(&error) => continue,
                // Another copy of the same object, overlapping ours, dropped or finished our upload.
                Err(Error::Store { side: Side::Target, source: store::Error::NotFound(_) })
                    if tries < FOLLOWED =>
                {
                    continue;
                }
                Err(error @ Error::Store { side: Side::Target, source: store::Error::Changed(_) }) => {
                    self.already_there(request).await.map(Outcome::Copied).ok_or(error)
                }
                Err(error) => match self.without_tags(&error) {
                    Some(copier) => Box::pin(copier.copy(request)).await,
                    None => Err(error),
                },
            };
        }
        Err(Error::Restless { key: request.source_key.clone(), times: FOLLOWED })
    }

    async fn copy_once(&self, request: &CopyRequest) -> Result<Copied> {
        let in_parts = request.etag.as_ref().is_some_and(|tag| tag.parts().is_some());
        if in_parts || request.size.is_some_and(|size| size > SMALL) {
            let info = self.source.head(&request.source_key).await.map_err(Error::source)?;
            if request.etag.as_ref().is_some_and(|tag| *tag != info.etag) {
                let place = context(&*self.source, &request.source_key);
                return Err(Error::source(store::Error::Changed(place)));
            }
            return self.copy_large(request, info).await;
        }
        let options = GetOptions { if_match: request.etag.clone(), ..GetOptions::default() };
        let mut reply = self.source.get(&request.source_key, &options).await.map_err(Error::source)?;
        reply.info = self.told(&request.source_key, reply.info).await?;
        if reply.info.size > SMALL || reply.info.etag.parts().is_some() {
            let info = reply.info.clone();
            drop(reply);
            return self.copy_large(request, info).await;
        }
        self.copy_small(request, reply).await
    }

    /// A store looks at the precondition last: what can't be written is found out before it is sent.
    async fn check_absence(&self, request: &CopyRequest) -> Result<()> {
        if request.precondition != Precondition::Absent {
            return Ok(());
        }
        match self.target.head(&request.target_key).await {
            Err(store::Error::NotFound(_)) => Ok(()),
            Err(error) => Err(Error::target(error)),
            Ok(_) => Err(Error::target(store::Error::Changed(context(&*self.target, &request.target_key)))),
        }
    }

    async fn copy_large(&self, request: &CopyRequest, info: ObjectInfo) -> Result<Copied> {
        self.check_absence(request).await?;
        // A large object is worth a look at whether its attributes alone have changed.
        if let Ok(there) = self.target.head(&request.target_key).await
            && let Some(copied) = self.aligned(request, &info, &there).await?
        {
            return Ok(copied);
        }
        if info.etag.parts().is_none() && info.size <= LARGEST_PUT {
            let (mut request, mut seen) = (request.clone(), None);
            for tries in 1..=2 {
                match self.copy_in_one_piece(&request, &info).await {
                    Ok((copied, md5)) if md5.as_ref() == Some(&info.etag) || seen == md5 => {
                        return Ok(copied);
                    }
                    // Misread, or a tag that is no MD5: reading it alike twice tells.
                    Ok((copied, md5)) => {
                        seen = md5;
                        request.precondition = Precondition::Matches(copied.target_etag);
                    }
                    Err(Error::Store { source: error, .. }) if passes(&error) => pause(tries).await,
                    Err(error) => return Err(error),
                }
            }
        }
        let layout = Layout::of(&*self.source, &request.source_key, &info).await.map_err(Error::source)?;
        self.copy_in_parts(request, info, layout).await
    }

    /// Also gives the MD5 of what went over.
    async fn copy_in_one_piece(
        &self,
        request: &CopyRequest,
        info: &ObjectInfo,
    ) -> Result<(Copied, Option<ETag>)> {
        let options = GetOptions { if_match: Some(info.etag.clone()), ..GetOptions::default() };
        let reply = self.source.get(&request.source_key, &options).await.map_err(Error::source)?;
        let tap = Tap::new(Arc::clone(&self.on_bytes));
        let (wanted, left_out) = self.wanted(&request.source_key, info).await?;
        // A locked object is only taken with its checksum; a replica's tag says nothing of its bytes.
        let checked = !wanted.lock.is_open() || wanted.replica.is_some();
        let content_md5 = if checked { md5_of(&info.etag) } else { None };
        let options = PutOptions { precondition: request.precondition.clone(), content_md5, ..wanted };
        let body = tap.through(reply.body);
        let put = self.target.put_stream(&request.target_key, info.size, body, &options).await;
        let put = put.map_err(|error| with_tags_named(tap.blame(error), &options))?;
        let copied = Copied::whole(info, put, left_out);
        Ok((self.seen(&request.target_key, &options, copied).await, tap.etag()))
    }
}

fn md5_of(tag: &ETag) -> Option<[u8; 16]> {
    hex::decode(&tag.0).ok()?.try_into().ok()
}

fn context(store: &dyn ObjectStore, key: &str) -> store::Context {
    let (bucket, key) = (store.bucket().to_owned(), Some(key.to_owned()));
    store::Context { bucket, key, ..store::Context::default() }
}

/// True where the same transfer may well succeed a little later.
fn passes(error: &store::Error) -> bool {
    use store::Error as E;
    matches!(error, E::Unreachable { .. } | E::SlowDown(_) | E::Corrupt { .. })
}

async fn pause(tries: u32) {
    let longest = Duration::from_millis(100 << tries.min(6));
    tokio::time::sleep(longest.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
}

/// Memory in permits, never more than there are.
fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.min(BUFFERS) / KIB + 1).unwrap_or(u32::MAX)
}
