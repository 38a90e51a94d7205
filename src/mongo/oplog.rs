//! From entries of the oplog to changes, transaction by transaction.
//!
//! A transaction is applied where it was committed, and as a whole: its operations lie in one or several
//! `applyOps` entries, of which all but the last bear `partialTxn`; a prepared one waits for
//! `commitTransaction`. What was not committed by the moment that is wanted is left out.

use std::collections::HashMap;

use mongodb::bson::{Bson, Document, Timestamp};

use super::{Change, Define, Error, Namespace, Place, Result, diff::Update, size_of};

/// Follows an oplog up to a moment.
#[derive(Debug)]
pub struct Replay {
    /// What is applied already.
    from: Place,
    /// The last second that is wanted.
    until: u32,
    seen: Place,
    /// Operations of transactions that are not committed yet.
    open: HashMap<Vec<u8>, Open>,
    over: bool,
    /// Transactions (single changes among them) that were given out.
    pub transactions: u64,
    /// The place of the last of them.
    pub last: Option<Place>,
}

/// A transaction that is not committed yet.
#[derive(Debug)]
struct Open {
    began: Place,
    operations: Vec<Document>,
    /// About their size as BSON.
    size: usize,
}

impl Replay {
    /// A replay of everything that comes after `from`, without an end.
    #[must_use]
    pub fn following(from: Place) -> Self {
        Self::new(from, u32::MAX)
    }

    /// A replay of what comes after `from`, up to the end of the second `until`.
    #[must_use]
    pub fn new(from: Place, until: u32) -> Self {
        let (seen, last) = (Place::default(), None);
        Self { from, until, seen, open: HashMap::new(), over: false, transactions: 0, last }
    }

    /// True once an entry came that is later than what is wanted.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// How far entries were read, those that are not wanted aside.
    #[must_use]
    pub fn seen(&self) -> Place {
        self.seen
    }

    /// The first entry of the oldest transaction that is not committed yet: who goes on later must begin to read there.
    #[must_use]
    pub fn oldest_open(&self) -> Option<Place> {
        self.open.values().map(|open| open.began).min()
    }

    /// About how many bytes of transactions are held that are not committed yet.
    #[must_use]
    pub fn held(&self) -> usize {
        self.open.values().map(|open| open.size).sum()
    }

    /// Takes the next entry, in the order of the log; entries may come again where slices overlap. Answers
    /// with the changes that are due, which belong together.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an entry that is not known; [`Error::Damaged`] for a transaction whose
    /// beginning is not there.
    pub fn take(&mut self, entry: Document) -> Result<Vec<Change>> {
        let place = place_of(&entry)?;
        if self.over || place <= self.seen {
            return Ok(Vec::new());
        }
        if place.seconds > self.until {
            self.over = true;
            return Ok(Vec::new());
        }
        self.seen = place;
        let mut changes = Vec::new();
        // What is applied already may still hold the beginning of a transaction that is not.
        let wanted = place > self.from;
        self.entry(entry, wanted, &mut changes)?;
        if !changes.is_empty() {
            self.transactions += 1;
            self.last = Some(place);
        }
        Ok(changes)
    }

    fn entry(&mut self, entry: Document, wanted: bool, changes: &mut Vec<Change>) -> Result<()> {
        let command = entry.get_str("op").is_ok_and(|op| op == "c");
        let name = entry.get_document("o").ok().and_then(|o| o.keys().next().cloned()).unwrap_or_default();
        let key = transaction(&entry);
        match (command, name.as_str(), key) {
            (true, "applyOps", Some(key)) => self.part(&entry, key, wanted, changes),
            (true, "commitTransaction", Some(key)) => match self.open.remove(&key) {
                Some(open) if wanted => all(open.operations, changes),
                None if wanted => Err(headless(&entry)),
                _ => Ok(()),
            },
            (true, "abortTransaction", Some(key)) => {
                self.open.remove(&key);
                Ok(())
            }
            _ if wanted => change(entry, changes),
            _ => Ok(()),
        }
    }

    /// One part of a transaction, or all of it.
    fn part(
        &mut self,
        entry: &Document,
        key: Vec<u8>,
        wanted: bool,
        changes: &mut Vec<Change>,
    ) -> Result<()> {
        let o = entry.get_document("o").map_err(|error| Error::Damaged(error.to_string()))?;
        let flag = |name: &str| matches!(o.get(name), Some(Bson::Boolean(true)));
        let open = self.open.remove(&key);
        if wanted && open.is_none() && has_previous(entry) {
            return Err(headless(entry));
        }
        let mut open = open.unwrap_or_else(|| Open { began: self.seen, operations: Vec::new(), size: 0 });
        open.operations.extend(operations_of(o)?);
        if flag("partialTxn") || flag("prepare") {
            open.size += size_of(o);
            self.open.insert(key, open);
            return Ok(());
        }
        let operations = open.operations;
        let count = o.get("count").and_then(number);
        if wanted && count.is_some_and(|count| count != operations.len() as u64) {
            return Err(headless(entry));
        }
        if wanted { all(operations, changes) } else { Ok(()) }
    }
}

