//! Changes that are written together: what they leave of each document, and the commands that write it.

use std::collections::{BTreeMap, HashMap};

use mongodb::bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, cstr, doc};

use super::{Change, Error, Namespace, Result, diff::Update};

/// Documents that a batch changes at most, but for a transaction, which is never divided.
const DOCUMENTS: usize = 1000;
/// Changes of a batch.
const CHANGES: usize = 4000;
/// A command is a document, of 16 MiB and a little more.
const COMMAND: usize = 12 << 20;
/// Of what a command says of a document beside the document.
const ENVELOPE: usize = 128;

/// Changes, by document.
#[derive(Debug, Default)]
pub struct Batch {
    collections: BTreeMap<Namespace, Documents>,
    documents: usize,
    changes: usize,
}

/// Documents of a collection, in the order in which they were first changed: new ones come as their `_id`s rise, and a
/// server appends them fastest.
#[derive(Debug, Default)]
struct Documents {
    pending: Vec<Pending>,
    /// Where each is, by the bytes of its `_id`.
    at: HashMap<Vec<u8>, usize>,
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
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Put { id: Bson, document: Document },
    Remove { id: Bson },
}

/// What becomes of the documents of a collection.
#[derive(Debug, Default, PartialEq)]
pub struct Outcomes {
    pub outcomes: Vec<Outcome>,
    /// `_id`s of documents that are updated and should be there, but are not.
    pub missing: Vec<Bson>,
}

impl Batch {
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.documents >= DOCUMENTS || self.changes >= CHANGES
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.documents == 0
    }

    /// Takes a change of a document; `settled`: what is updated must be there.
    pub fn add(&mut self, change: Change, settled: bool) {
        let (namespace, id, what) = match change {
            Change::Put { namespace, id, document } => (namespace, id, Ok(Before::Is(document))),
            Change::Remove { namespace, id } => (namespace, id, Ok(Before::Gone)),
            Change::Update { namespace, id, update } => (namespace, id, Err(update)),
            Change::Define(_) => return,
        };
        self.changes += 1;
        let of = self.collections.entry(namespace).or_default();
        let at = *of.at.entry(key(&id)).or_insert(of.pending.len());
        if at == of.pending.len() {
            self.documents += 1;
            of.pending.push(Pending { id, before: Before::Kept, updates: Vec::new(), needed: false });
        }
        let pending = &mut of.pending[at];
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
    #[must_use]
    pub fn wanted(&self, namespace: &Namespace) -> Vec<Bson> {
        let of = self.collections.get(namespace).into_iter().flat_map(|of| &of.pending);
        of.filter(|pending| matches!(pending.before, Before::Kept))
            .map(|pending| pending.id.clone())
            .collect()
    }

    #[must_use]
    pub fn namespaces(&self) -> Vec<Namespace> {
        self.collections.keys().cloned().collect()
    }

    /// Takes a collection out of the batch: what becomes of its documents, given those that were `wanted`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an update that is not known.
    pub fn outcomes(&mut self, namespace: &Namespace, known: Vec<Document>) -> Result<Outcomes> {
        let mut known: HashMap<Vec<u8>, Document> =
            known.into_iter().filter_map(|document| Some((key(document.get("_id")?), document))).collect();
        let mut all = Outcomes::default();
        for pending in self.collections.remove(namespace).unwrap_or_default().pending {
            self.documents -= 1;
            let (id, needed) = (pending.id, pending.needed);
            let document = match pending.before {
                Before::Is(document) => Some(document),
                Before::Kept => known.remove(&key(&id)),
                Before::Gone => {
                    all.outcomes.push(Outcome::Remove { id });
                    continue;
                }
            };
            match document {
                Some(mut document) => {
                    apply(namespace, &id, &pending.updates, &mut document)?;
                    all.outcomes.push(Outcome::Put { id, document });
                }
                None if needed => all.missing.push(id),
                // What is there came after its removal, which follows.
                None => {}
            }
        }
        if self.collections.is_empty() {
            self.changes = 0;
        }
        Ok(all)
    }
}

fn apply(namespace: &Namespace, id: &Bson, updates: &[Update], document: &mut Document) -> Result<()> {
    let unknown = |error| Error::Unsupported(format!("{namespace}, _id {id}: {error}"));
    updates.iter().try_for_each(|update| update.apply(document)).map_err(unknown)
}

/// The `_id` as bytes: values that differ in their type are others.
#[must_use]
pub fn key(id: &Bson) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory does not fail; an `_id` that can't be written can't have been read.
    doc! {"": id}.to_writer(&mut bytes).ok();
    bytes
}

/// What a query asks of the `_id` of one document: servers find a plain value fastest, and one with fields could be taken
/// for operators.
fn only(id: &Bson) -> Bson {
    match id {
        Bson::Document(_) | Bson::Array(_) | Bson::RegularExpression(_) => doc! {"$eq": id}.into(),
        plain => plain.clone(),
    }
}

/// One document, as a command says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    pub id: Bson,
    /// `None`: it is removed.
    statement: Option<RawDocumentBuf>,
}

impl Write {
    /// The document is removed.
    #[must_use]
    pub fn removal(id: Bson) -> Self {
        Self { id, statement: None }
    }

