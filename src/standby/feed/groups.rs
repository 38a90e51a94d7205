//! Events that belong together, and the proof that they are all there.
//!
//! What came last is held back until it is proved whole: by an event of a later cluster time or of another
//! transaction, by a token that stands for a later time, by the end of the transaction being told, or by a batch that
//! came empty after it (the server gives out every operation of a transaction before it looks for another entry).
//! So a transaction is given out as a whole or not at all, and a position is never ahead of a change.

use jiff::Timestamp;
use mongodb::bson::Document;

use super::{Group, Heard, Position, event::Event};
use crate::{
    mongo::{Change, Error as Unsupported, Place, diff::Update, size_of, size_of_value},
    standby::{Result, error::NEW_COPY, servers::preflight::lost},
};

/// A transaction is applied as a whole, and held in memory for it: so many bytes, as BSON.
pub(super) const TRANSACTION: usize = 128 << 20;

/// Puts events together.
#[derive(Debug)]
pub(super) struct Groups {
    /// Everything up to it was given out.
    before: Place,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    transaction: Option<Vec<u8>>,
    place: Place,
    wall: Option<Timestamp>,
    token: Document,
    changes: Vec<Change>,
    size: usize,
}

impl Groups {
    pub fn new(before: Place) -> Self {
        Self { before, held: None }
    }

    /// Everything up to it was given out.
    pub fn before(&self) -> Place {
        self.before
    }

    /// Something waits for proof.
    pub fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Takes the next event; answers with what it proves whole.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::standby::Error::Refused) with `MasterDiverged` where time goes back;
    /// [`Error::Change`](crate::standby::Error::Change) for a transaction that is too large.
    pub fn take(&mut self, event: Event) -> Result<Vec<Heard>> {
        let newest = self.held.as_ref().map_or(self.before, |held| held.place);
        if event.place < newest {
            return Err(lost(newest, event.place));
        }
        let mut heard = Vec::new();
        let same = |held: &Held| held.transaction.is_some() && held.transaction == event.transaction;
        let ends = event.ends;
        if let Some(held) = self.held.as_mut().filter(|held| same(held)) {
            held.add(event)?;
        } else {
            heard.extend(self.give_before(event.place));
            self.held = Some(Held::new(event));
        }
        if ends {
            heard.extend(self.settle());
        }
        Ok(heard)
    }

    /// What is held is whole.
    pub fn settle(&mut self) -> Option<Heard> {
        let held = self.held.take()?;
        self.before = held.place;
        Some(held.heard(self.before))
    }

    /// What is held is whole if it is older than this.
    pub fn settle_before(&mut self, place: Place) -> Option<Heard> {
        if self.held.as_ref().is_some_and(|held| held.place < place) { self.settle() } else { None }
    }

    /// Another event follows. If it is of the same time, not everything up to that time was given out.
    fn give_before(&mut self, next: Place) -> Option<Heard> {
        let held = self.held.take()?;
        if held.place < next {
            self.before = held.place;
        }
        Some(held.heard(self.before))
    }

    /// Nothing more happened up to here.
    pub fn idle(&mut self, place: Option<Place>, token: Option<Document>) -> Heard {
        self.before = self.before.max(place.unwrap_or_default());
        Heard::Idle(Position { place: self.before, wall: None, token })
    }
}

impl Held {
    fn new(event: Event) -> Self {
        let Event { transaction, place, wall, token, changes, ends: _ } = event;
        let size = if transaction.is_some() { changes.iter().map(size).sum() } else { 0 };
        Self { transaction, place, wall, token, changes, size }
    }

    fn add(&mut self, event: Event) -> Result<()> {
        self.size += event.changes.iter().map(size).sum::<usize>();
        if self.size > TRANSACTION {
            let message = format!(
                "the transaction of {}.{} is larger than {} MiB: transactions of that size are not supported; {NEW_COPY}",
                self.place.seconds,
                self.place.increment,
                TRANSACTION >> 20
            );
            return Err(Unsupported::Unsupported(message).into());
        }
        self.changes.extend(event.changes);
        (self.place, self.wall, self.token) = (event.place, event.wall, event.token);
        Ok(())
    }

    fn heard(self, place: Place) -> Heard {
        let position = Position { place, wall: self.wall, token: Some(self.token) };
        if self.changes.is_empty() {
            return Heard::Idle(position);
        }
        Heard::Group(Group { changes: self.changes, position })
    }
}

/// About as many bytes as a change has as BSON.
pub(super) fn size(change: &Change) -> usize {
    match change {
        Change::Put { document, .. } => size_of(document),
        Change::Update { update: Update::Diff(document) | Update::Replace(document), .. } => {
            size_of(document)
        }
        Change::Update { update: Update::Modify { set, unset }, .. } => size_of(set) + size_of(unset),
        Change::Update { update: Update::Described(described), .. } => {
            described.values().map(size_of_value).sum()
        }
        Change::Remove { .. } | Change::Define(_) => 0,
    }
    .saturating_add(64)
}

#[cfg(test)]
mod tests;
