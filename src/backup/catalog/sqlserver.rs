//! Files that SQL Server wrote itself, named by a script.
//!
//! ```text
//! [any/]<server>/<database>/FULL/…_FULL_<YYYYMMDD>_<hhmmss>[_<stripe>].bak
//! [any/]<server>/<database>/DIFF/…_DIFF_<YYYYMMDD>_<hhmmss>[_<stripe>].bak
//! [any/]<server>/<database>/LOG/…_LOG_<YYYYMMDD>_<hhmmss>[_<stripe>].trn
//!       <any of them>.header.json                             optional: its header, as JSON
//! ```
//!
//! These are the default names of Ola Hallengren's scripts; another pattern can be given. A name holds the
//! time at which a backup began, in the zone of its server. Names alone prove nothing: a log is taken to go
//! on from the one before it, hence estimated. Once a header lies beside a backup, headers are believed and
//! nothing else: what has none vouches for nothing.
//!
//! Databases are restored side by side, so a moment needs a chain of each. System databases, and those that
//! are to be ignored, are kept and not waited for.

mod read;

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::DateTime, tz::Offset};
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{
    Adapter, Answer, Answers, Catalog, Continuity, Object, Part, Role, Scan, Unknown, Want, Warning, What,
    mssql::{Header, SIDECAR},
};
use crate::backup::{Error, Result, window::Basis};

/// Ola Hallengren's defaults.
pub const DEFAULT_PATTERN: &str = r"(?:.*/)?(?<server>[^/]+)/(?<database>[^/]+)/(?<kind>FULL|DIFF|LOG)(?<partial>_PARTIAL)?(?<copyonly>_COPY_ONLY)?/[^/]*_(?<time>\d{8}_\d{6})(?:_(?<stripe>\d+))?\.(?:bak|trn)";
/// Databases of the server's own: restored by hand, if at all.
const SYSTEM: [&str; 4] = ["master", "model", "msdb", "tempdb"];

/// How names are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Names {
    /// Fits a whole key; groups `database`, `kind` and `time`, and if need be `server`, `stripe`,
    /// `copyonly`, `partial`. `None`: [`DEFAULT_PATTERN`].
    pub pattern: Option<String>,
    /// Of the server's zone, east of UTC.
    pub utc_offset_seconds: i32,
    /// Databases that no moment waits for.
    pub ignore: Vec<String>,
}

/// What a file is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Full,
    Differential,
    Log,
}

/// One backup, by the names of its files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    scope: String,
    /// When it began.
    time: Timestamp,
    kind: Kind,
    copy_only: bool,
    partial: bool,
}

#[derive(Default)]
struct Found {
    /// By the number of the stripe, 0 where there is one file.
    files: BTreeMap<u32, Object>,
    headers: Vec<Object>,
    lost: bool,
}

pub(super) struct SqlServer {
    pattern: Regex,
    offset: Offset,
    ignore: Vec<String>,
    found: BTreeMap<Name, Found>,
    unknown: Unknown,
}

impl SqlServer {
    pub(super) fn new(names: &Names) -> Result<Self> {
        let pattern = names.pattern.as_deref().unwrap_or(DEFAULT_PATTERN);
        let bad = |cause: String| Error::BadPattern { pattern: pattern.to_owned(), cause };
        let compiled = Regex::new(pattern)
            .and_then(|_| Regex::new(&format!("^(?:{pattern})$")))
            .map_err(|error| bad(error.to_string()))?;
        for group in ["database", "kind", "time"] {
            if !compiled.capture_names().flatten().any(|name| name == group) {
                return Err(bad(format!("it has no group named {group}: (?<{group}>…)")));
            }
        }
        let offset = Offset::from_seconds(names.utc_offset_seconds).map_err(|e| bad(e.to_string()))?;
        let ignore = names.ignore.iter().map(|name| name.to_lowercase()).collect();
        Ok(Self { pattern: compiled, offset, ignore, found: BTreeMap::new(), unknown: Unknown::default() })
    }

