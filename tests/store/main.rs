//! One behaviour suite, run on every store; faults between us and a store; copies between stores.
//!
//! Real stores come from the environment (`make test`, or source `.dev/stores.env`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests may")]

mod alone;
mod beside;
mod comparing;
mod copying;
mod cost;
mod exact;
mod exact_for_real;
mod expiring;
mod faults;
mod feeds;
mod keeping;
mod killed;
mod latin;
#[path = "../support/link.rs"]
mod link;
mod live;
#[allow(dead_code, reason = "other tests need the rest")]
#[path = "../support/moto.rs"]
mod moto;
mod mutual;
#[path = "../support/posting.rs"]
mod posting;
mod probing;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/proxy.rs"]
mod proxy;
mod queues;
mod settings;
mod soak;
#[path = "../support/stores.rs"]
mod stores;
mod suite;
mod tls;
mod tool;
mod webhooks;

use farshore::store::{ObjectStore, Versioning, memory::MemoryStore};

#[tokio::test]
async fn memory_stores_objects_exactly() {
    let store = MemoryStore::new("b");
    store.set_page_size(3);
    suite::stores_objects_exactly(&store).await;
}

#[tokio::test]
async fn minio_stores_objects_exactly() {
    suite::stores_objects_exactly(&stores::minio_a().await).await;
}

#[tokio::test]
async fn versity_stores_objects_exactly() {
    suite::stores_objects_exactly(&stores::versity().await).await;
}

#[tokio::test]
async fn memory_keeps_versions() {
    let store = MemoryStore::new("b");
    store.set_versioning(Versioning::Enabled);
    store.set_page_size(2);
    suite::keeps_versions(&store).await;
}

#[tokio::test]
async fn minio_keeps_versions() {
    let store = stores::minio_a().await;
    store.set_versioning(true).await.unwrap();
    assert_eq!(store.versioning().await.unwrap(), Versioning::Enabled);
    suite::keeps_versions(&store).await;
}

#[tokio::test]
async fn versity_keeps_versions() {
    let store = stores::versity().await;
    store.set_versioning(true).await.unwrap();
    suite::keeps_versions(&store).await;
}
