//! Changes of collections, indexes and views.
//!
//! What is not there any more, or there already, is as it should be where a part is done again, or where the copy
//! was made later than the change; otherwise it is an error.

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};

use super::Applier;
use crate::{
    mongo::{Change, Define, Namespace, schema::cleaned},
    standby::{Error, Result, Side, error::failed, lease::COMMAND, servers::code_of, target::within},
};

const NAMESPACE_NOT_FOUND: i32 = 26;
const INDEX_NOT_FOUND: i32 = 27;
const NAMESPACE_EXISTS: i32 = 48;
const INVALID_OPTIONS: i32 = 72;
const INDEX_OPTIONS_CONFLICT: i32 = 85;
const INDEX_NAME_CONFLICT: i32 = 86;
const NOT_FOR_VIEWS: i32 = 166;
const DUPLICATE: i32 = 11_000;

impl Applier {
    pub(super) async fn define(&mut self, define: Define) -> Result<()> {
        if self.is_consistent {
            return self.define_now(define).await;
        }
        match define {
            Define::Rename { from, to } if !self.noted.is_made(&from) => self.rename_copied(from, to).await,
            define => self.follow(define).await,
        }
    }

    /// A collection that was there when the copy began: it may have been copied under either name, or in part. What
    /// it held before isn't in the changes, so it is copied again.
    async fn rename_copied(&mut self, from: Namespace, to: Namespace) -> Result<()> {
        let again = match self.refetch.clone() {
            Some(refetch) => refetch.copy_again(self.target(), &to).await?,
            None => None,
        };
        let Some(again) = again else {
            // Under its new name it is whole: what there is under the old one came from the feed.
            let was_copied_so = !self.noted.is_copied(&from) && self.noted.is_copied(&to);
            let drop = Define::Drop { namespace: from.clone() };
            return self.follow(if was_copied_so { drop } else { Define::Rename { from, to } }).await;
        };
        tracing::info!(%from, %to, "was renamed while it was copied, and is copied again");
        self.follow(Define::Drop { namespace: from }).await?;
        self.noted.replaced(&to, again.unique);
        self.find_capped().await?;
        self.state.postpone(again.consistent_at).await
    }

    async fn follow(&mut self, define: Define) -> Result<()> {
        self.is_new = true;
        match self.noted.follow(define) {
            Some(define) => self.define_now(define).await,
            None => Ok(()),
        }
    }

    async fn define_now(&mut self, define: Define) -> Result<()> {
        match define {
            Define::Create { namespace, options } => self.create(namespace, options).await,
            Define::Drop { namespace } => {
                self.capped.remove(&namespace);
                let command = doc! {"drop": &namespace.collection};
                self.run(&namespace.database, command, &[NAMESPACE_NOT_FOUND]).await
            }
            Define::DropDatabase { database } => {
                self.capped.retain(|namespace| namespace.database != database);
                self.run(&database, doc! {"dropDatabase": 1}, &[]).await
            }
            Define::Rename { from, to } => self.rename(from, to).await,
            Define::Command { database, command } => self.command(&database, command).await,
            Define::Empty { namespace } => {
                let all = doc! {"delete": &namespace.collection, "deletes": [{"q": {}, "limit": 0}]};
                self.run(&namespace.database, all, &[]).await
            }
            Define::CreateIndexes { namespace, indexes } => {
                let indexes: Vec<Document> = indexes.iter().map(cleaned).collect();
                let command = doc! {"createIndexes": &namespace.collection, "indexes": indexes};
                let others =
                    if self.is_consistent { &[][..] } else { &[INDEX_OPTIONS_CONFLICT, INDEX_NAME_CONFLICT] };
                self.build(&namespace.database, command, others).await
            }
            Define::DropIndexes { namespace, index } => {
                let command = doc! {"dropIndexes": &namespace.collection, "index": index};
                self.run(&namespace.database, command, &[NAMESPACE_NOT_FOUND, INDEX_NOT_FOUND]).await
            }
            Define::ModifyIndex { namespace, change } => {
                let command = doc! {"collMod": &namespace.collection, "index": change};
                self.build(&namespace.database, command, self.gone()).await
            }
        }
    }

