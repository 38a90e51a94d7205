//! What a prefix holds and what can be restored from it, for people and for programs.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Result,
    catalog::{BaseKind, Catalog, Format, Mark, Unknown, Warning},
    look::{Look, look},
    reader::Depth,
    records::Service,
    window::{Basis, Gap, Timeline, Window, timeline},
};
use crate::store::ObjectStore;

/// Logs are read to their end, bases for their position, up to these sizes; beyond, the careful answer.
const DEPTH: Depth = Depth { log_bytes: 1 << 30, base_bytes: 256 << 20 };

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    pub bucket: String,
    pub prefix: String,
    /// Set where the prefix is a copy of ours.
    pub copy_of: Option<Service>,
    pub basis: Basis,
    pub bases: Vec<BaseRow>,
    pub logs: Vec<LogRow>,
    pub windows: Vec<Window>,
    pub gaps: Vec<Gap>,
    pub latest: Option<Timestamp>,
    pub warnings: Vec<Warning>,
    /// Objects that belong to no backup.
    pub unknown: Unknown,
    /// The answer for the moment that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Moment>,
}

/// One base.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BaseRow {
    pub id: String,
    pub kind: BaseKind,
    pub parent: Option<String>,
    /// The moment that it holds.
    pub time: Timestamp,
    pub bytes: u64,
    pub objects: u64,
    /// With its parents it can be restored; `window` is what it can show.
    pub window: Option<Window>,
}

/// One log.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogRow {
    pub name: String,
    pub stream: String,
    pub from: Timestamp,
    pub to: Timestamp,
    pub bytes: u64,
    /// Where the log stands after it: GTIDs, seconds and increment of an oplog, or an LSN.
    pub end: Option<String>,
    /// Relative to the prefix.
    pub key: String,
}

/// Whether a moment can be restored.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moment {
    pub time: Timestamp,
    pub restorable: bool,
    /// In the order of a restore.
    pub bases: Vec<String>,
    pub logs: Vec<String>,
    /// Bytes that a restore reads.
    pub bytes: u64,
    /// Nearest moments that can be restored, when this one can't.
    pub before: Option<Timestamp>,
    pub after: Option<Timestamp>,
}

/// Reads a prefix (a tool's own, or a copy of ours) and works out what can be restored.
///
/// Costs a listing, the small files, and each log once, as long as it has no more than 1 GiB.
///
/// # Errors
/// [`Error::Store`](super::Error::Store), and [`Error::BadRecord`](super::Error::BadRecord) where our own
/// records can't be read.
pub async fn inspect(
    store: Arc<dyn ObjectStore>,
    prefix: &str,
    format: &Format,
    at: Option<Timestamp>,
) -> Result<Inspection> {
    let bucket = store.bucket().to_owned();
    let Look { copy_of, catalog } = look(store, prefix, format, DEPTH).await?;
    let line = timeline(&catalog);
    let at = at.map(|moment| Moment::of(&catalog, &line, moment));
    Ok(Inspection {
        bucket,
        prefix: prefix.to_owned(),
        copy_of,
        basis: catalog.basis,
        bases: bases(&catalog, &line),
        logs: logs(&catalog),
        windows: line.windows,
        gaps: line.gaps,
        latest: line.latest,
        warnings: catalog.warnings,
        unknown: catalog.unknown,
        at,
    })
}

fn bases(catalog: &Catalog, line: &Timeline) -> Vec<BaseRow> {
    let row = |(at, base): (usize, &super::catalog::Base)| BaseRow {
        id: base.id.clone(),
        kind: base.kind,
        parent: base.parent.clone(),
        time: base.consistent_at,
        bytes: base.bytes,
        objects: base.objects,
        window: line.chains.iter().find(|chain| chain.base == at).map(|chain| chain.window),
    };
    catalog.bases.iter().enumerate().map(row).collect()
}

fn logs(catalog: &Catalog) -> Vec<LogRow> {
    let end = |mark: &Mark| match mark {
        Mark::Unknown => None,
        Mark::Gtids(gtids) => Some(gtids.to_string()),
        Mark::Oplog(seconds, increment) => Some(format!("{seconds}.{increment}")),
        Mark::Lsn { lsn, .. } => Some(lsn.to_string()),
        Mark::Wal(_, lsn) => Some(format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)),
    };
    let row = |segment: &super::catalog::Segment| LogRow {
        name: segment.name.clone(),
        stream: segment.stream.clone(),
        from: segment.from,
        to: segment.to,
        bytes: segment.object.size,
        end: end(&segment.end),
        key: segment.object.location().to_owned(),
    };
    catalog.segments.iter().map(row).collect()
}

