//! How far a target is, and who may write to it: one document in the target itself, written by a majority.
//!
//! Each change of it is one `findAndModify` that only the holder's epoch lets through, and renews the holder's lease.

mod claim;
mod document;
pub mod record;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use mongodb::{
    Client,
    bson::{Bson, Document, doc},
};
use tokio::sync::{Semaphore, watch};

pub use self::record::{Activating, Drained, Phase, Record, Start};
use self::{
    claim::Claim,
    document::{ID, databases, literal, look, modify, noted_value, seen, take, take_new, value},
};
use super::{
    Error, Result, Session, Step,
    feed::Position,
    lease::{Lease, RENEW_EACH},
    servers::code_of,
    target::{RECORDS, Target},
};
use crate::mongo::Place;

/// How often one looks that waits for a target.
const LOOK_EACH: Duration = Duration::from_millis(200);

/// A target that is held. It is shared by reference: each of its moves is one change of the document.
#[derive(Debug)]
pub struct State {
    target: Target,
    owner: String,
    run: String,
    epoch: AtomicI64,
    /// One at a time changes the document.
    moves: Semaphore,
    record: watch::Sender<Record>,
}

/// What came of wanting a target.
#[derive(Debug)]
pub enum Claimed {
    /// It is ours until we let go of it. `anew`: [`State::empty`] comes first.
    Held { state: Arc<State>, anew: bool },
    /// This owner has activated it: it is not written to any more.
    Sealed(Box<Record>),
}

/// What a move of the checkpoint writes down.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub window: i64,
    pub parts: i64,
    /// `None`: the window is not through.
    pub position: Option<Position>,
    pub counts: super::Counts,
    pub noted: Option<Vec<u8>>,
}

/// Waits until the target is free, and takes it; a later run than the holder's is let in by it at once.
///
/// # Errors
/// [`Error::Refused`] for a target that is another owner's, was activated for another, or holds what Farshore didn't
/// make; [`Error::Superseded`] where a later run has it.
pub async fn claim(client: &Client, session: &Session) -> Result<Claimed> {
    loop {
        let (record, now) = look(client).await?;
        let foreign = if record.is_none() { databases(client).await? } else { Vec::new() };
        let taken = match claim::decide(record.as_ref(), &foreign, session, now) {
            Claim::Refuse(error) => return Err(error),
            Claim::Sealed => {
                let Some(record) = record else { continue };
                return Ok(Claimed::Sealed(Box::new(record)));
            }
            Claim::New => take_new(client, session, now).await?.map(|taken| (taken, false)),
            Claim::Take { anew } => take(client, session, record.as_ref()).await?.map(|taken| (taken, anew)),
            Claim::Wait { wish } => {
                if wish {
                    let set = doc! {"successor": literal(&session.run)};
                    modify(client, seen(record.as_ref()), set, false).await?;
                }
                None
            }
        };
        if let Some(((record, asked), anew)) = taken {
            let state = Arc::new(State::new(client, session, record, asked));
            tracing::info!(epoch = state.epoch(), run = state.run, phase = ?state.record().phase, "holds the target");
            return Ok(Claimed::Held { state, anew });
        }
        tokio::time::sleep(LOOK_EACH).await;
    }
}

/// Why a target that was activated is not written to.
#[must_use]
pub fn sealed(record: &Record) -> Error {
    claim::sealed(record)
}

impl State {
    fn new(client: &Client, session: &Session, record: Record, asked: Instant) -> Self {
        Self {
            target: Target::new(client.clone(), Lease::new(asked)),
            owner: session.owner.clone(),
            run: session.run.clone(),
            epoch: AtomicI64::new(record.epoch),
            moves: Semaphore::new(1),
            record: watch::Sender::new(record),
        }
    }

    /// For writing to it, as long as it is held.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What was written last.
    #[must_use]
    pub fn record(&self) -> Record {
        self.record.borrow().clone()
    }

    /// Renews the lease. True: a later run wants the target; end what is begun, and [`let go`](Self::let_go).
    ///
    /// # Errors
    /// [`Error::Superseded`] where another run has it; [`Error::Server`] where it doesn't answer.
    pub async fn renew(&self) -> Result<bool> {
        let record = self.change(Document::new()).await?;
        Ok(record.successor.is_some_and(|successor| successor > self.run))
    }

    /// Renews the lease for as long as nobody else wants the target, and it answers: run it beside everything else.
    /// A renewal that fails is tried again while the lease lasts.
    ///
    /// # Errors
    /// [`Error::Superseded`] where another run has it; [`Error::Server`] where it no longer answers.
    pub async fn keep(&self) -> Result<()> {
        loop {
            match self.renew().await {
                Ok(true) => return Ok(()),
                Err(error @ Error::Superseded(_)) => return Err(error),
                Err(error) if self.target.lease().check().is_err() => return Err(error),
                Err(error) => tracing::warn!(%error, "the lease could not be renewed"),
                Ok(false) => {}
            }
            tokio::time::sleep(RENEW_EACH).await;
        }
    }

