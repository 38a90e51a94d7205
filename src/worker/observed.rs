//! What a run has to say, as the API spells it. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Error, outcome::failure_side};
use crate::{
    api::{
        BackupCounts, Cycle, CycleProgress, Failure, FailureSide, Finding, Observed, Pending, RecoveryWindow,
        TimePointBasis, Usage,
    },
    backup::{
        sync::{Progress, Report, Update},
        window::{Basis, Gap},
    },
    task::shortened,
};

/// Newest windows that are reported.
const WINDOWS: usize = 32;
/// Newest holes that are reported.
const GAPS: usize = 8;
/// Findings that are reported.
const FINDINGS: usize = 32;
/// Longest text of a finding or failure, in bytes: an object of the API has its limits.
const TEXT: usize = 1024;

/// Takes updates in, gives reports out.
#[derive(Clone, Debug)]
pub struct Draft {
    observed: Observed,
    /// The latest request, and when it was seen.
    requested: Option<(String, Timestamp)>,
}

impl Draft {
    /// The first report of a run: nothing is known yet.
    #[must_use]
    pub fn new(run_id: &str, generation: i64, now: Timestamp) -> Self {
        let observed = Observed {
            run_id: run_id.to_owned(),
            generation,
            reported_at: Time(now),
            cycle: None,
            progress: None,
            run_request: None,
            failure: None,
            findings: Vec::new(),
        };
        Self { observed, requested: None }
    }

    /// A request for a cycle was seen: the next one that begins honours it.
    pub fn request(&mut self, value: &str, now: Timestamp) {
        self.requested = Some((value.to_owned(), now));
    }

    /// Takes in what the engine tells.
    pub fn take(&mut self, update: Update, now: Timestamp) {
        match update {
            Update::Progress(progress) => self.observed.progress = moving(progress),
            Update::Cycle(report) => self.take_cycle(&report),
            Update::Failed { side, reason, message, permanent } => {
                self.fail(side.map(failure_side), reason, &message, permanent, now);
            }
        }
        self.observed.reported_at = Time(now);
    }

    /// The run ends with an error: its words are the last report.
    pub fn end(&mut self, error: &Error, now: Timestamp) {
        let words = error.last_words();
        let permanent = error.exit_code() == crate::task::ExitCode::Permanent;
        self.fail(words.side, &words.reason, &words.message, permanent, now);
        self.observed.progress = None;
        self.observed.reported_at = Time(now);
    }

    /// The report as it stands.
    #[must_use]
    pub fn observed(&self) -> &Observed {
        &self.observed
    }

    fn take_cycle(&mut self, report: &Report) {
        if let Some((value, seen)) = &self.requested
            && report.started_at >= *seen
        {
            self.observed.run_request = Some(value.clone());
            self.requested = None;
        }
        self.observed.findings = report
            .findings
            .iter()
            .take(FINDINGS)
            .map(|found| Finding {
                reason: found.reason.to_owned(),
                message: shortened(&found.message, TEXT),
            })
            .collect();
        self.observed.cycle = Some(cycle(report));
        self.observed.failure = None;
    }

    /// `since` is the moment of the first failure of a row of equal ones.
    fn fail(
        &mut self,
        side: Option<FailureSide>,
        reason: &str,
        message: &str,
        permanent: bool,
        now: Timestamp,
    ) {
        let since = match &self.observed.failure {
            Some(earlier) if earlier.reason == reason && earlier.side == side => earlier.since.clone(),
            _ => Time(now),
        };
        self.observed.failure = Some(Failure {
            side,
            reason: reason.to_owned(),
            message: shortened(message, TEXT),
            permanent,
            since,
        });
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
        Some(Ok(moment)) => (Some(Time(*moment)), None),
        Some(Err(why)) => (None, Some(shortened(why, TEXT))),
    };
    Cycle {
        started_at: Time(report.started_at),
        completed_at: Time(report.completed_at),
        latest_data_time_point: report.latest.map(Time),
        basis: match report.basis {
            Basis::Proved => TimePointBasis::Proved,
            Basis::Estimated => TimePointBasis::Estimated,
        },
        windows: newest(&report.windows, WINDOWS)
            .iter()
            .map(|window| RecoveryWindow { from: Time(window.from), to: Time(window.to) })
            .collect(),
        gaps: newest(&report.gaps, GAPS).iter().map(gap).collect(),
        source_latest_time: report.source_latest.map(Time),
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
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn report(started: i64) -> Report {
        Report {
            started_at: at(started),
            completed_at: at(started + 1),
            latest: Some(at(started - 5)),
            basis: Basis::Proved,
            windows: (0..40)
                .map(|n| crate::backup::window::Window { from: at(n * 10), to: at(n * 10 + 5) })
                .collect(),
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
        }
    }

    fn failed(reason: &'static str) -> Update {
        Update::Failed { side: None, reason, message: "m".repeat(5_000), permanent: false }
    }

    #[test]
    fn p09_a_request_is_honoured_by_a_cycle_that_began_after_it() {
        let mut draft = Draft::new("run", 1, at(0));
        draft.request("2026-01-01T00:00:00Z", at(100));
        draft.take(Update::Cycle(Box::new(report(99))), at(100));
        assert_eq!(draft.observed().run_request, None, "that cycle was under way already");
        draft.take(Update::Cycle(Box::new(report(101))), at(102));
        assert_eq!(draft.observed().run_request.as_deref(), Some("2026-01-01T00:00:00Z"));
    }

    #[test]
    fn b16_windows_are_the_newest_and_bounded() {
        let mut draft = Draft::new("run", 1, at(0));
        draft.take(Update::Cycle(Box::new(report(1_000))), at(1_001));
        let windows = &draft.observed().cycle.as_ref().unwrap().windows;
        assert_eq!((windows.len(), windows[31].to.0), (WINDOWS, at(395)));
    }

    #[test]
    fn a_failure_keeps_the_moment_it_began_and_goes_with_the_next_success() {
        let mut draft = Draft::new("run", 1, at(0));
        draft.take(failed("SlowDown"), at(10));
        draft.take(failed("SlowDown"), at(20));
        let failure = draft.observed().failure.clone().unwrap();
        assert!(failure.since.0 == at(10) && failure.message.len() <= TEXT);
        draft.take(failed("StoreFull"), at(30));
        assert_eq!(draft.observed().failure.as_ref().unwrap().since.0, at(30));
        draft.take(Update::Cycle(Box::new(report(40))), at(41));
        assert_eq!(draft.observed().failure, None);
    }
}
