//! Whether a target can follow a master: a function of what they say of themselves.

use std::time::Duration;

use mongodb::bson::oid::ObjectId;

use super::facts::Facts;
use crate::{
    mongo::Place,
    standby::{Error, Result, Side, error::NEW_COPY},
};

/// The oldest server that the driver talks to: 4.2.
const OLDEST_WIRE: i32 = 8;
/// An oplog that reaches back less is told of: a break of that length costs a copy.
const SHORT: Duration = Duration::from_hours(1);

/// What is in the way, and what a person should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub refusals: Vec<Refusal>,
    /// Reason and message.
    pub findings: Vec<(&'static str, String)>,
}

/// Something that only a person can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub side: Option<Side>,
    pub reason: &'static str,
    pub message: String,
}

impl Verdict {
    /// The findings, unless something is in the way.
    ///
    /// # Errors
    /// [`Error::Refused`] with the first reason, and every message.
    pub fn accept(self) -> Result<Vec<(&'static str, String)>> {
        let Some(first) = self.refusals.first() else { return Ok(self.findings) };
        let (side, reason) = (first.side, first.reason);
        let messages: Vec<String> = self.refusals.into_iter().map(|refusal| refusal.message).collect();
        Err(Error::Refused { side, reason, message: messages.join("; ") })
    }

    fn refuse(&mut self, side: impl Into<Option<Side>>, reason: &'static str, message: String) {
        self.refusals.push(Refusal { side: side.into(), reason, message });
    }
}

/// Compares what two servers say of themselves. What is not known isn't wrong.
#[must_use]
pub fn preflight(master: &Facts, target: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    each(master, Side::Master, &mut verdict);
    each(target, Side::Target, &mut verdict);
    compare(master, target, &mut verdict);
    for (namespace, why) in &master.uncopied {
        let message =
            format!("{namespace} is {why}: these are not supported yet; drop it, or follow another master");
        verdict.refuse(Side::Master, "NotSupported", message);
    }
    if let Some(window) = master.oplog
        && window.length() < SHORT
    {
        let minutes = window.length().as_secs() / 60;
        let message = format!(
            "the master's oplog reaches back {minutes} minutes: a longer break costs a new copy; make it larger with replSetResizeOplog"
        );
        verdict.findings.push(("OplogShort", message));
    }
    verdict
}

fn each(facts: &Facts, side: Side, verdict: &mut Verdict) {
    let word = side.word();
    if facts.wire < OLDEST_WIRE {
        let message = format!("the {word} is MongoDB {}: 4.2 or later is needed; upgrade it", facts.version);
        verdict.refuse(side, "VersionTooOld", message);
    }
    if facts.router {
        let message = format!("the {word} is a router of a sharded cluster: only replica sets are supported");
        verdict.refuse(side, "Sharded", message);
    } else if facts.set.is_none() {
        let message =
            format!("the {word} is not a member of a replica set: start it with --replSet, and initiate it");
        verdict.refuse(side, "NotAReplicaSet", message);
    }
    let oplog_of_target = |what: &str| side == Side::Target && what.contains("oplog");
    for (what, role) in &facts.denied {
        if oplog_of_target(what) {
            continue;
        }
        let message = format!("the {word}'s account may not do {what}: grant it the role {role}");
        verdict.refuse(side, "PrivilegeMissing", message);
    }
}

fn compare(master: &Facts, target: &Facts, verdict: &mut Verdict) {
    if release(&master.version) != release(&target.version) {
        let message = format!(
            "the master is MongoDB {}, the target {}: bring the target to the master's major.minor version",
            master.version, target.version
        );
        verdict.refuse(None, "VersionsDiffer", message);
    } else if let (Some(of_master), Some(of_target)) = (&master.compatibility, &target.compatibility)
        && of_master != of_target
    {
        let message = format!(
            "the master's feature compatibility version is {of_master}, the target's {of_target}: set the same with setFeatureCompatibilityVersion"
        );
        verdict.refuse(None, "VersionsDiffer", message);
    }
    if master.set_id.is_some() && master.set_id == target.set_id {
        let message = "the target is the master's own replica set: name another one".to_owned();
        verdict.refuse(Side::Target, "SameReplicaSet", message);
    }
}

fn release(version: &str) -> Vec<&str> {
    version.split('.').take(2).collect()
}

/// Makes sure that a master is still the one that the target is a copy of.
///
/// # Errors
/// [`Error::Refused`] with `MasterDiverged`: its replica set is another one, or it has lost what was copied already.
pub fn same_master((recorded, copied): (Option<ObjectId>, Option<Place>), master: &Facts) -> Result<()> {
    if let (Some(recorded), Some(found)) = (recorded, master.set_id)
        && recorded != found
    {
        let message = format!(
            "the master's replica set is {found}, and the target is a copy of {recorded}: name the old one, or {NEW_COPY}"
        );
        return Err(diverged(message));
    }
    match (copied, master.newest) {
        (Some(copied), Some(newest)) if newest < copied => Err(lost(copied, newest)),
        _ => Ok(()),
    }
}

/// A master whose newest moment is before what was copied of it.
pub(in crate::standby) fn lost(copied: Place, newest: Place) -> Error {
    diverged(format!(
        "the master's newest change is of {}.{}, and the target has changes of {}.{}: the master was restored or replaced; {NEW_COPY}, or let the target take over",
        newest.seconds, newest.increment, copied.seconds, copied.increment
    ))
}

fn diverged(message: String) -> Error {
    Error::Refused { side: Some(Side::Master), reason: "MasterDiverged", message }
}

#[cfg(test)]
mod tests;
