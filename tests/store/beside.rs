//! Tags, locks, grants, times and changes of attributes: what every store must do, and what each can.

use bytes::Bytes;
use farshore::store::{
    Attributes, ETag, Error, Lock, LockMode, ObjectStore, PutOptions, Retention, Tags, UploadedPart,
    Versioning,
    abilities::{Abilities, Rewriting, Support, probe},
    memory::{MemoryStore, Rewrites},
    s3::S3Store,
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    stores,
    suite::{assert_kept, attributes, md5, streamed},
};

/// Tags that trip encoders.
pub fn tags() -> Tags {
    let pairs = [("project", "two words"), ("team/a", "x+y=z@home:_-."), ("empty", "")];
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

/// A lock that ends by itself, some time after the test.
pub fn locked(mode: LockMode) -> Lock {
    let until = Timestamp::now().round(jiff::Unit::Second).unwrap() + SignedDuration::from_mins(10);
    Lock { retention: Some(Retention { mode, until }), legal_hold: false }
}

async fn put_one_part(store: &dyn ObjectStore, key: &str, options: &PutOptions) -> ETag {
    let upload = store.create_upload(key, options).await.unwrap();
    let part = store.upload_part(key, &upload, 1, 1, streamed(&Bytes::from("1"))).await.unwrap();
    let parts: [UploadedPart; 1] = [part];
    store.complete_upload(key, &upload, &parts, &PutOptions::default()).await.unwrap().etag
}

/// Tags on every way in and out. The store is an empty bucket.
async fn keeps_tags(store: &dyn ObjectStore) {
    let options = PutOptions { tags: tags(), attributes: attributes(), ..PutOptions::default() };
    store.put("put", "1".into(), &options).await.unwrap();
    store.put_stream("streamed", 1, streamed(&Bytes::from("1")), &options).await.unwrap();
    put_one_part(store, "parts", &options).await;
    for key in ["put", "streamed", "parts"] {
        assert_eq!(store.tags(key).await.unwrap(), tags(), "{key}");
        assert_eq!(store.head(key).await.unwrap().tag_count, tags().len(), "{key}");
        let opened = store.get(key, &farshore::store::GetOptions::default()).await.unwrap();
        assert_eq!(opened.info.tag_count, tags().len(), "{key}");
    }
    let fewer: Tags = [("a".to_owned(), "b".to_owned())].into();
    store.put_tags("put", &fewer).await.unwrap();
    assert_eq!(store.tags("put").await.unwrap(), fewer);
    store.put_tags("put", &Tags::new()).await.unwrap();
    let bare = store.head("put").await.unwrap();
    assert_eq!(bare.tag_count, 0);
    assert_kept(&bare.attributes);
    // AWS takes letters of every script, MinIO refuses them.
    let beyond: Tags = [("Größe".to_owned(), "世界".to_owned())].into();
    match store.put("put", "1".into(), &PutOptions { tags: beyond.clone(), ..PutOptions::default() }).await {
        Ok(_) => assert_eq!(store.tags("put").await.unwrap(), beyond),
        Err(error) => assert!(matches!(error, Error::Unsupported { .. }), "{error}"),
    }
    assert!(matches!(store.tags("nothing").await, Err(Error::NotFound(_))));
    let many: Tags = (0..11).map(|n| (format!("t{n}"), String::new())).collect();
    assert!(matches!(store.put_tags("put", &many).await, Err(Error::Unsupported { .. })));
    for key in ["put", "streamed", "parts"] {
        store.delete(key, None).await.unwrap();
    }
}

/// Copies of an object onto itself.
async fn rewrites(store: &dyn ObjectStore) {
    let options = PutOptions { tags: tags(), attributes: attributes(), ..PutOptions::default() };
    for key in ["a b/ä+%.txt", "plain"] {
        let before = store.put(key, "1".into(), &PutOptions::default()).await.unwrap();
        let stale = store.rewrite(key, &md5(b"2"), &options).await;
        assert!(matches!(stale, Err(Error::Changed(_))), "{stale:?}");
        let after = store.rewrite(key, &before.etag, &options).await.unwrap();
        assert_eq!(after.etag, before.etag);
        let there = store.head(key).await.unwrap();
        assert_eq!(there.tag_count, tags().len());
        assert_kept(&there.attributes);
        assert_eq!(store.tags(key).await.unwrap(), tags());
        let bare = PutOptions { attributes: Attributes::default(), ..PutOptions::default() };
        store.rewrite(key, &before.etag, &bare).await.unwrap();
        let there = store.head(key).await.unwrap();
        assert_eq!((there.attributes.metadata.len(), there.tag_count), (0, 0), "nothing is left over");
        store.delete(key, None).await.unwrap();
    }
}

/// Locks. The store is an empty bucket made for them.
async fn keeps_locks(store: &dyn ObjectStore) {
    assert!(store.has_locks().await.unwrap());
    for mode in [LockMode::Governance, LockMode::Compliance] {
        let lock = Lock { legal_hold: mode == LockMode::Governance, ..locked(mode) };
        let options = PutOptions {
            lock: lock.clone(),
            content_md5: Some(*b"\xc4\xcaB8\xa0\xb9#\x82\r\xccP\x9aou\x84\x9b"),
            ..PutOptions::default()
        };
        let put = store.put("put", "1".into(), &options).await.unwrap();
        put_one_part(store, "parts", &options).await;
        for key in ["put", "parts"] {
            assert_eq!(store.head(key).await.unwrap().lock, lock, "{key}");
        }
        let deleted = store.delete("put", put.version.as_deref()).await;
        assert!(matches!(&deleted, Err(error @ Error::Locked(_)) if error.is_permanent()), "{deleted:?}");
        let off = Lock { legal_hold: false, ..lock };
        store.put_lock("put", &off).await.unwrap();
        assert_eq!(store.head("put").await.unwrap().lock, off);
    }
    let sooner = Timestamp::now().round(jiff::Unit::Second).unwrap() + SignedDuration::from_mins(1);
    let retention = Retention { mode: LockMode::Compliance, until: sooner };
    let shorter = Lock { retention: Some(retention), legal_hold: false };
    assert!(matches!(store.put_lock("put", &shorter).await, Err(Error::Locked(_))));
}

async fn refuses_locks(store: &dyn ObjectStore) {
    assert!(!store.has_locks().await.unwrap());
    let options = PutOptions { lock: locked(LockMode::Governance), ..PutOptions::default() };
    let refused = store.put("k", "1".into(), &options).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Unsupported { what, .. } if what == farshore::store::LOCK),
        "{refused}"
    );
    let refused = store.create_upload("k", &options).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Unsupported { what, .. } if what == farshore::store::LOCK),
        "{refused}"
    );
}

