//! `BucketReplicationRule`: acceptance, Jobs, status. Nothing is to be done when it is deleted.

mod decide;
mod feed;
mod incomplete;
mod migration;
mod observe;
mod standing;
mod status;
mod task;

use std::sync::Arc;

use jiff::Timestamp;
use kube::{ResourceExt, runtime::controller::Action};

use self::{decide::decide, observe::observe, standing::standing};
use super::{Context, Error, work::act::apply};
use crate::api::BucketReplicationRule;

/// One look at a rule.
///
/// # Errors
/// What the API server says.
pub async fn reconcile(rule: Arc<BucketReplicationRule>, context: Arc<Context>) -> Result<Action, Error> {
    if !context.serves_namespace(&rule.namespace().unwrap_or_default()) {
        return Ok(Action::requeue(context.options.timing.recheck));
    }
    let observed = observe(&rule, &context).await;
    let standing = standing(&rule, &observed, &context);
    let decision = decide(&rule, &observed, standing, &context.options, Timestamp::now())?;
    let next_look = decision.next_look;
    Box::pin(apply(rule.as_ref(), decision, &context)).await?;
    Ok(Action::requeue(next_look))
}
