//! The role that keeps a replica set in line with its master, and makes it take over.

mod told;

use std::{path::Path, time::Duration};

pub use told::reported;

use futures::FutureExt;
use jiff::Timestamp;
use kube::{Api, Client};
use tokio::sync::watch;

use super::{
    Error, Start,
    health::Health,
    report,
    run::{self, Lasting},
};
use crate::{
    api::{ActivationWish, DisasterRecoveryInstance, Served, StandbyReport},
    standby::{self, Activate, Endpoint, Session, Update},
    task::{Owner, StandbyTask, Task},
};

/// Longest rest of a worker that is well: a quiet master is asked each second.
const REST: Duration = Duration::from_secs(10);
/// Longest that the question may take what an earlier run knew.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the master's newest moment counts as that, between two runs.
const FRESH: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);
/// How old the word may be that somebody takes a split on them.
const WORD: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// Follows until the shift is over, or the target has taken over.
///
/// # Errors
/// See [`Error`]; the last report says the same.
pub async fn run(start: &Start, task: &Task, work: &StandbyTask) -> Result<(), Error> {
    let client = report::client().await?;
    let known = known(client, &task.owner).await;
    let lasting = Lasting::Held(Duration::from_secs(work.seconds));
    let session = session(start, &task.owner, work);
    let engine = move |strings: run::Strings<Update>| {
        let run::Strings { run_now: _, released: _, plan_ended: _, activate: wish, hand_over, updates } =
            strings;
        Ok(async move {
            let (activate, wanted) = watch::channel(None);
            let strings = standby::Strings { activate: wanted, hand_over, updates };
            // Boxed here, where the compiler can see that it is Send.
            let following = standby::run(session, strings).boxed();
            tokio::select! {
                ended = following => Ok(ended?),
                () = pass_on(wish, activate) => Err(Error::Broken("nobody waits for the activation".to_owned())),
            }
        })
    };
    let health = Health::telling(REST);
    run::serve::<DisasterRecoveryInstance, _, _>(start, (&task.owner, known), (health, lasting), engine).await
}

/// Passes the wish on, as far as it is one now. Never ends.
async fn pass_on(
    mut wish: watch::Receiver<Option<ActivationWish>>,
    activate: watch::Sender<Option<Activate>>,
) {
    loop {
        let wanted = wish.borrow_and_update().as_ref().map(|wish| wanted(wish, Timestamp::now()));
        if let Some(wanted) = wanted {
            activate.send_if_modified(|before| {
                let first = before.as_ref().map(|before| before.requested_at);
                let now = Activate { requested_at: first.unwrap_or(wanted.requested_at), ..wanted };
                let changed = before.as_ref() != Some(&now);
                *before = Some(now);
                changed
            });
        }
        if wish.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// A word that is older than an hour, or not spoken yet, was meant for something else.
fn wanted(wish: &ActivationWish, now: Timestamp) -> Activate {
    let counts = |at: Timestamp| at <= now + WORD && now.duration_since(at) <= WORD;
    Activate {
        requested_at: wish.requested_at.unwrap_or(now),
        drain_timeout: wish.drain_timeout,
        accept_split_brain: wish.accept_split_brain.is_some_and(counts),
    }
}

fn session(start: &Start, owner: &Owner, work: &StandbyTask) -> Session {
    let endpoint = |uri: &str, has: bool, folder: &Path| Endpoint {
        uri: uri.to_owned(),
        credentials: has.then(|| folder.to_owned()),
    };
    Session {
        master: endpoint(&work.master_uri, work.master_credentials, &start.mounts.instance),
        target: endpoint(&work.target_uri, work.target_credentials, &start.mounts.target),
        owner: owner.uid.clone(),
        run: start.run_id.clone(),
        resync: work.resync,
    }
}

/// What an earlier run reported last, as far as it is true still.
async fn known(client: Client, owner: &Owner) -> Option<StandbyReport> {
    let api: Api<DisasterRecoveryInstance> = Api::namespaced(client, &owner.namespace);
    match tokio::time::timeout(PATIENCE, api.get(&owner.name)).await {
        Ok(Ok(standby)) => {
            let same = standby.metadata.uid.as_deref() == Some(&owner.uid);
            let known = standby.observed().filter(|_| same)?.cycle.clone()?;
            Some(still_true(known, Timestamp::now()))
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "what an earlier run reported can't be read");
            None
        }
        Err(_) => {
            tracing::warn!("what an earlier run reported can't be read: no answer within {PATIENCE:?}");
            None
        }
    }
}

/// What was reached stays so. How far the master is was true then: this run has not asked it yet.
fn still_true(known: StandbyReport, now: Timestamp) -> StandbyReport {
    if now.duration_since(known.completed_at.0) <= FRESH {
        return known;
    }
    StandbyReport { master_time: None, oplog_window: None, ..known }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d09_how_far_the_master_was_before_a_silence_is_not_told_after_it() {
        let known: StandbyReport = serde_json::from_value(serde_json::json!({
            "completedAt": "2026-11-21T08:00:00Z", "stage": "Following",
            "appliedTime": "2026-11-21T08:00:00Z", "masterTime": "2026-11-21T08:00:00Z", "oplogWindow": "26h",
            "fence": {}, "master": {"version": "7.0.14", "replicaSet": "rs0"},
            "target": {"version": "7.0.14", "replicaSet": "dr"},
            "counts": {"changes": 5, "transactions": 1, "repeated": 0, "refetched": 0},
        }))
        .unwrap();
        let handed_over = still_true(known.clone(), "2026-11-21T08:00:20Z".parse().unwrap());
        assert_eq!(handed_over, known);
        let after_silence = still_true(known, "2026-11-21T08:01:00Z".parse().unwrap());
        assert!(after_silence.master_time.is_none() && after_silence.oplog_window.is_none());
        assert!(after_silence.applied_time.is_some(), "this was reached");
    }

    #[test]
    fn d13_the_word_that_a_split_is_accepted_counts_for_an_hour() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let accepted = |word: i64, now: i64| {
            let wish = ActivationWish {
                requested_at: None,
                drain_timeout: Duration::ZERO,
                accept_split_brain: Some(at(word)),
            };
            wanted(&wish, at(now)).accept_split_brain
        };
        assert!(accepted(10_000, 10_000) && accepted(10_000, 13_600));
        assert!(!accepted(10_000, 13_601), "it was meant for an earlier activation");
        assert!(!accepted(13_601, 10_000), "it lies in the future");
    }
}
