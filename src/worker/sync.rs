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
        self,
        sync::{LogPosition, Mode, Session, SyncConfig, SystemClock, Update},
    },
    store::Side,
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
        let Strings { run_now, released: _, plan_ended: _, hand_over, updates } = strings;
        let mode = match lasting {
            Lasting::Cycle => Mode::Once,
            Lasting::Shift(_) => Mode::Shift { hand_over },
        };
        let session = session(start, &task.owner, work)?;
        Ok(async move { Ok(backup::sync::run(session, mode, run_now, updates).await?) })
    };
    Box::pin(run::serve::<BackupSyncService, _, _>(start, (&task.owner, None), (health, lasting), engine))
        .await
}

fn session(start: &Start, owner: &Owner, work: &SyncTask) -> Result<Session, Error> {
    let log_position = work
        .instance_uri
        .as_deref()
        .and_then(|uri| ServerLog::open(uri, &start.mounts.instance))
        .map(|log| Arc::new(log) as Arc<dyn LogPosition>);
    Ok(Session {
        source: stores::open(&work.source, &start.mounts.source, Side::Source)?,
        target: stores::open(&work.target, &start.mounts.target, Side::Target)?,
        config: SyncConfig {
            format: stores::format(&work.format),
            source: stores::place(&work.source),
            target: stores::place(&work.target),
            engine: work.engine.clone(),
            owner: format!("{}/{}", owner.namespace, owner.name),
            retention: Duration::from_secs(work.retention_seconds),
            interval: Duration::from_secs(work.interval_seconds),
            bytes_per_second: work.bytes_per_second,
            requests_per_second: work.requests_per_second,
            stuck_after: STUCK_AFTER,
        },
        clock: Arc::new(SystemClock),
        log_position,
    })
}
