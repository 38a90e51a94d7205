//! A first look at what the target makes of an attribute, where nobody has probed it.

use super::{
    Copied, Copier,
    keep::{Attribute, LeftOut},
};
use crate::store::{self, Grant, ObjectInfo, PutOptions};

impl Copier {
    /// The first object that has tags, a lock, grants or an original's time is looked at once it is written: a
    /// store that knows no such thing may take the object and say nothing. What can't be found out counts as held.
    pub(super) async fn seen(&self, key: &str, wanted: &PutOptions, mut copied: Copied) -> Copied {
        if self.target_abilities().is_some() {
            return copied;
        }
        let mut unseen = Vec::new();
        let known: Vec<_> = copied.left_out.iter().map(|lacks| lacks.attribute).collect();
        for attribute in asked(wanted).filter(|attribute| !known.contains(attribute)) {
            match self.found.why_refused(attribute) {
                // Found out by another copy since this one began.
                Some(why) => copied.left_out.push(LeftOut::new(attribute, why)),
                None if self.found.is_proved(attribute) => {}
                None => unseen.push(attribute),
            }
        }
        if unseen.is_empty() {
            return copied;
        }
        let there = match self.target.head(key).await {
            Ok(there) if there.etag == copied.target_etag => there,
            // Somebody else's, or nothing: the next object tells.
            _ => return copied,
        };
        for attribute in unseen {
            match self.holds(attribute, key, wanted, &there).await {
                Ok(false) => {
                    let why = format!("the target takes no {attribute}, and says nothing");
                    self.found.refuse(attribute, why.clone());
                    copied.left_out.push(LeftOut::new(attribute, why));
                }
                Ok(true) | Err(store::Error::AccessDenied(_)) => self.found.prove(attribute),
                Err(_) => {}
            }
        }
        copied
    }

    async fn holds(
        &self,
        attribute: Attribute,
        key: &str,
        wanted: &PutOptions,
        there: &ObjectInfo,
    ) -> store::Result<bool> {
        match attribute {
            Attribute::Tags => Ok(there.tag_count > 0 || self.target.tags(key).await? == wanted.tags),
            // Locks are shown only to whoever may ask for them.
            Attribute::Lock => Ok(!there.lock.is_open() || self.target.has_locks().await?),
            Attribute::Acl => match self.target.acl(key).await {
                Err(store::Error::Unsupported { .. }) => Ok(false),
                acl => Ok(are_same(&acl?.grants, &wanted.grants)),
            },
            Attribute::CreationTime => {
                let second = wanted.replica.as_ref().map(|replica| replica.modified.as_second());
                Ok(second == Some(there.modified.as_second()))
            }
            Attribute::Headers
            | Attribute::Metadata
            | Attribute::StorageClass
            | Attribute::Owner
            | Attribute::PartLayout => Ok(true),
        }
    }
}

/// What a write asks the target to hold.
fn asked(wanted: &PutOptions) -> impl Iterator<Item = Attribute> {
    let asked = [
        (Attribute::Tags, !wanted.tags.is_empty()),
        (Attribute::Lock, !wanted.lock.is_open()),
        (Attribute::Acl, !wanted.grants.is_empty()),
        (Attribute::CreationTime, wanted.replica.is_some()),
    ];
    asked.into_iter().filter_map(|(attribute, asked)| asked.then_some(attribute))
}

/// Grants in any order.
pub(super) fn are_same(one: &[Grant], other: &[Grant]) -> bool {
    let sorted = |grants: &[Grant]| {
        let mut grants = grants.to_vec();
        grants.sort();
        grants
    };
    sorted(one) == sorted(other)
}
