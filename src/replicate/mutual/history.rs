//! What a side has held under a key.

use jiff::Timestamp;

use crate::store::{ETag, ObjectVersion};

/// A key's versions at one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Newest first, as stores list them.
    pub versions: Vec<Version>,
    /// False where there are older ones than these.
    pub is_whole: bool,
}

/// A version, or a delete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub state: State,
    /// When it was written, by its store's clock.
    pub at: Timestamp,
}

/// What a version holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Object {
        etag: ETag,
        size: u64,
    },
    /// A delete marker.
    Gone,
}

/// How long a state stayed. An object of which only the attributes change, or that is put again as it is, is still
/// the same: one side may have been written more often than the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stay {
    pub state: State,
    pub since: Timestamp,
    /// When it was last written.
    pub at: Timestamp,
}

impl Stay {
    /// True of a delete marker.
    pub fn is_gone(&self) -> bool {
        self.state == State::Gone
    }
}

impl Version {
    /// True of a delete marker.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.state == State::Gone
    }
}

impl From<&ObjectVersion> for Version {
    fn from(version: &ObjectVersion) -> Self {
        let state = if version.is_delete_marker {
            State::Gone
        } else {
            State::Object { etag: version.etag.clone(), size: version.size }
        };
        Self { state, at: version.written() }
    }
}

impl History {
    /// What is current: an object or a marker. `None`: there never was anything.
    #[must_use]
    pub fn current(&self) -> Option<&Version> {
        self.versions.first()
    }

    /// What came one after the other, oldest first, by the clock asked for. A delete of what is not there is
    /// none.
    pub(super) fn chain(&self, by: impl Fn(Timestamp) -> Timestamp) -> Vec<Stay> {
        let mut chain: Vec<Stay> = Vec::with_capacity(self.versions.len());
        for version in self.versions.iter().rev() {
            let at = by(version.at);
            match chain.last_mut() {
                Some(last) if last.is_gone() && version.is_gone() => {}
                None if version.is_gone() && self.is_whole => {}
                Some(last) if last.state == version.state => last.at = last.at.max(at),
                _ => chain.push(Stay { state: version.state.clone(), since: at, at }),
            }
        }
        chain
    }
}
