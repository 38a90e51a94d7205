//! Which moments can be restored: one set of rules for every format.
//!
//! Logs form *runs*, in which each goes on where the one before it ends. A base *attaches* to the run
//! that holds its position, and with it can show every moment from its own to the run's end. All is
//! pure: a catalog in, moments out.

mod prune;
mod runs;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::{Timestamp, TimestampRound, Unit};
use serde::{Deserialize, Serialize};

use super::catalog::{Base, Catalog, Mark, Position, Scope};
pub use prune::{Keep, horizon, keep};
use runs::{Attachment, Runs};

/// How far a time point can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Basis {
    /// An unbroken chain of logs proves it.
    Proved,
    /// The format can't prove it.
    Estimated,
}

/// A stretch of time of which every moment can be restored, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Window {
    /// True when `moment` lies within.
    #[must_use]
    pub fn contains(&self, moment: Timestamp) -> bool {
        self.from <= moment && moment <= self.to
    }
}

/// A hole in the logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Last moment before the hole that can be restored.
    pub after: Timestamp,
    /// First moment after it, `None` when nothing newer can be restored yet.
    pub before: Option<Timestamp>,
    /// Names of the missing pieces, as the tool would have called them.
    pub missing: String,
}

/// What a base, with its parents and the logs that go on from it, can show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub scope: Scope,
    /// Index of the base in [`Catalog::bases`].
    pub base: usize,
    /// The base and its parents, in the order of a restore.
    pub bases: Vec<usize>,
    /// Indices of logs in [`Catalog::segments`], in log order, stream after stream.
    pub logs: Vec<usize>,
    pub window: Window,
}

/// All that can be said of a set's moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// One or more for each restorable base, by base.
    pub chains: Vec<Chain>,
    /// Moments that every scope has, oldest first.
    pub windows: Vec<Window>,
    /// Oldest first.
    pub gaps: Vec<Gap>,
    pub latest: Option<Timestamp>,
    /// What is applied at the end of the logs behind `latest`, one place a stream.
    pub ends: Vec<Mark>,
}

/// Works out what can be restored.
#[must_use]
pub fn timeline(catalog: &Catalog) -> Timeline {
    let runs = Runs::build(catalog);
    let mut chains = Vec::new();
    let mut loose = Vec::new();
    for at in 0..catalog.bases.len() {
        let Some(bases) = lineage(catalog, at) else { continue };
        let (chain, unattached) = chain(catalog, &runs, at, bases);
        loose.extend(unattached);
        chains.extend(chain.into_iter().flat_map(|chain| divide(catalog, chain)));
    }
    let windows = shared(catalog, &chains);
    let latest = windows.iter().map(|window| window.to).max();
    let gaps = gaps(catalog, &runs, &windows, &loose);
    let ends = ends(catalog, &chains, latest);
    Timeline { chains, windows, gaps, latest, ends }
}

impl Timeline {
    /// The chain to restore `moment` from, where a set has one scope: the newest base that has it. `None`
    /// outside of the windows.
    #[must_use]
    pub fn chain_for(&self, moment: Timestamp) -> Option<&Chain> {
        self.chains_for(moment).into_iter().next()
    }

    /// The chains to restore `moment` from, one a scope. Empty outside of the windows.
    #[must_use]
    pub fn chains_for(&self, moment: Timestamp) -> Vec<&Chain> {
        let mut chains: BTreeMap<&str, &Chain> = BTreeMap::new();
        if !self.windows.iter().any(|window| window.contains(moment)) {
            return Vec::new();
        }
        for chain in self.chains.iter().filter(|chain| !chain.scope.aside && chain.window.contains(moment)) {
            let best = chains.entry(&chain.scope.name).or_insert(chain);
            if chain.window.from >= best.window.from {
                *best = chain;
            }
        }
        chains.into_values().collect()
    }

    /// The nearest moments before and after `moment` that can be restored.
    #[must_use]
    pub fn nearest(&self, moment: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
        let before = self.windows.iter().map(|window| window.to).filter(|to| *to <= moment).max();
        let after = self.windows.iter().map(|window| window.from).filter(|from| *from >= moment).min();
        (before, after)
    }
}

/// A base and its parents, root first; `None` when one of them is missing or not whole.
fn lineage(catalog: &Catalog, at: usize) -> Option<Vec<usize>> {
    let mut members = vec![at];
    let mut base: &Base = &catalog.bases[at];
    loop {
        if !base.complete || base.orphan {
            return None;
        }
        let Some(parent) = &base.parent else { break };
        let next = catalog.bases.iter().position(|other| other.id == *parent)?;
        // A damaged set may name itself.
        if members.contains(&next) {
            return None;
        }
        members.push(next);
        base = &catalog.bases[next];
    }
    members.reverse();
    Some(members)
}

