//! Real buckets that let objects go on their own (`C10`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use farshore::{
    replicate::{
        feed::Choice,
        follow::{
            Attributes, Claimant, Compared, Config, Error, Memory, Mutual, Nobody, Session, Strings, Update,
            run,
        },
        sweep::Counts,
    },
    store::{
        ETag, Expires, LifecycleFilter, LifecycleRule, ListRequest, ObjectStore, PutOptions, Replica,
        memory::MemoryStore, s3::S3Store,
    },
};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{stores, suite::md5};

fn rule(expires: Expires) -> LifecycleRule {
    rule_for("logs/", expires)
}

fn rule_for(prefix: &str, expires: Expires) -> LifecycleRule {
    let filter = LifecycleFilter { prefix: prefix.into(), ..LifecycleFilter::default() };
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
    sides: (&S3Store, &S3Store),
    attributes: Attributes,
    claimant: Option<Claimant>,
    memory: Option<Memory>,
) -> Run {
    run_of(sides, Config { attributes, ..Config::default() }, claimant, memory)
}

/// One direction of two buckets that are both written.
fn one_of_both(source: &S3Store, target: &S3Store, regions: [&str; 2]) -> Run {
    let [source_region, target_region] = regions.map(str::to_owned);
    let mutual = Some(Mutual { source_region, target_region });
    run_of((source, target), Config { mutual, ..Config::default() }, None, None)
}

fn run_of(
    (source, target): (&S3Store, &S3Store),
    config: Config,
    claimant: Option<Claimant>,
    memory: Option<Memory>,
) -> Run {
    let config = Config {
        delete_count: 5,
        feed: Choice::Poll,
        least_period: Duration::from_millis(50),
        stuck_after: Duration::from_mins(1),
        ..config
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
        let mut last = Counts::default();
        for _ in 0..20 {
            let compared = self.next().await;
            if holds(&compared.counts) {
                return compared;
            }
            last = compared.counts;
        }
        panic!("it does not come to that: {last:?}");
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
            let page = target.list(&ListRequest::default()).await.unwrap();
            assert_eq!(page.objects.len(), 39, "what a person deleted is gone, and nothing else");
            run.end().await;
        }
    }
}

/// Two buckets that are both written: what one lets go stays at the other, and both directions leave it alone. Then
/// the other lets go, too, where its store does that.
#[tokio::test]
async fn c08_c10_what_either_of_two_buckets_expires_that_are_both_written_is_neither_deleted_nor_written_back()
 {
    for (other, expires) in [(stores::minio_b().await, true), (stores::versity().await, false)] {
        let own = stores::minio_a().await;
        own.set_versioning(true).await.unwrap();
        other.set_versioning(true).await.unwrap();
        fill(&own, "logs/").await;
        for n in 0..20 {
            let body = Bytes::from(format!("kept {n}"));
            other.put(&format!("kept/{n:02}"), body, &PutOptions::default()).await.unwrap();
        }
        let mut forth = one_of_both(&own, &other, ["north", "south"]);
        let mut back = one_of_both(&other, &own, ["south", "north"]);
        let whole = |counts: &Counts| counts.source == 40 && counts.alike == 40;
        tokio::join!(forth.until(whole), back.until(whole));

        let long_ago = Expires::On("2020-01-01T00:00:00Z".parse().unwrap());
        own.set_lifecycle(&[rule_for("kept/", long_ago)]).await.unwrap();
        tokio::join!(
            forth.until(|counts| counts.expired_at_source == 20),
            back.until(|counts| counts.expired_at_target == 20)
        );
        let (there, here) = tokio::join!(forth.three_quiet(20), back.three_quiet(20));
        for last in [there, here] {
            assert_eq!(last.memory.synced_until, Some(last.dealt_with_until), "the time point goes on");
        }
        assert_eq!((held(&own).await, held(&other).await), (20, 40));

        if expires {
            other.set_lifecycle(&[rule_for("logs/", long_ago)]).await.unwrap();
            tokio::join!(
                forth.until(|counts| counts.expired_at_target == 20),
                back.until(|counts| counts.expired_at_source == 20)
            );
            tokio::join!(forth.three_quiet(40), back.three_quiet(40));
            assert_eq!((held(&own).await, held(&other).await), (20, 20));
        }
        own.set_lifecycle(&[]).await.unwrap();
        back.three_quiet(if expires { 40 } else { 20 }).await;
        other.put("kept/03", Bytes::from("changed"), &PutOptions::default()).await.unwrap();
        back.until(|counts| counts.copied == 1).await;
        assert_eq!(held(&own).await, 21, "it changed at the other side");
        forth.end().await;
        back.end().await;
    }
}

async fn held(store: &S3Store) -> usize {
    crate::suite::keys(store, ListRequest::default()).await.len()
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
