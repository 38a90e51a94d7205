//! A bucket in memory: for tests and dry runs, with faults on order.
//!
//! It has the semantics of S3 that the engine relies on (real entity tags, conditional writes, versions and
//! delete markers, multipart uploads, pages), so what passes here fails on a real store only for the
//! store's own reasons. The same behaviour suite runs on both.

mod extras;
mod faults;
mod listeners;
mod requests;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};

pub use extras::Rewrites;
pub use faults::{Effect, Failure, Fault, Verb};
use state::State;
pub(crate) use state::composite_etag;

use super::{
    Attributes, ByteStream, Context, Error, LifecycleRule, PutOptions, Result, Tags, Versioning, WebsiteRoute,
};

const CHUNK: usize = 64 * 1024;

/// A bucket in memory. Clones share the bucket.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    bucket: String,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    faults: faults::Faults,
    listeners: listeners::Listeners,
    settings: Settings,
    page_size: usize,
    part_heads: bool,
    /// A clock that stands still; `None` = the machine's.
    now: Option<Timestamp>,
    clock_offset: SignedDuration,
}

/// What is set on the bucket itself.
#[derive(Debug, Default)]
struct Settings {
    lifecycle: Vec<LifecycleRule>,
    tags: Tags,
    website: Vec<WebsiteRoute>,
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.now.unwrap_or_else(Timestamp::now)
    }

    /// Tells listeners that a client changed an object.
    fn tell(&mut self, name: &str, (bucket, key): (&str, &str)) {
        let at = self.now();
        self.listeners.tell(listeners::Event { name, bucket, key, at, agent: "a client" });
    }
}

