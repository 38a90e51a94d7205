//! Region: one anonymous probe, and the breaker of all services there.

mod decide;

use std::sync::Arc;

use jiff::Timestamp;
use kube::{Api, Resource, ResourceExt, runtime::controller::Action};

use self::decide::{Decision, Found, decide, is_settled};
use super::{
    Context, Error,
    breaker::{Breaker, Pauses},
    names,
    probe::{Answer, NoAnswer, ask_store},
    status::publish,
};
use crate::api::Region;

/// One look at a region.
///
/// # Errors
/// What the API server says.
pub async fn reconcile(region: Arc<Region>, context: Arc<Context>) -> Result<Action, Error> {
    let Some(pauses) = context.options.timing.probes else {
        return Ok(Action::requeue(context.options.timing.recheck));
    };
    if !context.is_ours(region.metadata.labels.as_ref()) {
        return Ok(Action::requeue(context.options.timing.recheck));
    }
    let needed = is_needed(&region, &context);
    if !needed && is_settled(&region, Timestamp::now()) {
        return Ok(Action::requeue(context.options.timing.recheck));
    }
    let pauses = if needed { pauses } else { pauses.seldom() };
    let found = observe(&region, &context, (needed, &pauses)).await;
    let decision = decide(&region, found, Timestamp::now(), &pauses);
    apply(&region, &decision, &context).await?;
    Ok(Action::requeue(decision.next_look))
}

/// A controller needs the regions that it serves, and those that it copies from.
fn is_needed(region: &Region, context: &Context) -> bool {
    let name = region.name_any();
    context.options.serves(&name)
        || context.caches.instances.find(|instance| instance.spec.region == name).is_some()
        || context.caches.rules.find(|rule| rule.spec.source.region == name).is_some()
}

async fn observe(region: &Region, context: &Context, (needed, pauses): (bool, &Pauses)) -> Found {
    let breaker = context.breaker(region).unwrap_or_else(|| remembered(region));
    let breaker = breaker.within(pauses, Timestamp::now());
    let answer: Option<Result<Answer, NoAnswer>> = if breaker.is_due(Timestamp::now()) {
        Some(ask_store(&region.spec.object_store).await)
    } else {
        None
    };
    #[expect(clippy::cast_precision_loss, reason = "below 1000")]
    let jitter = names::spread(&format!("{}{}", region.name_any(), Timestamp::now().as_second()), 1000)
        as f64
        / 1000.0;
    Found { needed, breaker, answer, jitter }
}

/// What the status says of an outage: a restart of the controller starts no storm.
fn remembered(region: &Region) -> Breaker {
    let status =
        region.status.as_ref().filter(|status| status.observed_generation == region.metadata.generation);
    status.and_then(|status| status.outage.as_ref()).map_or_else(Breaker::default, |outage| Breaker {
        failures: outage.failures,
        since: Some(outage.since.0),
        next_probe: Some(outage.next_probe.0),
    })
}

async fn apply(region: &Region, decision: &Decision, context: &Context) -> Result<(), Error> {
    let Decision { status, breaker, announcements, next_look: _ } = decision;
    context.keep_breaker(region, breaker.clone());
    let Some(status) = status else { return Ok(()) };
    let api: Api<Region> = Api::all(context.client.clone());
    if publish(&api, region, region.status.as_ref(), status).await? {
        for announcement in announcements {
            context.recorder.announce(&region.object_ref(&()), announcement).await;
        }
    }
    Ok(())
}
