//! Whether a restored instance answered as it should: pure.

use crate::api::{DrillResult, RecoveryDrillSpec, RecoveryReached};

/// What is wrong with the answers; `None`: nothing.
#[must_use]
pub fn wrong(spec: &RecoveryDrillSpec, reached: &RecoveryReached, earlier: &[DrillResult]) -> Option<String> {
    for (at, check) in spec.checks.iter().enumerate() {
        let Some(answer) = reached.answers.get(at) else {
            return Some(format!("check {} was not answered", check.name));
        };
        if let Some(expected) = check.expect.as_ref().filter(|expected| expected.trim() != answer.trim()) {
            return Some(format!("check {} answered {answer:?}, where {expected:?} should be", check.name));
        }
        if check.grows
            && let Some(why) = falls(&check.name, (at, answer), reached, earlier)
        {
            return Some(why);
        }
    }
    let tables = reached.answers.get(spec.checks.len()).filter(|_| spec.check_tables)?;
    (tables != "OK").then(|| format!("the check of the tables says: {tables}"))
}

/// A number that grows with the moment is compared with what other moments had, before and after.
fn falls(
    name: &str,
    (at, answer): (usize, &str),
    reached: &RecoveryReached,
    earlier: &[DrillResult],
) -> Option<String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let Some(now) = number(answer) else {
        return Some(format!("check {name} answered {answer:?}, which is no number"));
    };
    earlier.iter().find_map(|drill| {
        let (moment, then) = (drill.time_point.as_ref()?, number(drill.answers.get(at)?)?);
        let fell = if moment.0 <= reached.time_point.0 { now < then } else { now > then };
        fell.then(|| {
            format!(
                "check {name} answered {now} for {}, but drill {} had {then} for {}",
                reached.time_point.0, drill.number, moment.0
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::{DrillOutcome, Moment};

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn spec(check: &str) -> RecoveryDrillSpec {
        serde_yaml_ng::from_str(&format!(
            "serviceRef: {{name: s}}\nschedule: '0 3 * * *'\ninstance: {{image: i, storage: 1Gi}}\nchecks: [{{name: rows, query: q{check}}}]\n"
        ))
        .unwrap()
    }

    fn reached(second: i64, answers: &[&str]) -> RecoveryReached {
        let answers = answers.iter().map(|&answer| answer.to_owned()).collect();
        RecoveryReached {
            time_point: Moment(at(second).0),
            last_commit: None,
            transactions: 0,
            bytes: 0,
            answers,
        }
    }

    fn earlier(second: i64, answer: &str) -> DrillResult {
        DrillResult {
            number: 1,
            result: DrillOutcome::Passed,
            started_at: at(0),
            completed_at: at(0),
            duration: String::new(),
            time_point: Some(Moment(at(second).0)),
            transactions: None,
            bytes: None,
            answers: vec![answer.to_owned()],
            message: None,
        }
    }

    #[test]
    fn b15_answers_are_compared_with_what_is_expected() {
        assert_eq!(wrong(&spec(", expect: '5'"), &reached(9, &["5\n"]), &[]), None);
        let told = wrong(&spec(", expect: '5'"), &reached(9, &["6"]), &[]).unwrap();
        assert!(told.contains("check rows") && told.contains('6') && told.contains('5'), "{told}");
        assert!(wrong(&spec(""), &reached(9, &[]), &[]).unwrap().contains("not answered"));
        let tables = RecoveryDrillSpec { check_tables: true, ..spec("") };
        assert_eq!(wrong(&tables, &reached(9, &["x", "OK"]), &[]), None);
        assert!(
            wrong(&tables, &reached(9, &["x", "shop.orders: corrupt"]), &[]).unwrap().contains("corrupt")
        );
    }

    #[test]
    fn b15_a_count_grows_with_the_moment_whichever_drill_came_first() {
        let grows = spec(", grows: true");
        let before = [earlier(100, "10")];
        assert_eq!(wrong(&grows, &reached(200, &["10"]), &before), None);
        assert!(wrong(&grows, &reached(200, &["9"]), &before).unwrap().contains("drill 1 had 10"));
        assert_eq!(wrong(&grows, &reached(50, &["9"]), &before), None, "an earlier moment has fewer");
        assert!(wrong(&grows, &reached(50, &["11"]), &before).is_some());
        assert!(wrong(&grows, &reached(200, &["many"]), &before).unwrap().contains("no number"));
    }
}
