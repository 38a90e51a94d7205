//! The S3 store when the network and the other side misbehave.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use farshore::{
    replicate::{Copier, CopyRequest, Outcome},
    store::{
        Error, GetOptions, ListRequest, ObjectStore, Precondition, PutOptions,
        credentials::Credentials,
        s3::{Patience, Retry, S3Config, S3Store},
    },
};

use crate::{
    copying::put_parts,
    proxy::{Break, Proxy},
    stores,
    suite::{keys, md5, noise, read},
};

const MIB: usize = 1 << 20;

/// A bucket on the first MinIO, straight and through a proxy.
async fn proxied() -> (S3Store, S3Store, Proxy) {
    let straight = stores::minio_a().await;
    let proxy = Proxy::before(&stores::endpoint("FARSHORE_TEST_MINIO_A")).await;
    let through = S3Store::new(stores::config(&proxy.endpoint, straight.bucket())).unwrap();
    (straight, through, proxy)
}

const ALWAYS: (u32, u32) = (0, u32::MAX);

#[tokio::test]
async fn slow_down_is_retried_with_pauses_and_then_told_with_attempts() {
    let (_, store, proxy) = proxied().await;
    proxy.breaks("PUT", "/k", (0, 2), Break::Error(503, "SlowDown"));
    store.put("k", "x".into(), &PutOptions::default()).await.unwrap();
    assert_eq!(proxy.count("PUT", "/k"), 3);
    proxy.breaks("HEAD", "/k", ALWAYS, Break::Error(503, "SlowDown"));
    let error = store.head("k").await.unwrap_err();
    assert!(
        matches!(&error, Error::SlowDown(c) if c.attempts == 6 && c.key.as_deref() == Some("k")),
        "{error}"
    );
    assert!(error.to_string().contains("6 attempts in") && error.to_string().contains("ORDERED1"), "{error}");
}

#[tokio::test]
async fn refusals_are_told_apart_and_not_retried() {
    let (_, store, proxy) = proxied().await;
    for (status, code, reason) in [
        (403, "AccessDenied", "AccessDenied"),
        (403, "ExpiredToken", "CredentialsRefused"),
        (403, "InvalidAccessKeyId", "CredentialsRefused"),
        (403, "SignatureDoesNotMatch", "CredentialsRefused"),
        (403, "RequestTimeTooSkewed", "ClockSkew"),
        (404, "NoSuchBucket", "BucketNotFound"),
        (404, "NoSuchKey", "ObjectNotFound"),
        (412, "PreconditionFailed", "ChangedMeanwhile"),
        (409, "ConditionalRequestConflict", "ChangedMeanwhile"),
        (507, "XMinioStorageFull", "StoreFull"),
        (403, "QuotaExceeded", "StoreFull"),
        (501, "NotImplemented", "Unsupported"),
        (400, "ObjectLocked", "ObjectLocked"),
        (418, "Teapot", "UnexpectedAnswer"),
    ] {
        let before = proxy.count("PUT", "/k");
        proxy.breaks("PUT", "/k", (0, 1), Break::Error(status, code));
        let error = store.put("k", "x".into(), &PutOptions::default()).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{code}: {error}");
        assert!(error.to_string().contains("ORDERED1") && error.to_string().contains(code), "{error}");
        assert_eq!(proxy.count("PUT", "/k"), before + 1, "{code} is not retried");
    }
}

#[tokio::test]
async fn resets_are_retried_and_a_closed_port_says_so() {
    let (_, store, proxy) = proxied().await;
    proxy.breaks("PUT", "/k", (0, 1), Break::Reset);
    store.put("k", "x".into(), &PutOptions::default()).await.unwrap();
    let nobody = S3Config {
        retry: Retry { attempts: 2, pause: Duration::from_millis(1), ..Retry::default() },
        ..S3Config::new("http://127.0.0.1:1", "b", Credentials::anonymous())
    };
    let error = S3Store::new(nobody).unwrap().head("k").await.unwrap_err();
    assert_eq!(error.reason(), "StoreUnreachable");
    assert!(error.to_string().contains("refused"), "{error}");
    let nowhere = S3Config::new("http://no-such-host.invalid", "b", Credentials::anonymous());
    let nowhere = S3Config { retry: Retry { attempts: 1, ..Retry::default() }, ..nowhere };
    let error = S3Store::new(nowhere).unwrap().head("k").await.unwrap_err();
    assert!(error.to_string().contains("dns") || error.to_string().contains("lookup"), "{error}");
}