fn number(value: &Bson) -> Option<u64> {
    match value {
        Bson::Int32(number) => u64::try_from(*number).ok(),
        Bson::Int64(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn headless(entry: &Document) -> Error {
    let place = place_of(entry).unwrap_or_default();
    Error::Damaged(format!(
        "the transaction that was committed at {}.{} began before the oplog that is there; restore from an older base",
        place.seconds, place.increment
    ))
}

/// Where an entry lies in the log.
///
/// # Errors
/// [`Error::Damaged`] for what is no entry.
pub fn place_of(entry: &Document) -> Result<Place> {
    let Timestamp { time, increment } = entry
        .get_timestamp("ts")
        .map_err(|_| Error::Damaged("an entry of the oplog has no ts".to_owned()))?;
    Ok(Place { seconds: time, increment })
}

/// What tells a transaction from others, for entries of one.
fn transaction(entry: &Document) -> Option<Vec<u8>> {
    let (lsid, number) = (entry.get("lsid")?, entry.get("txnNumber")?);
    let key = mongodb::bson::doc! {"lsid": lsid, "n": number};
    let mut bytes = Vec::new();
    key.to_writer(&mut bytes).ok()?;
    Some(bytes)
}

/// An earlier part of the same transaction is in the log.
fn has_previous(entry: &Document) -> bool {
    let previous = entry.get_document("prevOpTime").ok();
    previous.and_then(|at| at.get_timestamp("ts").ok()).is_some_and(|at| at.time > 0)
}

fn operations_of(o: &Document) -> Result<Vec<Document>> {
    let operations = o.get_array("applyOps").map_err(|error| Error::Damaged(error.to_string()))?;
    let documents = operations.iter().map(|operation| match operation {
        Bson::Document(operation) => Ok(operation.clone()),
        _ => Err(Error::Damaged("an operation of applyOps is no document".to_owned())),
    });
    documents.collect()
}

fn all(operations: Vec<Document>, changes: &mut Vec<Change>) -> Result<()> {
    operations.into_iter().try_for_each(|operation| change(operation, changes))
}

/// The changes of one operation.
fn change(mut entry: Document, changes: &mut Vec<Change>) -> Result<()> {
    let op = entry.get_str("op").unwrap_or_default().to_owned();
    let ns = entry.get_str("ns").unwrap_or_default().to_owned();
    // Notes, and the numbers of records that a server keeps for itself.
    if matches!(op.as_str(), "n" | "km" | "ci" | "cd" | "cu" | "xi" | "xd") {
        return Ok(());
    }
    let Some(Bson::Document(o)) = entry.remove("o") else {
        return Err(Error::Damaged(format!("an entry {op:?} of {ns} holds nothing")));
    };
    let unknown = || Error::Unsupported(format!("an entry {op:?} of {ns:?} is not known"));
    let namespace = Namespace::parse(&ns).ok_or_else(unknown)?;
    if op == "c" {
        return command(&namespace.database, o, changes);
    }
    if namespace.is_internal() {
        return Ok(());
    }
    refuse_time_series(&namespace)?;
    if namespace.collection == "system.indexes" {
        return legacy_index(o, changes);
    }
    let target = entry.remove("o2").and_then(|o2| match o2 {
        Bson::Document(mut o2) => o2.remove("_id"),
        _ => None,
    });
    let id = target.or_else(|| o.get("_id").cloned());
    let id = id.ok_or_else(|| Error::Damaged(format!("an entry {op:?} of {ns} names no _id")))?;
    changes.push(match op.as_str() {
        "i" => Change::Put { namespace, id, document: o },
        "d" => Change::Remove { namespace, id },
        "u" => match Update::read(o)? {
            Update::Replace(mut document) => {
                if !document.contains_key("_id") {
                    document.insert("_id", id.clone());
                }
                Change::Put { namespace, id, document }
            }
            update => Change::Update { namespace, id, update },
        },
        _ => return Err(unknown()),
    });
    Ok(())
}

fn refuse_time_series(namespace: &Namespace) -> Result<()> {
    if namespace.collection.starts_with("system.buckets.") {
        return Err(Error::Unsupported(format!(
            "{namespace} belongs to a time series: these are not supported yet"
        )));
    }
    Ok(())
}

/// Servers before 4.2 wrote indexes as documents.
fn legacy_index(mut index: Document, changes: &mut Vec<Change>) -> Result<()> {
    let of = index.remove("ns").and_then(|ns| Namespace::parse(ns.as_str()?));
    let namespace = of.ok_or_else(|| Error::Damaged("an index names no collection".to_owned()))?;
    changes.push(Change::Define(Define::CreateIndexes { namespace, indexes: vec![index] }));
    Ok(())
}

/// A command of the log, in the words of its first field.
///
/// # Errors
/// [`Error::Unsupported`] for one that is not known.
pub(crate) fn command(database: &str, mut o: Document, changes: &mut Vec<Change>) -> Result<()> {
    let Some((name, value)) = o.iter().next().map(|(name, value)| (name.clone(), value.clone())) else {
        return Ok(());
    };
    if name == "applyOps" {
        return all(operations_of(&o)?, changes);
    }
    let skipped = ["startIndexBuild", "abortIndexBuild", "setMultikeyMetadata", "dbCheck", "dropIdent"];
    let renames = name == "renameCollection";
    if skipped.contains(&name.as_str()) || (matches!(database, "admin" | "config" | "local") && !renames) {
        return Ok(());
    }
    if name == "dropDatabase" {
        changes.push(Change::Define(Define::DropDatabase { database: database.to_owned() }));
        return Ok(());
    }
    let collection =
        value.as_str().ok_or_else(|| Error::Damaged(format!("{name} of {database} names no collection")))?;
    if renames {
        return rename(collection, &o, changes);
    }
    let namespace = Namespace::new(database, collection);
    refuse_time_series(&namespace)?;
    o.remove(&name);
    let define = match name.as_str() {
        "create" => return create(namespace, o, changes),
        "drop" => Define::Drop { namespace },
        "createIndexes" | "commitIndexBuild" => Define::CreateIndexes { namespace, indexes: indexes_of(o)? },
        "dropIndexes" | "deleteIndexes" => {
            Define::DropIndexes { namespace, index: o.remove("index").unwrap_or(Bson::Null) }
        }
        "collMod" => {
            modify(&namespace, o, changes);
            return Ok(());
        }
        "emptycapped" => Define::Empty { namespace },
        "convertToCapped" => {
            let mut command = mongodb::bson::doc! {"convertToCapped": collection};
            command.extend(o);
            Define::Command { database: database.to_owned(), command }
        }
        _ => return Err(Error::Unsupported(format!("the command {name} on {namespace} is not known"))),
    };
    changes.push(Change::Define(define));
    Ok(())
}

fn rename(from: &str, o: &Document, changes: &mut Vec<Change>) -> Result<()> {
    let to = o.get_str("to").ok().and_then(Namespace::parse);
    match (Namespace::parse(from), to) {
        (Some(from), Some(to)) => {
            changes.push(Change::Define(Define::Rename { from, to }));
            Ok(())
        }
        _ => Err(Error::Damaged(format!("a renaming of {from:?} names no collections"))),
    }
}

fn create(namespace: Namespace, mut options: Document, changes: &mut Vec<Change>) -> Result<()> {
    if options.contains_key("timeseries") {
        return Err(Error::Unsupported(format!("{namespace} is a time series: these are not supported yet")));
    }
    options.remove("idIndex");
    // The server makes it with the first view.
    if namespace.collection == "system.views" {
        return Ok(());
    }
    if options.contains_key("viewOn") {
        let id = Bson::String(namespace.to_string());
        options.insert("_id", id.clone());
        let namespace = Namespace::new(&namespace.database, "system.views");
        changes.push(Change::Put { namespace, id, document: options });
        return Ok(());
    }
    changes.push(Change::Define(Define::Create { namespace, options }));
    Ok(())
}

fn indexes_of(mut o: Document) -> Result<Vec<Document>> {
    match o.remove("indexes") {
        Some(Bson::Array(indexes)) => {
            Ok(indexes.into_iter().filter_map(|index| index.as_document().cloned()).collect())
        }
        Some(_) => Err(Error::Damaged("indexes that are no list".to_owned())),
        None => Ok(vec![o]),
    }
}

fn modify(namespace: &Namespace, mut o: Document, changes: &mut Vec<Change>) {
    if let Some(Bson::Document(change)) = o.remove("index") {
        changes.push(Change::Define(Define::ModifyIndex { namespace: namespace.clone(), change }));
    }
    if !o.is_empty() {
        let mut command = mongodb::bson::doc! {"collMod": &namespace.collection};
        command.extend(o);
        changes.push(Change::Define(Define::Command { database: namespace.database.clone(), command }));
    }
}
