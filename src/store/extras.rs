//! What a store keeps beside an object's content, headers and metadata: tags, locks, grants, times.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::ETag;

/// What [`Error::Unsupported`](super::Error::Unsupported) names where a write was refused for its tags.
pub const TAGS: &str = "a set of tags like this";
/// What it names where a write was refused for its lock.
pub const LOCK: &str = "an object lock";
/// What it names where a write was refused for its grants.
pub const GRANTS: &str = "an access control list";

/// An object's tags.
pub type Tags = BTreeMap<String, String>;

/// How strict a retention is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    /// Those with a special right may lift it.
    Governance,
    /// Nobody may, nor make it shorter.
    Compliance,
}

impl LockMode {
    /// As S3 spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

/// Until when a version can't be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    pub mode: LockMode,
    pub until: Timestamp,
}

/// What keeps a version from being deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    pub retention: Option<Retention>,
    pub legal_hold: bool,
}

impl Lock {
    /// True for an object that may be deleted at any time.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// What of it still binds at a moment: stores refuse a retention that is over.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        self.retention = self.retention.filter(|r| r.until > now);
        self
    }
}

/// What a grantee may do with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    FullControl,
    Read,
    ReadAcp,
    WriteAcp,
}

/// To whom something is granted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grantee {
    /// An account, by its canonical id, which no other store knows.
    Id(String),
    /// A predefined group: the same everywhere.
    Group(String),
}

/// One permission for one grantee.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    pub grantee: Grantee,
    pub permission: Permission,
}

/// An object's access control list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// Canonical id; empty where the store has no accounts.
    pub owner: String,
    pub grants: Vec<Grant>,
}

impl Acl {
    /// True where only the owner may do anything: what every object has that nobody gave another list.
    #[must_use]
    pub fn is_private(&self) -> bool {
        let owners = |g: &Grant| g.grantee == Grantee::Id(self.owner.clone());
        self.grants.iter().all(owners)
    }
}

/// An object written as another's replica: it bears the original's time and tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    pub modified: Timestamp,
    pub etag: ETag,
}
