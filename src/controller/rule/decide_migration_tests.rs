//! What is decided while a history is brought over by pods of its own.

use super::*;

#[test]
fn c04_a_plan_leads_to_an_indexed_job_that_is_told_no_token_and_shares_the_ceilings() {
    let limits = "rateLimits: {bytesPerSecond: 100Mi, requestsPerSecond: 50}";
    let photos = reporting(rule("", limits), "", PLANNED);
    let found = observed(vec![serving(&photos)]);
    let decision = decided(&photos, &found, accepted());
    let migration = decision.status.as_ref().unwrap().migration.clone().unwrap();
    assert_eq!((migration.percent, migration.objects.done), (10, 4000), "what was there already");
    assert_eq!(told(&decision, MIGRATED), is("False", "Migrating"));
    assert_eq!(decision.status.as_ref().unwrap().phase, Some(RulePhase::Migrating));
    let children = decision.beside.as_ref().expect("a Job for the history");
    assert!(children.paper.is_some(), "it is there already, and posting it again changes nothing");
    let spec = children.job.spec.as_ref().unwrap();
    assert_eq!(spec.completion_mode.as_deref(), Some("Indexed"));
    assert_eq!((spec.completions, spec.parallelism), (Some(100), Some(4)));
    assert_eq!(spec.backoff_limit_per_index, None, "a namespace could not be deleted");
    assert_eq!(spec.active_deadline_seconds, None, "it takes as long as it takes");
    let pod = spec.template.spec.as_ref().unwrap();
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.containers[0].args.as_ref().unwrap()[..2], ["worker", "migrate"]);
    let maps = pod.volumes.iter().flatten().filter_map(|v| Some(v.config_map.as_ref()?.name.clone()));
    assert_eq!(maps.collect::<Vec<_>>()[1], "farshore-photos-plan");
    let text = &children.config_map.data.as_ref().unwrap()["task.json"];
    let task = crate::task::Task::from_text(text, &crate::task::hash(text)).unwrap();
    let crate::task::Work::Migrate(work) = task.work else { panic!("{text}") };
    assert_eq!((work.plan.as_str(), work.ranges.to_string().as_str()), ("abc", "0-99"));
    assert_eq!(
        work.bytes_per_second,
        Some((100 << 20) / 5 * 4 / 4),
        "of five shares the live worker keeps one"
    );
    assert_eq!(work.requests_per_second, Some(10));
}

/// The history's Job as it was made, with this status.
pub(super) fn migrating(photos: &BucketReplicationRule, status: &str) -> JobView {
    let decision = decided(photos, &observed(vec![serving(photos)]), accepted());
    let mut job = decision.beside.expect("a Job for the history").job;
    job.status = Some(read(status));
    JobView::new(&job, &[])
}

#[test]
fn c04_c11_while_it_runs_the_job_is_adjusted_suspended_and_replaced_only_for_what_is_left() {
    let photos = reporting(rule("", ""), "", PLANNED);
    let job = migrating(&photos, "{completedIndexes: '0-9'}");
    let found = |jobs| Observed { migrations: jobs, ..observed(vec![serving(&photos)]) };
    let decision = decided(&photos, &found(vec![job.clone()]), accepted());
    assert!(decision.beside.is_none() && decision.adjust.is_empty() && decision.end.is_empty());
    let edited = |more: &str| BucketReplicationRule { status: photos.status.clone(), ..rule("", more) };
    let faster =
        decided(&edited("historicalMigration: {parallelism: 9}"), &found(vec![job.clone()]), accepted());
    assert_eq!(faster.adjust[0].1, json!({"spec": {"parallelism": 9, "suspend": false}}));
    assert!(faster.end.is_empty() && faster.start.is_none(), "the live worker goes on, too");
    let off = decided(&edited("suspend: true"), &found(vec![job.clone()]), accepted());
    assert_eq!(off.adjust[0].1, json!({"spec": {"parallelism": 4, "suspend": true}}));
    assert!(!off.end.iter().any(|(name, _)| *name == job.name), "what is done stays done");
    let down = Observed { source_region: Some(region("north", "False")), ..found(vec![job.clone()]) };
    assert_eq!(
        decided(&photos, &down, accepted()).adjust[0].1["spec"]["suspend"],
        true,
        "nobody storms a store"
    );
    let slower = decided(&edited("rateLimits: {bytesPerSecond: 1Mi}"), &found(vec![job.clone()]), accepted());
    assert!(slower.end.iter().any(|(name, _)| *name == job.name));
    let next = slower.beside.unwrap().job;
    assert_eq!(next.annotations()["farshore.dev/ranges"], "10-99");
    assert_eq!(next.spec.unwrap().completions, Some(90));
    let unwanted =
        decided(&edited("historicalMigration: {enabled: false}"), &found(vec![job.clone()]), accepted());
    assert!(unwanted.end.iter().any(|(name, _)| *name == job.name));
    assert_eq!(unwanted.status.as_ref().unwrap().migration, None);
    let gone = decided(&rule(DELETED, ""), &found(vec![job.clone()]), accepted());
    assert_eq!(gone.end.len(), 2, "the live worker's, and this");
}

