//! The new instance.

use futures::{StreamExt, TryStreamExt, stream};
use mongodb::{
    Client,
    bson::{Bson, Document, RawDocumentBuf, doc},
    error::ErrorKind,
};
use tokio::sync::mpsc;

use super::{Part, Settings};
use crate::{
    mongo::{
        Define, Namespace,
        archive::{Collection, Kind},
        batch::{self, Batch, Outcome, Write},
        schema::Schema,
    },
    restore::{Error, Result},
};

const NAMESPACE_NOT_FOUND: i32 = 26;
const INDEX_NOT_FOUND: i32 = 27;
const NAMESPACE_EXISTS: i32 = 48;
/// Of a command.
const WRITES: usize = 1000;

pub(super) struct Target {
    client: Client,
    schema: Schema,
}

pub(super) fn failed(what: impl Into<String>) -> impl FnOnce(mongodb::error::Error) -> Error {
    let what = what.into();
    move |source| Error::MongoDB { what, source: Box::new(source) }
}

impl Target {
    /// Connects, and makes sure that nothing is there.
    pub(super) async fn connect(settings: &Settings) -> Result<Self> {
        let client = Client::with_uri_str(&settings.uri).await.map_err(failed("its address"))?;
        let names = client.list_database_names().await.map_err(failed("listing its databases"))?;
        let foreign = names.iter().find(|name| !Namespace::new(name, "").is_internal());
        match foreign {
            Some(name) => Err(Error::Unusable(format!(
                "the new instance holds database {name} already: restore into one that holds nothing"
            ))),
            None => Ok(Self { client, schema: Schema::default() }),
        }
    }

    /// Makes the collections of a dump.
    pub(super) async fn prepare(&mut self, collections: &[Collection]) -> Result<()> {
        for of in collections.iter().filter(|of| !of.namespace.is_internal()) {
            match of.kind {
                Kind::TimeSeries => {
                    let message = format!("{} is a time series: these are not supported yet", of.namespace);
                    return Err(Error::Unusable(message));
                }
                Kind::View => self.schema.add_view(of.namespace.clone(), of.options.clone()),
                Kind::Collection => {
                    // Servers keep views there, and dumps hold them as views as well.
                    if of.namespace.collection != "system.views" {
                        let (namespace, options) = (of.namespace.clone(), of.options.clone());
                        self.define(&Define::Create { namespace, options }).await?;
                        self.schema.add_indexes(&of.namespace, &of.indexes);
                    }
                }
            }
        }
        Ok(())
    }

    /// Inserts the documents of a dump, some batches at a time.
    pub(super) async fn insert_all(&self, parts: mpsc::Receiver<Part>, parallel: usize) -> Result<()> {
        let parts = stream::unfold(parts, |mut parts| async { parts.recv().await.map(|part| (part, parts)) });
        parts
            .map(|part| async {
                match part {
                    Part::Documents(namespace, documents) => self.insert(&namespace, documents).await,
                    Part::Collections(_) => Ok(()),
                }
            })
            .buffer_unordered(parallel)
            .try_collect()
            .await
    }

    async fn insert(&self, namespace: &Namespace, documents: Vec<RawDocumentBuf>) -> Result<()> {
        if namespace.collection == "system.views" {
            return Ok(());
        }
        let of =
            self.client.database(&namespace.database).collection::<RawDocumentBuf>(&namespace.collection);
        let insert = of.insert_many(documents).ordered(false).bypass_document_validation(true);
        insert.await.map(drop).map_err(failed(format!("inserting into {namespace}")))
    }

    /// Writes what a batch leaves of its documents. May be repeated.
    pub(super) async fn write(&mut self, batch: &mut Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        for namespace in batch.namespaces() {
            let wanted = batch.wanted(&namespace);
            if namespace.collection == "system.views" {
                let known = wanted.iter().filter_map(|id| self.schema.view(id.as_str()?)).collect();
                self.keep_views(outcomes(batch, &namespace, known)?);
                continue;
            }
            let known = self.find(&namespace, wanted).await?;
            self.write_outcomes(&namespace, outcomes(batch, &namespace, known)?).await?;
        }
        Ok(())
    }

