//! The target becomes a server of its own.
//!
//! The master is kept from writing and read to its end, where it can be; then what is applied is made final, users
//! are let in, and a receipt says what it cost. Each step is written down before it is begun, and may be repeated: a
//! run that is killed anywhere is continued by the next one.
//!
//! A run calls [`begin`] once, and then does what [`next`] says until there is a [`Receipt`]:
//! [`Action::Ask`] → [`ask`], [`Action::ReadOn`] → apply what the feed tells, [`Action::Hold`] → tell why, wait a
//! little, ask again, [`Action::Complete`] → [`complete`].

use std::time::Duration;

use jiff::Timestamp;
use mongodb::{
    Client,
    bson::{Document, doc},
    error::ErrorKind,
};

use super::{
    Activate, Error, Moment, Receipt, Result, Step,
    fence::Fence,
    state::{Activating, Drained, Phase, Record, State, record::time},
    target::within,
};
use crate::mongo::Place;

/// A master that doesn't answer within it counts as gone.
const ANSWER: Duration = Duration::from_secs(2);
/// What `serverStatus` calls a server that takes no writes of users.
const BLOCKED: i64 = 2;

/// How the master was when it was asked last.
#[derive(Clone, Debug, PartialEq)]
pub enum Master {
    NotAsked,
    Unreachable,
    /// It answers, and nothing keeps its users from writing.
    Open {
        /// Why it can't be kept from it.
        why: String,
        last: Moment,
    },
    /// Nobody writes to it any more, and this was its last change.
    Blocked {
        last: Moment,
    },
}

/// What an activation is decided on.
#[derive(Clone, Debug)]
pub struct Facts {
    pub now: Timestamp,
    pub wish: Activate,
    pub master: Master,
    /// Everything of the master up to it is at the target.
    pub applied: Option<Moment>,
    /// The newest moment of the master that was ever heard of.
    pub known: Option<Moment>,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ask the master, and keep its users from writing.
    Ask,
    /// Apply what the feed tells.
    ReadOn,
    /// A person has to decide; the feed is read on meanwhile.
    Hold(String),
    Complete(Drained),
}

/// Decides.
#[must_use]
pub fn next(activating: &Activating, facts: &Facts) -> Action {
    if activating.step > Step::Draining
        && let Some(drained) = activating.drained
    {
        return Action::Complete(drained);
    }
    let spent = Duration::try_from(facts.now.duration_since(activating.started_at)).unwrap_or_default();
    let is_over = spent >= facts.wish.drain_timeout;
    let has = |last: &Moment| facts.applied.is_some_and(|applied| applied.place >= last.place);
    let newest = |last: Option<Moment>| last.max_by_place(facts.known).max_by_place(facts.applied);
    match &facts.master {
        Master::NotAsked => Action::Ask,
        Master::Blocked { last } if has(last) => {
            Action::Complete(Drained { proved: true, answered: true, master: Some(*last) })
        }
        Master::Open { why, .. } if !facts.wish.accept_split_brain => Action::Hold(format!(
            "the master answers, and can't be kept from writing ({why}): stop it, or let this account do it, or accept that what is written to it from now on is lost by the annotation farshore.dev/accept-split-brain (farshore follow: --accept-split-brain)"
        )),
        Master::Open { last, .. } if has(last) || is_over => {
            Action::Complete(Drained { proved: false, answered: true, master: newest(Some(*last)) })
        }
        Master::Unreachable if is_over => {
            Action::Complete(Drained { proved: false, answered: false, master: newest(None) })
        }
        Master::Blocked { .. } | Master::Open { .. } | Master::Unreachable => Action::ReadOn,
    }
}

trait MaxByPlace {
    fn max_by_place(self, other: Self) -> Self;
}

impl MaxByPlace for Option<Moment> {
    fn max_by_place(self, other: Self) -> Self {
        self.into_iter().chain(other).max_by_key(|moment| moment.place)
    }
}

/// Writes down that an activation has begun, or finds the one that had.
///
/// # Errors
/// [`Error::Refused`] with `NotReady` where the copy was never consistent; as [`State::renew`].
pub async fn begin(state: &State, wish: &Activate) -> Result<Activating> {
    let record = state.record();
    if let Some(activating) = record.activation {
        return Ok(activating);
    }
    if record.phase < Phase::Following {
        return Err(not_ready());
    }
    let activating = Activating::begin(wish, Timestamp::now());
    tracing::warn!(requested_at = %wish.requested_at, "the target is being activated");
    state.activate(&activating).await?;
    Ok(activating)
}

