use super::*;

const HOUR: i64 = 3600;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000_000 + seconds).unwrap()
}

fn job(uid: &str, created: i64, state: JobState) -> JobView {
    JobView {
        name: format!("copy-{uid}"),
        uid: uid.to_owned(),
        created: at(created),
        run_id: format!("run-{created:09}"),
        task: "task".to_owned(),
        config_map: "map".to_owned(),
        attempt: 0,
        run_request: None,
        deleting: false,
        state,
        pods: Vec::new(),
        indexed: None,
    }
}

fn failed(uid: &str, created: i64, ended: i64, code: i32) -> JobView {
    let state = JobState::Failed { at: at(ended), code: Some(code), words: None, message: String::new() };
    job(uid, created, state)
}

fn wish(mode: TaskMode, jobs: &[JobView]) -> Wish<'_> {
    Wish {
        uid: "uid",
        task: "task",
        mode,
        interval: Duration::from_hours(1),
        jobs,
        last_cycle: None,
        request: None,
        healed: None,
        created: at(-10 * HOUR),
    }
}

const SHIFT: TaskMode = TaskMode::Shift { seconds: 21_600 };

fn planned(wish: &Wish<'_>, now: i64) -> Plan {
    plan(wish, &Timing::default(), at(now))
}

fn slot(wish: &Wish<'_>, now: i64) -> Option<String> {
    planned(wish, now).start.map(|start| start.slot)
}

/// Seconds from `now` until a Job is started, by looking whenever the plan says so.
fn wait(wish: &Wish<'_>, now: i64) -> i64 {
    let mut plan = planned(wish, now);
    let mut moment = at(now);
    for _ in 0..10 {
        if plan.start.is_some() {
            return at(now).duration_until(moment).as_secs();
        }
        moment = plan.look.expect("a moment to look again");
        plan = super::plan(wish, &Timing::default(), moment);
    }
    unreachable!("nothing is ever started: {plan:?}")
}

#[test]
fn b01_the_first_job_is_started_at_once_and_always_in_the_same_slot() {
    for mode in [SHIFT, TaskMode::Cycle] {
        let first = slot(&wish(mode, &[]), 0).expect("at once");
        assert_eq!(slot(&wish(mode, &[]), 1).as_deref(), Some(first.as_str()));
    }
}

#[test]
fn p09_a_shift_is_followed_shortly_before_it_ends() {
    let jobs = [job("a", 0, JobState::Active)];
    assert_eq!(slot(&wish(SHIFT, &jobs), 100), None);
    assert_eq!(wait(&wish(SHIFT, &jobs), 100), 21_600 - 60 - 100);
    assert_eq!(slot(&wish(SHIFT, &jobs), 21_540).as_deref(), Some("after:a"));
    let both = [jobs[0].clone(), job("b", 21_540, JobState::Active)];
    assert_eq!(slot(&wish(SHIFT, &both), 21_550), None, "one successor");
}

#[test]
fn p11_a_job_that_is_being_deleted_is_succeeded_at_once() {
    let mut gone = job("a", 0, JobState::Active);
    gone.deleting = true;
    assert_eq!(slot(&wish(SHIFT, &[gone]), 10).as_deref(), Some("after:a"));
}

#[test]
fn p08_failures_are_tried_again_by_their_kind() {
    for (code, attempt, least, most) in [
        (11, 0, 35, 45),
        (11, 9, 35, 45),
        (10, 0, 300, 360),
        (1, 0, 5, 6),
        (1, 3, 40, 41),
        (12, 9, 300, 301),
        (14, 0, 5, 6),
    ] {
        let mut last = failed("a", 0, 100, code);
        last.attempt = attempt;
        let jobs = [last];
        let pause = wait(&wish(SHIFT, &jobs), 100);
        assert!((least..=most).contains(&pause), "code {code}, attempt {attempt}: {pause} s");
        let next = planned(&wish(SHIFT, &jobs), 500).start.unwrap();
        assert_eq!((next.slot.as_str(), next.attempt), ("after:a", attempt + 1));
    }
}

#[test]
fn p08_after_an_outage_each_service_catches_up_once_at_its_own_moment() {
    let jobs = [failed("a", 0, 100, 12)];
    let mut moments = std::collections::BTreeSet::new();
    for uid in ["one", "two", "three", "four"] {
        let healed = Wish { uid, healed: Some(at(400)), ..wish(SHIFT, &jobs) };
        let pause = wait(&healed, 400);
        assert!(pause <= 30, "{pause}");
        moments.insert(planned(&healed, 400).look);
    }
    assert_eq!(moments.len(), 4);
    // An outage that was over before is none of this failure's business.
    let long_ago = Wish { healed: Some(at(50)), ..wish(SHIFT, &jobs) };
    assert!(wait(&long_ago, 100) >= 5);
}

#[test]
fn p09_cycles_come_once_an_interval_each_at_the_services_own_offset() {
    let done = |created: i64| job("a", created, JobState::Succeeded { at: at(created + 10) });
    let jobs = [done(0)];
    let next = wait(&wish(TaskMode::Cycle, &jobs), 20);
    assert!(next > 0 && next <= HOUR, "{next}");
    let following = [done(20 + next)];
    assert_eq!(wait(&wish(TaskMode::Cycle, &following), 20 + next + 10), HOUR - 10);
    assert_eq!(planned(&wish(TaskMode::Cycle, &[job("a", 0, JobState::Active)]), 10 * HOUR).start, None);
    // Jobs go after an hour; what the worker reported does not.
    let remembered = Wish { last_cycle: Some(at(0)), ..wish(TaskMode::Cycle, &[]) };
    assert_eq!(wait(&remembered, 20), next);
}

#[test]
fn p09_a_request_is_run_at_once_and_once() {
    let done = job("a", 0, JobState::Succeeded { at: at(10) });
    let request = Some("2026-11-21T08:00:00Z");
    let asked = [done.clone()];
    let start = planned(&Wish { request, ..wish(TaskMode::Cycle, &asked) }, 20).start.unwrap();
    assert_eq!(start.request.as_deref(), request);
    let mut honoured = done;
    honoured.run_request = request.map(ToOwned::to_owned);
    assert!(planned(&Wish { request, ..wish(TaskMode::Cycle, &[honoured]) }, 20).start.is_none());
    // It does not wait for the next try of something that failed.
    let failed = [failed("a", 0, 10, 10)];
    assert!(planned(&Wish { request, ..wish(TaskMode::Cycle, &failed) }, 20).start.is_some());
}

#[test]
fn p08_a_changed_task_ends_what_runs_and_starts_anew_at_once() {
    let jobs = [job("a", 0, JobState::Active), failed("b", 1, 2, 10)];
    let plan = planned(&Wish { task: "another", ..wish(SHIFT, &jobs) }, 10);
    assert_eq!(plan.end, ["copy-a", "copy-b"]);
    assert!(plan.start.is_some());
}

#[test]
fn p09_a_few_finished_jobs_are_kept() {
    let jobs: Vec<_> = (0..6).map(|i| failed(&i.to_string(), i, i, 1)).collect();
    assert_eq!(planned(&wish(SHIFT, &jobs), 7).end, ["copy-0", "copy-1", "copy-2"]);
}

#[test]
fn p08_a_shift_that_ends_too_soon_is_no_storm() {
    let mut short = job("a", 0, JobState::Succeeded { at: at(2) });
    short.attempt = 2;
    assert_eq!(wait(&wish(SHIFT, &[short]), 2), 20);
    assert_eq!(wait(&wish(SHIFT, &[job("a", 0, JobState::Succeeded { at: at(21_000) })]), 21_000), 0);
}
