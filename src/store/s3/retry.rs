//! Bounded retries with back-off, and one more try with new credentials.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use super::{
    S3Store,
    trouble::{Kind, Trouble},
};
use crate::store::{Error, Obstacle, Result};

/// How often, and how long, one logical request is tried.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Requests at most, the first included.
    pub attempts: u32,
    /// Before the second attempt; doubles from there. Half of each pause is chance.
    pub pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
    /// No new attempt begins later than this after the first.
    pub within: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 6,
            pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(10),
            within: Duration::from_mins(2),
        }
    }
}

impl Retry {
    /// Pause before the attempt after `attempts` of them.
    fn pause_after(&self, attempts: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.pause.saturating_mul(1 << attempts.saturating_sub(1).min(16));
        let jittered = doubled.min(self.longest_pause).mul_f64(0.5 + fastrand::f64() / 2.0);
        jittered.max(asked.unwrap_or_default().min(self.longest_pause))
    }
}

impl S3Store {
    /// Sends a request until it succeeds, is refused for good, or patience is at its end.
    pub(super) async fn repeat<T, F>(
        &self,
        key: Option<&str>,
        attempt: impl Fn() -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, Trouble>> + Send,
    {
        self.repeat_counted(key, attempt).await.map(|(answer, _)| answer)
    }

    /// As [`Self::repeat`], and says how many attempts it took.
    pub(super) async fn repeat_counted<T, F>(
        &self,
        key: Option<&str>,
        attempt: impl Fn() -> F + Send + Sync,
    ) -> Result<(T, u32)>
    where
        F: Future<Output = Result<T, Trouble>> + Send,
    {
        let (retry, begin) = (self.config.retry, Instant::now());
        let mut renewed = false;
        for attempts in 1.. {
            let keys = self.config.credentials.current();
            let trouble = match attempt().await {
                Ok(answer) => return Ok((answer, attempts)),
                Err(trouble) => trouble,
            };
            if trouble.is_denied() && !renewed && self.config.credentials.renew(keys.as_ref())? {
                renewed = true;
                continue;
            }
            let pause = retry.pause_after(attempts, trouble.retry_after);
            let over = attempts >= retry.attempts || begin.elapsed() + pause > retry.within;
            if !trouble.passes() || over {
                return Err(self.failed(trouble, key, attempts, begin));
            }
            tracing::debug!(bucket = self.config.bucket, key, attempts, ?trouble, "trying again");
            tokio::time::sleep(pause).await;
        }
        Err(Error::Config("no attempts allowed".to_owned()))
    }

    /// Sends a request whose body can be read only once. Refused credentials are read anew for
    /// the caller's next try.
    pub(super) async fn once<T>(
        &self,
        key: Option<&str>,
        attempt: impl Future<Output = Result<T, Trouble>> + Send,
    ) -> Result<T> {
        let (keys, begin) = (self.config.credentials.current(), Instant::now());
        match attempt.await {
            Ok(answer) => Ok(answer),
            Err(trouble) => {
                if trouble.is_denied() && self.config.credentials.renew(keys.as_ref())? {
                    let trouble = Trouble::new(
                        Kind::Unreachable(Obstacle::Failing),
                        "credentials were renewed meanwhile",
                    );
                    return Err(trouble.into_error(self.context(key)));
                }
                Err(self.failed(trouble, key, 1, begin))
            }
        }
    }

    fn failed(&self, trouble: Trouble, key: Option<&str>, attempts: u32, begin: Instant) -> Error {
        let mut context = self.context(key);
        context.attempts = attempts;
        context.elapsed = begin.elapsed();
        trouble.blame_name(key).into_error(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_chance_and_never_exceed_the_longest() {
        let retry = Retry::default();
        for attempts in 1..40 {
            let pause = retry.pause_after(attempts, None);
            let full = Duration::from_millis(200 << (attempts - 1).min(10)).min(retry.longest_pause);
            assert!(pause >= full / 2 && pause <= full, "{attempts}: {pause:?}");
        }
    }

    #[test]
    fn a_store_that_names_a_pause_gets_it_within_reason() {
        let retry = Retry::default();
        assert!(retry.pause_after(1, Some(Duration::from_secs(3))) >= Duration::from_secs(3));
        assert!(retry.pause_after(1, Some(Duration::from_hours(1))) <= retry.longest_pause);
    }
}
