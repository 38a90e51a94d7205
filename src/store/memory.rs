//! A bucket in memory: for tests and dry runs, with faults on order.
//!
//! It has the semantics of S3 that the engine relies on (real entity tags, conditional writes, versions and
//! delete markers, multipart uploads, pages), so what passes here fails on a real store only for the
//! store's own reasons. The same behaviour suite runs on both.

mod faults;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};

pub use faults::{Effect, Failure, Fault, Verb};
use state::State;
pub(crate) use state::composite_etag;

use super::{
    Attributes, ByteStream, Context, Error, GetOptions, GetReply, ListPage, ListRequest, ListVersionsRequest,
    ObjectInfo, ObjectStore, OpenUpload, PartLayout, PutOptions, PutReply, Result, UploadId, UploadedPart,
    VersionPage, Versioning,
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
    page_size: usize,
    part_heads: bool,
    /// A clock that stands still; `None` = the machine's.
    now: Option<Timestamp>,
    clock_offset: SignedDuration,
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.now.unwrap_or_else(Timestamp::now)
    }
}

impl MemoryStore {
    /// An empty, unversioned bucket.
    #[must_use]
    pub fn new(bucket: impl Into<String>) -> Self {
        let inner = Inner {
            state: State::new(),
            faults: faults::Faults::default(),
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

    /// A store that ignores `HEAD ?partNumber`, when `false`.
    pub fn set_part_heads(&self, supported: bool) {
        self.inner().part_heads = supported;
    }

    /// Stops the bucket's clock at a moment; `None` lets it run again.
    pub fn set_now(&self, now: Option<Timestamp>) {
        self.inner().now = now;
    }

    /// What [`ObjectStore::clock_offset`] answers.
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

    /// Writes an object at a moment of one's choosing, past all faults and counts.
    pub fn seed(&self, key: &str, body: impl Into<Bytes>, modified: Timestamp) {
        // Without a condition and a checksum a put can't be refused.
        self.inner().state.put(key, body.into(), &PutOptions::default(), modified).ok();
    }

    /// Deletes an object past all faults and counts.
    pub fn unseed(&self, key: &str) {
        let mut inner = self.inner();
        let now = inner.now();
        inner.state.delete(key, None, now);
    }

    /// Bytes of the current object, past all faults and counts.
    #[must_use]
    pub fn bytes(&self, key: &str) -> Option<Bytes> {
        self.inner().state.current(key).ok().and_then(|v| v.body.clone())
    }

    /// Attributes of the current object, past all faults and counts.
    #[must_use]
    pub fn attributes(&self, key: &str) -> Option<Attributes> {
        self.inner().state.current(key).ok().map(|v| v.attributes.clone())
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

/// First byte and byte after the last of what a read asks for.
fn span(options: &GetOptions, size: u64) -> (u64, u64) {
    match (options.suffix, options.range) {
        (Some(suffix), _) => (size.saturating_sub(suffix), size),
        (None, Some((first, last))) => (first.min(size), last.saturating_add(1).min(size)),
        (None, None) => (0, size),
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    fn bucket(&self) -> &str {
        &self.bucket
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        let page = |inner: &mut Inner| {
            let most = request.max_keys.map_or(inner.page_size, |m| inner.page_size.min(m as usize)).max(1);
            Ok(inner.state.list(request, most))
        };
        Ok(self.request(Verb::List, &request.prefix, page).await?.0)
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo> {
        let head = |inner: &mut Inner| Ok(inner.state.current(key)?.info(inner.state.versioned()));
        Ok(self.request(Verb::Head, key, head).await?.0)
    }

    async fn head_part(&self, key: &str, part: u32) -> Result<Option<PartLayout>> {
        let head = |inner: &mut Inner| {
            let parts = &inner.state.current(key)?.parts;
            if !inner.part_heads || parts.is_empty() {
                return Ok(None);
            }
            let size = *parts.get(part.saturating_sub(1) as usize).ok_or(Failure::NotFound)?;
            let count = u32::try_from(parts.len()).map_err(|_| Failure::Protocol)?;
            Ok(Some(PartLayout { size, count }))
        };
        Ok(self.request(Verb::HeadPart, key, head).await?.0)
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetReply> {
        let open = |inner: &mut Inner| {
            let version = inner.state.current(key)?;
            if options.if_match.as_ref().is_some_and(|tag| *tag != version.etag) {
                return Err(Failure::Changed);
            }
            Ok((version.info(inner.state.versioned()), version.body.clone().unwrap_or_default()))
        };
        let ((info, bytes), effect) = self.request(Verb::Get, key, open).await?;
        let (from, to) = span(options, info.size);
        let whole = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let bytes = bytes.slice(whole(from.min(to))..whole(to));
        let body = self.body(key, &bytes, effect);
        Ok(GetReply { info, length: bytes.len() as u64, body })
    }

    async fn put(&self, key: &str, body: Bytes, options: &PutOptions) -> Result<PutReply> {
        let put = |inner: &mut Inner| inner.state.put(key, body, options, inner.now());
        Ok(self.request(Verb::Put, key, put).await?.0)
    }

    async fn put_stream(
        &self,
        key: &str,
        size: u64,
        body: ByteStream,
        options: &PutOptions,
    ) -> Result<PutReply> {
        let body = self.collect(key, size, body).await?;
        self.put(key, body, options).await
    }

    async fn create_upload(&self, key: &str, options: &PutOptions) -> Result<UploadId> {
        let create = |inner: &mut Inner| Ok(inner.state.create_upload(key, options, inner.now()));
        Ok(self.request(Verb::CreateUpload, key, create).await?.0)
    }

    async fn upload_part(
        &self,
        key: &str,
        upload: &UploadId,
        part: u32,
        size: u64,
        body: ByteStream,
    ) -> Result<UploadedPart> {
        let body = self.collect(key, size, body).await?;
        let put = |inner: &mut Inner| inner.state.upload_part(upload, part, body);
        Ok(self.request(Verb::UploadPart, key, put).await?.0)
    }

    async fn list_parts(&self, key: &str, upload: &UploadId) -> Result<Vec<UploadedPart>> {
        let list = |inner: &mut Inner| inner.state.list_parts(upload);
        Ok(self.request(Verb::ListParts, key, list).await?.0)
    }

    async fn complete_upload(
        &self,
        key: &str,
        upload: &UploadId,
        parts: &[UploadedPart],
        options: &PutOptions,
    ) -> Result<PutReply> {
        let complete = |inner: &mut Inner| {
            let now = inner.now();
            inner.state.complete_upload(key, upload, parts, &options.precondition, now)
        };
        Ok(self.request(Verb::CompleteUpload, key, complete).await?.0)
    }

    async fn abort_upload(&self, key: &str, upload: &UploadId) -> Result<()> {
        let abort = |inner: &mut Inner| {
            inner.state.abort_upload(upload);
            Ok(())
        };
        self.request(Verb::AbortUpload, key, abort).await.map(drop)
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>> {
        let list = |inner: &mut Inner| Ok(inner.state.list_uploads(prefix));
        Ok(self.request(Verb::ListUploads, prefix, list).await?.0)
    }

    async fn delete(&self, key: &str, version: Option<&str>) -> Result<()> {
        let delete = |inner: &mut Inner| {
            let now = inner.now();
            inner.state.delete(key, version, now);
            Ok(())
        };
        self.request(Verb::Delete, key, delete).await.map(drop)
    }

    async fn list_versions(&self, request: &ListVersionsRequest) -> Result<VersionPage> {
        let page = |inner: &mut Inner| Ok(inner.state.list_versions(request, inner.page_size));
        Ok(self.request(Verb::ListVersions, &request.prefix, page).await?.0)
    }

    async fn versioning(&self) -> Result<Versioning> {
        Ok(self.request(Verb::Versioning, "", |inner| Ok(inner.state.versioning)).await?.0)
    }

    fn clock_offset(&self) -> Option<SignedDuration> {
        Some(self.inner().clock_offset)
    }
}
