//! A queue of AWS, as moto plays it, and S3's messages in it.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use aws_sdk_sqs::{
    Client,
    config::{BehaviorVersion, Credentials as SdkCredentials, Region},
    types::QueueAttributeName::{self, ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible},
};
use farshore::{
    replicate::feed::{Choice, Feed, FeedError, FeedKind, Hint, Kind, Sqs, Told, choose, sqs::Options},
    store::{credentials::Credentials, memory::MemoryStore},
};

use crate::{feeds::next, moto, process::Process, stores};

const REGION: &str = "eu-west-1";
const BUCKET: &str = "shop";

/// A server that plays AWS.
pub fn aws(port: u16, _: &Path) -> Command {
    moto::command(&stores::endpoint("FARSHORE_TEST_PYTHON"), port)
}

/// A queue on a server of its own.
struct Queue {
    server: Process,
    client: Client,
    url: String,
}

impl Queue {
    async fn new() -> Self {
        let server = Process::start(aws).await;
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(&server.endpoint)
            .credentials_provider(SdkCredentials::new("id", "secret", None, None, "tests"));
        let client = Client::from_conf(config.build());
        let made = client.create_queue().queue_name("changes").send().await.unwrap();
        let url = made.queue_url.unwrap();
        Self { server, client, url }
    }

    fn options(&self) -> Options {
        let keys = Credentials::fixed("id", "secret");
        let options = Options::new(&self.url, REGION, BUCKET, keys);
        Options { wait: Duration::from_secs(1), visibility: Duration::from_secs(3), ..options }
    }

    async fn send(&self, body: &str) {
        self.client.send_message().queue_url(&self.url).message_body(body).send().await.unwrap();
    }

    /// Messages that wait, and messages that someone holds.
    async fn count(&self) -> (u32, u32) {
        let ask = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = ask.attribute_names(QueueAttributeName::All).send().await.unwrap();
        let number = |name| answer.attributes.as_ref().unwrap()[&name].parse().unwrap();
        (number(ApproximateNumberOfMessages), number(ApproximateNumberOfMessagesNotVisible))
    }

    async fn becomes_empty(&self) {
        for _ in 0..100 {
            if self.count().await == (0, 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the queue holds {:?}", self.count().await);
    }
}

fn message(bucket: &str, keys: &[&str]) -> String {
    let record = |key: &&str| {
        format!(
            r#"{{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","eventTime":"2026-11-21T10:42:43.014Z",
            "s3":{{"bucket":{{"name":"{bucket}"}},"object":{{"key":"{key}","sequencer":"0055AED6DCD90281E5"}}}}}}"#
        )
    };
    format!(r#"{{"Records":[{}]}}"#, keys.iter().map(record).collect::<Vec<_>>().join(","))
}

/// The next change, with its receipt.
async fn told(feed: &mut Sqs) -> (String, Told) {
    loop {
        let told = tokio::time::timeout(Duration::from_secs(10), feed.next()).await.unwrap().unwrap();
        match &told.hint {
            Hint::Changed(change) => return (change.key.clone(), told),
            Hint::Alive | Hint::Connected => {}
            Hint::Lost { why } => panic!("{why}"),
        }
    }
}

#[tokio::test]
async fn c15_what_a_queue_holds_is_told_and_forgotten_once_it_is_dealt_with() {
    let queue = Queue::new().await;
    queue.send(&message(BUCKET, &["a+b%2Bc", "deep/er"])).await;
    let mut feed = Sqs::new(queue.options());
    assert_eq!(next(&mut feed).await.unwrap(), Hint::Connected);
    let (first, one) = told(&mut feed).await;
    let (second, two) = told(&mut feed).await;
    assert_eq!((first.as_str(), second.as_str()), ("a b+c", "deep/er"));
    let Hint::Changed(change) = &one.hint else { panic!() };
    assert_eq!((change.kind, change.at.is_some()), (Kind::Written, true));
    one.receipt.hand_in();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(queue.count().await, (0, 1), "half a message is not dealt with");
    two.receipt.hand_in();
    queue.becomes_empty().await;
    assert_eq!(next(&mut feed).await.unwrap(), Hint::Alive);
}

#[tokio::test]
async fn c16_what_nobody_dealt_with_is_told_again() {
    let queue = Queue::new().await;
    queue.send(&message(BUCKET, &["k"])).await;
    let mut feed = Sqs::new(queue.options());
    drop(told(&mut feed).await);
    let (again, told) = told(&mut feed).await;
    assert_eq!(again, "k");
    told.receipt.hand_in();
    queue.becomes_empty().await;
}

#[tokio::test]
async fn what_takes_long_is_not_told_again_meanwhile() {
    let queue = Queue::new().await;
    queue.send(&message(BUCKET, &["large", "larger"])).await;
    let options = queue.options();
    let three_times = options.visibility * 3;
    let mut feed = Sqs::new(options);
    let (_, large) = told(&mut feed).await;
    let (_, larger) = told(&mut feed).await;
    let begin = std::time::Instant::now();
    while begin.elapsed() < three_times {
        assert_eq!(next(&mut feed).await.unwrap(), Hint::Alive);
    }
    large.receipt.hand_in();
    larger.receipt.hand_in();
    queue.becomes_empty().await;
}

#[tokio::test]
async fn messages_that_tell_nothing_are_taken_out_and_one_that_is_unreadable_is_a_gap() {
    let queue = Queue::new().await;
    queue.send(r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"shop"}"#).await;
    queue.send(&message("other", &["k"])).await;
    let mut feed = Sqs::new(queue.options());
    assert_eq!(next(&mut feed).await.unwrap(), Hint::Connected);
    assert_eq!(next(&mut feed).await.unwrap(), Hint::Alive);
    queue.becomes_empty().await;
    queue.send("hello").await;
    let lost = loop {
        match next(&mut feed).await.unwrap() {
            Hint::Alive => {}
            other => break other,
        }
    };
    assert!(matches!(&lost, Hint::Lost { why } if why.contains("can't be read")), "{lost:?}");
    queue.becomes_empty().await;
}

#[tokio::test]
async fn a_queue_that_isn_t_there_is_said_and_one_that_is_out_of_reach_is_tried_again() {
    let queue = Queue::new().await;
    let source = || Arc::new(MemoryStore::new(BUCKET));
    let nowhere =
        Options { url: format!("{}/123456789012/nothing", queue.server.endpoint), ..queue.options() };
    let missing = choose(Choice::Sqs(nowhere), source()).await.unwrap_err();
    assert!(
        missing.is_permanent() && missing.to_string().contains("correct the queue's address"),
        "{missing}"
    );
    for url in ["changes", "ftp://x/y"] {
        let wrong = choose(Choice::Sqs(Options { url: url.into(), ..queue.options() }), source()).await;
        assert!(matches!(wrong, Err(FeedError::Queue { permanent: true, .. })), "{wrong:?}");
    }
    let mut chosen = choose(Choice::Sqs(queue.options()), source()).await.unwrap();
    assert_eq!(chosen.kind(), FeedKind::Sqs);
    assert_eq!(next(&mut *chosen.feed).await.unwrap(), Hint::Connected);
    drop(queue.server);
    let away = loop {
        match next(&mut *chosen.feed).await {
            Ok(hint) => assert_eq!(hint, Hint::Alive),
            Err(error) => break error,
        }
    };
    assert!(!away.is_permanent() && away.reason() == "QueueUnreachable", "{away}");
}
