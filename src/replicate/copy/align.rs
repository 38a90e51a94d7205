//! Changes of attributes alone: nothing but them goes to the target.

use super::{
    Attribute, Copied, Copier, CopyRequest, Error, LARGEST_PUT, LeftOut, Outcome, Result,
    keep::with_tags_named,
};
use crate::store::{
    self, Grant, Lock, ObjectInfo, Precondition, PutOptions, PutReply, Side, abilities::Rewriting,
};

/// What of an object's attributes is other than wanted.
#[derive(Debug, Default)]
pub(super) struct Unlike {
    /// What only a new write changes.
    written: bool,
    tags: bool,
    lock: bool,
}

impl Unlike {
    pub(super) fn is_nothing(&self) -> bool {
        !(self.written || self.tags || self.lock)
    }
}

impl Copier {
    /// As [`Self::copy`], for an object that the target probably holds with other attributes: both sides
    /// are looked at first, and if size and ETag are equal, no content goes over. That costs a HEAD on
    /// each side, and where something differs one request for the tags, or the lock, or for a copy onto
    /// itself.
    ///
    /// # Errors
    /// As [`Self::copy`].
    pub async fn update(&self, request: &CopyRequest) -> Result<Outcome> {
        let heads =
            tokio::join!(self.source.head(&request.source_key), self.target.head(&request.target_key));
        let (info, there) = match heads {
            (Err(store::Error::NotFound(_)), _) => return Ok(Outcome::Gone),
            (Err(error), _) => return Err(Error::source(error)),
            (Ok(_), Err(store::Error::NotFound(_))) => return self.copy(request).await,
            (Ok(_), Err(error)) => return Err(Error::target(error)),
            (Ok(info), Ok(there)) => (info, there),
        };
        if request.etag.as_ref().is_some_and(|tag| *tag != info.etag) {
            return Ok(Outcome::Changed);
        }
        match self.aligned(request, &info, &there).await {
            Ok(Some(copied)) => Ok(Outcome::Copied(copied)),
            Ok(None) => self.copy(request).await,
            Err(error) if self.does_without(&error) => self.copy(request).await,
            Err(Error::Store { side: Side::Source, source: store::Error::NotFound(_) }) => Ok(Outcome::Gone),
            Err(error) => match self.without_tags(&error) {
                Some(copier) => Box::pin(copier.update(request)).await,
                None => Err(error),
            },
        }
    }

    /// The target's object, of the same content, given the source's attributes. `None` where the content
    /// must go over for that.
    pub(super) async fn aligned(
        &self,
        request: &CopyRequest,
        info: &ObjectInfo,
        there: &ObjectInfo,
    ) -> Result<Option<Copied>> {
        let met = match &request.precondition {
            Precondition::None => true,
            Precondition::Absent => false,
            Precondition::Matches(tag) => *tag == there.etag,
        };
        if !met || there.size != info.size || there.etag != info.etag {
            return Ok(None);
        }
        let (wanted, mut left_out) = self.wanted(&request.source_key, info).await?;
        let unlike = self.unlike(&request.target_key, &wanted, there).await?;
        let put = if unlike.written {
            self.rewrite(&request.target_key, wanted, there).await?
        } else {
            let locked = self.touch(&request.target_key, &wanted, &unlike).await?;
            left_out.extend(locked);
            Some(PutReply { etag: there.etag.clone(), version: there.version.clone() })
        };
        Ok(put.map(|put| Copied { sent: 0, ..Copied::whole(info, put, left_out) }))
    }

    /// Compares what is there with what is wanted. Tags cost a request only where both sides have as many.
    pub(super) async fn unlike(&self, key: &str, wanted: &PutOptions, there: &ObjectInfo) -> Result<Unlike> {
        let class = self.keep.storage_class && wanted.storage_class != there.storage_class;
        let written = class
            || !wanted.attributes.are_kept_as(&there.attributes)
            || self.grants_differ(key, &wanted.grants).await?;
        let tags = self.keep.tags
            && (wanted.tags.len() != there.tag_count
                || (there.tag_count > 0
                    && self.target.tags(key).await.map_err(Error::target)? != wanted.tags));
        let lock = self.keep.lock && lock_differs(&wanted.lock, &there.lock);
        Ok(Unlike { written, tags, lock })
    }

