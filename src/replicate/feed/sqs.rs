//! A queue of AWS in which S3 leaves what happens in a bucket, straight, by SNS or by `EventBridge`.
//!
//! A message stays in the queue until all its hints are handed in, so that a worker that dies loses none;
//! until then it is kept from being told again, however long a large object takes.
//! A queue serves one rule: messages about other buckets are taken out and passed over.

use std::{collections::VecDeque, time::Duration};

use async_trait::async_trait;
use aws_sdk_sqs::{
    Client,
    config::{Region, timeout::TimeoutConfig},
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::receive_message::ReceiveMessageError,
    types::{
        ChangeMessageVisibilityBatchRequestEntry as Hold, DeleteMessageBatchRequestEntry as Done,
        Message as Delivery,
    },
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    Change, Feed, FeedError, FeedKind, Hint, Message, Receipt, Result, Told, Via, parse, receipt::Held,
};
use crate::store::{credentials::Credentials, s3::CurrentKeys};

/// As many as one request may ask for, or delete.
const BATCH: usize = 10;
/// What is read ahead of who handles it.
const AHEAD: usize = 100;
/// Tries to delete messages; the queue tells them again otherwise.
const DELETIONS: u32 = 3;

/// Which queue, and who asks.
#[derive(Clone, Debug)]
pub struct Options {
    /// `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`.
    pub url: String,
    /// Where requests go; `None`: to the URL's host.
    pub endpoint: Option<String>,
    /// The region in signatures.
    pub region: String,
    /// The bucket whose changes count.
    pub bucket: String,
    pub credentials: Credentials,
    /// How long a message is ours without our saying so again; one whose worker died is told anew then.
    pub visibility: Duration,
    /// How long the queue waits for something to tell, at most 20 s.
    pub wait: Duration,
}

impl Options {
    /// Two minutes until what a dead worker held is told again, and the longest wait.
    #[must_use]
    pub fn new(
        url: impl Into<String>,
        region: impl Into<String>,
        bucket: impl Into<String>,
        credentials: Credentials,
    ) -> Self {
        Self {
            url: url.into(),
            endpoint: None,
            region: region.into(),
            bucket: bucket.into(),
            credentials,
            visibility: Duration::from_mins(2),
            wait: Duration::from_secs(20),
        }
    }
}

/// Reads a queue. Asks it with the first call of [`Feed::next`], or with [`Self::connect`].
///
/// It tells [`Hint::Connected`] once: after a broken connection the queue still has what there was to tell.
#[derive(Debug)]
pub struct Sqs {
    options: Options,
    open: Option<Open>,
    /// Told, and not yet passed on.
    told: VecDeque<Told>,
    begun: bool,
}

#[derive(Debug)]
struct Open {
    told: mpsc::Receiver<Result<Told>>,
    /// The reader, the deleter and the holder; all end with the feed.
    _tasks: JoinSet<()>,
}

impl Sqs {
    /// Prepares to read; asks nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, open: None, told: VecDeque::new(), begun: false }
    }

    /// Asks the queue once, and goes on reading.
    ///
    /// # Errors
    /// [`FeedError::Queue`]
    pub async fn connect(&mut self) -> Result<()> {
        let queue = Queue::new(&self.options)?;
        let (handles, done) = mpsc::unbounded_channel();
        let (teller, mut told) = mpsc::channel(AHEAD);
        let (holder, held) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(queue.clone().forget(done));
        tasks.spawn(queue.clone().hold(held));
        tasks.spawn(queue.read(teller, Out { handles, holder }));
        // The first answer comes at once, whatever the queue holds.
        if let Some(first) = told.recv().await {
            let first = first?;
            if !self.begun {
                self.told.push_back(Hint::Connected.into());
            }
            self.told.push_back(first);
        }
        (self.begun, self.open) = (true, Some(Open { told, _tasks: tasks }));
        Ok(())
    }
}

#[async_trait]
impl Feed for Sqs {
    async fn next(&mut self) -> Result<Told> {
        loop {
            if let Some(told) = self.told.pop_front() {
                return Ok(told);
            }
            let Some(open) = &mut self.open else {
                self.connect().await?;
                continue;
            };
            match open.told.recv().await {
                Some(Ok(told)) => return Ok(told),
                Some(Err(error)) => {
                    self.open = None;
                    return Err(error);
                }
                None => self.open = None,
            }
        }
    }

