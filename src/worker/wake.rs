//! Sees a user's request to run now, on the one resource that this worker may watch.

use std::pin::pin;

use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::mpsc;

use crate::{
    api::{BackupSyncService, RUN_REQUESTED},
    task::Owner,
};

/// Sends each value of the annotation that differs from the one before, the first one included: the
/// cycle that a run begins with honours it. Ends with the receiver.
pub async fn watch_requests(client: Client, owner: Owner, requests: mpsc::Sender<String>) {
    let services: Api<BackupSyncService> = Api::namespaced(client, &owner.namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={}", owner.name));
    let mut changes = pin!(watcher(services, config).default_backoff().applied_objects());
    let mut last = None;
    while let Some(change) = changes.next().await {
        let Ok(service) = change else { continue };
        let value = service.annotations().get(RUN_REQUESTED).cloned();
        if value == last {
            continue;
        }
        last.clone_from(&value);
        if let Some(value) = value
            && value.parse::<jiff::Timestamp>().is_ok()
            && requests.send(value).await.is_err()
        {
            return;
        }
    }
}
