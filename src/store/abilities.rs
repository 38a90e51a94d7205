//! What an endpoint can do, found by trying. Vendors' names decide nothing.

use bytes::Bytes;
use futures::stream;
use jiff::{SignedDuration, Timestamp};
use md5::{Digest, Md5};

use super::{
    Attributes, ETag, Error, Grant, Grantee, ObjectStore, Permission, Precondition, PutOptions, Replica,
    Result, Versioning, unguessable,
};

const BODY: &[u8] = b"?";
/// No clock says this any more.
const LONG_AGO: Timestamp = Timestamp::constant(1_000_000_000, 0);
/// How often a store is asked before it counts as one that doesn't keep conditions.
const CONDITION_ATTEMPTS: u32 = 3;

/// Whether something can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Yes,
    /// The store or the bucket does without it.
    No,
    /// The store may have it, these credentials may not.
    Denied,
}

impl Support {
    /// An attempt that was refused is an answer; one that went wrong is not.
    fn of(attempt: Result<bool>) -> Result<Self> {
        match attempt {
            Ok(true) => Ok(Self::Yes),
            Ok(false) | Err(Error::Unsupported { .. } | Error::Protocol { .. }) => Ok(Self::No),
            Err(Error::AccessDenied(_)) => Ok(Self::Denied),
            Err(error) => Err(error),
        }
    }
}

/// What an object is after a copy onto itself that gave it other attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rewriting {
    /// There is no such copy, or it doesn't do what it says.
    None,
    /// One written in one piece keeps its ETag; one of several parts does not.
    Whole,
    /// One of several parts keeps them, and its ETag, too.
    Parts,
}

/// What was found.
#[allow(clippy::struct_excessive_bools, reason = "each is an answer of its own")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// `If-None-Match: *` and `If-Match` on a PUT are honoured, not ignored.
    pub conditional_put: bool,
    /// `HEAD ?partNumber` tells the parts of an object.
    pub part_heads: bool,
    /// Open uploads are listed by prefix. Elsewhere (`MinIO`) only by the exact key.
    pub uploads_by_prefix: bool,
    /// Keys are listed in bytewise order, and from any `start-after` on.
    pub bytewise_order: bool,
    pub versioning: Versioning,
    /// Tags are kept.
    pub tags: Support,
    /// Access control lists of objects are kept.
    pub acls: Support,
    /// The bucket's objects can be locked.
    pub locks: bool,
    /// A replica keeps the original's time and ETag.
    pub replicas: Support,
    pub rewriting: Rewriting,
    pub clock_offset: Option<SignedDuration>,
}

/// Tries a target under a prefix that is ours: about thirty requests, on seven keys that nobody else
/// uses. They are removed again on every path; a process killed meanwhile leaves them, a few bytes.
///
/// # Errors
/// The first failure that is not itself an answer (denied, unreachable).
pub async fn probe(store: &dyn ObjectStore, prefix: &str) -> Result<Abilities> {
    let mut probe = Probe { store, name: format!("{prefix}{}", unguessable("probe")?), written: Vec::new() };
    let found = probe.run(prefix).await;
    let removed = probe.remove().await;
    let found = found?;
    removed.map(|()| found)
}

struct Probe<'a> {
    store: &'a dyn ObjectStore,
    name: String,
    written: Vec<(String, Option<String>)>,
}

