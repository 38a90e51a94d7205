//! Any tool's files, told apart by patterns. Nothing proves a chain: every time point is an estimate.
//!
//! A pattern must match a key whole, without the prefix. A file is taken to hold the data as of its last write at the source. Incremental files are taken as
//! the log: each goes on from the file before it.

use jiff::Timestamp;
use regex::Regex;

use super::{
    Adapter, Answers, Base, BaseKind, Catalog, Continuity, Keys, Mark, Object, Part, Position, Role, Scan,
    Scope, Segment, Span, Unknown,
};
use crate::backup::{Error, Result, window::Basis};

const STREAM: &str = "files";

pub(super) struct Files {
    full: Regex,
    incremental: Option<Regex>,
    bases: Vec<Object>,
    logs: Vec<Object>,
    unknown: Unknown,
}

impl Files {
    pub(super) fn new(full: &str, incremental: Option<&str>) -> Result<Self> {
        let compile = |pattern: &str| {
            // On its own first: a pattern that closes the group would mean something else.
            Regex::new(pattern)
                .and_then(|_| Regex::new(&format!("^(?:{pattern})$")))
                .map_err(|error| Error::BadPattern { pattern: pattern.to_owned(), cause: error.to_string() })
        };
        Ok(Self {
            full: compile(full)?,
            incremental: incremental.map(compile).transpose()?,
            bases: Vec::new(),
            logs: Vec::new(),
            unknown: Unknown::default(),
        })
    }
}

impl Adapter for Files {
    fn role(&self, key: &str) -> Role {
        if self.full.is_match(key) {
            Role::Base { id: key.to_owned(), part: Part::Payload }
        } else if self.incremental.as_ref().is_some_and(|pattern| pattern.is_match(key)) {
            Role::Log
        } else {
            Role::Unknown
        }
    }

    fn see(&mut self, object: &Object) {
        match self.role(&object.key) {
            Role::Base { .. } => self.bases.push(object.clone()),
            Role::Log => self.logs.push(object.clone()),
            _ => self.unknown.add(&object.key, object.size),
        }
    }

    fn scan(&mut self, _: &Answers) -> Scan {
        let mut catalog = Catalog::new(Basis::Estimated, Continuity::Assumed);
        catalog.bases = self.bases.iter().map(|object| base(object, self.incremental.is_some())).collect();
        self.logs.sort_by(|a, b| (a.modified, &a.key).cmp(&(b.modified, &b.key)));
        let mut from = self.bases.iter().map(|object| object.modified).min();
        for (number, object) in (0..).zip(&self.logs) {
            let start = from.unwrap_or(object.modified).min(object.modified);
            catalog.segments.push(segment(object, number, start));
            from = Some(object.modified);
        }
        catalog.unknown = self.unknown.clone();
        catalog.sort();
        Scan::Done(catalog)
    }
}

fn base(object: &Object, logs: bool) -> Base {
    Base {
        id: object.key.clone(),
        scope: Scope::default(),
        kind: BaseKind::Full,
        parent: None,
        orphan: false,
        keys: Keys { payload: vec![Span::One(object.key.clone())], ..Keys::default() },
        bytes: object.size,
        objects: 1,
        start: object.modified,
        consistent_at: object.modified,
        position: if logs { Position::Time(object.modified) } else { Position::None },
        streams: if logs { vec![STREAM.to_owned()] } else { Vec::new() },
        fuzzy: false,
        complete: true,
        permanent: false,
    }
}

fn segment(object: &Object, number: u64, from: Timestamp) -> Segment {
    Segment {
        stream: STREAM.to_owned(),
        branch: String::new(),
        number,
        name: object.key.rsplit('/').next().unwrap_or(&object.key).to_owned(),
        object: object.clone(),
        from,
        to: object.modified,
        start: Mark::Unknown,
        end: Mark::Unknown,
        open: false,
        stopped: false,
        indivisible: false,
    }
}
