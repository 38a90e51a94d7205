//! Marks where a listing can be parted, while it is read.

use super::{Volume, bound::between};
use crate::store::Listed;

/// Work after which a mark is set: some sixty small objects.
const STEP: u64 = 4 << 20;
/// Marks that one listing keeps; with more, every second one goes. With 32 listings abreast that is enough
/// for 1,024 ranges of about the same work, in a few megabytes.
const MARKS: usize = 512;

/// Keys after the chunk before, up to and with `until`, and what was found there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    pub until: Option<String>,
    /// What the source held.
    pub held: Volume,
    /// What the target lacked of it.
    pub lacking: Volume,
}

impl Chunk {
    fn add(&mut self, other: &Self) {
        self.held.add(other.held);
        self.lacking.add(other.lacking);
        self.until.clone_from(&other.until);
    }
}

/// Takes the objects of a range in order, and tells where it can be parted.
#[derive(Clone, Debug)]
pub struct Sampler {
    until: Option<String>,
    chunks: Vec<Chunk>,
    open: Chunk,
    last: Option<String>,
    step: u64,
}

impl Sampler {
    /// For a range that ends with `until`.
    #[must_use]
    pub fn new(until: Option<String>) -> Self {
        Self { until, chunks: Vec::new(), open: Chunk::default(), last: None, step: STEP }
    }

    /// The next object, and whether the target lacks it.
    pub fn push(&mut self, object: &Listed, lacking: bool) {
        if self.open.lacking.cost() >= self.step
            && let Some(last) = &self.last
        {
            let until = Some(between(last, &object.key));
            self.chunks.push(Chunk { until, ..std::mem::take(&mut self.open) });
            self.thin_out();
        }
        let one = Volume { objects: 1, bytes: object.size };
        self.open.held.add(one);
        if lacking {
            self.open.lacking.add(one);
        }
        self.last = Some(object.key.clone());
    }

    fn thin_out(&mut self) {
        if self.chunks.len() < MARKS {
            return;
        }
        self.step = self.step.saturating_mul(2);
        self.chunks = std::mem::take(&mut self.chunks)
            .chunks(2)
            .map(|pair| {
                let mut both = Chunk::default();
                for chunk in pair {
                    both.add(chunk);
                }
                both
            })
            .collect();
    }

    /// The whole range in chunks; the last one ends where the range does.
    #[must_use]
    pub fn finish(mut self) -> Vec<Chunk> {
        self.chunks.push(Chunk { until: self.until, ..self.open });
        self.chunks
    }
}
