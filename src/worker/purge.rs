//! The role that takes a copy away.

use tokio::signal::unix::{SignalKind, signal};

use super::{
    Error, Start,
    health::{self, Health},
    stores,
};
use crate::{
    backup::{purge::purge, sync::Place},
    store::Side,
    task::PurgeTask,
};

/// Deletes what the manifest at the target names, and the records last. Stopped in between, the next
/// purge goes on.
pub async fn run(start: &Start, task: &PurgeTask) -> Result<(), Error> {
    let source = Place {
        endpoint: task.source_endpoint.clone(),
        bucket: task.source_bucket.clone(),
        prefix: task.source_prefix.clone(),
    };
    let store = stores::open(&task.target, &start.mounts.target, Side::Target)?;
    let target = stores::place(&task.target);
    // The first process of a container is not ended by the signal itself.
    let mut terminated = signal(SignalKind::terminate()).map_err(|e| Error::Broken(e.to_string()))?;
    let purged = tokio::select! {
        purged = purge(store, &source, &target) => purged?,
        broken = health::serve(Health::always(), start.listen) => return Err(broken),
        _ = terminated.recv() => return Err(Error::Terminated),
    };
    tracing::info!(?purged, bucket = target.bucket, prefix = target.prefix, "purged");
    Ok(())
}
