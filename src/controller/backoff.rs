//! Back-off of each object: 5 s, doubling to 5 min, over with the first success.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_mins(5);

/// Pause after so many failures in a row, the first being 1.
#[must_use]
pub fn pause(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST)
}

/// Failures in a row, by UID.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// One more failure; says how long to wait.
    pub fn failed(&self, uid: &str) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_owned()).or_insert(0);
        *count = count.saturating_add(1);
        pause(*count)
    }

    /// A success, or the end of the object.
    pub fn reset(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_5_s_to_5_min() {
        let backoff = Backoff::default();
        let seen: Vec<_> = (0..8).map(|_| backoff.failed("a").as_secs()).collect();
        assert_eq!(seen, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.failed("b").as_secs(), 5, "each object has its own");
        backoff.reset("a");
        assert_eq!(backoff.failed("a").as_secs(), 5);
    }
}
