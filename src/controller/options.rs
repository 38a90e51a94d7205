//! What the controller is told when it starts.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use super::breaker::Pauses;

/// Options of `farshore controller`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Target regions that are served; empty: all. Services of others are left alone.
    pub regions: BTreeSet<String>,
    /// Namespaces that are watched; empty: all.
    pub watch_namespaces: BTreeSet<String>,
    /// Image of the workers.
    pub worker_image: String,
    /// `imagePullPolicy` of the workers; none: Kubernetes' own default.
    pub worker_image_pull_policy: Option<String>,
    /// Address of `/healthz`, `/readyz` and `/metrics`; none: not served.
    pub listen: Option<SocketAddr>,
    /// Whether to wait for the Lease before anything is done.
    pub leader_election: bool,
    /// Name of the Lease: one for each set of served regions.
    pub lease_name: String,
    /// Namespace of the controller, where its Lease is kept.
    pub namespace: String,
    /// Who we are, for the Lease and for Events: the pod's name.
    pub identity: String,
    /// Lengths of time that tests shorten.
    pub timing: Timing,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            regions: BTreeSet::new(),
            watch_namespaces: BTreeSet::new(),
            worker_image: String::new(),
            worker_image_pull_policy: None,
            listen: None,
            leader_election: true,
            lease_name: "farshore-controller".to_owned(),
            namespace: "farshore-system".to_owned(),
            identity: "farshore-controller".to_owned(),
            timing: Timing::default(),
        }
    }
}

impl Options {
    /// True when services with this target region are ours.
    #[must_use]
    pub fn serves(&self, region: &str) -> bool {
        self.regions.is_empty() || self.regions.contains(region)
    }
}

/// Lengths of time.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Probes of regions; `None`: no probe is made and every region counts as ready.
    pub probes: Option<Pauses>,
    /// Length of a shift, ±10 % by service.
    pub shift: Duration,
    /// From this interval on, a cycle is a Job of its own.
    pub cycle_from: Duration,
    /// How long a worker may take to start, or be silent, before the service says so.
    pub start_grace: Duration,
    /// How long an instance may be gone before its service is deleted.
    pub instance_grace: Duration,
    /// Over how much time services catch up after an outage.
    pub catch_up: Duration,
    /// How often everything is looked at again, whatever was or wasn't heard.
    pub recheck: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            probes: Some(Pauses::default()),
            shift: Duration::from_hours(6),
            cycle_from: Duration::from_mins(30),
            start_grace: Duration::from_secs(30),
            instance_grace: Duration::from_mins(5),
            catch_up: Duration::from_secs(30),
            recheck: Duration::from_mins(5),
        }
    }
}
