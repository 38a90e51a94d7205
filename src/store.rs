//! The seam to object storage: one trait over one bucket, and what every store behind it promises.
//!
//! [`ObjectStore`] is what the engine is written against; the S3 implementation is the real one. Whatever a store
//! cannot do is found by ability probes, never guessed from a vendor's name.

pub mod abilities;
pub mod credentials;
mod error;
mod extras;
mod history;
pub mod limits;
mod listen;
pub mod memory;
mod model;
pub mod s3;
mod settings;
mod words;

pub use error::{Context, Error, Obstacle, Result, Side};
pub use extras::*;
pub(crate) use history::{is_out_of_order, newest_first};
pub use listen::{ListenRequest, Listens, Notices};
pub(crate) use memory::composite_etag;
pub use model::*;
pub use settings::*;

use async_trait::async_trait;
use bytes::Bytes;

/// One bucket on one endpoint, reached with one set of credentials.
///
/// Every method is one logical request: it retries what is worth retrying (5xx, `SlowDown`,
/// timeouts, resets) with back-off inside, bounded in time, and returns a typed [`Error`] that
/// names bucket, key and request id. Nothing is retried that may have been applied and is not
/// idempotent.
#[async_trait]
pub trait ObjectStore: Send + Sync + std::fmt::Debug {
    /// Bucket this handle is bound to.
    fn bucket(&self) -> &str;

    /// One page of current objects in bytewise key order.
    ///
    /// A page is whole or an error; an error is never an empty page.
    async fn list(&self, request: &ListRequest) -> Result<ListPage>;

    /// Attributes of the current object. [`Error::NotFound`] when there is none (or a delete marker).
    async fn head(&self, key: &str) -> Result<ObjectInfo>;

    /// Size of part `part` (1-based) and the number of parts, for multipart objects.
    ///
    /// `None` where the store does not answer `HEAD ?partNumber`.
    async fn head_part(&self, key: &str, part: u32) -> Result<Option<PartLayout>>;

    /// Opens the object (or a range of it). The body streams; dropping it closes the connection.
    /// A range past the end gives no bytes, as do the last bytes of an empty object.
    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetReply>;

    /// Writes a whole object in one request from memory.
    async fn put(&self, key: &str, body: Bytes, options: &PutOptions) -> Result<PutReply>;

    /// Writes a whole object in one request from a stream of exactly `size` bytes.
    ///
    /// Not retried inside, since the stream is consumed: the caller re-opens its source.
    async fn put_stream(
        &self,
        key: &str,
        size: u64,
        body: ByteStream,
        options: &PutOptions,
    ) -> Result<PutReply>;

    /// Starts a multipart upload; headers and metadata are fixed here.
    async fn create_upload(&self, key: &str, options: &PutOptions) -> Result<UploadId>;

    /// Uploads one part (1-based) of exactly `size` bytes from a stream. Not retried inside.
    async fn upload_part(
        &self,
        key: &str,
        upload: &UploadId,
        part: u32,
        size: u64,
        body: ByteStream,
    ) -> Result<UploadedPart>;

    /// Parts that have arrived for an open upload, in part order, all pages.
    async fn list_parts(&self, key: &str, upload: &UploadId) -> Result<Vec<UploadedPart>>;

    /// Completes an upload from its parts. Idempotent for the caller: a repeated completion of an
    /// upload that already became the object answers with the object's ETag.
    async fn complete_upload(
        &self,
        key: &str,
        upload: &UploadId,
        parts: &[UploadedPart],
        options: &PutOptions,
    ) -> Result<PutReply>;

    /// Drops an open upload and its parts. Gone already is success.
    async fn abort_upload(&self, key: &str, upload: &UploadId) -> Result<()>;

    /// Open multipart uploads under a prefix, all pages.
    ///
    /// `MinIO` answers only for a prefix that is a whole key: what must be found there (resumption,
    /// purge) is looked for key by key. [`abilities::Abilities::uploads_by_prefix`] tells.
    async fn list_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>>;

    /// Tags of the current object.
    async fn tags(&self, key: &str) -> Result<Tags>;

    /// Replaces the tags of the current object; no tags removes them.
    async fn put_tags(&self, key: &str, tags: &Tags) -> Result<()>;

    /// Owner and grants of the current object. [`Error::Unsupported`] where objects have none.
    async fn acl(&self, key: &str) -> Result<Acl>;

    /// Sets retention (where there is one) and legal hold of the current object.
    ///
    /// [`Error::Locked`] where the object's own retention is stricter, [`Error::Unsupported`] where the
    /// bucket has no locks.
    async fn put_lock(&self, key: &str, lock: &Lock) -> Result<()>;

    /// Gives the current object all that `options` say, its bytes staying where they are: a copy onto
    /// itself. [`Error::Changed`] unless it still has this tag.
    ///
    /// The reply's tag may be another one: most stores make one piece of an object of several parts.
    async fn rewrite(&self, key: &str, etag: &ETag, options: &PutOptions) -> Result<PutReply>;

    /// True where the bucket's objects can be locked.
    async fn has_locks(&self) -> Result<bool>;

    /// False where the bucket is known to ignore access control lists.
    async fn has_acls(&self) -> Result<bool>;

    /// Deletes the current object (or one version of it). Gone already is success.
    async fn delete(&self, key: &str, version: Option<&str>) -> Result<()>;

    /// One page of versions and delete markers, for purges. On a bucket that never had versioning,
    /// every object appears once with version `null`.
    async fn list_versions(&self, request: &ListVersionsRequest) -> Result<VersionPage>;

    /// Versioning state of the bucket.
    async fn versioning(&self) -> Result<Versioning>;

    /// The rules by which the bucket lets current objects go on its own, those that are switched off left
    /// out; none where the store knows no such rules.
    async fn lifecycle(&self) -> Result<Vec<LifecycleRule>>;

    /// Tags of the bucket itself. [`Error::Unsupported`] where buckets have none.
    async fn bucket_tags(&self) -> Result<Tags>;

    /// Replaces the tags of the bucket itself; no tags removes them.
    async fn put_bucket_tags(&self, tags: &Tags) -> Result<()>;

    /// Where the bucket's website sends readers; none where it has no website.
    async fn website_routes(&self) -> Result<Vec<WebsiteRoute>>;

    /// How far the endpoint's clock is ahead of ours, from the `Date` header of the last reply.
    /// `None` before the first reply.
    fn clock_offset(&self) -> Option<jiff::SignedDuration>;
}

/// `name-` and 128 random bits: a key that nobody else uses and nobody can foresee.
///
/// # Errors
/// [`Error::Config`] where the system gives no random numbers.
pub fn unguessable(name: &str) -> Result<String> {
    let mut bits = [0; 16];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bits).map_err(|_| Error::Config("the system gives no random numbers".to_owned()))?;
    Ok(format!("{name}-{}", hex::encode(bits)))
}
