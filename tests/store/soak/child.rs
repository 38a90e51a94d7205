//! A worker in a process of its own, that can be killed as one: it runs the engine as the worker's role does,
//! and says on its standard output what the role would write into the status.

use std::{
    collections::VecDeque,
    io::BufRead,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use farshore::{
    replicate::follow::{
        self, Config, Held, Memory, Migrated, Mutual, Nobody, Session, Spent, Strings, Update,
    },
    store::{ListenRequest, Listens, Notices, ObjectStore, Result, s3::S3Config, s3::S3Store},
};
use futures::StreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::stores;

/// In the environment of a worker's process: what it is to do.
pub const ORDER: &str = "FARSHORE_TEST_SOAK_WORKER";
/// Before everything that a worker says: the test harness prints, too.
pub const MARK: char = '@';

/// What a worker is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Endpoint and bucket.
    pub source: (String, String),
    pub target: (String, String),
    pub delete_count: u64,
    pub delete_percent: u8,
    /// Of the feed's changes, how many of a hundred are lost.
    pub lost_percent: u8,
    /// The opposite direction has a worker, too: names of the source's region and of the target's.
    pub mutual: Option<[String; 2]>,
    pub noted: Option<Noted>,
}

/// What is noted in the status, and all that the next worker knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    pub synced_until: Option<Timestamp>,
    pub migrated: Option<(Timestamp, u64, u64)>,
    pub repaired: u64,
    pub conflicts: u64,
    pub held: Option<(Timestamp, u64, Option<String>)>,
    pub spent: Option<(Timestamp, u64)>,
}

/// What a worker says, a line each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Said {
    /// A comparison was complete.
    Compared {
        began: Timestamp,
        noted: Noted,
        copied: u64,
        deleted: u64,
        failed: u64,
        examples: Vec<String>,
    },
    /// Deletes were drawn; it waits to be answered.
    Drawn {
        spent: (Timestamp, u64),
    },
    /// The feed is connected, and so many of its changes were lost since.
    Lost(u64),
    Failed {
        reason: String,
        message: String,
    },
    Ended(String),
}

impl From<Memory> for Noted {
    fn from(memory: Memory) -> Self {
        // These buckets have no lifecycle, and nothing is asked for.
        let Memory { synced_until, migrated, repaired, conflicts, held, spent, .. } = memory;
        Self {
            // As in the status: cut, not rounded.
            synced_until: synced_until.map(|at| Timestamp::from_second(at.as_second()).unwrap()),
            migrated: migrated.map(|Migrated { at, objects, bytes }| (at, objects, bytes)),
            repaired,
            conflicts,
            held: held.map(|Held { since, objects, example }| (since, objects, example)),
            spent: spent.map(|Spent { since, objects }| (since, objects)),
        }
    }
}

impl From<Noted> for Memory {
    fn from(noted: Noted) -> Self {
        let Noted { synced_until, migrated, repaired, conflicts, held, spent } = noted;
        Self {
            synced_until,
            migrated: migrated.map(|(at, objects, bytes)| Migrated { at, objects, bytes }),
            repaired,
            conflicts,
            held: held.map(|(since, objects, example)| Held { since, objects, example }),
            spent: spent.map(|(since, objects)| Spent { since, objects }),
            ..Self::default()
        }
    }
}

/// The order of this process, if it is a worker's.
pub fn ordered() -> Option<Order> {
    std::env::var(ORDER).ok().map(|text| serde_json::from_str(&text).unwrap())
}

/// Works until it is killed, or the other end of its standard input is gone.
pub async fn work(order: Order) {
    let open = |(endpoint, bucket): &(String, String)| {
        // With the patience of a worker, not with that of a test.
        Arc::new(S3Store::new(S3Config::new(endpoint, bucket, stores::credentials())).unwrap())
    };
    let source = open(&order.source);
    let session = Session {
        source: Arc::clone(&source) as Arc<dyn ObjectStore>,
        target: open(&order.target),
        target_at_source: open(&(order.source.0.clone(), order.target.1.clone())),
        listens: Arc::new(Forgetful { listens: source, percent: order.lost_percent }),
        config: Config {
            delete_count: order.delete_count,
            delete_percent: order.delete_percent,
            mutual: order
                .mutual
                .map(|[source_region, target_region]| Mutual { source_region, target_region }),
            least_period: Duration::from_secs(1),
            ..Config::default()
        },
        memory: order.noted.map(Memory::from),
        others: Arc::new(Nobody),
        claimant: None,
    };
    let (tell, updates) = mpsc::channel(1);
    let ((_now, run_now), (_release, released)) = (mpsc::channel(1), watch::channel(None));
    let strings = Strings { run_now, released, hand_over: CancellationToken::new(), updates: tell };
    let (ended, ()) = tokio::join!(follow::run(session, strings), pass_on(updates));
    say(&Said::Ended(ended.map_or_else(|error| error.to_string(), |()| "as told".to_owned())));
    std::process::exit(0);
}

async fn pass_on(mut updates: mpsc::Receiver<Update>) {
    let drawn = Arc::new(Mutex::new(VecDeque::<oneshot::Sender<()>>::new()));
    let waiting = Arc::clone(&drawn);
    std::thread::spawn(move || {
        for answer in std::io::stdin().lock().lines().map_while(std::io::Result::ok) {
            let written = waiting.lock().unwrap().pop_front();
            if answer == "noted" {
                written.map(|written| written.send(()));
            }
        }
        std::process::exit(0);
    });
    while let Some(update) = updates.recv().await {
        match update {
            Update::Compared(compared) => say(&Said::Compared {
                began: compared.started_at,
                copied: compared.counts.copied,
                deleted: compared.counts.deleted,
                failed: compared.counts.failed,
                examples: compared.examples.failed.iter().map(|failed| failed.message.clone()).collect(),
                noted: compared.memory.into(),
            }),
            Update::Drawn { spent, written } => {
                drawn.lock().unwrap().push_back(written);
                say(&Said::Drawn { spent: (spent.since, spent.objects) });
            }
            Update::Failed { reason, message, .. } => {
                say(&Said::Failed { reason: reason.to_owned(), message });
            }
            Update::Progress(_) => {}
        }
    }
}

fn say(said: &Said) {
    println!("{MARK}{}", serde_json::to_string(said).unwrap());
}

/// A store that tells of changes, and forgets some.
#[derive(Debug)]
struct Forgetful {
    listens: Arc<dyn Listens>,
    percent: u8,
}

#[async_trait]
impl Listens for Forgetful {
    async fn listen(&self, request: &ListenRequest) -> Result<Notices> {
        let notices = self.listens.listen(request).await?;
        say(&Said::Lost(0));
        let percent = self.percent;
        let passed = notices.filter(move |notice| std::future::ready(!is_lost(notice, percent)));
        Ok(Box::pin(passed))
    }
}

fn is_lost(notice: &Result<Bytes>, percent: u8) -> bool {
    let change = notice.as_ref().is_ok_and(|notice| notice.windows(9).any(|word| word == b"eventName"));
    let lost = change && fastrand::u8(..100) < percent;
    if lost {
        say(&Said::Lost(1));
    }
    lost
}
