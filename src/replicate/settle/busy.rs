//! One task a key at a time.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;

/// Keys that somebody is at work on, and since when. Comparison and feed may come upon the same one: without this the one that
/// read earlier could write later, and an older object would lie at the target until the next comparison.
#[derive(Debug, Default)]
pub struct Busy {
    keys: Mutex<HashMap<String, Instant>>,
    left: Notify,
}

/// A key that is ours until this is dropped.
#[derive(Debug)]
pub struct Held<'a> {
    busy: &'a Busy,
    key: &'a str,
    /// Whatever was read under it was read later.
    pub since: Instant,
}

impl Busy {
    /// Since when those are at work who are longest.
    pub fn oldest(&self) -> Option<Instant> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).values().min().copied()
    }

    /// Waits until nobody else is at work on the key.
    pub async fn hold<'a>(&'a self, key: &'a str) -> Held<'a> {
        loop {
            // Made before the look, so that a key that is left in between is not missed.
            let left = self.left.notified();
            if let Some(since) = self.take(key) {
                return Held { busy: self, key, since };
            }
            left.await;
        }
    }

    fn take(&self, key: &str) -> Option<Instant> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.contains_key(key) {
            return None;
        }
        let now = Instant::now();
        keys.insert(key.to_owned(), now);
        Some(now)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.busy.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(self.key);
        self.busy.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn c13_a_key_has_one_task_at_a_time_and_others_do_not_wait() {
        let busy = Busy::default();
        let first = busy.hold("a").await;
        let _other = busy.hold("b").await;
        let second = busy.hold("a");
        tokio::pin!(second);
        assert!(tokio::time::timeout(Duration::from_millis(20), second.as_mut()).await.is_err());
        drop(first);
        tokio::time::timeout(Duration::from_secs(5), second).await.expect("it is free now");
    }
}
