//! What a restore tells, as the API spells it. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        Moment, PlannedBackup, PlannedLogs, RecoveryPlan, RecoveryProgress, RecoveryReached, RecoveryRefusal,
        RecoveryReport, RecoveryWindow, Served, TimePointBasis,
    },
    backup::{catalog::Span, window::Basis},
    restore::{Plan, PlannedBase, Progress, Reached, Refusal},
    worker::{draft::Told, health::Movement},
};

/// Bases that are listed.
const BASES: usize = 16;
/// Bytes a second that an estimate takes for granted. What bounds a restore is rarely known before; this is what a
/// link of a gigabit brings.
const RATE: u64 = 100 << 20;

/// What a restore tells.
#[derive(Debug)]
pub enum Update {
    Moved(Progress),
    Planned(Box<Plan>),
    Refused(Box<Refusal>),
    Reached(Box<Reached>),
}

impl<K> From<Update> for Told<K>
where
    K: Served<Cycle = RecoveryReport, Progress = RecoveryProgress>,
{
    fn from(update: Update) -> Self {
        let now = Timestamp::now();
        let report = |plan, reached, refusal| Told::Done {
            began: now,
            cycle: Box::new(RecoveryReport { completed_at: Time(now), plan, reached, refusal }),
            findings: Vec::new(),
        };
        match update {
            Update::Moved(progress) => {
                Self::Moved { movement: Movement::default(), progress: Some(moving(progress)) }
            }
            Update::Planned(plan) => report(Some(planned(&plan, now)), None, None),
            Update::Refused(refusal) => report(None, None, Some(refused(&refusal))),
            Update::Reached(reached) => report(None, Some(what_was_reached(*reached)), None),
        }
    }
}

fn moving(progress: Progress) -> RecoveryProgress {
    RecoveryProgress {
        step: progress.step.word().to_owned(),
        done_bytes: progress.done,
        total_bytes: progress.total,
    }
}

fn planned(plan: &Plan, now: Timestamp) -> RecoveryPlan {
    let logs = &plan.logs[..plan.needed_logs];
    let ends = logs.first().zip(logs.last());
    RecoveryPlan {
        time_point: Moment(plan.time_point),
        latest: plan.latest,
        basis: match plan.basis {
            Basis::Proved => TimePointBasis::Proved,
            Basis::Estimated => TimePointBasis::Estimated,
        },
        bases: plan
            .bases
            .iter()
            .take(BASES)
            .map(|base| PlannedBackup {
                name: base.id.clone(),
                time: Moment(base.time),
                bytes: base.bytes,
                key: first_key(base),
            })
            .collect(),
        logs: ends.map(|(first, last)| PlannedLogs {
            first: first.name.clone(),
            last: last.name.clone(),
            count: logs.len() as u64,
            bytes: logs.iter().map(|log| log.object.size).sum(),
            key: logs.iter().all(|log| log.object.stored_as.is_none()).then(|| first.object.key.clone()),
        }),
        bytes: plan.bytes,
        estimated_duration: Some(format!("{:#}", plan.estimate(RATE))),
        made_at: Time(now),
    }
}

/// Where the base's tool would look for it.
fn first_key(base: &PlannedBase) -> Option<String> {
    base.base.keys.payload.first().map(|first| match first {
        Span::One(key) | Span::Under(key) => key.clone(),
    })
}

fn refused(refusal: &Refusal) -> RecoveryRefusal {
    RecoveryRefusal {
        message: refusal.to_string(),
        windows: refusal
            .windows
            .iter()
            .map(|window| RecoveryWindow { from: Moment(window.from), to: Moment(window.to) })
            .collect(),
    }
}

fn what_was_reached(reached: Reached) -> RecoveryReached {
    RecoveryReached {
        time_point: Moment(reached.time_point),
        last_commit: reached.last_commit.map(Moment),
        transactions: reached.transactions,
        bytes: reached.bytes,
        answers: reached.answers,
    }
}
