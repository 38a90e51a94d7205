//! Collections, views and indexes of the database that is being made.
//!
//! Indexes are built when all data is there: while an oplog is replayed on top of a dump, what is unique may
//! for a while not be (mongo-tools' TOOLS-2041), and it is faster.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document, doc};

use super::{Define, Namespace};

/// Indexes and views that are still to be made.
#[derive(Debug, Default)]
pub struct Schema {
    /// By collection, then by name.
    indexes: BTreeMap<Namespace, BTreeMap<String, Document>>,
    views: BTreeMap<Namespace, Document>,
}

impl Schema {
    /// Notes the indexes of a collection.
    pub fn add_indexes(&mut self, namespace: &Namespace, indexes: &[Document]) {
        for index in indexes {
            let Ok(name) = index.get_str("name") else { continue };
            // The server makes it itself, unless told not to when the collection is made.
            if name != "_id_" {
                let of = self.indexes.entry(namespace.clone()).or_default();
                of.insert(name.to_owned(), cleaned(index));
            }
        }
    }

    /// The indexes that are noted.
    pub fn indexes(&self) -> impl Iterator<Item = (&Namespace, &Document)> {
        self.indexes.iter().flat_map(|(namespace, of)| of.values().map(move |index| (namespace, index)))
    }

    /// Notes a view.
    pub fn add_view(&mut self, namespace: Namespace, options: Document) {
        self.views.insert(namespace, options);
    }

    /// Takes a document of `<database>.system.views`, where servers keep views; `None`: it is gone.
    pub fn put_view(&mut self, id: &str, document: Option<&Document>) {
        let Some(namespace) = Namespace::parse(id) else { return };
        match document {
            Some(document) => {
                let mut options = document.clone();
                options.remove("_id");
                self.views.insert(namespace, options);
            }
            None => drop(self.views.remove(&namespace)),
        }
    }

    /// A view as the server keeps it.
    #[must_use]
    pub fn view(&self, id: &str) -> Option<Document> {
        let mut document = doc! {"_id": id};
        document.extend(self.views.get(&Namespace::parse(id)?)?.clone());
        Some(document)
    }

    /// Follows a change of collections.
    pub fn follow(&mut self, define: &Define) {
        match define {
            Define::Drop { namespace } => {
                self.indexes.remove(namespace);
                self.views.remove(namespace);
            }
            Define::DropDatabase { database } => {
                self.indexes.retain(|namespace, _| namespace.database != *database);
                self.views.retain(|namespace, _| namespace.database != *database);
            }
            Define::Rename { from, to } => {
                let moved = self.indexes.remove(from);
                self.indexes.remove(to);
                if let Some(moved) = moved {
                    self.indexes.insert(to.clone(), moved);
                }
            }
            Define::CreateIndexes { namespace, indexes } => self.add_indexes(namespace, indexes),
            Define::DropIndexes { namespace, index } => self.drop_indexes(namespace, index),
            Define::ModifyIndex { namespace, change } => self.modify(namespace, change),
            Define::Create { .. } | Define::Command { .. } | Define::Empty { .. } => {}
        }
    }

    fn drop_indexes(&mut self, namespace: &Namespace, index: &Bson) {
        let Some(of) = self.indexes.get_mut(namespace) else { return };
        match index {
            Bson::String(all) if all == "*" => of.clear(),
            Bson::String(name) => drop(of.remove(name)),
            Bson::Array(names) => {
                names.iter().filter_map(Bson::as_str).for_each(|name| drop(of.remove(name)));
            }
            Bson::Document(key) => of.retain(|_, index| index.get_document("key").ok() != Some(key)),
            _ => {}
        }
    }

    fn modify(&mut self, namespace: &Namespace, change: &Document) {
        let Some(of) = self.indexes.get_mut(namespace) else { return };
        let named = change.get_str("name").ok();
        let keyed = change.get_document("keyPattern").ok();
        let index = of.iter_mut().find(|(name, index)| {
            named == Some(name.as_str()) || (keyed.is_some() && index.get_document("key").ok() == keyed)
        });
        let Some((_, index)) = index else { return };
        for (option, value) in change {
            if !matches!(option.as_str(), "name" | "keyPattern") {
                index.insert(option.clone(), value.clone());
            }
        }
    }

    /// Commands that make what is noted: indexes, collection by collection, then views, by database.
    #[must_use]
    pub fn commands(&self) -> Vec<(String, Document)> {
        let indexes = self.indexes.iter().filter(|(_, indexes)| !indexes.is_empty());
        let indexes = indexes.map(|(namespace, indexes)| {
            let indexes: Vec<Document> = indexes.values().cloned().collect();
            let command = doc! {"createIndexes": &namespace.collection, "indexes": indexes};
            (namespace.database.clone(), command)
        });
        let views = self.views.iter().map(|(namespace, options)| {
            let mut command = doc! {"create": &namespace.collection};
            command.extend(options.clone());
            (namespace.database.clone(), command)
        });
        indexes.chain(views).collect()
    }
}

/// An index as a server of today takes it.
#[must_use]
pub fn cleaned(index: &Document) -> Document {
    let mut index = index.clone();
    for old in ["ns", "background", "dropDups"] {
        index.remove(old);
    }
    // Versions 0 and 1 can't be made any more.
    let version =
        index.get("v").and_then(Bson::as_i64).or(index.get("v").and_then(Bson::as_i32).map(i64::from));
    if version.is_none_or(|version| version < 2) {
        index.remove("v");
    }
    index
}
