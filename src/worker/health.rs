//! What the kubelet asks: is the process there, and is its work going on? Liveness costs no writes.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};

use super::Error;

/// Longest that nothing moves while something should: with the kubelet's three probes it takes a minute
/// to be seen. A listing of millions of objects moves with each page.
const STILL: Duration = Duration::from_secs(45);
/// Longest that nothing can be told after the first attempt that failed: the API server may be restarted meanwhile.
const MUTE: Duration = Duration::from_secs(10);

/// How a run moves, as told by the work itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Movement {
    /// Both stores have answered.
    pub contact: bool,
    /// Something should be moving.
    pub busy: bool,
    /// Requests and bytes as one number: it stands still only when nothing moves.
    pub count: u64,
    /// Bytes written to the target.
    pub transferred: u64,
}

/// Whether the work goes on.
#[derive(Debug)]
struct Pulse {
    seen: Movement,
    failing: bool,
    /// It has told that only a person can help: nothing is tried until then, and nothing moves.
    given_up: bool,
    /// Since when what it tells does not reach the API server.
    unheard: Option<Instant>,
    /// Last time that anything changed.
    moved: Instant,
}

/// Shared between the work and the probes.
#[derive(Clone, Debug)]
pub struct Health {
    pulse: Arc<Mutex<Pulse>>,
    /// Longest silence of a worker that has nothing to do before its next look.
    rest: Duration,
    /// What it tells counts, be it of a failure.
    telling: bool,
}

impl Health {
    /// A worker that looks at its source every `interval`, up to a tenth later.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self::new(interval.saturating_add(interval / 10).saturating_add(STILL), false)
    }

    /// The same of one that is well while it tells how things are, be it that they fail: a copy whose master is gone
    /// is what it is for, and who reads of that must be able to tell it from silence. One that nobody hears is silent:
    /// what it told last would be taken for how things are.
    #[must_use]
    pub fn telling(interval: Duration) -> Self {
        Self { telling: true, ..Self::every(interval) }
    }

    /// A worker that is well while it is there.
    #[must_use]
    pub fn always() -> Self {
        Self::new(Duration::MAX, true)
    }

    fn new(rest: Duration, contact: bool) -> Self {
        let seen = Movement { contact, ..Movement::default() };
        let pulse = Pulse { seen, failing: false, given_up: false, unheard: None, moved: Instant::now() };
        Self { pulse: Arc::new(Mutex::new(pulse)), rest, telling: false }
    }

    /// A look at both stores succeeded.
    pub fn succeed(&self) {
        let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        (pulse.failing, pulse.given_up) = (false, false);
        (pulse.seen.contact, pulse.moved) = (true, Instant::now());
    }

    /// Something moved, or came to rest. That is no success yet: requests that fail move, too.
    pub fn follow(&self, now: Movement) {
        let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = pulse.seen;
        if now.count != earlier.count || now.busy != earlier.busy {
            pulse.moved = Instant::now();
        }
        pulse.failing &= now.transferred <= earlier.transferred;
        pulse.seen = Movement { contact: earlier.contact || now.contact, ..now };
    }

    /// An attempt failed; `permanent`: none is made any more.
    pub fn fail(&self, permanent: bool) {
        let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        if self.telling {
            (pulse.seen.contact, pulse.given_up, pulse.moved) = (true, permanent, Instant::now());
        } else {
            pulse.failing = true;
        }
    }

    /// A report was written, or could not be.
    pub fn heard(&self, written: bool) {
        let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        pulse.unheard = if written { None } else { pulse.unheard.or_else(|| Some(Instant::now())) };
    }

    /// What keeps it from being ready, if anything does.
    fn ailment(&self, now: Instant) -> Option<&'static str> {
        let pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        let silence = now.duration_since(pulse.moved);
        if self.telling && pulse.unheard.is_some_and(|since| now.duration_since(since) >= MUTE) {
            return Some("what it reports can't be written");
        }
        if pulse.given_up {
            return None;
        }
        if pulse.failing {
            return Some("the last attempt failed");
        }
        if !pulse.seen.contact {
            return Some("the stores have not answered yet");
        }
        if pulse.seen.busy && silence >= STILL {
            return Some("nothing moves");
        }
        (silence >= self.rest).then_some("the next look is overdue")
    }
}

