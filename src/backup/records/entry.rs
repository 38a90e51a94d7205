//! Lines of the manifest.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    backup::catalog::{Answer, Object, Part, What},
    store::ETag,
};

/// One fact about one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative to the copy's prefix.
    pub key: String,
    /// Of two facts of a kind about a key, the higher one holds.
    pub order: u64,
    pub fact: Fact,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fact {
    /// An object of the copy: about to be written, or there.
    Stored(Stored),
    /// We deleted it, or gave it up.
    Gone,
    /// What looking into the content with this tag showed.
    Learned { etag: String, answers: Vec<(What, Answer)> },
    /// Bytes written by the run that the key names.
    Written { bytes: u64 },
}

/// An object of the copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    pub size: u64,
    /// Its tag at the target, where that is another one than at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    pub source_etag: String,
    /// Its key at the source, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_key: Option<String>,
    /// When its tool wrote it, by the source's clock.
    pub source_time: Timestamp,
    /// Its place in a base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

impl Stored {
    /// An object that is about to be copied, from its listing at the source.
    #[must_use]
    pub fn of(object: &Object, part: Option<Part>) -> Self {
        Self {
            size: object.size,
            etag: None,
            source_etag: object.etag.0.clone(),
            source_key: object.stored_as.as_ref().map(|_| object.key.clone()),
            source_time: object.modified,
            part,
        }
    }

    /// The object as its tool knows it; `key` is where it lies.
    #[must_use]
    pub fn object(&self, key: &str) -> Object {
        let (key, stored_as) = match &self.source_key {
            Some(source_key) => (source_key.clone(), Some(key.to_owned())),
            None => (key.to_owned(), None),
        };
        let etag = ETag(self.source_etag.clone());
        let stored_etag = self.etag.clone().map(ETag);
        Object { key, stored_as, size: self.size, etag, stored_etag, modified: self.source_time }
    }

    /// The tag that the target shows for it.
    #[must_use]
    pub fn target_etag(&self) -> &str {
        self.etag.as_deref().unwrap_or(&self.source_etag)
    }
}

/// All that the manifest knows of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub key: String,
    /// `None`: nothing of ours lies there (any more).
    pub stored: Option<Stored>,
    /// It was ours once.
    pub gone: bool,
    pub learned: Vec<(ETag, Vec<(What, Answer)>)>,
    pub written: u64,
    /// Order of the newest fact.
    pub order: u64,
}

/// Facts that replace one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot<'a> {
    Object,
    Learned(&'a str),
    Written,
}

impl Entry {
    fn slot(&self) -> Slot<'_> {
        match &self.fact {
            Fact::Stored(_) | Fact::Gone => Slot::Object,
            Fact::Learned { etag, .. } => Slot::Learned(etag),
            Fact::Written { .. } => Slot::Written,
        }
    }
}

/// Of all facts about one key, those that hold, oldest first.
pub(super) fn current(mut facts: Vec<Entry>) -> Vec<Entry> {
    facts.sort_by_key(|entry| entry.order);
    let mut kept: Vec<Entry> = Vec::new();
    for entry in facts {
        // What was learned of an object goes with it.
        let gone = entry.fact == Fact::Gone;
        kept.retain(|other| {
            other.slot() != entry.slot() && !(gone && matches!(other.slot(), Slot::Learned(_)))
        });
        kept.push(entry);
    }
    kept
}

impl Record {
    /// True when nothing was noted of the key since `moment`.
    #[must_use]
    pub fn older_than(&self, moment: Timestamp) -> bool {
        u64::try_from(moment.as_microsecond()).is_ok_and(|moment| self.order < moment)
    }

    pub(super) fn of(key: String, facts: Vec<Entry>) -> Self {
        let mut record = Self { key, ..Self::default() };
        for entry in current(facts) {
            record.order = record.order.max(entry.order);
            match entry.fact {
                Fact::Stored(stored) => record.stored = Some(stored),
                Fact::Gone => record.gone = true,
                Fact::Learned { etag, answers } => record.learned.push((ETag(etag), answers)),
                Fact::Written { bytes } => record.written = bytes,
            }
        }
        record
    }
}
