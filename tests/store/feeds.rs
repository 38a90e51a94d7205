//! Change feeds of real stores, and what becomes of them when the network fails.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use farshore::{
    replicate::feed::{Change, Choice, Feed, FeedError, FeedKind, Hint, Kind, Listen, choose},
    store::{
        ETag, Error, Expires, LifecycleFilter, LifecycleRule, ListenRequest, Listens, ObjectStore, Obstacle,
        PutOptions, Replica, Versioning,
        memory::MemoryStore,
        s3::{S3Config, S3Store},
    },
};

use crate::{
    link::Link,
    proxy::{Break, Proxy},
    stores,
};

const SOON: Duration = Duration::from_secs(10);

fn brisk() -> ListenRequest {
    ListenRequest { ping: Duration::from_secs(1), silence: Duration::from_secs(3) }
}

/// The next hint, handed in at once.
pub async fn next(feed: &mut dyn Feed) -> Result<Hint, FeedError> {
    let told = tokio::time::timeout(SOON, feed.next()).await.expect("the feed says something")?;
    told.receipt.hand_in();
    Ok(told.hint)
}

/// The next change, signs of life passed over.
async fn change(feed: &mut dyn Feed) -> Change {
    loop {
        match next(feed).await.unwrap() {
            Hint::Changed(change) => return change,
            Hint::Alive => {}
            other => panic!("{other:?} instead of a change"),
        }
    }
}

/// Writes a small object.
pub async fn put(store: &dyn ObjectStore, key: &str) {
    store.put(key, Bytes::from_static(b"x"), &PutOptions::default()).await.unwrap();
}

async fn tells_of_changes<S: ObjectStore + Listens + 'static>(store: Arc<S>) {
    let mut feed = Listen::new(store.clone()).request(brisk());
    assert_eq!(next(&mut feed).await.unwrap(), Hint::Connected);
    let keys = ["plain", "a b+c%2Fd/ü\"x🦀", "deep/er/k=v&w", "tab\there"];
    for key in keys {
        put(&*store, key).await;
        let told = change(&mut feed).await;
        assert_eq!((told.key.as_str(), told.kind), (key, Kind::Written));
        assert!(told.at.is_some());
        store.delete(key, None).await.unwrap();
        let told = change(&mut feed).await;
        assert_eq!((told.key.as_str(), told.kind), (key, Kind::Removed));
    }
    assert_eq!(next(&mut feed).await.unwrap(), Hint::Alive, "a quiet bucket gives signs of life");
}

#[tokio::test]
async fn c03_minio_tells_of_changes_with_keys_as_they_are() {
    tells_of_changes(Arc::new(stores::minio_a().await)).await;
}

#[tokio::test]
async fn c03_minio_tells_of_changes_in_a_versioned_bucket() {
    let store = stores::minio_a().await;
    store.set_versioning(true).await.unwrap();
    tells_of_changes(Arc::new(store)).await;
}

#[tokio::test]
async fn c03_memory_tells_of_changes_as_minio_does() {
    tells_of_changes(Arc::new(MemoryStore::new("b"))).await;
    let store = MemoryStore::new("b");
    store.set_versioning(Versioning::Enabled);
    tells_of_changes(Arc::new(store)).await;
}

#[tokio::test]
async fn c15_a_store_that_can_t_be_listened_to_is_told_apart() {
    let memory = MemoryStore::new("b");
    memory.set_listening(false);
    let stores: [Arc<dyn Listens>; 2] = [Arc::new(stores::versity().await), Arc::new(memory)];
    for store in stores {
        let refused = next(&mut Listen::new(store)).await.unwrap_err();
        assert!(matches!(refused, FeedError::CantListen(_)), "{refused}");
        assert!(refused.to_string().contains("choose the feed Webhook"), "{refused}");
        assert!(refused.is_permanent());
    }
}

#[tokio::test]
async fn a_bucket_that_isn_t_there_and_keys_that_are_wrong_are_said() {
    let endpoint = stores::endpoint("FARSHORE_TEST_MINIO_A");
    let nowhere = S3Store::new(stores::config(&endpoint, &stores::fresh_name())).unwrap();
    let refused = next(&mut Listen::new(Arc::new(nowhere))).await.unwrap_err();
    assert_eq!(refused.reason(), "BucketNotFound", "{refused}");
    let keys = farshore::store::credentials::Credentials::fixed("nobody", "no secret at all");
    let stranger = S3Store::new(S3Config::new(&endpoint, stores::fresh_name(), keys)).unwrap();
    let refused = next(&mut Listen::new(Arc::new(stranger))).await.unwrap_err();
    assert_eq!(refused.reason(), "CredentialsRefused", "{refused}");
}

/// MinIO looks at its rules when an object is asked for: one that is old enough goes at once.
#[tokio::test]
async fn c10_what_minio_s_lifecycle_deletes_is_told_as_expired() {
    for versioned in [false, true] {
        let store = stores::minio_a().await;
        if versioned {
            store.set_versioning(true).await.unwrap();
        }
        let modified = "2024-01-01T00:00:00Z".parse().unwrap();
        let etag = ETag("9dd4e461268c8034f5c8564e155c67a6".to_owned());
        let old = PutOptions { replica: Some(Replica { modified, etag }), ..PutOptions::default() };
        store.put("k", Bytes::from_static(b"x"), &old).await.unwrap();
        let mut feed = Listen::new(Arc::new(store.clone())).request(brisk());
        assert_eq!(next(&mut feed).await.unwrap(), Hint::Connected);
        let rule = LifecycleRule {
            id: "all".to_owned(),
            filter: LifecycleFilter::default(),
            expires: Expires::After { days: 1 },
        };
        store.set_lifecycle(&[rule]).await.unwrap();
        assert!(matches!(store.head("k").await, Err(Error::NotFound(_))));
        let told = change(&mut feed).await;
        assert_eq!((told.key.as_str(), told.kind), ("k", Kind::Expired));
        // The version is that of the delete marker, though the event is named as for a version's deletion.
        assert_eq!(told.version.is_some(), versioned, "{told:?}");
    }
}

