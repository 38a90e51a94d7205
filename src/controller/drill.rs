//! `RecoveryDrill`: when, and what came of it (`B15`).

mod decide;
mod judge;
mod outcome;
mod schedule;
pub(super) mod task;

use std::sync::Arc;

use jiff::Timestamp;
use kube::{ResourceExt, runtime::controller::Action};

use self::decide::{Observed, decide};
use super::{
    Context, Error,
    context::uid_of,
    work::{
        act::apply,
        seen::{jobs, words},
    },
};
use crate::api::RecoveryDrill;

/// One look at a drill.
///
/// # Errors
/// What the API server says.
pub async fn reconcile(drill: Arc<RecoveryDrill>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = drill.namespace().unwrap_or_default();
    if !context.serves_namespace(&namespace) {
        return Ok(Action::requeue(context.options.timing.recheck));
    }
    let service = context.service(&namespace, &drill.spec.service_ref.name);
    let (jobs, _) = jobs(drill.as_ref(), &context, "restore");
    let active = jobs.iter().rev().find(|job| job.is_active());
    let observed = Observed {
        source: service.as_ref().and_then(|s| context.instance(&namespace, &s.spec.instance_ref.name)),
        region: service.as_ref().and_then(|service| context.region(&service.spec.target.region)),
        words: words(active, &namespace, &context).await,
        service,
        jobs,
        terminating: context.is_terminating(&namespace),
        last_run: context.last_run(&uid_of(drill.as_ref())),
    };
    let decision = decide(&drill, &observed, &context.options, Timestamp::now())?;
    let next_look = decision.next_look;
    apply(drill.as_ref(), decision, &context).await?;
    let recheck = context.options.timing.recheck;
    Ok(Action::requeue(if next_look.is_zero() { recheck } else { next_look.min(recheck) }))
}
