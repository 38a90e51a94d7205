//! mongodump's archive: many collections in one stream.
//!
//! ```text
//! 6d e2 99 81                                    magic
//! {version, server_version, tool_version}        the prelude's head
//! {db, collection, metadata, type} …             one a collection
//! ff ff ff ff
//! then blocks, as the collections were read side by side:
//! {db, collection, EOF, CRC}                     whose documents follow; with EOF, none do
//! document …
//! ff ff ff ff
//! ```
//!
//! With EOF comes the CRC-64 of all documents of the collection. A collection without it was cut off.

use std::{collections::HashMap, io::Read, sync::Arc};

use crc_fast::{CrcAlgorithm, Digest};
use mongodb::bson::{Document, RawDocument};

use super::{
    Error, Namespace, Result,
    slice::{Next, cut_off, next, parse},
};

const MAGIC: [u8; 4] = [0x6d, 0xe2, 0x99, 0x81];
/// Collections of one archive; more is not an archive.
const MAX_COLLECTIONS: usize = 100_000;

/// What an archive says first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prelude {
    pub server_version: String,
    pub tool_version: String,
    pub collections: Vec<Collection>,
}

/// One collection, a view, or a time series.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    pub namespace: Namespace,
    pub kind: Kind,
    /// How it was made.
    pub options: Document,
    pub indexes: Vec<Document>,
}

/// What a collection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Collection,
    View,
    TimeSeries,
}

/// What comes next.
#[derive(Debug)]
pub enum Item {
    Document {
        namespace: Arc<Namespace>,
        bytes: Vec<u8>,
    },
    /// All documents of a collection were read, and are those that were written.
    Ended(Arc<Namespace>),
}

/// An archive that is being read. Memory is that of one document, and a checksum a collection.
pub struct Archive<R> {
    input: R,
    pub prelude: Prelude,
    open: HashMap<Arc<Namespace>, State>,
    current: Option<Arc<Namespace>>,
}

#[derive(Default)]
struct State {
    sum: Option<Digest>,
    ended: bool,
}

impl<R: Read> Archive<R> {
    /// Reads the prelude.
    ///
    /// # Errors
    /// [`Error::NotAnArchive`]; [`Error::Damaged`] where the prelude can't be understood.
    pub fn open(mut input: R) -> Result<Self> {
        let mut magic = [0; 4];
        input.read_exact(&mut magic).map_err(|_| Error::NotAnArchive)?;
        if magic != MAGIC {
            return Err(Error::NotAnArchive);
        }
        let head = match next(&mut input)? {
            Next::Document(bytes) => parse(&bytes)?,
            _ => return Err(cut_off()),
        };
        let text = |name: &str| head.get_str(name).unwrap_or_default().to_owned();
        let mut prelude = Prelude {
            server_version: text("server_version"),
            tool_version: text("tool_version"),
            collections: Vec::new(),
        };
        loop {
            match next(&mut input)? {
                Next::Document(bytes) => prelude.collections.push(collection(&parse(&bytes)?)?),
                Next::Terminator => break,
                Next::End => return Err(cut_off()),
            }
            if prelude.collections.len() > MAX_COLLECTIONS {
                return Err(Error::Damaged(format!("more than {MAX_COLLECTIONS} collections")));
            }
        }
        Ok(Self { input, prelude, open: HashMap::new(), current: None })
    }

    /// The next document, or end of a collection. `None`: the archive is whole.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it is cut off, or documents are not those that were written.
    pub fn next_item(&mut self) -> Result<Option<Item>> {
        loop {
            let read = next(&mut self.input)?;
            match (&self.current, read) {
                (Some(namespace), Next::Document(bytes)) => {
                    let namespace = Arc::clone(namespace);
                    self.state(&namespace)?.digest().update(&bytes);
                    return Ok(Some(Item::Document { namespace, bytes }));
                }
                (Some(_), Next::Terminator) => self.current = None,
                (None, Next::Document(bytes)) => {
                    if let Some(ended) = self.header(&bytes)? {
                        return Ok(Some(Item::Ended(ended)));
                    }
                }
                (None, Next::End) => return self.whole().map(|()| None),
                (Some(_), Next::End) => return Err(cut_off()),
                (None, Next::Terminator) => {
                    return Err(Error::Damaged("a terminator between blocks".to_owned()));
                }
            }
        }
    }

