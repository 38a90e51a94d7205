//! Ranges of a collection, by `_id`.
//!
//! Bounds are of the index on `_id` (`min` and `max` with a hint), not of a query: a query by `$gte` finds values of
//! one type alone.

use std::time::Duration;

use futures::TryStreamExt;
use mongodb::{
    bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, Timestamp, cstr, doc, rawdoc},
    error::Error as ServerError,
    options::{Hint, ReadConcern},
};

use super::{Seed, list::Listed};
use crate::standby::{
    Error, Result, Side,
    error::failed,
    servers::{code, lacking, within},
    target::{Target, limits},
};

/// Documents that are written at once: so many, or so many bytes.
const DOCUMENTS: usize = 2000;
pub(super) const BYTES: usize = 4 << 20;
/// Longest time for the next documents of the master.
const READ: Duration = Duration::from_secs(30);
/// Values that are looked at for each range.
const SAMPLES: u64 = 16;
/// A plan is one document.
const RANGES: u64 = 1024;

/// Values of `_id` that divide a collection into ranges of about the wanted size.
///
/// # Errors
/// [`Error::Server`], [`Error::Refused`] where the account may not read.
pub(super) async fn bounds(seed: &Seed, listed: &Listed) -> Result<Vec<Bson>> {
    let ranges = (listed.bytes / seed.range).clamp(1, RANGES);
    // Documents of a capped collection keep their order.
    if ranges == 1 || listed.capped {
        return Ok(Vec::new());
    }
    let size = i64::try_from(ranges * SAMPLES).unwrap_or(i64::MAX);
    let of = seed.master.database(&listed.namespace.database);
    let of = of.collection::<Document>(&listed.namespace.collection);
    let pipeline =
        [doc! {"$sample": {"size": size}}, doc! {"$project": {"_id": 1}}, doc! {"$sort": {"_id": 1}}];
    let sampled = async { of.aggregate(pipeline).await?.try_collect::<Vec<Document>>().await };
    let what = format!("dividing {}", listed.namespace);
    let sampled = within(READ, Side::Master, &what, sampled).await;
    let sampled = sampled.map_err(|error| lacking(error, Side::Master, "readAnyDatabase"))?;
    let ids: Vec<Bson> = sampled.into_iter().filter_map(|mut document| document.remove("_id")).collect();
    Ok(chosen(ids, ranges))
}

/// As many of the values as lie between so many ranges.
fn chosen(ids: Vec<Bson>, ranges: u64) -> Vec<Bson> {
    let step = (ids.len() / usize::try_from(ranges).unwrap_or(usize::MAX)).max(1);
    let mut bounds: Vec<Bson> = ids.into_iter().skip(step).step_by(step).collect();
    bounds.dedup();
    bounds.truncate(usize::try_from(ranges.saturating_sub(1)).unwrap_or(usize::MAX));
    bounds
}

