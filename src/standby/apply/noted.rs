//! What has to be known until the copy is consistent.

use std::collections::BTreeSet;

use mongodb::bson::{self, Document, doc};
use serde::{Deserialize, Serialize};

use crate::{
    mongo::{Define, Namespace, schema::Schema},
    standby::{Error, Result},
};

/// Until the copy is consistent, what is unique may for a while not be: such indexes wait. And a collection that was
/// renamed at the master may be at the target under either name, or both.
#[derive(Debug, Default)]
pub struct Noted {
    unique: Schema,
    /// Collections that were copied.
    copied: BTreeSet<Namespace>,
    /// Collections that were made since the changes are heard: all that they hold is in the changes.
    made: BTreeSet<Namespace>,
    /// Changes of indexes that make them unique, by database.
    modifications: Vec<(String, Document)>,
}

/// As it is written down.
#[derive(Serialize, Deserialize)]
struct Written {
    unique: Vec<(Namespace, Document)>,
    copied: Vec<Namespace>,
    made: Vec<Namespace>,
    modifications: Vec<(String, Document)>,
}

impl Noted {
    /// # Errors
    /// [`Error::Broken`] for what can't be written.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let written = Written {
            unique: self
                .unique
                .indexes()
                .map(|(namespace, index)| (namespace.clone(), index.clone()))
                .collect(),
            copied: self.copied.iter().cloned().collect(),
            made: self.made.iter().cloned().collect(),
            modifications: self.modifications.clone(),
        };
        bson::serialize_to_vec(&written)
            .map_err(|error| Error::Broken(format!("what is noted of indexes: {error}")))
    }

    /// # Errors
    /// [`Error::Broken`] for what [`encode`](Self::encode) didn't write.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let written: Written = bson::deserialize_from_slice(bytes)
            .map_err(|error| Error::Broken(format!("`noted` in farshore.state can't be read: {error}")))?;
        let mut noted = Self::default();
        noted.copied(written.copied, written.unique);
        noted.made.extend(written.made);
        noted.modifications = written.modifications;
        Ok(noted)
    }

    pub(super) fn copied(&mut self, collections: Vec<Namespace>, unique: Vec<(Namespace, Document)>) {
        self.copied.extend(collections);
        for (namespace, index) in unique {
            self.unique.add_indexes(&namespace, &[index]);
        }
    }

    /// A collection was copied again, with these indexes.
    pub(super) fn replaced(&mut self, namespace: &Namespace, unique: Vec<(Namespace, Document)>) {
        let gone = Define::Drop { namespace: namespace.clone() };
        self.unique.follow(&gone);
        self.rename(&gone);
        self.copied(vec![namespace.clone()], unique);
    }

    /// The collection of that name was copied.
    pub(super) fn is_copied(&self, namespace: &Namespace) -> bool {
        self.copied.contains(namespace)
    }

    /// The collection of that name was made since the changes are heard.
    pub(super) fn is_made(&self, namespace: &Namespace) -> bool {
        self.made.contains(namespace)
    }

    /// Follows a change of collections; says what is left of it to be done now.
    pub(super) fn follow(&mut self, define: Define) -> Option<Define> {
        match define {
            Define::CreateIndexes { namespace, indexes } => {
                let (unique, others): (Vec<_>, Vec<_>) = indexes.into_iter().partition(is_unique);
                self.unique.add_indexes(&namespace, &unique);
                (!others.is_empty()).then_some(Define::CreateIndexes { namespace, indexes: others })
            }
            Define::ModifyIndex { namespace, change } if is_unique(&change) => {
                let command = doc! {"collMod": &namespace.collection, "index": change};
                self.modifications.push((namespace.database, command));
                None
            }
            define => {
                self.unique.follow(&define);
                self.rename(&define);
                Some(define)
            }
        }
    }

    fn rename(&mut self, define: &Define) {
        match define {
            Define::Create { namespace, .. } => drop(self.made.insert(namespace.clone())),
            Define::Drop { namespace } => {
                self.copied.remove(namespace);
                self.made.remove(namespace);
            }
            Define::DropDatabase { database } => {
                self.copied.retain(|of| of.database != *database);
                self.made.retain(|of| of.database != *database);
            }
            Define::Rename { from, to } => {
                for names in [&mut self.copied, &mut self.made] {
                    names.remove(to);
                    if names.remove(from) {
                        names.insert(to.clone());
                    }
                }
            }
            _ => {}
        }
    }

    /// Commands that do what had to wait, by database.
    pub(super) fn commands(&self) -> Vec<(String, Document)> {
        let mut commands = self.unique.commands();
        commands.extend(self.modifications.iter().cloned());
        commands
    }
}

/// No two documents may have the same, or will soon not be allowed to.
fn is_unique(index: &Document) -> bool {
    ["unique", "prepareUnique"].iter().any(|option| index.get_bool(option).is_ok_and(|is| is))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d01_unique_indexes_wait_and_follow_what_becomes_of_their_collection() {
        let (orders, kept) = (Namespace::new("shop", "orders"), Namespace::new("shop", "kept"));
        let index =
            |name: &str, unique: bool| doc! {"v": 2, "key": {name: 1}, "name": name, "unique": unique};
        let mut noted = Noted::default();
        noted.copied(vec![orders.clone()], vec![(orders.clone(), index("a", true))]);
        let indexes = vec![index("b", true), index("c", false)];
        let left = noted.follow(Define::CreateIndexes { namespace: orders.clone(), indexes });
        let only = vec![index("c", false)];
        assert_eq!(left, Some(Define::CreateIndexes { namespace: orders.clone(), indexes: only }));
        let change = doc! {"name": "c", "unique": true};
        assert_eq!(noted.follow(Define::ModifyIndex { namespace: orders.clone(), change }), None);
        let rename = Define::Rename { from: orders.clone(), to: kept.clone() };
        assert_eq!(noted.follow(rename.clone()), Some(rename));
        assert!(noted.is_copied(&kept) && !noted.is_copied(&orders) && !noted.is_made(&kept));

        let again = Noted::decode(&noted.encode().unwrap()).unwrap();
        let expected = vec![
            (
                "shop".to_owned(),
                doc! {"createIndexes": "kept", "indexes": [index("a", true), index("b", true)]},
            ),
            ("shop".to_owned(), doc! {"collMod": "orders", "index": {"name": "c", "unique": true}}),
        ];
        assert_eq!(again.commands(), expected);
        assert!(again.is_copied(&kept));
        noted.follow(Define::Drop { namespace: kept.clone() });
        assert_eq!(noted.commands().len(), 1, "the indexes went with their collection");
    }
}
