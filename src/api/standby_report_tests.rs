use super::*;

fn moment(text: &str) -> Moment {
    Moment(text.parse().unwrap())
}

fn report(second: &str) -> StandbyReport {
    StandbyReport {
        completed_at: Time(format!("2026-11-21T02:00:{second}Z").parse().unwrap()),
        stage: StandbyStage::Following,
        seeded_at: None,
        applied_time: Some(moment(&format!("2026-11-21T02:00:{second}Z"))),
        master_time: Some(moment(&format!("2026-11-21T02:00:{second}Z"))),
        oplog_window: Some(oplog_reach(Duration::from_hours(26))),
        fence: FenceReport::default(),
        master: ServerReport::default(),
        target: ServerReport::default(),
        members: Vec::new(),
        counts: StandbyCounts::default(),
        activation: None,
    }
}

#[test]
fn d09_a_standby_that_follows_is_told_of_every_ten_seconds() {
    let first = report("10");
    assert_eq!(report("19.9").dated_as(&first), first);
    assert_eq!(report("20").dated_as(&first), report("20"));
    let still =
        StandbyReport { applied_time: first.applied_time, master_time: first.master_time, ..report("50") };
    assert_eq!(still.dated_as(&first), first, "nothing moves");
}

#[test]
fn d09_a_master_that_falls_silent_is_told_of_at_once() {
    let first = report("10");
    let silent = StandbyReport { master_time: None, oplog_window: None, ..report("12") };
    assert_eq!(silent.clone().dated_as(&first), silent);
    let back = report("13");
    assert_eq!(back.clone().dated_as(&silent), back);
    let step = StandbyReport { stage: StandbyStage::Activating, ..report("11") };
    assert_eq!(step.clone().dated_as(&first), step);
}

#[test]
fn d09_the_reach_of_an_oplog_is_rounded_down() {
    for (seconds, text) in
        [(0, "0s"), (119, "119s"), (120, "2m"), (7_199, "119m"), (7_200, "2h"), (93_700, "26h")]
    {
        assert_eq!(String::from(oplog_reach(Duration::from_secs(seconds))), text);
    }
}
