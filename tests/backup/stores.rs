//! The main stories on real stores: two MinIO, as `dev/stores up` starts them.

use std::{sync::Arc, time::Duration};

use farshore::{
    backup::{
        purge::purge,
        sync::{Mode, Session, Update, run},
    },
    store::{ListRequest, ListVersionsRequest, ObjectStore, PutOptions, s3::S3Store},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    real,
    stories::{World, sync_once, time},
};

/// What the made-up server wrote, uploaded to a real store.
async fn upload(world: &World, store: &S3Store) {
    for key in world.source.keys() {
        let body = world.source.bytes(&key).unwrap();
        store.put(&key, body, &PutOptions::default()).await.unwrap();
    }
}

fn session(world: &World, source: &Arc<S3Store>, target: &Arc<S3Store>) -> Session {
    let mut session = Session { source: source.clone(), target: target.clone(), ..world.session() };
    source.bucket().clone_into(&mut session.config.source.bucket);
    target.bucket().clone_into(&mut session.config.target.bucket);
    session
}

#[tokio::test]
async fn b01_b06_b16_b18_b11_a_copy_between_two_real_stores() {
    let (source, target) = (Arc::new(real::minio_a().await), Arc::new(real::minio_b().await));
    target.set_versioning(true).await.unwrap();
    let mut world = World::new();
    world.base();
    world.work(60);
    let lost = world.work(60);
    world.work(60);
    upload(&world, &source).await;
    let report = sync_once(session(&world, &source, &target)).await.unwrap();
    assert_eq!(report.latest, Some(time("2026-11-01T00:02:59Z")));
    assert_eq!((report.windows.len(), report.full, report.logs), (1, 1, 3));
    for key in world.source.keys() {
        let copy = target.head(&format!("copies/{key}")).await.unwrap();
        assert_eq!(copy.etag, source.head(&key).await.unwrap().etag, "{key}");
    }
    // A service made anew adopts it, and copies nothing.
    let again = sync_once(session(&world, &source, &target)).await.unwrap();
    assert_eq!((again.copied_bytes, &again.windows), (0, &report.windows));
    // The source empties its bucket; a binlog is taken away at the target.
    for key in world.source.keys() {
        source.delete(&key, None).await.unwrap();
    }
    target.delete(&format!("copies/orders/{lost}"), None).await.unwrap();
    let torn = sync_once(session(&world, &source, &target)).await.unwrap();
    assert_eq!(torn.windows[0].to, time("2026-11-01T00:00:59Z"));
    assert_eq!(torn.gaps[0].missing, "mysql-bin.000002");
    // Another's object survives the purge; of ours nothing is left, in no version.
    target.put("copies/orders/notes.txt", "mine".into(), &PutOptions::default()).await.unwrap();
    let places = session(&world, &source, &target).config;
    let purged = purge(target.clone(), &places.source, &places.target).await.unwrap();
    assert_eq!(purged.foreign, 1);
    target.delete("copies/orders/notes.txt", None).await.unwrap();
    let left = target.list_versions(&ListVersionsRequest::default()).await.unwrap().versions;
    assert!(left.iter().all(|version| version.key == "copies/orders/notes.txt"), "{left:?}");
    assert!(target.list_uploads("copies/orders/").await.unwrap().is_empty());
    assert_eq!(purge(target.clone(), &places.source, &places.target).await.unwrap().objects, 0);
}

#[tokio::test]
async fn b01_a_run_killed_in_a_large_base_goes_on_with_the_missing_parts() {
    let (source, target) = (Arc::new(real::minio_a().await), Arc::new(real::minio_b().await));
    let mut world = World::new();
    world.base();
    world.work(60);
    let mut bucket = world.bucket();
    world.server.base(1000, &mut bucket);
    upload(&world, &source).await;
    // The newest base is large, and in parts.
    let key = world.source.keys().into_iter().rfind(|key| key.ends_with(".xb.gz")).unwrap();
    let upload = source.create_upload(&key, &PutOptions::default()).await.unwrap();
    let mut parts = Vec::new();
    for part in 1..=8 {
        let body = bytes::Bytes::from(vec![u8::try_from(part).unwrap(); 6 << 20]);
        let size = body.len() as u64;
        let stream = Box::pin(futures::stream::iter([Ok(body)]));
        parts.push(source.upload_part(&key, &upload, part, size, stream).await.unwrap());
    }
    let etag = source.complete_upload(&key, &upload, &parts, &PutOptions::default()).await.unwrap().etag;
    let mut slow = session(&world, &source, &target);
    slow.config.bytes_per_second = Some(12 << 20);
    slow.config.interval = Duration::from_millis(500);
    let (_wake, run_now) = mpsc::channel(1);
    let (updates, mut told) = mpsc::channel(64);
    let mode = Mode::Shift { hand_over: CancellationToken::new() };
    let running = tokio::spawn(run(slow, mode, run_now, updates));
    loop {
        let update = told.recv().await.unwrap();
        if matches!(&update, Update::Progress(progress) if progress.transferred_bytes > 26 << 20) {
            break;
        }
    }
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let report = sync_once(session(&world, &source, &target)).await.unwrap();
    assert_eq!((report.full, report.pending_bytes), (2, 0));
    assert_eq!(target.head(&format!("copies/{key}")).await.unwrap().etag, etag);
    // Eight parts in all; the second run sent only what the first had not.
    assert!(report.copied_bytes <= 6 * (6 << 20) + 10_000, "{}", report.copied_bytes);
    let listed =
        target.list(&ListRequest { prefix: "copies/".into(), ..ListRequest::default() }).await.unwrap();
    assert!(listed.objects.iter().any(|object| object.key.ends_with("service.json")));
}