    /// What may be gone already while the copy is not consistent.
    fn gone(&self) -> &'static [i32] {
        if self.is_consistent { &[] } else { &[NAMESPACE_NOT_FOUND, INDEX_NOT_FOUND] }
    }

    async fn create(&mut self, namespace: Namespace, options: Document) -> Result<()> {
        let is_capped = options.get_bool("capped").is_ok_and(|capped| capped);
        let mut command = doc! {"create": &namespace.collection};
        command.extend(options.clone());
        // An index on `_id` is always made; servers tell of it and don't take it.
        command.remove("uuid");
        command.remove("idIndex");
        match self.run(&namespace.database, command, &[]).await {
            Err(error) if code_of(&error) == Some(NAMESPACE_EXISTS) => {
                self.is_the_same(&namespace, &options, error).await?;
            }
            answer => answer?,
        }
        if is_capped {
            self.capped.insert(namespace);
        }
        Ok(())
    }

    /// A collection that is there already was made by this change before, or else copied after it.
    async fn is_the_same(&self, namespace: &Namespace, options: &Document, error: Error) -> Result<()> {
        if !self.is_consistent {
            return Ok(());
        }
        let list = doc! {"listCollections": 1, "filter": {"name": &namespace.collection}};
        let database = self.target().client().database(&namespace.database);
        let what = format!("asking for the options of {namespace}");
        let answer = within(COMMAND, database.run_command(list)).await.map_err(failed(Side::Target, what))?;
        let first =
            answer.get_document("cursor").ok().and_then(|of| of.get_array("firstBatch").ok()?.first());
        let has = first.and_then(|of| of.as_document()?.get_document("options").ok());
        let same = |option: &str| has.and_then(|has| has.get(option)) == options.get(option);
        let all = ["capped", "size", "max", "collation", "clusteredIndex", "validator", "viewOn"];
        if all.into_iter().all(same) { Ok(()) } else { Err(error) }
    }

    async fn rename(&mut self, from: Namespace, to: Namespace) -> Result<()> {
        let command = doc! {"renameCollection": from.to_string(), "to": to.to_string(), "dropTarget": true};
        self.run("admin", command, &[NAMESPACE_NOT_FOUND]).await?;
        self.capped.remove(&to);
        if self.capped.remove(&from) {
            self.capped.insert(to);
        }
        Ok(())
    }

    async fn command(&mut self, database: &str, command: Document) -> Result<()> {
        if let Ok(collection) = command.get_str("convertToCapped") {
            self.capped.insert(Namespace::new(database, collection));
        }
        self.build(database, command, self.gone()).await
    }

    /// A view, which servers keep as a document.
    pub(super) async fn view(&mut self, change: Change) -> Result<()> {
        let (id, document) = match change {
            Change::Put { id, document, .. } => (id, Some(document)),
            Change::Remove { id, .. } => (id, None),
            Change::Update { namespace, id, update } => {
                let known = self.read_view(&namespace, &id).await?;
                let Some(mut document) = known else { return Ok(()) };
                update.apply(&mut document)?;
                (id, Some(document))
            }
            Change::Define(_) => return Ok(()),
        };
        let Some(namespace) = id.as_str().and_then(Namespace::parse) else {
            return Err(Error::Broken(format!("a view is named {id}")));
        };
        let Some(mut options) = document else {
            let drop = doc! {"drop": &namespace.collection};
            return self.run(&namespace.database, drop, &[NAMESPACE_NOT_FOUND]).await;
        };
        options.remove("_id");
        let mut create = doc! {"create": &namespace.collection};
        create.extend(options.clone());
        self.run(&namespace.database, create, &[NAMESPACE_EXISTS]).await?;
        options.remove("collation");
        let mut modify = doc! {"collMod": &namespace.collection};
        modify.extend(options);
        // By now there may be a collection of that name, which was copied.
        let others = if self.is_consistent { &[][..] } else { &[INVALID_OPTIONS, NOT_FOR_VIEWS] };
        self.run(&namespace.database, modify, others).await
    }

    async fn read_view(&self, namespace: &Namespace, id: &Bson) -> Result<Option<Document>> {
        let of = self
            .target()
            .client()
            .database(&namespace.database)
            .collection::<Document>(&namespace.collection);
        let found = async { of.find(doc! {"_id": id}).await?.try_next().await };
        within(COMMAND, found).await.map_err(failed(Side::Target, format!("reading the view {id}")))
    }

    pub(super) async fn build_noted(&self) -> Result<()> {
        for (database, command) in self.noted.commands() {
            let words = words(&database, &command);
            match self.build(&database, command, &[NAMESPACE_NOT_FOUND, INDEX_NOT_FOUND]).await {
                Err(error) if code_of(&error) == Some(DUPLICATE) => {
                    return Err(Error::Refused {
                        side: Some(Side::Target),
                        reason: "IndexRefused",
                        message: format!(
                            "{words}: documents of the copy that should differ don't: {error}; if something else writes to the target, stop it and have the copy made anew"
                        ),
                    });
                }
                built => built?,
            }
        }
        Ok(())
    }

    async fn run(&self, database: &str, command: Document, expected: &[i32]) -> Result<()> {
        let words = words(database, &command);
        was_so(self.target().write(database, command, &words).await, &words, expected)
    }

    /// As `run`, for what may take its time.
    async fn build(&self, database: &str, command: Document, expected: &[i32]) -> Result<()> {
        let words = words(database, &command);
        was_so(self.target().build(database, command, &words).await, &words, expected)
    }
}

fn words(database: &str, command: &Document) -> String {
    command.iter().next().map(|(name, of)| format!("{name} {of} of {database}")).unwrap_or_default()
}

fn was_so(answer: Result<Document>, words: &str, expected: &[i32]) -> Result<()> {
    match answer {
        Ok(answer) => match answer.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
            Some(error) => Err(Error::Broken(format!("{words}: {error}"))),
            None => Ok(()),
        },
        Err(error) => match code_of(&error) {
            Some(code) if expected.contains(&code) => {
                tracing::info!(words, code, "was so already");
                Ok(())
            }
            _ => Err(error),
        },
    }
}
