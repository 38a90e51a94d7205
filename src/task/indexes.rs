//! Numbers of a plan's ranges, written as an Indexed Job writes its indexes: `0-5,7`.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// More than any plan has: a text from outside can't ask for more memory than that.
const MOST: u32 = 100_000;

/// A set of indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes(BTreeSet<u32>);

impl Indexes {
    /// All below `count`.
    #[must_use]
    pub fn below(count: u32) -> Self {
        Self((0..count.min(MOST)).collect())
    }

    /// Only this one.
    #[must_use]
    pub fn one(index: u32) -> Self {
        Self(BTreeSet::from([index]))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if it is among them.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        self.0.contains(&index)
    }

    /// The one at a place, from 0.
    #[must_use]
    pub fn at(&self, place: u32) -> Option<u32> {
        self.0.iter().nth(usize::try_from(place).ok()?).copied()
    }

    /// Those at these places.
    #[must_use]
    pub fn at_all(&self, places: &Self) -> Self {
        let here = self.0.iter().zip(0..);
        Self(here.filter(|(_, place)| places.contains(*place)).map(|(index, _)| *index).collect())
    }

    /// With those of another set.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        Self(&self.0 | &more.0)
    }

    /// Without those of another set.
    #[must_use]
    pub fn without(&self, less: &Self) -> Self {
        Self(&self.0 - &less.0)
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| *next == last + 1) {
                last = next;
            }
            write!(f, "{comma}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

/// A text that lists no indexes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} lists no indexes; they are written like 0-5,7")]
pub struct Malformed(String);

impl FromStr for Indexes {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed(text.to_owned());
        let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n < MOST).ok_or_else(malformed);
        let mut all = BTreeSet::new();
        for span in text.split(',').filter(|span| !span.is_empty()) {
            let (first, last) = span.split_once('-').unwrap_or((span, span));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(malformed());
            }
            all.extend(first..=last);
        }
        Ok(Self(all))
    }
}

impl Serialize for Indexes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Indexes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Indexes {
        text.parse().unwrap()
    }

    #[test]
    fn c04_what_is_left_of_a_plan_is_told_in_a_few_characters() {
        assert_eq!(Indexes::below(64).to_string(), "0-63");
        assert_eq!(Indexes::below(64).without(&of("0-40,42")).to_string(), "41,43-63");
        assert_eq!(of("3,7-9").at(2), Some(8));
        assert_eq!(of("3,7-9").at(4), None);
        assert_eq!(of("3,7-9").at_all(&of("0,2-3")).to_string(), "3,8-9");
        assert_eq!((of("").len(), of("").to_string().as_str()), (0, ""));
        for text in ["a", "5-3", "-", "1-", "4294967295", "0-4000000000"] {
            assert!(text.parse::<Indexes>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn c04_indexes_read_back_as_they_were(all in prop::collection::btree_set(0..200_u32, 0..80)) {
            let indexes = Indexes(all);
            prop_assert_eq!(of(&indexes.to_string()), indexes);
        }
    }
}
