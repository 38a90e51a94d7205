//! Memory of a run over two million objects. Alone in its process:
//! `cargo test --release --test backup -- --ignored --exact memory::b01_two_million_objects_fit_in_64_mib`

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use farshore::{
    backup::{
        catalog::{Format, Part},
        records::{Claim, Fact, Manifest, Service, Stored, claim},
    },
    store::{
        Acl, ByteStream, ETag, GetOptions, GetReply, LifecycleRule, ListPage, ListRequest,
        ListVersionsRequest, Listed, Lock, ObjectInfo, ObjectStore, OpenUpload, PartLayout, PutOptions,
        PutReply, Result, Tags, UploadId, UploadedPart, VersionPage, Versioning, WebsiteRoute, s3::S3Store,
    },
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    real,
    stories::{World, sync_once, time},
};

const BASE: &str = "2026-11-20T00:00:00Z";

/// A real bucket, in whose listings a base of many objects appears.
#[derive(Debug)]
struct Huge {
    inner: S3Store,
    /// Key of the first, without its number.
    stem: String,
    count: u64,
}

impl Huge {
    fn object(&self, number: u64) -> Listed {
        Listed {
            key: format!("{}{number:08}", self.stem),
            size: 1_000_000 + number,
            etag: ETag(format!("{number:032x}")),
            modified: time("2026-11-20T00:04:30Z"),
            storage_class: None,
        }
    }

    fn page(&self, from: u64) -> ListPage {
        let to = self.count.min(from + 1000);
        let next = if to < self.count { format!("v:{to}") } else { "a:".to_owned() };
        ListPage { objects: (from..to).map(|number| self.object(number)).collect(), next: Some(next) }
    }
}

