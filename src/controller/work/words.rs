//! What is told as Events: one a change of reason.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    api::condition::{
        ACCEPTED, DELETION_HELD, FENCED, IN_SYNC, MIGRATED, PURGE_BLOCKED, READY, SEEDED, WINDOW_CONTIGUOUS,
        WITHIN_RPO, find,
    },
    controller::events::Announcement,
};

/// Reasons of `Ready` that are no news: every resource begins with them, they pass by themselves, or another
/// condition tells.
const QUIET: [&str; 13] = [
    "Seeding",
    "Activating",
    "Active",
    "FirstSync",
    "Migrating",
    "OtherRegion",
    "Deleting",
    "PurgeBlocked",
    "Planning",
    "Planned",
    "Restoring",
    "Starting",
    "Suspending",
];

/// Reasons not to be accepted that pass by themselves within moments, as soon as another rule's worker has told
/// something: no cause for alarm.
const PASSING: [&str; 2] = ["PairNotProbed", "PairNotMutual"];

/// What changed.
#[must_use]
pub fn changes(old: &[Condition], new: &[Condition]) -> Vec<Announcement> {
    new.iter().filter_map(|now| change(find(old, &now.type_), now, new)).collect()
}

fn change(before: Option<&Condition>, now: &Condition, all: &[Condition]) -> Option<Announcement> {
    let turned = before.is_none_or(|before| before.status != now.status);
    let news = turned || before.is_some_and(|before| before.reason != now.reason);
    let was_bad = before.is_some_and(|before| before.status == "False");
    let message = now.message.as_str();
    match (now.type_.as_str(), now.status.as_str()) {
        (ACCEPTED, "True") if turned => Some(Announcement::normal("Accepted", message)),
        (ACCEPTED, "False") if news && PASSING.contains(&now.reason.as_str()) => {
            Some(Announcement::normal(&now.reason, message))
        }
        (ACCEPTED, "False") if news && now.reason != "OtherRegion" => {
            Some(Announcement::warning(&now.reason, message))
        }
        (READY, "True") if news && !QUIET.contains(&now.reason.as_str()) => {
            Some(Announcement::normal(&now.reason, message))
        }
        (READY, _) if news && !QUIET.contains(&now.reason.as_str()) => {
            // What `Accepted` says is not said twice.
            let said = find(all, ACCEPTED).is_some_and(|accepted| accepted.reason == now.reason);
            (!said).then(|| Announcement::warning(&now.reason, message))
        }
        (WITHIN_RPO, "False") if turned => Some(Announcement::warning("RPOBreached", message)),
        (WITHIN_RPO, "True") if turned && was_bad => Some(Announcement::normal("RPORecovered", message)),
        (WINDOW_CONTIGUOUS, "False") if turned => Some(Announcement::warning("WindowSplit", message)),
        (WINDOW_CONTIGUOUS, "True") if turned && was_bad => {
            Some(Announcement::normal("WindowWhole", message))
        }
        (SEEDED, "True") if turned => Some(Announcement::normal("Seeded", message)),
        (FENCED, "False") if news && now.reason == "NotFenced" => {
            Some(Announcement::warning("NotFenced", message))
        }
        (FENCED, "True") if turned && was_bad => Some(Announcement::normal("Fenced", message)),
        (MIGRATED, "True") if turned => Some(Announcement::normal("Migrated", message)),
        (IN_SYNC, "False") if news => Some(Announcement::warning(&now.reason, message)),
        (IN_SYNC, "True") if turned && was_bad => Some(Announcement::normal("InSync", message)),
        (DELETION_HELD, "True") if turned => Some(Announcement::warning("DeletionHeld", message)),
        (DELETION_HELD, "False") if turned && before.is_some() => {
            Some(Announcement::normal("DeletionReleased", message))
        }
        (PURGE_BLOCKED, "True") if news => Some(Announcement::warning("PurgeBlocked", message)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{api::condition::Verdict, controller::status::conditions};

    #[test]
    fn p05_an_event_tells_each_change_once() {
        let said = |type_, verdict, reason: &str| {
            conditions(
                &[],
                None,
                Timestamp::UNIX_EPOCH,
                vec![(type_, verdict, reason.to_owned(), "m".to_owned())],
            )
        };
        let reasons = |old: &[Condition], new: &[Condition]| {
            changes(old, new).into_iter().map(|told| told.reason).collect::<Vec<_>>()
        };
        let bad = said(WITHIN_RPO, Verdict::False, "CopyBehind");
        let good = said(WITHIN_RPO, Verdict::True, "Recent");
        assert_eq!(reasons(&good, &bad), ["RPOBreached"]);
        assert!(reasons(&bad, &bad).is_empty());
        assert_eq!(reasons(&bad, &good), ["RPORecovered"]);
        assert!(reasons(&[], &good).is_empty(), "the first good news is none");
        let refused = said(ACCEPTED, Verdict::False, "SameRegion");
        assert_eq!(reasons(&[], &refused), ["SameRegion"]);
        let warns =
            |new: &[Condition]| changes(&[], new).into_iter().map(|told| told.warning).collect::<Vec<_>>();
        assert_eq!(warns(&refused), [true]);
        for waited_for in PASSING {
            let waiting =
                [said(ACCEPTED, Verdict::False, waited_for), said(READY, Verdict::False, waited_for)]
                    .concat();
            assert_eq!((reasons(&[], &waiting), warns(&waiting)), (vec![waited_for.to_owned()], vec![false]));
        }
        let first = said(READY, Verdict::False, "FirstSync");
        assert!(reasons(&[], &first).is_empty());
        assert_eq!(reasons(&first, &said(READY, Verdict::True, "Synced")), ["Synced"]);
    }
}