#[tokio::test]
async fn a_lost_answer_to_a_conditional_put_is_not_taken_for_anothers_write() {
    let (_, store, proxy) = proxied().await;
    proxy.breaks("PUT", "/k", (0, 1), Break::LoseAnswer);
    let options = PutOptions { precondition: Precondition::Absent, ..PutOptions::default() };
    let put = store.put("k", "ours".into(), &options).await;
    assert_eq!(put.unwrap().etag, md5(b"ours"));
    let theirs = store.put("k", "theirs".into(), &options).await;
    assert!(matches!(theirs, Err(Error::Changed(_))));
}

#[tokio::test]
async fn a_truncated_body_is_corrupt_and_a_stalled_one_ends() {
    let (straight, store, proxy) = proxied().await;
    straight.put("k", noise(2 * MIB, 1), &PutOptions::default()).await.unwrap();
    proxy.breaks("GET", "/k", (0, 1), Break::Truncate(MIB));
    let error = read(&store, "k", &GetOptions::default()).await.unwrap_err();
    assert!(matches!(&error, Error::Corrupt { .. }), "{error}");

    let patience = Patience { body: Duration::from_millis(300), ..Patience::default() };
    let hasty = S3Config { patience, ..stores::config(&proxy.endpoint, store.bucket()) };
    proxy.breaks("GET", "/k", (0, 1), Break::Stall(Duration::from_secs(20)));
    let error = read(&S3Store::new(hasty).unwrap(), "k", &GetOptions::default()).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { cause, .. } if cause.contains("no data")), "{error}");
}

#[tokio::test]
async fn b18_a_garbled_page_is_an_error_never_a_short_listing() {
    let (straight, store, proxy) = proxied().await;
    for n in 0..9 {
        straight.put(&format!("list-{n}"), "x".into(), &PutOptions::default()).await.unwrap();
    }
    let all = ListRequest { max_keys: Some(2), ..ListRequest::default() };
    for how in
        [Break::Html, Break::Shorten(0), Break::Shorten(400), Break::Shorten(600), Break::Truncate(500)]
    {
        // The third page, once: tried again.
        proxy.breaks("GET", "continuation-token", (1, 1), how.clone());
        assert_eq!(keys(&store, all.clone()).await.len(), 9, "{how:?}");
        // For good: an error.
        proxy.breaks("GET", "list-type=2", (0, 6), how.clone());
        let error = store.list(&all).await.unwrap_err();
        let reason = error.reason();
        assert!(matches!(reason, "UnexpectedAnswer" | "StoreUnreachable"), "{how:?}: {error:?}");
    }
    proxy.breaks("GET", "list-type=2", (0, 6), Break::Error(504, "x"));
    assert_eq!(store.list(&all).await.unwrap_err().reason(), "StoreUnreachable");
}

#[tokio::test]
async fn the_bucket_that_is_missing_is_named() {
    let store =
        S3Store::new(stores::config(&stores::endpoint("FARSHORE_TEST_MINIO_A"), "no-such-bucket")).unwrap();
    let error = store.list(&ListRequest::default()).await.unwrap_err();
    assert!(matches!(&error, Error::NoSuchBucket(c) if c.bucket == "no-such-bucket"), "{error}");
    assert_eq!(store.head("k").await.unwrap_err().reason(), "BucketNotFound");
    let put = store.put("k", "x".into(), &PutOptions::default()).await.unwrap_err();
    assert_eq!(put.reason(), "BucketNotFound");
}