#[async_trait]
impl ObjectStore for Huge {
    fn bucket(&self) -> &str {
        self.inner.bucket()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        if !self.stem.starts_with(&request.prefix) {
            return self.inner.list(request).await;
        }
        match request.token.as_deref().and_then(|token| token.split_once(':')) {
            Some(("v", number)) => Ok(self.page(number.parse().unwrap())),
            Some(("a", _)) => {
                let start_after = Some(format!("{}~", self.stem));
                self.inner.list(&ListRequest { start_after, token: None, ..request.clone() }).await
            }
            _ => {
                let mut page = self.inner.list(request).await?;
                page.objects.retain(|object| object.key < self.stem);
                page.next = Some("v:0".to_owned());
                Ok(page)
            }
        }
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo> {
        self.inner.head(key).await
    }
    async fn head_part(&self, key: &str, part: u32) -> Result<Option<PartLayout>> {
        self.inner.head_part(key, part).await
    }
    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetReply> {
        self.inner.get(key, options).await
    }
    async fn put(&self, key: &str, body: Bytes, options: &PutOptions) -> Result<PutReply> {
        self.inner.put(key, body, options).await
    }
    async fn put_stream(
        &self,
        k: &str,
        size: u64,
        body: ByteStream,
        options: &PutOptions,
    ) -> Result<PutReply> {
        self.inner.put_stream(k, size, body, options).await
    }
    async fn create_upload(&self, key: &str, options: &PutOptions) -> Result<UploadId> {
        self.inner.create_upload(key, options).await
    }
    async fn upload_part(
        &self,
        k: &str,
        u: &UploadId,
        part: u32,
        n: u64,
        b: ByteStream,
    ) -> Result<UploadedPart> {
        self.inner.upload_part(k, u, part, n, b).await
    }
    async fn list_parts(&self, key: &str, upload: &UploadId) -> Result<Vec<UploadedPart>> {
        self.inner.list_parts(key, upload).await
    }
    async fn complete_upload(
        &self,
        k: &str,
        u: &UploadId,
        p: &[UploadedPart],
        o: &PutOptions,
    ) -> Result<PutReply> {
        self.inner.complete_upload(k, u, p, o).await
    }
    async fn abort_upload(&self, key: &str, upload: &UploadId) -> Result<()> {
        self.inner.abort_upload(key, upload).await
    }
    async fn list_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>> {
        self.inner.list_uploads(prefix).await
    }
    async fn tags(&self, key: &str) -> Result<Tags> {
        self.inner.tags(key).await
    }
    async fn put_tags(&self, key: &str, tags: &Tags) -> Result<()> {
        self.inner.put_tags(key, tags).await
    }
    async fn acl(&self, key: &str) -> Result<Acl> {
        self.inner.acl(key).await
    }
    async fn put_lock(&self, key: &str, lock: &Lock) -> Result<()> {
        self.inner.put_lock(key, lock).await
    }
    async fn rewrite(&self, key: &str, etag: &ETag, options: &PutOptions) -> Result<PutReply> {
        self.inner.rewrite(key, etag, options).await
    }
    async fn has_locks(&self) -> Result<bool> {
        self.inner.has_locks().await
    }
    async fn has_acls(&self) -> Result<bool> {
        self.inner.has_acls().await
    }
    async fn delete(&self, key: &str, version: Option<&str>) -> Result<()> {
        self.inner.delete(key, version).await
    }
    async fn list_versions(&self, request: &ListVersionsRequest) -> Result<VersionPage> {
        self.inner.list_versions(request).await
    }
    async fn versioning(&self) -> Result<Versioning> {
        self.inner.versioning().await
    }
    async fn lifecycle(&self) -> Result<Vec<LifecycleRule>> {
        self.inner.lifecycle().await
    }
    async fn bucket_tags(&self) -> Result<Tags> {
        self.inner.bucket_tags().await
    }
    async fn put_bucket_tags(&self, tags: &Tags) -> Result<()> {
        self.inner.put_bucket_tags(tags).await
    }
    async fn website_routes(&self) -> Result<Vec<WebsiteRoute>> {
        self.inner.website_routes().await
    }
    fn clock_offset(&self) -> Option<SignedDuration> {
        self.inner.clock_offset()
    }
}

/// Peak of this process's memory, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test]
#[ignore = "takes minutes; measures the whole process"]
async fn b01_two_million_objects_fit_in_64_mib() {
    let count = std::env::var("FARSHORE_TEST_OBJECTS").map_or(2_000_000, |count| count.parse().unwrap());
    let huge = |inner, prefix: &str| Huge { inner, stem: format!("{prefix}{BASE}/rs0/f-"), count };
    let source = Arc::new(huge(real::minio_a().await, "orders/"));
    let target = Arc::new(huge(real::minio_b().await, "copies/orders/"));
    let mut world = World::new();
    world.config.format = Format::PerconaMongoDB;
    world.set_now(time("2026-11-20T01:00:00Z"));
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/pbm");
    let metadata = Bytes::from(std::fs::read(folder.join(format!("{BASE}.pbm.json"))).unwrap());
    source.put(&format!("orders/{BASE}.pbm.json"), metadata, &PutOptions::default()).await.unwrap();
    let slice = "orders/pbmPitr/rs0/20261120/20261120000430-3.20261120001430-1.oplog.s2";
    source.put(slice, "x".into(), &PutOptions::default()).await.unwrap();
    seed_manifest(&world, &target).await;
    let (seeded, begun) = (peak(), Instant::now());
    let mut session = world.session();
    (session.source, session.target) = (source, target);
    let report = sync_once(session).await.unwrap();
    println!("{count} objects: peak {} MiB ({seeded} after seeding), {:.1?} a run", peak(), begun.elapsed());
    assert_eq!(report.latest, Some(time("2026-11-20T00:14:30Z")));
    assert_eq!((report.full, report.logs), (1, 1));
    assert!(peak() <= 64, "{} MiB", peak());
}

/// As if the payload had been copied by an earlier run.
async fn seed_manifest(world: &World, target: &Arc<Huge>) {
    let config = &world.config;
    let created_at: Timestamp = time("2026-11-20T00:00:00Z");
    let (source, format, owner) = (config.source.clone(), config.format.clone(), config.owner.clone());
    let service = Service { version: 1, source, engine: config.engine.clone(), format, owner, created_at };
    assert_eq!(claim(&target.inner, &config.target, &service).await.unwrap(), Claim::New);
    let manifest = Manifest::new(target.clone(), &config.target.prefix, false);
    let mut number = 0;
    while number < target.count {
        let to = target.count.min(number + 2000);
        let fact = |number| {
            let listed = target.object(number);
            let key = listed.key.strip_prefix(&config.target.prefix).unwrap().to_owned();
            let stored = Stored {
                size: listed.size,
                etag: None,
                source_etag: listed.etag.0,
                source_key: None,
                source_time: listed.modified,
                part: Some(Part::Payload),
            };
            (key, Fact::Stored(stored))
        };
        manifest.append(created_at, (number..to).map(fact).collect()).await.unwrap();
        manifest.compact_if_grown(created_at).await.unwrap();
        number = to;
    }
}
