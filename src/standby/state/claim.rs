//! Who may have a target.

use jiff::Timestamp;
use mongodb::bson::DateTime;

use super::record::{Phase, Record, time};
use crate::standby::{Error, Session, Side, lease::TAKE_AFTER};

/// What a run does that wants a target.
#[derive(Debug)]
pub(super) enum Claim {
    /// Nobody ever had it: take it.
    New,
    /// Take it over; `anew`: what was copied is to be removed.
    Take {
        anew: bool,
    },
    /// Another run has it. `wish`: it doesn't know yet that we want it.
    Wait {
        wish: bool,
    },
    /// It is a server of its own, made by this owner.
    Sealed,
    Refuse(Error),
}

/// Decides; `foreign`: databases that are there though nobody had the target; `now`: by the target's clock.
pub(super) fn decide(record: Option<&Record>, foreign: &[String], session: &Session, now: DateTime) -> Claim {
    let Some(record) = record else {
        return match foreign {
            [] => Claim::New,
            names => Claim::Refuse(not_empty(names)),
        };
    };
    if record.owner != session.owner {
        return Claim::Refuse(if record.phase == Phase::Active { sealed(record) } else { taken(record) });
    }
    if record.phase == Phase::Active {
        return Claim::Sealed;
    }
    let silent = now.timestamp_millis().saturating_sub(record.renewed_at.timestamp_millis());
    let is_over = u128::try_from(silent).is_ok_and(|silent| silent >= TAKE_AFTER.as_millis());
    if !record.held || is_over {
        return Claim::Take { anew: is_wanted_anew(record, session.resync) };
    }
    if record.run > session.run {
        return Claim::Refuse(Error::Superseded(format!(
            "run {} holds the target, which is later",
            record.run
        )));
    }
    match &record.successor {
        Some(other) if *other > session.run => {
            Claim::Refuse(Error::Superseded(format!("run {other} waits for the target, which is later")))
        }
        known => Claim::Wait { wish: known.as_ref() != Some(&session.run) && record.run != session.run },
    }
}

/// An activation goes on whatever is wished of the copy: it may be all that is left.
fn is_wanted_anew(record: &Record, resync: Option<Timestamp>) -> bool {
    let asked = resync.is_some_and(|asked| asked > record.began_at);
    record.phase == Phase::Emptying || (asked && record.phase < Phase::Activating)
}

fn refused(reason: &'static str, message: String) -> Error {
    Error::Refused { side: Some(Side::Target), reason, message }
}

fn not_empty(names: &[String]) -> Error {
    refused(
        "TargetNotEmpty",
        format!(
            "the target holds {} already, which Farshore didn't make: name a replica set that holds nothing, or drop what it holds",
            names.join(", ")
        ),
    )
}

fn taken(record: &Record) -> Error {
    refused(
        "TargetTaken",
        format!(
            "the target belongs to {}: name another replica set, or drop its database `farshore` if that owner is gone for good",
            record.owner
        ),
    )
}

