//! Logs that go on from one another.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::backup::catalog::{Base, Catalog, Continuity, Mark, Position, Segment, gtid::Gtids, wal_reaches};

/// Logs of one stream, each going on where the one before it ends.
pub(super) struct Run {
    pub stream: String,
    /// Indices in [`Catalog::segments`].
    pub segments: Vec<usize>,
    /// The greatest moment that the run is the whole truth of.
    pub to: Timestamp,
    /// The furthest place in the log, where files overlap.
    end: Mark,
}

/// All runs, by stream, then by their beginning.
pub(super) struct Runs {
    pub all: Vec<Run>,
}

/// How a base stands to the logs.
pub(super) enum Attachment {
    /// Replay begins with this log of this run.
    Within { run: usize, first: usize },
    /// No log goes on from it yet.
    Beyond,
    /// Logs that it needs are missing before this run.
    Before { run: usize },
}

impl Runs {
    pub(super) fn build(catalog: &Catalog) -> Self {
        let mut all: Vec<Run> = Vec::new();
        // The last run of each branch is where its next log most likely goes on.
        let mut latest: HashMap<(&str, &str), usize> = HashMap::new();
        for (at, segment) in catalog.segments.iter().enumerate() {
            let key = (segment.stream.as_str(), segment.branch.as_str());
            let fits = |run: &Run| {
                run.stream == segment.stream && continues(catalog.continuity, run, &catalog.segments, segment)
            };
            let own = latest.get(&key).copied().filter(|&run| fits(&all[run]));
            let found = own.or_else(|| all.iter().rposition(fits));
            let run = if let Some(run) = found {
                run
            } else {
                all.push(Run {
                    stream: segment.stream.clone(),
                    segments: Vec::new(),
                    to: segment.to,
                    end: segment.end.clone(),
                });
                all.len() - 1
            };
            all[run].push(at, segment);
            latest.insert(key, run);
        }
        Self { all }
    }

    pub(super) fn first(&self, run: usize) -> usize {
        self.all[run].segments[0]
    }

    pub(super) fn last(&self, run: usize) -> usize {
        self.all[run].segments[self.all[run].segments.len() - 1]
    }

    /// Runs of a stream that come one after another.
    pub(super) fn neighbours(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (1..self.all.len())
            .filter(|&later| self.all[later - 1].stream == self.all[later].stream)
            .map(|later| (later - 1, later))
    }

    /// Where replay on top of `base` begins in `stream`.
    pub(super) fn attach(&self, catalog: &Catalog, base: &Base, stream: &str) -> Attachment {
        let of_stream = || self.all.iter().enumerate().filter(|(_, run)| run.stream == stream);
        let within = of_stream().filter_map(|(at, run)| Some((at, run.find(catalog, base)?)));
        let begun = |run: usize, first: usize| catalog.segments[self.all[run].segments[first]].from;
        let within = within.max_by_key(|&(run, first)| (begun(run, first), self.all[run].to));
        if let Some((run, first)) = within {
            return Attachment::Within { run, first };
        }
        // Logs that reach further than the base, and none that holds its position.
        let later = of_stream().find(|(_, run)| run.to > base.consistent_at);
        later.map_or(Attachment::Beyond, |(run, _)| Attachment::Before { run })
    }
}

impl Run {
    fn push(&mut self, at: usize, segment: &Segment) {
        self.segments.push(at);
        self.to = self.to.max(segment.to);
        self.end = match (&self.end, &segment.end) {
            (Mark::Gtids(held), Mark::Gtids(end)) => Mark::Gtids(held.union(end)),
            (held, end) if place(held) > place(end) => self.end.clone(),
            (_, end) => end.clone(),
        };
    }