    fn kind(&self) -> FeedKind {
        FeedKind::Sqs
    }
}

/// Where messages go that are given out. Neither holds more than the queue gives out: 120,000.
#[derive(Debug)]
struct Out {
    /// Handles of messages that are dealt with.
    handles: mpsc::UnboundedSender<String>,
    /// Messages that aren't.
    holder: mpsc::UnboundedSender<Held>,
}

#[derive(Clone, Debug)]
struct Queue {
    client: Client,
    options: Options,
}

impl Queue {
    fn new(options: &Options) -> Result<Self> {
        let wrong = |cause: &str| FeedError::Queue {
            url: options.url.clone(),
            cause: cause.to_owned(),
            permanent: true,
        };
        let url = url::Url::parse(&options.url).map_err(|e| wrong(&format!("no address: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(wrong("not of the form https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"));
        }
        let endpoint = options.endpoint.clone().unwrap_or_else(|| url.origin().ascii_serialization());
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            // A connection that died without a word is noticed soon after the longest wait.
            .read_timeout(options.wait + Duration::from_secs(10))
            .build();
        let mut sdk = aws_sdk_sqs::Config::builder()
            .behavior_version_latest()
            .region(Region::new(options.region.clone()))
            .endpoint_url(endpoint)
            .timeout_config(timeouts);
        sdk = match options.credentials.current() {
            Some(_) => sdk.credentials_provider(CurrentKeys(options.credentials.clone())),
            None => sdk.allow_no_auth(),
        };
        Ok(Self { client: Client::from_conf(sdk.build()), options: options.clone() })
    }

    /// Reads until the feed is gone or the queue fails.
    async fn read(self, teller: mpsc::Sender<Result<Told>>, out: Out) {
        let mut wait = Duration::ZERO;
        loop {
            match self.receive(wait).await {
                Ok(messages) if messages.is_empty() => {
                    if teller.send(Ok(Hint::Alive.into())).await.is_err() {
                        return;
                    }
                }
                Ok(messages) => {
                    for told in messages.into_iter().flat_map(|m| self.open(m, &out)) {
                        if teller.send(Ok(told)).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    // The feed may be gone; then nobody wants to know.
                    teller.send(Err(error)).await.ok();
                    return;
                }
            }
            wait = self.options.wait;
        }
    }

    async fn receive(&self, wait: Duration) -> Result<Vec<Delivery>> {
        let seconds = |d: Duration| i32::try_from(d.as_secs()).unwrap_or(i32::MAX);
        let request = self.client.receive_message().queue_url(&self.options.url);
        let request = request.max_number_of_messages(10).wait_time_seconds(seconds(wait));
        let sent = request.visibility_timeout(seconds(self.options.visibility)).send().await;
        Ok(sent.map_err(|e| self.failed(&e))?.messages.unwrap_or_default())
    }

    fn failed(&self, error: &SdkError<ReceiveMessageError>) -> FeedError {
        let permanent = match error {
            SdkError::ConstructionFailure(_) => true,
            SdkError::ServiceError(refusal) => {
                let status = refusal.raw().status().as_u16();
                let throttled = refusal.err().code().is_some_and(|code| code.contains("Throttl"));
                (400..500).contains(&status) && status != 429 && !throttled
            }
            _ => false,
        };
        // Keys in files may have been changed meanwhile; the next try has them.
        let renewed = permanent
            && self.options.credentials.renew(self.options.credentials.current().as_ref()).unwrap_or(false);
        let cause = match error.as_service_error() {
            Some(said) => {
                format!("{}: {}", said.code().unwrap_or("refused"), said.message().unwrap_or_default())
            }
            None => DisplayErrorContext(error).to_string(),
        };
        FeedError::Queue { url: self.options.url.clone(), cause, permanent: permanent && !renewed }
    }

    /// What a message tells. One that tells nothing is done at once.
    fn open(&self, message: Delivery, out: &Out) -> Vec<Told> {
        let hints: Vec<Hint> = match parse(message.body.unwrap_or_default().as_bytes(), Via::Pushed) {
            Ok(Message::Changes(changes)) => self.ours(changes).map(Hint::Changed).collect(),
            Ok(Message::Unconfirmed { .. }) => Vec::new(),
            Err(error) => vec![Hint::Lost { why: format!("a message can't be read: {error}") }],
        };
        let handle = message.receipt_handle.unwrap_or_default();
        if hints.is_empty() {
            // The deleter and the holder live as long as the reader.
            out.handles.send(handle).ok();
            return Vec::new();
        }
        let (held, receipts) = Receipt::of_message(handle, hints.len(), out.handles.clone());
        out.holder.send(held).ok();
        hints.into_iter().zip(receipts).map(|(hint, receipt)| Told { hint, receipt }).collect()
    }

    fn ours(&self, changes: Vec<(String, Change)>) -> impl Iterator<Item = Change> {
        changes.into_iter().filter_map(|(bucket, change)| {
            if bucket == self.options.bucket {
                return Some(change);
            }
            tracing::warn!(
                queue = self.options.url,
                bucket,
                "the queue tells of another bucket; each rule needs its own"
            );
            None
        })
    }

    /// Says again and again of messages that are not dealt with yet that they are ours.
    async fn hold(self, mut given_out: mpsc::UnboundedReceiver<Held>) {
        let mut held = Vec::new();
        let mut beat = tokio::time::interval(self.options.visibility / 3);
        loop {
            beat.tick().await;
            let old = held.len();
            while let Ok(message) = given_out.try_recv() {
                held.push(message);
            }
            // What was given out since the last beat has most of its time left.
            let (mut at, mut handles) = (0, Vec::new());
            held.retain(|message: &Held| {
                let handle = message.handle();
                let is_held = handle.is_some();
                handles.extend(handle.filter(|_| at < old));
                at += 1;
                is_held
            });
            for some in handles.chunks(BATCH) {
                self.keep(some).await;
            }
        }
    }

    async fn keep(&self, handles: &[String]) {
        let seconds = i32::try_from(self.options.visibility.as_secs()).unwrap_or(i32::MAX);
        let entry = |(i, handle): (usize, &String)| {
            let entry = Hold::builder().id(i.to_string()).receipt_handle(handle);
            entry.visibility_timeout(seconds).build().ok()
        };
        let entries = handles.iter().enumerate().filter_map(entry).collect();
        let request = self.client.change_message_visibility_batch().queue_url(&self.options.url);
        if let Err(error) = request.set_entries(Some(entries)).send().await {
            // The next beat comes in time; after that the queue tells them again, which does no harm.
            tracing::debug!(error = %DisplayErrorContext(&error), "messages are not held");
        }
    }

    /// Takes messages out of the queue as they are done.
    async fn forget(self, mut done: mpsc::UnboundedReceiver<String>) {
        let mut handles = Vec::with_capacity(BATCH);
        while done.recv_many(&mut handles, BATCH).await > 0 {
            let mut left: Vec<String> = std::mem::take(&mut handles);
            for tries in 1..=DELETIONS {
                left = self.delete(left).await;
                if left.is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200 << tries)).await;
            }
        }
    }

    /// Deletes messages; gives back those that could not be.
    async fn delete(&self, handles: Vec<String>) -> Vec<String> {
        let entry = |(i, handle): (usize, &String)| {
            Done::builder().id(i.to_string()).receipt_handle(handle).build().ok()
        };
        let entries = handles.iter().enumerate().filter_map(entry).collect();
        let request = self.client.delete_message_batch().queue_url(&self.options.url);
        match request.set_entries(Some(entries)).send().await {
            Ok(answer) => {
                let failed: Vec<usize> = answer.failed.iter().filter_map(|f| f.id.parse().ok()).collect();
                handles.into_iter().enumerate().filter(|(i, _)| failed.contains(i)).map(|(_, h)| h).collect()
            }
            Err(error) => {
                tracing::debug!(error = %DisplayErrorContext(&error), "messages are not deleted");
                handles
            }
        }
    }
}
