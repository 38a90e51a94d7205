//! How many objects may be deleted (`C18`).

use async_trait::async_trait;

/// Who says whether deletes may be made: one for comparison and feed alike.
#[async_trait]
pub trait Allowance: Send + Sync {
    /// Asks for so many deletes: all of them, or none. What is allowed is noted where the next run finds it
    /// before this returns. `target`: objects at the target, where they were just counted.
    async fn draw(&self, deletes: u64, target: Option<u64>) -> bool;
}

/// How many objects a sweep may delete: beyond both limits, none is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteBudget {
    /// Objects.
    pub count: u64,
    /// Percentage of the objects at the target.
    pub percent: u8,
    /// Objects that were drawn on it already.
    pub spent: u64,
    /// Objects beyond it that somebody released.
    pub released: u64,
}

impl DeleteBudget {
    /// True when so many objects may go from a target that holds so many.
    #[must_use]
    pub fn allows(&self, extras: u64, target: u64) -> bool {
        let drawn = self.drawn(extras).saturating_add(self.spent);
        drawn <= self.count || u128::from(drawn) * 100 <= u128::from(target) * u128::from(self.percent)
    }

    /// What so many deletes draw on it: those that were released are free.
    #[must_use]
    pub const fn drawn(&self, deletes: u64) -> u64 {
        deletes.saturating_sub(self.released)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c18_deletes_are_held_beyond_both_limits_only() {
        let budget = DeleteBudget { count: 1000, percent: 10, spent: 0, released: 0 };
        for (extras, target, allowed) in
            [(1000, 1000, true), (1001, 10_010, true), (1001, 10_000, false), (u64::MAX, u64::MAX, false)]
        {
            assert_eq!(budget.allows(extras, target), allowed, "{extras} of {target}");
        }
        assert!(!DeleteBudget { spent: 400, ..budget }.allows(601, 5_000), "the hour counts as a whole");
        let released = DeleteBudget { released: 5000, ..budget };
        assert!(released.allows(6000, 6000) && !released.allows(6001, 6001), "what was held, and the budget");
        assert_eq!((released.drawn(5000), released.drawn(5003)), (0, 3));
        let none = DeleteBudget { count: 0, percent: 0, ..budget };
        assert!(none.allows(0, 5) && !none.allows(1, 5));
    }
}
