//! When a store is asked again, and when it counts as down: pure, one breaker a region (`P08`).

use std::time::Duration;

use jiff::Timestamp;

/// Pauses between probes.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// Between two probes of a store that answers.
    pub healthy: Duration,
    /// After the first failure, and the first pause of an outage.
    pub first: Duration,
    /// Longest pause of an outage.
    pub longest: Duration,
    /// Failures in a row that make an outage.
    pub failures: u32,
}

impl Pauses {
    /// For a store that nobody needs.
    #[must_use]
    pub const fn seldom(self) -> Self {
        let hour = Duration::from_hours(1);
        Self { healthy: hour, longest: hour, ..self }
    }
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            healthy: Duration::from_secs(30),
            first: Duration::from_secs(5),
            longest: Duration::from_mins(2),
            failures: 2,
        }
    }
}

/// Memory of a breaker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row.
    pub failures: u32,
    /// When the first of them was.
    pub since: Option<Timestamp>,
    /// When to ask again; `None`: at once.
    pub next_probe: Option<Timestamp>,
}

impl Breaker {
    /// True while the store counts as down.
    #[must_use]
    pub const fn is_open(&self, pauses: &Pauses) -> bool {
        self.failures >= pauses.failures
    }

    /// True when it is time to ask.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.next_probe.is_none_or(|at| at <= now)
    }

    /// A worker could not reach the store: ask at once, unless the outage is known already.
    #[must_use]
    pub fn nudged(self, pauses: &Pauses) -> Self {
        if self.is_open(pauses) { self } else { Self { next_probe: None, ..self } }
    }

    /// Asks at once what would be asked later than these pauses allow: the store was nobody's before.
    #[must_use]
    pub fn within(self, pauses: &Pauses, now: Timestamp) -> Self {
        let latest = now + pauses.healthy.max(pauses.longest).mul_f64(1.1);
        if self.next_probe.is_some_and(|at| at > latest) { Self { next_probe: None, ..self } } else { self }
    }

    /// What one answer, or none, makes of it. `jitter` is from 0 to 1.
    #[must_use]
    pub fn after(self, answered: bool, now: Timestamp, pauses: &Pauses, jitter: f64) -> Self {
        if answered {
            let pause = pauses.healthy.mul_f64(0.9 + 0.2 * jitter);
            return Self { failures: 0, since: None, next_probe: Some(now + pause) };
        }
        let failures = self.failures.saturating_add(1);
        let doublings = failures.saturating_sub(pauses.failures).min(16);
        let pause = pauses.first.saturating_mul(1 << doublings).min(pauses.longest);
        Self { failures, since: self.since.or(Some(now)), next_probe: Some(now + pause) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p08_pauses_grow_while_a_store_is_down_and_one_answer_heals() {
        let pauses = Pauses::default();
        let mut now = Timestamp::UNIX_EPOCH;
        let mut breaker = Breaker::default();
        let mut seen = Vec::new();
        for _ in 0..8 {
            assert!(breaker.is_due(now));
            breaker = breaker.after(false, now, &pauses, 0.5);
            let next = breaker.next_probe.unwrap();
            seen.push(now.duration_until(next).as_secs());
            assert!(!breaker.is_due(now));
            now = next;
        }
        assert_eq!(seen, [5, 5, 10, 20, 40, 80, 120, 120]);
        assert_eq!(breaker.since, Some(Timestamp::UNIX_EPOCH));
        assert!(breaker.is_open(&pauses));
        let healed = breaker.after(true, now, &pauses, 0.5);
        assert!(!healed.is_open(&pauses));
        assert_eq!((healed.failures, healed.since), (0, None));
        assert_eq!(now.duration_until(healed.next_probe.unwrap()).as_secs(), 30);
    }

    #[test]
    fn p08_one_lost_probe_is_no_outage() {
        let pauses = Pauses::default();
        let breaker = Breaker::default().after(false, Timestamp::UNIX_EPOCH, &pauses, 0.5);
        assert!(!breaker.is_open(&pauses));
    }

    #[test]
    fn p08_a_workers_nudge_asks_at_once_but_never_again_and_again() {
        let pauses = Pauses::default();
        let now = Timestamp::UNIX_EPOCH;
        let healthy = Breaker::default().after(true, now, &pauses, 0.5);
        assert!(!healthy.is_due(now) && healthy.nudged(&pauses).is_due(now));
        let open = Breaker::default().after(false, now, &pauses, 0.5).after(false, now, &pauses, 0.5);
        assert!(!open.nudged(&pauses).is_due(now));
    }

    #[test]
    fn p08_a_store_that_nobody_needs_is_asked_seldom_and_at_once_when_somebody_does() {
        let (pauses, now) = (Pauses::default(), Timestamp::UNIX_EPOCH);
        let seldom = Breaker::default().after(true, now, &pauses.seldom(), 0.5);
        assert_eq!(now.duration_until(seldom.next_probe.unwrap()).as_secs(), 3600);
        assert!(!seldom.clone().within(&pauses.seldom(), now).is_due(now));
        assert!(seldom.within(&pauses, now).is_due(now));
        let open = (0..20).fold(Breaker::default(), |breaker, _| breaker.after(false, now, &pauses, 1.0));
        assert!(!open.within(&pauses, now).is_due(now), "an outage keeps its pauses");
    }
}