impl Moment {
    fn of(catalog: &Catalog, line: &Timeline, time: Timestamp) -> Self {
        let chains = line.chains_for(time);
        if chains.is_empty() {
            let (before, after) = line.nearest(time);
            return Self {
                time,
                restorable: false,
                bases: Vec::new(),
                logs: Vec::new(),
                bytes: 0,
                before,
                after,
            };
        }
        let bases = chains.iter().flat_map(|chain| &chain.bases).map(|&at| &catalog.bases[at]);
        // A log begun later holds nothing of the moment.
        let logs = chains.iter().flat_map(|chain| &chain.logs).map(|&at| &catalog.segments[at]);
        let logs = logs.filter(|log| log.from <= time);
        Self {
            time,
            restorable: true,
            bytes: bases.clone().map(|b| b.bytes).sum::<u64>()
                + logs.clone().map(|l| l.object.size).sum::<u64>(),
            bases: bases.map(|base| base.id.clone()).collect(),
            logs: logs.map(|log| log.object.location().to_owned()).collect(),
            before: None,
            after: None,
        }
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "s3://{}/{}", self.bucket, self.prefix)?;
        if let Some(service) = &self.copy_of {
            let from = &service.source;
            writeln!(f, "copy of s3://{}/{} at {}", from.bucket, from.prefix, from.endpoint)?;
        }
        let bases = self.bases.iter().map(BaseRow::cells).collect();
        table(f, &["BASE", "KIND", "TIME", "SIZE", "RESTORABLE TO"], bases)?;
        let logs = self.logs.iter().map(LogRow::cells).collect();
        table(f, &["LOG", "FROM", "TO", "SIZE", "ENDS AT"], logs)?;
        let window = |window: &Window| vec![window.from.to_string(), window.to.to_string()];
        table(f, &["WINDOW FROM", "TO"], self.windows.iter().map(window).collect())?;
        let gap = |gap: &Gap| vec![gap.after.to_string(), or_dash(gap.before), gap.missing.clone()];
        table(f, &["GAP AFTER", "BEFORE", "MISSING"], self.gaps.iter().map(gap).collect())?;
        for warning in &self.warnings {
            writeln!(f, "\n{}: {}", warning.reason, warning.message)?;
        }
        if let Some(example) = &self.unknown.example {
            writeln!(f, "\n{} objects belong to no backup, as {example}", self.unknown.objects)?;
        }
        let estimated = if self.basis == Basis::Estimated { " (estimated: nothing proves it)" } else { "" };
        writeln!(f, "\nlatest data time point: {}{estimated}", or_dash(self.latest))?;
        self.at.as_ref().map_or(Ok(()), |moment| moment.fmt(f))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.restorable {
            let (before, after) = (or_dash(self.before), or_dash(self.after));
            return writeln!(f, "{} can't be restored; nearest: {before} before, {after} after", self.time);
        }
        writeln!(f, "{} can be restored, reading {}:", self.time, bytes(self.bytes))?;
        self.bases.iter().try_for_each(|id| writeln!(f, "  base {id}"))?;
        self.logs.iter().try_for_each(|key| writeln!(f, "  log  {key}"))
    }
}

impl BaseRow {
    fn cells(&self) -> Vec<String> {
        let kind = match self.kind {
            BaseKind::Full => "full",
            BaseKind::Incremental => "incremental",
        };
        let to = or_dash(self.window.map(|window| window.to));
        vec![self.id.clone(), kind.to_owned(), self.time.to_string(), bytes(self.bytes), to]
    }
}

impl LogRow {
    fn cells(&self) -> Vec<String> {
        let end = self.end.clone().unwrap_or_else(|| "-".to_owned());
        vec![self.name.clone(), self.from.to_string(), self.to.to_string(), bytes(self.bytes), end]
    }
}

fn or_dash(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}

/// `1.5 MiB`, in whole numbers: no rounding up to what is not there.
/// A number of bytes for people: `1.5 GiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut unit, mut divisor) = (0, 1);
    while count / divisor >= 1024 && unit + 1 < UNITS.len() {
        unit += 1;
        divisor *= 1024;
    }
    let tenth = count % divisor * 10 / divisor;
    if unit == 0 { format!("{count} B") } else { format!("{}.{tenth} {}", count / divisor, UNITS[unit]) }
}

/// Columns as wide as their widest cell; nothing at all without rows.
fn table(f: &mut fmt::Formatter<'_>, head: &[&str], rows: Vec<Vec<String>>) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns = lines[0].len();
    let widths: Vec<usize> = (0..columns)
        .map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or_default())
        .collect();
    writeln!(f)?;
    for line in lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(f, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
