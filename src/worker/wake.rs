//! Sees what becomes of the one resource that this worker may watch: a request to run now, or the end.

use std::pin::pin;

use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::mpsc;

use super::report::superseded;
use crate::{
    api::{RUN_REQUESTED, Served},
    task::Owner,
};

/// What a worker wants to know at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A cycle is asked for; the annotation's value.
    Requested(String),
    /// This run is not wanted any more, and why.
    Superseded(String),
}

/// Sends news until the receiver closes. An API server that is down is asked again, with pauses.
pub async fn watch<K: Served>(client: Client, owner: Owner, run_id: String, news: mpsc::Sender<News>) {
    let api: Api<K> = Api::namespaced(client, &owner.namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={}", owner.name));
    let mut changes = pin!(watcher(api, config).default_backoff().applied_objects());
    let mut last = None;
    while let Some(change) = changes.next().await {
        let Ok(object) = change else { continue };
        let told = match superseded(&object, &owner, &run_id) {
            Some(why) => Some(News::Superseded(why)),
            None => requested(&object).filter(|value| last.as_ref() != Some(value)).map(|value| {
                last = Some(value.clone());
                News::Requested(value)
            }),
        };
        if let Some(told) = told
            && news.send(told).await.is_err()
        {
            return;
        }
    }
}

/// The request that waits. One that an earlier run honoured is none: the same value is a no-op (`P09`).
fn requested<K: Served>(object: &K) -> Option<String> {
    let value = object.annotations().get(RUN_REQUESTED)?;
    value.parse::<jiff::Timestamp>().ok()?;
    let by_controller = object.last_run_request().map(|request| &request.requested_at);
    let by_worker = object.observed().and_then(|observed| observed.run_request.as_ref());
    (by_controller != Some(value) && by_worker != Some(value)).then(|| value.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::BackupSyncService;

    const VALUE: &str = "2026-11-21T08:00:00Z";

    fn service(value: &str, status: &serde_json::Value) -> BackupSyncService {
        serde_json::from_value(json!({
            "apiVersion": "farshore.dev/v1alpha1", "kind": "BackupSyncService",
            "metadata": {"name": "orders", "annotations": {RUN_REQUESTED: value}},
            "spec": {
                "instanceRef": {"name": "orders"},
                "target": {"region": "east", "bucket": "copies", "credentials": {"secretRef": {"name": "s"}}},
            },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn p09_the_same_request_is_honoured_once_whatever_run_did_it() {
        assert_eq!(requested(&service(VALUE, &json!({}))).as_deref(), Some(VALUE));
        assert_eq!(requested(&service("soon", &json!({}))), None, "no time");
        let honoured = json!({"lastRunRequest": {"requestedAt": VALUE}});
        assert_eq!(requested(&service(VALUE, &honoured)), None);
        let observed = json!({"observed": {
            "runID": "r", "generation": 1, "reportedAt": VALUE, "runRequest": VALUE,
        }});
        assert_eq!(requested(&service(VALUE, &observed)), None);
        assert!(requested(&service("2026-11-21T09:00:00Z", &honoured)).is_some(), "a new one");
    }
}
