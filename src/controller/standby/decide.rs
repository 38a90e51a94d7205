//! What shall be: pure.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    annotations::malformed,
    made,
    observe::Observed,
    standing::Standing,
    status::{URGENT, View},
    task,
};
use crate::{
    api::{
        AcceptedMaster, ActivationStatus, DisasterRecoveryInstance, DisasterRecoveryInstanceStatus, Served,
        StandbyPhase,
        condition::{ACCEPTED, Verdict},
    },
    controller::{
        Error, Options,
        events::Announcement,
        status::{Said, conditions},
        work::{
            act::{self, Own},
            findings,
            next::{Need, Next, all, bounded, earliest, next},
            request,
            standing::{self, about},
            task::shift,
            words,
        },
    },
    rules::Objection,
    task::TaskMode,
};

/// What shall be done about a disaster recovery instance.
pub type Decision = act::Decision<DisasterRecoveryInstanceStatus>;

/// Decides on a disaster recovery instance.
///
/// # Errors
/// Never for tasks built here.
pub fn decide(
    standby: &DisasterRecoveryInstance,
    observed: &Observed,
    standing: Standing,
    options: &Options,
    now: Timestamp,
) -> Result<Decision, Error> {
    let mut decision = match standing {
        // What goes with its namespace is deleted next; nothing can be created or told there.
        _ if observed.terminating => Decision::default(),
        Standing::OtherRegion { silent: true } => Decision::default(),
        // Its worker ends; master and target stay as they are.
        _ if standby.metadata.deletion_timestamp.is_some() => {
            let status = standby.status.clone().unwrap_or_default();
            let status = DisasterRecoveryInstanceStatus { phase: Some(StandbyPhase::Deleting), ..status };
            Decision { status: Some(status), end: all(&observed.jobs), ..Decision::default() }
        }
        Standing::OtherRegion { silent: false } => {
            let said = standing::other_region(&standby.spec.region);
            Decision { status: Some(outside(standby, said, now)), ..Decision::default() }
        }
        Standing::Out(objection) => out(standby, observed, &objection, now),
        Standing::Accepted(master) => accepted(standby, observed, &master, options, now)?,
    };
    if let Some(status) = &decision.status {
        decision.announcements.extend(words::changes(standby.conditions(), &status.conditions));
        decision.announcements.extend(of_activation(standby, status.activation.as_ref()));
    }
    decision.next_look = bounded(decision.next_look, options);
    Ok(decision)
}

/// Status of one that is not accepted.
fn outside(
    standby: &DisasterRecoveryInstance,
    said: Vec<Said>,
    now: Timestamp,
) -> DisasterRecoveryInstanceStatus {
    let old = standby.status.clone().unwrap_or_default();
    let generation = standby.metadata.generation;
    DisasterRecoveryInstanceStatus {
        observed_generation: generation,
        phase: Some(StandbyPhase::Pending),
        conditions: conditions(&old.conditions, generation, now, said),
        activation: old.activation,
        last_run_request: old.last_run_request,
        ..DisasterRecoveryInstanceStatus::default()
    }
}

fn out(
    standby: &DisasterRecoveryInstance,
    observed: &Observed,
    objection: &Objection,
    now: Timestamp,
) -> Decision {
    Decision {
        status: Some(outside(standby, standing::out(objection), now)),
        end: all(&observed.jobs),
        // What it waits for is watched; this is for what was missed.
        next_look: Duration::from_secs(15),
        ..Decision::default()
    }
}

fn accepted(
    standby: &DisasterRecoveryInstance,
    observed: &Observed,
    master: &AcceptedMaster,
    options: &Options,
    now: Timestamp,
) -> Result<Decision, Error> {
    let message = format!(
        "{} in region {} follows {} in region {}",
        about(standby),
        standby.spec.region,
        standby.spec.master_ref.name,
        master.region
    );
    let view = View::new(standby, observed, master.clone(), (&options.timing, now));
    let told = view.accepted((ACCEPTED, Verdict::True, "Accepted".to_owned(), message));
    let odd = request::malformed(standby).into_iter().chain(malformed(standby));
    let mut decision = Decision {
        news: odd.chain(findings::news(standby, view.is_measured())).collect(),
        ..Decision::default()
    };
    let mut looks = vec![told.look];
    let activation = view.activation();
    if activation.is_some_and(|activation| activation.activated_at.is_some()) {
        decision.end = all(&observed.jobs);
        let is_made = activation.is_some_and(|activation| activation.instance_ref.is_some());
        if !is_made && observed.namesake.is_none() {
            decision.own.push(Own::Instance(Box::new(made::instance(standby, view.version()))));
        }
    } else {
        let next = next_job(standby, observed, (master, activation), options, now)?;
        (decision.start, decision.end) = (next.start, next.end);
        looks.push(next.look);
    }
    decision.status = Some(told.status);
    decision.next_look = earliest(&looks, now);
    Ok(decision)
}

/// The request, and the receipt (`D12`).
fn of_activation(standby: &DisasterRecoveryInstance, new: Option<&ActivationStatus>) -> Vec<Announcement> {
    let old = standby.status.as_ref().and_then(|status| status.activation.as_ref());
    let Some(new) = new else { return Vec::new() };
    let requested = old.is_none().then(|| {
        let note = format!(
            "{}: it becomes an instance of its own, as was asked for at {}; this is never taken back",
            about(standby),
            new.requested_at
        );
        Announcement::normal("Activating", note)
    });
    let held = new.held.as_ref().filter(|held| old.and_then(|old| old.held.as_ref()) != Some(held));
    let held = held.filter(|_| new.activated_at.is_none()).map(|held| {
        Announcement::warning("ActivationHeld", format!("{}: its activation is held: {held}", about(standby)))
    });
    let done = old.is_none_or(|old| old.activated_at.is_none());
    let receipt = made::receipt(standby, new).filter(|_| done);
    requested.into_iter().chain(held).chain(receipt).collect()
}

fn next_job(
    standby: &DisasterRecoveryInstance,
    observed: &Observed,
    (master, activation): (&AcceptedMaster, Option<&ActivationStatus>),
    options: &Options,
    now: Timestamp,
) -> Result<Next, Error> {
    let length = shift(standby, options);
    let urgent = activation.map(|activation| format!("{URGENT}{}", activation.requested_at));
    let need = Need {
        task: &task::follow(standby, master, options),
        work: &task::work(standby, master, length),
        mode: TaskMode::Shift { seconds: length.as_secs() },
        // Of cycles that are Jobs of their own only.
        interval: length,
        jobs: &observed.jobs,
        last_cycle: None,
        last_run: observed.last_run.as_deref(),
        // A store that doesn't answer is nothing to databases.
        regions: None,
        urgent: urgent.as_deref(),
        blocked: false,
    };
    next(standby, &need, options, now)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
