//! The base lane: one base after another, as the latest plan orders them, beside the logs.

use std::collections::HashSet;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::sync::{mpsc, watch};

use super::{
    engine::{BASES, Done, Engine, PARALLEL},
    plan::BaseCopy,
};
use crate::backup::{
    Error, Result,
    catalog::{Object, Part, Span},
    join::Join,
};

/// Objects that are announced together, and then copied.
const PAGE: usize = 2000;
/// Objects that are looked for before they are copied: no listing stays open while bytes move. Each look
/// costs a reading of the manifest.
const BATCH: usize = 20_000;

/// The latest plan's bases.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub version: u64,
    pub bases: Vec<BaseCopy>,
}

/// What the lane tells.
#[derive(Debug)]
pub(super) enum Event {
    /// A base is whole at the target.
    Copied {
        objects: u64,
        bytes: u64,
    },
    /// The plan of this version is carried out as far as it can be.
    Idle {
        version: u64,
    },
    /// A base can't be copied as it was planned.
    Refused {
        id: String,
        cause: String,
    },
    Failed(Error),
}

/// How the copy of a base ended.
enum Outcome {
    Whole { objects: u64, bytes: u64 },
    Refused(String),
}

/// Carries out orders until the other ends of its channels are gone. Dropping it in the middle leaves
/// parts that the next run goes on with.
pub(super) async fn run(engine: &Engine, mut orders: watch::Receiver<Orders>, events: mpsc::Sender<Event>) {
    let mut version = 0;
    let mut tried: HashSet<String> = HashSet::new();
    loop {
        let next = {
            let latest = orders.borrow_and_update();
            if latest.version != version {
                version = latest.version;
                tried.clear();
            }
            latest.bases.iter().find(|order| !tried.contains(&order.base.id)).cloned()
        };
        let Some(order) = next else {
            if version > 0 && events.send(Event::Idle { version }).await.is_err() {
                return;
            }
            if orders.changed().await.is_err() {
                return;
            }
            continue;
        };
        tried.insert(order.base.id.clone());
        let event = match copy(engine, &order).await {
            Ok(Outcome::Whole { objects, bytes }) => Event::Copied { objects, bytes },
            Ok(Outcome::Refused(cause)) => Event::Refused { id: order.base.id, cause },
            Err(error) => Event::Failed(error),
        };
        engine.counts.idle();
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// Payload, then metadata, then the commit file: until that one is there, nobody takes it for whole.
async fn copy(engine: &Engine, order: &BaseCopy) -> Result<Outcome> {
    let base = &order.base;
    let mut whole = (0, 0);
    let payload = base.keys.payload.iter().map(|span| (span.clone(), Part::Payload));
    let metadata = base.keys.metadata.iter().map(|key| (Span::One(key.clone()), Part::Metadata));
    let commit = base.keys.commit.iter().map(|key| (Span::One(key.clone()), Part::Commit));
    for (span, part) in payload.chain(metadata).chain(commit) {
        let last = base.keys.commit.as_deref().filter(|_| part != Part::Commit);
        match copy_span(engine, (&span, part), last, order.whole).await? {
            Outcome::Whole { objects, bytes } => whole = (whole.0 + objects, whole.1 + bytes),
            refused @ Outcome::Refused(_) => return Ok(refused),
        }
    }
    Ok(Outcome::Whole { objects: whole.0, bytes: whole.1 })
}

/// Copies what a span names, but for the file that says the base is whole.
async fn copy_span(
    engine: &Engine,
    (span, part): (&Span, Part),
    last: Option<&str>,
    whole: bool,
) -> Result<Outcome> {
    let (mut objects, mut bytes, mut after) = (0, 0, None);
    loop {
        let mut missing = match missing(engine, span, after.as_deref(), whole).await? {
            Ok(missing) => missing,
            Err(cause) => return Ok(Outcome::Refused(cause)),
        };
        let batch = (missing.len(), missing.last().map(|object| object.key.clone()));
        missing.retain(|object| Some(object.key.as_str()) != last);
        for page in missing.chunks(PAGE) {
            match copy_page(engine, page, part).await? {
                Some(sent) => bytes += sent,
                None => return Ok(Outcome::Refused("it changed while it was being copied".to_owned())),
            }
            objects += page.len() as u64;
            engine.manifest.compact_if_grown(engine.now()).await?;
        }
        match batch {
            (BATCH, key) => after = key,
            _ => return Ok(Outcome::Whole { objects, bytes }),
        }
    }
}

/// The next objects of a span that the target lacks, or why they can't be copied.
async fn missing(
    engine: &Engine,
    span: &Span,
    after: Option<&str>,
    whole: bool,
) -> Result<Result<Vec<Object>, String>> {
    let (under, one) = match span {
        Span::One(key) => (key, true),
        Span::Under(prefix) => (prefix, false),
    };
    let lane = &engine.bases;
    let begin = (under.as_str(), after);
    let mut join = Join::open_after(Some(&lane.source), &lane.target, &engine.manifest, begin).await?;
    let (mut missing, mut seen) = (Vec::new(), after.is_some());
    while missing.len() < BATCH
        && let Some(row) = join.next().await?
    {
        if one && row.key != *under {
            continue;
        }
        // Of a base that is not whole yet, the source's content is the one that counts.
        let (foreign, held) = (row.foreign(), row.held() && (whole || row.unchanged()));
        let Some(object) = row.source else { continue };
        seen = true;
        if foreign {
            return Ok(Err(format!("{} at the target is not ours: move it away", row.key)));
        }
        if held {
            engine.counts.done(BASES, object.size);
        } else {
            missing.push(object);
        }
    }
    Ok(if seen { Ok(missing) } else { Err(format!("{under} is not at the source any more")) })
}

/// `None`: the source is not what was listed.
async fn copy_page(engine: &Engine, page: &[Object], part: Part) -> Result<Option<u64>> {
    let announced: Vec<_> = page.iter().map(|object| (object, object.key.as_str(), Some(part))).collect();
    engine.announce(&announced).await?;
    let copies: Vec<_> = page.iter().map(|object| copy_one(engine, object, part).boxed()).collect();
    let done: Vec<Done> = stream::iter(copies).buffer_unordered(PARALLEL).try_collect().await?;
    Ok(done.iter().try_fold(0, |sum, done| match done {
        Done::Copied { bytes } => Some(sum + bytes),
        Done::OutOfDate => None,
    }))
}

async fn copy_one(engine: &Engine, object: &Object, part: Part) -> Result<Done> {
    let done = engine.copy(&engine.bases, object, &object.key, Some(part)).await?;
    engine.counts.done(BASES, object.size);
    Ok(done)
}
