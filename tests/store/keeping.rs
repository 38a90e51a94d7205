//! Real buckets whose rule keeps more than content (`C02`).

use std::time::Duration;

use bytes::Bytes;
use farshore::{
    replicate::{Attribute, Created, Keep, follow::Attributes},
    store::{ObjectStore, PutOptions, s3::S3Store},
};

use crate::{expiring::begin, stores};

fn marked(value: &str) -> PutOptions {
    let mut options = PutOptions::default();
    options.attributes.metadata.insert("mark".to_owned(), value.to_owned());
    options
}

async fn put(store: &S3Store, key: &str, options: &PutOptions) {
    store.put(key, Bytes::from_static(b"content"), options).await.unwrap();
}

async fn metadata(store: &S3Store, key: &str, name: &str) -> Option<String> {
    store.head(key).await.unwrap().attributes.metadata.get(name).cloned()
}

/// No feed, no other content, no other `ETag`.
async fn finds_other_metadata_by_its_time(source: S3Store, target: S3Store) {
    for n in 0..10 {
        put(&source, &format!("k{n}"), &marked("old")).await;
    }
    let mut run = begin((&source, &target), Attributes::default(), None, None);
    run.until(|counts| counts.alike == 10).await;
    let there = source.head("k3").await.unwrap();
    source.rewrite("k3", &there.etag, &marked("new")).await.unwrap();
    let aligned = run.until(|counts| counts.aligned == 1).await;
    assert_eq!((aligned.counts.copied, aligned.counts.failed, aligned.counts.sent), (0, 0, 0));
    assert_eq!(metadata(&target, "k3", "mark").await.as_deref(), Some("new"));
    // It comes to rest.
    let later = run.next().await;
    assert_eq!((later.counts.unlike_attributes, later.counts.copied), (0, 0), "{later:?}");
    run.end().await;
}

#[tokio::test]
async fn c01_c02_c16_metadata_of_the_same_content_goes_over_between_two_minio_without_a_feed() {
    finds_other_metadata_by_its_time(stores::minio_a().await, stores::minio_b().await).await;
}

#[tokio::test]
async fn c01_c02_c16_metadata_of_the_same_content_goes_over_to_a_versitygw_without_a_feed() {
    finds_other_metadata_by_its_time(stores::minio_a().await, stores::versity().await).await;
}

#[tokio::test]
async fn c02_what_is_asked_for_later_is_brought_to_all_and_what_is_not_held_is_told() {
    let (source, target) = (stores::minio_a().await, stores::versity().await);
    let tagged = PutOptions { tags: [("t".to_owned(), "1".to_owned())].into(), ..PutOptions::default() };
    for n in 0..10 {
        put(&source, &format!("k{n}"), &tagged).await;
    }
    // Headers tell seconds.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut run = begin((&source, &target), Attributes::default(), None, None);
    let first = run.until(|counts| counts.alike == 10).await;
    assert_eq!(first.memory.lacks.iter().count(), 0, "{:?}", first.memory.lacks);
    run.end().await;
    // The time of the last write is asked for: as a replica, which VersityGW takes without a word and forgets.
    let asked = |created, word: &str| Attributes {
        keep: Keep { created, ..Keep::default() },
        asked: Some(word.to_owned()),
        every: None,
    };
    let mut run = begin((&source, &target), asked(Created::AsReplica, "1"), None, Some(first.memory));
    let replicas = run.next().await;
    assert_eq!((replicas.counts.unlike_attributes, replicas.counts.failed), (10, 0), "{replicas:?}");
    let lacks: Vec<_> =
        replicas.memory.lacks.iter().map(|(attribute, lack)| (attribute, lack.copies)).collect();
    assert_eq!(lacks, [(Attribute::CreationTime, 10)]);
    run.end().await;
    let wish = asked(Created::InMetadata("written".into()), "2");
    let mut run = begin((&source, &target), wish, None, Some(replicas.memory));
    let noted = run.next().await;
    assert_eq!((noted.counts.aligned, noted.counts.failed, noted.counts.source), (10, 0, 10), "{noted:?}");
    assert_eq!(noted.memory.lacks.iter().count(), 0);
    for n in 0..10 {
        let key = format!("k{n}");
        let written = source.head(&key).await.unwrap().modified.to_string();
        assert_eq!(metadata(&target, &key, "written").await, Some(written));
        assert_eq!(target.tags(&key).await.unwrap().len(), 1, "tags stay");
    }
    run.end().await;
}
