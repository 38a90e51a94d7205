//! What to copy, in which order, and what may go. Pure.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    backup::{
        catalog::{Base, Catalog, Mark, Object},
        records::generation,
        survey::{SourceView, Survey},
        window::{Keep, Timeline, horizon, keep, timeline},
    },
    store::ETag,
};

/// One log to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogCopy {
    /// As the source lists it.
    pub object: Object,
    /// Where it goes, relative to the prefix.
    pub destination: String,
}

/// One base to copy.
#[derive(Clone, Debug)]
pub(super) struct BaseCopy {
    /// As the source has it.
    pub base: Base,
    /// The target holds it whole, but for what its tool added later: nothing of it is overwritten.
    pub whole: bool,
}

/// What one look leads to.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Oldest first.
    pub logs: Vec<LogCopy>,
    /// The newest whole chain first, then backwards; parents before their children.
    pub bases: Vec<BaseCopy>,
    /// What both sides together need: never pruned, whatever the target alone may say.
    needed_bases: HashSet<String>,
    needed_logs: HashSet<(String, ETag)>,
}

/// What may go from the target.
#[derive(Debug, Default)]
pub(super) struct Prune {
    /// Children before their parents.
    pub bases: Vec<Base>,
    /// Oldest first.
    pub logs: Vec<Object>,
}

impl Prune {
    pub(super) fn is_empty(&self) -> bool {
        self.bases.is_empty() && self.logs.is_empty()
    }
}

/// Plans the copy of what `source` has and the target lacks, of all that a copy of both must keep.
pub(super) fn plan(source: &SourceView, survey: &Survey, now: Timestamp, retention: Duration) -> Plan {
    let mut both = survey.target.clone();
    both.join(&source.catalog);
    let line = timeline(&both);
    let horizon = horizon(now, line.latest, retention);
    let mut keep = keep(&both, &line, horizon);
    keep.also(&keep_hopefully(&both, horizon));
    let mut plan = Plan::default();
    for (segment, kept) in both.segments.iter().zip(&keep.segments) {
        if !kept {
            continue;
        }
        let content = (segment.object.key.clone(), segment.object.etag.clone());
        if !survey.held_logs.contains(&content) {
            plan.logs.push(log_copy(&segment.object, survey));
        }
        plan.needed_logs.insert(content);
    }
    // Logs that tell no place may be what the oldest base needs.
    let kept = both.bases.iter().zip(&keep.bases).filter(|(_, kept)| **kept).map(|(base, _)| base.start);
    let since = horizon.map(|horizon| kept.min().map_or(horizon, |start| start.min(horizon)));
    for object in &source.catalog.opaque {
        let content = (object.key.clone(), object.etag.clone());
        let young = since.is_none_or(|since| object.modified >= since);
        if young && !survey.held_logs.contains(&content) && !survey.taken.contains(&object.key) {
            plan.logs.push(log_copy(object, survey));
        }
    }
    plan.bases = bases(&both, &line, &keep, source, survey);
    let kept = both.bases.iter().zip(&keep.bases).filter(|(_, kept)| **kept);
    plan.needed_bases = kept.map(|(base, _)| base.id.clone()).collect();
    plan
}

/// What would have to be kept if each log that nobody has read to its end reached to its upload: until it
/// is read, nothing that it may need is left behind.
fn keep_hopefully(both: &Catalog, horizon: Option<Timestamp>) -> Keep {
    let mut hoped = both.clone();
    for segment in hoped.segments.iter_mut().filter(|segment| segment.open && segment.end == Mark::Unknown) {
        segment.to = segment.to.max(segment.object.modified);
    }
    keep(&hoped, &timeline(&hoped), horizon)
}

fn log_copy(object: &Object, survey: &Survey) -> LogCopy {
    let destination = if survey.taken.contains(&object.key) {
        generation(&object.key, &object.etag)
    } else {
        object.key.clone()
    };
    LogCopy { object: object.clone(), destination }
}

fn bases(
    both: &Catalog,
    line: &Timeline,
    keep: &Keep,
    source: &SourceView,
    survey: &Survey,
) -> Vec<BaseCopy> {
    let whole = |catalog: &Catalog| -> HashMap<String, Base> {
        let whole = catalog.bases.iter().filter(|base| base.complete);
        whole.map(|base| (base.id.clone(), base.clone())).collect()
    };
    let (there, here) = (whole(&source.catalog), whole(&survey.target));
    let mut chains: Vec<&Vec<usize>> = line.chains.iter().map(|chain| &chain.bases).collect();
    chains.sort_by_key(|bases| std::cmp::Reverse(bases.last().map(|&at| both.bases[at].consistent_at)));
    // What is in no chain yet (a parent that only its data can tell) comes last.
    let rest = (0..both.bases.len()).rev();
    let order = chains.into_iter().flatten().copied().chain(rest);
    let mut seen = HashSet::new();
    order
        .filter(|&at| keep.bases[at] && seen.insert(at))
        .map(|at| &both.bases[at].id)
        .filter_map(|id| {
            let base = there.get(id)?.clone();
            match here.get(id) {
                Some(held) if base.keys.metadata.iter().all(|key| held.keys.metadata.contains(key)) => None,
                held => Some(BaseCopy { base, whole: held.is_some() }),
            }
        })
        .collect()
}

/// What the target may let go: what neither it alone needs, nor both sides together.
pub(super) fn prune(survey: &Survey, line: &Timeline, plan: &Plan, horizon: Option<Timestamp>) -> Prune {
    let target = &survey.target;
    let Some(horizon) = horizon else { return Prune::default() };
    let keep = keep(target, line, Some(horizon));
    let dropped = target.bases.iter().zip(&keep.bases);
    let mut bases: Vec<Base> = dropped
        .filter(|(base, kept)| !**kept && !plan.needed_bases.contains(&base.id))
        .map(|(base, _)| base.clone())
        .collect();
    bases.sort_by_key(|base| std::cmp::Reverse(base.consistent_at));
    let kept = target.bases.iter().filter(|base| !bases.iter().any(|dropped| dropped.id == base.id));
    // Unreadable logs may be what the oldest base needs: nobody can tell without the key.
    let needed_since = kept.map(|base| base.start).min().map_or(horizon, |start| start.min(horizon));
    let logs = target.segments.iter().zip(&keep.segments);
    let logs = logs.filter(|(segment, kept)| {
        !**kept && !plan.needed_logs.contains(&(segment.object.key.clone(), segment.object.etag.clone()))
    });
    let opaque = target.opaque.iter().filter(|object| object.modified < needed_since);
    let logs = logs.map(|(segment, _)| &segment.object).chain(opaque);
    Prune { bases, logs: logs.cloned().collect() }
}
