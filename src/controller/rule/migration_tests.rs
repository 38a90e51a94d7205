use super::*;
use crate::controller::jobs::PodView;

fn read<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_yaml_ng::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

/// Ten ranges; of 1,000 objects and 10,000 bytes a tenth was there before.
fn plan() -> MigrationPlan {
    MigrationPlan {
        config_map: "farshore-photos-plan".to_owned(),
        hash: "hash".to_owned(),
        ranges: 10,
        objects: Share { total: 1000, done: 100 },
        bytes: Share { total: 10_000, done: 1000 },
    }
}

/// A Job for some ranges, with its status and its pods: index, exit code, and what it told.
fn job(ranges: &str, status: &str, pods: &[(u32, i32, &str)]) -> JobView {
    let job = read(&format!(
        "metadata: {{name: j-{ranges}, uid: u, annotations: {{farshore.dev/plan: hash, farshore.dev/ranges: '{ranges}', farshore.dev/before: 100/1000, farshore.dev/task: task}}}}
spec: {{template: {{}}, parallelism: 4}}
status: {{{status}}}
"
    ));
    let pods: Vec<_> = pods
        .iter()
        .map(|(index, code, message)| {
            PodView::new(&read(&format!(
                "metadata: {{name: p, annotations: {{batch.kubernetes.io/job-completion-index: '{index}'}}}}
status: {{phase: Failed, containerStatuses: [{{name: worker, image: x, imageID: '', ready: false, restartCount: 0, state: {{terminated: {{exitCode: {code}, message: '{message}'}}}}}}]}}
"
            )))
        })
        .collect();
    JobView::new(&job, &pods)
}

fn told(objects: u64, failed: u64) -> String {
    format!(
        r#"{{"range":0,"objects":{objects},"bytes":{},"copied":{objects},"lists":2,"failed":{failed},"example":"AccessDenied: no"}}"#,
        objects * 10
    )
}

fn figures(migration: &Migration) -> (u8, u64, u64) {
    (migration.percent, migration.objects.done, migration.bytes.done)
}

#[test]
fn c04_progress_is_summed_from_what_the_pods_told() {
    let planned = by_ranges(None, Some(&plan()), &[], at(0)).unwrap();
    assert_eq!(figures(&planned), (10, 100, 1000), "what was there already counts");
    let pods = [(0, 0, told(80, 0)), (3, 0, told(100, 0))];
    let pods: Vec<_> = pods.iter().map(|(index, code, text)| (*index, *code, text.as_str())).collect();
    let two = by_ranges(None, Some(&plan()), &[job("0-9", "completedIndexes: '0,3'", &pods)], at(0)).unwrap();
    assert_eq!(figures(&two), (28, 280, 2800));
    let ranges = two.ranges.as_ref().unwrap();
    assert_eq!((ranges.done.as_str(), ranges.ended_at.is_none()), ("0,3", true));
    // A pod that ran twice counts once, and pods that are gone count for the average.
    let again = [pods[0], pods[0], pods[1]];
    let unsaid = by_ranges(None, Some(&plan()), &[job("0-9", "", &pods)], at(0)).unwrap();
    assert_eq!(unsaid.ranges.unwrap().done, "0,3", "a pod is known before its Job");
    let three =
        by_ranges(Some(&two), None, &[job("0-9", "completedIndexes: '0,3,5'", &again)], at(1)).unwrap();
    assert_eq!(figures(&three), (37, 280 + 90, 2800 + 900));
    let without_pods =
        by_ranges(Some(&three), None, &[job("0-9", "completedIndexes: '0'", &[])], at(2)).unwrap();
    assert_eq!(figures(&without_pods), (37, 370, 3700), "it never goes back");
    assert_eq!(without_pods.ranges.unwrap().done, "0,3,5");
    assert_eq!(by_ranges(None, None, &[], at(0)), None, "without a plan there is nothing to tell");
}

#[test]
fn c04_all_ranges_done_is_99_percent_until_a_comparison_proves_the_rest() {
    let jobs = [job("0-9", "completedIndexes: '0-9'", &[])];
    let all = by_ranges(None, Some(&plan()), &jobs, at(5)).unwrap();
    assert_eq!((all.percent, all.completed_at.clone()), (99, None));
    let ranges = all.ranges.as_ref().unwrap();
    assert_eq!((ranges.done.as_str(), ranges.ended_at.clone()), ("0-9", Some(Time(at(5)))));
    let later = by_ranges(Some(&all), None, &jobs, at(9)).unwrap();
    assert_eq!(later, all, "it ended once");
}

const FAILED: &str = "conditions: [{type: Failed, status: 'True', reason: BackoffLimitExceeded, message: m}]";

