//! What a feed was faster with than a comparison.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Most keys that are remembered; of others the comparison makes sure itself.
const MOST: usize = 50_000;

/// Keys that were looked at since the comparison began that is under way: whatever it lists of them, they are as
/// the source had them when it began, or later. So they need no second copy, and count as no repair.
#[derive(Debug, Default)]
pub struct Handled(Mutex<Keys>);

#[derive(Debug, Default)]
struct Keys {
    keys: HashSet<String>,
    /// When the comparison began.
    begun: Option<Instant>,
}

impl Handled {
    /// `since`: when the look began. One that is older than the comparison may have seen an older object.
    pub fn insert(&self, key: &str, since: Instant) {
        let mut handled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let young = handled.begun.is_some_and(|begun| since >= begun);
        if young && handled.keys.len() < MOST && !handled.keys.contains(key) {
            handled.keys.insert(key.to_owned());
        }
    }

    pub fn contains(&self, key: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys.contains(key)
    }

    /// A comparison begins.
    pub fn begin(&self, now: Instant) {
        let begun = Keys { keys: HashSet::new(), begun: Some(now) };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = begun;
    }
}
