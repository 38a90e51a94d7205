//! What is known of an activation: asked for once, told by the worker, never taken back.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{made::is_made_of, observe::Observed};
use crate::api::{
    ActivationReceipt, ActivationStatus, DataLoss, DisasterRecoveryInstance, LocalReference, Moment,
    StandbyReport, StandbyState,
};

/// The activation as it is now. It is decided at the first sight of `state: Active`, of a copy that is complete: else
/// it would come about some day, when nobody thinks of it any more.
#[must_use]
pub fn activation(
    standby: &DisasterRecoveryInstance,
    observed: &Observed,
    (known, seeded): (Option<&StandbyReport>, bool),
    now: Timestamp,
) -> Option<ActivationStatus> {
    let old = standby.status.as_ref().and_then(|status| status.activation.clone());
    let told = known.and_then(|known| known.activation.as_ref());
    let wanted = standby.spec.state == StandbyState::Active && seeded;
    let requested_at = match (&old, told) {
        (Some(old), _) => old.requested_at,
        (None, Some(told)) => told.requested_at,
        (None, None) if wanted => Moment(now),
        (None, None) => return None,
    };
    let before = old.unwrap_or_else(|| asked(requested_at));
    let instance_ref = before.instance_ref.clone().or_else(|| made(standby, observed));
    if before.activated_at.is_some() {
        return Some(ActivationStatus { instance_ref, ..before });
    }
    let Some(told) = told else { return Some(before) };
    let step = ActivationStatus { step: Some(told.step), held: told.held.clone(), ..before };
    Some(told.receipt.as_ref().map_or_else(|| step.clone(), |receipt| done(step.clone(), receipt)))
}

fn asked(requested_at: Moment) -> ActivationStatus {
    ActivationStatus {
        requested_at,
        step: None,
        held: None,
        activated_at: None,
        duration: None,
        drain: None,
        data_time_point: None,
        master_time: None,
        data_loss: None,
        instance_ref: None,
    }
}

fn done(step: ActivationStatus, receipt: &ActivationReceipt) -> ActivationStatus {
    ActivationStatus {
        held: None,
        activated_at: Some(receipt.activated_at),
        duration: Some(seconds(receipt.took_milliseconds)),
        drain: Some(seconds(receipt.drain_milliseconds)),
        data_time_point: Some(receipt.data_time_point),
        master_time: receipt.master_time,
        data_loss: Some(DataLoss { at_least: at_least(receipt), proved: receipt.proved }),
        ..step
    }
}

/// The time from the last change that is here to the last one that is known of.
fn at_least(receipt: &ActivationReceipt) -> Option<String> {
    if receipt.proved {
        return Some("0s".to_owned());
    }
    let behind = receipt.master_time?.0.duration_since(receipt.data_time_point.0).max(SignedDuration::ZERO);
    Some(seconds(u64::try_from(behind.as_millis()).unwrap_or_default()))
}

/// `1.4s`.
fn seconds(milliseconds: u64) -> String {
    let text = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

fn made(standby: &DisasterRecoveryInstance, observed: &Observed) -> Option<LocalReference> {
    let namesake = observed.namesake.as_ref().filter(|namesake| is_made_of(namesake, standby))?;
    Some(LocalReference { name: namesake.name_any() })
}
