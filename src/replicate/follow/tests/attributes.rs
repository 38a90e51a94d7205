//! What is kept of objects beside their content.

use super::*;
use crate::{
    replicate::{Attribute, Created, Keep},
    store::Tags,
};

fn marked(value: &str) -> PutOptions {
    let metadata = [("mark".to_owned(), value.to_owned())].into();
    PutOptions {
        attributes: crate::store::Attributes { metadata, ..Default::default() },
        ..PutOptions::default()
    }
}

async fn mark_of(store: &MemoryStore, key: &str) -> Option<String> {
    store.head(key).await.unwrap().attributes.metadata.get("mark").cloned()
}

/// A run that keeps this, between two buckets.
fn start_keeping(attributes: Attributes, source: &MemoryStore, target: &MemoryStore) -> Run {
    let mut session = session(source, target, None);
    session.config.attributes = attributes;
    start_session(session, source.clone(), target.clone())
}

#[tokio::test]
async fn c01_c02_c16_a_write_that_changes_attributes_only_is_found_without_a_feed() {
    let long_ago = |hours| Timestamp::now() - jiff::SignedDuration::from_hours(hours);
    let (source, target) = (MemoryStore::new("s"), MemoryStore::new("t"));
    for n in 0..20 {
        source.seed(&format!("k{n:02}"), "1", long_ago(9));
        target.seed(&format!("k{n:02}"), "1", long_ago(8));
    }
    // Content and ETag are the same: a listing shows a later time and nothing else.
    source.put("k07", "1".into(), &marked("new")).await.unwrap();
    let mut run = start(source, target, None);
    let found = run.until("align", |compared| compared.counts.aligned == 1).await;
    assert_eq!((found.counts.unlike_attributes, found.counts.copied), (1, 0));
    assert_eq!(mark_of(&run.target, "k07").await.as_deref(), Some("new"));
    let heads = run.source.requests(Verb::Head);
    let now = Timestamp::now();
    run.until("compare again", |compared| compared.started_at > now).await;
    assert_eq!(run.source.requests(Verb::Head), heads, "what was looked at costs nothing more");
    run.end().await;
}

#[tokio::test]
async fn c02_what_is_asked_for_anew_is_brought_to_all_objects_once() {
    let (source, target) = (MemoryStore::new("s"), MemoryStore::new("t"));
    for n in 0..20 {
        source.put(&format!("k{n:02}"), "1".into(), &PutOptions::default()).await.unwrap();
        target.put(&format!("k{n:02}"), "1".into(), &PutOptions::default()).await.unwrap();
    }
    let keep = Keep { created: Created::InMetadata("mark".into()), ..Keep::default() };
    let attributes = Attributes { keep, asked: Some("mark".into()), every: None };
    target.fault(Fault::once(Verb::Rewrite, Failure::AccessDenied));
    let mut run = start_keeping(attributes, &source, &target);
    let first = run.until("look at all", |_| true).await;
    assert_eq!((first.counts.unlike_attributes, first.counts.aligned, first.counts.failed), (20, 19, 1));
    assert!(first.memory.synced_until.is_none() && first.memory.looked.is_none(), "the next run looks again");
    let second = run.until("compare again", |_| true).await;
    assert_eq!((second.counts.unlike_attributes, second.counts.aligned), (1, 1), "only what had failed");
    assert!(second.memory.synced_until.is_some());
    assert_eq!(second.memory.looked.unwrap().asked, "mark");
    for n in 0..20 {
        let written = source.head(&format!("k{n:02}")).await.unwrap().modified.to_string();
        assert_eq!(mark_of(&target, &format!("k{n:02}")).await, Some(written));
    }
    run.end().await;
}