    /// The log to begin with; the latest that will do. Of several files of one log, the first.
    fn find(&self, catalog: &Catalog, base: &Base) -> Option<usize> {
        let mut at = self.find_one(catalog, base)?;
        let log = |at: usize| {
            let segment = &catalog.segments[self.segments[at]];
            (&segment.branch, segment.number, segment.from)
        };
        while at > 0 && log(at - 1) == log(at) {
            at -= 1;
        }
        Some(at)
    }

    fn find_one(&self, catalog: &Catalog, base: &Base) -> Option<usize> {
        let segments = || self.segments.iter().map(|&at| &catalog.segments[at]);
        match &base.position {
            Position::None => None,
            Position::Time(time) => {
                // Past the end of a run nothing tells whether it is the run that goes on.
                let at = segments().rposition(|segment| segment.from <= *time)?;
                let last = at + 1 == self.segments.len();
                (!last || catalog.continuity == Continuity::Assumed || segments().nth(at)?.reaches(*time))
                    .then_some(at)
            }
            Position::Oplog(seconds, increment) => {
                self.find_place(catalog, &Mark::Oplog(*seconds, *increment))
            }
            Position::Lsn { lsn, fork } => {
                self.find_place(catalog, &Mark::Lsn { lsn: *lsn, fork: fork.clone() })
            }
            Position::Binlog { gtids: Some(gtids), .. } if catalog.continuity == Continuity::Gtids => {
                let more = |segment: &Segment| match (&segment.start, &segment.end) {
                    (Mark::Gtids(start), Mark::Gtids(end)) => gtids.covers(start) && !gtids.covers(end),
                    (Mark::Gtids(start), _) => gtids.covers(start),
                    _ => false,
                };
                let all = |segment: &Segment| matches!(&segment.end, Mark::Gtids(end) if gtids.covers(end));
                segments().position(more).or_else(|| segments().rposition(all))
            }
            Position::Wal { timeline, start, stop } => {
                wal_reaches(segments(), *timeline, *start, *stop).map(|(first, _)| first)
            }
            // A server made anew counts from the beginning again: only what was begun before the base was
            // done can hold its position.
            Position::Binlog { gtids, file } => segments().rposition(|segment| {
                segment.from <= base.consistent_at && segment.holds(gtids.as_ref(), file.as_deref())
            }),
        }
    }

    /// The log to begin with, where they overlap: the first that reaches beyond the place holds what later
    /// ones may lack.
    fn find_place(&self, catalog: &Catalog, stands: &Mark) -> Option<usize> {
        let segments = || self.segments.iter().map(|&at| &catalog.segments[at]);
        let begun = |segment: &Segment| reaches(stands, &segment.start);
        let beyond = segments().position(|segment| begun(segment) && !reaches(stands, &segment.end));
        beyond.or_else(|| segments().rposition(|segment| begun(segment) && segment.end == *stands))
    }
}

impl Segment {
    /// True when a position lies in this file; its name decides only where GTIDs do not.
    fn holds(&self, gtids: Option<&Gtids>, file: Option<&str>) -> bool {
        match (gtids, &self.start, &self.end) {
            (Some(gtids), Mark::Gtids(start), Mark::Gtids(end)) => gtids.covers(start) && end.covers(gtids),
            (Some(gtids), Mark::Gtids(start), Mark::Unknown) => gtids.covers(start),
            _ => file == Some(&self.name),
        }
    }

    /// True when the file was still being written at `time`.
    fn reaches(&self, time: Timestamp) -> bool {
        // `to` is at most a second before the file was closed.
        self.open || self.to >= time || self.to.duration_since(time).as_secs() >= -1
    }
}

fn continues(test: Continuity, run: &Run, segments: &[Segment], next: &Segment) -> bool {
    let Some(last) = run.segments.last().map(|&at| &segments[at]) else { return false };
    match test {
        Continuity::Assumed => true,
        Continuity::Overlap | Continuity::Lsn => reaches(&run.end, &next.start),
        Continuity::Gtids => match (&run.end, &next.start) {
            (Mark::Gtids(held), Mark::Gtids(needed)) => held.covers(needed),
            _ => false,
        },
        Continuity::Wal => matches!(next.start, Mark::Wal(..)) && last.end == next.start,
        Continuity::Binlog => binlog_continues(last, next),
    }
}