    /// The backup that a key is part of, and its stripe.
    fn parse(&self, key: &str) -> Option<(Name, u32)> {
        let groups = self.pattern.captures(key)?;
        let group = |name: &str| groups.name(name).map(|found| found.as_str());
        let database = group("database")?;
        let kind = match group("kind")?.to_ascii_uppercase().as_str() {
            "FULL" | "D" => Kind::Full,
            "DIFF" | "DIFFERENTIAL" | "I" => Kind::Differential,
            "LOG" | "TRN" | "L" => Kind::Log,
            _ => return None,
        };
        let name = Name {
            scope: group("server")
                .map_or_else(|| database.to_owned(), |server| format!("{server}/{database}")),
            time: time_of(group("time")?, self.offset)?,
            kind,
            copy_only: group("copyonly").is_some_and(|found| !found.is_empty()),
            partial: group("partial").is_some_and(|found| !found.is_empty()),
        };
        Some((name, group("stripe").and_then(|number| number.parse().ok()).unwrap_or_default()))
    }

    fn aside(&self, scope: &str) -> bool {
        let database = scope.rsplit('/').next().unwrap_or(scope).to_lowercase();
        SYSTEM.contains(&database.as_str()) || self.ignore.contains(&database)
    }
}

/// The digits of a time: year to second, or to minute.
fn time_of(text: &str, offset: Offset) -> Option<Timestamp> {
    let mut digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if digits.len() == 12 {
        digits.push_str("00");
    }
    offset.to_timestamp(DateTime::strptime("%Y%m%d%H%M%S", &digits).ok()?).ok()
}

impl Name {
    fn id(&self) -> String {
        let kind = match self.kind {
            Kind::Full => "FULL",
            Kind::Differential => "DIFF",
            Kind::Log => "LOG",
        };
        let more = if self.copy_only { "_COPY_ONLY" } else { "" };
        format!("{}/{kind}{more}/{}", self.scope, self.time)
    }
}

impl Adapter for SqlServer {
    fn role(&self, key: &str) -> Role {
        let (file, part) = match key.strip_suffix(SIDECAR) {
            Some(file) => (file, Part::Metadata),
            None => (key, Part::Payload),
        };
        match self.parse(file) {
            Some((name, _)) if name.partial => Role::Unknown,
            Some((Name { kind: Kind::Log, .. }, _)) => Role::Log,
            Some((name, _)) => Role::Base { id: name.id(), part },
            None => Role::Unknown,
        }
    }

    fn see(&mut self, object: &Object) {
        let header = object.key.strip_suffix(SIDECAR);
        let Some((name, stripe)) = self.parse(header.unwrap_or(&object.key)) else {
            return self.unknown.add(&object.key, object.size);
        };
        let found = self.found.entry(name).or_default();
        if header.is_some() {
            found.headers.push(object.clone());
        } else {
            found.files.insert(stripe, object.clone());
        }
    }

    fn lost(&mut self, key: &str) {
        if let Some((name, _)) = self.parse(key) {
            self.found.entry(name).or_default().lost = true;
        }
    }

    fn scan(&mut self, answers: &Answers) -> Scan {
        let headers = self.found.values().flat_map(|found| &found.headers);
        let wants: Vec<Want> = headers
            .filter(|object| answers.get(object, What::BackupHeader).is_none())
            .map(|object| Want { object: object.clone(), what: What::BackupHeader })
            .collect();
        if !wants.is_empty() {
            return Scan::Need(wants);
        }
        let proved = self.found.values().any(|found| !found.headers.is_empty());
        let (basis, continuity) =
            if proved { (Basis::Proved, Continuity::Lsn) } else { (Basis::Estimated, Continuity::Assumed) };
        let mut catalog = Catalog::new(basis, continuity);
        read::fill(self, answers, proved, &mut catalog);
        catalog.unknown = self.unknown.clone();
        catalog.sort();
        Scan::Done(catalog)
    }
}

impl Found {
    /// What its headers say: those of all stripes say the same.
    fn header(&self, answers: &Answers, warnings: &mut Vec<Warning>) -> Option<Header> {
        self.headers.iter().find_map(|object| match answers.get(object, What::BackupHeader)? {
            Answer::BackupHeader(header) => Some(header.as_ref().clone()),
            Answer::Unreadable(cause) => {
                let key = object.location();
                let message = format!("{key} is corrupt: {cause}; write the header anew");
                warnings.push(Warning::new("CorruptMetadata", message));
                None
            }
            _ => None,
        })
    }

    /// Names of stripes that are missing, as far as their numbers tell.
    fn missing(&self, header: Option<&Header>) -> Option<String> {
        let last = self.files.keys().next_back().copied()?;
        let expected = header.and_then(|header| header.family_count).unwrap_or(last).max(last);
        let missing: Vec<String> = (1..=expected)
            .filter(|stripe| !(self.files.contains_key(stripe) || expected == 1 && last == 0))
            .map(|stripe| stripe.to_string())
            .collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }
}
