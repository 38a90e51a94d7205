//! Exact copies: what goes over beside content, content headers and metadata, what can't, and changes of
//! attributes that move no content.

use std::{collections::BTreeMap, sync::Arc};

use farshore::{
    replicate::{
        Attribute, Copied, Copier, CopyRequest, Created, Keep, LeftOut, Outcome, Skipped, cannot_hold,
    },
    store::{
        ETag, Grant, Grantee, Lock, LockMode, ObjectStore, Permission, Precondition, PutOptions, Tags,
        Versioning,
        abilities::{Abilities, Rewriting, Support, probe},
        memory::{Failure, Fault, MemoryStore, Rewrites, Verb},
    },
};
use jiff::Timestamp;

use crate::{
    beside::{locked, memory_with_locks, tags},
    copying::put_parts,
    suite::{attributes, noise, streamed},
};

const MIB: usize = 1 << 20;

fn copier(source: &MemoryStore, target: &MemoryStore) -> Copier {
    Copier::new(Arc::new(source.clone()), Arc::new(target.clone()))
}

fn pair() -> (MemoryStore, MemoryStore, Copier) {
    let (source, target) = (MemoryStore::new("source"), MemoryStore::new("target"));
    let copier = copier(&source, &target);
    (source, target, copier)
}

pub fn done(outcome: Outcome) -> Copied {
    match outcome {
        Outcome::Copied(copied) => copied,
        other => panic!("{other:?}"),
    }
}

pub async fn copied(copier: &Copier, key: &str) -> Copied {
    done(copier.copy(&CopyRequest::new(key)).await.unwrap())
}

pub async fn updated(copier: &Copier, key: &str) -> Copied {
    done(copier.update(&CopyRequest::new(key)).await.unwrap())
}

pub fn tagged() -> PutOptions {
    PutOptions { tags: tags(), attributes: attributes(), ..PutOptions::default() }
}

/// Content requests at both sides.
fn content(source: &MemoryStore, target: &MemoryStore) -> u64 {
    source.requests(Verb::Get)
        + [Verb::Put, Verb::UploadPart].iter().map(|verb| target.requests(*verb)).sum::<u64>()
}

#[tokio::test]
async fn c02_tags_go_over_and_cost_a_request_only_where_there_are_some() {
    let (source, target, copier) = pair();
    source.put("bare", "1".into(), &PutOptions::default()).await.unwrap();
    copied(&copier, "bare").await;
    assert_eq!(source.requests(Verb::Tags), 0);
    source.put("small", "1".into(), &tagged()).await.unwrap();
    source.put("large", noise(9 * MIB, 1), &tagged()).await.unwrap();
    put_parts(&source, "parts", &[5 * MIB, 10], 1).await;
    source.put_tags("parts", &tags()).await.unwrap();
    for (n, key) in (1..).zip(["small", "large", "parts"]) {
        copied(&copier, key).await;
        assert_eq!((target.tags(key).await.unwrap(), source.requests(Verb::Tags)), (tags(), n), "{key}");
    }
    assert_eq!(target.requests(Verb::PutTags), 0, "they go with the content");
}

#[tokio::test]
async fn c02_an_object_whose_tags_the_target_refuses_goes_over_without_and_the_copy_says_so() {
    let (source, target, copier) = pair();
    target.set_most_tags(2);
    source.put("small", "1".into(), &tagged()).await.unwrap();
    source.put("large", noise(9 * MIB, 1), &tagged()).await.unwrap();
    put_parts(&source, "parts", &[5 * MIB, 10], 1).await;
    source.put_tags("parts", &tags()).await.unwrap();
    let said = "the target refuses a set of tags like this (3: empty, project, team/a)";
    let lacks =
        |copied: &Copied| copied.left_out.iter().map(|l| (l.attribute, l.why.clone())).collect::<Vec<_>>();
    for key in ["small", "large", "parts"] {
        assert_eq!(lacks(&copied(&copier, key).await), [(Attribute::Tags, said.to_owned())], "{key}");
        assert_eq!(target.bytes(key), source.bytes(key), "{key}");
    }
    let few: Tags = [("few".to_owned(), String::new())].into();
    source.put_tags("small", &few).await.unwrap();
    assert!(updated(&copier, "small").await.left_out.is_empty());
    assert_eq!(target.tags("small").await.unwrap(), few);
    source.put_tags("small", &tags()).await.unwrap();
    assert_eq!(lacks(&updated(&copier, "small").await), [(Attribute::Tags, said.to_owned())]);
    assert_eq!(
        target.tags("small").await.unwrap(),
        Tags::new(),
        "what was there is not the object's any more"
    );
    assert!(target.list_uploads("").await.unwrap().is_empty());
}

