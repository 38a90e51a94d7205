//! A rule's worker hears of changes over a webhook and a queue, as its task says.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use farshore::store::{
    ObjectStore, PutOptions,
    credentials::Credentials,
    s3::{S3Config, S3Store},
};
use serde_json::{Value, json};

use crate::{
    moto, posting,
    process::{Worker, free_address},
    replicating::Setting,
    server::Process,
    stores,
};

pub const TOKEN: &str = "t0ken-of-tests";
/// Comparisons begin 10 s apart at least: what is at the target sooner, time and again, was heard of.
const SOON: Duration = Duration::from_secs(3);

fn keys() -> (String, String) {
    (stores::endpoint("FARSHORE_TEST_ACCESS_KEY"), stores::endpoint("FARSHORE_TEST_SECRET_KEY"))
}

/// Waits until the target has an object, or has not; how long that took.
async fn until(target: &S3Store, key: &str, there: bool, worker: &Worker) -> Duration {
    let start = Instant::now();
    while target.head(key).await.is_ok() != there {
        assert!(start.elapsed() < Duration::from_secs(30), "{key}: {}", worker.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

async fn put(store: &S3Store, key: &str) {
    store.put(key, Bytes::from_static(b"content"), &PutOptions::default()).await.unwrap();
}

/// A request without or with a token; the status line.
pub async fn post(address: SocketAddr, token: Option<&str>, body: &str) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\n{token}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn c03_c16_a_worker_hears_of_changes_by_webhook_with_a_token_and_so_does_the_next_one() {
    let address = free_address();
    let (user, password) = keys();
    let server = Process::start(posting::minio(address, (&user, &password), TOKEN)).await;
    let target = stores::versity().await;
    let config = S3Config::new(&server.endpoint, "shop", Credentials::fixed(&user, &password));
    let source = S3Store::new(config).unwrap();
    source.create_bucket().await.unwrap();
    posting::notify(&server.endpoint, (&user, &password), "shop").await;
    let mut setting = Setting::new(
        "worker-webhook",
        ((&source, server.endpoint.clone()), (&target, stores::endpoint("FARSHORE_TEST_VERSITY"))),
        json!({}),
    )
    .await;
    let work = &mut setting.task["work"]["replicate"];
    work["feed"] = json!("Webhook");
    let folder = setting.folder.path();
    let text = setting.task.to_string();
    let start = |run: &str| Worker::start_at(folder, "replicate", run, (&text, address));

    // The Secret lacks the token: it is said, and the next pod may have it.
    let mut worker = start("run-0");
    assert_eq!(worker.end(Duration::from_secs(30)).await, Some(11), "{}", worker.log());
    let words = worker.last_words();
    assert_eq!(
        (&words["reason"], &words["side"]),
        (&json!("TokenMissing"), &Value::Null),
        "no store is to blame"
    );
    assert!(words["message"].as_str().unwrap().contains("receiver/token"), "{words}");
    std::fs::create_dir(folder.join("receiver")).unwrap();
    std::fs::write(folder.join("receiver/token"), TOKEN).unwrap();

    for run in ["run-1", "run-2"] {
        let mut worker = start(run);
        let told = setting.comparison_of(run, &worker).await.feed.unwrap();
        assert_eq!((told.kind.as_str(), told.why.as_str()), ("Webhook", "it was asked for"));
        // What an earlier run found is reported again before this one listens.
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not listen: {}", worker.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for (token, status) in
            [(None, "401 Unauthorized"), (Some("guess"), "401 Unauthorized"), (Some(TOKEN), "200 OK")]
        {
            let answer = post(address, token, r#"{"Records":null}"#).await.unwrap();
            assert_eq!(answer, format!("HTTP/1.1 {status}"), "{token:?}");
        }
        for n in 0..8 {
            let key = format!("{run}/a b+c{n}");
            put(&source, &key).await;
            let took = until(&target, &key, true, &worker).await;
            assert!(took < SOON, "{key} took {took:?}: {}", worker.log());
            source.delete(&key, None).await.unwrap();
            let took = until(&target, &key, false, &worker).await;
            assert!(took < SOON, "the end of {key} took {took:?}: {}", worker.log());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert!(!worker.log().contains(TOKEN));
        worker.kill();
    }
}

/// What S3 says of a new object.
fn message(bucket: &str, key: &str) -> Value {
    json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "eventTime": jiff::Timestamp::now(),
                        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "sequencer": "0055AED6DCD90281E5"}}}]})
}

