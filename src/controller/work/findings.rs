//! What a worker found that stops nothing: a condition while it is so, and one Event a reason.

use super::standing::about;
use crate::{
    api::{
        Served,
        condition::{self, FINDINGS, Verdict},
    },
    controller::{
        events::Announcement,
        status::{Said, keep},
    },
    task::shortened,
};

/// Of the texts of one reason: an Event holds as much besides two long names.
const LONGEST: usize = 700;
/// `Ready` says it.
const SAID_ELSEWHERE: &str = "NoFullBackup";

/// The condition. A run that has not ended a cycle yet (`measured` is false) knows of nothing: what was found
/// before stays.
#[must_use]
pub fn condition<K: Served>(object: &K, measured: bool) -> Option<Said> {
    if !measured {
        return keep(object.conditions(), FINDINGS);
    }
    let texts = texts(object);
    let reason = texts.first()?.0.to_owned();
    let all: Vec<_> = texts.into_iter().map(|(_, text)| text).collect();
    let message = format!("{}: {}", about(object), all.join("; "));
    Some((FINDINGS, Verdict::True, reason, message))
}

/// What the condition does not say yet.
#[must_use]
pub fn news<K: Served>(object: &K, measured: bool) -> Vec<(String, Announcement)> {
    if !measured {
        return Vec::new();
    }
    let old = condition::find(object.conditions(), FINDINGS);
    let fresh = |text: &str| old.is_none_or(|old| !old.message.contains(text));
    let told = texts(object).into_iter().filter(|(_, text)| fresh(text));
    let note = |text: &str| format!("{}: {text}", about(object));
    told.map(|(reason, text)| (reason.to_owned(), Announcement::warning(reason, note(&text)))).collect()
}

/// One text a reason, in the worker's order.
fn texts<K: Served>(object: &K) -> Vec<(&str, String)> {
    let report = object.observed();
    let findings = report.map(|report| report.findings.as_slice()).unwrap_or_default();
    let mut texts: Vec<(&str, String)> = Vec::new();
    for found in findings.iter().filter(|found| found.reason != SAID_ELSEWHERE) {
        match texts.iter_mut().find(|(reason, _)| *reason == found.reason) {
            Some((_, text)) => *text = format!("{text}; {}", found.message),
            None => texts.push((&found.reason, found.message.clone())),
        }
    }
    texts.into_iter().map(|(reason, text)| (reason, shortened(&text, LONGEST))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::BackupSyncService,
        controller::{names, status::conditions},
    };

    const NOW: &str = "2026-11-21T08:00:00Z";

    fn reporting(findings: &[(&str, &str)], cycle: bool) -> BackupSyncService {
        let now: jiff::Timestamp = NOW.parse().unwrap();
        let findings: Vec<Value> =
            findings.iter().map(|(reason, message)| json!({"reason": reason, "message": message})).collect();
        let cycle = cycle.then(|| {
            json!({
                "startedAt": NOW, "completedAt": NOW, "basis": "Proved",
                "backups": {"full": 1, "incremental": 0, "logs": 3, "bytes": 5},
                "usage": {"storedBytes": 5, "transferredBytes": 5}, "pending": {"objects": 0, "bytes": 0},
            })
        });
        serde_json::from_value(json!({
            "apiVersion": "farshore.dev/v1alpha1", "kind": "BackupSyncService",
            "metadata": {"name": "copy", "namespace": "shop", "uid": "u"},
            "spec": {"instanceRef": {"name": "orders"}, "target": {
                "region": "east", "bucket": "dr", "credentials": {"secretRef": {"name": "target"}},
            }},
            "status": {"observed": {
                "runID": names::run_id("u", now, None), "generation": 1, "reportedAt": NOW,
                "cycle": cycle, "findings": findings,
            }},
        }))
        .unwrap()
    }

    fn is_measured(service: &BackupSyncService) -> bool {
        service.observed().is_some_and(|report| report.cycle.is_some())
    }

    fn told(service: &BackupSyncService) -> Vec<(String, String)> {
        news(service, is_measured(service)).into_iter().map(|(_, told)| (told.reason, told.note)).collect()
    }

    #[test]
    fn b16_p05_each_kind_of_finding_is_a_condition_and_one_event() {
        let all = [
            ("NoFullBackup", "no full backup yet"),
            ("BackupWithoutData", "backup b is left out; take another"),
            ("CorruptMetadata", "backup c is left out; take another"),
            ("CorruptMetadata", "backup d is left out; take another"),
        ];
        let mut service = reporting(&all, true);
        let (_, verdict, reason, message) = condition(&service, is_measured(&service)).unwrap();
        assert_eq!((verdict, reason.as_str()), (Verdict::True, "BackupWithoutData"));
        for (_, text) in &all[1..] {
            assert!(message.starts_with("service copy: ") && message.contains(text), "{message}");
        }
        let events = told(&service);
        let reasons: Vec<_> = events.iter().map(|(reason, _)| reason.as_str()).collect();
        assert_eq!(
            reasons,
            ["BackupWithoutData", "CorruptMetadata"],
            "Ready tells of the missing full backup"
        );
        assert!(events[1].1.contains("backup c is") && events[1].1.contains("backup d is"), "{events:?}");
        // Told once, by whichever controller.
        let said = vec![condition(&service, is_measured(&service)).unwrap()];
        service.status.as_mut().unwrap().conditions =
            conditions(&[], None, jiff::Timestamp::UNIX_EPOCH, said);
        assert_eq!(told(&service), []);
        // The next run has looked at nothing yet.
        let old = service.status.take().unwrap().conditions;
        let mut next = reporting(&[], false);
        next.status.as_mut().unwrap().conditions = old;
        assert_eq!(condition(&next, is_measured(&next)).unwrap().3, message);
        assert!(condition(&reporting(&[], true), true).is_none(), "gone with what was found");
    }

    #[test]
    fn p05_many_findings_fit_into_a_condition_and_an_event() {
        let long = "k".repeat(1024);
        let all = ["A", "B", "C", "D", "E", "F", "G", "H"].map(|reason| (reason, long.as_str()));
        let service = reporting(&all.repeat(4), true);
        assert!(condition(&service, is_measured(&service)).unwrap().3.len() < 32_768);
        assert!(told(&service).iter().all(|(_, note)| note.len() < 1000));
    }
}