#[tokio::test]
async fn c02_a_change_of_attributes_moves_no_content() {
    let (source, target, copier) = pair();
    for (key, size) in [("small", 10), ("large", 9 * MIB)] {
        source.put(key, noise(size, 1), &PutOptions::default()).await.unwrap();
        copied(&copier, key).await;
        let (before, rewritten) = (content(&source, &target), target.requests(Verb::Rewrite));

        source.put_tags(key, &tags()).await.unwrap();
        let tagged_only = updated(&copier, key).await;
        assert_eq!((tagged_only.sent, target.tags(key).await.unwrap()), (0, tags()));
        assert_eq!((target.requests(Verb::Rewrite), content(&source, &target)), (rewritten, before), "{key}");

        source
            .rewrite(key, &tagged_only.source_etag, &PutOptions { tags: Tags::new(), ..tagged() })
            .await
            .unwrap();
        let headers = updated(&copier, key).await;
        assert_eq!((headers.sent, target.attributes(key).unwrap()), (0, attributes()));
        assert_eq!((target.tags(key).await.unwrap(), content(&source, &target)), (Tags::new(), before));
        assert_eq!(headers.target_etag, headers.source_etag);

        let writes = |target: &MemoryStore| target.requests(Verb::Rewrite) + target.requests(Verb::PutTags);
        let all = writes(&target);
        updated(&copier, key).await;
        assert_eq!((writes(&target), content(&source, &target)), (all, before), "nothing to do");
    }
}

#[tokio::test]
async fn c02_a_copy_of_a_large_object_looks_for_its_content_first() {
    let (source, target, copier) = pair();
    source.put("k", noise(9 * MIB, 1), &PutOptions::default()).await.unwrap();
    copied(&copier, "k").await;
    source.put("k", noise(9 * MIB, 1), &tagged()).await.unwrap();
    let before = content(&source, &target);
    let request = CopyRequest { size: Some(9 * MIB as u64), ..CopyRequest::new("k") };
    assert_eq!(done(copier.copy(&request).await.unwrap()).sent, 0);
    assert_eq!((content(&source, &target), target.attributes("k").unwrap()), (before, attributes()));
}

#[tokio::test]
async fn c02_parts_are_rewritten_in_place_only_where_they_stay_parts() {
    for (rewrites, moved) in [(Rewrites::Keep, false), (Rewrites::Join, true), (Rewrites::Refused, true)] {
        let (source, target, copier) = pair();
        target.set_rewrites(rewrites);
        let copier = copier.knowing(None, probe(&target, "p/").await.unwrap());
        let (etag, _) = put_parts(&source, "k", &[5 * MIB, 10], 1).await;
        let old = target.create_upload("k", &PutOptions::default()).await.unwrap();
        let mut parts = Vec::new();
        for (number, size) in [(1, 5 * MIB), (2, 10)] {
            let body = noise(size, 1 + u64::from(number));
            parts.push(target.upload_part("k", &old, number, size as u64, streamed(&body)).await.unwrap());
        }
        target.complete_upload("k", &old, &parts, &PutOptions::default()).await.unwrap();
        let before = content(&source, &target);
        let update = updated(&copier, "k").await;
        assert_eq!((update.target_etag, target.attributes("k").unwrap()), (etag, attributes()));
        assert_eq!((content(&source, &target) > before, update.sent > 0), (moved, moved), "{rewrites:?}");
    }
}