/// Serves `/healthz` and `/readyz`; ends only when that can't be done. Without an address, never.
pub async fn serve(health: Health, address: Option<SocketAddr>) -> Error {
    let Some(address) = address else { return std::future::pending().await };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .with_state(health);
    let served = match tokio::net::TcpListener::bind(address).await {
        Ok(listener) => axum::serve(listener, router).await,
        Err(error) => Err(error),
    };
    let cause = served.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
    Error::Broken(format!("/healthz and /readyz can't be served at {address}: {cause}"))
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    match health.ailment(Instant::now()) {
        None => (StatusCode::OK, "ok"),
        Some(ailment) => (StatusCode::SERVICE_UNAVAILABLE, ailment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(count: u64) -> Movement {
        Movement { count, busy: true, ..Movement::default() }
    }

    fn later(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn p11_ready_means_that_something_succeeded_lately() {
        let health = Health::every(Duration::from_mins(10));
        assert!(health.ailment(later(0)).is_some(), "nothing has succeeded yet");
        health.succeed();
        assert_eq!(health.ailment(later(0)), None);
        assert_eq!(health.ailment(later(660)), None, "the next look may come a tenth later");
        assert!(health.ailment(later(720)).is_some(), "overdue");
        health.fail(false);
        assert!(health.ailment(later(0)).is_some(), "failing");
        health.succeed();
        assert_eq!(health.ailment(later(0)), None, "healed");
    }

    #[test]
    fn p11_a_run_that_stands_still_is_seen_within_a_minute_whatever_its_interval() {
        let health = Health::every(Duration::from_mins(10));
        health.succeed();
        health.follow(busy(1));
        assert_eq!(health.ailment(later(44)), None);
        assert_eq!(health.ailment(later(46)), Some("nothing moves"));
        health.follow(Movement { busy: false, ..busy(1) });
        assert_eq!(health.ailment(later(46)), None, "at rest");
    }

    #[test]
    fn a_long_listing_is_no_illness_and_requests_that_fail_are_no_cure() {
        let health = Health::every(Duration::from_secs(10));
        health.succeed();
        health.follow(busy(1));
        health.pulse.lock().unwrap().moved -= Duration::from_secs(40);
        health.follow(busy(2));
        assert_eq!(health.ailment(later(40)), None, "another page has come");
        health.fail(false);
        health.follow(busy(3));
        assert!(health.ailment(later(0)).is_some());
        health.follow(Movement { transferred: 1, ..busy(4) });
        assert_eq!(health.ailment(later(0)), None, "bytes arrived");
    }

    #[test]
    fn d09_one_that_tells_of_failures_is_not_silent() {
        let health = Health::telling(Duration::from_secs(10));
        assert!(health.ailment(later(0)).is_some(), "it has told nothing yet");
        health.fail(false);
        assert_eq!(health.ailment(later(50)), None);
        assert!(health.ailment(later(60)).is_some(), "not a word in a minute");
        health.fail(true);
        assert_eq!(health.ailment(later(6_000)), None, "it waits for a person");
        health.heard(false);
        assert_eq!(health.ailment(later(0)), None, "an attempt may fail");
        assert!(health.ailment(later(20)).is_some(), "nobody hears it");
        health.heard(true);
        assert_eq!(health.ailment(later(20)), None);
        health.succeed();
        assert!(health.ailment(later(60)).is_some());
    }

    #[test]
    fn objects_to_copy_are_known_once_both_sides_were_listed() {
        let health = Health::every(Duration::from_secs(10));
        health.follow(busy(5));
        assert!(health.ailment(later(0)).is_some());
        health.follow(Movement { contact: true, ..busy(6) });
        assert_eq!(health.ailment(later(0)), None);
    }
}
