//! What of an object is kept beside content, content headers and user metadata, and what can't be.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;

use super::{Copier, Error, Result, context};
use crate::store::{
    self, Acl, GRANTS, Grant, Grantee, LOCK, ObjectInfo, PutOptions, Replica, Side, TAGS,
    abilities::Abilities,
};

/// Something of an object that a store may be unable to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attribute {
    Headers,
    Metadata,
    Tags,
    Acl,
    Lock,
    StorageClass,
    CreationTime,
    Owner,
    PartLayout,
}

impl std::fmt::Display for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Headers => "content headers",
            Self::Metadata => "user metadata",
            Self::Tags => "tags",
            Self::Acl => "access control list",
            Self::Lock => "object lock",
            Self::StorageClass => "storage class",
            Self::CreationTime => "creation time",
            Self::Owner => "owner",
            Self::PartLayout => "part layout",
        })
    }
}

/// Something that a copy lacks, though all else is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub attribute: Attribute,
    pub why: String,
}

impl LeftOut {
    pub(super) fn new(attribute: Attribute, why: impl Into<String>) -> Self {
        Self { attribute, why: why.into() }
    }
}

/// The source's time of the last write, at the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Created {
    /// Not kept: the target notes its own.
    #[default]
    New,
    /// Kept where the target is `MinIO`, which then tells nobody of the write: whoever waits for the
    /// target's events does not see replicas.
    AsReplica,
    /// Noted under this name among the target's user metadata, which is one more than the source's. An object that
    /// has it at the source keeps it as it is.
    InMetadata(String),
}

/// What is kept beside content, content headers, user metadata and part layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    pub tags: bool,
    /// Retention and legal hold.
    pub lock: bool,
    /// Kept as it is called; otherwise the target's default.
    pub storage_class: bool,
    /// The accounts' ids at the source, and what they are at the target. `None`: lists are not kept.
    pub grants: Option<BTreeMap<String, String>>,
    pub created: Created,
}

impl Default for Keep {
    /// Tags and locks: what costs nothing where there is none.
    fn default() -> Self {
        Self { tags: true, lock: true, ..Self::content() }
    }
}

impl Keep {
    /// Nothing but content, content headers, user metadata and part layout: for copies with a life of
    /// their own.
    #[must_use]
    pub fn content() -> Self {
        Self { tags: false, lock: false, storage_class: false, grants: None, created: Created::New }
    }
}

/// What the copies of one copier found out about the two sides.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What the target can't be given, with the reason; `None`: it was seen to hold it.
    settled: Mutex<BTreeMap<Attribute, Option<String>>>,
    source_acls: tokio::sync::OnceCell<bool>,
    source_locks: tokio::sync::OnceCell<bool>,
    /// A GET of the source's has shown a lock.
    gets_tell_locks: AtomicBool,
}

impl Found {
    pub(super) fn why_refused(&self, attribute: Attribute) -> Option<String> {
        self.known(|settled| settled.get(&attribute).cloned().flatten())
    }

    pub(super) fn is_proved(&self, attribute: Attribute) -> bool {
        self.known(|settled| settled.get(&attribute) == Some(&None))
    }

    pub(super) fn refuse(&self, attribute: Attribute, why: String) {
        self.known(|settled| settled.insert(attribute, Some(why)));
    }

    pub(super) fn prove(&self, attribute: Attribute) {
        self.known(|settled| {
            settled.entry(attribute).or_default();
        });
    }

