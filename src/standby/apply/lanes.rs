//! How many commands are sent at the same time.
//!
//! More are faster where the way to the target is long or it has many cores, and slower where it does one thing at a
//! time: nobody can tell beforehand. So it is measured while there is work: now and then a window is written with
//! more or fewer, and what was fastest is kept.

use std::time::Duration;

/// Numbers that are tried.
const CHOICES: [usize; 4] = [1, 2, 4, 8];
/// Fewer writes tell little of a rate.
const TELLING: usize = 200;
/// Measurements between two trials: a slower one costs little of the whole.
const TRIAL_EACH: u32 = 30;
/// So much faster more commands must be than fewer: rates scatter, and each takes of the target what others could have.
const MORE: f64 = 1.15;
/// Fewer are taken where they are about as fast.
const FEWER: f64 = 0.95;
/// What a new measurement counts beside those before.
const WEIGHT: f64 = 0.4;

/// The number that is used, and what is known of the others.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Writes a second, by choice.
    rates: [Option<f64>; CHOICES.len()],
    best: usize,
    /// The choice of the next window.
    turn: usize,
    since_trial: u32,
    upward: bool,
}

impl Lanes {
    /// Commands that may be under way.
    pub(super) fn count(&self) -> usize {
        CHOICES[self.turn]
    }

    /// Takes note of how long so many writes took.
    pub(super) fn took(&mut self, writes: usize, took: Duration) {
        if writes < TELLING || took.is_zero() {
            return;
        }
        let count = u32::try_from(writes).unwrap_or(u32::MAX);
        let rate = f64::from(count) / took.as_secs_f64();
        let known = &mut self.rates[self.turn];
        *known = Some(known.map_or(rate, |before| before + WEIGHT * (rate - before)));
        let margin = if self.turn > self.best { MORE } else { FEWER };
        if self.rates[self.turn] > self.rates[self.best].map(|best| best * margin) {
            self.best = self.turn;
        }
        self.since_trial += 1;
        self.turn = self.trial().unwrap_or(self.best);
    }

    /// A neighbour of the best that is not known yet, or not any more.
    fn trial(&mut self) -> Option<usize> {
        let above = Some(self.best + 1).filter(|above| *above < CHOICES.len());
        let below = self.best.checked_sub(1);
        let unknown = [above, below].into_iter().flatten().find(|choice| self.rates[*choice].is_none());
        if unknown.is_none() && self.since_trial < TRIAL_EACH {
            return None;
        }
        self.since_trial = 0;
        self.upward = !self.upward;
        let known = if self.upward { above.or(below) } else { below.or(above) };
        unknown.or(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows of a thousand writes to a target that does so many a second.
    fn written(lanes: &mut Lanes, windows: u32, rate: impl Fn(usize) -> f64) -> Vec<usize> {
        let written = (0..windows).map(|_| {
            let count = lanes.count();
            lanes.took(1000, Duration::from_secs_f64(1000.0 / rate(count)));
            count
        });
        written.collect()
    }

    fn share(used: &[usize], count: usize) -> f64 {
        let of = used.iter().filter(|used| **used == count).count();
        f64::from(u32::try_from(of).unwrap()) / f64::from(u32::try_from(used.len()).unwrap())
    }

    #[test]
    fn d01_a_target_gets_as_many_commands_at_a_time_as_it_is_fastest_with() {
        let one_at_a_time =
            |count: usize| 2500.0 / (1.0 + 0.15 * f64::from(u32::try_from(count - 1).unwrap()));
        let far_away = |count: usize| 1000.0 * f64::from(u32::try_from(count).unwrap());
        let four_cores = |count: usize| 10_000.0 * f64::from(u32::try_from(count.min(4)).unwrap());
        let mut lanes = Lanes::default();
        for (rate, best) in [
            (&one_at_a_time as &dyn Fn(usize) -> f64, 1),
            (&far_away, 8),
            (&four_cores, 4),
            (&one_at_a_time, 1),
        ] {
            // What was measured of the target before is forgotten after some trials.
            written(&mut lanes, 600, rate);
            let used = written(&mut lanes, 120, rate);
            assert!(share(&used, best) > 0.9, "{best} is best: {used:?}");
        }
    }

    #[test]
    fn d01_a_few_writes_do_not_tell_how_fast_a_target_is() {
        let mut lanes = Lanes::default();
        let before = lanes.count();
        for _ in 0..100 {
            lanes.took(TELLING - 1, Duration::from_millis(1));
        }
        assert_eq!(lanes.count(), before);
    }
}