#[tokio::test]
async fn c02_an_update_of_what_is_not_there_or_is_no_more_is_a_copy_or_none() {
    let (source, target, copier) = pair();
    assert_eq!(copier.update(&CopyRequest::new("k")).await.unwrap(), Outcome::Gone);
    source.put("k", "1".into(), &tagged()).await.unwrap();
    assert_eq!(updated(&copier, "k").await.sent, 1);
    source.put("k", "2".into(), &tagged()).await.unwrap();
    assert_eq!((updated(&copier, "k").await.sent, target.bytes("k").unwrap()), (1, "2".into()));
    let other = CopyRequest { etag: Some(ETag("0".repeat(32))), ..CopyRequest::new("k") };
    assert_eq!(copier.update(&other).await.unwrap(), Outcome::Changed);
    let absent = CopyRequest { precondition: Precondition::Absent, ..CopyRequest::new("k") };
    assert_eq!(done(copier.update(&absent).await.unwrap()).sent, 0, "there already");
    source.put_tags("k", &Tags::new()).await.unwrap();
    assert!(copier.update(&absent).await.is_err(), "not this object");
    // Somebody writes the target between the look and the rewriting.
    source.put("k", "2".into(), &PutOptions::default()).await.unwrap();
    target.fault(Fault::once(Verb::Rewrite, Failure::Changed));
    assert_eq!(updated(&copier, "k").await.sent, 1);
}

#[tokio::test]
async fn c02_tags_of_an_older_object_do_not_survive_in_a_resumed_upload() {
    let (source, target, copier) = pair();
    put_parts(&source, "k", &[5 * MIB; 3], 1).await;
    source.put_tags("k", &tags()).await.unwrap();
    let older = PutOptions { attributes: attributes(), ..PutOptions::default() };
    let leftover = target.create_upload("k", &older).await.unwrap();
    let first = noise(5 * MIB, 2);
    target.upload_part("k", &leftover, 1, first.len() as u64, streamed(&first)).await.unwrap();
    let done = copied(&copier, "k").await;
    assert_eq!((done.parts_reused, target.tags("k").await.unwrap()), (1, tags()));
}

#[tokio::test]
async fn c02_a_target_without_locks_gets_the_object_and_the_copy_says_so() {
    let (source, target) = (memory_with_locks(), MemoryStore::new("target"));
    let copier = copier(&source, &target);
    let options = PutOptions { lock: locked(LockMode::Governance), ..PutOptions::default() };
    source.put("small", "1".into(), &options).await.unwrap();
    source.put("large", noise(9 * MIB, 1), &options).await.unwrap();
    source.create_upload("parts", &options).await.unwrap();
    for key in ["small", "large"] {
        let Copied { left_out, .. } = copied(&copier, key).await;
        assert_eq!(left_out.iter().map(|l| l.attribute).collect::<Vec<_>>(), [Attribute::Lock], "{key}");
        assert_eq!(target.bytes(key), source.bytes(key));
    }
    assert_eq!(target.requests(Verb::Put), 3, "the refusal is met once");
    let known = copier.knowing(None, probe(&target, "p/").await.unwrap());
    let Copied { left_out, .. } = copied(&known, "small").await;
    assert!(left_out[0].why.contains("without object lock"), "{left_out:?}");
}

#[tokio::test]
async fn c02_locks_go_over_but_for_those_that_are_over() {
    let (source, target) = (memory_with_locks(), memory_with_locks());
    let copier = copier(&source, &target);
    let lock = Lock { legal_hold: true, ..locked(LockMode::Compliance) };
    let options = PutOptions { lock: lock.clone(), ..PutOptions::default() };
    source.put("k", "1".into(), &options).await.unwrap();
    copied(&copier, "k").await;
    assert_eq!(target.head("k").await.unwrap().lock, lock);
    let off = Lock { legal_hold: false, ..lock.clone() };
    source.put_lock("k", &off).await.unwrap();
    assert_eq!((updated(&copier, "k").await.sent, target.head("k").await.unwrap().lock), (0, off));
    let mut over = locked(LockMode::Governance);
    over.retention.as_mut().unwrap().until = Timestamp::UNIX_EPOCH;
    source.put("over", "1".into(), &PutOptions { lock: over, ..PutOptions::default() }).await.unwrap();
    assert!(copied(&copier, "over").await.left_out.is_empty());
    assert!(target.head("over").await.unwrap().lock.is_open());
    let content_only = copier.keep(Keep::content());
    copied(&content_only, "k").await;
    assert!(target.head("k").await.unwrap().lock.is_open(), "not asked for");
}