impl MemoryStore {
    /// An empty, unversioned bucket.
    #[must_use]
    pub fn new(bucket: impl Into<String>) -> Self {
        let inner = Inner {
            state: State::new(),
            faults: faults::Faults::default(),
            listeners: listeners::Listeners::default(),
            settings: Settings::default(),
            page_size: 1000,
            part_heads: true,
            now: None,
            clock_offset: SignedDuration::ZERO,
        };
        Self { bucket: bucket.into(), inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Most entries of a listing page (1000 unless told).
    pub fn set_page_size(&self, entries: usize) {
        self.inner().page_size = entries.max(1);
    }

    /// Sets the bucket's versioning state.
    pub fn set_versioning(&self, versioning: Versioning) {
        self.inner().state.versioning = versioning;
    }

    /// A store that refuses conditional writes as unsupported, when `false`.
    pub fn set_conditions(&self, supported: bool) {
        self.inner().state.conditions = supported;
    }

    /// A store whose tags are no MD5s and never the same twice, when `true`: as where a key service
    /// encrypts.
    pub fn set_opaque_tags(&self, opaque: bool) {
        self.inner().state.opaque_tags = opaque;
    }

    /// A store that ignores `HEAD ?partNumber`, when `false`.
    pub fn set_part_heads(&self, supported: bool) {
        self.inner().part_heads = supported;
    }

    /// Most tags of an object (10 unless told).
    pub fn set_most_tags(&self, tags: usize) {
        self.inner().state.can.tags = tags;
    }

    /// A bucket whose objects can be locked, when `true`.
    pub fn set_locks(&self, supported: bool) {
        self.inner().state.can.locks = supported;
    }

    /// A store that tells of an object's lock in a HEAD only, when `false`.
    pub fn set_lock_in_get(&self, told: bool) {
        self.inner().state.can.lock_in_get = told;
    }

    /// A bucket that keeps access control lists, when `true`.
    pub fn set_acls(&self, supported: bool) {
        self.inner().state.can.acls = supported;
    }

    /// A store that keeps a replica's time and tag, when `true`.
    pub fn set_replicas(&self, supported: bool) {
        self.inner().state.can.replicas = supported;
    }

    /// What copies of an object onto itself do.
    pub fn set_rewrites(&self, rewrites: Rewrites) {
        self.inner().state.can.rewrites = rewrites;
    }

    /// Rules by which objects go. Nothing goes by them here: a test deletes it.
    pub fn set_lifecycle(&self, rules: Vec<LifecycleRule>) {
        self.inner().settings.lifecycle = rules;
    }

    /// Where the bucket's website sends readers.
    pub fn set_website(&self, routes: Vec<WebsiteRoute>) {
        self.inner().settings.website = routes;
    }

    /// Stops the bucket's clock at a moment; `None` lets it run again.
    pub fn set_now(&self, now: Option<Timestamp>) {
        self.inner().now = now;
    }

    /// What [`ObjectStore::clock_offset`](super::ObjectStore::clock_offset) answers.
    pub fn set_clock_offset(&self, offset: SignedDuration) {
        self.inner().clock_offset = offset;
    }

    /// Orders a fault; orders are met in the order given.
    pub fn fault(&self, fault: Fault) {
        self.inner().faults.order(fault);
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        self.inner().faults.clear();
    }

    /// Requests of a kind so far, failed ones included.
    #[must_use]
    pub fn requests(&self, verb: Verb) -> u64 {
        self.inner().faults.count(verb)
    }

    /// Writes an object at a moment of one's choosing, past all faults, counts and listeners.
    pub fn seed(&self, key: &str, body: impl Into<Bytes>, modified: Timestamp) {
        // Without a condition and a checksum a put can't be refused.
        self.inner().state.put(key, body.into(), &PutOptions::default(), modified).ok();
    }

    /// Deletes an object past all faults, counts and listeners.
    pub fn unseed(&self, key: &str) {
        let mut inner = self.inner();
        let now = inner.now();
        // Without a version nothing is in the way.
        inner.state.delete(key, None, now).ok();
    }

    /// Bytes of the current object, past all faults and counts.
    #[must_use]
    pub fn bytes(&self, key: &str) -> Option<Bytes> {
        self.inner().state.current(key).ok().and_then(|v| v.body.clone())
    }

    /// Attributes of the current object, past all faults and counts.
    #[must_use]
    pub fn attributes(&self, key: &str) -> Option<Attributes> {
        self.inner().state.current(key).ok().map(|v| v.extras.attributes.clone())
    }

    /// Keys of all current objects, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.inner().state.current_keys()
    }

    fn context(&self, key: Option<&str>) -> Context {
        Context {
            endpoint: "memory".to_owned(),
            bucket: self.bucket.clone(),
            key: key.map(str::to_owned),
            attempts: 1,
            ..Context::default()
        }
    }

    /// Counts a request, meets its fault, applies it.
    async fn request<T>(
        &self,
        verb: Verb,
        key: &str,
        apply: impl FnOnce(&mut Inner) -> Result<T, Failure>,
    ) -> Result<(T, Option<Effect>)> {
        let effect = self.inner().faults.meet(verb, key);
        let fail = |failure: Failure| failure.into_error(self.context((!key.is_empty()).then_some(key)));
        match effect {
            Some(Effect::Fail(failure)) => return Err(fail(failure)),
            Some(Effect::Delay(pause)) => tokio::time::sleep(pause).await,
            _ => {}
        }
        let answer = apply(&mut self.inner()).map_err(fail)?;
        match effect {
            Some(Effect::LoseReply(failure)) => Err(fail(failure)),
            _ => Ok((answer, effect)),
        }
    }

    /// Reads a body of exactly `size` bytes.
    async fn collect(&self, key: &str, size: u64, mut body: ByteStream) -> Result<Bytes> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        if bytes.len() as u64 == size {
            return Ok(bytes.freeze());
        }
        let cause = format!("{} bytes instead of {size}", bytes.len());
        Err(Error::Corrupt { cause, context: self.context(Some(key)) })
    }

    fn body(&self, key: &str, bytes: &Bytes, effect: Option<Effect>) -> ByteStream {
        let mut chunks: Vec<Result<Bytes>> = (0..bytes.len())
            .step_by(CHUNK)
            .map(|at| Ok(bytes.slice(at..bytes.len().min(at + CHUNK))))
            .collect();
        let mut pause = None;
        match effect {
            Some(Effect::Truncate(limit)) => {
                let kept = bytes.slice(..bytes.len().min(usize::try_from(limit).unwrap_or(usize::MAX)));
                chunks = vec![Ok(kept), Err(Failure::Corrupt.into_error(self.context(Some(key))))];
            }
            Some(Effect::SlowBody(every)) => pause = Some(every),
            _ => {}
        }
        Box::pin(stream::iter(chunks).then(move |chunk| async move {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            chunk
        }))
    }
}
