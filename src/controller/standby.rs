//! `DisasterRecoveryInstance`: acceptance, the worker that follows, what is made once it is active.

mod activation;
mod annotations;
mod conditions;
mod decide;
mod keep;
mod made;
mod managed;
mod member;
mod observe;
mod standing;
mod status;
mod target;
mod task;

use std::sync::Arc;

use jiff::Timestamp;
use kube::{ResourceExt, runtime::controller::Action};

use self::{decide::decide, observe::observe, standing::standing};
use super::{Context, Error, work::act::apply};
use crate::api::DisasterRecoveryInstance;

pub use made::farewell;

/// One look at a disaster recovery instance.
///
/// # Errors
/// What the API server says.
pub async fn reconcile(
    standby: Arc<DisasterRecoveryInstance>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    if !context.serves_namespace(&standby.namespace().unwrap_or_default()) {
        return Ok(Action::requeue(context.options.timing.recheck));
    }
    let observed = observe(&standby, &context).await;
    let standing = standing(&standby, &observed, &context);
    let decision = decide(&standby, &observed, standing, &context.options, Timestamp::now())?;
    let next_look = decision.next_look;
    let managed =
        decision.status.as_ref().and_then(|status| managed::managed(&standby, status, &context.options));
    Box::pin(apply(standby.as_ref(), decision, &context)).await?;
    if let Some(managed) = managed {
        keep::keep(&standby, &managed, &context).await?;
    }
    Ok(Action::requeue(next_look))
}
