//! The first copy: what the master held before its changes were heard.
//!
//! It is made after the place is taken from which on changes are applied, and while the master goes on writing: what
//! is copied is of no one moment, and becomes consistent by applying the changes since that place. So a range may be
//! copied again, and a document that is there already is replaced.
//!
//! Collections are copied by name. One that is dropped meanwhile is left as far as it is: its changes follow. One that
//! is *renamed* is the exception, since changes don't hold what it held before: whoever applies a renaming before the
//! copy is consistent drops both names, calls [`Seed::copy_again`] for the new one, and is consistent no sooner than
//! the master's newest moment after that.
//!
//! Accounts and what servers keep for themselves (`admin`, `config`, `local`, `system.*`) are not copied.

mod collection;
mod indexes;
mod ledger;
mod list;
mod range;

use std::sync::Arc;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use mongodb::{Client, bson::Document};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use self::{
    collection::copy_collection,
    ledger::Ledger,
    list::{Listed, list, list_one},
};
use super::{Result, SeedProgress, target::Target};
use crate::mongo::Namespace;

/// Ranges that are copied at a time. Each holds one answer of the master (16 MiB at most), what of it is being
/// written, and the command that writes it ([`range::BYTES`] each): 96 MiB together.
const PARALLEL: usize = 4;
/// A collection is divided into ranges of about so many bytes.
const RANGE: u64 = 128 << 20;

/// What a first copy is made with.
pub struct Seed {
    master: Client,
    target: Target,
    progress: watch::Sender<SeedProgress>,
    /// Cancelled: stop after what is being written.
    stop: CancellationToken,
    range: u64,
    turns: Arc<Semaphore>,
}

/// Indexes of a collection that wait until the copy is consistent: until then what is unique may for a while not be.
#[derive(Clone, Debug, PartialEq)]
pub struct Later {
    pub namespace: Namespace,
    pub indexes: Vec<Document>,
}

/// What became of a copy.
#[derive(Clone, Debug, PartialEq)]
pub enum Copied {
    /// Everything is there, but for these indexes.
    All(Vec<Later>),
    /// It was stopped, and goes on where it was.
    Stopped,
}

impl Seed {
    /// `progress` is kept up to date; `stop` ends the copy at a safe point.
    #[must_use]
    pub fn new(
        master: &Client,
        target: &Target,
        progress: watch::Sender<SeedProgress>,
        stop: CancellationToken,
    ) -> Self {
        let turns = Arc::new(Semaphore::new(PARALLEL));
        Self { master: master.clone(), target: target.clone(), progress, stop, range: RANGE, turns }
    }

    /// Divides collections into ranges of about so many bytes.
    #[must_use]
    pub fn with_ranges_of(mut self, bytes: u64) -> Self {
        self.range = bytes.max(1);
        self
    }

    /// Copies everything that `farshore.seed` of the target doesn't say is there: collections with their options and
    /// documents, views, and the indexes that may be built at once.
    ///
    /// # Errors
    /// [`Error::Refused`](super::Error::Refused) for what can't be copied, or may not be read;
    /// [`Error::Server`](super::Error::Server); [`Error::Superseded`](super::Error::Superseded) without the lease.
    /// What was copied is there, and is not copied again.
    pub async fn copy(&self) -> Result<Copied> {
        let ledger = Ledger::open(&self.target).await?;
        let (collections, views) = list(&self.master).await?;
        self.progress.send_modify(|progress| {
            *progress = SeedProgress {
                collections: collections.len() as u64,
                documents: collections.iter().map(|listed| listed.documents).sum(),
                ..SeedProgress::default()
            };
        });
        // Boxed here, where the compiler can see that it is Send.
        let copying: Vec<_> = collections.iter().map(|listed| self.one(&ledger, listed).boxed()).collect();
        let copied: Vec<Option<Later>> =
            stream::iter(copying).buffer_unordered(PARALLEL).try_collect().await?;
        if self.stop.is_cancelled() {
            return Ok(Copied::Stopped);
        }
        for (namespace, options) in &views {
            collection::make_view(&self.target, namespace, options).await?;
        }
        let mut later: Vec<Later> = copied.into_iter().flatten().collect();
        later.sort_by(|one, other| one.namespace.cmp(&other.namespace));
        Ok(Copied::All(later))
    }

    /// Drops a collection at the target, and copies it as the master has it now, if it has it.
    ///
    /// # Errors
    /// As [`copy`](Self::copy).
    pub async fn copy_again(&self, namespace: &Namespace) -> Result<Copied> {
        let ledger = Ledger::open(&self.target).await?;
        collection::forget(&self.target, &ledger, namespace).await?;
        let Some(listed) = list_one(&self.master, namespace).await? else {
            return Ok(Copied::All(Vec::new()));
        };
        let later = self.one(&ledger, &listed).await?;
        if self.stop.is_cancelled() {
            return Ok(Copied::Stopped);
        }
        Ok(Copied::All(later.into_iter().collect()))
    }

    async fn one(&self, ledger: &Ledger, listed: &Listed) -> Result<Option<Later>> {
        let later = copy_collection(self, ledger, listed).await?;
        if !self.stop.is_cancelled() {
            self.progress.send_modify(|progress| progress.collections_done += 1);
        }
        Ok(later)
    }
}