/// A bucket made for locks.
pub async fn with_locks(variable: &str) -> S3Store {
    let config = stores::config(&stores::endpoint(variable), &stores::fresh_name());
    let store = S3Store::new(config).unwrap();
    store.create_bucket_with_locks().await.unwrap();
    store
}

pub fn memory_with_locks() -> MemoryStore {
    let store = MemoryStore::new("locks");
    store.set_versioning(Versioning::Enabled);
    store.set_locks(true);
    store
}

async fn keeps_what_lies_beside(store: &dyn ObjectStore) {
    keeps_tags(store).await;
    rewrites(store).await;
    refuses_locks(store).await;
}

#[tokio::test]
async fn c02_memory_keeps_tags_and_locks() {
    keeps_what_lies_beside(&MemoryStore::new("b")).await;
    keeps_locks(&memory_with_locks()).await;
}

#[tokio::test]
async fn c02_minio_keeps_tags_and_locks() {
    keeps_what_lies_beside(&stores::minio_a().await).await;
    keeps_locks(&with_locks("FARSHORE_TEST_MINIO_A").await).await;
}

#[tokio::test]
async fn c02_versity_keeps_tags_and_locks() {
    keeps_what_lies_beside(&stores::versity().await).await;
    keeps_locks(&with_locks("FARSHORE_TEST_VERSITY").await).await;
}

async fn probed(store: &dyn ObjectStore) -> Abilities {
    let found = probe(store, "p/").await.unwrap();
    let left = store.list_versions(&farshore::store::ListVersionsRequest::default()).await.unwrap();
    assert!(left.versions.is_empty(), "{left:?}");
    found
}

#[tokio::test]
async fn c02_what_a_store_can_hold_is_found_out() {
    let memory = memory_with_locks();
    memory.set_acls(true);
    memory.set_replicas(true);
    memory.set_rewrites(Rewrites::Keep);
    let found = probed(&memory).await;
    assert_eq!((found.tags, found.acls, found.replicas), (Support::Yes, Support::Yes, Support::Yes));
    assert_eq!((found.locks, found.rewriting), (true, Rewriting::Parts));
    let plain = MemoryStore::new("b");
    plain.set_most_tags(0);
    let found = probed(&plain).await;
    assert_eq!((found.tags, found.acls, found.replicas), (Support::No, Support::No, Support::No));
    assert_eq!((found.locks, found.rewriting), (false, Rewriting::Whole));
    plain.set_rewrites(Rewrites::Refused);
    assert_eq!(probed(&plain).await.rewriting, Rewriting::None);

    let minio = probed(&stores::minio_a().await).await;
    assert_eq!((minio.tags, minio.acls, minio.replicas), (Support::Yes, Support::No, Support::Yes));
    assert_eq!((minio.locks, minio.rewriting), (false, Rewriting::Whole));
    let versity = probed(&stores::versity().await).await;
    assert_eq!((versity.tags, versity.acls, versity.replicas), (Support::Yes, Support::No, Support::No));
    assert_eq!((versity.locks, versity.rewriting), (false, Rewriting::Parts));
    for store in [with_locks("FARSHORE_TEST_MINIO_A").await, with_locks("FARSHORE_TEST_VERSITY").await] {
        assert!(probed(&store).await.locks);
    }
}