/// Why a target that was activated is not written to.
pub(super) fn sealed(record: &Record) -> Error {
    let since = record.activation.as_ref().and_then(|of| of.receipt.as_ref()).map(|of| of.activated_at);
    let since = since.unwrap_or(time(record.renewed_at));
    refused(
        "TargetSealed",
        format!(
            "the target was activated at {since}, and is a server of its own: nothing is copied over it; name another replica set"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standby::{Endpoint, state::record::Activating};

    fn session(owner: &str, run: &str) -> Session {
        let endpoint = Endpoint { uri: "mongodb://one".to_owned(), credentials: None };
        Session {
            master: endpoint.clone(),
            target: endpoint,
            owner: owner.to_owned(),
            run: run.to_owned(),
            resync: None,
        }
    }

    fn told(record: &Record, session: &Session, at: i64) -> String {
        match decide(Some(record), &[], session, DateTime::from_millis(at)) {
            Claim::New => "new".to_owned(),
            Claim::Take { anew } => format!("take {anew}"),
            Claim::Wait { wish } => format!("wait {wish}"),
            Claim::Sealed => "sealed".to_owned(),
            Claim::Refuse(error) => error.reason().to_owned(),
        }
    }

    #[test]
    fn d10_a_run_takes_over_when_the_holder_has_let_go_or_is_silent() {
        let held = Record::new("shop/one", "run-2", DateTime::from_millis(1_000_000));
        let let_go = Record { held: false, ..held.clone() };
        let wished = Record { successor: Some("run-3".to_owned()), ..held.clone() };
        let cases = [
            (&held, "run-3", 1_000_000, "wait true"),
            (&held, "run-3", 1_014_999, "wait true"),
            (&held, "run-3", 1_015_000, "take false"),
            (&wished, "run-3", 1_000_000, "wait false"),
            (&wished, "run-4", 1_000_000, "wait true"),
            (&wished, "run-25", 1_000_000, "Superseded"),
            (&held, "run-1", 1_000_000, "Superseded"),
            // A run that was started again: what its first process sent may still be under way.
            (&held, "run-2", 1_000_000, "wait false"),
            (&held, "run-2", 1_015_000, "take false"),
            (&let_go, "run-2", 1_000_000, "take false"),
            (&let_go, "run-3", 1_000_000, "take false"),
            // A clock that goes back proves nothing.
            (&held, "run-3", 1_000, "wait true"),
        ];
        for (record, run, at, expected) in cases {
            assert_eq!(told(record, &session("shop/one", run), at), expected, "{run} at {at}");
        }
    }

    #[test]
    fn d03_an_activated_target_is_sealed_whatever_is_asked() {
        let mut record = Record::new("shop/one", "run-2", DateTime::from_millis(0));
        record.phase = Phase::Active;
        let mut again = session("shop/one", "run-3");
        again.resync = Some("2099-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(told(&record, &again, 9_000_000), "sealed");
        assert_eq!(told(&record, &session("shop/other", "run-3"), 9_000_000), "TargetSealed");
    }

    #[test]
    fn d04_a_target_of_somebody_else_or_with_foreign_data_is_refused() {
        let record = Record::new("shop/one", "run-2", DateTime::from_millis(0));
        assert_eq!(told(&record, &session("shop/other", "run-3"), 9_000_000), "TargetTaken");
        let mine = session("shop/one", "run-1");
        let foreign = ["orders".to_owned(), "users".to_owned()];
        match decide(None, &foreign, &mine, DateTime::from_millis(0)) {
            Claim::Refuse(error) => {
                assert_eq!(error.reason(), "TargetNotEmpty");
                assert!(error.to_string().contains("orders, users"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(decide(None, &[], &mine, DateTime::from_millis(0)), Claim::New));
    }

    #[test]
    fn d09_a_copy_is_made_anew_once_for_each_request_and_never_during_an_activation() {
        let began = DateTime::from_millis(1_000_000);
        let mut record = Record { held: false, ..Record::new("shop/one", "run-2", began) };
        let mut wish = session("shop/one", "run-3");
        let asked = |milliseconds| Some(Timestamp::from_millisecond(milliseconds).unwrap());
        let cases = [
            (Phase::Following, None, "take false"),
            (Phase::Following, asked(999_999), "take false"),
            (Phase::Following, asked(1_000_001), "take true"),
            (Phase::Seeding, asked(1_000_001), "take true"),
            (Phase::Activating, asked(1_000_001), "take false"),
            // It broke off while it was being emptied.
            (Phase::Emptying, None, "take true"),
        ];
        for (phase, resync, expected) in cases {
            (record.phase, wish.resync) = (phase, resync);
            assert_eq!(told(&record, &wish, 2_000_000), expected, "{phase:?}, {resync:?}");
        }
    }

    #[test]
    fn d03_a_sealed_target_tells_since_when() {
        let mut record = Record::new("shop/one", "run-2", DateTime::from_millis(0));
        let now: Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
        let wish = crate::standby::Activate {
            requested_at: now,
            drain_timeout: std::time::Duration::ZERO,
            accept_split_brain: false,
        };
        record.activation = Some(Activating::begin(&wish, now));
        assert!(sealed(&record).to_string().contains("1970-01-01"), "{}", sealed(&record));
    }
}
