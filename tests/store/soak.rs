//! Stories under faults (issue 4): a mixed load while workers, stores and connections fail and the feed loses
//! changes. Short here; `make soak` runs the same at length.
//!
//! Each prints its seed and counts. In the environment: `FARSHORE_SOAK_SEED`, `FARSHORE_SOAK_OPERATIONS`,
//! `FARSHORE_SOAK_KILLS`, `FARSHORE_SOAK_RATE` (writes a second) and `FARSHORE_SOAK_OBJECTS`.

#[path = "soak/both.rs"]
mod both;
#[path = "soak/changes.rs"]
mod changes;
#[path = "soak/child.rs"]
mod child;
#[path = "soak/emptied.rs"]
mod emptied;
#[path = "soak/history.rs"]
mod history;
#[path = "soak/load.rs"]
mod load;
#[path = "soak/pair.rs"]
mod pair;
#[path = "soak/server.rs"]
mod server;
#[path = "soak/story.rs"]
mod story;
#[path = "soak/trouble.rs"]
mod trouble;
#[path = "soak/worker.rs"]
mod worker;

use server::Make;

/// A number from the environment.
fn count(name: &str, short: u64) -> u64 {
    std::env::var(format!("FARSHORE_SOAK_{name}")).map_or(short, |text| text.parse().unwrap())
}

const TO_MINIO: &str = "soak::c05_c13_c16_minio_to_minio_through_kills_cuts_and_lost_events";
const EMPTIED: &str = "soak::c14_c18_an_emptied_bucket_stays_at_the_target_and_news_arrive_all_the_same";
const TO_VERSITY: &str = "soak::c05_c13_c16_minio_to_versity_through_kills_cuts_and_lost_events";
const MINIOS: &str =
    "soak::c05_c08_c13_c16_two_minios_that_are_both_written_through_kills_cuts_and_lost_events";
const MINIO_AND_VERSITY: &str =
    "soak::c05_c08_c13_minio_and_versity_that_are_both_written_through_kills_and_cuts";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c05_c13_c16_minio_to_minio_through_kills_cuts_and_lost_events() {
    if let Some(order) = child::ordered() {
        return child::work(order).await;
    }
    story::run(TO_MINIO, (Make::Minio, Make::Minio)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c05_c13_c16_minio_to_versity_through_kills_cuts_and_lost_events() {
    if let Some(order) = child::ordered() {
        return child::work(order).await;
    }
    story::run(TO_VERSITY, (Make::Minio, Make::Versity)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c14_c18_an_emptied_bucket_stays_at_the_target_and_news_arrive_all_the_same() {
    if let Some(order) = child::ordered() {
        return child::work(order).await;
    }
    emptied::run(EMPTIED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c05_c08_c13_c16_two_minios_that_are_both_written_through_kills_cuts_and_lost_events() {
    if let Some(order) = child::ordered() {
        return child::work(order).await;
    }
    pair::run(MINIOS, [Make::Minio, Make::Minio], 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c05_c08_c13_minio_and_versity_that_are_both_written_through_kills_and_cuts() {
    if let Some(order) = child::ordered() {
        return child::work(order).await;
    }
    pair::run(MINIO_AND_VERSITY, [Make::Minio, Make::Versity], 2).await;
}
