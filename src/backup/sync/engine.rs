//! What both lanes share: stores behind their ceilings, the manifest, the copiers, the counts.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{Place, Progress, Session, SyncConfig, Update};
use crate::{
    backup::{
        Error, Result,
        catalog::{Object, Part},
        detect::refuse_wrong,
        join::Root,
        records::{Fact, Manifest, Service, Stored, claim, read_service},
    },
    replicate::{self, Copier, CopyRequest, Keep, Outcome, Skipped, same_place},
    store::{
        self, ListRequest, ObjectStore, Precondition, Side, Versioning,
        limits::{Lane, Limited, Limits},
    },
};

/// Objects of one lane that are copied at once.
pub(super) const PARALLEL: usize = 4;

/// Everything that a run works with.
pub(super) struct Engine {
    pub config: SyncConfig,
    pub clock: Arc<dyn super::Clock>,
    pub manifest: Manifest,
    pub logs: Lanes,
    pub bases: Lanes,
    /// The target, where looking does not count against the copy's ceilings.
    pub near: Root,
    pub counts: Arc<Counts>,
    pub updates: mpsc::Sender<Update>,
    limits: [Arc<Limits>; 2],
    /// Names this run in the usage records.
    pub run: String,
}

/// Both stores, as one lane sees them.
pub(super) struct Lanes {
    pub source: Root,
    pub target: Root,
    copier: Copier,
}

/// Figures that change while objects move.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub pending_objects: [AtomicU64; 2],
    pub pending_bytes: [AtomicU64; 2],
    /// Bytes on their way to the target.
    sent: AtomicU64,
    /// Something should be moving.
    pub busy: AtomicBool,
    current: Mutex<Option<String>>,
}

/// How a copy of one object ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Copied {
        bytes: u64,
    },
    /// It is not there any more, or another content is: the plan is out of date.
    OutOfDate,
}