#[tokio::test]
async fn c02_locks_go_over_from_a_store_that_tells_of_them_in_a_head_only() {
    let (source, target) = (memory_with_locks(), memory_with_locks());
    let options = PutOptions { lock: locked(LockMode::Governance), ..PutOptions::default() };
    for (told, heads) in [(false, 3), (true, 1)] {
        source.set_lock_in_get(told);
        let copier = copier(&source, &target);
        let before = source.requests(Verb::Head);
        for (key, options) in
            [("open", PutOptions::default()), ("locked", options.clone()), ("open", PutOptions::default())]
        {
            source.put(key, "1".into(), &options).await.unwrap();
            copied(&copier, key).await;
            assert_eq!(target.head(key).await.unwrap().lock, options.lock, "{key}");
        }
        assert_eq!(source.requests(Verb::Head) - before, heads);
    }
}

#[tokio::test]
async fn c02_a_stricter_retention_at_the_target_is_told_and_not_asked_for_again() {
    let (source, target) = (memory_with_locks(), memory_with_locks());
    let copier = copier(&source, &target);
    let put = |lock| PutOptions { lock, ..PutOptions::default() };
    source.put("k", "1".into(), &put(locked(LockMode::Governance))).await.unwrap();
    let mut longer = locked(LockMode::Compliance);
    longer.retention.as_mut().unwrap().until += jiff::SignedDuration::from_hours(1);
    target.put("k", "1".into(), &put(longer.clone())).await.unwrap();
    let Copied { left_out, sent, .. } = updated(&copier, "k").await;
    assert_eq!((left_out[0].attribute, sent), (Attribute::Lock, 0));
    assert_eq!((target.requests(Verb::PutLock), target.head("k").await.unwrap().lock), (1, longer));
}

#[tokio::test]
async fn c02_archived_objects_are_skipped() {
    let (source, target, copier) = pair();
    source.put("small", "1".into(), &PutOptions::default()).await.unwrap();
    source.put("large", noise(9 * MIB, 1), &PutOptions::default()).await.unwrap();
    put_parts(&source, "parts", &[5 * MIB, 10], 1).await;
    source.fault(Fault::always(Verb::Get, Failure::Archived));
    for key in ["small", "large", "parts"] {
        let outcome = copier.copy(&CopyRequest::new(key)).await.unwrap();
        assert_eq!(outcome, Outcome::Skipped(Skipped::Archived), "{key}");
    }
    assert!(target.keys().is_empty() && target.list_uploads("").await.unwrap().is_empty());
}

#[tokio::test]
async fn c02_the_storage_class_goes_over_only_where_that_is_asked_for() {
    let (source, target, copier) = pair();
    let cold = PutOptions { storage_class: Some("STANDARD_IA".into()), ..PutOptions::default() };
    source.put("k", "1".into(), &cold).await.unwrap();
    copied(&copier, "k").await;
    assert_eq!(target.head("k").await.unwrap().storage_class, None);
    let copier = copier.keep(Keep { storage_class: true, ..Keep::default() });
    assert_eq!(updated(&copier, "k").await.sent, 0);
    assert_eq!(target.head("k").await.unwrap().storage_class.as_deref(), Some("STANDARD_IA"));
}

fn grant(grantee: Grantee, permission: Permission) -> Grant {
    Grant { grantee, permission }
}

#[tokio::test]
async fn c02_grants_go_over_in_the_targets_names() {
    let (source, target) = (MemoryStore::new("source"), MemoryStore::new("target"));
    let everybody = Grantee::Group("http://acs.amazonaws.com/groups/global/AllUsers".into());
    let id = |id: &str| Grantee::Id(id.to_owned());
    let shared = vec![
        grant(id("memory"), Permission::FullControl),
        grant(id("ann"), Permission::Read),
        grant(everybody.clone(), Permission::Read),
    ];
    let keep = |ids: &[(&str, &str)]| {
        let ids = ids.iter().map(|(s, t)| ((*s).to_owned(), (*t).to_owned()));
        Keep { grants: Some(ids.collect()), ..Keep::default() }
    };
    // What a copier has found out of the buckets it keeps.
    let new = |ids: &[(&str, &str)]| copier(&source, &target).keep(keep(ids));
    let known = [("memory", "memory"), ("ann", "anna")];
    source.put("off", "1".into(), &PutOptions::default()).await.unwrap();
    copied(&new(&known), "off").await;
    assert_eq!(source.requests(Verb::Acl), 0, "lists are switched off");

    source.set_acls(true);
    source.put("private", "1".into(), &PutOptions::default()).await.unwrap();
    source.put("k", "1".into(), &PutOptions { grants: shared, ..PutOptions::default() }).await.unwrap();
    let Copied { left_out, .. } = copied(&new(&known), "k").await;
    assert_eq!(left_out[0].attribute, Attribute::Acl, "the target has none");
    target.set_acls(true);
    let copier = new(&known);
    assert!(copied(&copier, "private").await.left_out.is_empty());
    assert_eq!(updated(&copier, "k").await.sent, 0);
    let wanted = [
        grant(id("memory"), Permission::FullControl),
        grant(id("anna"), Permission::Read),
        grant(everybody, Permission::Read),
    ];
    assert_eq!(target.acl("k").await.unwrap().grants, wanted);
    let Copied { left_out, .. } = copied(&new(&[]), "k").await;
    let why = "the table of accounts has no id at the target for memory, ann".to_owned();
    assert_eq!(left_out, [LeftOut { attribute: Attribute::Acl, why }]);
}

