//! What the real stores can do, and whether two of them are one.

use farshore::{
    replicate::same_place,
    store::{ListRequest, ObjectStore, Versioning, abilities::probe, s3::S3Store},
};

use crate::{stores, suite::keys};

async fn probed(store: S3Store) -> farshore::store::abilities::Abilities {
    let found = probe(&store, "p/.farshore/").await.unwrap();
    assert!(keys(&store, ListRequest::default()).await.is_empty());
    found
}

#[tokio::test]
async fn minio_can_do_what_we_think() {
    let found = probed(stores::minio_a().await).await;
    assert!(found.conditional_put && found.part_heads && found.bytewise_order, "{found:?}");
    assert!(!found.uploads_by_prefix, "only by the exact key: {found:?}");
    assert_eq!(found.versioning, Versioning::Off);
}

#[tokio::test]
async fn versity_can_do_what_we_think() {
    let found = probed(stores::versity().await).await;
    assert!(found.conditional_put && found.uploads_by_prefix && found.bytewise_order, "{found:?}");
}

#[tokio::test]
async fn one_bucket_behind_two_names_is_found_out() {
    let (a, b) = (stores::minio_a().await, stores::minio_b().await);
    let other_name = stores::endpoint("FARSHORE_TEST_MINIO_A").replace("127.0.0.1", "localhost");
    let alias = S3Store::new(stores::config(&other_name, a.bucket())).unwrap();
    assert!(same_place(&alias, &a, "p/").await.unwrap());
    assert!(!same_place(&a, &b, "p/").await.is_ok_and(|same| same));
    assert!(keys(&a, ListRequest::default()).await.is_empty());
}
