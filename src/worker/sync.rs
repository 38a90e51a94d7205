//! The role that keeps a copy current.

mod told;

use std::{sync::Arc, time::Duration};

use super::{
    Error, Start,
    health::Health,
    position::ServerLog,
    run::{self, Lasting, Strings},
    stores,
};
use crate::{
    api::BackupSyncService,
    backup::{
        self, detect,
        sync::{LogPosition, Mode, Session, SyncConfig, SystemClock, Update},
    },
    store::{ObjectStore, Side},
    task::{Owner, SyncTask, Task, TaskMode},
};

/// A run without any progress for this long ends itself.
const STUCK_AFTER: Duration = Duration::from_mins(10);

/// Copies until the task says that it is over.
///
/// # Errors
/// See [`Error`]; the last report says the same.
pub async fn run(start: &Start, task: &Task, work: &SyncTask) -> Result<(), Error> {
    let health = Health::every(Duration::from_secs(work.interval_seconds));
    let lasting = match work.mode {
        TaskMode::Cycle => Lasting::Cycle,
        TaskMode::Shift { seconds } => Lasting::Shift(Duration::from_secs(seconds)),
    };
    let engine = |strings: Strings<Update>| {
        let Strings { run_now, released: _, plan_ended: _, activate: _, hand_over, updates } = strings;
        let mode = match lasting {
            Lasting::Cycle => Mode::Once,
            Lasting::Shift(_) | Lasting::Held(_) => Mode::Shift { hand_over },
        };
        let opened = Opened::new(start, &task.owner, work)?;
        Ok(async move { Ok(backup::sync::run(opened.session().await?, mode, run_now, updates).await?) })
    };
    Box::pin(run::serve::<BackupSyncService, _, _>(start, (&task.owner, None), (health, lasting), engine))
        .await
}

/// All that a copy needs, but for a format that nobody named.
struct Opened {
    source: Arc<dyn ObjectStore>,
    target: Arc<dyn ObjectStore>,
    owner: String,
    work: SyncTask,
    log_position: Option<Arc<dyn LogPosition>>,
}

impl Opened {
    fn new(start: &Start, owner: &Owner, work: &SyncTask) -> Result<Self, Error> {
        let log_position = work
            .instance_uri
            .as_deref()
            .and_then(|uri| ServerLog::open(uri, &start.mounts.instance))
            .map(|log| Arc::new(log) as Arc<dyn LogPosition>);
        Ok(Self {
            source: stores::open(&work.source, &start.mounts.source, Side::Source)?,
            target: stores::open(&work.target, &start.mounts.target, Side::Target)?,
            owner: format!("{}/{}", owner.namespace, owner.name),
            work: work.clone(),
            log_position,
        })
    }

    /// Tells the format from what is there, where nobody named one.
    async fn session(self) -> Result<Session, backup::Error> {
        let work = &self.work;
        let (from, to) = (stores::place(&work.source), stores::place(&work.target));
        let (format, detected) = if let Some(format) = stores::format(&work.format) {
            (format, None)
        } else {
            let (source, target) = ((&*self.source, &from), (&*self.target, &to));
            let (format, told) = detect::resolve(source, target, &work.engine).await?;
            tracing::info!(format = format.name(), told, "format");
            (format, Some(told))
        };
        let config = SyncConfig {
            format,
            detected,
            source: from,
            target: to,
            engine: work.engine.clone(),
            owner: self.owner,
            retention: Duration::from_secs(work.retention_seconds),
            interval: Duration::from_secs(work.interval_seconds),
            bytes_per_second: work.bytes_per_second,
            requests_per_second: work.requests_per_second,
            stuck_after: STUCK_AFTER,
        };
        let (source, target, log_position) = (self.source, self.target, self.log_position);
        Ok(Session { source, target, config, clock: Arc::new(SystemClock), log_position })
    }
}
