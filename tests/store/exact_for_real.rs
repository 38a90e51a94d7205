//! Exact copies between real stores: tags, locks, times, and changes of attributes alone.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use farshore::{
    replicate::{Attribute, Copied, Copier, Created, Keep},
    store::{Lock, LockMode, ObjectStore, PutOptions, Tags, abilities::probe},
};

use crate::{
    beside::{locked, tags, with_locks},
    copying::put_parts,
    exact::{copied, tagged, updated},
    stores,
    suite::{assert_kept, attributes, md5, noise},
};

const MIB: usize = 1 << 20;

async fn keeps_what_lies_beside(source: Arc<dyn ObjectStore>, target: Arc<dyn ObjectStore>) {
    let abilities = (probe(&*source, "p/").await.unwrap(), probe(&*target, "p/").await.unwrap());
    let copier =
        Copier::new(Arc::clone(&source), Arc::clone(&target)).knowing(Some(abilities.0), abilities.1);
    source.put("small", "1".into(), &tagged()).await.unwrap();
    source.put("large", noise(9 * MIB, 1), &tagged()).await.unwrap();
    put_parts(&*source, "parts", &[5 * MIB, 10], 1).await;
    source.put_tags("parts", &tags()).await.unwrap();
    for key in ["small", "large", "parts"] {
        assert!(copied(&copier, key).await.left_out.is_empty());
        assert_eq!(target.tags(key).await.unwrap(), tags(), "{key}");
        source.put_tags(key, &Tags::new()).await.unwrap();
        assert_eq!((updated(&copier, key).await.sent, target.head(key).await.unwrap().tag_count), (0, 0));
    }
    for key in ["small", "large"] {
        let before = source.head(key).await.unwrap();
        source
            .rewrite(key, &before.etag, &PutOptions { tags: tags(), ..PutOptions::default() })
            .await
            .unwrap();
        let updated = updated(&copier, key).await;
        let (here, there) = (source.head(key).await.unwrap(), target.head(key).await.unwrap());
        assert_eq!((&there.etag, there.tag_count), (&before.etag, 3), "{key}");
        assert_eq!(there.attributes.metadata, BTreeMap::new());
        assert!(here.attributes.are_kept_as(&there.attributes), "{key}: {there:?} of {here:?}");
        // VersityGW leaves a header that is to go: there the content goes over once more.
        assert!([0, here.size].contains(&updated.sent), "{updated:?}");
    }
}

#[tokio::test]
async fn c02_tags_and_attributes_go_over_between_real_stores() {
    let minio: Arc<dyn ObjectStore> = Arc::new(stores::minio_a().await);
    let versity: Arc<dyn ObjectStore> = Arc::new(stores::versity().await);
    keeps_what_lies_beside(Arc::clone(&minio), Arc::new(stores::minio_b().await)).await;
    keeps_what_lies_beside(Arc::clone(&minio), Arc::clone(&versity)).await;
    keeps_what_lies_beside(versity, minio).await;
}

async fn keeps_locks(
    source: Arc<dyn ObjectStore>,
    target: Arc<dyn ObjectStore>,
    plain: Arc<dyn ObjectStore>,
) {
    let lock = locked(LockMode::Governance);
    let options = PutOptions { lock: lock.clone(), ..PutOptions::default() };
    let body = Bytes::from_static(b"1");
    let content_md5 = hex::decode(&md5(&body).0).unwrap().try_into().ok();
    source.put("small", body, &PutOptions { content_md5, ..options.clone() }).await.unwrap();
    put_parts(&*source, "parts", &[5 * MIB, 10], 1).await;
    source.put_lock("parts", &lock).await.unwrap();
    let copier = Copier::new(Arc::clone(&source), Arc::clone(&target));
    let to_plain = Copier::new(Arc::clone(&source), plain);
    for key in ["small", "parts"] {
        assert!(copied(&copier, key).await.left_out.is_empty());
        assert_eq!(target.head(key).await.unwrap().lock, lock, "{key}");
        let Copied { left_out, .. } = copied(&to_plain, key).await;
        assert_eq!(left_out[0].attribute, Attribute::Lock);
    }
    let held = Lock { legal_hold: true, ..lock };
    source.put_lock("parts", &held).await.unwrap();
    assert_eq!(updated(&copier, "parts").await.sent, 0);
    assert_eq!(target.head("parts").await.unwrap().lock, held);
    // Attributes of a locked object change too, and the lock is still on what is current.
    let etag = source.head("small").await.unwrap().etag;
    source.rewrite("small", &etag, &PutOptions { attributes: attributes(), ..options }).await.unwrap();
    assert_eq!(updated(&copier, "small").await.sent, 0);
    let there = target.head("small").await.unwrap();
    assert_kept(&there.attributes);
    assert_eq!(there.lock, source.head("small").await.unwrap().lock);
}

#[tokio::test]
async fn c02_locks_go_over_between_real_stores() {
    let (a, b) = ("FARSHORE_TEST_MINIO_A", "FARSHORE_TEST_VERSITY");
    let plain = || async { Arc::new(stores::versity().await) as Arc<dyn ObjectStore> };
    keeps_locks(Arc::new(with_locks(a).await), Arc::new(with_locks(b).await), plain().await).await;
    keeps_locks(
        Arc::new(with_locks(b).await),
        Arc::new(with_locks(a).await),
        Arc::new(stores::minio_a().await),
    )
    .await;
}

#[tokio::test]
async fn c02_a_replica_keeps_time_and_tag_in_parts_too() {
    let (source, target) = (stores::minio_a().await, stores::minio_b().await);
    let abilities = (probe(&source, "p/").await.unwrap(), probe(&target, "p/").await.unwrap());
    put_parts(&source, "parts", &[5 * MIB, 10], 1).await;
    source.put("small", "1".into(), &PutOptions::default()).await.unwrap();
    // Times are told in seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let copier = Copier::new(Arc::new(source.clone()), Arc::new(target.clone()))
        .keep(Keep { created: Created::AsReplica, ..Keep::default() })
        .knowing(Some(abilities.0), abilities.1);
    for key in ["parts", "small"] {
        copied(&copier, key).await;
        let (here, there) = (source.head(key).await.unwrap(), target.head(key).await.unwrap());
        assert_eq!((here.modified, here.etag), (there.modified, there.etag), "{key}");
    }
    let layout = target.head_part("parts", 1).await.unwrap().unwrap();
    assert_eq!((layout.size, layout.count), (5 << 20, 2));
    source.rewrite("small", &source.head("small").await.unwrap().etag, &tagged()).await.unwrap();
    assert_eq!(updated(&copier, "small").await.sent, 0);
    assert_eq!(target.head("small").await.unwrap().modified, source.head("small").await.unwrap().modified);
}
