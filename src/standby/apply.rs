//! Writes what the master did to the target.
//!
//! A window falls into parts: changes of documents, and between them changes of collections, for which
//! everything before must be done and nothing after begun. Each part may be repeated as long as the next one is not
//! begun, so the checkpoint is moved between them.
//!
//! Of the changes of documents only what they leave of each is written, in no order: an update is worked out
//! here, on the document as the target has it. Where unique indexes let a document in only once another has gone, it
//! is tried again after the others; those that wait for one another are replaced in one transaction. Documents of
//! capped collections are written one after another, as their order is told by when they were.

mod capped;
mod define;
mod documents;
mod lanes;
pub mod noted;
mod plan;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use futures::TryStreamExt;
use mongodb::{
    Client,
    bson::{Bson, Document, doc},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{
    lanes::Lanes,
    noted::Noted,
    plan::{Part, parts},
};
use super::{
    Counts, Error, Result, SeedProgress, Side,
    error::failed,
    lease::COMMAND,
    seed::{Copied, Later, Seed},
    servers::facts::majority_of,
    state::{Checkpoint, State},
    target::{Target, within},
    window::Window,
};
use crate::mongo::{Namespace, Place};

/// Where a document is got anew that the target should have.
#[async_trait]
pub trait Refetch: Send + Sync {
    /// Those of the documents that the master has now.
    ///
    /// # Errors
    /// [`Error::Server`] where it can't be asked.
    async fn fetch(&self, namespace: &Namespace, ids: &[Bson]) -> Result<Vec<Document>>;

    /// Drops a collection at the target, and copies it as the master has it now. `None`: it can't be, and nothing was
    /// done.
    ///
    /// # Errors
    /// As [`Seed::copy_again`].
    async fn copy_again(&self, _target: &Target, _namespace: &Namespace) -> Result<Option<Again>> {
        Ok(None)
    }
}

/// What is to be known of a collection that was copied again.
#[derive(Clone, Debug, PartialEq)]
pub struct Again {
    /// Indexes that wait until the copy is consistent.
    pub unique: Vec<(Namespace, Document)>,
    /// A moment of the master after the copy: it is consistent no sooner.
    pub consistent_at: Place,
}

/// The master itself.
#[derive(Clone, Debug)]
pub struct FromMaster(pub Client);

#[async_trait]
impl Refetch for FromMaster {
    async fn fetch(&self, namespace: &Namespace, ids: &[Bson]) -> Result<Vec<Document>> {
        find(&self.0, Side::Master, namespace, ids).await
    }

    async fn copy_again(&self, target: &Target, namespace: &Namespace) -> Result<Option<Again>> {
        let (progress, stop) = (watch::Sender::new(SeedProgress::default()), CancellationToken::new());
        let seed = Seed::new(&self.0, target, progress, stop);
        let Copied::All(later) = seed.copy_again(namespace).await? else { return Ok(None) };
        let (consistent_at, _) = majority_of(&self.0, Side::Master).await?;
        let unique = later.into_iter().flat_map(|Later { namespace, indexes }| {
            indexes.into_iter().map(move |index| (namespace.clone(), index))
        });
        Ok(Some(Again { unique: unique.collect(), consistent_at }))
    }
}

/// Documents by their `_id`s.
async fn find(client: &Client, side: Side, namespace: &Namespace, ids: &[Bson]) -> Result<Vec<Document>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let of = client.database(&namespace.database).collection::<Document>(&namespace.collection);
    let found = async { of.find(doc! {"_id": {"$in": ids}}).await?.try_collect().await };
    within(COMMAND, found).await.map_err(failed(side, format!("reading {namespace}")))
}

/// Applies windows, one after another.
pub struct Applier {
    state: Arc<State>,
    refetch: Option<Arc<dyn Refetch>>,
    noted: Noted,
    /// `noted` is not written down yet.
    is_new: bool,
    capped: HashSet<Namespace>,
    is_consistent: bool,
    lanes: Lanes,
}

impl Applier {
    /// For a target that is held. Without `refetch` an update of a document that isn't there is an error.
    ///
    /// # Errors
    /// [`Error::Server`] where the target can't be asked for its collections.
    pub async fn open(state: Arc<State>, refetch: Option<Arc<dyn Refetch>>) -> Result<Self> {
        let record = state.record();
        let noted = record.noted.as_ref().map(|noted| Noted::decode(&noted.bytes)).transpose()?;
        let mut applier = Self {
            state,
            refetch,
            noted: noted.unwrap_or_default(),
            is_new: false,
            capped: HashSet::new(),
            is_consistent: record.is_consistent(),
            lanes: Lanes::default(),
        };
        applier.find_capped().await?;
        Ok(applier)
    }