    /// Takes the header of a block; answers with the collection that it ends.
    fn header(&mut self, bytes: &[u8]) -> Result<Option<Arc<Namespace>>> {
        let bad = |error: String| Error::Damaged(format!("the header of a block: {error}"));
        let header = RawDocument::from_bytes(bytes).map_err(|error| bad(error.to_string()))?;
        let text = |name: &str| header.get_str(name).map_err(|error| bad(error.to_string()));
        let namespace = Namespace::new(text("db")?, text("collection")?);
        let ends = header.get_bool("EOF").map_err(|error| bad(error.to_string()))?;
        let known = self.open.get_key_value(&namespace).map(|(known, _)| Arc::clone(known));
        let namespace = known.unwrap_or_else(|| Arc::new(namespace));
        let state = self.state(&namespace)?;
        if !ends {
            self.current = Some(namespace);
            return Ok(None);
        }
        let said = header.get_i64("CRC").map_err(|error| bad(error.to_string()))?;
        state.ended = true;
        // Nothing at all has the sum 0.
        let found = state.sum.take().map_or(0, |sum| sum.finalize());
        if found != said.cast_unsigned() {
            let cause = format!("the documents of {namespace} are not those that were written (CRC)");
            return Err(Error::Damaged(cause));
        }
        match next(&mut self.input)? {
            Next::Terminator => Ok(Some(namespace)),
            _ => Err(Error::Damaged(format!("{namespace} goes on after its end"))),
        }
    }

    fn state(&mut self, namespace: &Arc<Namespace>) -> Result<&mut State> {
        let state = self.open.entry(Arc::clone(namespace)).or_default();
        if state.ended {
            return Err(Error::Damaged(format!("{namespace} goes on after its end")));
        }
        Ok(state)
    }

    /// Every collection that was announced or begun has ended.
    fn whole(&self) -> Result<()> {
        let ended = |namespace: &Namespace| self.open.get(namespace).is_some_and(|state| state.ended);
        let announced = self.prelude.collections.iter().filter(|of| of.kind != Kind::View);
        let mut expected = announced.map(Collection::stored_as);
        let missing = expected.find(|namespace| !ended(namespace));
        let begun = self.open.iter().find(|(_, state)| !state.ended);
        match missing.or_else(|| begun.map(|(namespace, _)| (**namespace).clone())) {
            Some(namespace) => {
                Err(Error::Damaged(format!("{namespace} does not end: the archive is cut off")))
            }
            None => Ok(()),
        }
    }
}

impl State {
    fn digest(&mut self) -> &mut Digest {
        self.sum.get_or_insert_with(|| Digest::new(CrcAlgorithm::Crc64Xz))
    }
}

impl Collection {
    /// The collection that holds its documents.
    fn stored_as(&self) -> Namespace {
        match self.kind {
            Kind::TimeSeries => {
                let Namespace { database, collection } = &self.namespace;
                Namespace::new(database, &format!("system.buckets.{collection}"))
            }
            _ => self.namespace.clone(),
        }
    }
}

fn collection(row: &Document) -> Result<Collection> {
    let text = |name: &str| row.get_str(name).unwrap_or_default();
    let namespace = Namespace::new(text("db"), text("collection"));
    let bad = |cause: String| Error::Damaged(format!("the metadata of {namespace}: {cause}"));
    let metadata = match text("metadata") {
        "" => Document::new(),
        text => {
            let json: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
            Document::try_from(json).map_err(|error| bad(error.to_string()))?
        }
    };
    let options = metadata.get_document("options").cloned().unwrap_or_default();
    let kind = match text("type") {
        "view" => Kind::View,
        "timeseries" => Kind::TimeSeries,
        _ if options.contains_key("viewOn") => Kind::View,
        _ => Kind::Collection,
    };
    let indexes = match metadata.get_array("indexes") {
        Ok(rows) => rows.iter().filter_map(|row| row.as_document().cloned()).collect(),
        Err(_) => Vec::new(),
    };
    Ok(Collection { namespace, kind, options, indexes })
}