fn not_ready() -> Error {
    Error::Refused {
        side: None,
        reason: "NotReady",
        message: "the first copy is not complete, so there is nothing consistent to activate: wait until it is, or restore a backup"
            .to_owned(),
    }
}

/// Keeps the master's users from writing, and asks for its last change.
pub async fn ask(master: &Client) -> Master {
    let admin = master.database("admin");
    let block = doc! {"setUserWriteBlockMode": 1, "global": true};
    let refused = match within(ANSWER, admin.run_command(block)).await {
        Ok(_) => None,
        Err(error) => match *error.kind {
            ErrorKind::Command(ref refused) => Some(refused.message.clone()),
            _ => return Master::Unreachable,
        },
    };
    // Asked for after it was blocked: there is nothing of its users behind it.
    let Ok(hello) = within(ANSWER, admin.run_command(doc! {"hello": 1})).await else {
        return Master::Unreachable;
    };
    let Some(last) = last_write(&hello) else { return Master::Unreachable };
    match refused {
        // Unless somebody else did it, for a reason of theirs.
        Some(why) if !is_blocked(master).await => Master::Open { why, last },
        _ => Master::Blocked { last },
    }
}

fn last_write(hello: &Document) -> Option<Moment> {
    let last = hello.get_document("lastWrite").ok()?;
    let at = last.get_document("opTime").ok()?.get_timestamp("ts").ok()?;
    let wall = last.get_datetime("lastWriteDate").ok().map(|date| time(*date));
    let wall = wall.or_else(|| Timestamp::from_second(i64::from(at.time)).ok())?;
    Some(Moment { place: Place { seconds: at.time, increment: at.increment }, wall })
}

async fn is_blocked(master: &Client) -> bool {
    let status = within(ANSWER, master.database("admin").run_command(doc! {"serverStatus": 1})).await;
    let mode =
        status.ok().and_then(|status| status.get_document("repl").ok()?.get("userWriteBlockMode").cloned());
    mode.and_then(|mode| mode.as_i64().or(mode.as_i32().map(i64::from))) == Some(BLOCKED)
}

/// Makes final what is applied, lets users in, and writes the receipt. All windows must be applied. May be
/// repeated, from where it was.
///
/// # Errors
/// As [`State::renew`], and [`Fence::lower`].
pub async fn complete(state: &State, fence: &Fence, drained: Drained) -> Result<Receipt> {
    loop {
        let record = state.record();
        let Some(mut activating) = record.activation.clone() else { return Err(not_ready()) };
        match activating.step {
            Step::Draining => {
                activating.step = Step::Sealing;
                (activating.drained, activating.drained_at) = (Some(drained), Some(Timestamp::now()));
                state.activate(&activating).await?;
            }
            Step::Sealing => {
                // Whoever else may still believe to hold the target is refused from now on.
                state.seal().await?;
                activating.step = Step::Unfencing;
                state.activate(&activating).await?;
            }
            Step::Unfencing => {
                for warning in fence.lower().await? {
                    tracing::warn!(warning, "while users were let in");
                }
                activating.receipt = Some(receipt(&record, &activating, Timestamp::now())?);
                activating.step = Step::Active;
                state.activate(&activating).await?;
            }
            Step::Active => {
                return activating
                    .receipt
                    .ok_or_else(|| Error::Broken("an activation without a receipt".to_owned()));
            }
        }
    }
}

fn receipt(record: &Record, activating: &Activating, now: Timestamp) -> Result<Receipt> {
    let position = record.position.as_ref();
    let position = position.ok_or_else(|| Error::Broken("nothing was ever applied".to_owned()))?;
    let wall = position.wall.or_else(|| Timestamp::from_second(i64::from(position.place.seconds)).ok());
    let drained = activating.drained;
    let since_start =
        |at: Timestamp| Duration::try_from(at.duration_since(activating.started_at)).unwrap_or_default();
    Ok(Receipt {
        activated_at: now,
        took: since_start(now),
        draining: activating.drained_at.map(since_start).unwrap_or_default(),
        data: Moment { place: position.place, wall: wall.unwrap_or(now) },
        master: drained.and_then(|drained| drained.master),
        proved: drained.is_some_and(|drained| drained.proved),
        master_answered: drained.is_some_and(|drained| drained.answered),
    })
}

#[cfg(test)]
mod tests;