    fn keep_views(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Put { id: Bson::String(id), document } => self.schema.put_view(&id, Some(&document)),
                Outcome::Remove { id: Bson::String(id) } => self.schema.put_view(&id, None),
                _ => {}
            }
        }
    }

    async fn find(&self, namespace: &Namespace, ids: Vec<Bson>) -> Result<Vec<Document>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let of = self.client.database(&namespace.database).collection::<Document>(&namespace.collection);
        let failed = || failed(format!("reading {namespace}"));
        let found = of.find(doc! {"_id": {"$in": ids}}).await.map_err(failed())?;
        found.try_collect().await.map_err(failed())
    }

    async fn write_outcomes(&self, namespace: &Namespace, outcomes: Vec<Outcome>) -> Result<()> {
        let unusable = |error: crate::mongo::Error| Error::Unusable(format!("{namespace}: {error}"));
        let writes: Result<Vec<Write>, _> = outcomes.into_iter().map(Write::new).collect();
        let (puts, removals) = writes.map_err(unusable)?.into_iter().partition(Write::is_put);
        for page in [puts, removals].into_iter().flat_map(|writes| batch::pages(writes, WRITES)) {
            let command = batch::command(&namespace.collection, &page, false, &doc! {}).map_err(unusable)?;
            self.bulk(namespace, command).await?;
        }
        Ok(())
    }

    async fn bulk(&self, namespace: &Namespace, command: RawDocumentBuf) -> Result<()> {
        let what = format!("writing to {namespace}");
        let reply = self.client.database(&namespace.database).run_raw_command(command).await;
        let reply = reply.map_err(failed(what.clone()))?;
        match reply.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
            Some(error) => Err(Error::Unusable(format!("the new instance: {what}: {error}"))),
            None => Ok(()),
        }
    }

    /// Changes collections. What is not there any more, or there already, is as it should be: the dump came
    /// after the entry.
    pub(super) async fn define(&mut self, define: &Define) -> Result<()> {
        self.schema.follow(define);
        match define {
            Define::Create { namespace, options } => {
                let mut command = doc! {"create": &namespace.collection};
                command.extend(options.clone());
                // An index on `_id` is always made; servers tell of it and don't take it.
                command.remove("uuid");
                self.run(&namespace.database, command, &[NAMESPACE_EXISTS]).await
            }
            Define::Drop { namespace } => {
                let command = doc! {"drop": &namespace.collection};
                self.run(&namespace.database, command, &[NAMESPACE_NOT_FOUND]).await
            }
            Define::DropDatabase { database } => self.run(database, doc! {"dropDatabase": 1}, &[]).await,
            Define::Rename { from, to } => {
                let command =
                    doc! {"renameCollection": from.to_string(), "to": to.to_string(), "dropTarget": true};
                self.run("admin", command, &[NAMESPACE_NOT_FOUND]).await
            }
            Define::Command { database, command } => {
                let missing = [NAMESPACE_NOT_FOUND, INDEX_NOT_FOUND];
                self.run(database, command.clone(), &missing).await
            }
            Define::Empty { namespace } => {
                let all = doc! {"delete": &namespace.collection, "deletes": [{"q": {}, "limit": 0}]};
                self.run(&namespace.database, all, &[]).await
            }
            // Noted above.
            Define::CreateIndexes { .. } | Define::DropIndexes { .. } | Define::ModifyIndex { .. } => Ok(()),
        }
    }

    async fn run(&self, database: &str, command: Document, expected: &[i32]) -> Result<()> {
        let words = command.iter().next().map(|(name, of)| format!("{name} {of} of {database}"));
        let words = words.unwrap_or_default();
        match self.client.database(database).run_command(command).await {
            Ok(_) => Ok(()),
            Err(error) => match *error.kind {
                ErrorKind::Command(ref refused) if expected.contains(&refused.code) => {
                    tracing::info!(words, code = refused.code, "was so already");
                    Ok(())
                }
                _ => Err(failed(words)(error)),
            },
        }
    }

    /// Builds indexes and views.
    pub(super) async fn finish(&self) -> Result<()> {
        for (database, command) in self.schema.commands() {
            self.run(&database, command, &[]).await?;
        }
        Ok(())
    }
}

/// What becomes of the documents of a collection, all of which must be there.
fn outcomes(batch: &mut Batch, namespace: &Namespace, known: Vec<Document>) -> Result<Vec<Outcome>> {
    let all = batch.outcomes(namespace, known).map_err(|error| Error::Unusable(error.to_string()))?;
    match all.missing.first() {
        Some(id) => {
            let cause = "the oplog updates it, and neither it nor the dump has it";
            Err(Error::Unusable(format!("{namespace}, _id {id}: {cause}")))
        }
        None => Ok(all.outcomes),
    }
}
