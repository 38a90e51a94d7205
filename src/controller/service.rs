//! `BackupSyncService`: acceptance, Jobs, status, deletion.

mod decide;
mod deletion;
mod measured;
mod observe;
mod rpo;
mod standing;
mod status;
mod task;

use std::sync::Arc;

use jiff::Timestamp;
use kube::{ResourceExt, runtime::controller::Action};

use self::{decide::decide, observe::observe, standing::standing};
use super::{Context, Error, work::act::apply};
use crate::api::BackupSyncService;

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
    apply(service.as_ref(), decision, &context).await?;
    Ok(Action::requeue(next_look))
}