#[tokio::test]
async fn c10_memory_tells_an_expired_object_as_minio_does() {
    let store = Arc::new(MemoryStore::new("b"));
    let mut feed = Listen::new(store.clone());
    assert_eq!(next(&mut feed).await.unwrap(), Hint::Connected);
    put(&*store, "k").await;
    store.expire("k");
    assert_eq!(change(&mut feed).await.kind, Kind::Written);
    assert_eq!(change(&mut feed).await.kind, Kind::Expired);
}

#[tokio::test]
async fn c16_a_connection_that_dies_without_a_word_is_given_up_and_made_anew() {
    let direct = stores::minio_a().await;
    let link = Link::to(&stores::endpoint("FARSHORE_TEST_MINIO_A")).await;
    let through = S3Store::new(stores::config(&link.endpoint, direct.bucket())).unwrap();
    let mut feed = Listen::new(Arc::new(through)).request(brisk());
    assert_eq!(next(&mut feed).await.unwrap(), Hint::Connected);
    put(&direct, "before").await;
    assert_eq!(change(&mut feed).await.key, "before");

    link.freeze();
    let begin = std::time::Instant::now();
    let broken = loop {
        match next(&mut feed).await {
            Ok(hint) => assert_eq!(hint, Hint::Alive),
            Err(error) => break error,
        }
    };
    let silence = |e: &FeedError| {
        matches!(e, FeedError::Store { source: Error::Unreachable { obstacle: Obstacle::Silence, .. }, .. })
    };
    assert!(silence(&broken) && !broken.is_permanent(), "{broken}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());

    link.thaw();
    assert_eq!(next(&mut feed).await.unwrap(), Hint::Connected, "what was missed must be compared");
    put(&direct, "after").await;
    assert_eq!(change(&mut feed).await.key, "after");
}

#[tokio::test]
async fn c15_auto_takes_what_the_store_can_do_and_says_why() {
    let minio: Arc<dyn Listens> = Arc::new(stores::minio_a().await);
    let mut chosen = choose(Choice::Auto, Arc::clone(&minio)).await.unwrap();
    assert_eq!(chosen.kind(), FeedKind::Listen);
    assert!(chosen.why.contains("tells of changes"), "{chosen:?}");
    assert_eq!(next(&mut *chosen.feed).await.unwrap(), Hint::Connected, "nothing is told before that");
    assert_eq!(choose(Choice::Listen, minio).await.unwrap().kind(), FeedKind::Listen);

    let versity: Arc<dyn Listens> = Arc::new(stores::versity().await);
    let mut chosen = choose(Choice::Auto, Arc::clone(&versity)).await.unwrap();
    assert_eq!(chosen.kind(), FeedKind::Poll);
    assert!(
        chosen.why.contains("can't be listened to") && chosen.why.contains("Webhook or SQS"),
        "{chosen:?}"
    );
    assert_eq!(next(&mut *chosen.feed).await.unwrap(), Hint::Connected);
    let silence = tokio::time::timeout(Duration::from_millis(50), chosen.feed.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    let named = choose(Choice::Listen, versity).await.unwrap_err();
    assert!(named.to_string().contains("choose the feed Webhook, SQS or Poll"), "{named}");
    let polled = choose(Choice::Poll, Arc::new(MemoryStore::new("b"))).await.unwrap();
    assert_eq!(polled.kind(), FeedKind::Poll);
}

#[tokio::test]
async fn c15_auto_polls_where_listening_is_denied_and_listens_later_where_nobody_answers() {
    let direct = stores::minio_a().await;
    let proxy = Proxy::before(&stores::endpoint("FARSHORE_TEST_MINIO_A")).await;
    let through = || Arc::new(S3Store::new(stores::config(&proxy.endpoint, direct.bucket())).unwrap());
    proxy.breaks("GET", "events=", (0, 2), Break::Error(403, "AccessDenied"));
    let chosen = choose(Choice::Auto, through()).await.unwrap();
    assert_eq!(chosen.kind(), FeedKind::Poll);
    assert!(chosen.why.contains("s3:ListenBucketNotification"), "{chosen:?}");
    let denied = choose(Choice::Listen, through()).await.unwrap_err();
    assert!(denied.is_permanent() && denied.to_string().contains("s3:ListenBucketNotification"), "{denied}");
    for choice in [Choice::Auto, Choice::Listen] {
        proxy.breaks("GET", "events=", (0, 2), Break::Error(503, "SlowDown"));
        let mut chosen = choose(choice, through()).await.unwrap();
        assert_eq!(chosen.kind(), FeedKind::Listen);
        let busy = next(&mut *chosen.feed).await.unwrap_err();
        assert!(!busy.is_permanent() && busy.reason() == "SlowDown", "{busy}");
        assert_eq!(next(&mut *chosen.feed).await.unwrap(), Hint::Connected);
    }
}
