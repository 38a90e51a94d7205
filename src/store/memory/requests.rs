//! The requests of a store, met by faults and counted.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::SignedDuration;

use super::{
    Inner, MemoryStore,
    faults::{Failure, Verb},
};
use crate::store::{
    Acl, ByteStream, ETag, GetOptions, GetReply, LifecycleRule, ListPage, ListRequest, ListVersionsRequest,
    Lock, ObjectInfo, ObjectStore, OpenUpload, PartLayout, PutOptions, PutReply, Result, Tags, UploadId,
    UploadedPart, VersionPage, Versioning, WebsiteRoute,
};

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
            let mut info = version.info(inner.state.versioned());
            if !inner.state.can.lock_in_get {
                info.lock = Lock::default();
            }
            Ok((info, version.body.clone().unwrap_or_default()))
        };
        let ((info, bytes), effect) = self.request(Verb::Get, key, open).await?;
        let (from, to) = span(options, info.size);
        let whole = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let bytes = bytes.slice(whole(from.min(to))..whole(to));
        let body = self.body(key, &bytes, effect);
        Ok(GetReply { info, length: bytes.len() as u64, body })
    }

    async fn put(&self, key: &str, body: Bytes, options: &PutOptions) -> Result<PutReply> {
        let put = |inner: &mut Inner| {
            let put = inner.state.put(key, body, options, inner.now())?;
            inner.tell("s3:ObjectCreated:Put", (&self.bucket, key));
            Ok(put)
        };
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
        let create = |inner: &mut Inner| inner.state.create_upload(key, options, inner.now());
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
            let put = inner.state.complete_upload(key, upload, parts, options, now)?;
            inner.tell("s3:ObjectCreated:CompleteMultipartUpload", (&self.bucket, key));
            Ok(put)
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

    async fn tags(&self, key: &str) -> Result<Tags> {
        let tags = |inner: &mut Inner| Ok(inner.state.current(key)?.extras.tags.clone());
        Ok(self.request(Verb::Tags, key, tags).await?.0)
    }

    async fn put_tags(&self, key: &str, tags: &Tags) -> Result<()> {
        let put = |inner: &mut Inner| {
            inner.state.put_tags(key, tags)?;
            inner.tell("s3:ObjectCreated:PutTagging", (&self.bucket, key));
            Ok(())
        };
        self.request(Verb::PutTags, key, put).await.map(drop)
    }

    async fn acl(&self, key: &str) -> Result<Acl> {
        Ok(self.request(Verb::Acl, key, |inner| inner.state.acl(key)).await?.0)
    }

    async fn put_lock(&self, key: &str, lock: &Lock) -> Result<()> {
        let put = |inner: &mut Inner| {
            let now = inner.now();
            inner.state.put_lock(key, lock, now)?;
            inner.tell("s3:ObjectCreated:PutRetention", (&self.bucket, key));
            Ok(())
        };
        self.request(Verb::PutLock, key, put).await.map(drop)
    }

    async fn rewrite(&self, key: &str, etag: &ETag, options: &PutOptions) -> Result<PutReply> {
        let rewrite = |inner: &mut Inner| {
            let now = inner.now();
            let put = inner.state.rewrite(key, etag, options, now)?;
            inner.tell("s3:ObjectCreated:Copy", (&self.bucket, key));
            Ok(put)
        };
        Ok(self.request(Verb::Rewrite, key, rewrite).await?.0)
    }

    async fn has_locks(&self) -> Result<bool> {
        Ok(self.request(Verb::Configuration, "", |inner| Ok(inner.state.can.locks)).await?.0)
    }

    async fn has_acls(&self) -> Result<bool> {
        Ok(self.request(Verb::Configuration, "", |inner| Ok(inner.state.can.acls)).await?.0)
    }

    async fn delete(&self, key: &str, version: Option<&str>) -> Result<()> {
        let delete = |inner: &mut Inner| {
            let now = inner.now();
            inner.state.delete(key, version, now)?;
            inner.tell("s3:ObjectRemoved:Delete", (&self.bucket, key));
            Ok(())
        };
        self.request(Verb::Delete, key, delete).await.map(drop)
    }

    async fn list_versions(&self, request: &ListVersionsRequest) -> Result<VersionPage> {
        let page = |inner: &mut Inner| {
            let most = request.max_keys.map_or(inner.page_size, |m| inner.page_size.min(m as usize)).max(1);
            Ok(inner.state.list_versions(request, most))
        };
        Ok(self.request(Verb::ListVersions, &request.prefix, page).await?.0)
    }

    async fn versioning(&self) -> Result<Versioning> {
        Ok(self.request(Verb::Versioning, "", |inner| Ok(inner.state.versioning)).await?.0)
    }

    async fn lifecycle(&self) -> Result<Vec<LifecycleRule>> {
        let rules = |inner: &mut Inner| Ok(inner.settings.lifecycle.clone());
        Ok(self.request(Verb::Configuration, "lifecycle", rules).await?.0)
    }

    async fn bucket_tags(&self) -> Result<Tags> {
        let tags = |inner: &mut Inner| Ok(inner.settings.tags.clone());
        Ok(self.request(Verb::Configuration, "tagging", tags).await?.0)
    }

    async fn put_bucket_tags(&self, tags: &Tags) -> Result<()> {
        let put = |inner: &mut Inner| {
            inner.settings.tags.clone_from(tags);
            Ok(())
        };
        self.request(Verb::PutBucketTags, "tagging", put).await?;
        Ok(())
    }

    async fn website_routes(&self) -> Result<Vec<WebsiteRoute>> {
        let routes = |inner: &mut Inner| Ok(inner.settings.website.clone());
        Ok(self.request(Verb::Configuration, "website", routes).await?.0)
    }

    fn clock_offset(&self) -> Option<SignedDuration> {
        Some(self.inner().clock_offset)
    }
}
