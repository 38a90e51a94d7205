//! When something that failed is tried again, and when something that stands still is given up.

use std::time::Duration;

use tokio::time::Instant;

/// Pauses after failures that may pass; then a run ends and its owner decides.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(32),
];
/// How often progress is sampled.
pub const TICK: Duration = Duration::from_millis(200);

/// Pause after so many failures in a row, the first being 0; `None`: it is enough.
#[must_use]
pub fn pause(failures: usize) -> Option<Duration> {
    PAUSES.get(failures).copied().map(jittered)
}

/// Within ±10 %, so that many do not look at once.
#[must_use]
pub fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + fastrand::f64() / 5.0)
}

/// Ends when nothing has moved for `limit` while something should: `movement` is a number that stands still
/// only then, `None` while nothing is to move.
pub async fn until_stuck(limit: Duration, movement: impl Fn() -> Option<u64>) {
    let (mut last, mut since) = (movement(), Instant::now());
    loop {
        tokio::time::sleep(TICK.min(limit)).await;
        let now = movement();
        if now != last || now.is_none() {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() >= limit {
            return;
        }
    }
}
