//! MongoDB from a dump and the oplog, into a fresh replica set that runs already; [`fresh`] makes one.
//!
//! The dump is inserted while it is fetched; then the oplog is replayed from where the dump began to be read
//! to the end of the wanted second, batch by batch: what a batch changes is worked out here, on the documents
//! themselves, and written as a whole, so that it may be repeated. Indexes and views come last.
//!
//! Accounts and roles (`admin`, `config`, `local`) are not restored: they are the new instance's own.

pub mod fresh;
mod target;

use std::io::Read;

use jiff::Timestamp;
use mongodb::bson::{Document, RawDocumentBuf};
use tokio::sync::mpsc;

use self::target::Target;
use super::{Error, Origin, Plan, PlannedBase, PlannedLog, Reached, Result, Step, error::AtStep};
use crate::{
    backup::catalog::{Object, Position, decode, walg_mongo::slice_end},
    mongo::{
        self, Change, Namespace, Place,
        archive::{Archive, Collection, Item},
        batch::Batch,
        oplog::Replay,
        slice::Slice,
    },
};

/// Documents that are handed over at once: so many, or so many bytes.
const DOCUMENTS: usize = 1000;
const BYTES: usize = 4 << 20;
/// Batches of a dump that are inserted at a time. With those that wait, at most 32 MiB are held.
const PARALLEL: usize = 4;

/// Where WAL-G keeps its bases.
const FOLDER: &str = "basebackups_005/";