#[tokio::test]
async fn c03_c16_a_worker_hears_of_changes_from_a_queue_and_goes_on_without_one_that_is_away() {
    let server =
        Process::start(|port, _| moto::command(&stores::endpoint("FARSHORE_TEST_PYTHON"), port)).await;
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
        .region(aws_sdk_sqs::config::Region::new("eu-west-1"))
        .endpoint_url(&server.endpoint)
        .credentials_provider(aws_sdk_sqs::config::Credentials::new("id", "secret", None, None, "tests"));
    let client = aws_sdk_sqs::Client::from_conf(config.build());
    client.create_queue().queue_name("changes").send().await.unwrap();
    let (source, target) = (stores::minio_a().await, stores::versity().await);
    let mut setting = Setting::new(
        "worker-queue",
        (
            (&source, stores::endpoint("FARSHORE_TEST_MINIO_A")),
            (&target, stores::endpoint("FARSHORE_TEST_VERSITY")),
        ),
        json!({}),
    )
    .await;
    // The URL is AWS's own; requests go elsewhere.
    let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/changes";
    let work = &mut setting.task["work"]["replicate"];
    (work["feed"], work["queue"]) =
        (json!("SQS"), json!({"url": url, "region": "eu-west-1", "endpoint": server.endpoint}));
    let folder = setting.folder.path();
    let start =
        |setting: &Setting, run: &str| Worker::start(folder, "replicate", run, &setting.task.to_string());

    let mut worker = start(&setting, "run-0");
    assert_eq!(worker.end(Duration::from_secs(30)).await, Some(10), "{}", worker.log());
    let words = worker.last_words();
    assert_eq!(words["reason"], "QueueRefused", "{words}");
    std::fs::create_dir(folder.join("queue")).unwrap();
    std::fs::write(folder.join("queue/AWS_ACCESS_KEY_ID"), "id").unwrap();
    std::fs::write(folder.join("queue/AWS_SECRET_ACCESS_KEY"), "secret").unwrap();

    let mut worker = start(&setting, "run-1");
    let told = setting.comparison_of("run-1", &worker).await.feed.unwrap();
    assert_eq!((told.kind.as_str(), told.why.as_str()), ("SQS", "it was asked for"));
    for n in 0..8 {
        let key = format!("k{n}");
        put(&source, &key).await;
        let told = message(source.bucket(), &key).to_string();
        client
            .send_message()
            .queue_url(format!("{}/123456789012/changes", server.endpoint))
            .message_body(told)
            .send()
            .await
            .unwrap();
        let took = until(&target, &key, true, &worker).await;
        assert!(took < SOON, "{key} took {took:?}: {}", worker.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    worker.kill();

    // A queue that does not answer holds up nothing but hints.
    drop(server);
    let worker = start(&setting, "run-2");
    let told = setting.comparison_of("run-2", &worker).await.feed.unwrap();
    assert_eq!(told.kind, "SQS");
    put(&source, "unheard").await;
    until(&target, "unheard", true, &worker).await;
    let start = Instant::now();
    loop {
        let observed = setting.rules.get("photos").await.unwrap().status.unwrap().observed.unwrap();
        let live = observed.progress.and_then(|progress| progress.live);
        if live.is_some_and(|live| live.trouble.is_some_and(|trouble| trouble.contains("SQS feed"))) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "no word of it: {}", worker.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
