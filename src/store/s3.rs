//! A bucket of a store that speaks S3.
//!
//! What is sent once an object or once a page goes straight on HTTP ([`wire`]), the rest through the AWS SDK,
//! over the same connections. Retries, time limits and the reading of errors are ours for both, so that every
//! store is judged by the same rules and an error says how often and how long we tried.

mod attributes;
mod beside;
mod body;
mod client;
mod extras;
mod listening;
mod listing;
mod names;
mod read;
mod retry;
mod settings;
mod spelling;
mod trouble;
mod wire;
mod write;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::SignedDuration;

pub(crate) use client::CurrentKeys;
pub use retry::Retry;

use super::{
    Acl, ByteStream, Context, ETag, GetOptions, GetReply, LifecycleRule, ListPage, ListRequest,
    ListVersionsRequest, Lock, ObjectInfo, ObjectStore, OpenUpload, PartLayout, PutOptions, PutReply, Result,
    Tags, UploadId, UploadedPart, VersionPage, Versioning, WebsiteRoute, credentials::Credentials,
};

/// How a bucket's name goes into a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// `https://endpoint/bucket/key`
    #[default]
    Path,
    /// `https://bucket.endpoint/key`
    Virtual,
}

/// How long to wait before a request counts as failed.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the first byte of an answer, once the request is sent.
    pub answer: Duration,
    /// For the next bytes of a body, in either direction.
    pub body: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(30),
            body: Duration::from_mins(1),
        }
    }
}

/// A bucket and how to reach it.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// `https://host[:port]`; plain `http://` only where a person wrote so.
    pub endpoint: String,
    pub bucket: String,
    /// Name of the region in signatures.
    pub signing_region: String,
    pub addressing: Addressing,
    /// PEM certificates that are trusted besides the system's.
    pub ca_bundle: Option<String>,
    pub credentials: Credentials,
    pub patience: Patience,
    pub retry: Retry,
}

impl S3Config {
    /// Path addressing, the system's certificates, default patience and retries.
    #[must_use]
    pub fn new(endpoint: impl Into<String>, bucket: impl Into<String>, credentials: Credentials) -> Self {
        Self {
            endpoint: endpoint.into(),
            bucket: bucket.into(),
            signing_region: "us-east-1".to_owned(),
            addressing: Addressing::default(),
            ca_bundle: None,
            credentials,
            patience: Patience::default(),
            retry: Retry::default(),
        }
    }
}

/// One bucket of a store that speaks S3. Clones share connections.
#[derive(Clone, Debug)]
pub struct S3Store {
    client: aws_sdk_s3::Client,
    wire: Arc<wire::Wire>,
    config: Arc<S3Config>,
    clock: Arc<ClockOffset>,
    names: Arc<names::Names>,
    /// Metadata beyond ASCII is kept as it is sent.
    keeps_utf8: Arc<tokio::sync::OnceCell<bool>>,
}

impl S3Store {
    /// Prepares a client; sends nothing yet.
    ///
    /// # Errors
    /// [`super::Error::Config`] for an endpoint or a certificate bundle that can't be used.
    pub fn new(config: S3Config) -> Result<Self> {
        let clock = Arc::new(ClockOffset::default());
        let transport = wire::Transport::new(&config, Arc::clone(&clock))?;
        let client = client::build(&config, &transport);
        let wire = Arc::new(wire::Wire::new(&config, transport)?);
        Ok(Self {
            client,
            wire,
            config: Arc::new(config),
            clock,
            names: Arc::default(),
            keeps_utf8: Arc::default(),
        })
    }

    /// Creates the bucket; there already and ours is success. For tests and demonstrations: Farshore
    /// itself writes only into buckets that exist.
    pub async fn create_bucket(&self) -> Result<()> {
        self.make_bucket(false).await
    }

    /// As [`Self::create_bucket`], one with versions, whose objects can be locked.
    pub async fn create_bucket_with_locks(&self) -> Result<()> {
        self.make_bucket(true).await
    }

    async fn make_bucket(&self, locks: bool) -> Result<()> {
        let create = || async {
            let request = self.client.create_bucket().bucket(self.bucket());
            let sent = request.set_object_lock_enabled_for_bucket(locks.then_some(true)).send().await;
            match sent.map_err(trouble::Trouble::from) {
                Err(t) if t.is_code("BucketAlreadyOwnedByYou") => Ok(()),
                other => other.map(drop),
            }
        };
        self.repeat(None, create).await
    }

