//! The report of a run, as it grows. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::sync::oneshot;

use super::{Error, health::Movement};
use crate::{
    api::{Failure, FailureSide, Finding, Observed, Served},
    task::shortened,
};

/// Findings that are reported.
const FINDINGS: usize = 32;
/// Longest text of a finding or failure, in bytes: an object of the API has its limits.
pub(super) const TEXT: usize = 1024;

/// What is reported of a kind.
pub type Of<K> = Observed<<K as Served>::Cycle, <K as Served>::Progress>;

/// A change to the last cycle that was reported.
pub type Change<K> = Box<dyn FnOnce(&mut <K as Served>::Cycle) + Send>;

/// What an engine tells, as the API spells it.
pub enum Told<K: Served> {
    /// Something moved, or came to rest; the progress, while there is any to tell of.
    Moved { movement: Movement, progress: Option<K::Progress> },
    /// A cycle succeeded that began then.
    Done { began: Timestamp, cycle: Box<K::Cycle>, findings: Vec<Finding> },
    /// Something of the last cycle is other than it was; `written` is to be answered once that is reported. Where no
    /// cycle was reported there is nothing to change, and no answer.
    Amended { change: Change<K>, written: oneshot::Sender<()> },
    /// An attempt failed.
    Failed { side: Option<FailureSide>, reason: &'static str, message: String, permanent: bool },
}

/// Takes in what is told, gives reports out.
#[derive(Debug)]
pub struct Draft<K: Served> {
    observed: Of<K>,
    /// The latest request, and when it was seen.
    requested: Option<(String, Timestamp)>,
    /// To be answered when the report is written.
    unwritten: Vec<oneshot::Sender<()>>,
}

impl<K: Served> Draft<K> {
    /// The first report of a run. `known`: a cycle of an earlier run that still tells something true.
    #[must_use]
    pub fn new(run_id: &str, generation: i64, known: Option<K::Cycle>, now: Timestamp) -> Self {
        let observed = Observed {
            run_id: run_id.to_owned(),
            generation,
            reported_at: Time(now),
            cycle: known,
            progress: None,
            run_request: None,
            failure: None,
            findings: Vec::new(),
        };
        Self { observed, requested: None, unwritten: Vec::new() }
    }

    /// A request for a cycle was seen: the next one that begins honours it.
    pub fn request(&mut self, value: &str, now: Timestamp) {
        self.requested = Some((value.to_owned(), now));
    }

    /// Takes in what the engine tells.
    pub fn take(&mut self, told: Told<K>, now: Timestamp) {
        match told {
            Told::Moved { progress, movement: _ } => self.observed.progress = progress,
            Told::Done { began, cycle, findings } => self.done(began, *cycle, findings),
            Told::Amended { change, written } => {
                if let Some(cycle) = &mut self.observed.cycle {
                    change(cycle);
                    self.unwritten.push(written);
                }
            }
            Told::Failed { side, reason, message, permanent } => {
                self.fail(side, reason, &message, permanent, now);
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
    pub fn observed(&self) -> &Of<K> {
        &self.observed
    }

    /// Who waits for the report as it stands to be written.
    pub fn take_unwritten(&mut self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut self.unwritten)
    }

    fn done(&mut self, began: Timestamp, cycle: K::Cycle, findings: Vec<Finding>) {
        if let Some((value, seen)) = &self.requested
            && began >= *seen
        {
            self.observed.run_request = Some(value.clone());
            self.requested = None;
        }
        let findings = findings.into_iter().take(FINDINGS);
        self.observed.findings =
            findings.map(|found| Finding { message: shortened(&found.message, TEXT), ..found }).collect();
        self.observed.cycle = Some(cycle);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::BackupSyncService;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn draft() -> Draft<BackupSyncService> {
        Draft::new("run", 1, None, at(0))
    }

    fn done(began: i64) -> Told<BackupSyncService> {
        let cycle = serde_json::json!({
            "startedAt": at(began), "completedAt": at(began + 1), "basis": "Proved",
            "backups": {"full": 1, "incremental": 0, "logs": 3, "bytes": 5},
            "usage": {"storedBytes": 5, "transferredBytes": 5}, "pending": {"objects": 0, "bytes": 0},
        });
        let cycle = Box::new(serde_json::from_value(cycle).unwrap());
        Told::Done { began: at(began), cycle, findings: Vec::new() }
    }

    fn failed(reason: &'static str) -> Told<BackupSyncService> {
        Told::Failed { side: None, reason, message: "m".repeat(5_000), permanent: false }
    }

    #[test]
    fn p09_a_request_is_honoured_by_a_cycle_that_began_after_it() {
        let mut draft = draft();
        draft.request("2026-01-01T00:00:00Z", at(100));
        draft.take(done(99), at(100));
        assert_eq!(draft.observed().run_request, None, "that cycle was under way already");
        draft.take(done(101), at(102));
        assert_eq!(draft.observed().run_request.as_deref(), Some("2026-01-01T00:00:00Z"));
    }

    #[test]
    fn a_failure_keeps_the_moment_it_began_and_goes_with_the_next_success() {
        let mut draft = draft();
        draft.take(failed("SlowDown"), at(10));
        draft.take(failed("SlowDown"), at(20));
        let failure = draft.observed().failure.clone().unwrap();
        assert!(failure.since.0 == at(10) && failure.message.len() <= TEXT);
        draft.take(failed("StoreFull"), at(30));
        assert_eq!(draft.observed().failure.as_ref().unwrap().since.0, at(30));
        draft.take(done(40), at(41));
        assert_eq!(draft.observed().failure, None);
    }
}
