//! Ceilings on bytes and requests a second, shared by several handles, with a lane that goes first.
//!
//! Bytes are charged where they are read, so that a copy is charged once, wherever it goes. What one
//! lane leaves, the other takes: nothing is reserved.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use jiff::SignedDuration;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use super::{
    Acl, ByteStream, ETag, GetOptions, GetReply, LifecycleRule, ListPage, ListRequest, ListVersionsRequest,
    Lock, ObjectInfo, ObjectStore, OpenUpload, PartLayout, PutOptions, PutReply, Result, Tags, UploadId,
    UploadedPart, VersionPage, Versioning, WebsiteRoute,
};

/// Who goes first where the ceiling binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Gets all it asks for, up to the ceiling.
    First,
    /// Gets what the first lane leaves.
    Rest,
}

/// What went through a set of limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Logical requests: retries inside a store don't count.
    pub requests: u64,
    /// Pages of listings among them.
    pub lists: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
}

/// Ceilings, and the count of what went through. One for all handles that share them.
#[derive(Debug)]
pub struct Limits {
    bytes: Option<Bucket>,
    requests: Option<Bucket>,
    /// Requests that may wait for an answer at a time.
    waiting: Option<Semaphore>,
    counts: [AtomicU64; 4],
}

impl Limits {
    /// `None` = no ceiling.
    #[must_use]
    pub fn new(bytes_per_second: Option<u64>, requests_per_second: Option<u32>) -> Arc<Self> {
        Self::with_waiting(bytes_per_second, requests_per_second, None)
    }

    /// With a ceiling on the requests that wait for an answer at a time, too. A body on its way doesn't count:
    /// who reads one may need another answer first.
    #[must_use]
    pub fn with_waiting(
        bytes_per_second: Option<u64>,
        requests_per_second: Option<u32>,
        waiting: Option<usize>,
    ) -> Arc<Self> {
        Arc::new(Self {
            bytes: bytes_per_second.map(Bucket::new),
            requests: requests_per_second.map(|rate| Bucket::new(u64::from(rate))),
            waiting: waiting.map(|most| Semaphore::new(most.max(1))),
            counts: Default::default(),
        })
    }

    /// Keeps to one of so many equal shares of both ceilings from now on; 1 = all of it.
    pub fn divide(&self, shares: u32) {
        for bucket in [&self.bytes, &self.requests].into_iter().flatten() {
            bucket.shares.store(shares.max(1), Ordering::Relaxed);
        }
    }

    /// What went through so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let [requests, bytes_read, bytes_written, lists] = &self.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Usage {
            requests: read(requests),
            lists: read(lists),
            bytes_read: read(bytes_read),
            bytes_written: read(bytes_written),
        }
    }

    async fn request(&self, lane: Lane) {
        self.counts[0].fetch_add(1, Ordering::Relaxed);
        if let Some(requests) = &self.requests {
            requests.take(lane, 1).await;
        }
    }

    async fn read(&self, lane: Lane, bytes: u64) {
        self.counts[1].fetch_add(bytes, Ordering::Relaxed);
        if let Some(ceiling) = &self.bytes {
            ceiling.take(lane, bytes).await;
        }
    }

    fn wrote(&self, bytes: u64) {
        self.counts[2].fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A token bucket that may go into debt for one take, so that a take may exceed its size.
#[derive(Debug)]
struct Bucket {
    /// Tokens a second; a quarter of a second's worth is kept for a burst.
    rate: f64,
    /// Of the rate, this part is used.
    shares: AtomicU32,
    level: Mutex<Level>,
    first_waiting: AtomicUsize,
}

#[derive(Debug)]
struct Level {
    tokens: f64,
    at: Instant,
}

/// A member of the first lane in the queue, however it leaves.
struct Queued<'a>(&'a AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Bucket {
    /// How long the second lane looks away while the first one waits.
    const YIELD: Duration = Duration::from_millis(5);

    #[allow(clippy::cast_precision_loss, reason = "rates are far below 2^52")]
    fn new(rate: u64) -> Self {
        let level = Mutex::new(Level { tokens: 0.0, at: Instant::now() });
        let (rate, shares) = (rate.max(1) as f64, AtomicU32::new(1));
        Self { rate, shares, level, first_waiting: AtomicUsize::new(0) }
    }

    async fn take(&self, lane: Lane, count: u64) {
        let _queued = (lane == Lane::First).then(|| {
            self.first_waiting.fetch_add(1, Ordering::SeqCst);
            Queued(&self.first_waiting)
        });
        while let Err(pause) = self.try_take(lane, count) {
            tokio::time::sleep(pause).await;
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "takes are far below 2^52")]
    fn try_take(&self, lane: Lane, count: u64) -> Result<(), Duration> {
        let rate = self.rate / f64::from(self.shares.load(Ordering::Relaxed));
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earned = now.duration_since(level.at).as_secs_f64() * rate;
        level.tokens = (level.tokens + earned).min((rate / 4.0).max(1.0));
        level.at = now;
        if level.tokens < 0.0 {
            return Err(Duration::from_secs_f64(-level.tokens / rate).max(Self::YIELD));
        }
        if lane == Lane::Rest && self.first_waiting.load(Ordering::SeqCst) > 0 {
            return Err(Self::YIELD);
        }
        level.tokens -= count as f64;
        Ok(())
    }
}

/// A store behind limits.
#[derive(Clone, Debug)]
pub struct Limited {
    inner: Arc<dyn ObjectStore>,
    limits: Arc<Limits>,
    lane: Lane,
}

impl Limited {
    /// A handle on `inner` that keeps to `limits` in a lane.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, limits: &Arc<Limits>, lane: Lane) -> Self {
        Self { inner, limits: Arc::clone(limits), lane }
    }

    async fn paced(&self) -> Paced<'_> {
        self.limits.request(self.lane).await;
        let waiting = match &self.limits.waiting {
            // Closed never: the semaphore lives as long as the limits.
            Some(places) => places.acquire().await.ok(),
            None => None,
        };
        Paced { inner: &*self.inner, _waiting: waiting }
    }

    fn counted(&self, body: ByteStream) -> ByteStream {
        let limits = Arc::clone(&self.limits);
        Box::pin(body.inspect(move |chunk| limits.wrote(chunk.as_ref().map_or(0, |c| c.len() as u64))))
    }
}

