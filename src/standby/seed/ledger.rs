//! What of the first copy is there: `farshore.seed` of the target, a document a collection.

use std::{collections::BTreeMap, sync::Mutex};

use futures::TryStreamExt;
use mongodb::bson::{self, Binary, Bson, Document, doc};
use serde::{Deserialize, Serialize};

use super::{list::Listed, range::written};
use crate::{
    mongo::Namespace,
    standby::{
        Error, Result, Side,
        servers::{ANSWER, within},
        target::{RECORDS, Target},
    },
};

const COLLECTION: &str = "seed";

/// How a collection is copied, and how far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Its name.
    #[serde(rename = "_id")]
    pub name: String,
    pub uuid: Option<Binary>,
    /// Values of `_id` between ranges, in the server's order: one less than there are ranges.
    pub bounds: Vec<Bson>,
    /// Numbers of ranges that are there.
    pub done: Vec<i32>,
    pub documents: i64,
    pub bytes: i64,
    /// Once all documents and all indexes that may be built at once are there: those that wait.
    pub later: Option<Vec<Document>>,
}

impl Plan {
    pub fn new(listed: &Listed, bounds: Vec<Bson>) -> Self {
        Self {
            name: listed.namespace.to_string(),
            uuid: listed.uuid.clone(),
            bounds,
            done: Vec::new(),
            documents: 0,
            bytes: 0,
            later: None,
        }
    }

    /// Numbers of the ranges that are still to be copied.
    pub fn missing(&self) -> Vec<usize> {
        let done = |range: &usize| self.done.iter().any(|done| usize::try_from(*done) == Ok(*range));
        (0..=self.bounds.len()).filter(|range| !done(range)).collect()
    }
}

/// The plans of a target.
#[derive(Debug)]
pub(super) struct Ledger {
    target: Target,
    plans: Mutex<BTreeMap<String, Plan>>,
}

impl Ledger {
    /// Reads what is there.
    ///
    /// # Errors
    /// [`Error::Server`]; [`Error::Broken`] for a plan that can't be read.
    pub async fn open(target: &Target) -> Result<Self> {
        let of = target.client().database(RECORDS).collection::<Document>(COLLECTION);
        let read = async { of.find(doc! {}).await?.try_collect::<Vec<Document>>().await };
        let found = within(ANSWER, Side::Target, "reading farshore.seed", read).await?;
        let plan = |document: Document| bson::deserialize_from_document::<Plan>(document);
        let plans: Result<Vec<Plan>, _> = found.into_iter().map(plan).collect();
        let plans = plans.map_err(|error| Error::Broken(format!("farshore.seed of the target: {error}")))?;
        let plans = plans.into_iter().map(|plan| (plan.name.clone(), plan)).collect();
        Ok(Self { target: target.clone(), plans: Mutex::new(plans) })
    }

    /// What was planned for a collection.
    pub fn plan(&self, namespace: &Namespace) -> Option<Plan> {
        self.plans().get(&namespace.to_string()).cloned()
    }

    /// Writes a plan down, before it is begun with.
    ///
    /// # Errors
    /// [`Error::Server`], [`Error::Superseded`].
    pub async fn begin(&self, plan: &Plan) -> Result<()> {
        let document = bson::serialize_to_document(plan);
        let document = document.map_err(|error| Error::Broken(format!("farshore.seed: {error}")))?;
        self.update(doc! {"q": {"_id": &plan.name}, "u": document, "upsert": true}).await?;
        self.plans().insert(plan.name.clone(), plan.clone());
        Ok(())
    }

    /// A range is there, all of it.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub async fn done(&self, (name, range): (&str, usize), (documents, bytes): (i64, i64)) -> Result<()> {
        let range = i32::try_from(range).unwrap_or(i32::MAX);
        let change = doc! {"$addToSet": {"done": range}, "$inc": {"documents": documents, "bytes": bytes}};
        self.update(doc! {"q": {"_id": name}, "u": change}).await?;
        if let Some(plan) = self.plans().get_mut(name) {
            plan.done.push(range);
            plan.documents += documents;
            plan.bytes += bytes;
        }
        Ok(())
    }

    /// A collection is there, but for these indexes.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub async fn finish(&self, name: &str, later: &[Document]) -> Result<()> {
        self.update(doc! {"q": {"_id": name}, "u": {"$set": {"later": later}}}).await?;
        if let Some(plan) = self.plans().get_mut(name) {
            plan.later = Some(later.to_vec());
        }
        Ok(())
    }

    /// Nothing of a collection is there any more.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub async fn forget(&self, namespace: &Namespace) -> Result<()> {
        let name = namespace.to_string();
        let command = doc! {"delete": COLLECTION, "deletes": [{"q": {"_id": &name}, "limit": 1}]};
        written(&self.target.write(RECORDS, command, "writing farshore.seed").await?, "farshore.seed")?;
        self.plans().remove(&name);
        Ok(())
    }

    async fn update(&self, update: Document) -> Result<()> {
        let command = doc! {"update": COLLECTION, "updates": [update]};
        written(&self.target.write(RECORDS, command, "writing farshore.seed").await?, "farshore.seed")
    }

    fn plans(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Plan>> {
        self.plans.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{self, Bson, Document, oid::ObjectId};

    use super::{Listed, Plan};
    use crate::mongo::{Namespace, Place};

    #[test]
    fn d01_a_plan_is_read_as_it_was_written_and_knows_what_is_missing() {
        let namespace = Namespace::new("shop", "orders.2026");
        let (options, documents, bytes) = (Document::new(), 1, 2);
        let listed = Listed {
            namespace,
            options,
            capped: false,
            uuid: None,
            since: Place::default(),
            documents,
            bytes,
        };
        let mut plan = Plan::new(&listed, vec![Bson::Int32(5), Bson::ObjectId(ObjectId::new())]);
        assert_eq!(plan.missing(), [0, 1, 2]);
        plan.done = vec![2, 0];
        plan.later = Some(Vec::new());
        let written = bson::serialize_to_document(&plan).unwrap();
        let read: Plan = bson::deserialize_from_document(written).unwrap();
        assert_eq!(read, plan);
        assert_eq!(read.missing(), [1]);
    }
}