    fn known<T>(&self, look: impl FnOnce(&mut BTreeMap<Attribute, Option<String>>) -> T) -> T {
        look(&mut self.settled.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Copier {
    /// What to keep; tags and locks unless told.
    #[must_use]
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = Arc::new(keep);
        self
    }

    /// What the two sides can do, as [`probe`](store::abilities::probe) found it. A source that can only
    /// be read from can't be probed. Without a target's abilities its refusals tell, and what it loses
    /// without a word is lost.
    #[must_use]
    pub fn knowing(mut self, source: Option<Abilities>, target: Abilities) -> Self {
        self.abilities = Arc::new((source, Some(target)));
        self
    }

    pub(super) fn target_abilities(&self) -> Option<&Abilities> {
        self.abilities.1.as_ref()
    }

    /// All that the target is to hold beside the content, and what it can't.
    pub(super) async fn wanted(&self, key: &str, info: &ObjectInfo) -> Result<(PutOptions, Vec<LeftOut>)> {
        let (keep, mut left_out) = (&self.keep, Vec::new());
        let mut options = PutOptions { attributes: info.attributes.clone(), ..PutOptions::default() };
        if keep.tags && info.tag_count > 0 {
            match self.why_not(Attribute::Tags) {
                Some(why) => left_out.push(LeftOut::new(Attribute::Tags, why)),
                None => options.tags = self.source.tags(key).await.map_err(Error::source)?,
            }
        }
        let lock = info.lock.clone().at(Timestamp::now());
        if keep.lock && !lock.is_open() {
            match self.why_not(Attribute::Lock) {
                Some(why) => left_out.push(LeftOut::new(Attribute::Lock, why)),
                None => options.lock = lock,
            }
        }
        if let Some(ids) = &keep.grants {
            match self.grants(key, ids).await? {
                Ok(grants) => options.grants = grants,
                Err(why) => left_out.push(LeftOut::new(Attribute::Acl, why)),
            }
        }
        options.storage_class = info.storage_class.clone().filter(|_| keep.storage_class);
        left_out.extend(self.date(&mut options, info));
        Ok((options, left_out))
    }

    /// What a GET has told, with the lock that it may have kept to itself: `VersityGW` tells of locks only
    /// in a HEAD. Where objects can be locked, it is asked until a GET has shown that it would tell.
    pub(super) async fn told(&self, key: &str, info: ObjectInfo) -> Result<ObjectInfo> {
        let tells = &self.found.gets_tell_locks;
        if !info.lock.is_open() {
            tells.store(true, Ordering::Relaxed);
        }
        if !self.keep.lock || tells.load(Ordering::Relaxed) || !self.source_has_locks().await? {
            return Ok(info);
        }
        let head = self.source.head(key).await.map_err(Error::source)?;
        if head.etag != info.etag {
            return Err(Error::source(store::Error::Changed(context(&*self.source, key))));
        }
        Ok(head)
    }

    async fn source_has_locks(&self) -> Result<bool> {
        if let Some(source) = &self.abilities.0 {
            return Ok(source.locks);
        }
        let ask = || async {
            match self.source.has_locks().await {
                // Most stores tell: that is no reason to look at each object twice.
                Err(store::Error::AccessDenied(_)) => Ok(false),
                answer => answer.map_err(Error::source),
            }
        };
        self.found.source_locks.get_or_try_init(ask).await.copied()
    }

    /// The original's time, where it is to be kept; what keeps it from that.
    fn date(&self, options: &mut PutOptions, info: &ObjectInfo) -> Option<LeftOut> {
        match &self.keep.created {
            Created::New => None,
            Created::InMetadata(name) => {
                // A copy of a copy tells of the original; and two buckets that are both written come to rest.
                options
                    .attributes
                    .metadata
                    .entry(name.to_lowercase())
                    .or_insert_with(|| info.modified.to_string());
                None
            }
            Created::AsReplica => {
                let why = self.why_not(Attribute::CreationTime);
                if why.is_none() {
                    options.replica = Some(Replica { modified: info.modified, etag: info.etag.clone() });
                }
                why.map(|why| LeftOut::new(Attribute::CreationTime, why))
            }
        }
    }

    /// Why the target is not asked for something.
    fn why_not(&self, attribute: Attribute) -> Option<String> {
        if let Some(why) = self.tags_refused.as_deref().filter(|_| attribute == Attribute::Tags) {
            return Some(why.to_owned());
        }
        let known = self.target_abilities().and_then(|target| super::lacks::why_not(attribute, target));
        known.or_else(|| self.found.why_refused(attribute))
    }

    /// The object's grants, in the target's names; the reason where that can't be.
    async fn grants(&self, key: &str, ids: &BTreeMap<String, String>) -> Result<Result<Vec<Grant>, String>> {
        let has_acls = self.found.source_acls.get_or_try_init(|| self.source.has_acls());
        if !*has_acls.await.map_err(Error::source)? {
            return Ok(Ok(Vec::new()));
        }
        let acl = match self.source.acl(key).await {
            Ok(acl) if acl.is_private() => return Ok(Ok(Vec::new())),
            Ok(acl) => acl,
            Err(store::Error::Unsupported { what, .. }) if what != GRANTS => return Ok(Ok(Vec::new())),
            Err(error) => return Err(Error::source(error)),
        };
        if let Some(why) = self.why_not(Attribute::Acl) {
            return Ok(Err(why));
        }
        Ok(translated(acl, ids))
    }

    /// Whether a copy that the target refused can be tried again with less.
    pub(super) fn does_without(&self, error: &Error) -> bool {
        let Error::Store { side: Side::Target, source: store::Error::Unsupported { what, .. } } = error
        else {
            return false;
        };
        let attribute = match what.as_ref() {
            LOCK => Attribute::Lock,
            GRANTS => Attribute::Acl,
            _ => return false,
        };
        self.found.refuse(attribute, format!("the target refuses: {attribute}"));
        true
    }
}

impl Copier {
    /// The copier for an object whose tags the target has refused: what it can hold goes over.
    pub(super) fn without_tags(&self, error: &Error) -> Option<Self> {
        let Error::Store { side: Side::Target, source: store::Error::Unsupported { what, .. } } = error
        else {
            return None;
        };
        let refused = what.starts_with(TAGS) && self.tags_refused.is_none();
        refused
            .then(|| Self { tags_refused: Some(format!("the target refuses {what}").into()), ..self.clone() })
    }
}

/// # Errors
/// The accounts that nobody said the target's name of.
fn translated(acl: Acl, ids: &BTreeMap<String, String>) -> Result<Vec<Grant>, String> {
    let (mut grants, mut unknown) = (Vec::new(), Vec::new());
    for grant in acl.grants {
        let grantee = match grant.grantee {
            Grantee::Group(uri) => Grantee::Group(uri),
            Grantee::Id(id) => {
                let Some(there) = ids.get(&id) else {
                    unknown.push(id);
                    continue;
                };
                Grantee::Id(there.clone())
            }
        };
        grants.push(Grant { grantee, ..grant });
    }
    if unknown.is_empty() {
        return Ok(grants);
    }
    unknown.dedup();
    Err(format!("the table of accounts has no id at the target for {}", unknown.join(", ")))
}

/// A refusal of tags, with their names.
pub(super) fn with_tags_named(error: Error, options: &PutOptions) -> Error {
    match error {
        Error::Store { side, source: store::Error::Unsupported { what, context } } if what == TAGS => {
            let names = options.tags.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let what = format!("{TAGS} ({}: {names})", options.tags.len()).into();
            Error::Store { side, source: store::Error::Unsupported { what, context } }
        }
        other => other,
    }
}
