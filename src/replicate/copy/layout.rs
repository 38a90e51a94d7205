//! How an object is cut into parts at the source, so that the copy's ETag is the same.

use futures::{StreamExt, TryStreamExt, stream};

use crate::store::{ObjectInfo, ObjectStore, Result};

const MIB: u64 = 1 << 20;
/// The least that a part may hold, unless it is the last.
const LEAST: u64 = 5 * MIB;
/// The most parts that an object may have.
const MOST_PARTS: u64 = 10_000;
/// Size of parts where no ETag is at stake.
const OWN: u64 = 64 * MIB;
/// Part sizes of common tools, in MiB.
const USUAL: [u64; 21] =
    [5, 8, 10, 15, 16, 20, 24, 25, 32, 48, 50, 64, 96, 100, 128, 200, 250, 256, 500, 512, 1024];
/// Up to this many parts each is asked for: 6, 5 and 7 MiB look like three times 6.
const FEW: u32 = 64;
/// Requests for single parts in flight.
const HEADS: usize = 8;

/// Part sizes, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    sizes: Vec<u64>,
    /// The source's own parts: the composite ETag proves the content.
    pub exact: bool,
}

impl Layout {
    /// Asks the source for its parts; guesses where the source doesn't tell. A right guess is found
    /// out by the ETag.
    ///
    /// One request a part, which is little beside its bytes; five for many parts that are alike.
    pub(super) async fn of(source: &dyn ObjectStore, key: &str, info: &ObjectInfo) -> Result<Self> {
        let Some(count) = info.etag.parts().map(u64::from).filter(|n| *n > 0) else {
            return Ok(Self::own(info.size));
        };
        if count == 1 {
            return Ok(Self::exactly(vec![info.size], info.size));
        }
        let Some(first) = source.head_part(key, 1).await?.filter(|p| u64::from(p.count) == count) else {
            let guess = USUAL.iter().map(|mib| mib * MIB).find(|size| info.size.div_ceil(*size) == count);
            return Ok(guess.map_or_else(
                || Self::own(info.size),
                |size| Self { exact: true, ..Self::uniform(size, info.size) },
            ));
        };
        if first.size > 0 && info.size.div_ceil(first.size) == count && first.count > FEW {
            let alike = Self::uniform(first.size, info.size).sizes;
            let sample = [2, first.count / 2, first.count - 1, first.count];
            let heads = heads(source, key, sample.into_iter()).await?;
            if sample.iter().zip(heads).all(|(n, size)| alike.get(*n as usize - 1) == Some(&size)) {
                return Ok(Self::exactly(alike, info.size));
            }
        }
        Ok(Self::exactly(heads(source, key, 1..=first.count).await?, info.size))
    }

    /// The source's parts, unless a target could not take them.
    fn exactly(sizes: Vec<u64>, total: u64) -> Self {
        let small = sizes.split_last().is_some_and(|(_, others)| others.iter().any(|size| *size < LEAST));
        if small || sizes.iter().sum::<u64>() != total || sizes.len() as u64 > MOST_PARTS {
            return Self::own(total);
        }
        Self { sizes, exact: true }
    }

    /// Parts of our own choosing.
    fn own(total: u64) -> Self {
        let least = total.div_ceil(MOST_PARTS).next_multiple_of(MIB);
        Self::uniform(OWN.max(least), total)
    }

    fn uniform(size: u64, total: u64) -> Self {
        let mut sizes = vec![size; usize::try_from(total / size).unwrap_or_default()];
        if !total.is_multiple_of(size) || sizes.is_empty() {
            sizes.push(total % size);
        }
        Self { sizes, exact: false }
    }

    /// Number, first byte and size of each part.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part> {
        let mut from = 0;
        (1..).zip(&self.sizes).map(move |(number, size)| {
            let part = Part { number, from, size: *size };
            from += size;
            part
        })
    }
}

/// Sizes of these parts; 0 where the source doesn't tell.
async fn heads(source: &dyn ObjectStore, key: &str, parts: impl Iterator<Item = u32>) -> Result<Vec<u64>> {
    let heads = parts.map(|part| source.head_part(key, part));
    let heads: Vec<_> = stream::iter(heads).buffered(HEADS).try_collect().await?;
    Ok(heads.into_iter().map(|head| head.map_or(0, |p| p.size)).collect())
}

/// A stretch of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Counted from one.
    pub number: u32,
    pub from: u64,
    pub size: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_cover_the_object_without_gap_or_overlap(total in 0_u64..1 << 42) {
            let (mut next, mut number) = (0, 0);
            for part in Layout::own(total).parts() {
                prop_assert_eq!((part.from, part.number), (next, number + 1));
                next += part.size;
                number += 1;
            }
            prop_assert_eq!(next, total);
            prop_assert!(u64::from(number) <= MOST_PARTS);
        }
    }

    #[test]
    fn parts_that_no_store_takes_are_not_asked_of_the_target() {
        let tiny = Layout::exactly(vec![1000, 1000], 2000);
        assert!(!tiny.exact);
        let last_is_tiny = Layout::exactly(vec![LEAST, 1000], LEAST + 1000);
        assert!(last_is_tiny.exact);
        assert!(!Layout::exactly(vec![LEAST, 0], LEAST + 1000).exact, "a part the source didn't tell");
    }
}
