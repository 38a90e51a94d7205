//! When drills begin, and which moments they restore: pure.

use std::time::Duration;

use cronexpr::{FallbackTimezoneOption, MakeTimestamp, ParseOptions, parse_crontab_with};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::{
    api::{RecoveryDrill, RecoveryDrillStatus, RecoveryWindow},
    controller::{context::uid_of, names},
};

/// When the next drill begins: one that was missed begins at once, and once.
///
/// # Errors
/// A schedule that can't be read, in words.
pub fn next_time(
    drill: &RecoveryDrill,
    status: &RecoveryDrillStatus,
    now: Timestamp,
) -> Result<Timestamp, String> {
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    let bad = |error: cronexpr::Error| {
        format!(
            "spec.schedule is {:?}: {error}; write it like \"0 3 * * *\" (each night at three, UTC)",
            drill.spec.schedule
        )
    };
    let crontab = parse_crontab_with(&drill.spec.schedule, options).map_err(bad)?;
    let jitter = Duration::from_secs(names::spread(&uid_of(drill), drill.spec.jitter.get().as_secs().max(1)));
    let created = drill.creation_timestamp().map_or(now, |time| time.0);
    let last = status.begun_at.as_ref().map_or(created, |time| time.0);
    let after = last.checked_sub(SignedDuration::try_from(jitter).unwrap_or_default()).unwrap_or(last);
    let next = crontab.find_next(MakeTimestamp(after.max(created))).map_err(bad)?;
    Ok(next.timestamp() + jitter)
}

/// Any second of the windows, each alike.
#[must_use]
pub fn random(windows: &[RecoveryWindow], seed: &str) -> Option<Timestamp> {
    let lengths: Vec<u64> = windows
        .iter()
        .map(|window| u64::try_from(window.to.0.duration_since(window.from.0).as_secs()).unwrap_or(0) + 1)
        .collect();
    let mut offset = names::spread(seed, lengths.iter().sum());
    for (window, length) in windows.iter().zip(lengths) {
        if offset < length {
            let moment = window.from.0 + SignedDuration::from_secs(i64::try_from(offset).unwrap_or(0));
            return Some(moment.min(window.to.0));
        }
        offset -= length;
    }
    None
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::Moment;

    fn drill(schedule: &str) -> RecoveryDrill {
        serde_yaml_ng::from_str(&format!(
            "apiVersion: farshore.dev/v1alpha1\nkind: RecoveryDrill\nmetadata: {{name: nightly, uid: u, creationTimestamp: '2026-11-20T12:00:00Z'}}\nspec: {{serviceRef: {{name: s}}, schedule: '{schedule}', jitter: 10m, instance: {{image: i, storage: 1Gi}}}}\n"
        ))
        .unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn b15_a_drill_begins_by_its_schedule_a_little_later_and_a_missed_one_once() {
        let nightly = drill("0 3 * * *");
        let mut status = RecoveryDrillStatus::default();
        let now = at("2026-11-22T12:00:00Z");
        let first = next_time(&nightly, &status, now).unwrap();
        let three = at("2026-11-21T03:00:00Z");
        assert!(three <= first && first < three + SignedDuration::from_mins(10), "{first}");
        // Two nights were missed; after the drill that makes up for them comes the next night's.
        status.begun_at = Some(Time(now));
        let next = next_time(&nightly, &status, now).unwrap();
        assert_eq!(next.duration_since(first), SignedDuration::from_hours(48));
        let told = next_time(&drill("every night"), &status, now).unwrap_err();
        assert!(told.contains("every night") && told.contains("0 3 * * *"), "{told}");
    }

    #[test]
    fn b15_a_random_moment_lies_in_a_window() {
        let window = |from: i64, to: i64| {
            let time = |second| Moment(Timestamp::from_second(second).unwrap());
            RecoveryWindow { from: time(from), to: time(to) }
        };
        let windows = [window(100, 109), window(200, 289)];
        let moments: Vec<i64> =
            (0..200).map(|seed| random(&windows, &seed.to_string()).unwrap().as_second()).collect();
        assert!(moments.iter().all(|m| (100..=109).contains(m) || (200..=289).contains(m)));
        let first = moments.iter().filter(|m| **m < 200).count();
        assert!((5..60).contains(&first), "a tenth of the time is a tenth of the moments: {first}");
        assert_eq!(random(&[], "seed"), None);
    }
}
