//! Which bytes of a binlog a replay needs, and where it ends.
//!
//! "Restored to T" is the longest prefix of the log, in log order, that ends before the first transaction
//! whose recorded commit time is after T. The recorded time is that of the transaction's GTID event: in
//! seconds with MariaDB (when its last statement began), in microseconds with MySQL 8.0 and later (when it
//! was written to the binlog). It may run backwards: a statement that waited for a lock bears the time at
//! which it began. That is why the place is looked for, and why no date is handed to a tool that stops at
//! the first event of that date.

use std::io::Read;

use jiff::Timestamp;

use super::{Event, Events, Gtids, Unreadable, event, second, u32_at, u64_at, uuid};

/// Transactions of other kinds end with one of these.
mod ending {
    pub const QUERY: u8 = 2;
    pub const XID: u8 = 16;
    pub const INCIDENT: u8 = 26;
    pub const ANONYMOUS_GTID: u8 = 34;
    pub const XA_PREPARE: u8 = 38;
    pub const PAYLOAD: u8 = 40;
}

/// A statement that is longer than this is none of those that end a transaction.
const MAX_STATEMENT: u32 = 64 << 10;

/// What is in the base already, and so is not replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// These transactions.
    Gtids(Gtids),
    /// What lies before this byte of the first file.
    Before(u64),
}

/// What of one file a replay takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Length of the file's head: its magic number and the event that describes its format. A replay needs it.
    pub head: u64,
    /// First byte, and the byte after the last, of what is to be replayed; ascending.
    pub spans: Vec<(u64, u64)>,
    /// Transactions in them.
    pub transactions: u64,
    /// Recorded commit time of the last of them.
    pub last_commit: Option<Timestamp>,
    /// Recorded commit time of the first transaction that is too late: the replay ends before it.
    pub too_late: Option<Timestamp>,
    /// The server lost events that it could not log: at this byte.
    pub lost_events: Option<u64>,
}

/// Reads a file, and says what of it belongs to the moment `until`.
///
/// `applied` is brought up to what will be applied after the file.
///
/// # Errors
/// See [`Unreadable`]. A file that is cut off ends before the transaction in which it was cut.
pub fn cut(input: impl Read, applied: &mut Applied, until: Timestamp) -> Result<Cut, Unreadable> {
    let mut events = Events::open(input)?;
    let format = events.next()?.filter(|format| format.kind == event::FORMAT);
    let format = format.ok_or(Unreadable::NotABinlog)?;
    if !events.skip(&format)? {
        return Err(Unreadable::Short);
    }
    let mut cut = Cut { head: events.offset, ..Cut::default() };
    let mut open = Open { begin: None, group: None };
    // A file that was not closed ends with its last whole event.
    let (end, closed) = loop {
        let at = events.offset;
        let Some(found) = events.next()? else { break (at, false) };
        if found.kind == event::START_ENCRYPTION {
            return Err(Unreadable::Encrypted);
        }
        if found.kind == ending::INCIDENT {
            cut.lost_events = Some(at);
        }
        let Some(step) = read(&mut events, &found)? else { break (at, false) };
        let Step::Begins { time, gtid } = step else {
            open.go_on(&step);
            if matches!(found.kind, event::ROTATE | event::STOP) {
                break (events.offset, true);
            }
            continue;
        };
        open.close(&mut cut, applied);
        if time > until {
            cut.too_late = Some(time);
            break (at, true);
        }
        open.begin(
            at,
            Group { at, time, kept: !is_applied(applied, gtid.as_ref(), at), gtid, whole: false },
            &mut cut,
        );
    };
    open.end(&mut cut, applied, (end, closed));
    // What lies before a byte is so in the first file only.
    if matches!(applied, Applied::Before(_)) {
        *applied = Applied::Before(0);
    }
    Ok(cut)
}

/// What an event means for the transaction that it belongs to.
enum Step {
    Begins {
        time: Timestamp,
        gtid: Option<Gtids>,
    },
    /// The transaction may end here.
    Ends,
    Within,
    /// Of the file itself.
    Beside,
}

struct Group {
    at: u64,
    time: Timestamp,
    kept: bool,
    gtid: Option<Gtids>,
    whole: bool,
}

/// What is being gathered.
struct Open {
    /// Where the span began that goes on.
    begin: Option<u64>,
    group: Option<Group>,
}

impl Open {
    fn begin(&mut self, at: u64, group: Group, cut: &mut Cut) {
        match (group.kept, self.begin) {
            (true, None) => self.begin = Some(at),
            (false, Some(begin)) => {
                cut.spans.push((begin, at));
                self.begin = None;
            }
            _ => {}
        }
        self.group = Some(group);
    }

    fn go_on(&mut self, step: &Step) {
        let Some(group) = &mut self.group else { return };
        match step {
            Step::Ends => group.whole = true,
            Step::Within => group.whole = false,
            Step::Begins { .. } | Step::Beside => {}
        }
    }

