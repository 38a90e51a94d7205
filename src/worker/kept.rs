//! What is kept of objects, from the API's words to the engine's, and what copies lack, the other way. Pure.

use std::time::Duration;

use crate::{
    api::{
        AttributeName, HumanDuration, Incomplete, KeptAttributes, KeptCreationTime, KeptStorageClass,
        KeptTimeIn,
    },
    replicate::{Attribute, Created, Keep, Lack, Lacks, follow::Attributes},
    task::{hash, shortened},
};

/// Most bytes of a reason or a key in what is told: a pod's last words hold all of them within four kilobytes.
const TEXT: usize = 256;

/// What copies keep.
#[must_use]
pub fn keep(asked: Option<&KeptAttributes>) -> Keep {
    let Some(asked) = asked else { return Keep::default() };
    let KeptAttributes { access_control, storage_class, creation_time, compare_every: _ } = asked;
    let accounts = |account: &crate::api::KeptAccount| (account.source.clone(), account.target.clone());
    Keep {
        grants: access_control.as_ref().map(|kept| kept.accounts.iter().map(accounts).collect()),
        storage_class: *storage_class == KeptStorageClass::Keep,
        created: creation_time.as_ref().map_or(Created::New, created),
        ..Keep::default()
    }
}

fn created(kept: &KeptCreationTime) -> Created {
    match (kept.keep, &kept.metadata_name) {
        (KeptTimeIn::AsReplica, _) => Created::AsReplica,
        (KeptTimeIn::InMetadata, Some(name)) => Created::InMetadata(name.clone()),
        // The API server asks for a name.
        (KeptTimeIn::InMetadata, None) => Created::New,
    }
}

/// What the live worker keeps, and how often it looks at all objects for it.
#[must_use]
pub fn attributes(asked: Option<&KeptAttributes>) -> Attributes {
    let every = asked.and_then(|asked| asked.compare_every.as_ref()).map(HumanDuration::get);
    Attributes { keep: keep(asked), asked: asked.map(words), every: every.map(|every| every.max(LEAST)) }
}

const LEAST: Duration = Duration::from_mins(10);

/// What was asked for, but for how often.
fn words(asked: &KeptAttributes) -> String {
    let asked = KeptAttributes { compare_every: None, ..asked.clone() };
    hash(serde_json::to_vec(&asked).unwrap_or_default())
}

/// What copies lack, for a status.
#[must_use]
pub fn incomplete(lacks: &Lacks) -> Vec<Incomplete> {
    let told = |(attribute, lack): (Attribute, &Lack)| Incomplete {
        attribute: name(attribute),
        why: shortened(&lack.why, TEXT),
        count: Some(lack.copies),
        example: lack.example.as_ref().map(|key| shortened(key, TEXT)),
    };
    lacks.iter().map(told).collect()
}

/// What an earlier run has told of.
#[must_use]
pub fn lacks(incomplete: &[Incomplete]) -> Lacks {
    let mut lacks = Lacks::default();
    for Incomplete { attribute: told, why, count, example } in incomplete {
        let lack = Lack { copies: count.unwrap_or_default(), why: why.clone(), example: example.clone() };
        if let Some(attribute) = ALL.into_iter().find(|attribute| name(*attribute) == *told) {
            lacks.add(attribute, lack);
        }
    }
    lacks
}

const ALL: [Attribute; 9] = [
    Attribute::Headers,
    Attribute::Metadata,
    Attribute::Tags,
    Attribute::Acl,
    Attribute::Lock,
    Attribute::StorageClass,
    Attribute::CreationTime,
    Attribute::Owner,
    Attribute::PartLayout,
];

fn name(attribute: Attribute) -> AttributeName {
    match attribute {
        Attribute::Headers => AttributeName::ContentHeaders,
        Attribute::Metadata => AttributeName::Metadata,
        Attribute::Tags => AttributeName::Tags,
        Attribute::Acl => AttributeName::AccessControl,
        Attribute::Lock => AttributeName::ObjectLock,
        Attribute::StorageClass => AttributeName::StorageClass,
        Attribute::CreationTime => AttributeName::CreationTime,
        Attribute::Owner => AttributeName::Owner,
        Attribute::PartLayout => AttributeName::PartLayout,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(spec: serde_json::Value) -> KeptAttributes {
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn c02_what_a_rule_asks_for_is_what_copies_keep() {
        assert_eq!(keep(None), Keep::default());
        assert_eq!(keep(Some(&asked(json!({})))), Keep::default());
        let all = asked(json!({
            "accessControl": {"accounts": [{"source": "a", "target": "b"}]},
            "storageClass": "Keep",
            "creationTime": {"keep": "InMetadata", "metadataName": "written"},
        }));
        let grants = Some([("a".to_owned(), "b".to_owned())].into());
        let created = Created::InMetadata("written".into());
        assert_eq!(keep(Some(&all)), Keep { tags: true, lock: true, storage_class: true, grants, created });
        let replica = asked(json!({"accessControl": {}, "creationTime": {"keep": "AsReplica"}}));
        let Keep { grants, created, .. } = keep(Some(&replica));
        assert_eq!((grants, created), (Some([].into()), Created::AsReplica));
    }

    #[test]
    fn c02_another_wish_is_another_word_and_another_rhythm_is_none() {
        let word = |spec| attributes(Some(&asked(spec))).asked.unwrap();
        assert_eq!(attributes(None).asked, None);
        assert_ne!(word(json!({})), word(json!({"storageClass": "Keep"})));
        assert_eq!(word(json!({})), word(json!({"compareEvery": "1d"})));
        let every = attributes(Some(&asked(json!({"compareEvery": "1d"})))).every;
        assert_eq!(every, Some(Duration::from_hours(24)));
    }

    #[test]
    fn c02_the_next_run_knows_what_copies_lack() {
        let mut all = Lacks::default();
        for (copies, attribute) in (1..).zip(ALL) {
            all.add(attribute, Lack { copies, why: "why".into(), example: Some("k".into()) });
        }
        let told = serde_json::to_value(incomplete(&all)).unwrap();
        assert_eq!(lacks(&serde_json::from_value::<Vec<_>>(told).unwrap()), all);
    }
}
