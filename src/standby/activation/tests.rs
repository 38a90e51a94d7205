//! What is done next, in all cases.

use super::*;

fn moment(second: u32) -> Moment {
    let wall = Timestamp::from_second(i64::from(second)).unwrap();
    Moment { place: Place { seconds: second, increment: 1 }, wall }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn facts(master: Master, applied: u32, now: i64, accept: bool) -> Facts {
    let wish =
        Activate { requested_at: at(990), drain_timeout: Duration::from_secs(5), accept_split_brain: accept };
    Facts { now: at(now), wish, master, applied: Some(moment(applied)), known: Some(moment(110)) }
}

fn open(last: u32) -> Master {
    Master::Open { why: "no such command".to_owned(), last: moment(last) }
}

fn complete_with(proved: bool, answered: bool, master: u32) -> Action {
    Action::Complete(Drained { proved, answered, master: Some(moment(master)) })
}

#[test]
fn d13_a_living_master_is_blocked_and_read_to_its_end_or_a_person_decides() {
    let blocked = |last| Master::Blocked { last: moment(last) };
    let cases = [
        (facts(Master::NotAsked, 100, 1000, false), Action::Ask),
        // Blocked: no matter how long it takes, as nothing is lost.
        (facts(blocked(120), 119, 1000, false), Action::ReadOn),
        (facts(blocked(120), 119, 9000, false), Action::ReadOn),
        (facts(blocked(120), 120, 1000, false), complete_with(true, true, 120)),
        (facts(blocked(120), 125, 1000, false), complete_with(true, true, 120)),
        // Answers, and goes on writing.
        (facts(open(120), 119, 1000, true), Action::ReadOn),
        (facts(open(120), 120, 1000, true), complete_with(false, true, 120)),
        (facts(open(120), 119, 1005, true), complete_with(false, true, 120)),
        // Gone: what it had done by then is read as long as it was wished.
        (facts(Master::Unreachable, 100, 1004, false), Action::ReadOn),
        (facts(Master::Unreachable, 100, 1005, false), complete_with(false, false, 110)),
        (facts(Master::Unreachable, 115, 1005, true), complete_with(false, false, 115)),
    ];
    let wish = facts(Master::NotAsked, 0, 0, false).wish;
    let activating = Activating::begin(&wish, at(1000));
    for (facts, expected) in cases {
        assert_eq!(next(&activating, &facts), expected, "{facts:?}");
    }
    for now in [1000, 9000] {
        match next(&activating, &facts(open(120), 130, now, false)) {
            Action::Hold(message) => {
                assert!(
                    message.contains("no such command") && message.contains("accept-split-brain"),
                    "{message}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn d12_what_was_proved_is_not_decided_anew_after_a_crash() {
    let wish = facts(Master::NotAsked, 0, 0, false).wish;
    let drained = Drained { proved: true, answered: true, master: Some(moment(120)) };
    for step in [Step::Sealing, Step::Unfencing, Step::Active] {
        let activating = Activating { step, drained: Some(drained), ..Activating::begin(&wish, at(1000)) };
        let later = facts(Master::Unreachable, 120, 2000, false);
        assert_eq!(next(&activating, &later), Action::Complete(drained), "{step:?}");
    }
}

#[test]
fn d12_the_receipt_tells_the_moment_of_the_data_and_the_time_it_took() {
    let wish = facts(Master::NotAsked, 0, 0, false).wish;
    let mut record = Record::new("shop/one", "run-1", mongodb::bson::DateTime::from_millis(0));
    let mut activating = Activating::begin(&wish, at(1000));
    assert!(receipt(&record, &activating, at(1001)).is_err(), "nothing was applied");
    let place = Place { seconds: 100, increment: 7 };
    record.position = Some(crate::standby::feed::Position { place, wall: None, token: None });
    activating.drained = Some(Drained { proved: false, answered: false, master: Some(moment(110)) });
    activating.drained_at = Some(at(1000) + Duration::from_millis(800));
    let expected = Receipt {
        activated_at: at(1001),
        took: Duration::from_secs(1),
        draining: Duration::from_millis(800),
        data: Moment { place, wall: at(100) },
        master: Some(moment(110)),
        proved: false,
        master_answered: false,
    };
    assert_eq!(receipt(&record, &activating, at(1001)).unwrap(), expected);
}

#[test]
fn d12_the_last_change_of_a_master_is_read_from_its_greeting() {
    let ts = mongodb::bson::Timestamp { time: 120, increment: 1 };
    let hello = doc! {"lastWrite": {"opTime": {"ts": ts, "t": 1_i64}, "majorityOpTime": {"ts": 1}}};
    assert_eq!(last_write(&hello), Some(moment(120)));
    assert_eq!(last_write(&doc! {"isWritablePrimary": true}), None);
}