    /// The transaction is over: another begins.
    fn close(&mut self, cut: &mut Cut, applied: &mut Applied) {
        let Some(group) = self.group.take().filter(|group| group.kept) else { return };
        cut.transactions += 1;
        cut.last_commit = Some(group.time);
        if let (Applied::Gtids(all), Some(gtid)) = (applied, &group.gtid) {
            all.add(gtid);
        }
    }

    /// The file is over; `closed`: properly, or at a transaction that is too late.
    fn end(mut self, cut: &mut Cut, applied: &mut Applied, (end, closed): (u64, bool)) {
        let broken = self.group.as_ref().filter(|group| !closed && !group.whole).map(|group| group.at);
        let to = broken.unwrap_or(end);
        if broken.is_none() {
            self.close(cut, applied);
        }
        cut.spans.extend(self.begin.filter(|begin| *begin < to).map(|begin| (begin, to)));
    }
}

/// Reads an event's body; `None` where the file is cut off within it.
fn read<R: Read>(events: &mut Events<R>, found: &Event) -> Result<Option<Step>, Unreadable> {
    let step = match found.kind {
        event::GTID_MARIADB | event::GTID_MYSQL | ending::ANONYMOUS_GTID => {
            return Ok(events.body(found)?.and_then(|body| begins(found, &body)));
        }
        event::GTID_TAGGED => Step::Begins { time: second(found.time), gtid: None },
        ending::QUERY if found.body <= MAX_STATEMENT => {
            let Some(body) = events.body(found)? else { return Ok(None) };
            return Ok(Some(if is_begin(&body) { Step::Within } else { Step::Ends }));
        }
        ending::QUERY | ending::XID | ending::XA_PREPARE | ending::PAYLOAD => Step::Ends,
        event::ROTATE | event::STOP | event::FORMAT | event::GTID_LIST | event::PREVIOUS_GTIDS => {
            Step::Beside
        }
        _ => Step::Within,
    };
    Ok(events.skip(found)?.then_some(step))
}

fn begins(found: &Event, body: &[u8]) -> Option<Step> {
    let mut time = second(found.time);
    if found.kind == event::GTID_MARIADB {
        let mut gtid = Gtids::MariaDb(std::collections::BTreeMap::new());
        gtid.add_mariadb(u32_at(body.get(..12)?, 8), found.server_id, u64_at(body, 0));
        return Some(Step::Begins { time, gtid: Some(gtid) });
    }
    if let Some(commit) = body.get(42..49) {
        // The highest bit says that another time, the first server's, follows.
        let micros = commit.iter().rev().fold(0, |all, byte| all << 8 | i64::from(*byte)) & !(1 << 55);
        time = Timestamp::from_microsecond(micros).ok().filter(|_| micros > 0).unwrap_or(time);
    }
    let mut gtid = None;
    if found.kind == event::GTID_MYSQL {
        let number = u64_at(body.get(..25)?, 17);
        let mut one = Gtids::MySql(std::collections::BTreeMap::new());
        one.add_range(&uuid(&body[1..17]), number, number);
        gtid = Some(one);
    }
    Some(Step::Begins { time, gtid })
}

/// True for the statement that opens a transaction of MySQL: its text is the end of the event, before the
/// checksum, where there is one.
fn is_begin(body: &[u8]) -> bool {
    let texts = [body.len().checked_sub(5), body.len().checked_sub(9)];
    texts.into_iter().flatten().any(|at| body[at..].starts_with(b"BEGIN") && at > 0 && body[at - 1] == 0)
}

