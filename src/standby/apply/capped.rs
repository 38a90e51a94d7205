//! Capped collections: their documents' order is that of their writing.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document};

use super::{Applier, by_key, documents::write_ordered, find};
use crate::{
    mongo::{
        Change, Namespace,
        batch::{self, Outcome, Write},
    },
    standby::{Result, Side},
};

/// Writes of a command.
const WRITES: usize = 1000;

impl Applier {
    /// One change after another. A document that isn't there any more had to make room, and is left out.
    pub(super) async fn write_capped(&self, changes: Vec<Change>) -> Result<()> {
        let mut by_collection: BTreeMap<Namespace, Vec<Change>> = BTreeMap::new();
        for change in changes {
            if let Change::Put { namespace, .. }
            | Change::Update { namespace, .. }
            | Change::Remove { namespace, .. } = &change
            {
                by_collection.entry(namespace.clone()).or_default().push(change);
            }
        }
        for (namespace, changes) in by_collection {
            let ids = updated(&changes);
            let known = by_key(find(self.target().client(), Side::Target, &namespace, &ids).await?);
            for page in in_order(one_by_one(changes, known)?) {
                write_ordered(self.target(), &namespace, &page).await?;
            }
        }
        Ok(())
    }
}

fn updated(changes: &[Change]) -> Vec<Bson> {
    let updates = changes.iter().filter_map(|change| match change {
        Change::Update { id, .. } => Some(id.clone()),
        _ => None,
    });
    updates.collect()
}

/// What each change makes of its document.
fn one_by_one(changes: Vec<Change>, mut known: BTreeMap<Vec<u8>, Document>) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    for change in changes {
        let outcome = match change {
            Change::Put { id, document, .. } => {
                known.insert(batch::key(&id), document.clone());
                Outcome::Put { id, document }
            }
            Change::Remove { id, .. } => {
                known.remove(&batch::key(&id));
                Outcome::Remove { id }
            }
            Change::Update { id, update, .. } => {
                let Some(document) = known.get_mut(&batch::key(&id)) else { continue };
                update.apply(document)?;
                Outcome::Put { id, document: document.clone() }
            }
            Change::Define(_) => continue,
        };
        writes.push(Write::new(outcome)?);
    }
    Ok(writes)
}

/// Commands in the order of the writes: each holds writes of one kind.
fn in_order(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let mut runs: Vec<Vec<Write>> = Vec::new();
    for write in writes {
        match runs.last_mut() {
            Some(run) if run.last().map(Write::is_put) == Some(write.is_put()) => run.push(write),
            _ => runs.push(vec![write]),
        }
    }
    runs.into_iter().flat_map(|run| batch::pages(run, WRITES)).collect()
}
