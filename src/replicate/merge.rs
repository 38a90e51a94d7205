//! Compares two listings in one pass, in the memory of two pages a side.

use std::{cmp::Ordering, sync::Arc};

use super::{
    Error, Result,
    listing::{Listing, Pages, Reader},
    plan::{Chunk, Sampler},
    range::KeyRange,
};
use crate::store::Listed;

/// Extras that a range keeps until it is complete. More of them are only counted: whoever deletes
/// does it in small steps anyway.
const HELD: usize = 1000;

/// Something that the target lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// At the source only.
    Missing(Listed),
    /// At both, with another size or ETag.
    Unlike { source: Listed, target: Listed },
}

impl Difference {
    /// What the source holds.
    #[must_use]
    pub fn source(self) -> Listed {
        match self {
            Self::Missing(source) | Self::Unlike { source, .. } => source,
        }
    }
}

/// Tells which of what only the target has is none of a comparison's business.
pub type Leaves = Arc<dyn Fn(&Listed) -> bool + Send + Sync>;

/// What a range that both sides listed to its end has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complete {
    /// Objects at the source, and at the target.
    pub source: u64,
    pub target: u64,
    /// Bytes at the source.
    pub source_bytes: u64,
    /// Objects of the same key, size and ETag.
    pub alike: u64,
    /// Objects at the target only, in order: the first thousand.
    pub extras: Vec<Listed>,
    /// Further objects at the target only.
    pub more_extras: u64,
    /// Where the range can be parted, and what each part holds; empty unless it was asked for.
    pub chunks: Vec<Chunk>,
    /// Objects at the target only that are left alone.
    pub left: u64,
}

/// A comparison of a range under way. Keys are without the sides' prefixes.
///
/// What the target lacks is told at once. What it has too much is told only with [`Complete`], which
/// can't be had unless both sides listed the range to its end: a listing that failed, or an answer
/// that was empty by mistake and noticed, can never read as "delete".
pub struct Merge {
    source: Reader,
    target: Reader,
    leaves: Option<Leaves>,
    seen: Complete,
    sampler: Option<Sampler>,
    tells_alike: bool,
}

/// A step of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Difference(Difference),
    /// At both, of the same size and ETag. Told only where that was asked for.
    Alike {
        source: Listed,
        target: Listed,
    },
    /// Both sides were listed to the end. No step follows.
    Complete(Complete),
}

impl Merge {
    /// Begins to list both sides.
    #[must_use]
    pub fn new<S: Pages + ?Sized, T: Pages + ?Sized>(
        source: Listing<S>,
        target: Listing<T>,
        range: KeyRange,
    ) -> Self {
        let (source, target) = (source.read(range.clone()), target.read(range));
        Self { source, target, leaves: None, seen: Complete::default(), sampler: None, tells_alike: false }
    }

    /// Finds out, too, where the range can be parted for others.
    #[must_use]
    pub fn sampled(self, sampler: Sampler) -> Self {
        Self { sampler: Some(sampler), ..self }
    }

    /// Also tells what both sides hold alike.
    #[must_use]
    pub fn telling_alike(self, tells_alike: bool) -> Self {
        Self { tells_alike, ..self }
    }

    /// Counts some of what only the target has, and no more.
    #[must_use]
    pub fn leaving(self, leaves: Leaves) -> Self {
        Self { leaves: Some(leaves), ..self }
    }

    /// The next difference, or the end.
    ///
    /// # Errors
    /// The side that failed. The comparison is over, and says nothing about extras.
    pub async fn next(&mut self) -> Result<Step> {
        loop {
            let (source, target) = tokio::join!(self.source.peek(), self.target.peek());
            let (source, target) = (source.map_err(Error::source)?, target.map_err(Error::target)?);
            let order = match (source, target) {
                (None, None) => return Ok(Step::Complete(self.complete())),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(source), Some(target)) => source.key.cmp(&target.key),
            };
            if let Some(step) = self.step(order) {
                return Ok(step);
            }
        }
    }

    fn complete(&mut self) -> Complete {
        let chunks = self.sampler.take().map(Sampler::finish).unwrap_or_default();
        Complete { chunks, ..std::mem::take(&mut self.seen) }
    }

    /// Takes what comes first.
    fn step(&mut self, order: Ordering) -> Option<Step> {
        let source = if order.is_le() { self.source.take() } else { None };
        let target = if order.is_ge() { self.target.take() } else { None };
        self.seen.source += u64::from(source.is_some());
        self.seen.target += u64::from(target.is_some());
        self.seen.source_bytes += source.as_ref().map_or(0, |source| source.size);
        let alike = match (&source, &target) {
            (Some(source), Some(target)) => source.size == target.size && source.etag == target.etag,
            _ => false,
        };
        if let (Some(sampler), Some(source)) = (&mut self.sampler, &source) {
            sampler.push(source, !alike);
        }
        match (source, target) {
            (Some(source), None) => Some(Step::Difference(Difference::Missing(source))),
            (Some(source), Some(target)) if alike => {
                self.seen.alike += 1;
                self.tells_alike.then_some(Step::Alike { source, target })
            }
            (Some(source), Some(target)) => Some(Step::Difference(Difference::Unlike { source, target })),
            (None, Some(extra)) if self.leaves.as_ref().is_some_and(|leaves| leaves(&extra)) => {
                self.seen.left += 1;
                None
            }
            (None, Some(extra)) if self.seen.extras.len() < HELD => {
                self.seen.extras.push(extra);
                None
            }
            (None, extra) => {
                self.seen.more_extras += u64::from(extra.is_some());
                None
            }
        }
    }
}
