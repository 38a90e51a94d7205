//! What a run tells, as the API spells it. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        ActivationReceipt, ActivationReport, ActivationStep, DisasterRecoveryInstance, FenceLevel,
        FenceReport, Finding, MemberReport, Moment, ServerReport, StandbyCounts, StandbyProgress,
        StandbyReport, StandbyStage, oplog_reach,
    },
    standby::{
        Activation, Counts, Fence, Level, Moved, Receipt, SeedProgress, Server, Stage, Standing, Step, Update,
    },
    worker::{draft::Told, health::Movement, outcome::server_side},
};

impl From<Update> for Told<DisasterRecoveryInstance> {
    fn from(update: Update) -> Self {
        match update {
            Update::Moved(Moved { contact, busy, count, seed }) => Self::Moved {
                movement: Movement { contact, busy, count, transferred: count },
                progress: seed.map(progress),
            },
            Update::Standing(standing) => {
                let now = Timestamp::now();
                let (cycle, findings) = reported(*standing, now);
                Self::Done { began: now, cycle: Box::new(cycle), findings }
            }
            Update::Failed { side, reason, message, permanent } => {
                Self::Failed { side: side.map(server_side), reason, message, permanent }
            }
        }
    }
}

fn progress(seed: SeedProgress) -> StandbyProgress {
    let SeedProgress { collections_done, collections, documents_done, documents, bytes_done, current } = seed;
    StandbyProgress { collections_done, collections, documents_done, documents, bytes_done, current }
}

/// The report of how a standby stands now, and what a person should know.
#[must_use]
pub fn reported(standing: Standing, now: Timestamp) -> (StandbyReport, Vec<Finding>) {
    let Standing {
        stage,
        seeded_at,
        applied,
        master,
        oplog_window,
        fence,
        servers,
        counts,
        activation,
        findings,
    } = standing;
    let cycle = StandbyReport {
        completed_at: Time(now),
        stage: stage_of(stage),
        seeded_at: seeded_at.map(Moment),
        applied_time: applied.map(|applied| Moment(applied.wall)),
        master_time: master.map(Moment),
        oplog_window: oplog_window.map(oplog_reach),
        fence: fence_of(fence),
        master: server(servers.master),
        target: server(servers.target),
        members: servers
            .members
            .into_iter()
            .map(|member| MemberReport { name: member.name, role: member.role, healthy: member.healthy })
            .collect(),
        counts: counts_of(counts),
        activation: activation.map(activation_of),
    };
    let findings =
        findings.into_iter().map(|(reason, message)| Finding { reason: reason.to_owned(), message });
    (cycle, findings.collect())
}

fn stage_of(stage: Stage) -> StandbyStage {
    match stage {
        Stage::Seeding => StandbyStage::Seeding,
        Stage::CatchingUp => StandbyStage::CatchingUp,
        Stage::Following => StandbyStage::Following,
        Stage::Activating => StandbyStage::Activating,
        Stage::Active => StandbyStage::Active,
    }
}

fn fence_of(Fence { level, missing }: Fence) -> FenceReport {
    let level = match level {
        Level::None => FenceLevel::None,
        Level::Roles => FenceLevel::Roles,
        Level::WriteBlock => FenceLevel::WriteBlock,
    };
    FenceReport { level, missing: missing.into_iter().take(8).collect() }
}

fn server(Server { version, compatibility, set }: Server) -> ServerReport {
    ServerReport { version, compatibility, replica_set: set }
}

fn counts_of(Counts { changes, transactions, repeated, refetched }: Counts) -> StandbyCounts {
    StandbyCounts { changes, transactions, repeated, refetched }
}

fn activation_of(activation: Activation) -> ActivationReport {
    let Activation { step, requested_at, started_at, held, receipt } = activation;
    let step = match step {
        Step::Draining => ActivationStep::Draining,
        Step::Sealing => ActivationStep::Sealing,
        Step::Unfencing => ActivationStep::Unfencing,
        Step::Active => ActivationStep::Active,
    };
    ActivationReport {
        step,
        requested_at: Moment(requested_at),
        started_at: Moment(started_at),
        held,
        receipt: receipt.as_ref().map(receipt_of),
    }
}

fn receipt_of(receipt: &Receipt) -> ActivationReceipt {
    let Receipt { activated_at, took, draining, data, master, proved, master_answered } = *receipt;
    ActivationReceipt {
        activated_at: Moment(activated_at),
        took_milliseconds: milliseconds(took),
        drain_milliseconds: milliseconds(draining),
        data_time_point: Moment(data.wall),
        master_time: master.map(|master| Moment(master.wall)),
        proved,
        master_answered,
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