/// The chain of a base, `None` while logs are missing that it can't do without; and logs that do not join it.
fn chain(catalog: &Catalog, runs: &Runs, at: usize, bases: Vec<usize>) -> (Option<Chain>, Option<Loose>) {
    let base = &catalog.bases[at];
    let mut logs = Vec::new();
    let mut to: Option<Timestamp> = None;
    let (mut loose, mut attached) = (None, true);
    for stream in &base.streams {
        let reach = match runs.attach(catalog, base, stream) {
            Attachment::Within { run, first } => {
                logs.extend_from_slice(&runs.all[run].segments[first..]);
                runs.all[run].to
            }
            _ if matches!(base.position, Position::Wal { .. }) => return (None, None),
            Attachment::Beyond => {
                attached &= !base.fuzzy;
                base.consistent_at
            }
            Attachment::Before { run } => {
                attached &= !base.fuzzy;
                loose = Some(Loose { after: base.consistent_at, run });
                base.consistent_at
            }
        };
        to = Some(to.map_or(reach, |to| to.min(reach)));
    }
    // A base holds all of the second in which it ended only together with its logs.
    let from =
        base.consistent_at.round(TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Ceil));
    let from = from.unwrap_or(base.consistent_at);
    let window = match to {
        Some(to) if to >= from && attached => Window { from, to },
        _ if base.fuzzy => return (None, loose),
        _ => Window { from: base.consistent_at, to: base.consistent_at },
    };
    (Some(Chain { scope: base.scope.clone(), base: at, bases, logs, window }), loose)
}

/// A chain without the moments inside of logs that can be replayed as a whole only.
fn divide(catalog: &Catalog, chain: Chain) -> Vec<Chain> {
    let whole = chain.logs.iter().map(|&at| &catalog.segments[at]).filter(|log| log.indivisible);
    let mut divided = Vec::new();
    let mut from = chain.window.from;
    for log in whole.filter(|log| log.from < chain.window.to && log.to > chain.window.from) {
        if log.from >= from {
            divided.push(Chain { window: Window { from, to: log.from }, ..chain.clone() });
        }
        from = from.max(log.to);
    }
    divided.push(Chain { window: Window { from, to: chain.window.to }, ..chain });
    divided
}

/// Moments that every scope can show that was there then.
fn shared(catalog: &Catalog, chains: &[Chain]) -> Vec<Window> {
    let mut scopes: BTreeMap<&str, Vec<Window>> = BTreeMap::new();
    let begun = chains.iter().filter(|chain| !chain.scope.aside).map(|chain| chain.window.from).min();
    let Some(begun) = begun else { return Vec::new() };
    for base in catalog.bases.iter().filter(|base| base.complete && !base.scope.aside) {
        let windows = scopes.entry(&base.scope.name).or_default();
        windows.extend(base.scope.born.filter(|to| *to >= begun).map(|to| Window { from: begun, to }));
    }
    for chain in chains {
        if let Some(windows) = scopes.get_mut(chain.scope.name.as_str()) {
            windows.push(chain.window);
        }
    }
    let mut windows = scopes.into_values().map(union);
    let first = windows.next().unwrap_or_default();
    windows.fold(first, |all, next| intersection(&all, &next))
}

fn intersection(ours: &[Window], theirs: &[Window]) -> Vec<Window> {
    let mut both = Vec::new();
    for a in ours {
        for b in theirs {
            let window = Window { from: a.from.max(b.from), to: a.to.min(b.to) };
            if window.from <= window.to {
                both.push(window);
            }
        }
    }
    both
}

/// A base that the logs do not go on from, since some are missing before `run`.
struct Loose {
    after: Timestamp,
    run: usize,
}

/// Joins windows that overlap.
fn union(mut windows: Vec<Window>) -> Vec<Window> {
    windows.sort_by_key(|window| (window.from, window.to));
    let mut joined: Vec<Window> = Vec::new();
    for window in windows {
        match joined.last_mut() {
            Some(last) if window.from <= last.to => last.to = last.to.max(window.to),
            _ => joined.push(window),
        }
    }
    joined
}

/// Holes between a moment that can be restored and logs that can't follow it.
fn gaps(catalog: &Catalog, runs: &Runs, windows: &[Window], loose: &[Loose]) -> Vec<Gap> {
    let mut found: Vec<Gap> = Vec::new();
    let mut add = |after: Timestamp, resumes: Timestamp, missing: String| {
        let begun = windows.iter().any(|window| window.contains(after));
        let bridged = windows.iter().any(|window| window.from <= after && window.to > after.max(resumes));
        if begun && !bridged && !found.iter().any(|gap| gap.missing == missing) {
            let before = windows.iter().map(|window| window.from).filter(|from| *from > after).min();
            found.push(Gap { after, before, missing });
        }
    };
    for (earlier, later) in runs.neighbours() {
        let (last, first) = (runs.last(earlier), runs.first(later));
        let (last, first) = (&catalog.segments[last], &catalog.segments[first]);
        add(runs.all[earlier].to, first.to, runs::missing_between(last, first));
    }
    for loose in loose {
        let first = &catalog.segments[runs.first(loose.run)];
        add(loose.after, first.to, format!("logs before {}", first.name));
    }
    found.sort_by_key(|gap| gap.after);
    found
}

fn ends(catalog: &Catalog, chains: &[Chain], latest: Option<Timestamp>) -> Vec<Mark> {
    let newest = chains.iter().filter(|c| Some(c.window.to) == latest).max_by_key(|c| c.window.from);
    let Some(chain) = newest else { return Vec::new() };
    let mut ends: Vec<(&str, &Mark)> = Vec::new();
    for segment in chain.logs.iter().map(|&at| &catalog.segments[at]) {
        match ends.last_mut() {
            Some(last) if last.0 == segment.stream => last.1 = &segment.end,
            _ => ends.push((&segment.stream, &segment.end)),
        }
    }
    ends.into_iter().map(|(_, mark)| mark.clone()).collect()
}
