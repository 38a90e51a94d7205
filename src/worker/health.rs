//! What the kubelet asks: is the process there, and is its work going on? Liveness costs no writes.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};

/// Whether the work goes on, as told by the work itself.
#[derive(Debug)]
struct Pulse {
    /// Last time that something was copied or looked at with success.
    last_success: Option<Instant>,
    failing: bool,
}

/// Shared between the work and the probes.
#[derive(Clone, Debug)]
pub struct Health {
    pulse: Arc<Mutex<Pulse>>,
    /// Longest silence of a worker that is well.
    silence: Duration,
}

impl Health {
    /// A worker that looks every `interval` is well while it is silent for less than three of them,
    /// and never less than a minute: one slow look is no illness.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        let silence = (interval * 3).max(Duration::from_mins(1));
        Self { pulse: Arc::new(Mutex::new(Pulse { last_success: None, failing: false })), silence }
    }

    /// Something moved.
    pub fn beat(&self) {
        let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        pulse.last_success = Some(Instant::now());
        pulse.failing = false;
    }

    /// An attempt failed.
    pub fn fail(&self) {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner).failing = true;
    }

    fn is_ready(&self, now: Instant) -> bool {
        let pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        !pulse.failing && pulse.last_success.is_some_and(|last| now.duration_since(last) < self.silence)
    }
}

/// Serves `/healthz` and `/readyz` until the process ends.
pub async fn serve(health: Health, address: SocketAddr) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .with_state(health);
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, router).await
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.is_ready(Instant::now()) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no success lately")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p11_ready_means_that_something_succeeded_lately() {
        let health = Health::new(Duration::from_secs(10));
        let now = Instant::now();
        assert!(!health.is_ready(now), "nothing has succeeded yet");
        health.beat();
        assert!(health.is_ready(Instant::now()));
        assert!(!health.is_ready(Instant::now() + Duration::from_secs(61)), "silent for too long");
        health.fail();
        assert!(!health.is_ready(Instant::now()), "failing");
        health.beat();
        assert!(health.is_ready(Instant::now()), "healed");
    }
}
