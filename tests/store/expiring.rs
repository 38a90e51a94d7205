//! Real buckets that let objects go on their own (`C10`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use farshore::{
    replicate::{
        feed::Choice,
        follow::{
            Attributes, Claimant, Compared, Config, Error, Memory, Nobody, Session, Strings, Update, run,
        },
        sweep::Counts,
    },
    store::{
        ETag, Expires, LifecycleFilter, LifecycleRule, ObjectStore, PutOptions, Replica, memory::MemoryStore,
        s3::S3Store,
    },
};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{stores, suite::md5};

fn rule(expires: Expires) -> LifecycleRule {
    let filter = LifecycleFilter { prefix: "logs/".into(), ..LifecycleFilter::default() };
    LifecycleRule { id: "short".into(), filter, expires }
}

/// Writes objects that are three days old already, as `MinIO` lets a replica be.
async fn fill(store: &S3Store, prefix: &str) {
    for n in 0..20 {
        let body = format!("{prefix}{n}");
        let modified = Timestamp::now() - SignedDuration::from_hours(72);
        let ETag(etag) = md5(body.as_bytes());
        let replica = Some(Replica { modified, etag: ETag(etag) });
        let options = PutOptions { replica, ..PutOptions::default() };
        store.put(&format!("{prefix}{n:02}"), Bytes::from(body), &options).await.unwrap();
    }
}

pub struct Run {
    updates: mpsc::Receiver<Update>,
    hand_over: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), Error>>,
    _strings: (mpsc::Sender<()>, watch::Sender<Option<Timestamp>>),
}

fn start(source: &S3Store, target: &S3Store, claimant: Option<Claimant>, memory: Option<Memory>) -> Run {
    begin((source, target), Attributes::default(), claimant, memory)
}

pub fn begin(
    (source, target): (&S3Store, &S3Store),
    attributes: Attributes,
    claimant: Option<Claimant>,
    memory: Option<Memory>,
) -> Run {
    let config = Config {
        delete_count: 5,
        attributes,
        feed: Choice::Poll,
        least_period: Duration::from_millis(50),
        stuck_after: Duration::from_mins(1),
        ..Config::default()
    };
    let session = Session {
        source: Arc::new(source.clone()),
        target: Arc::new(target.clone()),
        target_at_source: Arc::new(MemoryStore::new("elsewhere")),
        listens: Arc::new(source.clone()),
        config,
        claimant,
        memory,
        others: Arc::new(Nobody),
    };
    let (tell, updates) = mpsc::channel(64);
    let (release, released) = watch::channel(None);
    let (now, run_now) = mpsc::channel(1);
    let hand_over = CancellationToken::new();
    let strings = Strings { run_now, released, hand_over: hand_over.clone(), updates: tell };
    Run { updates, hand_over, task: tokio::spawn(run(session, strings)), _strings: (now, release) }
}

impl Run {
    pub async fn next(&mut self) -> Compared {
        loop {
            match tokio::time::timeout(Duration::from_secs(30), self.updates.recv()).await.unwrap() {
                Some(Update::Compared(compared)) => return *compared,
                Some(Update::Drawn { written, .. }) => written.send(()).unwrap(),
                Some(Update::Failed { message, .. }) => panic!("{message}"),
                Some(_) => {}
                None => panic!("it ended"),
            }
        }
    }

    pub async fn until(&mut self, holds: impl Fn(&Counts) -> bool) -> Compared {
        for _ in 0..20 {
            let compared = self.next().await;
            if holds(&compared.counts) {
                return compared;
            }
        }
        panic!("it does not come to that");
    }

    async fn three_quiet(&mut self, expired: u64) -> Compared {
        for _ in 0..2 {
            quiet(&self.next().await.counts, expired);
        }
        let last = self.next().await;
        quiet(&last.counts, expired);
        last
    }

