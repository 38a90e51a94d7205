//! Sees what becomes of the one resource that this worker may watch: a request to run now, or the end.

use std::pin::pin;

use futures::StreamExt;
use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::mpsc;

use super::report::superseded;
use crate::{
    api::{ActivationWish, PlanEnded, RELEASE_DELETES, RUN_REQUESTED, Served},
    task::Owner,
};

/// What a worker wants to know at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A cycle is asked for; the annotation's value.
    Requested(String),
    /// Deletes that were held by then may be made.
    Released(Timestamp),
    /// Others have carried out a plan in our place, or given it up.
    PlanEnded(PlanEnded),
    /// The standby shall take over.
    Activate(ActivationWish),
    /// This run is not wanted any more, and why.
    Superseded(String),
}

/// Sends news until the receiver closes. An API server that is down is asked again, with pauses.
pub async fn watch<K: Served>(client: Client, owner: Owner, run_id: String, news: mpsc::Sender<News>) {
    let api: Api<K> = Api::namespaced(client, &owner.namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={}", owner.name));
    let mut changes = pin!(watcher(api, config).default_backoff().applied_objects());
    let mut told = Vec::new();
    while let Some(change) = changes.next().await {
        let Ok(object) = change else { continue };
        let found = if let Some(why) = superseded(&object, &owner, &run_id) {
            vec![News::Superseded(why)]
        } else {
            let ended = object.plan_ended().map(News::PlanEnded);
            let activate = object.activation().map(News::Activate);
            released(&object).into_iter().chain(ended).chain(activate).chain(requested(&object)).collect()
        };
        for one in found.iter().filter(|one| !told.contains(*one)) {
            if news.send(one.clone()).await.is_err() {
                return;
            }
        }
        told = found;
    }
}

/// A moment that is no time releases nothing; the controller says so.
fn released<K: Served>(object: &K) -> Option<News> {
    object.annotations().get(RELEASE_DELETES)?.parse().ok().map(News::Released)
}

/// The request that waits. One that an earlier run honoured is none: the same value is a no-op (`P09`).
fn requested<K: Served>(object: &K) -> Option<News> {
    let value = object.annotations().get(RUN_REQUESTED)?;
    value.parse::<Timestamp>().ok()?;
    let by_controller = object.last_run_request().map(|request| &request.requested_at);
    let by_worker = object.observed().and_then(|observed| observed.run_request.as_ref());
    (by_controller != Some(value) && by_worker != Some(value)).then(|| News::Requested(value.clone()))
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
        assert_eq!(requested(&service(VALUE, &json!({}))), Some(News::Requested(VALUE.to_owned())));
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