const DELETED: &str = "deletionTimestamp: \"2026-11-21T07:59:30Z\"";

#[test]
fn c04_once_all_is_compared_the_plan_goes_and_the_percentage_is_a_hundred() {
    let photos = reporting(rule("", ""), "", PLANNED);
    let done =
        migrating(&photos, "{completedIndexes: '0-99', conditions: [{type: Complete, status: 'True'}]}");
    let found = Observed { migrations: vec![done], ..observed(vec![serving(&photos)]) };
    let ended = decided(&photos, &found, accepted());
    assert!(ended.beside.is_none() && ended.drop.is_empty(), "what waits for a comparison needs the plan");
    assert_eq!(told(&ended, MIGRATED).1, "Comparing");
    let photos = after(photos, &ended);
    let over = photos.plan_ended().expect("the live worker is told");
    assert_eq!((over.plan.as_str(), over.all), ("abc", true));
    let photos = reporting(photos, MIGRATED_AT, "");
    let proved = decided(&photos, &found, accepted());
    let migration = proved.status.as_ref().unwrap().migration.as_ref().unwrap();
    assert_eq!((migration.percent, migration.ranges.is_none()), (100, true));
    assert!(proved.drop.contains(&"farshore-photos-plan".to_owned()), "{:?}", proved.drop);
    assert!(proved.end.is_empty(), "people may still look at the Job");
    let later = decided(&after(photos, &proved), &found, accepted());
    assert!(later.drop.is_empty());
}

#[test]
fn c04_p05_a_rule_whose_worker_has_told_a_plan_is_not_about_to_start_its_first_one() {
    let photos = reporting(rule("", ""), "", PLANNED);
    let message = |decision: &Decision| {
        find(&decision.status.as_ref().unwrap().conditions, READY).unwrap().message.clone()
    };
    let phase = |decision: &Decision| decision.status.as_ref().unwrap().phase;
    // The shift that made the plan is over, the next one's pod does not work yet.
    let mut starting = serving(&photos);
    starting.pods.clear();
    let between = decided(&photos, &observed(vec![starting.clone()]), accepted());
    assert_eq!(
        (phase(&between), told(&between, READY)),
        (Some(RulePhase::Migrating), is("False", "Migrating"))
    );
    assert!(message(&between).contains("its next worker is being started"), "{}", message(&between));
    // What the report no longer has, the status has.
    let mut silent = after(photos, &between);
    silent.status.as_mut().unwrap().observed = None;
    assert_eq!(
        phase(&decided(&silent, &observed(vec![starting.clone()]), accepted())),
        Some(RulePhase::Migrating)
    );
    let fresh = decided(&rule("", ""), &observed(vec![starting]), accepted());
    assert_eq!(phase(&fresh), Some(RulePhase::Pending));
    assert!(message(&fresh).contains("the first worker"), "{}", message(&fresh));
}
