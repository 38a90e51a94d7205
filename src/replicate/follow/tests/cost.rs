//! What it costs to follow buckets in which nothing happens.

use super::*;

/// Two buckets that hold the same, in two pages each.
fn two_pages() -> [MemoryStore; 2] {
    ["a", "b"].map(|name| {
        let store = MemoryStore::new(name);
        for key in 0..1600 {
            store.seed(&format!("k{key:04}"), "v1", Timestamp::now());
        }
        store
    })
}

#[tokio::test]
async fn c05_a_bucket_of_some_pages_is_listed_page_by_page_and_no_more() {
    let [source, target] = two_pages();
    let mut run = start(source, target, None);
    run.until("compare", |compared| compared.counts.alike == 1600).await;
    let before = [&run.source, &run.target].map(|store| store.requests(Verb::List));
    run.until("compare again", |compared| compared.counts.alike == 1600).await;
    let after = [&run.source, &run.target].map(|store| store.requests(Verb::List));
    assert_eq!([after[0] - before[0], after[1] - before[1]], [2, 2], "pages of a thousand");
    run.end().await;
}

#[tokio::test]
async fn c05_the_next_shift_knows_how_many_objects_there_are_and_lists_them_once() {
    let [source, target] = two_pages();
    let mut first = start(source.clone(), target.clone(), None);
    let known = first.until("compare", |compared| compared.counts.alike == 1600).await.memory;
    first.end().await;
    let before = [&source, &target].map(|store| store.requests(Verb::List));
    let mut session = session(&source, &target, known);
    session.config.least_period = Duration::from_mins(1);
    let mut second = start_session(session, source.clone(), target.clone());
    second.until("compare", |compared| compared.counts.alike == 1600).await;
    let after = [&source, &target].map(|store| store.requests(Verb::List));
    second.end().await;
    // The source's two pages; at the target as many, and two questions whether both are one place.
    assert_eq!([after[0] - before[0], after[1] - before[1]], [2, 4]);
}
