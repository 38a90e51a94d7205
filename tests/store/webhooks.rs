//! The receiver of webhooks, and real stores that post to it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    sync::Arc,
    time::Duration,
};

use farshore::{
    replicate::feed::{Change, Feed, FeedError, Hint, Kind, Webhook, webhook::Options},
    store::{
        ObjectStore,
        credentials::Credentials,
        s3::{S3Config, S3Store},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    feeds::{next, put},
    posting,
    process::Process,
    stores,
};

const KEY: &str = "store-key";
const SECRET: &str = "store-secret-of-tests";
const TOKEN: &str = "t0ken-of-tests";
const BUCKET: &str = "shop";
const KEYS: [&str; 3] = ["a b+c%2Fd/ü\"x🦀", "k=v&w", "plain"];
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A receiver that asks for a token.
async fn receiver(folder: &Path) -> (Webhook, SocketAddr) {
    let token = folder.join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let options = Options { token: Some(token), ..Options::new(ANYWHERE, BUCKET) };
    let mut feed = Webhook::new(options);
    let address = feed.open().await.unwrap();
    assert_eq!(next(&mut feed).await.unwrap(), Hint::Connected);
    (feed, address)
}

async fn bucket(endpoint: &str, name: &str) -> Arc<S3Store> {
    let config = S3Config::new(endpoint, name, Credentials::fixed(KEY, SECRET));
    let store = S3Store::new(config).unwrap();
    store.create_bucket().await.unwrap();
    Arc::new(store)
}

/// Keeps what can't be posted.
fn minio(address: SocketAddr) -> impl FnOnce(u16, &Path) -> Command {
    move |port, folder| {
        let mut command = posting::minio(address, (KEY, SECRET), TOKEN)(port, folder);
        command.env("MINIO_NOTIFY_WEBHOOK_QUEUE_DIR_FARSHORE", folder.join("queue"));
        command
    }
}

fn versity(address: SocketAddr) -> impl FnOnce(u16, &Path) -> Command {
    move |port, folder| {
        let (data, meta) = (folder.join("data"), folder.join("meta"));
        for part in [&data, &meta] {
            std::fs::create_dir(part).unwrap();
        }
        let mut command = Command::new(stores::endpoint("FARSHORE_TEST_VERSITY_PROGRAM"));
        command
            .args(["--port", &format!("127.0.0.1:{port}"), "--quiet"])
            .args([
                "--event-webhook-url",
                &format!("http://farshore:{TOKEN}@{address}/"),
                "posix",
                "--sidecar",
            ])
            .args([meta, data])
            .envs([("ROOT_ACCESS_KEY", KEY), ("ROOT_SECRET_KEY", SECRET)]);
        command
    }
}

async fn change(feed: &mut Webhook) -> Change {
    match next(feed).await.unwrap() {
        Hint::Changed(change) => change,
        other => panic!("{other:?} instead of a change"),
    }
}

/// All at once: MinIO passes its queue on every few seconds only.
async fn is_told_of_changes(feed: &mut Webhook, store: &S3Store, keys: &[&str]) {
    for kind in [Kind::Written, Kind::Removed] {
        for key in keys {
            match kind {
                Kind::Written => put(store, key).await,
                _ => store.delete(key, None).await.unwrap(),
            }
        }
        let mut told = Vec::new();
        for _ in keys {
            let change = change(feed).await;
            assert!(change.kind == kind && change.at.is_some(), "{change:?}");
            told.push(change.key);
        }
        told.sort_unstable();
        assert_eq!(told, keys);
    }
}

#[tokio::test]
async fn c15_minio_posts_to_the_receiver_and_repeats_what_found_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (mut feed, address) = receiver(folder.path()).await;
    let server = Process::start(minio(address)).await;
    let (store, other) = (bucket(&server.endpoint, BUCKET).await, bucket(&server.endpoint, "other").await);
    posting::notify(&server.endpoint, (KEY, SECRET), BUCKET).await;
    put(&*other, "nobody asked for it").await;
    is_told_of_changes(&mut feed, &store, &KEYS).await;

    // While the receiver is down, MinIO keeps what it has to tell.
    drop(feed);
    put(&*store, "meanwhile").await;
    let token = Some(folder.path().join("token"));
    let mut feed = Webhook::new(Options { token, ..Options::new(address, BUCKET) });
    assert_eq!(next(&mut feed).await.unwrap(), Hint::Connected);
    assert_eq!(change(&mut feed).await.key, "meanwhile");
}

#[tokio::test]
async fn c15_versity_posts_to_the_receiver() {
    let folder = tempfile::tempdir().unwrap();
    let (mut feed, address) = receiver(folder.path()).await;
    let server = Process::start(versity(address)).await;
    let store = bucket(&server.endpoint, BUCKET).await;
    is_told_of_changes(&mut feed, &store, &KEYS).await;
}

#[tokio::test]
async fn a_port_that_is_taken_and_a_token_that_is_none_are_said() {
    let (feed, address) = receiver(tempfile::tempdir().unwrap().path()).await;
    let taken = next(&mut Webhook::new(Options::new(address, BUCKET))).await.unwrap_err();
    assert!(matches!(taken, FeedError::NoPort { .. }) && !taken.is_permanent(), "{taken}");
    assert!(taken.to_string().contains("free the port"), "{taken}");
    drop(feed);
    let nothing = Options { token: Some("/nowhere/token".into()), ..Options::new(ANYWHERE, BUCKET) };
    let missing = next(&mut Webhook::new(nothing)).await.unwrap_err();
    assert!(
        missing.is_permanent() && missing.to_string().contains("add the token to the Secret"),
        "{missing}"
    );
}

/// A request, as it goes over the wire.
async fn post(address: SocketAddr, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn c16_a_full_queue_turns_messages_away_and_says_so_once_there_is_room() {
    let mut feed = Webhook::new(Options { queue: 2, ..Options::new(ANYWHERE, BUCKET) });
    let address = feed.open().await.unwrap();
    assert_eq!(next(&mut feed).await.unwrap(), Hint::Connected);
    let record = |key: &str| {
        format!(
            r#"{{"Records":[{{"eventSource":"ceph:s3","eventName":"ObjectCreated:Put",
            "s3":{{"bucket":{{"name":"{BUCKET}"}},"object":{{"key":"{key}"}}}}}}]}}"#
        )
    };
    for (key, status) in [("a", "200 OK"), ("b", "200 OK"), ("c", "503 Service Unavailable")] {
        assert_eq!(post(address, &record(key)).await, format!("HTTP/1.1 {status}"), "{key}");
    }
    assert_eq!([change(&mut feed).await.key, change(&mut feed).await.key], ["a", "b"]);
    assert!(matches!(next(&mut feed).await.unwrap(), Hint::Lost { .. }));
    assert_eq!(post(address, &record("c")).await, "HTTP/1.1 200 OK");
    assert_eq!(change(&mut feed).await.key, "c");
    let quiet = tokio::time::timeout(Duration::from_millis(100), feed.next()).await;
    assert!(quiet.is_err(), "a receiver knows of no silence: {quiet:?}");
}

#[tokio::test]
async fn half_requests_keep_nobody_out() {
    let mut feed = Webhook::new(Options::new(ANYWHERE, BUCKET));
    let address = feed.open().await.unwrap();
    let mut halves = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{").await.unwrap();
        halves.push(stream);
    }
    assert_eq!(post(address, r#"{"Records":null}"#).await, "HTTP/1.1 200 OK");
}