/// Copies a range; answers with documents and bytes, or with nothing where it was stopped.
///
/// # Errors
/// [`Error::Server`], [`Error::Superseded`], [`Error::Refused`] where the account may not read.
pub(super) async fn copy(
    seed: &Seed,
    listed: &Listed,
    (bounds, number): (&[Bson], usize),
) -> Result<Option<(i64, i64)>> {
    let namespace = &listed.namespace;
    let what = format!("reading {namespace}");
    let of = seed.master.database(&namespace.database).collection::<RawDocumentBuf>(&namespace.collection);
    // A member that has just become the primary may for a moment not know of everything that a majority has.
    let session = seed.master.start_session().causal_consistency(true);
    let mut session = within(READ, Side::Master, &what, session.into_future()).await?;
    session
        .advance_operation_time(Timestamp { time: listed.since.seconds, increment: listed.since.increment });
    // What no majority has may be rolled back.
    let mut find = of.find(doc! {}).read_concern(ReadConcern::majority()).batch_size(batch(listed));
    if !bounds.is_empty() {
        find = find.hint(Hint::Keys(doc! {"_id": 1}));
        if let Some(lower) = number.checked_sub(1).and_then(|before| bounds.get(before)) {
            find = find.min(doc! {"_id": lower});
        }
        if let Some(upper) = bounds.get(number) {
            find = find.max(doc! {"_id": upper});
        }
    }
    let reader = |error| lacking(error, Side::Master, "readAnyDatabase");
    let find = find.session(&mut session);
    let mut cursor = within(READ, Side::Master, &what, find.into_future()).await.map_err(reader)?;
    let (mut held, mut size, mut counts) = (Vec::new(), 0, (0, 0));
    while within(READ, Side::Master, &what, cursor.advance(&mut session)).await.map_err(reader)? {
        let document = cursor.current().to_owned();
        size += document.as_bytes().len();
        held.push(document);
        if held.len() >= DOCUMENTS || size >= BYTES {
            if seed.stop.is_cancelled() {
                return Ok(None);
            }
            counts = (counts.0 + count(held.len()), counts.1 + count(size));
            insert(seed, listed, std::mem::take(&mut held), std::mem::take(&mut size)).await?;
        }
    }
    counts = (counts.0 + count(held.len()), counts.1 + count(size));
    insert(seed, listed, held, size).await?;
    Ok((!seed.stop.is_cancelled()).then_some(counts))
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Documents that the master is asked for at once: about as many bytes as are written at once.
fn batch(listed: &Listed) -> u32 {
    let each = listed.bytes.checked_div(listed.documents).unwrap_or(0).max(1);
    let fitting = (BYTES as u64 / each).clamp(1, DOCUMENTS as u64);
    u32::try_from(fitting).unwrap_or(1)
}

async fn insert(seed: &Seed, listed: &Listed, documents: Vec<RawDocumentBuf>, size: usize) -> Result<()> {
    if documents.is_empty() {
        return Ok(());
    }
    let duplicates = write(&seed.target, listed, &documents).await?;
    if !duplicates.is_empty() {
        replace(&seed.target, listed, &documents, &duplicates).await?;
    }
    seed.progress.send_modify(|progress| {
        progress.documents_done += documents.len() as u64;
        progress.bytes_done += size as u64;
    });
    Ok(())
}

/// Inserts documents; answers with the numbers of those that are there already.
async fn write(target: &Target, listed: &Listed, documents: &[RawDocumentBuf]) -> Result<Vec<usize>> {
    let namespace = &listed.namespace;
    let mut list = RawArrayBuf::new();
    for document in documents {
        list.push(document.as_ref());
    }
    let mut command = rawdoc! {
        "insert": namespace.collection.as_str(), "ordered": listed.capped, "bypassDocumentValidation": true,
    };
    command.append(cstr!("documents"), list);
    let what = format!("copying to {namespace}");
    let command = with_limits(command, &what)?;
    let reply = target.send(&namespace.database, command, &what).await?;
    let mut duplicates = Vec::new();
    for error in errors(&reply) {
        let number = error.get_i32("index").ok().and_then(|index| usize::try_from(index).ok());
        match (error.get_i32("code"), number) {
            (Ok(code::DUPLICATE_KEY), Some(number)) if !listed.capped => duplicates.push(number),
            _ => return Err(refused(&what, error)),
        }
    }
    Ok(duplicates)
}

fn with_limits(mut command: RawDocumentBuf, what: &str) -> Result<RawDocumentBuf> {
    let broken = |error: &dyn std::fmt::Display| Error::Broken(format!("{what}: {error}"));
    let limits = RawDocumentBuf::try_from(&limits()).map_err(|error| broken(&error))?;
    for limit in &limits {
        let (name, value) = limit.map_err(|error| broken(&error))?;
        command.append(name, value);
    }
    Ok(command)
}

/// Puts documents in place of those that are there: the range was begun before. They may hold names with `$`, which
/// an update would take for something else.
async fn replace(
    target: &Target,
    listed: &Listed,
    documents: &[RawDocumentBuf],
    numbers: &[usize],
) -> Result<()> {
    let namespace = &listed.namespace;
    let what = format!("copying to {namespace} once more");
    let again: Vec<RawDocumentBuf> =
        numbers.iter().filter_map(|number| documents.get(*number)).cloned().collect();
    let mut removals = Vec::new();
    for document in &again {
        let id = document.get("_id").ok().flatten().and_then(|id| Bson::try_from(id).ok());
        let id = id.ok_or_else(|| Error::Broken(format!("{what}: a document without _id")))?;
        removals.push(doc! {"q": {"_id": {"$eq": id}}, "limit": 1});
    }
    let command = doc! {"delete": &namespace.collection, "deletes": removals, "ordered": false};
    written(&target.write(&namespace.database, command, &what).await?, &what)?;
    match write(target, listed, &again).await?.first() {
        Some(number) => {
            let id = again.get(*number).and_then(|document| document.get("_id").ok().flatten());
            Err(Error::Broken(format!("{what}: the document with _id {id:?} is there, and can't be removed")))
        }
        None => Ok(()),
    }
}

fn errors(reply: &Document) -> impl Iterator<Item = &Document> {
    let errors = reply.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
    errors.iter().filter_map(Bson::as_document)
}

fn refused(what: &str, error: &Document) -> Error {
    let message = format!("a write was refused: {}", error.get_str("errmsg").unwrap_or("without a word"));
    failed(Side::Target, what)(ServerError::custom(message))
}

/// Makes sure that every write of a command was done.
///
/// # Errors
/// [`Error::Server`]
pub(super) fn written(reply: &Document, what: &str) -> Result<()> {
    match errors(reply).next() {
        Some(error) => Err(refused(what, error)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Bson, Document};

    use super::{Listed, batch, chosen};
    use crate::mongo::{Namespace, Place};

    #[test]
    fn d01_bounds_lie_evenly_between_ranges() {
        let ids = |count: i32| (0..count).map(Bson::Int32).collect::<Vec<_>>();
        let numbers = |bounds: Vec<Bson>| bounds.iter().filter_map(Bson::as_i32).collect::<Vec<_>>();
        assert_eq!(numbers(chosen(ids(64), 4)), [16, 32, 48]);
        // Fewer values than there should be.
        assert_eq!(numbers(chosen(ids(3), 4)), [1, 2]);
        assert!(chosen(ids(0), 4).is_empty());
        // One value again and again divides nothing twice.
        assert_eq!(chosen(vec![Bson::Int32(7); 64], 4), [Bson::Int32(7)]);
    }

    #[test]
    fn d01_a_batch_is_bounded_by_bytes() {
        let listed = |documents, bytes| {
            let (namespace, options) = (Namespace::new("shop", "orders"), Document::new());
            Listed {
                namespace,
                options,
                capped: false,
                uuid: None,
                since: Place::default(),
                documents,
                bytes,
            }
        };
        assert_eq!(batch(&listed(0, 0)), 2000);
        assert_eq!(batch(&listed(1_000_000, 200_000_000)), 2000);
        assert_eq!(batch(&listed(10, 10 << 20)), 4);
        assert_eq!(batch(&listed(10, 160 << 20)), 1);
    }
}