/// A store for one request, which may be sent now.
struct Paced<'a> {
    inner: &'a dyn ObjectStore,
    _waiting: Option<SemaphorePermit<'a>>,
}

impl<'a> Deref for Paced<'a> {
    type Target = dyn ObjectStore + 'a;

    fn deref(&self) -> &Self::Target {
        self.inner
    }
}

#[async_trait]
impl ObjectStore for Limited {
    fn bucket(&self) -> &str {
        self.inner.bucket()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        self.limits.counts[3].fetch_add(1, Ordering::Relaxed);
        self.paced().await.list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo> {
        self.paced().await.head(key).await
    }

    async fn head_part(&self, key: &str, part: u32) -> Result<Option<PartLayout>> {
        self.paced().await.head_part(key, part).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetReply> {
        let reply = self.paced().await.get(key, options).await?;
        let begin = (reply.body, Arc::clone(&self.limits), self.lane);
        let body = stream::unfold(begin, |(mut body, limits, lane)| async move {
            let chunk = body.next().await?;
            if let Ok(bytes) = &chunk {
                limits.read(lane, bytes.len() as u64).await;
            }
            Some((chunk, (body, limits, lane)))
        });
        Ok(GetReply { body: Box::pin(body), ..reply })
    }

    async fn put(&self, key: &str, body: Bytes, options: &PutOptions) -> Result<PutReply> {
        self.limits.wrote(body.len() as u64);
        self.paced().await.put(key, body, options).await
    }

    async fn put_stream(
        &self,
        key: &str,
        size: u64,
        body: ByteStream,
        options: &PutOptions,
    ) -> Result<PutReply> {
        self.paced().await.put_stream(key, size, self.counted(body), options).await
    }

    async fn create_upload(&self, key: &str, options: &PutOptions) -> Result<UploadId> {
        self.paced().await.create_upload(key, options).await
    }

    async fn upload_part(
        &self,
        key: &str,
        upload: &UploadId,
        part: u32,
        size: u64,
        body: ByteStream,
    ) -> Result<UploadedPart> {
        self.paced().await.upload_part(key, upload, part, size, self.counted(body)).await
    }

    async fn list_parts(&self, key: &str, upload: &UploadId) -> Result<Vec<UploadedPart>> {
        self.paced().await.list_parts(key, upload).await
    }

    async fn complete_upload(
        &self,
        key: &str,
        upload: &UploadId,
        parts: &[UploadedPart],
        options: &PutOptions,
    ) -> Result<PutReply> {
        self.paced().await.complete_upload(key, upload, parts, options).await
    }

    async fn abort_upload(&self, key: &str, upload: &UploadId) -> Result<()> {
        self.paced().await.abort_upload(key, upload).await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>> {
        self.paced().await.list_uploads(prefix).await
    }

    async fn tags(&self, key: &str) -> Result<Tags> {
        self.paced().await.tags(key).await
    }

    async fn put_tags(&self, key: &str, tags: &Tags) -> Result<()> {
        self.paced().await.put_tags(key, tags).await
    }

    async fn acl(&self, key: &str) -> Result<Acl> {
        self.paced().await.acl(key).await
    }

    async fn put_lock(&self, key: &str, lock: &Lock) -> Result<()> {
        self.paced().await.put_lock(key, lock).await
    }

    async fn rewrite(&self, key: &str, etag: &ETag, options: &PutOptions) -> Result<PutReply> {
        self.paced().await.rewrite(key, etag, options).await
    }

    async fn has_locks(&self) -> Result<bool> {
        self.paced().await.has_locks().await
    }

    async fn has_acls(&self) -> Result<bool> {
        self.paced().await.has_acls().await
    }

    async fn delete(&self, key: &str, version: Option<&str>) -> Result<()> {
        self.paced().await.delete(key, version).await
    }

    async fn list_versions(&self, request: &ListVersionsRequest) -> Result<VersionPage> {
        self.paced().await.list_versions(request).await
    }

    async fn versioning(&self) -> Result<Versioning> {
        self.paced().await.versioning().await
    }

    async fn lifecycle(&self) -> Result<Vec<LifecycleRule>> {
        self.paced().await.lifecycle().await
    }

    async fn bucket_tags(&self) -> Result<Tags> {
        self.paced().await.bucket_tags().await
    }

    async fn put_bucket_tags(&self, tags: &Tags) -> Result<()> {
        self.paced().await.put_bucket_tags(tags).await
    }

    async fn website_routes(&self) -> Result<Vec<WebsiteRoute>> {
        self.paced().await.website_routes().await
    }

    fn clock_offset(&self) -> Option<SignedDuration> {
        self.inner.clock_offset()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    async fn read(store: &Limited, key: &str) -> Duration {
        let begin = Instant::now();
        let mut body = store.get(key, &GetOptions::default()).await.unwrap().body;
        while let Some(chunk) = body.next().await {
            chunk.unwrap();
        }
        begin.elapsed()
    }

    /// To be called before limits are made: on a slow machine they would earn their burst meanwhile.
    fn seeded() -> Arc<dyn ObjectStore> {
        let memory = MemoryStore::new("b");
        memory.seed("base", vec![0; 6 << 20], jiff::Timestamp::now());
        memory.seed("log", vec![0; 1 << 20], jiff::Timestamp::now());
        Arc::new(memory)
    }

    #[tokio::test]
    async fn reads_keep_to_the_ceiling_and_use_it() {
        let (memory, limits) = (seeded(), Limits::new(Some(8 << 20), None));
        let took = read(&Limited::new(memory, &limits, Lane::Rest), "base").await;
        assert!((0.6..1.0).contains(&took.as_secs_f64()), "6 MiB at 8 MiB/s took {took:?}");
        assert_eq!(limits.usage().bytes_read, 6 << 20);
    }

    #[tokio::test]
    async fn the_first_lane_gets_the_ceiling_while_the_rest_waits() {
        let (memory, limits) = (seeded(), Limits::new(Some(4 << 20), None));
        let bases = Limited::new(Arc::clone(&memory), &limits, Lane::Rest);
        let logs = Limited::new(memory, &limits, Lane::First);
        let lanes = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            read(&logs, "log").await
        };
        let (base, log) = tokio::join!(read(&bases, "base"), lanes);
        assert!(log < Duration::from_millis(450), "1 MiB at 4 MiB/s took the first lane {log:?}");
        assert!(base > Duration::from_millis(1500), "7 MiB at 4 MiB/s took both {base:?}");
    }

    #[tokio::test]
    async fn no_more_requests_wait_for_an_answer_than_are_allowed() {
        let (memory, limits) = (MemoryStore::new("b"), Limits::with_waiting(None, None, Some(2)));
        memory.seed("log", vec![0; 10], jiff::Timestamp::now());
        let store = Limited::new(Arc::new(memory), &limits, Lane::Rest);
        let held = (store.paced().await, store.paced().await);
        let third = tokio::time::timeout(Duration::from_millis(50), store.head("log")).await;
        assert!(third.is_err(), "two wait already");
        drop(held);
        let mut read = Vec::new();
        for _ in 0..3 {
            read.push(store.get("log", &GetOptions::default()).await.unwrap());
        }
        assert_eq!(read.len(), 3, "bodies that nobody has read yet hold no place");
    }

    #[tokio::test]
    async fn requests_keep_to_their_ceiling() {
        let (memory, limits) = (seeded(), Limits::new(None, Some(100)));
        let (store, begin) = (Limited::new(memory, &limits, Lane::Rest), Instant::now());
        for _ in 0..50 {
            store.head("log").await.unwrap();
        }
        let took = begin.elapsed().as_secs_f64();
        assert!((0.2..0.6).contains(&took), "25 tokens at hand, 25 to wait for: {took}");
        assert_eq!(limits.usage().requests, 50);
    }
}