    /// # Errors
    /// [`Error::Damaged`] for a document that can't be written.
    pub fn new(outcome: Outcome) -> Result<Self> {
        match outcome {
            Outcome::Remove { id } => Ok(Self::removal(id)),
            Outcome::Put { id, document } => {
                let failed = |error: mongodb::bson::error::Error| {
                    Error::Damaged(format!("the document with _id {id} can't be written: {error}"))
                };
                let mut statement =
                    RawDocumentBuf::try_from(&doc! {"q": {"_id": only(&id)}}).map_err(failed)?;
                // A name with a dollar would be taken for an operator.
                if document.keys().any(|name| name.starts_with('$')) {
                    let pipeline = doc! {"u": [{"$replaceWith": {"$literal": document}}], "upsert": true};
                    let pipeline = RawDocumentBuf::try_from(&pipeline).map_err(failed)?;
                    for field in &pipeline {
                        let (name, value) = field.map_err(failed)?;
                        statement.append(name, value);
                    }
                } else {
                    statement.append(cstr!("u"), RawDocumentBuf::try_from(&document).map_err(failed)?);
                    statement.append(cstr!("upsert"), true);
                }
                Ok(Self { id, statement: Some(statement) })
            }
        }
    }

    /// The document is to be there, rather than removed.
    #[must_use]
    pub fn is_put(&self) -> bool {
        self.statement.is_some()
    }

    fn size(&self) -> usize {
        ENVELOPE + self.statement.as_ref().map_or(0, |statement| statement.as_bytes().len())
    }
}

/// Divides writes, all removals or all of documents, into commands of so many at most.
#[must_use]
pub fn pages(writes: Vec<Write>, most: usize) -> Vec<Vec<Write>> {
    let (mut pages, mut page, mut size) = (Vec::new(), Vec::new(), 0);
    for write in writes {
        if page.len() >= most || (size + write.size() > COMMAND && !page.is_empty()) {
            pages.push(std::mem::take(&mut page));
            size = 0;
        }
        size += write.size();
        page.push(write);
    }
    if !page.is_empty() {
        pages.push(page);
    }
    pages
}

/// The command that writes a page, with what else it is to bear. May be repeated.
///
/// # Errors
/// [`Error::Damaged`] for an `_id` that can't be written.
pub fn command(collection: &str, page: &[Write], ordered: bool, bears: &Document) -> Result<RawDocumentBuf> {
    let failed = |error: mongodb::bson::error::Error| Error::Damaged(format!("{collection}: {error}"));
    let mut writes = RawArrayBuf::new();
    for write in page {
        if let Some(statement) = &write.statement {
            writes.push(statement.as_ref());
        } else {
            let removal = doc! {"q": {"_id": only(&write.id)}, "limit": 1};
            writes.push(RawDocumentBuf::try_from(&removal).map_err(failed)?);
        }
    }
    let mut command = RawDocumentBuf::new();
    if page.first().is_some_and(Write::is_put) {
        command.append(cstr!("update"), collection);
        command.append(cstr!("updates"), writes);
        // What the master has taken is not checked again.
        command.append(cstr!("bypassDocumentValidation"), true);
    } else {
        command.append(cstr!("delete"), collection);
        command.append(cstr!("deletes"), writes);
    }
    command.append(cstr!("ordered"), ordered);
    let bears = RawDocumentBuf::try_from(bears).map_err(failed)?;
    for field in &bears {
        let (name, value) = field.map_err(failed)?;
        command.append(name, value);
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(id: i32, field: &str, size: usize) -> Outcome {
        Outcome::Put { id: Bson::Int32(id), document: doc! {"_id": id, field: "x".repeat(size)} }
    }

    #[test]
    fn d01_a_command_is_never_longer_than_a_server_takes() {
        let writes = |sizes: &[usize]| -> Vec<Write> {
            sizes.iter().map(|size| Write::new(put(1, "a", *size)).unwrap()).collect()
        };
        let counted = |sizes: &[usize], most| -> Vec<usize> {
            pages(writes(sizes), most).iter().map(Vec::len).collect()
        };
        assert_eq!(counted(&[1; 5], 2), [2, 2, 1]);
        assert_eq!(counted(&[10 << 20, 10 << 20, 1, 15 << 20], 1000), [1, 2, 1]);
        assert!(pages(Vec::new(), 10).is_empty());
        let page = pages(writes(&[15 << 20]), 1000).remove(0);
        let length = command("orders", &page, false, &doc! {}).unwrap().as_bytes().len();
        assert!(length < (16 << 20) + (16 << 10), "{length}");
    }

    #[test]
    fn d01_a_field_whose_name_begins_with_a_dollar_is_no_operator() {
        let write = Write::new(put(1, "$set", 3)).unwrap();
        let command = command("orders", &[write], true, &doc! {"maxTimeMS": 5}).unwrap();
        let document = doc! {"_id": 1, "$set": "xxx"};
        let update = doc! {
            "q": {"_id": 1}, "u": [{"$replaceWith": {"$literal": document}}], "upsert": true,
        };
        let expected = doc! {
            "update": "orders", "updates": [update], "bypassDocumentValidation": true, "ordered": true,
            "maxTimeMS": 5,
        };
        assert_eq!(Document::try_from(command.as_ref()).unwrap(), expected);
    }
}
