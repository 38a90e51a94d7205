//! Segments of an archive, laid end to end.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    super::{Answer, Answers, Base, Mark, Object, Position, Segment, Want, What, wal_reaches},
    commits, is_readable,
};

/// The segments of an archive, and the lines that they form.
pub(super) struct Laid {
    stream: String,
    pub segments: Vec<Segment>,
    /// Indices of segments, each going on from the one before it.
    pub lines: Vec<Vec<usize>>,
}

/// Timeline → the one that it left, and where.
pub(super) type Forks = BTreeMap<u32, (u32, u64)>;

/// A segment by timeline and the two halves of its number.
type Numbered<'a> = (&'a (u32, u32, u32), &'a Object);

impl Laid {
    /// Lays segments of `size` bytes.
    pub(super) fn new<'a>(
        stream: &str,
        size: u64,
        forks: &Forks,
        files: impl Iterator<Item = Numbered<'a>>,
    ) -> Self {
        let mut segments: Vec<Segment> =
            files.map(|(number, object)| segment(stream, *number, size, object)).collect();
        link(&mut segments, forks, size);
        // By place: what goes on from another comes after it.
        segments.sort_by(|a, b| (a.number, &a.branch).cmp(&(b.number, &b.branch)));
        let lines = lines(&segments);
        Self { stream: stream.to_owned(), segments, lines }
    }

    /// True when all that a base needs of the log is in a line.
    pub(super) fn serves(&self, base: &Base) -> bool {
        self.lines.iter().any(|line| self.holds(line, base).is_some())
    }

    fn holds(&self, line: &[usize], base: &Base) -> Option<usize> {
        let segments = || line.iter().map(|&at| &self.segments[at]);
        match base.position {
            Position::Wal { timeline, start, stop } => {
                wal_reaches(segments(), timeline, start, stop).map(|(_, last)| last)
            }
            Position::Time(time) => segments().rposition(|segment| segment.from <= time),
            _ => None,
        }
    }

    /// The last segment that a base of this line can't do without: commits before it are known anyway.
    fn newest_base<'a>(&self, line: &[usize], bases: &'a [Base]) -> Option<(usize, &'a Base)> {
        let own = bases.iter().filter(|base| base.complete && base.streams.contains(&self.stream));
        own.filter_map(|base| Some((self.holds(line, base)?, base)))
            .max_by_key(|(last, base)| (*last, base.consistent_at))
    }

    pub(super) fn readable(&self, line: &[usize]) -> bool {
        line.last().is_none_or(|&at| is_readable(&self.segments[at].object))
    }

    /// Asks for the newest segments, more of them the longer none holds a commit.
    pub(super) fn probe(&self, line: &[usize], bases: &[Base], answers: &Answers) -> Vec<Want> {
        let mut more = Vec::new();
        let Some((floor, _)) = self.newest_base(line, bases) else { return more };
        if !self.readable(line) {
            return more;
        }
        let mut empty = 0;
        for &at in line[floor..].iter().rev() {
            let object = &self.segments[at].object;
            match answers.get(object, What::WalCommits) {
                Some(Answer::Commits(commits)) if commits.last.is_some() => break,
                Some(_) => empty += 1,
                None => more.push(Want { object: object.clone(), what: What::WalCommits }),
            }
            if more.len() > 3 * empty {
                break;
            }
        }
        more
    }

    /// Works out when the segments of a line were written, and how far the line reaches: to its last
    /// commit, or to the end of a base that lies behind it. False when that is a guess.
    pub(super) fn date(&mut self, line: &[usize], bases: &[Base], answers: &Answers, read: bool) -> bool {
        let newest = self.newest_base(line, bases).map(|(floor, base)| (floor, base.consistent_at));
        let Some(&end) = line.last() else { return true };
        let uploaded = self.segments[end].object.modified;
        let reached = match newest {
            Some((floor, consistent)) if read => {
                let known = line[floor..].iter().rev().find_map(|&at| {
                    commits(answers, &self.segments[at].object).and_then(|commits| commits.last)
                });
                known.map_or(consistent, |last| last.max(consistent))
            }
            Some((_, consistent)) => uploaded.max(consistent),
            // No base lies in it: it shows nothing, and is as young as its upload.
            None => uploaded,
        };
        let mut to = reached;
        for &at in line.iter().rev() {
            let segment = &mut self.segments[at];
            segment.to = if at == end { to } else { segment.object.modified.min(to) };
            to = segment.to;
        }
        let first = &self.segments[line[0]];
        let begun = commits(answers, &first.object).and_then(|commits| commits.first);
        let mut from = begun.unwrap_or(first.object.modified).min(first.to);
        for &at in line {
            let segment = &mut self.segments[at];
            segment.from = from;
            from = segment.to;
        }
        read || newest.is_none()
    }
}

/// A segment as its name tells it; when it was written is worked out later.
fn segment(stream: &str, (timeline, log, number): (u32, u32, u32), size: u64, object: &Object) -> Segment {
    let start = (u64::from(log) << 32).saturating_add(u64::from(number).saturating_mul(size));
    Segment {
        stream: stream.to_owned(),
        branch: format!("{timeline:08X}"),
        number: start,
        name: format!("{timeline:08X}{log:08X}{number:08X}"),
        object: object.clone(),
        from: object.modified,
        to: object.modified,
        start: Mark::Wal(timeline, start),
        end: Mark::Wal(timeline, start.saturating_add(size)),
        open: false,
        stopped: false,
        indivisible: false,
    }
}

/// Lets the first segment of a timeline go on from the timeline that it left. Of several that left at one
/// place the newest counts, and what the old one wrote there goes on from nothing.
fn link(segments: &mut [Segment], forks: &Forks, size: u64) {
    let there: BTreeSet<(u32, u64)> = segments.iter().filter_map(Segment::place).collect();
    let mut taken: HashMap<(u32, u64), u32> = HashMap::new();
    for (&timeline, &(parent, lsn)) in forks {
        let first = lsn - lsn % size;
        if parent < timeline && there.contains(&(timeline, first)) {
            taken.insert((parent, first), timeline);
        }
    }
    for segment in segments {
        let Some((timeline, start)) = segment.place() else { continue };
        let fork = forks.get(&timeline).map(|&(parent, lsn)| (parent, lsn - lsn % size));
        if taken.contains_key(&(timeline, start)) {
            segment.start = Mark::Unknown;
        } else if let Some((parent, first)) = fork.filter(|(_, first)| *first == start) {
            let newest = taken.get(&(parent, first)) == Some(&timeline);
            segment.start = if newest { Mark::Wal(parent, start) } else { Mark::Unknown };
        }
    }
}

fn lines(segments: &[Segment]) -> Vec<Vec<usize>> {
    let mut lines: Vec<Vec<usize>> = Vec::new();
    // Where a line ends → which line.
    let mut ends: HashMap<(u32, u64), usize> = HashMap::new();
    for (at, segment) in segments.iter().enumerate() {
        let goes_on = match segment.start {
            Mark::Wal(timeline, lsn) => ends.remove(&(timeline, lsn)),
            _ => None,
        };
        let line = goes_on.unwrap_or_else(|| {
            lines.push(Vec::new());
            lines.len() - 1
        });
        lines[line].push(at);
        if let Mark::Wal(timeline, lsn) = segment.end {
            ends.insert((timeline, lsn), line);
        }
    }
    lines
}

impl Segment {
    /// Timeline and place of a segment of PostgreSQL's log.
    fn place(&self) -> Option<(u32, u64)> {
        match self.end {
            Mark::Wal(timeline, _) => Some((timeline, self.number)),
            _ => None,
        }
    }
}