#[tokio::test]
async fn c02_what_copies_lack_is_told_by_a_comparison_and_by_those_after_it() {
    let (source, target) = (MemoryStore::new("s"), MemoryStore::new("t"));
    let tags = PutOptions { tags: [("t".to_owned(), "1".to_owned())].into(), ..PutOptions::default() };
    for n in 0..3 {
        let key = format!("k{n}");
        source.put(&key, "1".into(), &tags).await.unwrap();
        target.fault(Fault::once(Verb::Put, Failure::Unsupported(crate::store::TAGS)).on(&key));
    }
    let mut run = start(source, target, None);
    for _ in 0..2 {
        let compared = run.until("tell", |_| true).await;
        let (attribute, lack) = compared.memory.lacks.iter().next().expect("tags");
        assert_eq!((attribute, lack.copies), (Attribute::Tags, 3));
        assert!(lack.example.as_ref().is_some_and(|key| key.starts_with('k')) && lack.why.contains("tags"));
        assert_eq!(compared.counts.failed, 0);
    }
    run.end().await;
}

/// Of two buckets that are both written: tags that changed unheard on either side, and metadata that a later write
/// changed.
#[tokio::test]
async fn c02_c08_c16_tags_of_which_nobody_knows_when_they_changed_are_told_of_and_left() {
    let buckets = [MemoryStore::new("b"), MemoryStore::new("b")];
    let tags = |value: &str| [("t".to_owned(), value.to_owned())].into();
    for store in &buckets {
        store.set_versioning(Versioning::Enabled);
        for key in ["metadata", "tagged-here", "tagged-there", "same"] {
            store.put(key, "1".into(), &marked("old")).await.unwrap();
        }
        store.put_tags("same", &tags("same")).await.unwrap();
    }
    let [here, there] = &buckets;
    here.put_tags("tagged-here", &tags("1")).await.unwrap();
    there.put_tags("tagged-there", &tags("2")).await.unwrap();
    there.put("metadata", "1".into(), &marked("new")).await.unwrap();
    let every = Some(Duration::from_millis(100));
    let mut runs = [(here, there, ["a", "b"]), (there, here, ["b", "a"])].map(|(from, to, regions)| {
        let migrated = Some(Migrated { at: Timestamp::now(), objects: 4, bytes: 4 });
        let mut session = session(from, to, Memory { migrated, ..Memory::default() });
        let [source_region, target_region] = regions.map(str::to_owned);
        session.config.mutual = Some(Mutual { source_region, target_region });
        session.config.attributes = Attributes { keep: Keep::default(), asked: Some("a".into()), every };
        start_session(session, from.clone(), to.clone())
    });
    let told = |compared: &Compared| {
        compared.memory.lacks.iter().map(|(attribute, lack)| (attribute, lack.copies)).collect::<Vec<_>>()
    };
    for run in &mut runs {
        let found = run.until("tell of both", |compared| told(compared) == [(Attribute::Tags, 2)]).await;
        let (_, lack) = found.memory.lacks.iter().next().unwrap();
        assert!(
            lack.why.contains("nobody can say")
                && lack.example.as_ref().is_some_and(|key| key.starts_with("tagged"))
        );
        assert_eq!((found.counts.failed, found.counts.unlike_attributes), (0, found.counts.aligned));
    }
    // The later write won; tags are as they were.
    for store in &buckets {
        assert_eq!(mark_of(store, "metadata").await.as_deref(), Some("new"));
    }
    assert_eq!(
        (here.tags("tagged-here").await.unwrap(), there.tags("tagged-here").await.unwrap()),
        (tags("1"), Tags::new())
    );
    assert_eq!(
        (here.tags("tagged-there").await.unwrap(), there.tags("tagged-there").await.unwrap()),
        (Tags::new(), tags("2"))
    );
    // Somebody decides; nobody hears of that either.
    there.put_tags("tagged-here", &tags("1")).await.unwrap();
    here.put_tags("tagged-there", &tags("2")).await.unwrap();
    let mut repaired = 0;
    for mut run in runs {
        let last = run.until("have nothing to tell", |compared| told(compared).is_empty()).await;
        repaired += last.memory.repaired;
        run.end().await;
    }
    assert_eq!(repaired, 1, "the metadata, by one of both");
}