/// Where a mark lies in a log that counts places.
fn place(mark: &Mark) -> Option<u128> {
    match mark {
        Mark::Oplog(seconds, increment) => Some(u128::from(*seconds) << 32 | u128::from(*increment)),
        Mark::Lsn { lsn, .. } => Some(*lsn),
        Mark::Unknown | Mark::Gtids(_) | Mark::Wal(..) => None,
    }
}

/// True when a log that ends at one mark holds all before the other.
fn reaches(end: &Mark, start: &Mark) -> bool {
    let same_line = match (end, start) {
        (Mark::Lsn { fork: ours, .. }, Mark::Lsn { fork: theirs, .. }) => ours == theirs,
        _ => true,
    };
    same_line && place(start).is_some_and(|start| place(end).is_some_and(|end| start <= end))
}

/// The next number of the same server, with the GTIDs that its predecessor ended with. A number may be
/// missing where the GTIDs show that it held nothing. Another server goes on only where the first one
/// shut down, and only GTIDs can show it.
fn binlog_continues(last: &Segment, next: &Segment) -> bool {
    let equal = match (&last.end, &next.start) {
        (Mark::Gtids(end), Mark::Gtids(start)) => Some((start == end, !end.is_empty())),
        _ => None,
    };
    if last.branch == next.branch && next.number == last.number + 1 {
        return equal.is_none_or(|(equal, _)| equal);
    }
    let counted = matches!(&next.start, Mark::Gtids(Gtids::MariaDb(_)));
    let goes_on = counted && equal == Some((true, true));
    goes_on && (last.branch == next.branch || last.stopped)
}

/// Names what lies between two logs that do not go on from one another.
pub(super) fn missing_between(last: &Segment, next: &Segment) -> String {
    if let (Mark::Oplog(from, _), Mark::Oplog(to, _)) = (&last.end, &next.start) {
        let second = |seconds: u32| Timestamp::from_second(i64::from(seconds)).unwrap_or(last.to);
        let of = if last.stream.is_empty() { String::new() } else { format!(" of {}", last.stream) };
        return format!("oplog{of} from {} to {}", second(*from), second(*to));
    }
    if let Mark::Lsn { .. } = &last.end {
        return format!("log of {} between {} and {}", last.stream, last.name, next.name);
    }
    if let (Mark::Wal(timeline, end), Mark::Wal(own, start)) = (&last.end, &next.start)
        && timeline == own
        && start > end
    {
        return missing_wal(last, *timeline, *end, *start);
    }
    if last.branch == next.branch && next.number > last.number + 1 {
        let name = |number: u64| numbered(&last.name, number);
        return match next.number - last.number - 1 {
            1 => name(last.number + 1),
            _ => format!("{} to {}", name(last.number + 1), name(next.number - 1)),
        };
    }
    let place = |segment: &Segment| match segment.branch.as_str() {
        "" => segment.name.clone(),
        branch => format!("{branch}/{}", segment.name),
    };
    format!("transactions between {} and {}", place(last), place(next))
}

/// Segments between two places of PostgreSQL's log, by name.
fn missing_wal(last: &Segment, timeline: u32, from: u64, to: u64) -> String {
    let size = from.saturating_sub(last.number).max(1);
    let name = |at: u64| format!("{timeline:08X}{:08X}{:08X}", at >> 32, (at & 0xffff_ffff) / size);
    match (to - from) / size {
        0 | 1 => name(from),
        _ => format!("{} to {}", name(from), name(to - size)),
    }
}

/// `mysql-bin.000003` with another number, as the server would have written it.
fn numbered(name: &str, number: u64) -> String {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    format!("{stem}.{number:06}")
}
