//! The role that brings a bucket in line with another.

mod pods;
mod told;

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use kube::{Api, Client};

use self::pods::Pods;
use super::{
    Error, Start,
    health::Health,
    kept, report,
    run::{self, Lasting},
    stores,
};
use crate::{
    api::{BucketReplicationRule, Comparison, Feed, Served},
    replicate::{
        feed::{Choice, FeedError, sqs, webhook},
        follow::{self, Config, Nobody, Others, Session, Strings, Update},
    },
    store::{self, ObjectStore, Side, credentials::Credentials},
    task::{Owner, QueueTask, RECEIVER_TOKEN_KEY, ReplicateTask, StoreLocation, Task},
};

/// Longest rest of a worker that is well: comparisons of the largest buckets are this far apart.
const REST: Duration = Duration::from_mins(20);
/// Longest that the question may take what an earlier run knew.
const PATIENCE: Duration = Duration::from_secs(10);

/// Replicates until the shift is over.
///
/// # Errors
/// See [`Error`]; the last report says the same.
pub async fn run(start: &Start, task: &Task, work: &ReplicateTask) -> Result<(), Error> {
    let client = report::client().await?;
    let known = known(client.clone(), &task.owner, work).await;
    let memory = known.as_ref().map(told::memory);
    let lasting = Lasting::Shift(Duration::from_secs(work.seconds));
    let pair = told::pair(work);
    let engine = move |strings: run::Strings<(Update, _, _)>| {
        let run::Strings { run_now, released, plan_ended, activate: _, hand_over, updates } = strings;
        let session = session(start, (&task.owner, work), memory)?;
        let (owner, work) = (task.owner.clone(), work.clone());
        let (tell, mut told) = tokio::sync::mpsc::channel(1);
        Ok(async move {
            let pods = Pods::open(client, &owner, &work, plan_ended).await;
            let session = Session { others: Arc::clone(&pods) as Arc<dyn Others>, ..session };
            // Boxed here, where the compiler can see that it is Send.
            let following =
                follow::run(session, Strings { run_now, released, hand_over, updates: tell }).boxed();
            let pass = async {
                while let Some(update) = told.recv().await {
                    let plan = pods.plan();
                    if updates.send((update, pair.clone(), plan)).await.is_err() {
                        return;
                    }
                }
            };
            let (ended, ()) = tokio::join!(following, pass);
            Ok(ended?)
        })
    };
    let health = Health::every(REST);
    run::serve::<BucketReplicationRule, _, _>(start, (&task.owner, known), (health, lasting), engine).await
}

/// The last comparison of these buckets by an earlier run. Without an answer the run goes on without it: it
/// counts anew, and what it must know it finds in the buckets.
async fn known(client: Client, owner: &Owner, work: &ReplicateTask) -> Option<Comparison> {
    let api: Api<BucketReplicationRule> = Api::namespaced(client, &owner.namespace);
    let rule = match tokio::time::timeout(PATIENCE, api.get(&owner.name)).await {
        Ok(Ok(rule)) => rule,
        Ok(Err(error)) => {
            tracing::warn!(%error, "what an earlier run knew can't be read");
            return None;
        }
        Err(_) => {
            tracing::warn!("what an earlier run knew can't be read: no answer within {PATIENCE:?}");
            return None;
        }
    };
    let same = rule.metadata.uid.as_deref() == Some(&owner.uid);
    let cycle = rule.observed().filter(|_| same)?.cycle.clone();
    cycle.filter(|cycle| cycle.pair == told::pair(work))
}

fn session(
    start: &Start,
    (owner, work): (&Owner, &ReplicateTask),
    memory: Option<follow::Memory>,
) -> Result<Session, Error> {
    let aliased = StoreLocation { bucket: work.target.bucket.clone(), ..work.source.clone() };
    let source = stores::open(&work.source, &start.mounts.source, Side::Source)?;
    Ok(Session {
        source: Arc::clone(&source) as Arc<dyn ObjectStore>,
        listens: source,
        target: stores::open(&work.target, &start.mounts.target, Side::Target)?,
        target_at_source: stores::open(&aliased, &start.mounts.source, Side::Source)?,
        config: Config {
            deletes: work.deletes,
            delete_count: work.delete_count,
            delete_percent: work.delete_percent,
            since: work.since,
            attributes: kept::attributes(work.attributes.as_ref()),
            bytes_per_second: work.bytes_per_second,
            requests_per_second: work.requests_per_second,
            feed: choice(start, work)?,
            mutual: work.mutual.then(|| follow::Mutual {
                source_region: work.source.region.clone(),
                target_region: work.target.region.clone(),
            }),
            ..Config::default()
        },
        claimant: told::claimant(owner, work),
        memory,
        others: Arc::new(Nobody),
    })
}

/// The feed, with what it needs.
fn choice(start: &Start, work: &ReplicateTask) -> Result<Choice, Error> {
    let bucket = &work.source.bucket;
    Ok(match (work.feed, &work.queue) {
        (Feed::Auto, _) => Choice::Auto,
        (Feed::Listen, _) => Choice::Listen,
        (Feed::Webhook, _) => Choice::Webhook(webhook::Options {
            token: Some(start.mounts.receiver.join(RECEIVER_TOKEN_KEY)),
            ..webhook::Options::new(start.receive, bucket)
        }),
        (Feed::Sqs, Some(queue)) => Choice::Sqs(reads(start, queue, bucket)?),
        // Of a feed `SQS` without a queue nothing is heard; the API lets none in.
        (Feed::Poll | Feed::Sqs, _) => Choice::Poll,
    })
}

fn reads(start: &Start, queue: &QueueTask, bucket: &str) -> Result<sqs::Options, Error> {
    let QueueTask { url, region, endpoint } = queue;
    let no_keys = |error: store::Error| {
        follow::Error::from(FeedError::Queue { url: url.clone(), cause: error.to_string(), permanent: true })
    };
    let credentials = Credentials::files(&start.mounts.queue).map_err(no_keys)?;
    Ok(sqs::Options { endpoint: endpoint.clone(), ..sqs::Options::new(url, region, bucket, credentials) })
}
