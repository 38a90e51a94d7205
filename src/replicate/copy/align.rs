//! Changes of attributes alone: nothing but them goes to the target.

use super::{
    Attribute, Copied, Copier, CopyRequest, Error, LARGEST_PUT, LeftOut, Outcome, Result,
    keep::with_tags_named, look::are_same,
};
use crate::store::{
    self, Attributes, Grant, Lock, ObjectInfo, Precondition, PutOptions, PutReply, Replica, Side,
    abilities::Rewriting,
};

/// What of an object's attributes is other than wanted.
#[derive(Debug, Default)]
pub(super) struct Unlike(Vec<Attribute>);

impl Unlike {
    pub(super) fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, attribute: Attribute) -> bool {
        self.0.contains(&attribute)
    }

    /// True where only a new write helps.
    fn is_written(&self) -> bool {
        self.0.iter().any(|attribute| !matches!(attribute, Attribute::Tags | Attribute::Lock))
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
        let key = &request.target_key;
        let unlike = self.unlike(key, &wanted, there).await?;
        let copied = |put, left_out| Copied { sent: 0, ..Copied::whole(info, put, left_out) };
        if unlike.is_written() || is_untimely(&wanted, there) {
            return Ok(match self.rewrite(key, &wanted, there).await? {
                Some(put) => {
                    let wrote = is_new(&put, there);
                    let copied = Copied { wrote, ..copied(put, left_out) };
                    Some(self.seen(key, &wanted, copied).await)
                }
                None => None,
            });
        }
        left_out.extend(self.touch(key, &wanted, &unlike).await?);
        let put = PutReply { etag: there.etag.clone(), version: there.version.clone() };
        let copied = Copied { wrote: false, ..copied(put, left_out) };
        Ok(Some(if unlike.is_nothing() { copied } else { self.seen(key, &wanted, copied).await }))
    }

    /// What differs between two objects of the same size and ETag; `None` where either is gone, or they are of
    /// another content. What the target can't be given differs too. Costs a HEAD on each side, and a request for
    /// tags where both have some, and for grants where these are kept.
    ///
    /// # Errors
    /// Of either side.
    pub async fn differences(&self, request: &CopyRequest) -> Result<Option<Vec<Attribute>>> {
        let heads =
            tokio::join!(self.source.head(&request.source_key), self.target.head(&request.target_key));
        let (info, there) = match heads {
            (Err(store::Error::NotFound(_)), _) | (_, Err(store::Error::NotFound(_))) => return Ok(None),
            (info, there) => (info.map_err(Error::source)?, there.map_err(Error::target)?),
        };
        if info.size != there.size || info.etag != there.etag {
            return Ok(None);
        }
        let wanted = self.wanted(&request.source_key, &info).await;
        let Some((wanted, left_out)) = unless_gone(wanted)? else { return Ok(None) };
        let unlike = self.unlike(&request.target_key, &wanted, &there).await;
        let Some(Unlike(mut unlike)) = unless_gone(unlike)? else { return Ok(None) };
        unlike.extend(left_out.into_iter().map(|lacks| lacks.attribute));
        unlike.extend(is_untimely(&wanted, &there).then_some(Attribute::CreationTime));
        unlike.sort();
        unlike.dedup();
        Ok(Some(unlike))
    }

    /// Compares what is there with what is wanted. Tags cost a request only where both sides have as many.
    pub(super) async fn unlike(&self, key: &str, wanted: &PutOptions, there: &ObjectInfo) -> Result<Unlike> {
        let (ours, theirs) = (&wanted.attributes, &there.attributes);
        let theirs_in_ours = Attributes { metadata: theirs.metadata.clone(), ..ours.clone() };
        let (headers, metadata) = (!theirs_in_ours.are_kept_as(theirs), !ours.are_kept_as(&theirs_in_ours));
        let class = self.keep.storage_class && wanted.storage_class != there.storage_class;
        let tags = self.keep.tags
            && (wanted.tags.len() != there.tag_count
                || (there.tag_count > 0
                    && self.target.tags(key).await.map_err(Error::target)? != wanted.tags));
        let lock = self.keep.lock && lock_differs(&wanted.lock, &there.lock);
        let found = [
            (Attribute::Headers, headers),
            (Attribute::Metadata, metadata),
            (Attribute::StorageClass, class),
            (Attribute::Acl, self.grants_differ(key, &wanted.grants).await?),
            (Attribute::Tags, tags),
            (Attribute::Lock, lock),
        ];
        Ok(Unlike(found.into_iter().filter_map(|(attribute, unlike)| unlike.then_some(attribute)).collect()))
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
        Ok(!are_same(wanted, &acl.grants))
    }

    /// Tags and lock are changed in place.
    async fn touch(&self, key: &str, wanted: &PutOptions, unlike: &Unlike) -> Result<Option<LeftOut>> {
        if unlike.has(Attribute::Tags) {
            let put = self.target.put_tags(key, &wanted.tags).await.map_err(Error::target);
            put.map_err(|error| with_tags_named(error, wanted))?;
        }
        if !unlike.has(Attribute::Lock) {
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

    async fn rewrite(&self, key: &str, wanted: &PutOptions, there: &ObjectInfo) -> Result<Option<PutReply>> {
        let rewriting = self.target_abilities().map_or(Rewriting::Whole, |target| target.rewriting);
        let needed = if there.etag.parts().is_some() { Rewriting::Parts } else { Rewriting::Whole };
        if rewriting < needed || there.size > LARGEST_PUT {
            return Ok(None);
        }
        // A copy that says no class would fall back to the default.
        let storage_class = wanted.storage_class.clone().or_else(|| there.storage_class.clone());
        let wanted = PutOptions { storage_class, ..wanted.clone() };
        match self.target.rewrite(key, &there.etag, &wanted).await {
            Ok(put)
                if put.etag == there.etag
                    && (!loses(&wanted.attributes, &there.attributes)
                        || self.became(key, &wanted).await?) =>
            {
                Ok(Some(put))
            }
            // It has become another object, or the store doesn't do this: the content goes over. Of two buckets that
            // are both written the opposite direction would take what was made here for a change.
            Ok(put) => {
                if let Some(version) = put.version.as_ref().filter(|_| is_new(&put, there)) {
                    self.target.delete(key, Some(version)).await.ok();
                }
                Ok(None)
            }
            Err(error) if is_no_rewrite(&error) => Ok(None),
            Err(error) => Err(with_tags_named(Error::target(error), &wanted)),
        }
    }

    /// Seen of `VersityGW` 1.8: a copy onto itself that says nothing of a header leaves the old one.
    async fn became(&self, key: &str, wanted: &PutOptions) -> Result<bool> {
        let there = self.target.head(key).await.map_err(Error::target)?;
        Ok(wanted.attributes.are_kept_as(&there.attributes))
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
        unlike.is_nothing().then(|| Copied { wrote: false, sent: 0, ..Copied::whole(&info, put, left_out) })
    }
}

/// True if a rewrite made a version. There are stores that change the one that is there (seen: `VersityGW` 1.8).
fn is_new(put: &PutReply, there: &ObjectInfo) -> bool {
    put.version.is_none() || put.version != there.version
}

/// True where the original's time is to be kept, and is not there. Headers tell seconds.
fn is_untimely(wanted: &PutOptions, there: &ObjectInfo) -> bool {
    let other = |replica: &Replica| replica.modified.as_second() != there.modified.as_second();
    wanted.replica.as_ref().is_some_and(other)
}

/// A retention that the source does not ask for may be the target bucket's default.
fn lock_differs(wanted: &Lock, there: &Lock) -> bool {
    let longer = wanted.retention.is_some() && wanted.retention != there.retention;
    longer || wanted.legal_hold != there.legal_hold
}

/// True where something that is there is to go.
fn loses(wanted: &Attributes, there: &Attributes) -> bool {
    let headers = |attributes: &Attributes| {
        let Attributes {
            content_type: _,
            content_encoding,
            content_language,
            content_disposition,
            cache_control,
            expires,
            metadata: _,
        } = attributes;
        [content_encoding, content_language, content_disposition, cache_control, expires].map(Option::is_some)
    };
    let mut pairs = headers(wanted).into_iter().zip(headers(there));
    pairs.any(|(wanted, there)| there && !wanted)
        || there.metadata.keys().any(|name| !wanted.metadata.contains_key(name))
}

/// Tags are asked for after the object: by then it may be gone.
fn unless_gone<T>(asked: Result<T>) -> Result<Option<T>> {
    match asked {
        Err(Error::Store { source: store::Error::NotFound(_), .. }) => Ok(None),
        asked => asked.map(Some),
    }
}

fn is_no_rewrite(error: &store::Error) -> bool {
    use store::Error as E;
    match error {
        E::Unsupported { what, .. } => ![store::TAGS, store::LOCK, store::GRANTS].contains(&what.as_ref()),
        E::Protocol { .. } | E::Changed(_) | E::NotFound(_) => true,
        _ => false,
    }
}
