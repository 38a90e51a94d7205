//! Sets of transactions, as MariaDB and MySQL write them.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// Which transactions a server has applied, up to some point of its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Gtids {
    /// Last sequence number of each domain and server: a state, since MariaDB numbers a domain as one row.
    #[serde(with = "pairs")]
    MariaDb(BTreeMap<(u32, u32), u64>),
    /// Ranges (both ends included) of each source, merged and ascending.
    MySql(BTreeMap<String, Vec<(u64, u64)>>),
}

impl Gtids {
    /// Reads what the servers print: `0-101-13,1-5-2` or `<uuid>:1-5:8,<uuid>:1`.
    ///
    /// `None` when it is neither; the empty text is an empty MariaDB state.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
        if text.contains(':') { Self::parse_mysql(parts()) } else { Self::parse_mariadb(parts()) }
    }

    fn parse_mariadb<'a>(parts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut state = BTreeMap::new();
        for part in parts {
            let mut numbers = part.splitn(3, '-');
            let domain = numbers.next()?.parse().ok()?;
            let server = numbers.next()?.parse().ok()?;
            state.insert((domain, server), numbers.next()?.parse().ok()?);
        }
        Some(Self::MariaDb(state))
    }

    fn parse_mysql<'a>(parts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut set = Self::MySql(BTreeMap::new());
        for part in parts {
            let (source, ranges) = part.split_once(':')?;
            for range in ranges.split(':') {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                set.add_range(
                    &source.to_ascii_lowercase(),
                    from.trim().parse().ok()?,
                    to.trim().parse().ok()?,
                );
            }
        }
        Some(set)
    }

    /// Adds a MariaDB transaction.
    pub fn add_mariadb(&mut self, domain: u32, server: u32, sequence: u64) {
        if let Self::MariaDb(state) = self {
            state.insert((domain, server), sequence);
        }
    }

    /// Adds a range of MySQL transactions, both ends included.
    pub fn add_range(&mut self, source: &str, from: u64, to: u64) {
        let Self::MySql(set) = self else { return };
        let ranges = set.entry(source.to_owned()).or_default();
        // Logs add at the end; the general case is rare and short.
        if let Some(last) = ranges.last_mut()
            && from == last.1 + 1
        {
            last.1 = last.1.max(to);
            return;
        }
        ranges.push((from, to));
        ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for &(from, to) in ranges.iter() {
            match merged.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        *ranges = merged;
    }

    /// Adds all transactions of `other`, of the same kind of server.
    pub fn add(&mut self, other: &Self) {
        match other {
            Self::MariaDb(theirs) => {
                for ((domain, server), sequence) in theirs {
                    self.add_mariadb(*domain, *server, *sequence);
                }
            }
            Self::MySql(theirs) => {
                for (source, ranges) in theirs {
                    for (from, to) in ranges {
                        self.add_range(source, *from, *to);
                    }
                }
            }
        }
    }

    /// A MariaDB state as a position: of each domain, only the last transaction. `None` for MySQL's sets, and for
    /// nothing.
    #[must_use]
    pub fn position(&self) -> Option<String> {
        let Self::MariaDb(state) = self else { return None };
        let mut last: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
        for ((domain, server), sequence) in state {
            let newest = last.entry(*domain).or_default();
            *newest = (*newest).max((*sequence, *server));
        }
        let parts = last.iter().map(|(domain, (sequence, server))| format!("{domain}-{server}-{sequence}"));
        Some(parts.collect::<Vec<_>>().join(",")).filter(|position| !position.is_empty())
    }

    /// True when nothing was applied yet, or the server does not count.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::MariaDb(state) => state.is_empty(),
            Self::MySql(set) => set.is_empty(),
        }
    }

    /// True when every transaction of `other` is in `self`.
    ///
    /// A MariaDB position names only the last transaction of a domain, whichever server wrote it: so
    /// domains are compared, by their highest number.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MariaDb(_), Self::MariaDb(theirs)) => {
                theirs.iter().all(|((domain, _), sequence)| self.domain(*domain) >= Some(*sequence))
            }
            (Self::MySql(ours), Self::MySql(theirs)) => theirs.iter().all(|(source, ranges)| {
                let ours = ours.get(source).map(Vec::as_slice).unwrap_or_default();
                ranges.iter().all(|r| ours.iter().any(|o| o.0 <= r.0 && r.1 <= o.1))
            }),
            (_, other) => other.is_empty(),
        }
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        match (&mut all, other) {
            (Self::MariaDb(ours), Self::MariaDb(theirs)) => {
                for (origin, sequence) in theirs {
                    let held = ours.entry(*origin).or_default();
                    *held = (*held).max(*sequence);
                }
            }
            (Self::MySql(_), Self::MySql(theirs)) => {
                for (source, ranges) in theirs {
                    for (from, to) in ranges {
                        all.add_range(source, *from, *to);
                    }
                }
            }
            // One of them is empty, or they are not of one kind.
            _ => return if self.is_empty() { other.clone() } else { all },
        }
        all
    }

    fn domain(&self, domain: u32) -> Option<u64> {
        let Self::MariaDb(state) = self else { return None };
        state.range((domain, 0)..=(domain, u32::MAX)).map(|(_, sequence)| *sequence).max()
    }
}

