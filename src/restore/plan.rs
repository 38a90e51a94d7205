//! What a restore to a moment reads, or why there is none (`B17`). Pure.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::backup::{
    catalog::{Base, BaseKind, Catalog, Object, Segment},
    inspect::bytes,
    window::{Basis, Timeline, Window},
};

/// Windows that a refusal names.
const WINDOWS: usize = 4;

/// What a restore reads, in its order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The moment.
    pub time_point: Timestamp,
    /// It is the latest that there is.
    pub latest: bool,
    pub basis: Basis,
    /// Root first.
    pub bases: Vec<PlannedBase>,
    /// In log order. A restore reads on until it finds the first transaction that is too late, and then stops:
    /// those after [`needed_logs`](Self::needed_logs) are rarely looked at.
    #[serde(skip)]
    pub logs: Vec<PlannedLog>,
    /// The first so many logs were begun by the moment.
    pub needed_logs: usize,
    /// Bytes of the bases and the needed logs.
    pub bytes: u64,
}

/// A base, or an increment on top of the one before it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedBase {
    pub id: String,
    pub kind: BaseKind,
    /// The moment that it holds.
    pub time: Timestamp,
    pub bytes: u64,
    #[serde(skip)]
    pub base: Base,
    /// The objects of its payload, once they were looked for ([`locate`](super::locate)).
    #[serde(skip)]
    pub objects: Vec<Object>,
}

/// One log file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedLog {
    pub name: String,
    pub stream: String,
    #[serde(skip)]
    pub object: Object,
    pub from: Timestamp,
    pub to: Timestamp,
}

/// Why a moment can't be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The moment that was asked for; `None`: the latest.
    pub asked: Option<Timestamp>,
    /// Nearest moments that can be restored.
    pub before: Option<Timestamp>,
    pub after: Option<Timestamp>,
    /// The newest windows, oldest first.
    pub windows: Vec<Window>,
    /// What is missing just there, as the tool would have called it.
    pub missing: Option<String>,
}

/// Plans a restore to `at`, or to the latest moment that there is.
///
/// # Errors
/// [`Refusal`] where the moment lies in no window.
pub fn plan(catalog: &Catalog, line: &Timeline, at: Option<Timestamp>) -> Result<Plan, Refusal> {
    let moment = at.or(line.latest).ok_or_else(|| Refusal::of(line, at))?;
    let chains = line.chains_for(moment);
    if chains.is_empty() {
        return Err(Refusal::of(line, at));
    }
    let bases = chains.iter().flat_map(|chain| &chain.bases);
    let bases: Vec<_> = bases.map(|&at| planned_base(&catalog.bases[at])).collect();
    let logs = chains.iter().flat_map(|chain| &chain.logs).map(|&at| planned_log(&catalog.segments[at]));
    // Streams and databases one after another, each in log order.
    let (mut logs, later): (Vec<_>, Vec<_>) = logs.partition(|log| log.from <= moment);
    let needed_logs = logs.len();
    logs.extend(later);
    let log_bytes: u64 = logs[..needed_logs].iter().map(|log| log.object.size).sum();
    Ok(Plan {
        time_point: moment,
        latest: line.latest == Some(moment),
        basis: catalog.basis,
        bytes: bases.iter().map(|base| base.bytes).sum::<u64>() + log_bytes,
        bases,
        logs,
        needed_logs,
    })
}

fn planned_base(base: &Base) -> PlannedBase {
    PlannedBase {
        id: base.id.clone(),
        kind: base.kind,
        time: base.consistent_at,
        bytes: base.bytes,
        base: base.clone(),
        objects: Vec::new(),
    }
}

fn planned_log(segment: &Segment) -> PlannedLog {
    PlannedLog {
        name: segment.name.clone(),
        stream: segment.stream.clone(),
        object: segment.object.clone(),
        from: segment.from,
        to: segment.to,
    }
}

impl Plan {
    /// Time that fetching takes at so many bytes a second; the replay of logs comes on top.
    #[must_use]
    pub fn estimate(&self, bytes_per_second: u64) -> SignedDuration {
        SignedDuration::from_secs(i64::try_from(self.bytes / bytes_per_second.max(1)).unwrap_or(i64::MAX))
    }
}

impl Refusal {
    fn of(line: &Timeline, asked: Option<Timestamp>) -> Self {
        let (before, after) = asked.map_or((None, None), |asked| line.nearest(asked));
        let gap = line.gaps.iter().rev().find(|gap| {
            let within = asked
                .is_some_and(|asked| gap.after < asked && gap.before.is_none_or(|before| asked < before));
            // A log vouches for less than its last commit: the gap begins a little after the window's end.
            let at_end = before.is_some_and(|before| before <= gap.after)
                && after.is_some_and(|after| gap.after < after);
            within || at_end
        });
        Self {
            asked,
            before,
            after,
            windows: line.windows[line.windows.len().saturating_sub(WINDOWS)..].to_vec(),
            missing: gap.map(|gap| gap.missing.clone()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(asked) = self.asked else {
            return write!(f, "nothing can be restored: the copy holds no whole backup yet");
        };
        write!(f, "{asked} can't be restored")?;
        if let Some(missing) = &self.missing {
            write!(f, ", since {missing} is missing")?;
        }
        match (self.before, self.after) {
            (Some(before), Some(after)) => write!(f, "; the nearest moments are {before} and {after}")?,
            (Some(one), None) | (None, Some(one)) => write!(f, "; the nearest moment is {one}")?,
            (None, None) => {}
        }
        let windows: Vec<_> =
            self.windows.iter().map(|window| format!("{} to {}", window.from, window.to)).collect();
        if windows.is_empty() {
            return write!(f, "; the copy holds no whole backup yet");
        }
        write!(f, "; windows: {}", windows.join(", "))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latest = if self.latest { " (the latest)" } else { "" };
        let estimated = if self.basis == Basis::Estimated { " (estimated: nothing proves it)" } else { "" };
        writeln!(
            f,
            "{}{latest} can be restored{estimated}, reading {}:",
            self.time_point,
            bytes(self.bytes)
        )?;
        for base in &self.bases {
            writeln!(f, "  base {}  {}  {}", base.id, base.time, bytes(base.bytes))?;
        }
        let logs = &self.logs[..self.needed_logs];
        let read: u64 = logs.iter().map(|log| log.object.size).sum();
        match logs {
            [] => Ok(()),
            [only] => writeln!(f, "  log  {}  {}", only.name, bytes(read)),
            [first, .., last] => {
                writeln!(f, "  logs {} to {}, {} of them  {}", first.name, last.name, logs.len(), bytes(read))
            }
        }
    }
}

#[cfg(test)]
mod tests;
