//! The head of a dump: what `mysqldump` and `mariadb-dump` write before the first statement that makes anything.
//!
//! With `--source-data` (`--master-data`) it says where the log went on when the dump's transaction began.

use std::io::{self, BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};

/// A longer line is no longer part of a head.
const MAX_LINE: u64 = 1 << 20;
/// What the tools write first; a line that keeps old clients out may come before it.
const FIRST: [&[u8]; 2] = [b"-- MySQL dump", b"-- MariaDB dump"];
const SANDBOX: &[u8] = b"/*";
/// With one of these the head is over.
const OVER: [&str; 7] = [
    "-- Current Database:",
    "-- Table structure",
    "-- Dump completed",
    "CREATE ",
    "USE ",
    "DROP ",
    "INSERT ",
];

/// Where the log goes on after a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// The binlog that was being written.
    pub file: Option<String>,
    /// The first byte that the dump doesn't hold.
    pub position: Option<u64>,
    /// What the dump holds, as the server wrote it.
    pub gtids: Option<String>,
}

impl Head {
    /// True when it says where the log goes on.
    #[must_use]
    pub fn is_placed(&self) -> bool {
        self.gtids.is_some() || self.file.is_some() && self.position.is_some()
    }

    fn take(&mut self, statement: &str) {
        if let Some(file) = between(statement, "_LOG_FILE='", "'") {
            self.file = Some(file.to_owned());
            self.position = between(statement, "_LOG_POS=", ";").and_then(|at| at.trim().parse().ok());
        } else if statement.contains("GTID_PURGED=") || statement.contains("gtid_slave_pos='") {
            // `/*!80000 '+'*/` comes before the set.
            let quoted = statement.split('\'').skip(1).step_by(2).last();
            self.gtids = quoted.map(|set| set.replace('\n', "")).filter(|set| !set.trim().is_empty());
        }
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

/// True for the first bytes of a dump; 128 are enough.
#[must_use]
pub fn is_dump(start: &[u8]) -> bool {
    let line = match start.iter().position(|byte| *byte == b'\n') {
        Some(end) if start.starts_with(SANDBOX) => &start[end + 1..],
        _ => start,
    };
    FIRST.iter().any(|first| line.starts_with(first))
}

/// Reads the head of a dump; `None` for what is none.
///
/// # Errors
/// `UnexpectedEof` where the input ends before the head does; else the input's own.
pub fn read_head(input: impl Read) -> io::Result<Option<Head>> {
    let mut input = BufReader::new(input);
    // Anything else may have no lines at all.
    if input.fill_buf()?.first().is_some_and(|byte| !b"-/".contains(byte)) {
        return Ok(None);
    }
    let mut lines = Lines { input: &mut input };
    let mut first = lines.next()?;
    if first.as_bytes().starts_with(SANDBOX) {
        first = lines.next()?;
    }
    if !is_dump(first.as_bytes()) {
        return Ok(None);
    }
    let mut head = Head::default();
    let mut statement = String::new();
    loop {
        let line = lines.next()?;
        if statement.is_empty() && OVER.iter().any(|over| line.starts_with(over)) {
            return Ok(Some(head));
        }
        // A long set goes on over lines.
        statement.push_str(&line);
        if line.trim_end().ends_with(';') || !statement.contains("GTID_PURGED=") {
            head.take(&statement);
            statement.clear();
        }
    }
}

struct Lines<'a, R> {
    input: &'a mut BufReader<R>,
}

impl<R: Read> Lines<'_, R> {
    /// The next line with its end.
    fn next(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') && (line.len() as u64) < MAX_LINE {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As mysqldump 9.7.4 writes it.
    const MYSQL: &str = "-- MySQL dump 10.13  Distrib 9.7.4, for Linux (x86_64)\n--\n-- Host: localhost    Database: \n-- ------------------------------------------------------\n-- Server version\t9.7.4-2\n\n/*!50503 SET NAMES utf8mb4 */;\nSET @@SESSION.SQL_LOG_BIN= 0;\n\n--\n-- GTID state at the beginning of the backup \n--\n\nSET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,\n7a138327-e5f6-11f1-868e-02fc00000001:1-5';\n\n--\n-- Position to start replication or point-in-time recovery from\n--\n\n-- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='mysql-bin.000001', SOURCE_LOG_POS=1395;\n\n--\n-- Current Database: `mysql`\n--\n-- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='not the head', SOURCE_LOG_POS=1;\n";
    /// As mariadb-dump 10.11 writes it with `--gtid`.
    const MARIADB: &str = "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19  Distrib 10.11.14-MariaDB, for debian-linux-gnu (x86_64)\n--\n\n--\n-- Preferably use GTID to start replication from GTID position:\n\n-- SET GLOBAL gtid_slave_pos='0-101-3';\n\n-- CHANGE MASTER TO MASTER_LOG_FILE='mysql-bin.000002', MASTER_LOG_POS=689;\n\n-- Current Database: `shop`\n";

    #[test]
    fn b08_the_head_of_a_dump_says_where_the_log_goes_on() {
        let head = read_head(MYSQL.as_bytes()).unwrap().unwrap();
        assert_eq!((head.file.as_deref(), head.position), (Some("mysql-bin.000001"), Some(1395)));
        let set = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,7a138327-e5f6-11f1-868e-02fc00000001:1-5";
        assert_eq!(head.gtids.as_deref(), Some(set));
        let head = read_head(MARIADB.as_bytes()).unwrap().unwrap();
        assert_eq!((head.file.as_deref(), head.position), (Some("mysql-bin.000002"), Some(689)));
        assert_eq!(head.gtids.as_deref(), Some("0-101-3"));
        assert!(is_dump(&MYSQL.as_bytes()[..128]) && is_dump(&MARIADB.as_bytes()[..128]));
    }

    #[test]
    fn b08_a_dump_without_a_place_in_the_log_says_so() {
        let head = read_head(b"-- MySQL dump 10.13\n\n-- Table structure for table `a`\n".as_slice());
        assert!(!head.unwrap().unwrap().is_placed());
    }

    #[test]
    fn b08_a_head_that_is_cut_off_is_not_believed() {
        let end = MYSQL.find("-- Current").unwrap();
        for cut in [10, 200, 400, end] {
            let error = read_head(&MYSQL.as_bytes()[..cut]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        }
    }

    #[test]
    fn b08_what_is_no_dump_is_none() {
        assert!(!is_dump(b"XBSTCK01") && !is_dump(b"") && !is_dump(b"/* a comment"));
        assert_eq!(read_head(b"XBSTCK01\0P\n\n\n".as_slice()).unwrap(), None);
    }
}