impl fmt::Display for Gtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        match self {
            Self::MariaDb(state) => {
                for ((domain, server), sequence) in state {
                    write!(f, "{separator}{domain}-{server}-{sequence}")?;
                    separator = ",";
                }
            }
            Self::MySql(set) => {
                for (source, ranges) in set {
                    write!(f, "{separator}{source}")?;
                    for (from, to) in ranges {
                        if from == to { write!(f, ":{from}")? } else { write!(f, ":{from}-{to}")? }
                    }
                    separator = ",";
                }
            }
        }
        Ok(())
    }
}

/// JSON has no pairs as keys: `[[domain, server, sequence], …]`.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(state: &BTreeMap<(u32, u32), u64>, out: S) -> Result<S::Ok, S::Error> {
        let rows: Vec<(u32, u32, u64)> = state.iter().map(|((d, s), n)| (*d, *s, *n)).collect();
        rows.serialize(out)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<(u32, u32), u64>, D::Error> {
        let rows = Vec::<(u32, u32, u64)>::deserialize(from)?;
        Ok(rows.into_iter().map(|(d, s, n)| ((d, s), n)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mariadb_positions_compare_by_domain() {
        let state = Gtids::parse("0-101-13,0-102-20,1-7-3").unwrap();
        assert!(state.covers(&Gtids::parse("0-101-20").unwrap()));
        assert!(!state.covers(&Gtids::parse("0-101-21").unwrap()));
        assert!(!state.covers(&Gtids::parse("2-1-1").unwrap()));
        assert!(state.covers(&Gtids::parse("").unwrap()));
        assert_eq!(state.to_string(), "0-101-13,0-102-20,1-7-3");
    }

    #[test]
    fn mysql_sets_merge_ranges() {
        let set = Gtids::parse("AA:1-5:8, bb:1").unwrap();
        assert_eq!(set.to_string(), "aa:1-5:8,bb:1");
        let mut more = set.clone();
        more.add_range("aa", 6, 7);
        assert_eq!(more.to_string(), "aa:1-8,bb:1");
        assert!(more.covers(&set) && !set.covers(&more));
        assert_eq!(Gtids::parse("not a set"), None);
    }

    #[test]
    fn round_trip_as_json() {
        for text in ["0-101-13,1-7-3", "aa:1-5:8,bb:1"] {
            let set = Gtids::parse(text).unwrap();
            let json = serde_json::to_string(&set).unwrap();
            assert_eq!(serde_json::from_str::<Gtids>(&json).unwrap(), set);
        }
    }
}
