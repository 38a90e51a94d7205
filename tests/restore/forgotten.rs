//! A source that forgets its backups: what was copied of them goes on to restore (`B18`).

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use farshore::{
    backup::{
        catalog::Format,
        sync::{Mode, Place, Report, Session, SyncConfig, SystemClock, Update, run as sync},
    },
    store::{ListRequest, ObjectStore, PutOptions, s3::S3Store},
};
use tokio::sync::mpsc;

use crate::{
    postgres::{PREFIX, key, restored},
    real,
    source::{backrest, files, pgbackrest, run},
};

/// The source's bucket, and the copy's.
struct Pair {
    source: Arc<S3Store>,
    target: Arc<S3Store>,
}

impl Pair {
    async fn new() -> Self {
        Self { source: Arc::new(real::minio_b().await), target: Arc::new(real::minio_a().await) }
    }

    /// Brings the source's bucket in line with a repository, as pgBackRest itself would have written there.
    async fn show(&self, repository: &Path) {
        let mut there = BTreeSet::new();
        for (name, bytes) in files(repository, repository) {
            let key = format!("{PREFIX}{name}");
            self.source.put(&key, Bytes::from(bytes), &PutOptions::default()).await.unwrap();
            there.insert(key);
        }
        for key in keys(&self.source).await.difference(&there) {
            self.source.delete(key, None).await.unwrap();
        }
    }

    /// What the copy has of the repository.
    async fn copied(&self) -> BTreeSet<String> {
        keys(&self.target).await.into_iter().filter(|key| !key.contains(".farshore/")).collect()
    }

    /// One cycle of the copy.
    async fn copy(&self) -> Report {
        let place = |endpoint: &str, store: &S3Store| Place {
            endpoint: key(endpoint),
            bucket: store.bucket().to_owned(),
            prefix: PREFIX.to_owned(),
        };
        let config = SyncConfig {
            format: Format::PgBackRest,
            detected: None,
            source: place("FARSHORE_TEST_MINIO_B", &self.source),
            target: place("FARSHORE_TEST_MINIO_A", &self.target),
            engine: "PostgreSQL".to_owned(),
            owner: "shop/orders".to_owned(),
            retention: Duration::from_hours(7 * 24),
            interval: Duration::from_mins(10),
            bytes_per_second: None,
            requests_per_second: None,
            stuck_after: Duration::from_mins(1),
        };
        let session = Session {
            source: self.source.clone(),
            target: self.target.clone(),
            config,
            clock: Arc::new(SystemClock),
            log_position: None,
        };
        let (_wake, run_now) = mpsc::channel(1);
        let (updates, mut told) = mpsc::channel(1024);
        let listen = tokio::spawn(async move {
            let mut last = None;
            while let Some(update) = told.recv().await {
                if let Update::Cycle(report) = update {
                    last = Some(*report);
                }
            }
            last
        });
        sync(session, Mode::Once, run_now, updates).await.unwrap();
        listen.await.unwrap().unwrap()
    }
}

async fn keys(store: &S3Store) -> BTreeSet<String> {
    let (mut request, mut found) = (ListRequest::default(), BTreeSet::new());
    loop {
        let page = store.list(&request).await.unwrap();
        found.extend(page.objects.into_iter().map(|object| object.key));
        request.token = page.next;
        if request.token.is_none() {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b18_b07_a_repository_that_expires_rewrites_its_index_and_is_emptied_keeps_its_window() {
    let (mut source, config) = pgbackrest(None);
    let repository = source.folder.path.join("repository");
    let pair = Pair::new().await;
    source.write(3);
    run(backrest(&source, &config).args(["--type=full", "backup"]));
    // A window begins with a whole second, where it is longer than that.
    std::thread::sleep(Duration::from_millis(1100));
    source.write(4);
    source.switch();
    pair.show(&repository).await;
    let first = pair.copy().await;
    let [window] = first.windows[..] else { panic!("{first:?}") };

    // A differential backup, and more of the log.
    source.write(2);
    run(backrest(&source, &config).args(["--type=diff", "backup"]));
    source.write(2);
    source.switch();
    pair.show(&repository).await;
    let second = pair.copy().await;
    let until = source.journal().last().unwrap().0;
    assert_eq!((second.windows.len(), second.windows[0].from, second.windows[0].to), (1, window.from, until));

    run(backrest(&source, &config).args(["--type=full", "--no-expire-auto", "backup"]));
    source.write(1);
    source.switch();
    pair.show(&repository).await;
    pair.copy().await;

    // It keeps one backup: `expire` deletes the others with their log, and rewrites the index.
    run(backrest(&source, &config).args(["--repo1-retention-full=1", "expire"]));
    let index = std::fs::read_to_string(repository.join("backup/main/backup.info")).unwrap();
    let named = index.lines().filter(|line| line.starts_with("20")).count();
    pair.show(&repository).await;
    let left = keys(&pair.source).await;
    let bases: BTreeSet<_> =
        left.iter().filter_map(|key| key.strip_prefix("orders/backup/main/20")?.split('/').next()).collect();
    assert_eq!((named, bases.len()), (1, 1), "the source has one backup: {bases:?}");
    let third = pair.copy().await;
    assert_eq!(
        (third.windows.len(), third.windows[0].from, third.full + third.incremental),
        (1, window.from, 3),
        "{third:?}"
    );
    let journal = source.journal();
    assert_eq!(third.windows[0].to, journal.last().unwrap().0);
    assert_eq!(third.findings, [], "what the source expired is no finding");

    // It is emptied.
    let copied = pair.copied().await;
    for key in &left {
        pair.source.delete(key, None).await.unwrap();
    }
    let fourth = pair.copy().await;
    assert_eq!(fourth.windows, third.windows, "{fourth:?}");
    assert_eq!((fourth.pruned_objects, pair.copied().await), (0, copied));

    drop(source);
    let store: Arc<dyn ObjectStore> = pair.target.clone();
    for moment in [window.from, window.to, until] {
        let (rows, plan, reached) = restored(&store, &Format::PgBackRest, Some(moment), None).await.unwrap();
        let mut expected: Vec<u32> =
            journal.iter().filter(|(at, _)| *at <= moment).map(|(_, id)| *id).collect();
        expected.sort_unstable();
        assert_eq!((rows, reached.time_point), (expected, moment), "{:?}", plan.bases);
    }
}
