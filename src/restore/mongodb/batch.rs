//! Changes that are written together: what they leave of each document.

use std::collections::{BTreeMap, HashMap};

use mongodb::bson::{Bson, Document, doc};

use crate::{
    mongo::{Change, Namespace, diff::Update},
    restore::{Error, Result},
};

/// Documents that a batch changes at most, but for a transaction, which is never divided.
const DOCUMENTS: usize = 1000;
/// Changes of a batch.
const CHANGES: usize = 4000;

/// Changes, by document.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// By collection, then by the bytes of the `_id`.
    collections: BTreeMap<Namespace, HashMap<Vec<u8>, Pending>>,
    documents: usize,
    changes: usize,
}

/// What happens to one document.
#[derive(Debug)]
struct Pending {
    id: Bson,
    before: Before,
    updates: Vec<Update>,
    /// An update that can't do without the document.
    needed: bool,
}

/// What a document is before its updates.
#[derive(Debug)]
enum Before {
    /// What the target has.
    Kept,
    Is(Document),
    Gone,
}

/// What becomes of one document.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Put { id: Bson, document: Document },
    Remove { id: Bson },
}

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.documents >= DOCUMENTS || self.changes >= CHANGES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.documents == 0
    }

    /// Takes a change of a document; `settled`: the dump is older, so that what is updated must be there.
    pub(super) fn add(&mut self, change: Change, settled: bool) {
        let (namespace, id, what) = match change {
            Change::Put { namespace, id, document } => (namespace, id, Ok(Before::Is(document))),
            Change::Remove { namespace, id } => (namespace, id, Ok(Before::Gone)),
            Change::Update { namespace, id, update } => (namespace, id, Err(update)),
            Change::Define(_) => return,
        };
        self.changes += 1;
        let of = self.collections.entry(namespace).or_default();
        let pending = of.entry(key(&id)).or_insert_with(|| {
            self.documents += 1;
            Pending { id, before: Before::Kept, updates: Vec::new(), needed: false }
        });
        match what {
            Ok(before) => {
                pending.before = before;
                pending.updates.clear();
                pending.needed = false;
            }
            Err(update) => {
                pending.updates.push(update);
                pending.needed |= settled;
            }
        }
    }

    /// Documents that must be known before [`outcomes`](Self::outcomes) can tell.
    pub(super) fn wanted(&self, namespace: &Namespace) -> Vec<Bson> {
        let of = self.collections.get(namespace).into_iter().flat_map(HashMap::values);
        of.filter(|pending| matches!(pending.before, Before::Kept))
            .map(|pending| pending.id.clone())
            .collect()
    }

    pub(super) fn namespaces(&self) -> Vec<Namespace> {
        self.collections.keys().cloned().collect()
    }

    /// Takes a collection out of the batch: what becomes of its documents, given those that were `wanted`.
    ///
    /// # Errors
    /// [`Error::Unusable`] for an update that is not known, or of a document that should be there.
    pub(super) fn outcomes(&mut self, namespace: &Namespace, known: Vec<Document>) -> Result<Vec<Outcome>> {
        let mut known: HashMap<Vec<u8>, Document> =
            known.into_iter().filter_map(|document| Some((key(document.get("_id")?), document))).collect();
        let mut outcomes = Vec::new();
        for (key, pending) in self.collections.remove(namespace).unwrap_or_default() {
            self.documents -= 1;
            let (id, needed) = (pending.id, pending.needed);
            let document = match pending.before {
                Before::Is(document) => Some(document),
                Before::Kept => known.remove(&key),
                Before::Gone => {
                    outcomes.push(Outcome::Remove { id });
                    continue;
                }
            };
            match document {
                Some(mut document) => {
                    for update in &pending.updates {
                        let unknown = |error| Error::Unusable(format!("{namespace}, _id {id}: {error}"));
                        update.apply(&mut document).map_err(unknown)?;
                    }
                    outcomes.push(Outcome::Put { id, document });
                }
                None if needed => {
                    let cause = "the oplog updates it, and neither it nor the dump has it";
                    return Err(Error::Unusable(format!("{namespace}, _id {id}: {cause}")));
                }
                // The dump came after its removal, which follows.
                None => {}
            }
        }
        if self.collections.is_empty() {
            self.changes = 0;
        }
        Ok(outcomes)
    }
}

fn key(id: &Bson) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory does not fail; an `_id` that can't be written can't have been read.
    doc! {"": id}.to_writer(&mut bytes).ok();
    bytes
}
