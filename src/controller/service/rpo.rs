//! Whether the newest restorable moment is near enough (`B09`), and when that would change.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::measured::Measured;
use crate::{
    api::{
        BackupSyncService, Cycle, DatabaseInstance, TimePointBasis,
        condition::{Verdict, WITHIN_RPO},
    },
    controller::status::{Said, keep},
};

/// What the condition says, and when it would turn by itself.
pub fn within_rpo(
    service: &BackupSyncService,
    instance: Option<&DatabaseInstance>,
    (measured, current): (Option<&Measured>, bool),
    now: Timestamp,
) -> (Said, Option<Timestamp>) {
    let cycle = measured.map(|measured| &measured.cycle);
    let rpo = service.spec.rpo.get();
    let name = service.name_any();
    let latest = cycle.and_then(|cycle| cycle.latest_data_time_point.as_ref()).map(|time| time.0);
    let Some((cycle, latest)) = cycle.zip(latest) else {
        let created = service.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
        let breaks = created + rpo;
        if breaks <= now {
            let message = format!(
                "service {name} has existed for longer than its rpo of {} and nothing can be restored yet; see condition Ready",
                service.spec.rpo
            );
            return (said(Verdict::False, "NeverSynced", message), None);
        }
        let message = format!(
            "nothing can be restored yet; the rpo of {} counts from the creation of service {name}",
            service.spec.rpo
        );
        return (said(Verdict::Unknown, "FirstSync", message), Some(breaks));
    };
    let known = cycle.covered_until.as_ref().map_or(latest, |covered| covered.0.max(latest));
    let breaks = known + rpo;
    let estimated =
        if cycle.basis == TimePointBasis::Estimated { " (estimated: the format can't prove it)" } else { "" };
    if now <= breaks {
        let message =
            format!("data is restorable up to {latest}{estimated}, within the rpo of {}", service.spec.rpo);
        return (said(Verdict::True, "Recent", message), Some(breaks + SignedDuration::from_secs(1)));
    }
    // A new run has not asked the engine yet; what the last one found out holds until its first cycle ends.
    let old = service.status.as_ref().filter(|_| current && measured.is_some_and(|measured| !measured.fresh));
    if let Some(kept) = old.and_then(|old| keep(&old.conditions, WITHIN_RPO)) {
        return (kept, None);
    }
    let (verdict, reason, why) = blame(service, instance, (cycle, current), latest);
    let message = format!(
        "service {name}: data is restorable up to {latest}{estimated}, further back than the rpo of {}: {why}",
        service.spec.rpo
    );
    (said(verdict, reason, message), None)
}

fn said(verdict: Verdict, reason: &str, message: String) -> Said {
    (WITHIN_RPO, verdict, reason.to_owned(), message)
}

/// Whose fault it is: the source made nothing newer, or the copy is behind.
fn blame(
    service: &BackupSyncService,
    instance: Option<&DatabaseInstance>,
    (cycle, current): (&Cycle, bool),
    latest: Timestamp,
) -> (Verdict, &'static str, String) {
    let name = &service.spec.instance_ref.name;
    if !current {
        return (
            Verdict::False,
            "NotKeptCurrent",
            "the copy is not kept current now; see condition Ready".to_owned(),
        );
    }
    let behind = cycle.source_latest_time.as_ref().is_some_and(|source| source.0 > latest);
    if behind {
        return (Verdict::False, "CopyBehind", "the source's store holds newer data, the copy is behind; see rateLimits and status.observed.progress".to_owned());
    }
    let asked = instance
        .and_then(|instance| instance.spec.endpoint.as_ref())
        .is_some_and(|endpoint| endpoint.credentials.is_some());
    if let Some(why) = cycle.engine_unasked.as_ref().filter(|_| asked) {
        return (
            Verdict::Unknown,
            "EngineNotAsked",
            format!(
                "the copy holds all that the source's store has, and the engine can't be asked whether its log stands still: {why}; check spec.endpoint of DatabaseInstance {name}"
            ),
        );
    }
    if !asked {
        return (
            Verdict::Unknown,
            "SourceIdleOrSilent",
            format!(
                "the copy holds all that the source's store has; set spec.endpoint with credentials of DatabaseInstance {name}, so that an idle database can be told from backups that stopped"
            ),
        );
    }
    (
        Verdict::False,
        "SourceBehind",
        format!(
            "the engine has written more, but its newest backup or log is not in the source's store; check the backup tool of DatabaseInstance {name}"
        ),
    )
}
