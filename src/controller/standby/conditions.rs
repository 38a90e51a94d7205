//! What is said of an accepted disaster recovery instance, condition by condition.

use super::status::View;
use crate::{
    api::{
        FailureSide, FenceLevel, ServerReport, StandbyReport,
        condition::{
            FENCED, MASTER_REACHABLE, OPLOG_CONTIGUOUS, READY_TO_ACTIVATE, SEEDED, TARGET_REACHABLE, Verdict,
        },
    },
    controller::{
        status::Said,
        work::{health::Health, trouble::Trouble},
    },
};

/// Reason of a worker that found the master's oplog to begin after the copy.
const GAP: &str = "OplogGap";

fn say(type_: &'static str, verdict: Verdict, reason: &str, message: impl Into<String>) -> Said {
    (type_, verdict, reason.to_owned(), message.into())
}

/// What is known, and how the worker stands.
pub struct Scene<'a> {
    pub about: &'a str,
    /// What the worker told last.
    pub known: Option<&'a StandbyReport>,
    pub trouble: Option<&'a Trouble>,
    /// The worker works, and what it told counts still.
    pub live: bool,
    pub seeded: bool,
    pub active: bool,
}

impl Scene<'_> {
    /// Everything but `Ready`, `Accepted` and what kstatus reads.
    #[must_use]
    pub fn conditions(&self) -> Vec<Said> {
        let reachable = [(MASTER_REACHABLE, FailureSide::Source), (TARGET_REACHABLE, FailureSide::Target)];
        let mut said = vec![self.seeded(), self.fenced(), self.ready_to_activate(), self.contiguous()];
        said.extend(reachable.map(|(type_, side)| self.reachable(type_, side)));
        said
    }

    fn seeded(&self) -> Said {
        let about = self.about;
        if self.seeded {
            let message = format!("{about}: what the master held is here, complete and consistent");
            return say(SEEDED, Verdict::True, "Seeded", message);
        }
        let message = format!("{about}: the first copy is not complete and consistent yet; see status.seed");
        say(SEEDED, Verdict::False, "Seeding", message)
    }

    fn fenced(&self) -> Said {
        let about = self.about;
        if self.active {
            return say(
                FENCED,
                Verdict::False,
                "Active",
                format!("{about} is open to its users: it is active"),
            );
        }
        let Some(fence) = self.known.map(|known| &known.fence).filter(|_| self.live) else {
            let message =
                format!("{about}: nobody tells now whether users are kept from writing; see condition Ready");
            return say(FENCED, Verdict::Unknown, "NotTold", message);
        };
        let missing = if fence.missing.is_empty() {
            String::new()
        } else {
            format!("; what is missing: {}", fence.missing.join("; "))
        };
        match fence.level {
            FenceLevel::None => say(
                FENCED,
                Verdict::False,
                "NotFenced",
                format!("{about}: users can write to the copy{missing}"),
            ),
            FenceLevel::Roles => {
                let message = format!("{about}: accounts may only read{missing}");
                say(FENCED, Verdict::True, "Roles", message)
            }
            FenceLevel::WriteBlock => {
                let message =
                    format!("{about}: the servers refuse writes, and accounts may only read{missing}");
                say(FENCED, Verdict::True, "WriteBlock", message)
            }
        }
    }

    fn ready_to_activate(&self) -> Said {
        let about = self.about;
        let no = |verdict, reason: &str, message: String| say(READY_TO_ACTIVATE, verdict, reason, message);
        if self.active {
            return no(Verdict::False, "Active", format!("{about} is active already"));
        }
        if !self.seeded {
            let message =
                format!("{about}: the first copy is not complete and consistent yet; see status.seed");
            return no(Verdict::False, "NotSeeded", message);
        }
        // A master that does not answer is what it is for.
        let of_master = |trouble: &Trouble| trouble.side == Some(FailureSide::Source);
        if let Some(trouble) = self.trouble.filter(|trouble| trouble.permanent || !of_master(trouble)) {
            return no(Verdict::False, &trouble.reason, trouble.message.clone());
        }
        if let Some(applied) = self.known.and_then(|known| known.applied_time).filter(|_| self.live) {
            let message = format!("{about}: every change of the master up to {applied} is here");
            return no(Verdict::True, "Follows", message);
        }
        let message = format!("{about}: no worker tells now how far the copy is; see condition Ready");
        no(Verdict::Unknown, "NotTold", message)
    }

    fn contiguous(&self) -> Said {
        if let Some(trouble) = self.trouble.filter(|trouble| trouble.reason == GAP) {
            return say(OPLOG_CONTIGUOUS, Verdict::False, GAP, trouble.message.clone());
        }
        let about = self.about;
        if self.known.is_some() && self.live && !self.active {
            let message = format!("{about}: the master's oplog reaches back to where the copy is");
            return say(OPLOG_CONTIGUOUS, Verdict::True, "Contiguous", message);
        }
        let message = format!("{about}: the master's oplog is not looked at now; see condition Ready");
        say(OPLOG_CONTIGUOUS, Verdict::Unknown, "NotTold", message)
    }

    fn reachable(&self, type_: &'static str, side: FailureSide) -> Said {
        if let Some(trouble) = self.trouble.filter(|trouble| trouble.side == Some(side)) {
            return say(type_, Verdict::False, &trouble.reason, trouble.message.clone());
        }
        let (about, word) = (self.about, if side == FailureSide::Source { "master" } else { "target" });
        let answers = |known: &StandbyReport| side == FailureSide::Target || known.master_time.is_some();
        if self.live && !self.active && self.known.is_some_and(answers) {
            return say(type_, Verdict::True, "Answers", format!("{about}: the {word} answers"));
        }
        let message = format!("{about}: the {word} is not asked now; see condition Ready");
        say(type_, Verdict::Unknown, "NotTold", message)
    }
}

/// What both servers say of themselves must be one version (`D07`).
#[must_use]
pub fn versions_differ(about: &str, known: &StandbyReport) -> Option<Trouble> {
    let StandbyReport { master, target, .. } = known;
    let differ = |a: &ServerReport, b: &ServerReport| {
        let known = !a.version.is_empty() && !b.version.is_empty();
        let (a_compatible, b_compatible) = (a.compatibility.as_ref(), b.compatibility.as_ref());
        let compatible = a_compatible.zip(b_compatible).is_none_or(|(a, b)| a == b);
        known && (release(&a.version) != release(&b.version) || !compatible)
    };
    if !differ(master, target) {
        return None;
    }
    let words = |server: &ServerReport| match &server.compatibility {
        Some(compatibility) => format!("{} (compatible with {compatibility})", server.version),
        None => server.version.clone(),
    };
    Some(Trouble {
        side: Some(FailureSide::Target),
        reason: "VersionsDiffer".to_owned(),
        message: format!(
            "{about}: the master is of version {}, the target of {}; bring the target to the master's version",
            words(master),
            words(target)
        ),
        permanent: true,
    })
}

/// The first two numbers of a version.
fn release(version: &str) -> Vec<&str> {
    version.split('.').take(2).collect()
}

impl View<'_> {
    /// What is said besides `Ready`, `Accepted` and what kstatus reads.
    #[must_use]
    pub fn said(&self, health: &Health) -> Vec<Said> {
        let trouble = match health {
            Health::Troubled(trouble) => Some(trouble),
            _ => None,
        };
        self.scene(trouble).conditions()
    }
}
