//! How an instance stands, and what is said of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Case;
use crate::{
    api::{
        InstancePhase, RecoveryFailure, RecoveryStatus,
        condition::{ACCEPTED, READY, RECONCILING, STALLED, Verdict},
    },
    controller::{status::Said, work::standing::out},
    rules::Objection,
};

/// How it stands, in words.
pub(super) struct Stand {
    pub phase: InstancePhase,
    pub recovery: RecoveryStatus,
    pub said: Vec<Said>,
}

impl Case<'_> {
    pub(super) fn planned(&self, recovery: RecoveryStatus) -> Stand {
        let moment = recovery.plan.as_ref().map(|plan| plan.time_point.0.to_string()).unwrap_or_default();
        let message = format!(
            "instance {}: {moment} can be restored; set spec.bootstrap.recovery.planOnly: false to do it",
            self.name()
        );
        Stand {
            phase: InstancePhase::Planned,
            recovery,
            said: vec![(READY, Verdict::False, "Planned".to_owned(), message), accepted()],
        }
    }

    pub(super) fn underway(
        &self,
        phase: InstancePhase,
        recovery: RecoveryStatus,
        (reason, message): (&str, String),
    ) -> Stand {
        let message = format!("instance {}: {message}", self.name());
        let say = |type_, verdict| (type_, verdict, reason.to_owned(), message.clone());
        Stand {
            phase,
            recovery,
            said: vec![say(READY, Verdict::False), accepted(), say(RECONCILING, Verdict::True)],
        }
    }

    pub(super) fn waiting(&self, reason: &str, message: String) -> Stand {
        self.underway(InstancePhase::Pending, self.old.clone(), (reason, message))
    }

    pub(super) fn kept_out(&self, objection: &Objection) -> Stand {
        Stand { phase: InstancePhase::Pending, recovery: self.old.clone(), said: out(objection) }
    }

    pub(super) fn fail(&self, recovery: RecoveryStatus, reason: &str, message: String) -> Stand {
        let failure = RecoveryFailure { reason: reason.to_owned(), message, at: Time(self.now) };
        Self::failed_with(RecoveryStatus { failure: Some(failure), ..recovery })
    }

    pub(super) fn failed(&self, failure: RecoveryFailure) -> Stand {
        Self::failed_with(RecoveryStatus { failure: Some(failure), ..self.old.clone() })
    }

    pub(super) fn failed_with(recovery: RecoveryStatus) -> Stand {
        let (reason, message) = recovery
            .failure
            .as_ref()
            .map_or_else(Default::default, |failure| (failure.reason.clone(), failure.message.clone()));
        let say = |type_, verdict| (type_, verdict, reason.clone(), message.clone());
        let said = vec![say(READY, Verdict::False), accepted(), say(STALLED, Verdict::True)];
        Stand { phase: InstancePhase::Failed, recovery, said }
    }
}

pub(super) fn accepted() -> Said {
    (ACCEPTED, Verdict::True, "Accepted".to_owned(), "the copy that it names can be restored from".to_owned())
}
