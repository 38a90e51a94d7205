//! Splits a key space into ranges on keys that are there, so that a flat one splits as well as a deep
//! one.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    Error, Result,
    listing::{Listing, Pages},
};

/// Keys after `after`, up to and with `until`, bytewise. `None` = no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    pub after: Option<String>,
    pub until: Option<String>,
}

impl KeyRange {
    /// True for a key of this range.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.after.as_deref().is_none_or(|after| key > after)
            && self.until.as_deref().is_none_or(|until| key <= until)
    }
}

/// Requests for each range asked for, at most.
const PROBES: usize = 12;
/// Probes at a time.
const ABREAST: usize = 8;
/// Above every character that keys are commonly made of.
const TOP: char = '\u{7f}';

/// Splits the keys of a listing into at most `count` ranges that cover every possible key once.
///
/// The bounds are keys found by `start-after` probes of one key each, at most twelve a range. How many
/// keys a range holds is not known: ask for several times more ranges than workers.
///
/// # Errors
/// [`Error::Store`] for the source: the listing failed.
pub async fn split<P: Pages + ?Sized>(listing: &Listing<P>, count: usize) -> Result<Vec<KeyRange>> {
    let Some(first) = listing.first_after(None).await.map_err(Error::source)? else {
        return Ok(vec![KeyRange::default()]);
    };
    let probes = AtomicUsize::new(count.saturating_mul(PROBES));
    // Ranges still to be split, with the bounds within which keys are known to lie.
    let mut open = vec![(first, String::from(TOP))];
    let mut bounds: Vec<String> = Vec::new();
    while bounds.len() + 1 < count && !open.is_empty() {
        // A long line away, one at a time would take minutes.
        let splits = open.into_iter().take(count - 1 - bounds.len()).map(async |(low, high)| {
            let found = probe(listing, &low, high, &probes).await?;
            Ok::<_, Error>(found.map(|(middle, high)| (low, middle, high)))
        });
        let found: Vec<_> = stream::iter(splits).buffered(ABREAST).try_collect().await?;
        open = Vec::new();
        for (low, middle, high) in found.into_iter().flatten() {
            bounds.push(middle.clone());
            open.push((low, middle.clone()));
            open.push((middle, high));
        }
    }
    bounds.sort();
    bounds.dedup();
    let afters = std::iter::once(None).chain(bounds.iter().cloned().map(Some));
    let untils = bounds.iter().cloned().map(Some).chain(std::iter::once(None));
    Ok(afters.zip(untils).map(|(after, until)| KeyRange { after, until }).collect())
}

/// Finds a key well between two others: halves the space until a key lies in the upper half.
/// `None`: there is none.
async fn probe<P: Pages + ?Sized>(
    listing: &Listing<P>,
    low: &str,
    high: String,
    probes: &AtomicUsize,
) -> Result<Option<(String, String)>> {
    let mut top = high;
    let one = |left: usize| left.checked_sub(1);
    while probes.fetch_update(Relaxed, Relaxed, one).is_ok() {
        let Some(middle) = between(low, &top) else { return Ok(None) };
        let found = listing.first_after(Some(&middle)).await.map_err(Error::source)?;
        match found.filter(|key| *key < top) {
            Some(key) => return Ok(Some((key, top))),
            None => top = middle,
        }
    }
    Ok(None)
}

/// A text about half way between two others, bytewise (UTF-8 sorts as its characters do). `None` where
/// nothing useful lies between.
fn between(low: &str, high: &str) -> Option<String> {
    let mut middle = String::new();
    let (mut lows, mut highs) = (low.chars(), Some(high.chars()));
    loop {
        let from = lows.next();
        let to = match &mut highs {
            Some(chars) => chars.next()?,
            None => TOP.max(from.unwrap_or_default()),
        };
        let from_code = from.map_or(0x1f, u32::from);
        let code = from_code + u32::from(to).saturating_sub(from_code) / 2;
        match char::from_u32(code) {
            Some(half) if code > from_code => {
                middle.push(half);
                return (middle.as_str() > low && middle.as_str() < high).then_some(middle);
            }
            // Neighbours, or the same: the difference lies further on.
            _ => {
                let same = from?;
                if u32::from(to) > from_code {
                    highs = None;
                }
                middle.push(same);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_middle_lies_between(a in "\\PC{0,8}", b in "\\PC{0,8}") {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            if let Some(middle) = between(&low, &high) {
                prop_assert!(low < middle && middle < high, "{:?} {:?} {:?}", low, middle, high);
            }
        }
    }

    #[test]
    fn middles_are_near_the_middle() {
        assert_eq!(between("a", "c").as_deref(), Some("b"));
        assert_eq!(between("log/000", "log/009").as_deref(), Some("log/004"));
        assert_eq!(between("a/1", "b/1").map(|m| m.starts_with('a')), Some(true));
        assert_eq!(between("a", "a"), None);
    }
}