impl Probe<'_> {
    async fn run(&mut self, prefix: &str) -> Result<Abilities> {
        Ok(Abilities {
            conditional_put: self.keeps_conditions().await?,
            part_heads: self.part_heads().await?,
            uploads_by_prefix: self.uploads_by_prefix(prefix).await?,
            bytewise_order: self.bytewise_order().await?,
            versioning: self.store.versioning().await?,
            tags: Support::of(self.tags().await)?,
            acls: Support::of(self.acls().await)?,
            locks: self.locks().await?,
            replicas: Support::of(self.replicas().await)?,
            rewriting: self.rewriting().await?,
            clock_offset: self.store.clock_offset(),
        })
    }

    async fn put(&mut self, key: &str, precondition: Precondition) -> Result<()> {
        self.put_with(key, &PutOptions { precondition, ..PutOptions::default() }).await
    }

    async fn put_with(&mut self, key: &str, options: &PutOptions) -> Result<()> {
        let put = self.store.put(key, Bytes::from_static(BODY), options).await?;
        self.written.push((key.to_owned(), put.version));
        Ok(())
    }

    /// A store that kept a condition once knows conditions, while one that wrote against a condition may
    /// only have failed to read what was there: `MinIO` on a busy disk writes rather than refuses.
    async fn keeps_conditions(&mut self) -> Result<bool> {
        for attempt in 0..CONDITION_ATTEMPTS {
            let key = format!("{}-conditions-{attempt}", self.name);
            if self.conditional_put(key).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn conditional_put(&mut self, key: String) -> Result<bool> {
        for (precondition, holds) in [
            (Precondition::Absent, true),
            (Precondition::Absent, false),
            (Precondition::Matches(super::ETag("0".repeat(32))), false),
        ] {
            match self.put(&key, precondition).await {
                Ok(()) if holds => {}
                // The key is ours alone: a first attempt was applied, its answer was lost, and the
                // condition kept the second one out.
                Err(Error::Changed(_)) if holds => self.written.push((key.clone(), None)),
                Err(Error::Changed(_)) => {}
                Ok(()) | Err(Error::Unsupported { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn part_heads(&mut self) -> Result<bool> {
        let key = format!("{}-parts", self.name);
        self.put_in_parts(&key).await?;
        Ok(self.store.head_part(&key, 1).await?.is_some_and(|part| part.count == 1))
    }

    async fn put_in_parts(&mut self, key: &str) -> Result<ETag> {
        let upload = self.store.create_upload(key, &PutOptions::default()).await?;
        let body = Box::pin(stream::iter([Ok(Bytes::from_static(BODY))]));
        let joined = match self.store.upload_part(key, &upload, 1, 1, body).await {
            Ok(part) => self.store.complete_upload(key, &upload, &[part], &PutOptions::default()).await,
            Err(error) => Err(error),
        };
        match joined {
            Ok(put) => {
                self.written.push((key.to_owned(), put.version));
                Ok(put.etag)
            }
            Err(error) => {
                // The first error is the one to tell.
                self.store.abort_upload(key, &upload).await.ok();
                Err(error)
            }
        }
    }

    async fn uploads_by_prefix(&mut self, prefix: &str) -> Result<bool> {
        let key = format!("{}-open", self.name);
        let upload = self.store.create_upload(&key, &PutOptions::default()).await?;
        let listed = self.store.list_uploads(prefix).await;
        self.store.abort_upload(&key, &upload).await?;
        Ok(listed?.iter().any(|open| open.id == upload))
    }

    /// `-` sorts before `/`: a store that walks folders gives `x/a` before `x-b`.
    async fn bytewise_order(&mut self) -> Result<bool> {
        let keys = ["-a", "/b"].map(|end| format!("{}-order{end}", self.name));
        for key in keys.iter().rev() {
            self.put(key, Precondition::None).await?;
        }
        let prefix = format!("{}-order", self.name);
        let all = super::ListRequest { prefix, ..super::ListRequest::default() };
        let after = super::ListRequest { start_after: Some(keys[0].clone()), ..all.clone() };
        let listed = |page: super::ListPage| page.objects.into_iter().map(|o| o.key).collect::<Vec<_>>();
        let (all, after) = (listed(self.store.list(&all).await?), listed(self.store.list(&after).await?));
        Ok(all == keys && after == keys[1..])
    }

    async fn tags(&mut self) -> Result<bool> {
        let key = format!("{}-tags", self.name);
        let tags = [("probe".to_owned(), "1".to_owned())].into();
        let options = PutOptions { tags, ..PutOptions::default() };
        self.put_with(&key, &options).await?;
        let counted = self.store.head(&key).await?.tag_count == 1;
        Ok(counted && self.store.tags(&key).await? == options.tags)
    }

    /// Grants the owner once more what the owner may do anyway, and looks whether that is written down.
    async fn acls(&mut self) -> Result<bool> {
        let key = format!("{}-acl", self.name);
        if !self.store.has_acls().await? {
            return Ok(false);
        }
        self.put(&key, Precondition::None).await?;
        let owner = self.store.acl(&key).await?.owner;
        if owner.is_empty() {
            return Ok(false);
        }
        let to_owner = |permission| Grant { grantee: Grantee::Id(owner.clone()), permission };
        let grants = vec![to_owner(Permission::FullControl), to_owner(Permission::Read)];
        self.put_with(&key, &PutOptions { grants: grants.clone(), ..PutOptions::default() }).await?;
        Ok(self.store.acl(&key).await?.grants.contains(&grants[1]))
    }

    async fn locks(&self) -> Result<bool> {
        match self.store.has_locks().await {
            // Whoever may not ask may lock all the same: a refusal is found out object by object.
            Err(Error::AccessDenied(_)) => Ok(true),
            answer => answer,
        }
    }

    async fn replicas(&mut self) -> Result<bool> {
        let key = format!("{}-replica", self.name);
        let replica = Replica { modified: LONG_AGO, etag: ETag(hex::encode(Md5::digest(BODY))) };
        self.put_with(&key, &PutOptions { replica: Some(replica), ..PutOptions::default() }).await?;
        Ok(self.store.head(&key).await?.modified == LONG_AGO)
    }

    async fn rewriting(&mut self) -> Result<Rewriting> {
        let (whole, parts) = (format!("{}-whole", self.name), format!("{}-joined", self.name));
        self.put(&whole, Precondition::None).await?;
        let etag = self.store.head(&whole).await?.etag;
        if !self.rewrites(&whole, &etag).await? {
            return Ok(Rewriting::None);
        }
        let etag = self.put_in_parts(&parts).await?;
        Ok(if self.rewrites(&parts, &etag).await? { Rewriting::Parts } else { Rewriting::Whole })
    }

    /// True if a copy onto itself changes the attributes and nothing else.
    async fn rewrites(&mut self, key: &str, etag: &ETag) -> Result<bool> {
        let metadata = [("probe".to_owned(), "1".to_owned())].into();
        let attributes = Attributes { metadata, ..Attributes::default() };
        let options = PutOptions { attributes, ..PutOptions::default() };
        match self.store.rewrite(key, etag, &options).await {
            Ok(put) => self.written.push((key.to_owned(), put.version)),
            Err(Error::Unsupported { .. } | Error::Protocol { .. } | Error::AccessDenied(_)) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        let there = self.store.head(key).await?;
        Ok(there.etag == *etag && options.attributes.are_kept_as(&there.attributes))
    }

    async fn remove(&self) -> Result<()> {
        let mut result = Ok(());
        for (key, version) in &self.written {
            let removed = self.store.delete(key, version.as_deref()).await;
            result = result.and(removed);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        ListVersionsRequest,
        memory::{Failure, Fault, MemoryStore, Verb},
    };

    async fn is_clean(store: &MemoryStore) -> bool {
        let versions = store.list_versions(&ListVersionsRequest::default()).await.unwrap().versions;
        versions.is_empty() && store.list_uploads("").await.unwrap().is_empty()
    }

    #[tokio::test]
    async fn what_a_store_can_do_is_found_and_nothing_stays() {
        let store = MemoryStore::new("b");
        store.set_versioning(Versioning::Enabled);
        let found = probe(&store, "p/").await.unwrap();
        assert!(found.conditional_put && found.part_heads && found.uploads_by_prefix && found.bytewise_order);
        assert_eq!(found.versioning, Versioning::Enabled);
        assert!(is_clean(&store).await);

        store.set_conditions(false);
        store.set_part_heads(false);
        let found = probe(&store, "p/").await.unwrap();
        assert!(!found.conditional_put && !found.part_heads);
        assert!(is_clean(&store).await);
    }

    #[tokio::test]
    async fn nothing_stays_after_a_failure_either() {
        for verb in [Verb::UploadPart, Verb::CompleteUpload, Verb::HeadPart, Verb::ListUploads, Verb::List] {
            let store = MemoryStore::new("b");
            store.fault(Fault::once(verb, Failure::AccessDenied));
            assert!(probe(&store, "p/").await.is_err(), "{verb:?}");
            assert!(is_clean(&store).await, "{verb:?}");
        }
    }
}
