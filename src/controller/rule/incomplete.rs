//! What a rule's copies lack of their originals. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{AttributeName, Comparison, Incomplete, KeptAttributes, Migration};

/// What copies lack: by what the rule asks for, by what the live worker knows, and by what the pods of a large
/// history have told.
#[must_use]
pub fn incomplete(
    asked: Option<&KeptAttributes>,
    known: Option<&Comparison>,
    migration: Option<&Migration>,
) -> Vec<Incomplete> {
    let live = known.map(|cycle| cycle.incomplete.as_slice()).unwrap_or_default();
    let pods = migration.map(|migration| migration.incomplete.as_slice()).unwrap_or_default();
    let looked = migration.is_some_and(|migration| is_looked_at(migration, known));
    let pods = pods.iter().filter(|lacks| !looked || lacks.attribute == AttributeName::PartLayout);
    let mut all = summed(live.iter().chain(pods));
    for lacks in always(asked) {
        all.insert(lacks.attribute, lacks);
    }
    all.into_values().collect()
}

/// True once all objects were looked at that the pods have copied: whoever did that knows better, but of parts.
fn is_looked_at(migration: &Migration, known: Option<&Comparison>) -> bool {
    let second = |time: &Time| time.0.as_second();
    let looked = known.and_then(|cycle| cycle.attributes.as_ref()).map(|all| second(&all.at));
    let ended = migration.completed_at.as_ref().map(second);
    ended.zip(looked).is_some_and(|(ended, looked)| looked >= ended)
}

/// What pods have told, with what was known of others: of pods that are gone nobody tells any more.
#[must_use]
pub fn told_by_pods<'a>(known: &[Incomplete], told: impl Iterator<Item = &'a Incomplete>) -> Vec<Incomplete> {
    let mut now = summed(told);
    for lacks in known {
        let told = now.entry(lacks.attribute).or_insert_with(|| lacks.clone());
        *told = Incomplete { count: told.count.max(lacks.count), ..lacks.clone() };
    }
    now.into_values().collect()
}

fn summed<'a>(all: impl Iterator<Item = &'a Incomplete>) -> BTreeMap<AttributeName, Incomplete> {
    let mut by_attribute: BTreeMap<_, Incomplete> = BTreeMap::new();
    for lacks in all {
        let sum = by_attribute.remove(&lacks.attribute);
        by_attribute.insert(lacks.attribute, sum.map_or_else(|| lacks.clone(), |sum| sum.and(lacks)));
    }
    by_attribute
}

/// What every copy lacks, whatever the stores can do.
fn always(asked: Option<&KeptAttributes>) -> impl Iterator<Item = Incomplete> {
    let lists = asked.is_none_or(|asked| asked.access_control.is_none());
    let time = asked.is_none_or(|asked| asked.creation_time.is_none());
    let lacks = [
        (
            AttributeName::AccessControl,
            "not asked for: the source's lists are not looked at; spec.attributes.accessControl keeps them",
            lists,
        ),
        (
            AttributeName::CreationTime,
            "not asked for: the target notes the moment of the copy; spec.attributes.creationTime keeps it",
            time,
        ),
        (AttributeName::Owner, "an object belongs to the account that writes it", true),
    ];
    lacks.into_iter().filter(|(.., lacking)| *lacking).map(|(attribute, why, _)| Incomplete {
        attribute,
        why: why.to_owned(),
        count: None,
        example: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lacks(attribute: &str, count: u64) -> Incomplete {
        serde_json::from_value(json!({"attribute": attribute, "why": "w", "count": count})).unwrap()
    }

    #[test]
    fn c02_what_is_not_asked_for_is_told_of_as_well() {
        use AttributeName::{AccessControl, CreationTime, Owner};
        let named = |spec: serde_json::Value| {
            let asked: Option<KeptAttributes> = serde_json::from_value(spec).unwrap();
            let all = incomplete(asked.as_ref(), None, None);
            assert!(all.iter().all(|lacks| lacks.count.is_none()));
            all.into_iter().map(|lacks| lacks.attribute).collect::<Vec<_>>()
        };
        assert_eq!(named(json!(null)), [AccessControl, CreationTime, Owner]);
        assert_eq!(named(json!({"accessControl": {}})), [CreationTime, Owner]);
        let both = json!({"accessControl": {}, "creationTime": {"keep": "AsReplica"}});
        assert_eq!(named(both), [Owner]);
    }

    #[test]
    fn c02_what_pods_told_is_neither_forgotten_nor_told_twice() {
        let told = [lacks("Tags", 2), lacks("Tags", 3), lacks("ObjectLock", 1)];
        let first = told_by_pods(&[], told.iter());
        assert_eq!(first, [lacks("Tags", 5), lacks("ObjectLock", 1)]);
        assert_eq!(told_by_pods(&first, told.iter()), first, "the same pods");
        assert_eq!(told_by_pods(&first, told[..1].iter()), first, "others are gone");
    }
}