    async fn grants_differ(&self, key: &str, wanted: &[Grant]) -> Result<bool> {
        if self.keep.grants.is_none() {
            return Ok(false);
        }
        let acl = match self.target.acl(key).await {
            Err(store::Error::Unsupported { .. }) => return Ok(false),
            acl => acl.map_err(Error::target)?,
        };
        if wanted.is_empty() {
            return Ok(!acl.is_private());
        }
        let sorted = |grants: &[Grant]| {
            let mut grants = grants.to_vec();
            grants.sort();
            grants
        };
        Ok(sorted(wanted) != sorted(&acl.grants))
    }

    /// Tags and lock are changed in place.
    async fn touch(&self, key: &str, wanted: &PutOptions, unlike: &Unlike) -> Result<Option<LeftOut>> {
        if unlike.tags {
            let put = self.target.put_tags(key, &wanted.tags).await.map_err(Error::target);
            put.map_err(|error| with_tags_named(error, wanted))?;
        }
        if !unlike.lock {
            return Ok(None);
        }
        match self.target.put_lock(key, &wanted.lock).await {
            // It was locked more strictly, for good: to ask again would not help.
            Err(store::Error::Locked(_)) => {
                let why = "the target's own retention is stricter, and can't be loosened";
                Ok(Some(LeftOut::new(Attribute::Lock, why)))
            }
            done => done.map(|()| None).map_err(Error::target),
        }
    }

    async fn rewrite(&self, key: &str, wanted: PutOptions, there: &ObjectInfo) -> Result<Option<PutReply>> {
        let rewriting = self.target_abilities().map_or(Rewriting::Whole, |target| target.rewriting);
        let needed = if there.etag.parts().is_some() { Rewriting::Parts } else { Rewriting::Whole };
        if rewriting < needed || there.size > LARGEST_PUT {
            return Ok(None);
        }
        // A copy that says no class would fall back to the default.
        let storage_class = wanted.storage_class.or_else(|| there.storage_class.clone());
        let wanted = PutOptions { storage_class, ..wanted };
        match self.target.rewrite(key, &there.etag, &wanted).await {
            Ok(put) if put.etag == there.etag => Ok(Some(put)),
            // It has become another object, or the store doesn't do this: the content goes over.
            Ok(_) => Ok(None),
            Err(error) if is_no_rewrite(&error) => Ok(None),
            Err(error) => Err(with_tags_named(Error::target(error), &wanted)),
        }
    }

    /// A precondition that did not hold because the target has got the very object meanwhile.
    pub(super) async fn already_there(&self, request: &CopyRequest) -> Option<Copied> {
        let info = self.source.head(&request.source_key).await.ok()?;
        let there = self.target.head(&request.target_key).await.ok()?;
        if there.size != info.size
            || there.etag != info.etag
            || request.etag.as_ref().is_some_and(|tag| *tag != info.etag)
        {
            return None;
        }
        let (wanted, left_out) = self.wanted(&request.source_key, &info).await.ok()?;
        let unlike = self.unlike(&request.target_key, &wanted, &there).await.ok()?;
        let put = PutReply { etag: there.etag, version: there.version };
        unlike.is_nothing().then(|| Copied { sent: 0, ..Copied::whole(&info, put, left_out) })
    }
}

/// A retention that the source does not ask for may be the target bucket's default.
fn lock_differs(wanted: &Lock, there: &Lock) -> bool {
    let longer = wanted.retention.is_some() && wanted.retention != there.retention;
    longer || wanted.legal_hold != there.legal_hold
}

fn is_no_rewrite(error: &store::Error) -> bool {
    use store::Error as E;
    match error {
        E::Unsupported { what, .. } => ![store::TAGS, store::LOCK, store::GRANTS].contains(&what.as_ref()),
        E::Protocol { .. } | E::Changed(_) | E::NotFound(_) => true,
        _ => false,
    }
}