fn is_applied(applied: &Applied, gtid: Option<&Gtids>, at: u64) -> bool {
    match (applied, gtid) {
        (Applied::Gtids(all), Some(gtid)) => all.covers(gtid),
        (Applied::Gtids(_), None) => false,
        (Applied::Before(place), _) => at < *place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARIADB_TRANSACTION: u32 = 12 + 7;

    fn raw(kind: u8, time: u32, body: &[u8]) -> Vec<u8> {
        let mut all = time.to_le_bytes().to_vec();
        all.push(kind);
        all.extend(101_u32.to_le_bytes());
        all.extend(u32::try_from(19 + body.len()).unwrap().to_le_bytes());
        all.extend([0; 6]);
        all.extend(body);
        all
    }

    /// A transaction of MariaDB: its GTID, some rows, its end.
    fn transaction(sequence: u64, time: u32) -> Vec<u8> {
        let mut gtid = sequence.to_le_bytes().to_vec();
        gtid.extend([0; (MARIADB_TRANSACTION - 8) as usize]);
        [raw(event::GTID_MARIADB, time, &gtid), raw(30, time, b"rows"), raw(ending::XID, time, &[0; 8])]
            .concat()
    }

    /// A file's head, and all that follows.
    fn file(parts: &[Vec<u8>]) -> (Vec<u8>, u64) {
        let head = [b"\xfebin".to_vec(), raw(event::FORMAT, 1, &[0; 60])].concat();
        let length = head.len() as u64;
        (std::iter::once(head).chain(parts.iter().cloned()).collect::<Vec<_>>().concat(), length)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn gtids(text: &str) -> Applied {
        Applied::Gtids(Gtids::parse(text).unwrap())
    }

    #[test]
    fn b08_a_replay_ends_before_the_first_transaction_that_is_too_late() {
        let parts = [transaction(1, 10), transaction(2, 20), transaction(3, 15), transaction(4, 30)];
        let (bytes, head) = file(&parts);
        let one = parts[0].len() as u64;
        // The third waited: it comes after one that is too late for second 15, so it doesn't belong there.
        for (until, taken, too_late) in
            [(9, 0, Some(10)), (10, 1, Some(20)), (15, 1, Some(20)), (20, 3, Some(30)), (30, 4, None)]
        {
            let mut applied = gtids("");
            let cut = cut(bytes.as_slice(), &mut applied, at(until)).unwrap();
            assert_eq!((cut.transactions, cut.too_late), (taken, too_late.map(at)), "{until}");
            let spans = if taken == 0 { vec![] } else { vec![(head, head + taken * one)] };
            assert_eq!(cut.spans, spans, "{until}");
            let state = if taken == 0 { String::new() } else { format!("0-101-{taken}") };
            assert_eq!(applied, gtids(&state));
        }
    }

    #[test]
    fn b08_what_the_base_holds_is_not_replayed_again() {
        let parts =
            [transaction(1, 10), transaction(2, 10), transaction(3, 11), raw(event::ROTATE, 12, &[0; 20])];
        let (bytes, head) = file(&parts);
        let one = parts[0].len() as u64;
        let end = bytes.len() as u64;
        let mut by_gtid = gtids("0-101-2");
        let cut_by_gtid = cut(bytes.as_slice(), &mut by_gtid, at(99)).unwrap();
        let mut by_place = Applied::Before(head + 2 * one);
        let cut_by_place = cut(bytes.as_slice(), &mut by_place, at(99)).unwrap();
        assert_eq!(cut_by_gtid.spans, [(head + 2 * one, end)]);
        assert_eq!(cut_by_place.spans, cut_by_gtid.spans);
        assert_eq!((by_gtid, by_place), (gtids("0-101-3"), Applied::Before(0)));
        let nothing = cut(bytes.as_slice(), &mut gtids("0-7-9"), at(99)).unwrap();
        assert_eq!((nothing.spans, nothing.transactions), (vec![], 0));
    }

    #[test]
    fn b08_a_file_that_was_cut_off_ends_before_the_transaction_in_which_it_was() {
        let parts = [transaction(1, 10), transaction(2, 11)];
        let (bytes, head) = file(&parts);
        let one = parts[0].len();
        for short in 1..one {
            let cut = cut(&bytes[..bytes.len() - short], &mut gtids(""), at(99)).unwrap();
            assert_eq!((cut.transactions, cut.spans), (1, vec![(head, head + one as u64)]), "{short}");
        }
    }

    #[test]
    fn b08_mysql_says_to_the_microsecond_when_it_committed() {
        let mut body = vec![0; 17];
        body.extend(7_u64.to_le_bytes());
        body.extend([0; 17]);
        // The highest bit is a flag.
        let micros = 20_500_000_u64 + (1 << 55);
        body.extend(&micros.to_le_bytes()[..7]);
        let parts = [
            raw(event::GTID_MYSQL, 10, &body),
            raw(ending::QUERY, 10, b"\0\0BEGIN"),
            raw(ending::XID, 20, &[0; 8]),
        ];
        let (bytes, _) = file(&parts);
        let cut_at = |millis: i64| {
            let until = Timestamp::from_millisecond(millis).unwrap();
            cut(bytes.as_slice(), &mut Applied::Before(0), until).unwrap()
        };
        assert_eq!(cut_at(20_499).too_late, Some(Timestamp::from_millisecond(20_500).unwrap()));
        assert_eq!(cut_at(20_500).transactions, 1);
    }

    #[test]
    fn b08_lost_events_and_encryption_are_seen() {
        let (bytes, head) = file(&[raw(ending::INCIDENT, 10, &[0; 4])]);
        assert_eq!(cut(bytes.as_slice(), &mut gtids(""), at(99)).unwrap().lost_events, Some(head));
        let (bytes, _) = file(&[raw(event::START_ENCRYPTION, 10, &[0; 17])]);
        assert!(matches!(cut(bytes.as_slice(), &mut gtids(""), at(99)), Err(Unreadable::Encrypted)));
    }
}