#[tokio::test]
async fn c02_the_time_goes_over_where_the_target_makes_replicas_or_into_metadata() {
    let written: Timestamp = "2020-02-03T04:05:06Z".parse().unwrap();
    let keep = |created| Keep { created, ..Keep::default() };
    for (probed, kept) in [(true, true), (true, false), (false, true), (false, false)] {
        let (source, target, mut copier) = pair();
        target.set_replicas(kept);
        source.seed("k", "1", written);
        source.seed("large", noise(9 * MIB, 1), written);
        copier = copier.keep(keep(Created::AsReplica));
        if probed {
            copier = copier.knowing(None, probe(&target, "p/").await.unwrap());
        }
        for key in ["k", "large"] {
            let left_out = copied(&copier, key).await.left_out;
            let lacks: Vec<_> = left_out.iter().map(|l| l.attribute).collect();
            assert_eq!(lacks.is_empty(), kept, "{key} {lacks:?}, without a word or not");
            let there = target.head(key).await.unwrap();
            assert_eq!(there.modified == written, kept);
            assert!(there.attributes.metadata.is_empty());
        }
    }
    let (source, target, copier) = pair();
    source.seed("k", "1", written);
    let copier = copier.keep(keep(Created::InMetadata("Created-At".into())));
    copied(&copier, "k").await;
    assert_eq!(target.attributes("k").unwrap().metadata["created-at"], written.to_string());
    updated(&copier, "k").await;
    assert_eq!(target.requests(Verb::Rewrite), 0, "it is no difference");
}

fn able() -> Abilities {
    Abilities {
        conditional_put: true,
        part_heads: true,
        uploads_by_prefix: true,
        bytewise_order: true,
        versioning: Versioning::Enabled,
        tags: Support::Yes,
        acls: Support::Yes,
        locks: true,
        replicas: Support::Yes,
        rewriting: Rewriting::Parts,
        clock_offset: None,
    }
}

#[test]
fn c02_what_cannot_be_held_is_listed_with_its_reason() {
    use Attribute as A;
    let all = Keep { grants: Some(BTreeMap::new()), created: Created::AsReplica, ..Keep::default() };
    let weak = Abilities {
        part_heads: false,
        tags: Support::Denied,
        acls: Support::No,
        locks: false,
        replicas: Support::No,
        ..able()
    };
    let listed = |keep: &Keep, source: Option<&Abilities>, target: &Abilities| {
        cannot_hold(keep, source, target).into_iter().map(|(attribute, _)| attribute).collect::<Vec<_>>()
    };
    assert_eq!(listed(&all, Some(&able()), &able()), [A::Owner]);
    assert_eq!(listed(&all, Some(&able()), &weak), [A::Tags, A::Lock, A::Acl, A::CreationTime, A::Owner]);
    assert_eq!(
        listed(&all, Some(&weak), &weak),
        [A::PartLayout, A::CreationTime, A::Owner],
        "nothing to lose"
    );
    assert_eq!(listed(&all, None, &weak), [A::Tags, A::Lock, A::Acl, A::CreationTime, A::Owner]);
    assert_eq!(listed(&all, None, &able()), [A::Owner]);
    assert_eq!(listed(&Keep::default(), Some(&able()), &able()), [A::CreationTime, A::Owner]);
    let why = &cannot_hold(&all, None, &weak)[0].1;
    assert_eq!(why, "the credentials may not write the tags");
}
