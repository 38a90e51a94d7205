//! What a feed was faster with than a comparison.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// Most keys that are remembered; of others the comparison makes sure itself.
const MOST: usize = 50_000;

/// Keys that were looked at since the comparison began that is under way: whatever it lists of them, they are as
/// the source had them when it began, or later. So they need no second copy, and count as no repair.
#[derive(Debug, Default)]
pub struct Handled(Mutex<HashSet<String>>);

impl Handled {
    pub fn insert(&self, key: &str) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() < MOST && !keys.contains(key) {
            keys.insert(key.to_owned());
        }
    }

    pub fn contains(&self, key: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    pub fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = HashSet::new();
    }
}
