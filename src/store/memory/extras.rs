//! Tags, locks, grants and copies onto oneself.

use jiff::Timestamp;

use super::{
    faults::Failure,
    state::{Answer, State, Version},
};
use crate::store::{
    Acl, Attributes, ETag, GRANTS, Grant, Grantee, LOCK, Lock, LockMode, Permission, PutOptions, PutReply,
    Retention, TAGS, Tags,
};

/// The account that owns everything here.
const OWNER: &str = "memory";

/// What a copy of an object onto itself does to its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrites {
    /// There are no such copies.
    Refused,
    /// An object of several parts becomes one of one piece, as at AWS and `MinIO`.
    Join,
    /// The version that is there is changed: its parts stay, and its time, as at `VersityGW`.
    Keep,
}

/// What a bucket can hold beside content.
#[allow(clippy::struct_excessive_bools, reason = "each is set on its own")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Can {
    /// Most tags of an object.
    pub tags: usize,
    pub locks: bool,
    pub acls: bool,
    pub replicas: bool,
    /// A GET tells of locks, not a HEAD alone.
    pub lock_in_get: bool,
    pub rewrites: Rewrites,
}

impl Default for Can {
    fn default() -> Self {
        Self {
            tags: 10,
            locks: false,
            acls: false,
            replicas: false,
            lock_in_get: true,
            rewrites: Rewrites::Join,
        }
    }
}

impl Can {
    /// What a write asks for that can't be had.
    pub(super) fn check(&self, options: &PutOptions) -> Answer<()> {
        self.check_tags(&options.tags)?;
        if !self.locks && !options.lock.is_open() {
            return Err(Failure::Unsupported(LOCK));
        }
        if !self.acls && !options.grants.is_empty() {
            return Err(Failure::Unsupported(GRANTS));
        }
        Ok(())
    }

    fn check_tags(&self, tags: &Tags) -> Answer<()> {
        if tags.len() > self.tags { Err(Failure::Unsupported(TAGS)) } else { Ok(()) }
    }
}

/// What a version has beside its content.
#[derive(Clone, Debug, Default)]
pub(super) struct Extras {
    pub attributes: Attributes,
    pub tags: Tags,
    pub lock: Lock,
    pub storage_class: Option<String>,
    grants: Vec<Grant>,
}

impl From<&PutOptions> for Extras {
    fn from(options: &PutOptions) -> Self {
        Self {
            attributes: options.attributes.clone(),
            tags: options.tags.clone(),
            lock: options.lock.clone(),
            storage_class: options.storage_class.clone(),
            grants: options.grants.clone(),
        }
    }
}

impl Version {
    /// Takes over the original's time and tag, where a replica is written to a bucket that knows them.
    pub(super) fn with_original(mut self, can: Can, options: &PutOptions) -> Self {
        if let Some(replica) = options.replica.as_ref().filter(|_| can.replicas) {
            self.modified = replica.modified;
            self.etag = replica.etag.clone();
        }
        self
    }

    pub(super) fn acl(&self) -> Acl {
        let own = Grant { grantee: Grantee::Id(OWNER.to_owned()), permission: Permission::FullControl };
        let grants = if self.extras.grants.is_empty() { vec![own] } else { self.extras.grants.clone() };
        Acl { owner: OWNER.to_owned(), grants }
    }

    /// True while it can't be deleted.
    fn is_locked(&self, now: Timestamp) -> bool {
        !self.extras.lock.clone().at(now).is_open()
    }
}

impl State {
    pub(super) fn put_tags(&mut self, key: &str, tags: &Tags) -> Answer<()> {
        self.can.check_tags(tags)?;
        self.current_mut(key)?.extras.tags = tags.clone();
        Ok(())
    }

    pub(super) fn put_lock(&mut self, key: &str, lock: &Lock, now: Timestamp) -> Answer<()> {
        if !self.can.locks {
            return Err(Failure::Unsupported(LOCK));
        }
        let own = &mut self.current_mut(key)?.extras.lock;
        if let Some(wanted) = &lock.retention {
            let binding = |r: &Retention| r.mode == LockMode::Compliance && r.until > now;
            let weaker = |r: &Retention| wanted.mode < r.mode || wanted.until < r.until;
            if own.retention.as_ref().is_some_and(|r| binding(r) && weaker(r)) {
                return Err(Failure::Locked);
            }
            own.retention = Some(wanted.clone());
        }
        own.legal_hold = lock.legal_hold;
        Ok(())
    }

    pub(super) fn acl(&self, key: &str) -> Answer<Acl> {
        let version = self.current(key)?;
        if self.can.acls { Ok(version.acl()) } else { Err(Failure::Unsupported("this request")) }
    }

    pub(super) fn rewrite(
        &mut self,
        key: &str,
        etag: &ETag,
        options: &PutOptions,
        now: Timestamp,
    ) -> Answer<PutReply> {
        self.can.check(options)?;
        let mut version = self.current(key)?.clone();
        if version.etag != *etag {
            return Err(Failure::Changed);
        }
        match self.can.rewrites {
            Rewrites::Refused => return Err(Failure::Unsupported("this request")),
            Rewrites::Join if !version.parts.is_empty() => {
                version.parts = Vec::new();
                version.etag = self.tag(version.body.as_deref().unwrap_or_default());
            }
            Rewrites::Join => {}
            Rewrites::Keep => {
                let changed = Version { extras: options.into(), ..version };
                let version = self.versioned().then(|| changed.id.clone());
                let reply = PutReply { etag: changed.etag.clone(), version };
                *self.current_mut(key)? = changed;
                return Ok(reply);
            }
        }
        let version = Version { modified: now, extras: options.into(), ..version };
        Ok(self.push(key, version.with_original(self.can, options)))
    }

    /// Deletes one version for good, unless it is locked.
    pub(super) fn delete_version(&mut self, key: &str, id: &str, now: Timestamp) -> Answer<()> {
        let Some(versions) = self.versions_mut(key) else { return Ok(()) };
        if versions.iter().any(|v| v.id == id && v.is_locked(now)) {
            return Err(Failure::Locked);
        }
        versions.retain(|v| v.id != id);
        Ok(())
    }
}
