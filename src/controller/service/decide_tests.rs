use super::*;
use crate::{
    api::{
        DatabaseInstance, Region,
        condition::{READY, RECONCILING, STALLED, find},
    },
    controller::{Timing, breaker::Pauses, names},
    rules::Objection,
};

const NOW: &str = "2026-11-21T08:00:00Z";

fn read<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_yaml_ng::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

fn service(metadata: &str, more: &str) -> BackupSyncService {
    read(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: BackupSyncService
metadata:
  name: copy
  namespace: shop
  uid: uid-of-copy
  generation: 1
  creationTimestamp: \"2026-11-20T08:00:00Z\"
  finalizers: [farshore.dev/purge]
  {metadata}
spec:
  instanceRef: {{name: orders}}
  target: {{region: east, bucket: dr-backups, prefix: orders/, credentials: {{secretRef: {{name: target}}}}}}
  {more}
status:
  source: {{region: north, endpoint: \"http://north:9000\", bucket: backups, prefix: orders/, instanceUid: i}}
"
    ))
}

fn source() -> AcceptedSource {
    service("", "").status.unwrap().source.unwrap()
}

fn region(name: &str, ready: &str) -> Region {
    read(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: Region
metadata: {{name: {name}, generation: 1}}
spec: {{objectStore: {{endpoint: \"http://{name}:9000\"}}}}
status:
  observedGeneration: 1
  conditions:
  - {{type: Ready, status: '{ready}', reason: StoreUnreachable, message: {name} does not answer, lastTransitionTime: \"{NOW}\"}}
"
    ))
}

fn observed() -> Observed {
    let instance: DatabaseInstance = read(
        "apiVersion: farshore.dev/v1alpha1
kind: DatabaseInstance
metadata: {name: orders, namespace: shop, uid: i, generation: 1}
spec:
  engine: MySQL
  region: north
  backups: {format: MariaDBOperator, bucket: backups, prefix: orders/, credentials: {secretRef: {name: source}}}
",
    );
    Observed {
        instance: Instance::There(Box::new(instance)),
        source_region: Some(region("north", "True")),
        target_region: Some(region("east", "True")),
        syncs: Vec::new(),
        purges: Vec::new(),
        sync_pods: 0,
        words: None,
        proved: None,
        restores: Vec::new(),
        terminating: false,
        last_run: None,
    }
}

fn decided(service: &BackupSyncService, observed: &Observed, standing: Standing) -> Decision {
    let options = Options {
        timing: Timing { probes: Some(Pauses::default()), ..Timing::default() },
        ..Options::default()
    };
    decide(service, observed, standing, &options, NOW.parse().unwrap()).unwrap()
}

fn ready(decision: &Decision) -> (String, String) {
    let ready = find(&decision.status.as_ref().unwrap().conditions, READY).unwrap();
    (ready.status.clone(), ready.reason.clone())
}

fn accepted() -> Standing {
    Standing::Accepted { source: source() }
}

#[test]
fn b01_an_accepted_service_is_protected_before_its_first_job_starts() {
    let decision = decided(&service("", ""), &observed(), accepted());
    assert_eq!(decision.finalizer, Some(true));
    assert!(decision.start.is_some());
    assert_eq!(ready(&decision), ("False".to_owned(), "FirstSync".to_owned()));
    assert_eq!(decision.announcements[0].reason, "Accepted");
    let retain = decided(&service("", "deletionPolicy: Retain"), &observed(), accepted());
    assert_eq!(retain.finalizer, Some(false), "nothing will be purged");
}

#[test]
fn p08_no_job_starts_for_a_region_that_does_not_answer() {
    for side in ["north", "east"] {
        let mut found = observed();
        if side == "north" {
            found.source_region = Some(region("north", "False"));
        } else {
            found.target_region = Some(region("east", "False"));
        }
        let decision = decided(&service("", ""), &found, accepted());
        assert!(decision.start.is_none());
        assert_eq!(ready(&decision).1, "StoreUnreachable");
        let status = decision.status.unwrap();
        assert!(
            find(&status.conditions, RECONCILING).is_some() && find(&status.conditions, STALLED).is_none()
        );
    }
}

#[test]
fn p01_what_is_refused_is_stalled_and_what_waits_is_reconciling() {
    for (waiting, there, absent) in [(true, RECONCILING, STALLED), (false, STALLED, RECONCILING)] {
        let standing = Standing::Out(Objection { waiting, reason: "Reason", message: "why".to_owned() });
        let decision = decided(&service("", ""), &observed(), standing);
        let status = decision.status.as_ref().unwrap();
        assert!(find(&status.conditions, there).is_some() && find(&status.conditions, absent).is_none());
        assert!(status.source.is_some(), "what was accepted before stays known for the purge");
        assert!(decision.start.is_none());
    }
}

#[test]
fn b10_an_instance_that_is_gone_takes_its_service_along_after_the_grace_only() {
    for (since, delete) in [("2026-11-21T07:59:00Z", false), ("2026-11-21T07:54:00Z", true)] {
        let gone_since = Some(Time(since.parse().unwrap()));
        let standing = Standing::Orphaned { source: AcceptedSource { gone_since, ..source() }, gone: true };
        let found = Observed { instance: Instance::Gone, ..observed() };
        let decision = decided(&service("", ""), &found, standing);
        assert_eq!(decision.delete, delete, "{since}");
        assert_eq!(ready(&decision).1, "InstanceGone");
        assert!(decision.end.is_empty(), "what runs goes on");
    }
    // One that is there and can't be read is not gone.
    let found = Observed { instance: Instance::Unreadable, ..observed() };
    let standing = Standing::Orphaned { source: source(), gone: false };
    assert!(!decided(&service("", ""), &found, standing).delete);
}

#[test]
fn b11_what_becomes_of_a_deleted_service() {
    let deleted = "deletionTimestamp: \"2026-11-21T07:59:30Z\"";
    let abandoned = |at: &str| format!("{deleted}\n  annotations: {{farshore.dev/abandon-purge: \"{at}\"}}");
    let cases = [
        (deleted.to_owned(), "", None, "PurgeStarted", true),
        (deleted.to_owned(), "deletionPolicy: Retain", Some(false), "Retained", false),
        (deleted.to_owned(), "purgeDelay: 1h", None, "PurgeDelayed", false),
        (abandoned("2026-11-21T07:59:30Z"), "", Some(false), "PurgeAbandoned", false),
        (abandoned("2026-11-21T07:59:29Z"), "", None, "PurgeStarted", true),
    ];
    for (metadata, more, finalizer, event, starts) in cases {
        let decision = decided(&service(&metadata, more), &observed(), accepted());
        assert_eq!(decision.finalizer, finalizer, "{metadata} {more}");
        assert_eq!(decision.start.is_some(), starts, "{metadata} {more}");
        let told = decision.announcements.first().map(|told| told.reason.as_str()).unwrap_or_default();
        assert_eq!(told, event, "{metadata} {more}");
    }
}

#[test]
fn b11_a_namespace_that_goes_is_never_held_up() {
    let deleted = service("deletionTimestamp: \"2026-11-21T07:59:30Z\"", "");
    for down in [None, Some(region("east", "False"))] {
        let found = Observed { terminating: true, sync_pods: 1, target_region: down, ..observed() };
        for standing in [accepted(), Standing::OtherRegion { silent: true }] {
            let decision = decided(&deleted, &found, standing);
            assert_eq!(decision.finalizer, Some(false));
            assert!(decision.start.is_none() && decision.status.is_none());
            assert!(decision.obituary.unwrap().note.contains("s3://dr-backups/orders/"));
        }
    }
    // Before its turn comes, nothing is created or told there.
    let found = Observed { terminating: true, ..observed() };
    let decision = decided(&service("", ""), &found, accepted());
    assert!(decision.start.is_none() && decision.status.is_none() && decision.announcements.is_empty());
}

#[test]
fn b11_a_purge_waits_for_the_worker_and_says_what_blocks_it() {
    let deleted = service("deletionTimestamp: \"2026-11-21T07:59:30Z\"", "");
    let busy = decided(&deleted, &Observed { sync_pods: 1, ..observed() }, accepted());
    assert!(busy.start.is_none());
    let down = Observed { target_region: Some(region("east", "False")), ..observed() };
    let blocked = decided(&deleted, &down, accepted());
    assert!(blocked.start.is_none());
    let status = blocked.status.unwrap();
    let condition = find(&status.conditions, crate::api::condition::PURGE_BLOCKED).unwrap();
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("True", "StoreUnreachable"));
    assert!(condition.message.contains("farshore.dev/abandon-purge"));
}

#[test]
fn p02_p05_what_the_rules_say_is_in_both_conditions_and_in_one_event() {
    let message = "DatabaseInstance orders is Stopped; start it".to_owned();
    let standing =
        Standing::Out(Objection { waiting: true, reason: "InstanceNotRunning", message: message.clone() });
    let mut service = service("", "");
    let decision = decided(&service, &observed(), standing.clone());
    let status = decision.status.unwrap();
    for type_ in [READY, ACCEPTED] {
        let said = find(&status.conditions, type_).unwrap();
        let found = (said.status.as_str(), said.reason.as_str(), &said.message);
        assert_eq!(found, ("False", "InstanceNotRunning", &message));
    }
    assert_eq!(decision.announcements, [Announcement::warning("InstanceNotRunning", message)]);
    service.status = Some(status);
    assert!(decided(&service, &observed(), standing).announcements.is_empty(), "told once");
}

/// A service whose run has reported this failure.
fn failing(side: &str, reason: &str, permanent: bool) -> BackupSyncService {
    let mut service = service("", "");
    let now: Timestamp = NOW.parse().unwrap();
    let report = serde_json::json!({
        "runID": names::run_id("uid-of-copy", now, None), "generation": 1, "reportedAt": NOW,
        "failure": {
            "side": side, "reason": reason, "permanent": permanent, "since": NOW,
            "message": format!("{side} store: refused: s3://dr-backups/{}; do something", "k".repeat(900)),
        },
    });
    service.metadata.name = Some("n".repeat(253));
    service.status.as_mut().unwrap().observed = serde_json::from_value(report).unwrap();
    service
}

#[test]
fn p02_p05_what_a_worker_meets_is_in_three_conditions_and_in_one_event() {
    let keys = |secret: &str| format!("; do something; its keys are in Secret {secret}");
    let cases = [
        ("Source", "CredentialsRefused", false, keys("source")),
        ("Target", "CredentialsRefused", false, keys("target")),
        // The target is read-only to these keys.
        ("Target", "AccessDenied", false, keys("target")),
        ("Target", "StoreFull", true, "; do something".to_owned()),
        ("Target", "ObjectLocked", true, "; do something".to_owned()),
        ("Source", "BucketNotFound", true, "; do something".to_owned()),
        ("Source", "ClockSkew", true, "; do something".to_owned()),
    ];
    for (side, reason, permanent, step) in cases {
        let decision = decided(&failing(side, reason, permanent), &observed(), accepted());
        let status = decision.status.unwrap();
        let kstatus = if permanent { STALLED } else { RECONCILING };
        let reachable = if side == "Source" { "SourceReachable" } else { "TargetReachable" };
        for (type_, verdict) in [(READY, "False"), (reachable, "False"), (kstatus, "True")] {
            let said = find(&status.conditions, type_).unwrap();
            assert_eq!((said.status.as_str(), said.reason.as_str()), (verdict, reason), "{type_}");
            assert!(said.message.starts_with(&format!("service {}: ", "n".repeat(253))), "{}", said.message);
            assert!(said.message.ends_with(&step), "{}", said.message);
        }
        let told: Vec<_> = decision.announcements.iter().filter(|told| told.reason == reason).collect();
        assert_eq!(told.len(), 1, "{:?}", decision.announcements);
        assert!(told[0].warning && told[0].note.ends_with(&step), "{}", told[0].note);
    }
}

#[test]
fn p02_p05_a_regions_clock_that_is_off_needs_a_person() {
    let mut east = region("east", "False");
    let conditions = &mut east.status.as_mut().unwrap().conditions;
    let message = "the clock of region east's store is 20 min ahead of ours; set the clocks";
    for type_ in [READY, STALLED] {
        let verdict = Verdict::from(type_ == STALLED);
        crate::api::condition::set(
            conditions,
            Some(1),
            Timestamp::UNIX_EPOCH,
            (type_, verdict, "ClockSkew", message.to_owned()),
        );
    }
    let decision =
        decided(&service("", ""), &Observed { target_region: Some(east), ..observed() }, accepted());
    assert!(decision.start.is_none());
    assert_eq!(ready(&decision), ("False".to_owned(), "ClockSkew".to_owned()));
    assert!(find(&decision.status.unwrap().conditions, STALLED).is_some());
    assert!(decision.announcements.contains(&Announcement::warning("ClockSkew", message)));
}