#[test]
fn c04_ranges_that_failed_too_often_are_given_up_and_the_others_go_on() {
    let words = r#"{"reason":"Stuck","message":"nothing has moved"}"#;
    let outage = r#"{"reason":"StoreUnreachable","message":"down"}"#;
    let failing = told(80, 2);
    let pods = [
        (1, 14, words),
        (1, 14, words),
        (1, 14, words),
        (2, 0, failing.as_str()),
        (3, 14, words),
        (4, 12, outage),
        (4, 12, outage),
        (4, 12, outage),
    ];
    let running =
        by_ranges(None, Some(&plan()), &[job("0-9", "completedIndexes: '2'", &pods)], at(0)).unwrap();
    let ranges = running.ranges.unwrap();
    assert_eq!((ranges.failed.as_str(), ranges.failure), ("", None), "the Job is still trying");
    assert_eq!((ranges.objects_failed, ranges.example.as_deref()), (2, Some("AccessDenied: no")));
    let jobs = [job("0-9", &format!("completedIndexes: '2', {FAILED}"), &pods)];
    let some = by_ranges(None, Some(&plan()), &jobs, at(0)).unwrap().ranges.unwrap();
    assert_eq!((some.failed.as_str(), some.ended_at.clone()), ("1", None));
    assert_eq!(some.failure.as_deref(), Some("Stuck: nothing has moved"));
    assert_eq!(steps(&some, &jobs, task, (4, false)).start.unwrap().to_string(), "0,3-9");
}

#[test]
fn c04_a_job_that_got_nowhere_is_not_made_again() {
    for (code, completed) in [(1, ""), (10, "completedIndexes: '2', ")] {
        let pods = [(5, code, r#"{"reason":"BucketNotFound","message":"bucket x is missing"}"#)];
        let jobs = [job("0-9", &format!("{completed}{FAILED}"), &pods)];
        let over = by_ranges(None, Some(&plan()), &jobs, at(7)).unwrap().ranges.unwrap();
        assert_eq!(over.ended_at, Some(Time(at(7))), "nobody will do the rest");
        assert_eq!(over.failed, if code == 1 { "0-9" } else { "0-1,3-9" });
        assert_eq!(over.failure.as_deref(), Some("BucketNotFound: bucket x is missing"));
        assert_eq!(steps(&over, &jobs, task, (4, false)), Steps::default());
    }
}

#[test]
fn c04_a_later_job_is_for_the_ranges_that_are_left_and_its_indexes_are_theirs() {
    let first = job("0-9", "completedIndexes: '0-3,8'", &[]);
    let jobs = [first, job("4-7,9", "completedIndexes: '0,4'", &[])];
    let both = by_ranges(None, Some(&plan()), &jobs, at(0)).unwrap();
    assert_eq!(both.ranges.unwrap().done, "0-4,8-9");
    let other = MigrationPlan { hash: "other".to_owned(), ..plan() };
    let anew = by_ranges(by_ranges(None, Some(&plan()), &jobs, at(0)).as_ref(), Some(&other), &jobs, at(1));
    let anew = anew.unwrap();
    assert_eq!(anew.ranges.unwrap().done, "", "another plan begins anew");
    assert!(anew.percent >= both.percent, "and the percentage does not go back");
}

fn ranges(done: &str, failed: &str, ended: bool) -> MigrationRanges {
    MigrationRanges {
        done: done.to_owned(),
        failed: failed.to_owned(),
        ended_at: ended.then(|| Time(at(0))),
        ..first(&plan())
    }
}

fn task(_: &Indexes) -> String {
    "task".to_owned()
}

#[test]
fn c04_a_job_is_made_for_what_is_left_and_only_adjusted_while_it_fits() {
    let made = steps(&ranges("", "", false), &[], task, (4, false));
    assert_eq!(made.start.unwrap().to_string(), "0-9");
    let running = [job("0-9", "", &[])];
    assert_eq!(steps(&ranges("0-3", "", false), &running, task, (4, false)), Steps::default());
    for (parallelism, halted) in [(8, false), (4, true)] {
        let steps = steps(&ranges("0-3", "", false), &running, task, (parallelism, halted));
        let adjust = Adjust { job: "j-0-9".to_owned(), parallelism, suspend: halted };
        assert_eq!(steps, Steps { adjust: Some(adjust), ..Steps::default() });
    }
    // Another task can't be told to pods of this Job: another Job does what is left.
    let changed = steps(&ranges("0-3,7", "5", false), &running, |_| "other".to_owned(), (4, false));
    assert_eq!(changed.end, ["j-0-9"]);
    assert_eq!(changed.start.unwrap().to_string(), "4,6,8-9");
    // Deleted by hand, it is made anew for what is left.
    let mut deleted = job("0-9", "completedIndexes: '0-5'", &[]);
    deleted.deleting = true;
    assert_eq!(
        steps(&ranges("0-5", "", false), &[deleted], task, (4, false)).start.unwrap().to_string(),
        "6-9"
    );
}

#[test]
fn c11_nothing_starts_while_it_is_suspended_and_nothing_runs_once_it_is_over() {
    assert_eq!(steps(&ranges("0-3", "", false), &[], task, (4, true)), Steps::default());
    let over = steps(&ranges("0-8", "9", true), &[job("0-9", "", &[])], task, (4, false));
    assert_eq!(over, Steps::default(), "it ends by itself");
    let mut other = job("0-9", "", &[]);
    other.indexed.as_mut().unwrap().plan = "other".to_owned();
    let over = steps(&ranges("0-9", "", true), &[other], task, (4, false));
    assert_eq!(over, Steps { end: vec!["j-0-9".to_owned()], ..Steps::default() });
}