    /// Enables or suspends the bucket's versioning. For tests and demonstrations.
    pub async fn set_versioning(&self, enabled: bool) -> Result<()> {
        use aws_sdk_s3::types::{BucketVersioningStatus as Status, VersioningConfiguration};
        let status = if enabled { Status::Enabled } else { Status::Suspended };
        let set = || async {
            let versioning = VersioningConfiguration::builder().status(status.clone()).build();
            let request = self.client.put_bucket_versioning().bucket(self.bucket());
            request.versioning_configuration(versioning).send().await?;
            Ok(())
        };
        self.repeat(None, set).await
    }

    fn context(&self, key: Option<&str>) -> Context {
        Context {
            endpoint: self.config.endpoint.clone(),
            bucket: self.config.bucket.clone(),
            key: key.map(str::to_owned),
            attempts: 1,
            ..Context::default()
        }
    }
}

/// How far the endpoint's clock is ahead, from the last `Date` header, in milliseconds.
#[derive(Debug)]
struct ClockOffset(AtomicI64);

impl Default for ClockOffset {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl ClockOffset {
    fn note(&self, milliseconds: i64) {
        self.0.store(milliseconds, Ordering::Relaxed);
    }

    fn get(&self) -> Option<SignedDuration> {
        let milliseconds = self.0.load(Ordering::Relaxed);
        (milliseconds != i64::MIN).then(|| SignedDuration::from_millis(milliseconds))
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    fn bucket(&self) -> &str {
        &self.config.bucket
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        self.list_page(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo> {
        self.head_object(key).await
    }

    async fn head_part(&self, key: &str, part: u32) -> Result<Option<PartLayout>> {
        self.head_one_part(key, part).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetReply> {
        self.get_object(key, options).await
    }

    async fn put(&self, key: &str, body: Bytes, options: &PutOptions) -> Result<PutReply> {
        self.put_bytes(key, body, options).await
    }

    async fn put_stream(
        &self,
        key: &str,
        size: u64,
        body: ByteStream,
        options: &PutOptions,
    ) -> Result<PutReply> {
        self.put_body(key, size, body, options).await
    }

    async fn create_upload(&self, key: &str, options: &PutOptions) -> Result<UploadId> {
        self.begin_upload(key, options).await
    }

    async fn upload_part(
        &self,
        key: &str,
        upload: &UploadId,
        part: u32,
        size: u64,
        body: ByteStream,
    ) -> Result<UploadedPart> {
        self.put_part(key, upload, part, (size, body)).await
    }

    async fn list_parts(&self, key: &str, upload: &UploadId) -> Result<Vec<UploadedPart>> {
        self.all_parts(key, upload).await
    }

    async fn complete_upload(
        &self,
        key: &str,
        upload: &UploadId,
        parts: &[UploadedPart],
        options: &PutOptions,
    ) -> Result<PutReply> {
        self.finish_upload(key, upload, parts, options).await
    }

    async fn abort_upload(&self, key: &str, upload: &UploadId) -> Result<()> {
        self.drop_upload(key, upload).await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>> {
        self.all_uploads(prefix).await
    }

    async fn tags(&self, key: &str) -> Result<Tags> {
        self.object_tags(key).await
    }

    async fn put_tags(&self, key: &str, tags: &Tags) -> Result<()> {
        self.set_tags(key, tags).await
    }

    async fn acl(&self, key: &str) -> Result<Acl> {
        self.object_acl(key).await
    }

    async fn put_lock(&self, key: &str, lock: &Lock) -> Result<()> {
        self.set_lock(key, lock).await
    }

    async fn rewrite(&self, key: &str, etag: &ETag, options: &PutOptions) -> Result<PutReply> {
        self.copy_onto_itself(key, etag, options).await
    }

    async fn has_locks(&self) -> Result<bool> {
        self.bucket_locks().await
    }

    async fn has_acls(&self) -> Result<bool> {
        self.bucket_acls().await
    }

    async fn delete(&self, key: &str, version: Option<&str>) -> Result<()> {
        self.delete_object(key, version).await
    }

    async fn list_versions(&self, request: &ListVersionsRequest) -> Result<VersionPage> {
        self.version_page(request).await
    }

    async fn versioning(&self) -> Result<Versioning> {
        self.bucket_versioning().await
    }

    async fn lifecycle(&self) -> Result<Vec<LifecycleRule>> {
        self.bucket_lifecycle().await
    }

    async fn bucket_tags(&self) -> Result<Tags> {
        self.tags_of_bucket().await
    }

    async fn put_bucket_tags(&self, tags: &Tags) -> Result<()> {
        self.set_tags_of_bucket(tags).await
    }

    async fn website_routes(&self) -> Result<Vec<WebsiteRoute>> {
        self.routes_of_website().await
    }

    fn clock_offset(&self) -> Option<SignedDuration> {
        self.clock.get()
    }
}