    /// The first copy begins here.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn begin(&self, start: &Start) -> Result<()> {
        let set = doc! {
            "phase": value(&Phase::Seeding)?, "start": value(start)?, "position": value(&start.position)?,
            "window": 0_i64, "parts": 0_i64,
        };
        self.change(set).await.map(drop)
    }

    /// Everything is copied; the copy is consistent once every change up to `consistent_at` is applied.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn copied(&self, consistent_at: Place) -> Result<()> {
        let set = doc! {"phase": value(&Phase::CatchingUp)?, "consistent_at": value(&consistent_at)?};
        self.change(set).await.map(drop)
    }

    /// The copy is consistent no sooner than here: something was copied again.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn postpone(&self, consistent_at: Place) -> Result<()> {
        let later = self.record().consistent_at.max(Some(consistent_at));
        self.change(doc! {"consistent_at": value(&later)?}).await.map(drop)
    }

    /// The copy is consistent, and all its indexes are built.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn follow(&self, now: Timestamp) -> Result<()> {
        let set = doc! {"phase": value(&Phase::Following)?, "seeded_at": value(&now)?};
        self.change(set).await.map(drop)
    }

    /// Moves the checkpoint.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        let mut set = doc! {
            "window": checkpoint.window, "parts": checkpoint.parts, "counts": value(&checkpoint.counts)?,
        };
        if let Some(position) = &checkpoint.position {
            set.insert("position", value(position)?);
        }
        if let Some(noted) = &checkpoint.noted {
            set.insert("noted", noted_value(Some(noted.clone())));
        }
        self.change(set).await.map(drop)
    }

    /// Keeps what the applying has to know until the copy is consistent.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn note(&self, noted: Option<Vec<u8>>) -> Result<()> {
        self.change(doc! {"noted": noted_value(noted)}).await.map(drop)
    }

    /// Nothing happened at the master up to here. Only between windows.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn idle(&self, position: &Position) -> Result<()> {
        self.change(doc! {"position": value(position)?}).await.map(drop)
    }

    /// Writes an activation down, before its step is begun.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn activate(&self, activating: &Activating) -> Result<()> {
        let phase = if activating.step == Step::Active { Phase::Active } else { Phase::Activating };
        let set = doc! {"phase": value(&phase)?, "activation": value(activating)?};
        self.change(set).await.map(drop)
    }

    /// Goes to a new epoch: whatever else believes to hold the target is refused from now on.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn seal(&self) -> Result<()> {
        self.change(doc! {"epoch": {"$add": ["$epoch", 1_i64]}}).await.map(drop)
    }

    fn epoch(&self) -> i64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Lets go of the target: the next run may have it at once. Only when nothing is being written any more.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn let_go(&self) -> Result<()> {
        self.target.lease().end();
        self.change(doc! {"held": false}).await.map(drop)
    }

    /// Removes all that was copied, so that a copy can be made anew; may be repeated.
    ///
    /// # Errors
    /// As [`renew`](Self::renew); [`Error::Refused`] for a target that is being activated.
    pub async fn empty(&self) -> Result<()> {
        let record = self.record();
        if record.phase >= Phase::Activating {
            return Err(sealed(&record));
        }
        self.change(doc! {"phase": value(&Phase::Emptying)?, "activation": literal(Bson::Null)}).await?;
        for name in databases(self.target.client()).await? {
            tracing::info!(name, "is dropped: the copy is made anew");
            self.target.write(&name, doc! {"dropDatabase": 1}, &format!("dropping database {name}")).await?;
        }
        for collection in [super::journal::COLLECTION, "seed"] {
            let what = format!("dropping {RECORDS}.{collection}");
            match self.target.write(RECORDS, doc! {"drop": collection}, &what).await {
                Err(error) if code_of(&error) != Some(26) => return Err(error),
                _ => {}
            }
        }
        let now = value(&record::time(look(self.target.client()).await?.1))?;
        let (nothing, counts) = (literal(Bson::Null), value(&super::Counts::default())?);
        let set = doc! {
            "phase": value(&Phase::Empty)?, "began_at": now, "start": nothing.clone(), "position": nothing.clone(),
            "consistent_at": nothing.clone(), "seeded_at": nothing.clone(), "noted": nothing,
            "window": 0_i64, "parts": 0_i64, "counts": counts,
        };
        self.change(set).await.map(drop)
    }

    /// One move, which renews the lease as well.
    async fn change(&self, mut set: Document) -> Result<Record> {
        let _turn = self.moves.acquire().await.map_err(|error| Error::Broken(error.to_string()))?;
        let (asked, epoch) = (Instant::now(), self.epoch());
        set.insert("renewed_at", "$$NOW");
        let query = doc! {"_id": ID, "owner": &self.owner, "run": &self.run, "epoch": epoch};
        let Some(record) = modify(self.target.client(), query, set, false).await? else {
            self.target.lease().end();
            return Err(Error::Superseded(format!(
                "the target is no longer held by run {} (epoch {epoch}): another run has taken it over",
                self.run
            )));
        };
        self.target.lease().renew(asked);
        self.epoch.store(record.epoch, Ordering::SeqCst);
        self.record.send_replace(record.clone());
        Ok(record)
    }
}