/// Where to restore to.
#[derive(Clone)]
pub struct Settings {
    /// `mongodb://…`, with an account that may do everything.
    pub uri: String,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It holds a password.
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

/// Restores what the plan says into an instance that holds nothing.
///
/// # Errors
/// With the step at which it failed: then the instance is half full, and of no use.
pub async fn restore(plan: &Plan, origin: &Origin, settings: &Settings) -> Result<Reached, AtStep> {
    let reporter = &origin.reporter;
    let at = |step: Step| move |error: Error| error.at(step);
    reporter.enter(Step::Begin);
    let mut target = Target::connect(settings).await.map_err(at(Step::Begin))?;
    let (dump, from, settled) = base(plan).map_err(at(Step::Begin))?;
    reporter.enter(Step::Fetch);
    fill(origin, dump, &mut target).await.map_err(at(Step::Fetch))?;
    reporter.enter(Step::Replay);
    let until = u32::try_from(plan.time_point.as_second()).unwrap_or(u32::MAX);
    let mut replay = Replay::new(from, until);
    follow(origin, &plan.logs, (&mut replay, settled), &mut target).await.map_err(at(Step::Replay))?;
    reporter.enter(Step::Finish);
    target.finish().await.map_err(at(Step::Finish))?;
    Ok(Reached {
        time_point: plan.time_point,
        last_commit: replay.last.and_then(|last| Timestamp::from_second(i64::from(last.seconds)).ok()),
        transactions: replay.transactions,
        bytes: reporter.progress().done,
        answers: Vec::new(),
    })
}

/// The dump, the place from which on the oplog goes on, and the second in which the dump was done.
fn base(plan: &Plan) -> Result<(&Object, Place, u32)> {
    let [base] = &plan.bases[..] else {
        return Err(Error::Unusable(format!("{} bases, where one dump should be", plan.bases.len())));
    };
    let [dump] = &base.objects[..] else {
        return Err(Error::Unusable(no_dump(base)));
    };
    match base.base.position {
        Position::Oplog(seconds, increment) => {
            let done = u32::try_from(base.time.as_second()).unwrap_or(u32::MAX);
            Ok((dump, Place { seconds, increment }, done))
        }
        _ => Err(Error::Unusable(format!("backup {} says not where the oplog goes on", base.id))),
    }
}

/// What to do with a backup that is made of files.
fn no_dump(base: &PlannedBase) -> String {
    let known = |key: &str| key.starts_with(FOLDER);
    let instead = match base.objects.first() {
        Some(first) if known(&first.key) => {
            "a binary backup of WAL-G's: WAL-G restores it, or choose a moment that a logical backup leads to"
        }
        _ => {
            "Percona's: name a cluster with its agents in spec.bootstrap.existing, or leave it to Percona's operator with spec.bootstrap.recovery.via"
        }
    };
    format!("backup {} has {} objects and is no dump, but {instead}", base.id, base.objects.len())
}

/// What a file says that can't be used, with its name.
fn damaged(key: &str) -> impl Fn(mongo::Error) -> Error {
    move |error| match error {
        mongo::Error::Read(source) => Error::File { path: key.to_owned(), source },
        error @ mongo::Error::Unsupported(_) => Error::Unusable(format!("{key}: {error}")),
        error => Error::Damaged { key: key.to_owned(), cause: error.to_string() },
    }
}

/// The reader's side found nobody to hand over to: whoever took says why.
fn unwanted() -> Error {
    Error::Broken("nobody takes what is read".to_owned())
}

enum Part {
    Collections(Vec<Collection>),
    Documents(Namespace, Vec<RawDocumentBuf>),
}

async fn fill(origin: &Origin, dump: &Object, target: &mut Target) -> Result<()> {
    let (parts, mut received) = mpsc::channel(2);
    let (key, packing) = (dump.key.clone(), decode::split(&dump.key).1);
    let reading = origin.read(dump, move |input| read_dump(decode::unpack(packing, input), &key, &parts));
    let writing = async {
        if let Some(Part::Collections(collections)) = received.recv().await {
            target.prepare(&collections).await?;
        }
        target.insert_all(received, PARALLEL).await
    };
    both(reading, writing).await.map(drop)
}

/// Runs a reader and a writer; where the writer failed, the reader's failure is only its echo.
async fn both<A, B>(
    reading: impl Future<Output = Result<A>>,
    writing: impl Future<Output = Result<B>>,
) -> Result<(A, B)> {
    let (read, written) = tokio::join!(reading, writing);
    let written = written?;
    Ok((read?, written))
}

fn read_dump(input: impl Read, key: &str, parts: &mpsc::Sender<Part>) -> Result<()> {
    let send = |part: Part| parts.blocking_send(part).map_err(|_| unwanted());
    let mut archive = Archive::open(input).map_err(damaged(key))?;
    send(Part::Collections(archive.prelude.collections.clone()))?;
    let mut held: Option<(Namespace, Vec<RawDocumentBuf>, usize)> = None;
    while let Some(item) = archive.next_item().map_err(damaged(key))? {
        let Item::Document { namespace, bytes } = item else { continue };
        // The oplog that a dump may hold lies in the slices as well.
        if namespace.is_internal() {
            continue;
        }
        let fits = |(of, documents, size): &(Namespace, Vec<RawDocumentBuf>, usize)| {
            *of == *namespace && documents.len() < DOCUMENTS && *size < BYTES
        };
        if held.as_ref().is_some_and(|held| !fits(held))
            && let Some((of, documents, _)) = held.take()
        {
            send(Part::Documents(of, documents))?;
        }
        let (_, documents, size) = held.get_or_insert_with(|| ((*namespace).clone(), Vec::new(), 0));
        *size += bytes.len();
        let document = RawDocumentBuf::from_bytes(bytes);
        documents.push(document.map_err(|error| damaged(key)(mongo::Error::Damaged(error.to_string())))?);
    }
    match held {
        Some((of, documents, _)) => send(Part::Documents(of, documents)),
        None => Ok(()),
    }
}

/// Replays slices until the first entry that is too late.
async fn follow(
    origin: &Origin,
    logs: &[PlannedLog],
    (replay, settled): (&mut Replay, u32),
    target: &mut Target,
) -> Result<()> {
    let mut batch = Batch::default();
    for log in logs {
        if replay.is_over() {
            break;
        }
        let (entries, received) = mpsc::channel(2);
        let (key, packing) = (log.object.key.clone(), decode::split(&log.object.key).1);
        let reading = origin.read(&log.object, {
            let key = key.clone();
            move |input| read_slice(decode::unpack(packing, input), &key, &entries)
        });
        both(reading, replay_slice(received, &key, (replay, settled), (&mut batch, target))).await?;
        let end = slice_end(&key).map(|(seconds, increment)| Place { seconds, increment });
        if !replay.is_over() && end.is_some_and(|end| replay.seen() < end) {
            let cause = "it ends before its name says: it is cut off".to_owned();
            return Err(Error::Damaged { key, cause });
        }
    }
    target.write(&mut batch).await
}

/// Hands over entries for as long as somebody takes them.
fn read_slice(input: impl Read, key: &str, entries: &mpsc::Sender<Vec<Document>>) -> Result<()> {
    let mut page = Vec::with_capacity(DOCUMENTS);
    for entry in Slice::new(input) {
        page.push(entry.map_err(damaged(key))?);
        if page.len() == DOCUMENTS && entries.blocking_send(std::mem::take(&mut page)).is_err() {
            return Ok(());
        }
    }
    if entries.blocking_send(page).is_err() {
        tracing::debug!(key, "nothing more is wanted");
    }
    Ok(())
}

async fn replay_slice(
    mut entries: mpsc::Receiver<Vec<Document>>,
    key: &str,
    (replay, settled): (&mut Replay, u32),
    (batch, target): (&mut Batch, &mut Target),
) -> Result<()> {
    while let Some(page) = entries.recv().await {
        for entry in page {
            for change in replay.take(entry).map_err(damaged(key))? {
                match change {
                    Change::Define(define) => {
                        target.write(batch).await?;
                        target.define(&define).await?;
                    }
                    change => batch.add(change, replay.seen().seconds > settled),
                }
            }
            if batch.is_full() {
                target.write(batch).await?;
            }
            if replay.is_over() {
                return Ok(());
            }
        }
    }
    Ok(())
}
