//! For how long a run may write.
//!
//! A holder renews its lease by the target's own clock, and begins no write later than [`WRITE_WITHIN`] after it
//! asked for its last renewal, by its own clock that only goes forward. No write takes longer than
//! [`COMMAND`]. A successor takes over [`TAKE_AFTER`] after the last renewal, so two never write at a time,
//! whatever their clocks say: 8 s + 5 s < 15 s.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Error, Result};

/// A holder renews at least so often.
pub const RENEW_EACH: Duration = Duration::from_secs(1);
/// No write begins later after a renewal.
pub const WRITE_WITHIN: Duration = Duration::from_secs(8);
/// Longest time of a write.
pub const COMMAND: Duration = Duration::from_secs(5);
/// From then on the holder is taken to be gone.
pub const TAKE_AFTER: Duration = Duration::from_secs(15);

/// The right to write, as long as it is renewed. Clones are one lease.
#[derive(Clone, Debug)]
pub struct Lease {
    renewed: watch::Sender<Option<Instant>>,
}

impl Lease {
    /// A lease that was asked for at `asked`, and granted.
    #[must_use]
    pub fn new(asked: Instant) -> Self {
        Self { renewed: watch::Sender::new(Some(asked)) }
    }

    /// It was granted again; `asked`: before the server was.
    pub fn renew(&self, asked: Instant) {
        self.renewed.send_if_modified(|renewed| {
            let later = renewed.is_some_and(|before| before < asked);
            if later {
                *renewed = Some(asked);
            }
            later
        });
    }

    /// It is given up: nothing may be written any more.
    pub fn end(&self) {
        self.renewed.send_replace(None);
    }

    /// Looks whether a write may begin now.
    ///
    /// # Errors
    /// [`Error::Superseded`] once another run may hold the target.
    pub fn check(&self) -> Result<()> {
        self.check_at(Instant::now())
    }

    fn check_at(&self, now: Instant) -> Result<()> {
        let age = self.renewed.borrow().map(|renewed| now.saturating_duration_since(renewed));
        match age {
            Some(age) if age < WRITE_WITHIN => Ok(()),
            Some(age) => Err(Error::Superseded(format!(
                "the target has not renewed this run's lease for {} s, and another run may hold it by now: this run writes no more",
                age.as_secs()
            ))),
            None => {
                Err(Error::Superseded("this run has let go of the target, and writes no more".to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d10_nothing_is_written_when_the_lease_may_be_over() {
        let begin = Instant::now();
        let lease = Lease::new(begin);
        for (after, allowed) in [(0, true), (7_999, true), (8_000, false), (60_000, false)] {
            let at = begin + Duration::from_millis(after);
            assert_eq!(lease.check_at(at).is_ok(), allowed, "{after} ms after the renewal");
        }
        let later = begin + Duration::from_secs(5);
        lease.renew(later);
        // An answer that was overtaken by a later one changes nothing.
        lease.renew(begin);
        assert!(lease.check_at(begin + Duration::from_secs(12)).is_ok());
        lease.end();
        lease.renew(later + Duration::from_secs(1));
        assert!(lease.check_at(later).is_err(), "what was given up is not renewed");
        assert!(WRITE_WITHIN + COMMAND < TAKE_AFTER);
    }
}
