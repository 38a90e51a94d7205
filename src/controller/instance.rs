//! `DatabaseInstance`: whether it runs, and whether it can be given a service (`B12`).

mod database;
mod decide;
#[cfg(test)]
mod golden;
mod observe;
mod recovery;
mod task;
mod via;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Resource, ResourceExt, runtime::controller::Action};

use self::decide::{Found, change, decide};
use super::{
    Context, Error,
    context::{Asked, uid_of},
    names,
    probe::ask_database,
    status::publish,
    work::act::apply,
};
use crate::{
    api::{DatabaseInstance, InstancePhase},
    rules::{eligibility, instance_phase},
};

/// While somebody may be waiting for the answer.
const SOON: Duration = Duration::from_secs(30);
/// The workers ask the engine itself; this is only to show whether it answers.
const SELDOM: Duration = Duration::from_mins(5);

/// One look at an instance.
///
/// # Errors
/// What the API server says.
pub async fn reconcile(instance: Arc<DatabaseInstance>, context: Arc<Context>) -> Result<Action, Error> {
    if !context.serves_namespace(&instance.namespace().unwrap_or_default()) {
        return Ok(Action::requeue(context.options.timing.recheck));
    }
    if instance.spec.bootstrap.is_some() {
        return Box::pin(restored(&instance, &context)).await;
    }
    let pause = pause(&instance);
    let found = observe(&instance, &context, pause).await;
    let status = decide(&instance, &found, Timestamp::now());
    let api = context.api::<DatabaseInstance>(&instance.namespace().unwrap_or_default());
    if publish(&api, instance.as_ref(), instance.status.as_ref(), &status).await?
        && let Some(told) = change(&instance, &status)
    {
        context.recorder.announce(&instance.object_ref(&()), &told).await;
    }
    Ok(Action::requeue(if instance.spec.endpoint.is_some() { pause } else { context.options.timing.recheck }))
}

/// One look at an instance that is restored.
async fn restored(instance: &DatabaseInstance, context: &Context) -> Result<Action, Error> {
    let observed = observe::observe(instance, context).await?;
    let mut decision = recovery::decide(instance, &observed, &context.options, Timestamp::now())?;
    if let Some(status) = &mut decision.status {
        let mut next = instance.clone();
        next.status = Some(status.clone());
        let region = context.region(&instance.spec.region);
        status.backup_sync =
            Some(eligibility(&next, region.as_ref(), &context.claims(), &context.standby_claims()));
    }
    let next_look = decision.next_look;
    apply(instance, decision, context).await?;
    Ok(Action::requeue(if next_look.is_zero() { context.options.timing.recheck } else { next_look }))
}

/// Time between two questions: short until the instance runs and has a service.
fn pause(instance: &DatabaseInstance) -> Duration {
    let status = instance.status.as_ref();
    let has_service =
        status.and_then(|status| status.backup_sync.as_ref()).is_some_and(|sync| sync.service_ref.is_some());
    let settled = has_service && instance_phase(instance) == Some(InstancePhase::Running);
    let pause = if settled { SELDOM } else { SOON };
    pause
        + Duration::from_millis(names::spread(
            &uid_of(instance),
            u64::try_from(pause.as_millis() / 10).unwrap_or(0),
        ))
}

async fn observe(instance: &DatabaseInstance, context: &Context, pause: Duration) -> Found {
    Found {
        answer: answer(instance, context, pause).await,
        region: context.region(&instance.spec.region),
        claims: context.claims(),
        standbys: context.standby_claims(),
    }
}

async fn answer(
    instance: &DatabaseInstance,
    context: &Context,
    pause: Duration,
) -> Option<Result<(), String>> {
    let endpoint = instance.spec.endpoint.as_ref()?;
    let uid = uid_of(instance);
    let now = Timestamp::now();
    let known = context.asked(&uid).filter(|asked| asked.generation == instance.metadata.generation);
    if let Some(asked) = known.filter(|asked| asked.at + pause > now) {
        return Some(asked.answer);
    }
    let mut answer = ask_database(&endpoint.uri).await;
    if answer.is_err() {
        // One lost packet is no outage.
        answer = ask_database(&endpoint.uri).await;
    }
    context.keep_asked(
        &uid,
        Asked { generation: instance.metadata.generation, at: now, answer: answer.clone() },
    );
    Some(answer)
}
