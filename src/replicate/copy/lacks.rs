//! What can't be held between two stores, for people to read.

use super::{
    Keep,
    keep::{Attribute, Created},
};
use crate::store::abilities::{Abilities, Support};

/// What the target will lack of the source's objects, and why. What is not asked for is not listed, but
/// for time and owner, which everybody expects.
///
/// A source that can only be read from has no abilities: what it may hold counts as held.
#[must_use]
pub fn cannot_hold(keep: &Keep, source: Option<&Abilities>, target: &Abilities) -> Vec<(Attribute, String)> {
    let held = |attribute| source.is_none_or(|source| why_not(attribute, source).is_none());
    let asked =
        [(Attribute::Tags, keep.tags), (Attribute::Lock, keep.lock), (Attribute::Acl, keep.grants.is_some())];
    let asked = asked.into_iter().filter(|(attribute, asked)| *asked && held(*attribute));
    let mut lacks: Vec<(Attribute, String)> =
        asked.filter_map(|(attribute, _)| Some((attribute, why_not(attribute, target)?))).collect();
    if source.is_some_and(|source| !source.part_heads) {
        let why = "the source does not tell the sizes of parts: unusual ones can't be made again";
        lacks.push((Attribute::PartLayout, why.to_owned()));
    }
    let no_time = match keep.created {
        Created::New => Some(
            "the target notes the moment of the copy; keeping the original's was not asked for".to_owned(),
        ),
        Created::AsReplica => why_not(Attribute::CreationTime, target),
        Created::InMetadata(_) => None,
    };
    lacks.extend(no_time.map(|why| (Attribute::CreationTime, why)));
    lacks.push((Attribute::Owner, "an object belongs to the account that writes it".to_owned()));
    lacks
}

/// Why a store can't hold something; `None` where it can.
pub(super) fn why_not(attribute: Attribute, store: &Abilities) -> Option<String> {
    let support = match attribute {
        Attribute::Tags => store.tags,
        Attribute::Acl => store.acls,
        Attribute::Lock if store.locks => Support::Yes,
        Attribute::Lock => return Some("the bucket was made without object lock".to_owned()),
        Attribute::CreationTime if store.replicas == Support::No => {
            return Some("the target always notes the moment of the copy".to_owned());
        }
        Attribute::CreationTime => store.replicas,
        Attribute::Headers
        | Attribute::Metadata
        | Attribute::StorageClass
        | Attribute::Owner
        | Attribute::PartLayout => return None,
    };
    match support {
        Support::Yes => None,
        Support::No => Some(format!("the bucket keeps no {attribute}")),
        Support::Denied => Some(format!("the credentials may not write the {attribute}")),
    }
}
