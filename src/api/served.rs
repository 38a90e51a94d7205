//! What a worker serves, whatever its kind.

use std::{fmt::Debug, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{Resource, core::NamespaceResourceScope};
use serde::{Serialize, de::DeserializeOwned};

use super::{Observed, RunRequest, WorkerSpec};

/// A resource that a worker serves: what controller and worker need to know of it.
pub trait Served:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// What it is called in messages, and in labels: `service`.
    const NOUN: &'static str;
    /// Plural of the kind, as in URLs and rights.
    const PLURAL: &'static str;
    /// What its worker measures in a cycle that succeeded.
    type Cycle: Measure;
    /// Movement in the current cycle.
    type Progress: Clone + Debug + PartialEq + Serialize + Send + Sync + 'static;

    /// The worker's own report.
    fn observed(&self) -> Option<&Observed<Self::Cycle, Self::Progress>>;
    /// Conditions as they are.
    fn conditions(&self) -> &[Condition];
    /// The last request of `farshore.dev/run-requested` that was honoured.
    fn last_run_request(&self) -> Option<&RunRequest>;
    /// How its worker's pods are run.
    fn worker(&self) -> Option<&WorkerSpec>;
    /// The plan that others have carried out in its worker's place, once they have ended.
    fn plan_ended(&self) -> Option<PlanEnded> {
        None
    }
    /// The activation that is wanted, where the kind has one.
    fn activation(&self) -> Option<ActivationWish> {
        None
    }
}

/// A standby shall take over (`D03`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationWish {
    /// When the controller saw it first; `None`: it has not yet.
    pub requested_at: Option<Timestamp>,
    /// Longest time that is spent on what a master that does not answer has told already.
    pub drain_timeout: Duration,
    /// Somebody took it on them at this moment that the master may go on writing (`D13`).
    pub accept_split_brain: Option<Timestamp>,
}

/// A plan that was carried out, or given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanEnded {
    /// Hash of the plan.
    pub plan: String,
    /// Nothing of it was given up.
    pub all: bool,
}

/// What a worker measures in a cycle.
pub trait Measure: Clone + Debug + PartialEq + Serialize + Send + Sync + 'static {
    /// When it ended.
    fn completed_at(&self) -> Time;
    /// The same, with the moments of an earlier one where these are all that is new: another cycle that
    /// found everything as it was is no news.
    #[must_use]
    fn dated_as(self, earlier: &Self) -> Self;
}
