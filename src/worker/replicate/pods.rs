//! The pods of an Indexed Job, which bring over a large history in the live worker's place. It gives them a plan
//! in a `ConfigMap` that was made for it; the controller, which sees the plan in the report, starts them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    api::{MigrationPlan, PlanEnded, Share},
    replicate::{
        follow::Others,
        plan::{Encoded, Plan},
    },
    task::{Owner, PLAN_KEY, ReplicateTask, SHARES, hash},
    worker::report::FIELD_MANAGER,
};

/// Longest that one request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pods that take a plan.
pub struct Pods {
    api: Api<ConfigMap>,
    name: Option<String>,
    about: String,
    paper: Mutex<Paper>,
    ended: watch::Receiver<Option<PlanEnded>>,
}

/// What the `ConfigMap` is good for.
#[derive(Clone, Debug)]
enum Paper {
    /// It is not there, can't be read, or holds something else.
    Useless,
    Blank,
    Written(MigrationPlan),
}

impl Pods {
    /// Looks whether an earlier run gave out a plan.
    pub async fn open(
        client: Client,
        owner: &Owner,
        work: &ReplicateTask,
        ended: watch::Receiver<Option<PlanEnded>>,
    ) -> Arc<Self> {
        let ends = [&work.source, &work.target].map(|end| format!("{}/{}", end.endpoint, end.bucket));
        let pods = Self {
            api: Api::namespaced(client, &owner.namespace),
            name: work.plan.clone(),
            about: ends.join(" to "),
            paper: Mutex::new(Paper::Useless),
            ended,
        };
        pods.read().await;
        Arc::new(pods)
    }

    /// The plan that was given out.
    #[must_use]
    pub fn plan(&self) -> Option<MigrationPlan> {
        match self.paper() {
            Paper::Written(plan) => Some(plan),
            Paper::Useless | Paper::Blank => None,
        }
    }

    fn paper(&self) -> Paper {
        self.paper.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Without it, the history is brought over by the live worker alone.
    async fn read(&self) {
        let Some(name) = &self.name else { return };
        let paper = match tokio::time::timeout(PATIENCE, self.api.get(name)).await {
            Ok(Ok(map)) => self.judged(name, &map),
            Ok(Err(error)) => {
                tracing::warn!(%error, "ConfigMap {name} can't be read: no plan is made for other pods");
                Paper::Useless
            }
            Err(_) => {
                tracing::warn!("ConfigMap {name} can't be read: no answer within {PATIENCE:?}");
                Paper::Useless
            }
        };
        *self.paper.lock().unwrap_or_else(PoisonError::into_inner) = paper;
    }

    fn judged(&self, name: &str, map: &ConfigMap) -> Paper {
        if map.immutable != Some(true) {
            return Paper::Blank;
        }
        let Some(file) = map.binary_data.as_ref().and_then(|data| data.get(PLAN_KEY)) else {
            return Paper::Useless;
        };
        match Plan::from_file(&file.0) {
            Ok(plan) if plan.about == self.about => Paper::Written(told(name, &plan, &file.0)),
            Ok(plan) => {
                tracing::warn!(about = plan.about, "the plan in ConfigMap {name} is for other buckets");
                Paper::Useless
            }
            Err(error) => {
                tracing::warn!(%error, "ConfigMap {name} holds no plan");
                Paper::Useless
            }
        }
    }

    async fn write(&self, name: &str, plan: &Encoded) -> Result<(), String> {
        let summary = told(name, &plan.plan, &plan.file);
        let note = |what: &str, value: String| (format!("farshore.dev/plan-{what}"), value);
        let notes = BTreeMap::from([
            note("hash", summary.hash),
            note("ranges", summary.ranges.to_string()),
            note("objects", summary.objects.total.to_string()),
            note("bytes", summary.bytes.total.to_string()),
        ]);
        let patch = json!({
            "metadata": {"annotations": notes},
            "immutable": true,
            "binaryData": {PLAN_KEY: BASE64_STANDARD.encode(&plan.file)},
        });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match tokio::time::timeout(PATIENCE, self.api.patch(name, &params, &Patch::Merge(&patch))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        }
    }
}

/// A plan as it is reported.
fn told(name: &str, plan: &Plan, file: &[u8]) -> MigrationPlan {
    let (held, lacking) = (plan.held, plan.lacking());
    let share = |total: u64, lacking: u64| Share { total, done: total.saturating_sub(lacking) };
    MigrationPlan {
        config_map: name.to_owned(),
        hash: hash(file),
        ranges: u32::try_from(plan.ranges.len()).unwrap_or(u32::MAX),
        objects: share(held.objects, lacking.objects),
        bytes: share(held.bytes, lacking.bytes),
    }
}

#[async_trait]
impl Others for Pods {
    fn about(&self) -> &str {
        &self.about
    }

    fn shares(&self) -> u32 {
        SHARES
    }

    fn are_at_it(&self) -> bool {
        matches!(self.paper(), Paper::Written(_))
    }

    fn take_plans(&self) -> bool {
        matches!(self.paper(), Paper::Blank)
    }

    /// Whatever the answer was, what is written there then counts: two workers overlap when a shift changes,
    /// and an answer can be lost.
    async fn take(&self, plan: Encoded) -> bool {
        let Some(name) = &self.name else { return false };
        if let Err(error) = self.write(name, &plan).await {
            tracing::warn!(error, "the plan was not written to ConfigMap {name}");
        }
        self.read().await;
        self.are_at_it()
    }

    async fn ended(&self) -> bool {
        let Some(plan) = self.plan() else { return true };
        let mut ended = self.ended.clone();
        let ours = |told: &Option<PlanEnded>| told.as_ref().is_some_and(|told| told.plan == plan.hash);
        let told = ended.wait_for(ours).await.ok().and_then(|told| told.as_ref().map(|told| told.all));
        match told {
            Some(all) => all,
            // Whoever tells has ended, and so will this run.
            None => std::future::pending().await,
        }
    }
}
