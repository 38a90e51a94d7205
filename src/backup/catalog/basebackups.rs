//! WAL-G's folder of bases, the same for every engine.
//!
//! ```text
//! basebackups_005/<name>/…                            payload
//! basebackups_005/<name>_backup_stop_sentinel.json    written last
//! ```

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::{Answer, Answers, Keys, Object, Part, Role, Span, Want, Warning, What, decode};

const BASES: &str = "basebackups_005/";
const SENTINEL: &str = "_backup_stop_sentinel.json";
const STREAM: &str = "stream";

/// Bases seen in a listing.
#[derive(Default)]
pub(super) struct Basebackups {
    found: BTreeMap<String, Found>,
}

/// What was seen of one base.
#[derive(Default)]
struct Found {
    sentinel: Option<Object>,
    /// The one object of a base that is a stream.
    stream: Option<Object>,
    objects: u64,
    bytes: u64,
    newest: Option<Timestamp>,
    lost: bool,
}

/// A base whose sentinel could be read.
pub(super) struct Sentineled<S> {
    pub id: String,
    pub sentinel: S,
    pub stream: Option<Object>,
    pub keys: Keys,
    pub bytes: u64,
    pub objects: u64,
    /// All its data is there, as far as its size tells.
    pub complete: bool,
}

fn base_of(key: &str) -> Option<(&str, Part)> {
    let rest = key.strip_prefix(BASES)?;
    match rest.split_once('/') {
        Some((id, _)) => Some((id, Part::Payload)),
        None => Some((rest.strip_suffix(SENTINEL)?, Part::Commit)),
    }
}

impl Basebackups {
    /// What a key is, if it belongs to a base.
    pub(super) fn role(key: &str) -> Option<Role> {
        base_of(key).map(|(id, part)| Role::Base { id: id.to_owned(), part })
    }

    /// Takes an object; false when it belongs to no base.
    pub(super) fn see(&mut self, object: &Object) -> bool {
        let Some((id, part)) = base_of(&object.key) else { return false };
        let found = self.found.entry(id.to_owned()).or_default();
        if part == Part::Commit {
            found.sentinel = Some(object.clone());
        } else {
            if object.key.rsplit('/').next().is_some_and(|file| decode::split(file).0 == STREAM) {
                found.stream = Some(object.clone());
            }
            found.objects += 1;
            found.bytes += object.size;
            found.newest = found.newest.max(Some(object.modified));
        }
        true
    }

    /// Takes a key that should be there and is not.
    pub(super) fn lost(&mut self, key: &str) {
        if let Some((id, Part::Payload)) = base_of(key) {
            self.found.entry(id.to_owned()).or_default().lost = true;
        }
    }

    /// Sentinels that were not read yet.
    pub(super) fn wants(&self, answers: &Answers) -> Vec<Want> {
        let sentinels = self.found.values().filter_map(|found| found.sentinel.as_ref());
        sentinels
            .filter(|sentinel| answers.get(sentinel, What::Whole).is_none())
            .map(|sentinel| Want { object: sentinel.clone(), what: What::Whole })
            .collect()
    }

    /// Streams of finished bases whose kind was not looked at yet.
    pub(super) fn kinds(&self, answers: &Answers) -> Vec<Want> {
        let streams = self.found.values().filter(|found| found.sentinel.is_some());
        streams
            .filter_map(|found| found.stream.as_ref())
            .filter(|stream| answers.get(stream, What::DumpHead).is_none())
            .map(|stream| Want { object: stream.clone(), what: What::DumpHead })
            .collect()
    }

    /// The bases whose sentinels can be read; `size` is what a sentinel says of its data's bytes. What is
    /// not finished, corrupt or without its data is named.
    pub(super) fn read<S: DeserializeOwned>(
        &self,
        answers: &Answers,
        warnings: &mut Vec<Warning>,
        size: impl Fn(&S) -> u64,
    ) -> Vec<Sentineled<S>> {
        let read = self.found.iter().filter_map(|(id, found)| {
            let sentinel: S = found.sentinel(id, answers, warnings)?;
            let complete = found.complete(id, size(&sentinel), warnings);
            Some(found.sentineled(id, sentinel, complete))
        });
        read.collect()
    }
}

impl Found {
    fn sentinel<S: DeserializeOwned>(
        &self,
        id: &str,
        answers: &Answers,
        warnings: &mut Vec<Warning>,
    ) -> Option<S> {
        let Some(object) = &self.sentinel else {
            if self.objects > 0 {
                let path = format!("{BASES}{id}/");
                warnings.push(Warning::unfinished(&path, "it has no sentinel yet", self.newest));
            }
            return None;
        };
        let parsed = match answers.get(object, What::Whole) {
            Some(Answer::Whole(bytes)) => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
            Some(Answer::Unreadable(cause)) => Err(cause.clone()),
            _ => return None,
        };
        parsed.map_err(|cause| warnings.push(corrupt(id, object, &cause))).ok()
    }

    fn complete(&self, id: &str, size: u64, warnings: &mut Vec<Warning>) -> bool {
        let whole = self.objects > 0 && self.bytes >= size && !self.lost;
        if !whole && !self.lost {
            let message = format!(
                "backup {id} is left out: its sentinel is there, of its data {} of {size} bytes are, under {BASES}{id}/; bring them back, or delete its sentinel and take another backup",
                self.bytes
            );
            warnings.push(Warning::new("BackupWithoutData", message));
        }
        whole
    }

    fn sentineled<S>(&self, id: &str, sentinel: S, complete: bool) -> Sentineled<S> {
        let path = format!("{BASES}{id}");
        Sentineled {
            id: id.to_owned(),
            sentinel,
            stream: self.stream.clone(),
            keys: Keys {
                payload: vec![Span::Under(format!("{path}/"))],
                metadata: Vec::new(),
                commit: Some(format!("{path}{SENTINEL}")),
            },
            bytes: self.bytes + self.sentinel.as_ref().map_or(0, |object| object.size),
            objects: self.objects + 1,
            complete,
        }
    }
}

fn corrupt(id: &str, sentinel: &Object, cause: &str) -> Warning {
    let message = format!(
        "backup {id} is left out: {} is corrupt: {cause}; bring that file back, or take another backup",
        sentinel.location()
    );
    Warning::new("CorruptMetadata", message)
}
