//! The base lane: one base after another, as the latest plan orders them, beside the logs.

use std::collections::HashSet;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::sync::{mpsc, watch};

use super::engine::{BASES, Done, Engine, PARALLEL};
use crate::backup::{
    Error, Result,
    catalog::{Base, Object, Part, Span},
    join::Join,
};

/// Objects that are announced together, and then copied.
const PAGE: usize = 256;

/// The latest plan's bases.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub version: u64,
    pub bases: Vec<Base>,
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
            latest.bases.iter().find(|base| !tried.contains(&base.id)).cloned()
        };
        let Some(base) = next else {
            if version > 0 && events.send(Event::Idle { version }).await.is_err() {
                return;
            }
            if orders.changed().await.is_err() {
                return;
            }
            continue;
        };
        tried.insert(base.id.clone());
        let event = match copy(engine, &base).await {
            Ok(Outcome::Whole { objects, bytes }) => Event::Copied { objects, bytes },
            Ok(Outcome::Refused(cause)) => Event::Refused { id: base.id, cause },
            Err(error) => Event::Failed(error),
        };
        engine.counts.idle();
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// Payload, then metadata, then the commit file: until that one is there, nobody takes it for whole.
async fn copy(engine: &Engine, base: &Base) -> Result<Outcome> {
    let mut whole = (0, 0);
    let payload = base.keys.payload.iter().map(|span| (span.clone(), Part::Payload));
    let metadata = base.keys.metadata.iter().map(|key| (Span::One(key.clone()), Part::Metadata));
    let commit = base.keys.commit.iter().map(|key| (Span::One(key.clone()), Part::Commit));
    for (span, part) in payload.chain(metadata).chain(commit) {
        match copy_span(engine, &span, part).await? {
            Outcome::Whole { objects, bytes } => whole = (whole.0 + objects, whole.1 + bytes),
            refused @ Outcome::Refused(_) => return Ok(refused),
        }
    }
    Ok(Outcome::Whole { objects: whole.0, bytes: whole.1 })
}

async fn copy_span(engine: &Engine, span: &Span, part: Part) -> Result<Outcome> {
    let (under, one) = match span {
        Span::One(key) => (key, true),
        Span::Under(prefix) => (prefix, false),
    };
    let lane = &engine.bases;
    let mut join = Join::open(Some(&lane.source), &lane.target, &engine.manifest, under).await?;
    let (mut page, mut objects, mut bytes): (Vec<Object>, u64, u64) = (Vec::new(), 0, 0);
    let mut seen = false;
    loop {
        let row = join.next().await?;
        let end = row.is_none();
        if let Some(row) = row.filter(|row| !one || row.key == *under) {
            let foreign = row.foreign();
            let held = row.held() && row.unchanged();
            seen |= row.source.is_some();
            if let Some(object) = row.source {
                if foreign {
                    let cause = format!("{} at the target is not ours: move it away", row.key);
                    return Ok(Outcome::Refused(cause));
                }
                if held {
                    engine.counts.done(BASES, object.size);
                } else {
                    page.push(object);
                }
            }
        }
        if page.len() >= PAGE || (end && !page.is_empty()) {
            let page = std::mem::take(&mut page);
            objects += page.len() as u64;
            match copy_page(engine, &page, part).await? {
                Some(sent) => bytes += sent,
                None => return Ok(Outcome::Refused(format!("{under} changed while it was being copied"))),
            }
        }
        if end {
            break;
        }
    }
    if !seen {
        return Ok(Outcome::Refused(format!("{under} is not at the source any more")));
    }
    Ok(Outcome::Whole { objects, bytes })
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
