//! Puts a run's report into `status.observed`: the only place where a worker writes to Kubernetes.
//!
//! The report is applied whole, by server-side apply without force, on the version that was read just
//! before: so two runs can't overwrite each other unseen. A run with a greater id has taken over; ours
//! ends then. An API server that is down stops no copying: the newest report is written later.

use std::time::Duration;

use kube::{
    Api, Client, Config, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use super::{Error, draft::Of, health::Health};
use crate::{
    api::{Measure, Observed, Served},
    task::Owner,
};

/// Field manager of all workers: one, so that a run takes over its predecessor's fields.
pub const FIELD_MANAGER: &str = "farshore-worker";
/// Least time between two reports.
const PAUSE: Duration = Duration::from_secs(2);
/// Longest time without one, so that a reader sees that somebody is there.
const IDLE: Duration = Duration::from_mins(5);
/// Longest that one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Attempts to write the last report.
const LAST_ATTEMPTS: u32 = 3;

/// Writes the reports of one run.
pub struct Reporter<K: Served> {
    api: Api<K>,
    owner: Owner,
    /// Told the number of the report that was written last.
    written: watch::Sender<u64>,
    health: Health,
}

/// A report, and its number among those of its run.
#[derive(Clone, Debug)]
pub struct Report<K: Served> {
    pub number: u64,
    pub observed: Of<K>,
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Written {
    Yes,
    /// Somebody else wrote in between, or the API server did not answer: try again.
    NotYet(String),
    /// Nobody waits for our reports any more.
    Superseded(String),
}

/// A client whose requests are bounded in time and not repeated behind our back.
pub async fn client() -> Result<Client, Error> {
    let mut config = Config::infer().await.map_err(|error| Error::Kubernetes(error.to_string()))?;
    config.default_retry = false;
    config.connect_timeout = Some(PATIENCE);
    Client::try_from(config).map_err(|error| Error::Kubernetes(error.to_string()))
}

impl<K: Served> Reporter<K> {
    /// Reports go to the task's owner; `written` is told the number of each that was written, and `health` whether they
    /// can be.
    #[must_use]
    pub fn new(client: Client, owner: Owner, written: watch::Sender<u64>, health: Health) -> Self {
        Self { api: Api::namespaced(client, &owner.namespace), owner, written, health }
    }

    /// Writes each report that differs from the one before, at most one in two seconds, until the
    /// channel closes; the last one is written then, too.
    ///
    /// # Errors
    /// [`Error::Superseded`] when a later run has taken over, or the resource is gone.
    pub async fn run(self, mut reports: watch::Receiver<Report<K>>) -> Result<(), Error> {
        let mut last: Option<Of<K>> = None;
        loop {
            let Report { number, observed: report } = reports.borrow_and_update().clone();
            let is_due = last.as_ref().is_none_or(|earlier| differs(earlier, &report));
            if is_due || idle_for_long(last.as_ref(), &report) {
                let written = self.write(&report).await;
                self.health.heard(written == Written::Yes);
                match written {
                    Written::Yes => {
                        last = Some(report);
                        self.written.send_replace(number);
                    }
                    Written::Superseded(why) => return Err(Error::Superseded(why)),
                    Written::NotYet(why) => tracing::warn!("report not written yet: {why}"),
                }
            }
            sleep(PAUSE).await;
            let pending = last.as_ref().is_none_or(|earlier| differs(earlier, &reports.borrow().observed));
            if !pending && !matches!(tokio::time::timeout(IDLE, reports.changed()).await, Ok(Ok(())) | Err(_))
            {
                return Ok(());
            }
            if reports.has_changed().is_err() {
                let report = reports.borrow().observed.clone();
                return self.write_last(last.as_ref(), &report).await;
            }
        }
    }

    async fn write_last(&self, last: Option<&Of<K>>, report: &Of<K>) -> Result<(), Error> {
        if last.is_some_and(|earlier| !differs(earlier, report)) {
            return Ok(());
        }
        for _ in 0..LAST_ATTEMPTS {
            match self.write(report).await {
                Written::Yes => return Ok(()),
                Written::Superseded(why) => return Err(Error::Superseded(why)),
                Written::NotYet(why) => tracing::warn!("last report not written yet: {why}"),
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn write(&self, report: &Of<K>) -> Written {
        match tokio::time::timeout(PATIENCE, self.try_write(report)).await {
            Ok(Ok(written)) => written,
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => {
                Written::Superseded(format!("{} is gone", self.name()))
            }
            Ok(Err(kube::Error::Api(status))) => Written::NotYet(status.message),
            Ok(Err(error)) => Written::NotYet(error.to_string()),
            Err(_) => Written::NotYet(format!("no answer within {PATIENCE:?}")),
        }
    }

    async fn try_write(&self, report: &Of<K>) -> Result<Written, kube::Error> {
        let object = self.api.get(&self.owner.name).await?;
        if let Some(why) = superseded(&object, &self.owner, &report.run_id) {
            return Ok(Written::Superseded(why));
        }
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": self.owner.name, "resourceVersion": object.resource_version()},
            "status": {"observed": report},
        });
        let params = PatchParams::apply(FIELD_MANAGER);
        match self.api.patch_status(&self.owner.name, &params, &Patch::Apply(patch)).await {
            Ok(_) => Ok(Written::Yes),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Written::NotYet(status.message)),
            Err(error) => Err(error),
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.owner.namespace, self.owner.name)
    }
}

/// Why our reports are not wanted any more, if so.
pub(super) fn superseded<K: Served>(object: &K, owner: &Owner, run_id: &str) -> Option<String> {
    let name = &owner.name;
    if object.uid().as_deref() != Some(&owner.uid) {
        return Some(format!("{name} was created anew"));
    }
    if object.meta().deletion_timestamp.is_some() {
        return Some(format!("{name} is being deleted"));
    }
    let observed = object.observed()?;
    (observed.run_id.as_str() > run_id).then(|| format!("run {} has taken over {name}", observed.run_id))
}

/// Whether a report says anything that a reader should know at once. Its moment is no news by itself, nor
/// is another cycle that found everything as it was.
fn differs<C: Measure, P: Clone + PartialEq>(earlier: &Observed<C, P>, report: &Observed<C, P>) -> bool {
    let mut report = Observed { reported_at: earlier.reported_at.clone(), ..report.clone() };
    if let Some(before) = &earlier.cycle {
        report.cycle = report.cycle.map(|cycle| cycle.dated_as(before));
    }
    report != *earlier
}

fn idle_for_long<C, P>(last: Option<&Observed<C, P>>, report: &Observed<C, P>) -> bool {
    last.is_some_and(|earlier| {
        let age = report.reported_at.0.duration_since(earlier.reported_at.0);
        age.unsigned_abs() >= IDLE
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::api::BackupSyncService;

    fn observed(second: i64, change: serde_json::Value) -> Observed {
        let at = |second| Timestamp::from_second(second).unwrap().to_string();
        let mut cycle = json!({
            "startedAt": at(second), "completedAt": at(second + 1), "basis": "Proved",
            "latestDataTimePoint": at(7), "coveredUntil": at(second),
            "backups": {"full": 1, "incremental": 0, "logs": 3, "bytes": 5},
            "usage": {"storedBytes": 5, "transferredBytes": 5},
            "pending": {"objects": 0, "bytes": 0},
        });
        if let serde_json::Value::Object(change) = change {
            cycle.as_object_mut().unwrap().extend(change);
        }
        serde_json::from_value(
            json!({"runID": "r1", "generation": 1, "reportedAt": at(second), "cycle": cycle}),
        )
        .unwrap()
    }

    #[test]
    fn p11_liveness_costs_no_writes() {
        let first = observed(100, json!({}));
        assert!(!differs(&first, &observed(110, json!({}))), "a cycle that found everything as it was");
        assert!(!idle_for_long(Some(&first), &observed(399, json!({}))));
        assert!(idle_for_long(Some(&first), &observed(400, json!({}))), "a sign of life in five minutes");
        assert!(differs(&first, &observed(160, json!({}))), "covered for another minute");
        let moved = json!({"latestDataTimePoint": "2026-11-21T08:00:00Z"});
        assert!(differs(&first, &observed(110, moved)));
        let failed = Observed {
            failure: serde_json::from_value(json!({
                "reason": "StoreFull", "message": "m", "permanent": true, "since": "2026-11-21T08:00:00Z"
            }))
            .unwrap(),
            ..first.clone()
        };
        assert!(differs(&first, &failed) && differs(&failed, &first));
        assert!(differs(&Observed { cycle: None, ..first.clone() }, &first), "the first cycle");
    }

    #[test]
    fn a_run_ends_when_a_later_one_reports_or_its_resource_is_another() {
        let owner = Owner {
            kind: "BackupSyncService".to_owned(),
            namespace: "shop".to_owned(),
            name: "orders".to_owned(),
            uid: "u1".to_owned(),
            generation: 1,
        };
        let service = |metadata: serde_json::Value, run: &str| -> BackupSyncService {
            let mut all = json!({"name": "orders", "uid": "u1"});
            all.as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
            serde_json::from_value(json!({
                "apiVersion": "farshore.dev/v1alpha1", "kind": "BackupSyncService", "metadata": all,
                "spec": {
                    "instanceRef": {"name": "orders"},
                    "target": {"region": "e", "bucket": "copies", "credentials": {"secretRef": {"name": "s"}}},
                },
                "status": {"observed": {"runID": run, "generation": 1, "reportedAt": "2026-11-21T08:00:00Z"}},
            }))
            .unwrap()
        };
        for (metadata, run, ends) in [
            (json!({}), "r1", false),
            (json!({}), "r0", false),
            (json!({}), "r2", true),
            (json!({"uid": "u2"}), "r0", true),
            (json!({"deletionTimestamp": "2026-11-21T08:00:00Z"}), "r1", true),
        ] {
            let found = superseded(&service(metadata.clone(), run), &owner, "r1");
            assert_eq!(found.is_some(), ends, "{metadata} {run}: {found:?}");
        }
    }
}
