//! Pairs that are the same although their tags differ.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
};

use crate::store::ETag;

/// Most pairs that are remembered: sixteen megabytes. The others are copied again each time.
const MOST: usize = 1 << 20;

/// Copies that can't have their source's ETag (its parts can't be made again, or a side's tags are no MD5s):
/// remembered, so that the next sweep doesn't copy them again.
#[derive(Debug, Default)]
pub struct KnownAlike(Mutex<HashSet<u64>>);

impl KnownAlike {
    pub(super) fn contains(&self, key: &str, source: &ETag, target: &ETag) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&hash(key, source, target))
    }

    pub(super) fn insert(&self, key: &str, source: &ETag, target: &ETag) {
        let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pairs.len() < MOST {
            pairs.insert(hash(key, source, target));
        }
    }
}

fn hash(key: &str, source: &ETag, target: &ETag) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, source, target).hash(&mut hasher);
    hasher.finish()
}