#[tokio::test]
async fn p08_credentials_are_read_again_when_they_are_refused() {
    let good = stores::credentials().current().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("AWS_ACCESS_KEY_ID", &good.access_key);
    write("AWS_SECRET_ACCESS_KEY", "an old one");
    let bucket = stores::minio_a().await;
    let credentials = Credentials::files(directory.path()).unwrap();
    let config = stores::config(&stores::endpoint("FARSHORE_TEST_MINIO_A"), bucket.bucket());
    let store = S3Store::new(S3Config { credentials, ..config }).unwrap();
    let error = store.list(&ListRequest::default()).await.unwrap_err();
    assert_eq!(error.reason(), "CredentialsRefused");
    write("AWS_SECRET_ACCESS_KEY", good.secret_key.reveal());
    store.list(&ListRequest::default()).await.unwrap();
    std::fs::remove_file(directory.path().join("AWS_SECRET_ACCESS_KEY")).unwrap();
    store.list(&ListRequest::default()).await.unwrap();
}

#[tokio::test]
async fn anonymous_requests_are_not_signed_and_denied_ones_say_so() {
    let bucket = stores::minio_a().await;
    let config = stores::config(&stores::endpoint("FARSHORE_TEST_MINIO_A"), bucket.bucket());
    let store = S3Store::new(S3Config { credentials: Credentials::anonymous(), ..config }).unwrap();
    assert_eq!(store.list(&ListRequest::default()).await.unwrap_err().reason(), "AccessDenied");
}

#[tokio::test]
async fn a_copy_through_a_bad_network_is_exact() {
    let (straight, source, proxy) = proxied().await;
    let target = stores::minio_b().await;
    let (etag, body) = put_parts(&straight, "k", &[5 * MIB, 6 * MIB, 5 * MIB, 7], 1).await;
    proxy.breaks("GET", "/k", (0, 1), Break::Truncate(3 * MIB));
    proxy.breaks("GET", "/k", (1, 1), Break::Reset);
    proxy.breaks("GET", "/k", (2, 1), Break::Error(503, "SlowDown"));
    let copier = Copier::new(Arc::new(source), Arc::new(target.clone()));
    let Outcome::Copied(done) = copier.copy(&CopyRequest::new("k")).await.unwrap() else { panic!() };
    assert_eq!(done.target_etag, etag);
    assert_eq!(read(&target, "k", &GetOptions::default()).await.unwrap(), body);
}

#[tokio::test]
async fn small_objects_cost_two_requests_on_the_wire() {
    let (straight, source, from) = proxied().await;
    let (_, target, to) = proxied().await;
    straight.put("k", Bytes::from("x"), &PutOptions::default()).await.unwrap();
    let copier = Copier::new(Arc::new(source), Arc::new(target));
    for _ in 0..3 {
        copier.copy(&CopyRequest { size: Some(1), ..CopyRequest::new("k") }).await.unwrap();
    }
    let total: usize =
        ["GET", "HEAD", "PUT", "POST"].iter().map(|m| from.count(m, "/") + to.count(m, "/")).sum();
    let locks = from.count("GET", "object-lock");
    assert_eq!((from.count("GET", "/k"), to.count("PUT", "/k"), locks, total), (3, 3, 1, 7), "locks once");
}

#[tokio::test]
async fn one_connection_serves_request_after_request_refusals_too() {
    let (_, store, proxy) = proxied().await;
    let options = PutOptions { precondition: Precondition::Absent, ..PutOptions::default() };
    for n in 0..10 {
        store.put(&format!("k{n}"), noise(5000, n), &PutOptions::default()).await.unwrap();
        read(&store, &format!("k{n}"), &GetOptions::default()).await.unwrap();
        store.head("nothing").await.unwrap_err();
        store.put("k0", "x".into(), &options).await.unwrap_err();
        store.list(&ListRequest::default()).await.unwrap();
        // Through the SDK.
        store.delete(&format!("gone{n}"), None).await.unwrap();
    }
    // A connection goes back to the pool a moment after its answer.
    assert!(proxy.connections() <= 6, "60 requests over {} connections", proxy.connections());
}