    pub async fn end(self) {
        self.hand_over.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn quiet(counts: &Counts, expired: u64) {
    let Counts { copied, sent, deleted, held, .. } = *counts;
    assert_eq!((copied, sent, deleted, held), (0, 0, 0, 0));
    assert_eq!(counts.expired_at_source + counts.expired_at_target, expired);
}

/// `MinIO` itself lets go what it lists: nothing is staged here.
#[tokio::test]
async fn c10_what_the_target_s_minio_expires_is_not_written_back() {
    let (source, target) = (stores::minio_a().await, stores::minio_b().await);
    fill(&source, "logs/").await;
    fill(&source, "kept/").await;
    let long_ago = Expires::On("2020-01-01T00:00:00Z".parse().unwrap());
    target.set_lifecycle(&[rule(long_ago)]).await.unwrap();
    let mut run = start(&source, &target, None, None);
    assert_eq!(run.next().await.counts.copied, 40);
    run.until(|counts| counts.expired_at_target == 20).await;
    let last = run.three_quiet(20).await;
    assert_eq!(last.memory.synced_until, Some(last.dealt_with_until), "the time point goes on");
    assert_eq!(last.counts.target, 20);
    run.end().await;
    // The next run knows what this one knew; without it, a rule that is taken away would bring all of it back.
    target.set_lifecycle(&[]).await.unwrap();
    let mut run = start(&source, &target, None, Some(last.memory));
    run.three_quiet(20).await;
    source.put("logs/03", Bytes::from("changed"), &PutOptions::default()).await.unwrap();
    run.until(|counts| counts.copied == 1).await;
    run.three_quiet(19).await;
    run.end().await;
}

#[tokio::test]
async fn c10_what_the_source_s_minio_expires_stays_at_the_target() {
    for versioned in [false, true] {
        for target in [stores::minio_b().await, stores::versity().await] {
            let source = stores::minio_a().await;
            source.set_versioning(versioned).await.unwrap();
            fill(&source, "logs/").await;
            fill(&source, "kept/").await;
            let mut run = start(&source, &target, None, None);
            assert_eq!(run.next().await.counts.copied, 40);
            source.set_lifecycle(&[rule(Expires::After { days: 1 })]).await.unwrap();
            source.delete("kept/07", None).await.unwrap();
            let last = run.until(|counts| counts.expired_at_source == 20).await;
            assert!(last.counts.deleted <= 1, "the budget is five");
            run.three_quiet(20).await;
            let page = target.list(&farshore::store::ListRequest::default()).await.unwrap();
            assert_eq!(page.objects.len(), 39, "what a person deleted is gone, and nothing else");
            run.end().await;
        }
    }
}

#[tokio::test]
async fn c07_real_buckets_bear_the_claim_and_refuse_another_cluster_s_rule() {
    let (source, target) = (stores::minio_a().await, stores::versity().await);
    source.put_bucket_tags(&[("owner".to_owned(), "me".to_owned())].into()).await.unwrap();
    let claimant = |cluster: &str, uid: &str| {
        Some(Claimant {
            cluster: cluster.to_owned(),
            uid: uid.to_owned(),
            name: "team-a/photos".to_owned(),
            source: format!("north/{}", source.bucket()),
            target: format!("east/{}", target.bucket()),
            void: None,
        })
    };
    let mut first = start(&source, &target, claimant("1f7b2c9e-0000-4000-8000-000000000001", "one"), None);
    assert_eq!(first.next().await.notices, []);
    first.end().await;
    let tags = source.bucket_tags().await.unwrap();
    assert!(
        tags.len() == 2 && tags["owner"] == "me" && tags["farshore.dev/replicates-to"].contains("photos")
    );
    assert!(target.bucket_tags().await.unwrap().contains_key("farshore.dev/replicated-from"));
    let other = start(&source, &target, claimant("1f7b2c9e-0000-4000-8000-000000000002", "two"), None);
    let refused = other.task.await.unwrap().unwrap_err();
    assert_eq!((refused.reason(), refused.is_permanent()), ("BucketClaimed", true));
    assert!(refused.to_string().contains("team-a/photos"), "{refused}");
}