    /// After the first copy: the collections that were copied, and their unique indexes, which are built by
    /// [`finish`](Self::finish).
    ///
    /// # Errors
    /// As [`State::renew`].
    pub async fn copied(
        &mut self,
        collections: Vec<Namespace>,
        unique: Vec<(Namespace, Document)>,
    ) -> Result<()> {
        self.noted.copied(collections, unique);
        self.find_capped().await?;
        self.state.note(Some(self.noted.encode()?)).await
    }

    /// Applies a window that is in the journal, and moves the checkpoint past it. `again`: a run before may have
    /// applied some of it.
    ///
    /// # Errors
    /// [`Error::Refused`] with `WriteRefused` for what the target doesn't take, with collection and `_id`;
    /// [`Error::Server`], [`Error::Superseded`]: it may be applied in part, and is applied again by the next run.
    pub async fn write(&mut self, window: Window, again: bool) -> Result<()> {
        let record = self.state.record();
        if window.number != record.window + 1 {
            let message = format!("window {} follows upon window {}", window.number, record.window);
            return Err(Error::Broken(message));
        }
        let (number, position) = (window.number, window.position()?.clone());
        let mut counts = counted(record.counts, &window, again);
        let done = usize::try_from(record.parts).unwrap_or_default();
        for (at, part) in parts(window)?.into_iter().enumerate().skip(done) {
            if at > done {
                let parts = i64::try_from(at).unwrap_or(i64::MAX);
                self.checkpoint(Checkpoint {
                    window: number - 1,
                    parts,
                    position: None,
                    counts: record.counts,
                    noted: None,
                })
                .await?;
            }
            match part {
                Part::Documents(changes) => counts.refetched += self.documents(changes).await?,
                Part::View(change) => self.view(change).await?,
                Part::Define(define) => self.define(define).await?,
            }
        }
        self.checkpoint(Checkpoint {
            window: number,
            parts: 0,
            position: Some(position),
            counts,
            noted: None,
        })
        .await
    }

    /// The copy is consistent: builds the indexes that had to wait. May be repeated; takes as long as it takes.
    ///
    /// # Errors
    /// [`Error::Refused`] with `IndexRefused` for one that can't be built.
    pub async fn finish(&mut self) -> Result<()> {
        self.build_noted().await?;
        self.noted = Noted::default();
        self.is_consistent = true;
        self.state.note(None).await
    }

    async fn checkpoint(&mut self, mut checkpoint: Checkpoint) -> Result<()> {
        if self.is_new {
            checkpoint.noted = Some(self.noted.encode()?);
        }
        self.state.checkpoint(&checkpoint).await?;
        self.is_new = false;
        Ok(())
    }

    fn target(&self) -> &Target {
        self.state.target()
    }

    async fn find_capped(&mut self) -> Result<()> {
        let client = self.target().client().clone();
        let what = "listing its collections";
        let names =
            within(COMMAND, client.list_database_names()).await.map_err(failed(Side::Target, what))?;
        for name in names.iter().filter(|name| !Namespace::new(name, "").is_internal()) {
            let listed =
                async { client.database(name).list_collections().await?.try_collect::<Vec<_>>().await };
            let listed = within(COMMAND, listed).await.map_err(failed(Side::Target, what))?;
            let capped = listed.into_iter().filter(|of| of.options.capped == Some(true));
            self.capped.extend(capped.map(|of| Namespace::new(name, &of.name)));
        }
        Ok(())
    }
}

fn counted(mut counts: Counts, window: &Window, again: bool) -> Counts {
    let changes = u64::try_from(window.changes()).unwrap_or(u64::MAX);
    counts.changes += changes;
    counts.transactions += u64::try_from(window.transactions()).unwrap_or(u64::MAX);
    counts.repeated += if again { changes } else { 0 };
    counts
}

/// Documents that were found, by the bytes of their `_id`.
fn by_key(documents: Vec<Document>) -> BTreeMap<Vec<u8>, Document> {
    let keyed = documents.into_iter().filter_map(|document| {
        let key = crate::mongo::batch::key(document.get("_id")?);
        Some((key, document))
    });
    keyed.collect()
}
