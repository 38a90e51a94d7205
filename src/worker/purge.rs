//! The role that takes a copy away.

use super::{Error, Start, stores};
use crate::{
    backup::{purge::purge, sync::Place},
    store::Side,
    task::PurgeTask,
};

/// Deletes what the manifest at the target names, and the records last.
pub async fn run(start: &Start, task: &PurgeTask) -> Result<(), Error> {
    let source = Place {
        endpoint: task.source_endpoint.clone(),
        bucket: task.source_bucket.clone(),
        prefix: task.source_prefix.clone(),
    };
    let store = stores::open(&task.target, &start.mounts.target, Side::Target)?;
    let purged = purge(store, &source, &stores::place(&task.target)).await?;
    tracing::info!(?purged, bucket = task.target.bucket, prefix = task.target.prefix, "purged");
    Ok(())
}
