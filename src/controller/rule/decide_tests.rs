use kube::ResourceExt;

use super::*;
use crate::{
    api::{
        Region,
        condition::{DELETION_HELD, IN_SYNC, MIGRATED, READY, RECONCILING, SOURCE_REACHABLE, STALLED, find},
    },
    controller::{
        Timing,
        breaker::Pauses,
        jobs::{JobState, JobView, PodView},
        names,
    },
};

const NOW: &str = "2026-11-21T08:00:00Z";
const UID: &str = "uid-of-photos";

fn read<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_yaml_ng::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn rule(metadata: &str, more: &str) -> BucketReplicationRule {
    read(&format!(
        "apiVersion: farshore.dev/v1alpha1
kind: BucketReplicationRule
metadata:
  name: photos
  namespace: shop
  uid: {UID}
  generation: 1
  creationTimestamp: \"2026-11-20T08:00:00Z\"
  {metadata}
spec:
  source: {{region: north, bucket: photos, credentials: {{secretRef: {{name: source-keys}}}}}}
  target: {{region: east, bucket: photos-copy, credentials: {{secretRef: {{name: target-keys}}}}}}
  {more}
"
    ))
}

fn pair() -> AcceptedPair {
    read(
        "source: {endpoint: \"http://north:9000\", bucket: photos}\ntarget: {endpoint: \"http://east:9000\", bucket: photos-copy}\n",
    )
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

fn observed(jobs: Vec<JobView>) -> Observed {
    Observed {
        source_region: Some(region("north", "True")),
        target_region: Some(region("east", "True")),
        opposite: false,
        migrations: Vec::new(),
        pods: jobs.iter().flat_map(|job| &job.pods).filter(|pod| pod.alive).count(),
        jobs,
        words: None,
        terminating: false,
        cluster: Some("cluster".to_owned()),
        last_run: None,
    }
}

fn decided(rule: &BucketReplicationRule, observed: &Observed, standing: Standing) -> Decision {
    let options = Options {
        timing: Timing { probes: Some(Pauses::default()), ..Timing::default() },
        ..Options::default()
    };
    decide(rule, observed, standing, &options, now()).unwrap()
}

fn accepted() -> Standing {
    Standing::Accepted(pair())
}

/// Status and reason of a condition.
fn told(decision: &Decision, type_: &str) -> (String, String) {
    let conditions = &decision.status.as_ref().unwrap().conditions;
    find(conditions, type_).map(|c| (c.status.clone(), c.reason.clone())).unwrap_or_default()
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

/// A worker that serves, for the task of a rule.
fn serving(rule: &BucketReplicationRule) -> JobView {
    let decision = decided(rule, &observed(Vec::new()), accepted());
    let job = decision.start.expect("a first Job").job;
    let pod: k8s_openapi::api::core::v1::Pod = read(&format!(
        "metadata: {{name: p, uid: p}}\nstatus: {{phase: Running, conditions: [{{type: Ready, status: 'True', lastTransitionTime: \"{NOW}\"}}]}}\n"
    ));
    JobView { created: now(), state: JobState::Active, ..JobView::new(&job, &[PodView::new(&pod)]) }
}

/// What a worker reports: a comparison with these changes.
fn reporting(mut rule: BucketReplicationRule, cycle: &str, more: &str) -> BucketReplicationRule {
    let run = names::run_id(UID, now(), None);
    let cycle = if cycle.is_empty() {
        String::new()
    } else {
        format!(
            "cycle:
    pair: {{source: {{endpoint: \"http://north:9000\", bucket: photos}}, target: {{endpoint: \"http://east:9000\", bucket: photos-copy}}}}
    startedAt: \"2026-11-21T07:59:50Z\"
    completedAt: \"2026-11-21T07:59:55Z\"
    period: 10s
    dealtWithUntil: \"2026-11-21T07:59:50Z\"
    sourceObjects: 5
    targetObjects: 5
    differences: 2
    repaired: 7
    sourceVersions: Lost
    targetVersions: Lost
    {cycle}"
        )
    };
    let mut status = rule.status.unwrap_or_default();
    status.observed =
        Some(read(&format!("runID: {run}\ngeneration: 1\nreportedAt: \"{NOW}\"\n{more}\n{cycle}\n")));
    rule.status = Some(status);
    rule
}

/// The rule as it is after a decision.
fn after(mut rule: BucketReplicationRule, decision: &Decision) -> BucketReplicationRule {
    let report = rule.status.and_then(|status| status.observed);
    rule.status =
        decision.status.clone().map(|status| BucketReplicationRuleStatus { observed: report, ..status });
    rule
}

const MIGRATED_AT: &str = "migrated: {at: \"2026-11-21T07:00:00Z\", objects: 5, bytes: 50}\n    failed: 0\n    syncedUntil: \"2026-11-21T07:59:50Z\"";

#[test]
fn c01_an_accepted_rule_gets_one_worker_with_its_keys_and_no_finalizer() {
    let photos = rule("", "");
    let decision = decided(&photos, &observed(Vec::new()), accepted());
    assert_eq!(decision.finalizer, None, "nothing is to be done when it is deleted");
    let children = decision.start.as_ref().unwrap();
    let pod = children.job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    assert_eq!(pod.containers[0].args.as_ref().unwrap()[..2], ["worker", "replicate"]);
    let secrets = pod.volumes.iter().flatten().filter_map(|v| v.secret.as_ref()?.secret_name.clone());
    assert_eq!(secrets.collect::<Vec<_>>(), ["target-keys", "source-keys"]);
    let resources = children.role.rules.iter().flatten().flat_map(|rule| rule.resources.clone().unwrap());
    assert_eq!(
        resources.collect::<Vec<_>>(),
        ["bucketreplicationrules", "bucketreplicationrules/status", "configmaps"]
    );
    let named = children.role.rules.as_ref().unwrap()[2].resource_names.clone();
    assert_eq!(named.unwrap()[0], children.paper.as_ref().unwrap().metadata.name.clone().unwrap());
    assert_eq!(decision.status.as_ref().unwrap().phase, Some(RulePhase::Pending));
    assert_eq!(decision.status.as_ref().unwrap().pair, Some(pair()));
    assert_eq!(told(&decision, READY), is("False", "Migrating"));
    assert_eq!(decision.announcements[0].reason, "Accepted");
}

#[test]
fn c11_suspending_ends_the_worker_and_resuming_starts_another() {
    let on = rule("", "");
    let off = rule("", "suspend: true");
    let decision = decided(&off, &observed(vec![serving(&on)]), accepted());
    assert_eq!(decision.end.len(), 1);
    assert!(decision.start.is_none());
    assert_ne!(decision.status.as_ref().unwrap().phase, Some(RulePhase::Suspended), "it may write yet");
    assert_eq!(told(&decision, READY), is("True", "Suspending"));
    // Its Job is gone, and its pod finishes what it is at.
    let ending = Observed { pods: 1, ..observed(Vec::new()) };
    assert_eq!(told(&decided(&off, &ending, accepted()), READY), is("True", "Suspending"));
    let decision = decided(&off, &observed(Vec::new()), accepted());
    assert_eq!(decision.status.as_ref().unwrap().phase, Some(RulePhase::Suspended));
    assert_eq!(told(&decision, READY), is("True", "Suspended"));
    assert!(decided(&on, &observed(Vec::new()), accepted()).start.is_some());
}

#[test]
fn c11_a_deleted_rule_ends_its_worker_and_touches_nothing() {
    let deleted = rule("deletionTimestamp: \"2026-11-21T07:59:30Z\"", "");
    let decision = decided(&deleted, &observed(vec![serving(&rule("", ""))]), accepted());
    assert_eq!(decision.end.len(), 1);
    assert!(decision.start.is_none() && decision.status.is_none() && !decision.delete);
    let found = Observed { terminating: true, ..observed(Vec::new()) };
    assert!(decided(&rule("", ""), &found, accepted()).start.is_none());
}

#[test]
fn c11_an_edit_ends_the_shift_at_once_and_starts_the_next() {
    let before = serving(&rule("", ""));
    for (more, ends) in [
        ("deletes: Keep", true),
        ("deleteBudget: {count: 5}", true),
        ("rateLimits: {bytesPerSecond: 1Mi}", true),
        ("worker: {priorityClassName: low}", true),
        ("historicalMigration: {parallelism: 2}", false),
    ] {
        let decision = decided(&rule("", more), &observed(vec![before.clone()]), accepted());
        assert_eq!((decision.end.len() == 1, decision.start.is_some()), (ends, ends), "{more}");
    }
}

#[test]
fn c04_a_migration_never_goes_back_and_is_over_once() {
    let photos = rule("", "");
    let found = observed(vec![serving(&photos)]);
    let step = |rule: BucketReplicationRule, total, done| {
        let progress = format!(
            "progress: {{pending: 1, transferredBytes: 1, migration: {{objects: {{total: {total}, done: {done}}}, bytes: {{total: 10, done: 10}}}}}}"
        );
        let rule = reporting(rule, "", &progress);
        let decision = decided(&rule, &found, accepted());
        (after(rule, &decision), decision)
    };
    let mut photos = photos;
    for (total, done, percent) in [(10, 5, 50), (100, 10, 50), (100, 100, 99)] {
        let decision;
        (photos, decision) = step(photos, total, done);
        let migration = decision.status.as_ref().unwrap().migration.clone().unwrap();
        assert_eq!((migration.percent, migration.objects.total), (percent, total));
        assert_eq!(decision.status.as_ref().unwrap().phase, Some(RulePhase::Migrating));
        assert_eq!(told(&decision, MIGRATED), is("False", "Migrating"));
    }
    let photos = reporting(photos, MIGRATED_AT, "");
    let decision = decided(&photos, &found, accepted());
    let migration = decision.status.as_ref().unwrap().migration.clone().unwrap();
    assert_eq!((migration.percent, migration.completed_at.is_some()), (100, true));
    assert_eq!(told(&decision, MIGRATED), is("True", "Migrated"));
    assert_eq!(told(&decision, READY), is("True", "Replicating"));
    assert!(find(&decision.status.as_ref().unwrap().conditions, RECONCILING).is_none());
    // The next run knows nothing yet.
    let photos = reporting(after(photos, &decision), "", "");
    let decision = decided(&photos, &found, accepted());
    assert_eq!(decision.status.unwrap().migration, Some(migration));
}

#[test]
fn c05_the_time_point_is_proved_never_goes_back_and_lives_only_while_replicated() {
    let photos = reporting(rule("", ""), MIGRATED_AT, "");
    let found = observed(vec![serving(&photos)]);
    let decision = decided(&photos, &found, accepted());
    let status = decision.status.clone().unwrap();
    let proved = status.last_sync_time_point.clone().unwrap();
    assert_eq!(proved.0.to_string(), "2026-11-21T07:59:50Z");
    assert!(status.live_time_point.is_some());
    assert_eq!(told(&decision, IN_SYNC), is("True", "InSync"));
    assert_eq!((told(&decision, SOURCE_REACHABLE).0.as_str(), status.counts.unwrap().repaired), ("True", 7));
    // An object that fails holds it, an earlier one does not turn it back.
    let failing = "migrated: {at: \"2026-11-21T07:00:00Z\", objects: 5, bytes: 50}\n    failed: 1\n    syncedUntil: \"2026-11-21T07:50:00Z\"";
    let findings = "findings: [{reason: AccessDenied, message: a/b}]";
    let photos = reporting(after(photos, &decision), failing, findings);
    let decision = decided(&photos, &found, accepted());
    assert_eq!(decision.status.as_ref().unwrap().last_sync_time_point, Some(proved.clone()));
    assert_eq!(told(&decision, IN_SYNC), is("False", "ObjectsFailed"));
    assert_eq!(told(&decision, READY).0, "True", "everything else goes on");
    // A store that is down, or a rule that is suspended: what is proved stays, the estimate goes.
    let down = Observed { source_region: Some(region("north", "False")), ..observed(Vec::new()) };
    let decision = decided(&photos, &down, accepted());
    let status = decision.status.clone().unwrap();
    assert_eq!((status.phase, status.last_sync_time_point), (Some(RulePhase::Stale), Some(proved)));
    assert_eq!(status.live_time_point, None);
    assert_eq!(told(&decision, IN_SYNC).0, "Unknown");
}

#[test]
fn c05_what_was_told_of_other_buckets_is_nothing_to_these() {
    let photos = reporting(rule("", ""), MIGRATED_AT, "");
    let decision = decided(&photos, &observed(vec![serving(&photos)]), accepted());
    let photos = after(photos, &decision);
    let mut corrected = pair();
    corrected.target.endpoint = "http://far-east:9000".to_owned();
    let decision = decided(&photos, &observed(Vec::new()), Standing::Accepted(corrected));
    let status = decision.status.as_ref().unwrap();
    assert_eq!((&status.last_sync_time_point, &status.migration, &status.counts), (&None, &None, &None));
    assert_eq!(told(&decision, IN_SYNC).1, "NotCompared");
}

const PLANNED: &str = "progress:
    pending: 0
    transferredBytes: 0
    plan:
      configMap: farshore-photos-plan
      hash: abc
      ranges: 100
      objects: {total: 40000, done: 4000}
      bytes: {total: 400000, done: 40000}
  ";

#[test]
fn c18_a_release_that_is_no_time_releases_nothing_and_is_told() {
    let held = format!("{MIGRATED_AT}\n    held: {{since: \"{NOW}\", objects: 5000, example: a/b}}");
    let annotated = |value: &str| {
        reporting(rule(&format!("annotations: {{farshore.dev/release-deletes: \"{value}\"}}"), ""), &held, "")
    };
    let told_of = |rule: &BucketReplicationRule| {
        let decision = decided(rule, &observed(vec![serving(rule)]), accepted());
        let conditions = decision.status.as_ref().unwrap().conditions.clone();
        let odd = find(&conditions, DELETION_HELD).unwrap().message.contains("releases nothing");
        (odd, decision.news.iter().any(|(_, told)| told.reason == "MalformedRelease"))
    };
    assert_eq!(told_of(&annotated("now")), (true, true));
    assert_eq!(told_of(&annotated(NOW)), (false, false));
}

#[test]
fn c07_the_worker_is_told_whose_claim_it_puts_and_whose_is_void() {
    let photos = rule("annotations: {farshore.dev/void-claim: other}", "");
    let decision = decided(&photos, &observed(Vec::new()), accepted());
    let data = decision.start.expect("it starts").config_map.data.unwrap();
    let task: serde_json::Value = serde_json::from_str(&data[crate::task::TASK_KEY]).unwrap();
    let claim = task.pointer("/work/replicate/claim").unwrap();
    assert_eq!(*claim, serde_json::json!({"cluster": "cluster", "void": "other"}));
}

#[test]
fn c18_held_deletes_say_how_to_release_them() {
    let held = format!("{MIGRATED_AT}\n    held: {{since: \"{NOW}\", objects: 5000, example: a/b}}");
    let photos = reporting(rule("", ""), &held, "");
    let decision = decided(&photos, &observed(vec![serving(&photos)]), accepted());
    assert_eq!(told(&decision, DELETION_HELD), is("True", "OverBudget"));
    assert_eq!(told(&decision, IN_SYNC), is("False", "DeletesHeld"));
    let conditions = &decision.status.as_ref().unwrap().conditions;
    let message = &find(conditions, DELETION_HELD).unwrap().message;
    for words in [
        "5000 objects",
        "a/b",
        "kubectl annotate --overwrite brr photos -n shop farshore.dev/release-deletes=",
    ] {
        assert!(message.contains(words), "{message}");
    }
    let news: Vec<_> = decision.announcements.iter().map(|told| told.reason.as_str()).collect();
    assert!(news.contains(&"DeletionHeld"), "{news:?}");
}

#[test]
fn p01_what_is_refused_is_stalled_and_its_worker_ends() {
    let photos = rule("", "");
    for (waiting, there, absent) in [(true, RECONCILING, STALLED), (false, STALLED, RECONCILING)] {
        let standing = Standing::Out(Objection { waiting, reason: "BucketTaken", message: "why".to_owned() });
        let decision = decided(&photos, &observed(vec![serving(&photos)]), standing);
        assert_eq!(told(&decision, there).1, "BucketTaken");
        assert_eq!(told(&decision, absent).1, "");
        assert!(decision.start.is_none() && decision.end.len() == 1);
    }
    let silent = decided(&photos, &observed(Vec::new()), Standing::OtherRegion { silent: true });
    assert!(silent.status.is_none() && silent.start.is_none());
    let other = decided(&photos, &observed(Vec::new()), Standing::OtherRegion { silent: false });
    assert_eq!(told(&other, READY), is("False", "OtherRegion"));
}

#[path = "kept_tests.rs"]
mod kept;
#[path = "decide_migration_tests.rs"]
mod migrating;

#[test]
fn c16_the_worker_of_a_webhook_or_a_queue_has_what_it_needs_and_no_other_pod_has() {
    let webhook = "feed: Webhook\n  webhook: {tokenSecretRef: {name: hook}}";
    let queue = "feed: SQS\n  sqs: {queueURL: \"https://sqs.example/1/changes\"}";
    let own = "feed: SQS\n  sqs: {queueURL: \"https://sqs.example/1/changes\", region: r, endpoint: \"https://vpc.example\", credentials: {secretRef: {name: queue-keys}}}";
    let mut works = std::collections::BTreeSet::new();
    for (more, mounted, told) in [
        ("", None, None),
        (webhook, Some(("receiver", "hook")), None),
        (queue, Some(("queue", "source-keys")), Some(("us-east-1", None))),
        (own, Some(("queue", "queue-keys")), Some(("r", Some("https://vpc.example")))),
    ] {
        let decision = decided(&rule("", more), &observed(Vec::new()), accepted());
        let start = decision.start.expect("a first Job");
        works.insert(start.job.annotations()["farshore.dev/task"].clone());
        let volumes = start.job.spec.unwrap().template.spec.unwrap().volumes.unwrap();
        let secrets: Vec<_> = volumes
            .iter()
            .filter_map(|v| Some((v.name.as_str(), v.secret.as_ref()?.secret_name.as_deref()?)))
            .collect();
        let stores = [("target", "target-keys"), ("source", "source-keys")];
        assert_eq!(secrets, stores.into_iter().chain(mounted).collect::<Vec<_>>(), "{more}");
        let text = &start.config_map.data.as_ref().unwrap()["task.json"];
        let task = crate::task::Task::from_text(text, &crate::task::hash(text)).unwrap();
        let crate::task::Work::Replicate(work) = task.work else { panic!("{text}") };
        let queue = work.queue.as_ref().map(|queue| (queue.region.as_str(), queue.endpoint.as_deref()));
        assert_eq!(queue, told, "{more}");
    }
    assert_eq!(works.len(), 4, "another feed, or another Secret of it, ends the shift");
}
