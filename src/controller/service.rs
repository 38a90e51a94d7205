//! `BackupSyncService`: acceptance, Jobs, status, deletion.

mod act;
mod decide;
mod deletion;
mod findings;
mod measured;
mod objects;
mod observe;
mod plan;
mod pod;
mod rpo;
mod standing;
mod status;
mod task;
mod words;
mod worker;

use std::sync::Arc;

use jiff::Timestamp;
use kube::{ResourceExt, runtime::controller::Action};

use self::{act::apply, decide::decide, observe::observe, standing::standing};
use super::{Context, Error};
use crate::api::{BackupSyncService, condition};

/// One look at a service.
///
/// # Errors
/// What the API server says.
pub async fn reconcile(service: Arc<BackupSyncService>, context: Arc<Context>) -> Result<Action, Error> {
    if !context.serves_namespace(&service.namespace().unwrap_or_default()) {
        return Ok(Action::requeue(context.options.timing.recheck));
    }
    let observed = observe(&service, &context).await?;
    let standing = standing(&service, &observed, &context);
    let decision = decide(&service, &observed, standing, &context.options, Timestamp::now())?;
    let next_look = decision.next_look;
    apply(&service, decision, &context).await?;
    Ok(Action::requeue(next_look))
}

/// True for a service that the rules let in.
#[must_use]
pub fn is_accepted(service: &BackupSyncService) -> bool {
    service.status.as_ref().is_some_and(|status| condition::is_true(&status.conditions, condition::ACCEPTED))
}
