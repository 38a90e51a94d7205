//! What is known of an instance.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    api::{
        DatabaseInstance, DatabaseInstanceStatus, InstancePhase, Region,
        condition::{READY, RECONCILING, Verdict, find},
    },
    controller::{
        events::Announcement,
        status::{Said, conditions},
    },
    rules::{Claim, StandbyClaim, eligibility, instance_phase},
};

/// What was found.
pub struct Found {
    /// Answer of the endpoint, if there is one to ask.
    pub answer: Option<Result<(), String>>,
    pub region: Option<Region>,
    pub claims: Vec<Claim>,
    pub standbys: Vec<StandbyClaim>,
}

/// Decides on an instance's status.
#[must_use]
pub fn decide(instance: &DatabaseInstance, found: &Found, now: Timestamp) -> DatabaseInstanceStatus {
    let Found { answer, region, claims, standbys } = found;
    let old = instance.status.clone().unwrap_or_default();
    let phase = match answer {
        Some(Ok(())) => Some(InstancePhase::Running),
        Some(Err(_)) => Some(InstancePhase::Unreachable),
        None => instance_phase(instance),
    };
    let generation = instance.metadata.generation;
    let mut next = instance.clone();
    next.status = Some(DatabaseInstanceStatus {
        observed_generation: generation,
        phase,
        backup_sync: None,
        recovery: None,
        endpoint: None,
        observed: None,
        last_run_request: None,
        conditions: conditions(&old.conditions, generation, now, said(instance, found, phase)),
    });
    let backup_sync = eligibility(&next, region.as_ref(), claims, standbys);
    next.status
        .map(|status| DatabaseInstanceStatus { backup_sync: Some(backup_sync), ..status })
        .unwrap_or_default()
}

/// One Event a change of reason; the first good answer is none, nor is a question that is still open.
#[must_use]
pub fn change(instance: &DatabaseInstance, new: &DatabaseInstanceStatus) -> Option<Announcement> {
    let old = instance.status.as_ref().and_then(|status| find(&status.conditions, READY));
    let ready = find(&new.conditions, READY).filter(|new| old.is_none_or(|old| old.reason != new.reason))?;
    match ready.status.as_str() {
        "False" => Some(Announcement::warning(&ready.reason, &ready.message)),
        "True" if old.is_some_and(|old| old.status == "False") => {
            let note = format!("instance {}: {}", instance.name_any(), ready.message);
            Some(Announcement::normal("Running", note))
        }
        _ => None,
    }
}

fn said(instance: &DatabaseInstance, found: &Found, phase: Option<InstancePhase>) -> Vec<Said> {
    let name = instance.name_any();
    if found.region.is_none() {
        let message = format!(
            "instance {name}: there is no Region {}; ask an administrator to create it, or correct spec.region",
            instance.spec.region
        );
        return vec![
            (READY, Verdict::False, "UnknownRegion".to_owned(), message.clone()),
            (RECONCILING, Verdict::True, "UnknownRegion".to_owned(), message),
        ];
    }
    let uri = instance.spec.endpoint.as_ref().map(|endpoint| endpoint.uri.as_str()).unwrap_or_default();
    let (verdict, reason, message) = match (phase, &found.answer) {
        (Some(InstancePhase::Running), Some(_)) => (Verdict::True, "Answers", format!("{uri} answers")),
        (Some(InstancePhase::Running), None) => (Verdict::True, "Declared", "declared to run".to_owned()),
        (Some(InstancePhase::Stopped), _) => (
            Verdict::False,
            "Stopped",
            format!("instance {name} is declared to be stopped; set declaredState: Running once it runs"),
        ),
        (_, Some(Err(why))) => (
            Verdict::False,
            "Unreachable",
            format!("instance {name}: {uri} does not answer: {why}; start it, or correct spec.endpoint.uri"),
        ),
        _ => (Verdict::Unknown, "NotAsked", format!("instance {name} has not been asked yet")),
    };
    vec![(READY, verdict, reason.to_owned(), message)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(more: &str) -> DatabaseInstance {
        serde_yaml_ng::from_str(&format!(
            "apiVersion: farshore.dev/v1alpha1
kind: DatabaseInstance
metadata: {{name: orders, namespace: shop, generation: 3}}
spec:
  engine: MySQL
  region: north
  backups: {{format: MariaDBOperator, bucket: backups, prefix: orders/, credentials: {{secretRef: {{name: source}}}}}}
  {more}
"
        ))
        .unwrap()
    }

    fn north() -> Region {
        serde_yaml_ng::from_str(
            "apiVersion: farshore.dev/v1alpha1\nkind: Region\nmetadata: {name: north}\nspec: {objectStore: {endpoint: \"http://north\"}}\n",
        )
        .unwrap()
    }

    #[test]
    fn b12_the_phase_is_asked_at_the_endpoint_else_declared() {
        let asked = "endpoint: {uri: \"mysql://orders:3306\"}";
        let cases = [
            ("", None, Some(InstancePhase::Running), "Eligible", "True"),
            ("declaredState: Stopped", None, Some(InstancePhase::Stopped), "NotRunning", "False"),
            (asked, Some(Ok(())), Some(InstancePhase::Running), "Eligible", "True"),
            (asked, Some(Err("refused".to_owned())), Some(InstancePhase::Unreachable), "NotRunning", "False"),
        ];
        for (more, answer, phase, reason, ready) in cases {
            let found = Found { answer, region: Some(north()), claims: Vec::new(), standbys: Vec::new() };
            let status = decide(&instance(more), &found, Timestamp::UNIX_EPOCH);
            assert_eq!(status.phase, phase);
            assert_eq!(status.observed_generation, Some(3));
            assert_eq!(status.backup_sync.unwrap().reason, reason, "{more}");
            assert_eq!(status.conditions[0].status, ready);
        }
    }

    #[test]
    fn b05_p05_an_instance_that_stops_is_told_of_once_and_so_is_its_return() {
        let mut orders = instance("endpoint: {uri: \"mysql://orders:3306\"}");
        let refused = || Some(Err("connection refused".to_owned()));
        let mut told = Vec::new();
        for answer in [Some(Ok(())), refused(), refused(), Some(Ok(()))] {
            let found = Found { answer, region: Some(north()), claims: Vec::new(), standbys: Vec::new() };
            let status = decide(&orders, &found, Timestamp::UNIX_EPOCH);
            told.push(change(&orders, &status));
            orders.status = Some(status);
        }
        let reasons: Vec<_> =
            told.iter().map(|told| told.as_ref().map(|told| told.reason.as_str())).collect();
        assert_eq!(reasons, [None, Some("Unreachable"), None, Some("Running")]);
        let note = &told[1].as_ref().unwrap().note;
        assert!(note.contains("instance orders") && note.contains("start it"), "{note}");
    }

    #[test]
    fn b04_an_unknown_region_is_named() {
        let found = Found { answer: None, region: None, claims: Vec::new(), standbys: Vec::new() };
        let status = decide(&instance(""), &found, Timestamp::UNIX_EPOCH);
        assert_eq!(status.backup_sync.as_ref().unwrap().reason, "UnknownRegion");
        let told = change(&instance(""), &status).unwrap();
        assert_eq!(told, Announcement::warning("UnknownRegion", &status.conditions[0].message));
        assert!(
            told.note.contains("instance orders") && told.note.contains("no Region north"),
            "{}",
            told.note
        );
        assert!(told.note.contains("create it, or correct spec.region"), "{}", told.note);
    }
}
