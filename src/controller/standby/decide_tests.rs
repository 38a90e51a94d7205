use kube::ResourceExt;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::condition::{
        FENCED, MASTER_REACHABLE, OPLOG_CONTIGUOUS, READY, READY_TO_ACTIVATE, RECONCILING, SEEDED, STALLED,
        find,
    },
    controller::{
        jobs::{JobState, JobView, PodView},
        names,
    },
    task::{Task, Work},
};

const NOW: &str = "2026-11-21T08:00:00Z";
const APPLIED: &str = "2026-11-21T07:59:58.5Z";
const UID: &str = "uid-of-copy";

fn read<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_yaml_ng::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn standby(metadata: &str, more: &str) -> DisasterRecoveryInstance {
    read(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: DisasterRecoveryInstance
metadata: {{name: copy, namespace: shop, uid: {UID}, generation: 1, creationTimestamp: \"2026-11-20T08:00:00Z\", {metadata}}}
spec:
  masterRef: {{name: sessions}}
  region: east
  target: {{existing: {{uri: \"mongodb://dr-0.east:27017/?replicaSet=dr\", credentials: {{secretRef: {{name: copy-account}}}}}}}}
  {more}
"
    ))
}

fn master() -> AcceptedMaster {
    read(
        "{instanceUID: u, region: north, version: \"7.0\", uri: \"mongodb://rs0-0.north/?replicaSet=rs0\", credentials: {secretRef: {name: master-account}}}",
    )
}

fn observed(jobs: Vec<JobView>) -> Observed {
    Observed {
        master: None,
        master_region: None,
        region: None,
        namesake: None,
        jobs,
        words: None,
        terminating: false,
        last_run: None,
    }
}

fn decided(standby: &DisasterRecoveryInstance, observed: &Observed) -> Decision {
    decide(standby, observed, Standing::Accepted(master()), &Options::default(), now()).unwrap()
}

/// Status and reason of a condition.
fn told(decision: &Decision, type_: &str) -> (String, String) {
    let conditions = &decision.status.as_ref().unwrap().conditions;
    find(conditions, type_).map(|c| (c.status.clone(), c.reason.clone())).unwrap_or_default()
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

/// The Job that would be started, as it is when its pod is ready, or has not been for some seconds.
fn job(standby: &DisasterRecoveryInstance, ready: bool, seconds: i64) -> JobView {
    let job = decided(standby, &observed(Vec::new())).start.expect("a first Job").job;
    let since = now() - jiff::SignedDuration::from_secs(seconds);
    let word = if ready { "True" } else { "False" };
    let pod: k8s_openapi::api::core::v1::Pod = read(&format!(
        "metadata: {{name: p, uid: p}}\nstatus: {{phase: Running, conditions: [{{type: Ready, status: '{word}', lastTransitionTime: \"{since}\"}}]}}\n"
    ));
    let mut view = JobView::new(&job, &[PodView::new(&pod)]);
    (view.uid, view.created) = ("job".to_owned(), since);
    view
}

fn at(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// A report of a copy that follows, with changes.
fn report(change: impl Fn(&mut Value)) -> Value {
    let mut observed = json!({
        "runID": names::run_id(UID, now(), None), "generation": 1, "reportedAt": NOW,
        "cycle": {
            "completedAt": NOW, "stage": "Following", "seededAt": "2026-11-20T09:00:00Z",
            "appliedTime": APPLIED, "masterTime": "2026-11-21T07:59:59Z", "oplogWindow": "26h",
            "fence": {"level": "WriteBlock"},
            "master": {"version": "7.0.14", "replicaSet": "rs0"}, "target": {"version": "7.0.12", "replicaSet": "dr"},
            "members": [{"name": "dr-0.east:27017", "role": "Primary", "healthy": true}],
            "counts": {"changes": 5, "transactions": 1, "repeated": 0, "refetched": 0},
        },
    });
    change(&mut observed);
    observed
}

fn reporting(standby: &DisasterRecoveryInstance, observed: Value) -> DisasterRecoveryInstance {
    let mut told = serde_json::to_value(standby).unwrap();
    told["status"]["observed"] = observed;
    serde_json::from_value(told).unwrap()
}

fn following(more: &str) -> DisasterRecoveryInstance {
    reporting(&standby("", more), report(|_| ()))
}

/// The same a look later.
fn next_look(standby: &DisasterRecoveryInstance, decision: &Decision) -> DisasterRecoveryInstance {
    let mut next = standby.clone();
    let seen = standby.status.as_ref().and_then(|status| status.observed.clone());
    next.status =
        decision.status.clone().map(|status| DisasterRecoveryInstanceStatus { observed: seen, ..status });
    next
}

fn events(decision: &Decision) -> Vec<&str> {
    decision.announcements.iter().map(|told| told.reason.as_str()).collect()
}

#[test]
fn d01_an_accepted_copy_gets_a_worker_whatever_the_object_stores_do() {
    let decision = decided(&standby("", ""), &observed(Vec::new()));
    let start = decision.start.as_ref().unwrap();
    let text = &start.config_map.data.as_ref().unwrap()[crate::task::TASK_KEY];
    let task: Task = serde_json::from_str(text).unwrap();
    let Work::Standby(work) = task.work else { panic!("{text}") };
    assert_eq!(work.master_uri, "mongodb://rs0-0.north/?replicaSet=rs0");
    assert_eq!(work.target_uri, "mongodb://dr-0.east:27017/?replicaSet=dr");
    assert!(work.master_credentials && work.target_credentials && !work.managed && work.resync.is_none());
    let pod = start.job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    let volumes = pod.volumes.as_ref().unwrap().iter();
    let secrets: Vec<_> = volumes.filter_map(|v| v.secret.as_ref()?.secret_name.as_deref()).collect();
    assert_eq!(secrets, ["copy-account", "master-account"]);
    assert_eq!(told(&decision, READY), is("False", "Seeding"));
    assert_eq!(decision.status.as_ref().unwrap().phase, Some(StandbyPhase::Pending));
}

#[test]
fn d09_a_copy_that_follows_shows_moments() {
    let copy = following("");
    let decision = decided(&copy, &observed(vec![job(&copy, true, 100)]));
    let status = decision.status.as_ref().unwrap();
    assert_eq!(status.phase, Some(StandbyPhase::Standby));
    assert_eq!(serde_json::to_value(status.last_applied_time).unwrap(), at(APPLIED));
    assert_eq!(status.oplog_window.clone().map(String::from).as_deref(), Some("26h"));
    assert_eq!((status.members.len(), status.seed.as_ref().unwrap().percent), (1, 100));
    assert_eq!(told(&decision, READY), is("True", "Follows"));
    for (type_, reason) in [
        (SEEDED, "Seeded"),
        (FENCED, "WriteBlock"),
        (READY_TO_ACTIVATE, "Follows"),
        (OPLOG_CONTIGUOUS, "Contiguous"),
    ] {
        assert_eq!(told(&decision, type_), is("True", reason));
    }
    assert!(decision.start.is_none() && decision.end.is_empty());
    let text = serde_json::to_string(status).unwrap().to_lowercase();
    assert!(!text.contains("\"lag"), "moments, not ages: {text}");
}

#[test]
fn d09_a_worker_that_is_silent_leaves_no_figure_behind() {
    let copy = following("");
    let told_by = |seconds| decided(&copy, &observed(vec![job(&copy, false, seconds)]));
    let within = told_by(5);
    assert!(within.status.as_ref().unwrap().last_applied_time.is_some(), "a pause is no silence");
    let decision = told_by(60);
    let status = decision.status.as_ref().unwrap();
    assert_eq!((status.last_applied_time, status.master_time), (None, None));
    assert!(status.oplog_window.is_none() && status.members.is_empty());
    assert_eq!(told(&decision, READY), is("False", "WorkerNotStarting"));
    for type_ in [FENCED, OPLOG_CONTIGUOUS, MASTER_REACHABLE] {
        assert_eq!(told(&decision, type_), is("Unknown", "NotTold"), "{type_}");
    }
    assert_eq!(told(&decision, READY_TO_ACTIVATE), is("False", "WorkerNotStarting"));
    assert_eq!(told(&decision, SEEDED), is("True", "Seeded"), "what was complete is complete");
}

/// A copy whose worker told something at `completed`, as it is when figures were shown up to now, or not.
fn told_at(completed: &str, shown: bool) -> DisasterRecoveryInstance {
    let report = report(|told| told["cycle"]["completedAt"] = at(completed));
    let copy = reporting(&standby("", ""), report);
    let serving = decided(&copy, &observed(vec![job(&copy, shown, 100)]));
    next_look(&copy, &serving)
}

#[test]
fn d09_an_old_word_counts_for_a_moment_and_does_not_come_back() {
    let (a_moment_ago, long_ago) = ("2026-11-21T07:59:40Z", "2026-11-21T07:50:00Z");
    for (before, worker, expected) in [
        (told_at(a_moment_ago, true), (false, 5), ("True", "Follows")),
        (told_at(long_ago, true), (false, 5), ("False", "Starting")),
        (told_at(a_moment_ago, false), (false, 5), ("False", "Starting")),
        (told_at(NOW, false), (false, 5), ("True", "Follows")),
        (told_at(long_ago, false), (true, 5), ("True", "Follows")),
    ] {
        let decision = decided(&before, &observed(vec![job(&before, worker.0, worker.1)]));
        let status = decision.status.as_ref().unwrap();
        assert_eq!(told(&decision, READY), is(expected.0, expected.1));
        assert_eq!(status.master_time.is_some(), expected.0 == "True");
        assert_eq!(told(&decision, OPLOG_CONTIGUOUS).0 == "True", expected.0 == "True");
    }
    let before = told_at(a_moment_ago, true);
    let decision = decided(&before, &observed(vec![job(&before, false, 5)]));
    assert!(decision.next_look <= Duration::from_secs(11), "it is taken away in time");
    let begun = reporting(&standby("", ""), report(|told| told["cycle"]["masterTime"] = Value::Null));
    let decision = decided(&begun, &observed(vec![job(&begun, true, 5)]));
    assert_eq!(told(&decision, READY), is("False", "Starting"), "the master has not been asked yet");
    assert!(decision.status.as_ref().unwrap().last_applied_time.is_some());
}

fn failing(side: &str, reason: &str, permanent: bool) -> DisasterRecoveryInstance {
    let failure = json!({"side": side, "reason": reason, "message": "rs0-0.north: refused; start it", "permanent": permanent, "since": NOW});
    reporting(&standby("", ""), report(|told| told["failure"] = failure.clone()))
}

#[test]
fn d09_a_master_that_does_not_answer_is_not_behind_by_nothing() {
    let copy = failing("Source", "MasterUnreachable", false);
    let decision = decided(&copy, &observed(vec![job(&copy, true, 100)]));
    let status = decision.status.as_ref().unwrap();
    assert_eq!(told(&decision, READY), is("False", "MasterUnreachable"));
    assert_eq!(told(&decision, MASTER_REACHABLE), is("False", "MasterUnreachable"));
    assert!(status.master_time.is_none() && status.oplog_window.is_none());
    assert!(status.last_applied_time.is_some(), "how far the copy is, is what counts now");
    assert_eq!(told(&decision, READY_TO_ACTIVATE), is("True", "Follows"), "this is what it is for");
    assert_eq!(told(&decision, RECONCILING), is("True", "MasterUnreachable"));
    let target = failing("Target", "TargetUnreachable", false);
    let decision = decided(&target, &observed(vec![job(&target, true, 100)]));
    assert!(decision.status.as_ref().unwrap().last_applied_time.is_none());
    assert_eq!(told(&decision, READY_TO_ACTIVATE), is("False", "TargetUnreachable"));
}

#[test]
fn d09_a_gap_in_the_oplog_is_said_and_copied_anew_only_when_somebody_asks() {
    let copy = failing("Source", "OplogGap", true);
    let waiting = decided(&copy, &observed(vec![job(&copy, true, 100)]));
    assert_eq!(waiting.status.as_ref().unwrap().phase, Some(StandbyPhase::Failed));
    assert_eq!(told(&waiting, OPLOG_CONTIGUOUS), is("False", "OplogGap"), "its worker waits for a person");
    assert!(waiting.start.is_none() && waiting.end.is_empty());
    let mut ended = job(&copy, false, 100);
    let words = None;
    ended.state = JobState::Failed { at: now(), code: Some(10), words, message: "it ended".to_owned() };
    let decision = decided(&copy, &observed(vec![ended.clone()]));
    assert_eq!(decision.status.as_ref().unwrap().phase, Some(StandbyPhase::Failed));
    assert_eq!(told(&decision, OPLOG_CONTIGUOUS), is("False", "OplogGap"));
    assert_eq!(told(&decision, STALLED), is("True", "OplogGap"));
    assert_eq!(told(&decision, READY_TO_ACTIVATE), is("False", "OplogGap"));
    assert_eq!(events(&decision).iter().filter(|reason| **reason == "OplogGap").count(), 1);
    assert!(decision.start.is_none() && decision.next_look >= Duration::from_secs(290), "no storm of Jobs");
    let mut asked = copy.clone();
    asked
        .annotations_mut()
        .insert(crate::api::RESYNC_REQUESTED.to_owned(), "2026-11-21T07:59:00Z".to_owned());
    let start = decided(&asked, &observed(vec![ended])).start.unwrap();
    let text = &start.config_map.data.as_ref().unwrap()[crate::task::TASK_KEY];
    assert!(text.contains("\"resync\": \"2026-11-21T07:59:00Z\""), "{text}");
}

#[test]
fn d03_what_was_asked_for_stays_and_the_running_worker_is_not_disturbed() {
    let copy = following("state: Active");
    // The Job was made while it was a standby: its task is the same.
    let running = job(&following(""), true, 100);
    let decision = decided(&copy, &observed(vec![running.clone()]));
    let status = decision.status.as_ref().unwrap();
    assert_eq!(status.phase, Some(StandbyPhase::Activating));
    assert_eq!(status.activation.as_ref().unwrap().requested_at.to_string(), NOW);
    assert!(decision.start.is_none() && decision.end.is_empty(), "the worker sees it by itself");
    assert!(events(&decision).contains(&"Activating"));
    let mut back = next_look(&copy, &decision);
    back.spec.state = crate::api::StandbyState::Standby;
    let decision = decided(&back, &observed(vec![running.clone()]));
    assert_eq!(decision.status.as_ref().unwrap().phase, Some(StandbyPhase::Activating));
    assert!(!events(&decision).contains(&"Activating"), "told once");
    // A worker that rests after a failure is not waited for.
    let mut failed = running;
    failed.state =
        JobState::Failed { at: now(), code: Some(10), words: None, message: "it ended".to_owned() };
    let start = decided(&back, &observed(vec![failed.clone()])).start.expect("a fresh Job");
    failed.run_request = start.job.annotations().get(crate::api::RUN_REQUESTED).cloned();
    assert!(decided(&back, &observed(vec![failed])).start.is_none(), "once");
}

#[test]
fn d03_a_copy_that_is_not_complete_is_not_activated_some_day() {
    let seeding = report(|told| {
        told["cycle"]["stage"] = at("Seeding");
        told["cycle"]["seededAt"] = Value::Null;
        told["progress"] = json!({"collectionsDone": 1, "collections": 4, "documentsDone": 50, "documents": 200, "bytesDone": 7});
    });
    let copy = reporting(&standby("", "state: Active"), seeding);
    let decision = decided(&copy, &observed(vec![job(&copy, true, 100)]));
    let status = decision.status.as_ref().unwrap();
    assert!(status.activation.is_none());
    assert_eq!((status.phase, status.seed.as_ref().unwrap().percent), (Some(StandbyPhase::Seeding), 25));
    let ready = find(&status.conditions, READY).unwrap();
    assert!(ready.message.contains("can't be activated before that"), "{}", ready.message);
    assert_eq!(told(&decision, READY_TO_ACTIVATE), is("False", "NotSeeded"));
    assert!(copy.activation().is_none(), "its worker is not asked either");
    assert!(following("state: Active").activation().is_some());
}

fn activation(receipt: Value) -> impl Fn(&mut Value) {
    move |told| {
        told["cycle"]["stage"] = at("Active");
        told["cycle"]["activation"] = json!({
            "step": "Active", "requestedAt": "2026-11-21T07:59:55Z", "startedAt": "2026-11-21T07:59:55.5Z", "receipt": receipt,
        });
    }
}

#[test]
fn d12_an_activation_leaves_a_receipt_an_event_and_an_instance() {
    let receipt = json!({
        "activatedAt": NOW, "tookMilliseconds": 1400, "drainMilliseconds": 1000, "dataTimePoint": APPLIED,
        "masterTime": "2026-11-21T08:00:00.75Z", "proved": false, "masterAnswered": false,
    });
    let copy = reporting(&standby("", "state: Active"), report(activation(receipt)));
    let decision = decided(&copy, &observed(vec![job(&following(""), true, 100)]));
    let status = decision.status.as_ref().unwrap();
    let done = status.activation.as_ref().unwrap();
    assert_eq!(status.phase, Some(StandbyPhase::Active));
    assert_eq!((done.duration.as_deref(), done.drain.as_deref()), (Some("1.4s"), Some("1s")));
    let loss = done.data_loss.as_ref().unwrap();
    assert_eq!((loss.at_least.as_deref(), loss.proved), (Some("2.25s"), false));
    assert_eq!(told(&decision, READY), is("True", "Active"));
    let event = decision.announcements.iter().find(|told| told.reason == "Activated").unwrap();
    assert!(
        event.warning && event.note.contains("at least 2.25s") && event.note.contains(APPLIED),
        "{}",
        event.note
    );
    assert!(decision.start.is_none() && decision.end.len() == 1, "its worker is not needed any more");
    let [Own::Instance(made)] = decision.own.as_slice() else { panic!("an instance is made") };
    assert!(made.metadata.owner_references.is_none(), "it is the users'");
    assert_eq!((made.name_any().as_str(), made.spec.region.as_str()), ("copy", "east"));
    assert_eq!(made.spec.version.as_deref(), Some("7.0"));
    assert_eq!(made.spec.endpoint.as_ref().unwrap().uri, "mongodb://dr-0.east:27017/?replicaSet=dr");

    let mut later = next_look(&copy, &decision);
    later.spec.state = crate::api::StandbyState::Standby;
    let seen = Observed { namesake: Some((**made).clone()), ..observed(Vec::new()) };
    let decision = decided(&later, &seen);
    assert!(decision.own.is_empty() && events(&decision).is_empty() && decision.start.is_none());
    let ready = find(&decision.status.as_ref().unwrap().conditions, READY).unwrap();
    assert!(ready.message.contains("never taken back"), "{}", ready.message);
    let gone = next_look(&later, &decision);
    assert!(decided(&gone, &observed(Vec::new())).own.is_empty(), "who deleted it, meant it");
}

#[test]
fn d12_nothing_lost_is_said_only_when_it_is_proved() {
    let receipt = |proved: bool, master: Option<&str>| json!({"activatedAt": NOW, "tookMilliseconds": 900, "dataTimePoint": APPLIED, "masterTime": master, "proved": proved, "masterAnswered": proved});
    for (receipt, warns, says, at_least) in [
        (receipt(true, Some(APPLIED)), false, "nothing was lost", Some("0s")),
        (receipt(false, Some(APPLIED)), true, "at least 0s", Some("0s")),
        (receipt(false, None), true, "can't be told", None),
    ] {
        let copy = reporting(&standby("", "state: Active"), report(activation(receipt)));
        let decision = decided(&copy, &observed(Vec::new()));
        let event = decision.announcements.iter().find(|told| told.reason == "Activated").unwrap();
        assert!(event.warning == warns && event.note.contains(says), "{}", event.note);
        let done = decision.status.as_ref().unwrap().activation.as_ref().unwrap();
        assert_eq!(done.data_loss.as_ref().unwrap().at_least.as_deref(), at_least);
    }
}

#[test]
fn d13_an_activation_that_is_held_says_what_to_do() {
    let copy = reporting(
        &standby("", "state: Active"),
        report(|told| {
            told["cycle"]["stage"] = at("Activating");
            told["cycle"]["activation"] = json!({
                "step": "Draining", "requestedAt": NOW, "startedAt": NOW, "held": "the master lives and can't be blocked; annotate it",
            });
        }),
    );
    let decision = decided(&copy, &observed(vec![job(&copy, true, 100)]));
    assert_eq!(told(&decision, READY), is("False", "ActivationHeld"));
    assert_eq!(told(&decision, STALLED), is("True", "ActivationHeld"));
    assert!(events(&decision).contains(&"ActivationHeld"));
    assert_eq!(decision.status.as_ref().unwrap().phase, Some(StandbyPhase::Activating));
}

#[test]
fn d07_versions_are_compared_as_the_servers_tell_them() {
    let copy = reporting(
        &standby("", ""),
        report(|told| told["cycle"]["target"] = json!({"version": "8.0.1", "replicaSet": "dr"})),
    );
    let decision = decided(&copy, &observed(vec![job(&copy, true, 100)]));
    assert_eq!(told(&decision, READY), is("False", "VersionsDiffer"));
    let ready = find(&decision.status.as_ref().unwrap().conditions, READY).unwrap();
    assert!(ready.message.contains("7.0.14") && ready.message.contains("8.0.1"), "{}", ready.message);
}

#[test]
fn d04_a_copy_that_users_can_write_to_is_not_ready() {
    let copy = reporting(
        &standby("", ""),
        report(|told| {
            told["cycle"]["fence"] = json!({"level": "None", "missing": ["the account may not; grant it"]});
        }),
    );
    let decision = decided(&copy, &observed(vec![job(&copy, true, 100)]));
    assert_eq!(told(&decision, FENCED), is("False", "NotFenced"));
    assert_eq!(told(&decision, READY), is("False", "NotFenced"));
    assert!(events(&decision).contains(&"NotFenced"));
}

#[test]
fn d04_who_deletes_a_copy_is_told_how_its_servers_are_opened() {
    let farewell = made::farewell(&following("")).unwrap();
    for word in
        ["mongodb://dr-0.east:27017", "setUserWriteBlockMode", "ttlMonitorEnabled", "database farshore"]
    {
        assert!(farewell.note.contains(word), "{}", farewell.note);
    }
    assert!(made::farewell(&standby("", "")).is_none(), "nothing was ever closed");
}

#[test]
fn p05_an_annotation_that_is_no_time_is_told_of() {
    let mut copy = following("");
    for key in [crate::api::RESYNC_REQUESTED, crate::api::ACCEPT_SPLIT_BRAIN] {
        copy.annotations_mut().insert(key.to_owned(), "now".to_owned());
    }
    let decision = decided(&copy, &observed(vec![job(&following(""), true, 100)]));
    let told: Vec<_> = decision.news.iter().map(|(_, told)| told.reason.as_str()).collect();
    assert_eq!(told, ["MalformedResyncRequest", "MalformedAcceptance"]);
    assert!(decision.start.is_none(), "nothing is copied anew");
}
