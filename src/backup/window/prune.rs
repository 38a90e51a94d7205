//! What a copy must keep, and what it may let go.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{Timeline, Window, union};
use crate::backup::catalog::Catalog;

/// What to keep of a catalog, by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    pub bases: Vec<bool>,
    pub segments: Vec<bool>,
}

impl Keep {
    /// Keeps what `other`, of the same catalog, keeps too.
    pub fn also(&mut self, other: &Self) {
        let join = |ours: &mut Vec<bool>, theirs: &[bool]| {
            for (ours, theirs) in ours.iter_mut().zip(theirs) {
                *ours |= theirs;
            }
        };
        join(&mut self.bases, &other.bases);
        join(&mut self.segments, &other.segments);
    }
}

/// min(now, latest) − retention: a silent source never shrinks the window. `None` without a latest
/// moment: then nothing may go.
#[must_use]
pub fn horizon(now: Timestamp, latest: Option<Timestamp>, retention: Duration) -> Option<Timestamp> {
    let retention = SignedDuration::try_from(retention).ok()?;
    latest?.min(now).checked_sub(retention).ok()
}

/// Decides what to keep so that every moment of [`horizon`, latest] that can be restored stays so.
///
/// Kept are: the newest base at or before the horizon whose logs reach it (the anchor), with its parents
/// and all logs from its position; whatever is newer; what its tool marked as permanent. An older base
/// stays only for moments that no newer one can show.
#[must_use]
pub fn keep(catalog: &Catalog, timeline: &Timeline, horizon: Option<Timestamp>) -> Keep {
    let mut keep =
        Keep { bases: vec![false; catalog.bases.len()], segments: vec![false; catalog.segments.len()] };
    let Some(horizon) = horizon else {
        keep.bases.fill(true);
        keep.segments.fill(true);
        return keep;
    };
    let scopes: BTreeSet<&str> = timeline.chains.iter().map(|chain| chain.scope.name.as_str()).collect();
    for at in scopes.into_iter().flat_map(|scope| needed(timeline, scope, horizon)) {
        let chain = &timeline.chains[at];
        for &base in &chain.bases {
            keep.bases[base] = true;
        }
        for &log in &chain.logs {
            keep.segments[log] = true;
        }
    }
    for (at, base) in catalog.bases.iter().enumerate() {
        // An unfinished base may still become whole while it is young.
        if base.permanent || base.consistent_at > horizon {
            keep_with_parents(catalog, at, &mut keep.bases);
        }
    }
    for (at, segment) in catalog.segments.iter().enumerate() {
        // A log beyond a gap may still be joined, while it is young.
        keep.segments[at] |= segment.to >= horizon;
    }
    keep
}

/// Chains of a scope that [horizon, latest] can't do without, and all that begin within.
fn needed(timeline: &Timeline, scope: &str, horizon: Timestamp) -> Vec<usize> {
    let chains = timeline.chains.iter().enumerate().filter(|(_, chain)| chain.scope.name == scope);
    let mut newest_first: Vec<usize> = chains.map(|(at, _)| at).collect();
    newest_first.sort_by_key(|&at| std::cmp::Reverse((timeline.chains[at].window.from, at)));
    let mut covered: Vec<Window> = Vec::new();
    let mut needed = Vec::new();
    for at in newest_first {
        let window = timeline.chains[at].window;
        let young = window.from > horizon;
        if young || (window.to >= horizon && !covers(&covered, window.from.max(horizon), window.to)) {
            needed.push(at);
            covered.push(window);
            covered = union(covered);
        }
    }
    needed
}

fn covers(windows: &[Window], from: Timestamp, to: Timestamp) -> bool {
    windows.iter().any(|window| window.from <= from && to <= window.to)
}

fn keep_with_parents(catalog: &Catalog, mut at: usize, bases: &mut [bool]) {
    while !std::mem::replace(&mut bases[at], true) {
        let Some(parent) = &catalog.bases[at].parent else { return };
        let Some(next) = catalog.bases.iter().position(|base| base.id == *parent) else { return };
        at = next;
    }
}
