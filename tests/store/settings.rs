//! What is set on a bucket itself.

use farshore::store::{
    Error, Expires, LifecycleFilter, LifecycleRule, ObjectStore, Tags, memory::MemoryStore, s3::S3Store,
};

use crate::stores;

/// Rules of each kind that a store may know.
fn rules() -> Vec<LifecycleRule> {
    let tags: Tags = [("class", "scratch"), ("team", "a")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let filters = [
        LifecycleFilter { prefix: "logs/".into(), ..LifecycleFilter::default() },
        LifecycleFilter { prefix: "tmp/".into(), tags, ..LifecycleFilter::default() },
        LifecycleFilter { larger_than: Some(10), smaller_than: Some(5000), ..LifecycleFilter::default() },
    ];
    let expires = [
        Expires::After { days: 3 },
        Expires::On("2020-01-02T00:00:00Z".parse().unwrap()),
        Expires::After { days: 400 },
    ];
    let numbered = filters.into_iter().zip(expires).enumerate();
    numbered.map(|(n, (filter, expires))| LifecycleRule { id: format!("r{n}"), filter, expires }).collect()
}

async fn tells_its_lifecycle(store: &S3Store) {
    assert_eq!(store.lifecycle().await.unwrap(), []);
    store.set_lifecycle(&rules()).await.unwrap();
    assert_eq!(store.lifecycle().await.unwrap(), rules());
    store.set_lifecycle(&[]).await.unwrap();
    assert_eq!(store.lifecycle().await.unwrap(), []);
}

#[tokio::test]
async fn c10_minio_tells_its_lifecycle() {
    tells_its_lifecycle(&stores::minio_a().await).await;
}

#[tokio::test]
async fn c10_versity_has_none() {
    let store = stores::versity().await;
    assert!(matches!(store.set_lifecycle(&rules()).await, Err(Error::Unsupported { .. })));
    assert_eq!(store.lifecycle().await.unwrap(), []);
}

async fn keeps_tags(store: &dyn ObjectStore) {
    assert_eq!(store.bucket_tags().await.unwrap(), Tags::new());
    let tags: Tags = [
        ("owner", "team a"),
        (
            "farshore.dev/replicates-to",
            "2026-11-21 4be1a0de-1c2d-4e5f-8a9b-0123456789ab team-a/photos north/b.c_d",
        ),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into();
    store.put_bucket_tags(&tags).await.unwrap();
    assert_eq!(store.bucket_tags().await.unwrap(), tags);
    store.put_bucket_tags(&Tags::new()).await.unwrap();
    assert_eq!(store.bucket_tags().await.unwrap(), Tags::new());
}

#[tokio::test]
async fn c07_a_bucket_has_tags() {
    keeps_tags(&MemoryStore::new("b")).await;
    keeps_tags(&stores::minio_a().await).await;
    keeps_tags(&stores::versity().await).await;
}

#[tokio::test]
async fn c09_a_store_without_websites_sends_nobody_elsewhere() {
    for store in [stores::minio_a().await, stores::versity().await] {
        assert_eq!(store.website_routes().await.unwrap(), []);
    }
}

#[tokio::test]
async fn c07_a_bucket_that_is_gone_has_no_tags() {
    let config = stores::config(&stores::endpoint("FARSHORE_TEST_MINIO_A"), &stores::fresh_name());
    let store = S3Store::new(config).unwrap();
    // MinIO says of some of them that they have no tags, of others that they are not there.
    match store.bucket_tags().await {
        Ok(tags) => assert!(tags.is_empty(), "{tags:?}"),
        Err(error) => assert!(matches!(error, Error::NoSuchBucket(_)), "{error}"),
    }
}
