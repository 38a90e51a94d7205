//! What it costs to follow buckets in which nothing happens.

use super::*;

#[tokio::test]
async fn c05_a_bucket_of_some_pages_is_listed_page_by_page_and_no_more() {
    let [source, target] = ["a", "b"].map(MemoryStore::new);
    for key in 0..1600 {
        for store in [&source, &target] {
            store.seed(&format!("k{key:04}"), "v1", Timestamp::now());
        }
    }
    let mut run = start(source, target, None);
    run.until("compare", |compared| compared.counts.alike == 1600).await;
    let before = [&run.source, &run.target].map(|store| store.requests(Verb::List));
    run.until("compare again", |compared| compared.counts.alike == 1600).await;
    let after = [&run.source, &run.target].map(|store| store.requests(Verb::List));
    assert_eq!([after[0] - before[0], after[1] - before[1]], [2, 2], "pages of a thousand");
    run.end().await;
}
