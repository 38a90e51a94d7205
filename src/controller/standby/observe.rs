//! What there is, from the caches.

use kube::ResourceExt;

use crate::{
    api::{DatabaseInstance, DisasterRecoveryInstance, Region},
    controller::{
        Context,
        context::uid_of,
        jobs::{JobView, Words},
        work::seen::{jobs, words},
    },
};

/// What was found.
pub struct Observed {
    pub master: Option<DatabaseInstance>,
    pub master_region: Option<Region>,
    pub region: Option<Region>,
    /// The instance of the same name: made of this one, or another's.
    pub namesake: Option<DatabaseInstance>,
    /// Oldest first.
    pub jobs: Vec<JobView>,
    /// The kubelet's, scheduler's or Job controller's own words on why no pod works.
    pub words: Option<Words>,
    pub terminating: bool,
    /// Id of the last run that was started here.
    pub last_run: Option<String>,
}

/// Takes a look.
pub async fn observe(standby: &DisasterRecoveryInstance, context: &Context) -> Observed {
    let namespace = standby.namespace().unwrap_or_default();
    let (jobs, _) = jobs(standby, context, super::task::ROLE);
    let active = jobs.iter().rev().find(|job| job.is_active());
    let master = context.instance(&namespace, &standby.spec.master_ref.name);
    Observed {
        master_region: master.as_ref().and_then(|master| context.region(&master.spec.region)),
        master,
        region: context.region(&standby.spec.region),
        namesake: context.instance(&namespace, &standby.name_any()),
        words: words(active, &namespace, context).await,
        jobs,
        terminating: context.is_terminating(&namespace),
        last_run: context.last_run(&uid_of(standby)),
    }
}