impl Engine {
    /// Claims the target and makes everything ready.
    pub(super) async fn open(session: Session, updates: mpsc::Sender<Update>) -> Result<Self> {
        let Session { source, target, config, clock, log_position: _ } = session;
        if read_service(&*target, &config.target).await?.is_none() {
            prove(&*source, &config).await?;
            refuse_wrong(&source, &config.source, &config.format).await?;
        }
        refuse_same_place(&*source, &*target, &config).await?;
        let service = Service {
            version: 1,
            source: config.source.clone(),
            engine: config.engine.clone(),
            format: config.format.clone(),
            owner: config.owner.clone(),
            created_at: clock.now(),
        };
        claim(&*target, &config.target, &service).await?;
        let versioning =
            target.versioning().await.map_err(|source| Error::Store { side: Side::Target, source })?;
        let keep_gone = matches!(versioning, Versioning::Enabled | Versioning::Suspended);
        let limits = Limits::new(config.bytes_per_second, config.requests_per_second);
        let near_limits = Limits::new(None, config.requests_per_second);
        let near: Arc<dyn ObjectStore> =
            Arc::new(Limited::new(Arc::clone(&target), &near_limits, Lane::First));
        let counts = Arc::new(Counts::default());
        let lanes = |lane| Lanes::new(&source, &target, &config, &limits, lane, &counts);
        Ok(Self {
            manifest: Manifest::new(Arc::clone(&near), &config.target.prefix, keep_gone),
            logs: lanes(Lane::First),
            bases: lanes(Lane::Rest),
            near: Root { store: near, prefix: config.target.prefix.clone(), side: Side::Target },
            run: format!("{:016x}-{:016x}", clock.now().as_microsecond(), fastrand::u64(..)),
            config,
            clock,
            counts,
            updates,
            limits: [limits, near_limits],
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Everything that ever moved, as one number: it stands still only when nothing does.
    pub(super) fn movement(&self) -> u64 {
        let usage = self.limits.iter().map(|limits| limits.usage());
        usage.map(|usage| usage.requests + usage.bytes_read + usage.bytes_written).sum()
    }

    pub(super) fn progress(&self) -> Progress {
        let counts = &self.counts;
        let sum = |counts: &[AtomicU64; 2]| counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        Progress {
            pending_objects: sum(&counts.pending_objects),
            pending_bytes: sum(&counts.pending_bytes),
            transferred_bytes: counts.sent(),
            current: counts.current.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            movement: self.movement(),
            busy: counts.busy.load(Ordering::Relaxed),
        }
    }

    /// Notes objects that are about to be written. Must come before they are.
    pub(super) async fn announce(&self, objects: &[(&Object, &str, Option<Part>)]) -> Result<()> {
        let facts = objects.iter().map(|(object, destination, part)| {
            let mut stored = Stored::of(object, *part);
            if *destination != object.key {
                stored.source_key = Some(object.key.clone());
            }
            ((*destination).to_owned(), Fact::Stored(stored))
        });
        self.manifest.append(self.now(), facts.collect()).await
    }

    /// Copies one object that was announced. Nothing else than the content that was listed is copied.
    pub(super) async fn copy(
        &self,
        lanes: &Lanes,
        object: &Object,
        destination: &str,
        part: Option<Part>,
    ) -> Result<Done> {
        self.counts.name(&object.key);
        let request = CopyRequest {
            source_key: format!("{}{}", lanes.source.prefix, object.key),
            target_key: format!("{}{destination}", lanes.target.prefix),
            size: Some(object.size),
            etag: Some(object.etag.clone()),
            precondition: Precondition::None,
        };
        let copied = match lanes.copier.copy(&request).await {
            Ok(Outcome::Copied(copied)) => copied,
            Ok(Outcome::Gone | Outcome::Changed) | Err(replicate::Error::Restless { .. }) => {
                return Ok(Done::OutOfDate);
            }
            Ok(Outcome::Skipped(Skipped::Archived)) => {
                let (bucket, key) = (lanes.source.store.bucket().to_owned(), Some(request.source_key));
                let context = store::Context { bucket, key, ..store::Context::default() };
                return Err(Error::Store { side: Side::Source, source: store::Error::Archived(context) });
            }
            Err(replicate::Error::Store { side, source }) => return Err(Error::Store { side, source }),
        };
        if copied.target_etag != object.etag {
            let mut stored = Stored::of(object, part);
            stored.etag = Some(copied.target_etag.0);
            stored.source_key = (destination != object.key).then(|| object.key.clone());
            self.manifest.append(self.now(), vec![(destination.to_owned(), Fact::Stored(stored))]).await?;
        }
        Ok(Done::Copied { bytes: copied.sent })
    }
}

impl Lanes {
    fn new(
        source: &Arc<dyn ObjectStore>,
        target: &Arc<dyn ObjectStore>,
        config: &SyncConfig,
        limits: &Arc<Limits>,
        lane: Lane,
        counts: &Arc<Counts>,
    ) -> Self {
        let paced = |store: &Arc<dyn ObjectStore>| -> Arc<dyn ObjectStore> {
            Arc::new(Limited::new(Arc::clone(store), limits, lane))
        };
        let (source, target) = (paced(source), paced(target));
        let counts = Arc::clone(counts);
        let copier = Copier::new(Arc::clone(&source), Arc::clone(&target)).on_bytes(Arc::new(move |bytes| {
            counts.sent.fetch_add(bytes, Ordering::Relaxed);
        }));
        // Backups live and end by their own policy: a source's retention would keep them from being pruned.
        let copier = copier.keep(Keep::content());
        Self {
            source: Root { store: source, prefix: config.source.prefix.clone(), side: Side::Source },
            target: Root { store: target, prefix: config.target.prefix.clone(), side: Side::Target },
            copier,
        }
    }
}

/// Index of the counts of the log lane, and of the base lane.
pub(super) const LOGS: usize = 0;
pub(super) const BASES: usize = 1;

impl Counts {
    pub(super) fn set_pending(&self, lane: usize, objects: u64, bytes: u64) {
        self.pending_objects[lane].store(objects, Ordering::Relaxed);
        self.pending_bytes[lane].store(bytes, Ordering::Relaxed);
    }

    pub(super) fn done(&self, lane: usize, bytes: u64) {
        let less = |count: &AtomicU64, by: u64| {
            count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_sub(by))).ok();
        };
        less(&self.pending_objects[lane], 1);
        less(&self.pending_bytes[lane], bytes);
    }

    pub(super) fn name(&self, key: &str) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.to_owned());
    }

    pub(super) fn idle(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Bytes that went to the target without a copier.
    pub(super) fn wrote(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// A claim counts once access is proved to what it claims: a mistake in the source's address or keys
/// leaves no record at the target that would stand in the way of its correction.
async fn prove(source: &dyn ObjectStore, config: &SyncConfig) -> Result<()> {
    let prefix = config.source.prefix.clone();
    let request = ListRequest { prefix, max_keys: Some(1), ..ListRequest::default() };
    let listed = tokio::time::timeout(config.stuck_after, source.list(&request)).await;
    let listed = listed.map_err(|_| Error::Stuck(config.stuck_after))?;
    listed.map(drop).map_err(|source| Error::Store { side: Side::Source, source })
}

/// Copying a prefix onto itself would make copies of copies for ever.
async fn refuse_same_place(
    source: &dyn ObjectStore,
    target: &dyn ObjectStore,
    config: &SyncConfig,
) -> Result<()> {
    let (from, to) = (&config.source, &config.target);
    let overlap = from.prefix.starts_with(&to.prefix) || to.prefix.starts_with(&from.prefix);
    if source.bucket() != target.bucket() || !overlap {
        return Ok(());
    }
    let same = from.endpoint == to.endpoint || probe(source, target, to).await?;
    if !same {
        return Ok(());
    }
    let cause = format!("s3://{}/{} and s3://{}/{}", from.bucket, from.prefix, to.bucket, to.prefix);
    Err(Error::SamePlace(cause))
}

async fn probe(source: &dyn ObjectStore, target: &dyn ObjectStore, place: &Place) -> Result<bool> {
    same_place(source, target, &place.prefix).await.map_err(|error| match error {
        replicate::Error::Store { side, source } => Error::Store { side, source },
        replicate::Error::Restless { .. } => Error::Stuck(Duration::ZERO),
    })
}
