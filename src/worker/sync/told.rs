//! What the engine of backups tells, as the API spells it. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        BackupCounts, BackupSyncService, Cycle, CycleProgress, Finding, Moment, Pending, RecoveryWindow,
        TimePointBasis, Usage,
    },
    backup::{
        sync::{Progress, Report, Update},
        window::{Basis, Gap},
    },
    task::shortened,
    worker::{
        draft::{TEXT, Told},
        health::Movement,
        outcome::failure_side,
    },
};

/// Newest windows that are reported.
const WINDOWS: usize = 32;
/// Newest holes that are reported.
const GAPS: usize = 8;

impl From<Update> for Told<BackupSyncService> {
    fn from(update: Update) -> Self {
        match update {
            Update::Progress(progress) => {
                Self::Moved { movement: movement(&progress), progress: moving(progress) }
            }
            Update::Cycle(report) => {
                tracing::info!(latest = ?report.latest, copied = report.copied_objects, "cycle");
                let findings = report
                    .findings
                    .iter()
                    .map(|found| Finding { reason: found.reason.to_owned(), message: found.message.clone() });
                Self::Done {
                    began: report.started_at,
                    findings: findings.collect(),
                    cycle: Box::new(cycle(&report)),
                }
            }
            Update::Failed { side, reason, message, permanent } => {
                Self::Failed { side: side.map(failure_side), reason, message, permanent }
            }
        }
    }
}

fn movement(progress: &Progress) -> Movement {
    Movement {
        // What is missing is known once both sides were listed.
        contact: progress.pending_objects > 0,
        busy: progress.busy,
        count: progress.movement,
        transferred: progress.transferred_bytes,
    }
}

fn moving(progress: Progress) -> Option<CycleProgress> {
    if progress.pending_objects == 0 && progress.current.is_none() {
        return None;
    }
    Some(CycleProgress {
        pending: Pending { objects: progress.pending_objects, bytes: progress.pending_bytes },
        transferred_bytes: progress.transferred_bytes,
        current: progress.current,
    })
}

fn cycle(report: &Report) -> Cycle {
    let (covered_until, engine_unasked) = match &report.covered_until {
        None => (None, None),
        Some(Ok(moment)) => (Some(Moment(*moment)), None),
        Some(Err(why)) => (None, Some(shortened(why, TEXT))),
    };
    Cycle {
        started_at: Time(report.started_at),
        completed_at: Time(report.completed_at),
        latest_data_time_point: report.latest.map(Moment),
        basis: match report.basis {
            Basis::Proved => TimePointBasis::Proved,
            Basis::Estimated => TimePointBasis::Estimated,
        },
        windows: newest(&report.windows, WINDOWS)
            .iter()
            .map(|window| RecoveryWindow { from: Moment(window.from), to: Moment(window.to) })
            .collect(),
        gaps: newest(&report.gaps, GAPS).iter().map(gap).collect(),
        source_latest_time: report.source_latest.map(Moment),
        covered_until,
        engine_unasked,
        backups: BackupCounts {
            full: report.full,
            incremental: report.incremental,
            logs: report.logs,
            bytes: report.stored_bytes,
        },
        usage: Usage { stored_bytes: report.stored_bytes, transferred_bytes: report.transferred_bytes },
        pending: Pending { objects: report.pending_objects, bytes: report.pending_bytes },
    }
}

fn newest<T>(all: &[T], count: usize) -> &[T] {
    &all[all.len().saturating_sub(count)..]
}

fn gap(gap: &Gap) -> String {
    let until = gap.before.map_or("the next backup".to_owned(), |moment| moment.to_string());
    let text = format!(
        "{} is missing: no moment after {} and before {until} can be restored",
        gap.missing, gap.after
    );
    shortened(&text, TEXT)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::backup::window::Window;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn b16_windows_are_the_newest_and_bounded() {
        let windows = (0..40).map(|n| Window { from: at(n * 10), to: at(n * 10 + 5) }).collect();
        let report = Report {
            started_at: at(1_000),
            completed_at: at(1_001),
            latest: Some(at(995)),
            basis: Basis::Proved,
            windows,
            gaps: Vec::new(),
            source_latest: None,
            covered_until: None,
            full: 1,
            incremental: 2,
            logs: 3,
            stored_bytes: 4,
            transferred_bytes: 5,
            pending_objects: 0,
            pending_bytes: 0,
            copied_objects: 0,
            copied_bytes: 0,
            pruned_objects: 0,
            findings: Vec::new(),
        };
        let windows = cycle(&report).windows;
        assert_eq!((windows.len(), windows[31].to.0), (WINDOWS, at(395)));
    }
}
