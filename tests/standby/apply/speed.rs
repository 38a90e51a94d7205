//! How fast windows are applied, beside a plain loop that writes the same documents to the same server.

use std::time::{Duration, Instant};

use farshore::standby::journal::Journal;
use mongodb::bson::{Document, doc};

use super::{following, orders, put, window};
use crate::secantus::Secantus;

const WINDOWS: i64 = 5;
const CHANGES: i64 = 2_000;

fn document(id: i64, round: i64) -> Document {
    doc! {"_id": id, "round": round, "customer": format!("customer {id}"), "text": "x".repeat(120), "lines": [1, 2, 3]}
}

async fn plain(server: &Secantus, round: i64) -> Duration {
    let begun = Instant::now();
    for page in 0..WINDOWS * CHANGES / 1_000 {
        let updates: Vec<Document> = (page * 1_000..(page + 1) * 1_000)
            .map(|id| doc! {"q": {"_id": id}, "u": document(id, round), "upsert": true})
            .collect();
        let command =
            doc! {"update": "plain", "updates": updates, "ordered": false, "writeConcern": {"w": "majority"}};
        server.client.database("shop").run_command(command).await.unwrap();
    }
    begun.elapsed()
}

#[tokio::test]
#[ignore = "a measurement, for a quiet machine: cargo test --release --test standby speed -- --ignored --nocapture"]
async fn d01_applying_is_about_as_fast_as_a_plain_loop() {
    let server = Secantus::with(&[]).await;
    let (state, mut applier) = following(&server).await;
    let journal = Journal::new(state.target().clone());
    let of = orders();
    let mut ratios = Vec::new();
    for round in 0..3 {
        let plain = plain(&server, round).await;
        state.renew().await.unwrap();
        let begun = Instant::now();
        let mut next = None;
        for number in 0..=WINDOWS {
            let made = (number < WINDOWS).then(|| {
                let changes =
                    (number * CHANGES..(number + 1) * CHANGES).map(|id| put(&of, document(id, round)));
                let mut window = window(number + round * WINDOWS + 1, Vec::new());
                let position = window.groups[0].position.clone();
                window.groups = changes
                    .map(|change| farshore::standby::feed::Group {
                        changes: vec![change],
                        position: position.clone(),
                    })
                    .collect();
                window
            });
            let written = async {
                if let Some(window) = &made {
                    journal.write(window).await.unwrap();
                }
            };
            let done = async {
                if let Some(window) = next.take() {
                    applier.write(window, false).await.unwrap();
                }
            };
            tokio::join!(written, done);
            next = made;
        }
        let ours = begun.elapsed();
        journal.forget(state.record().window).await.unwrap();
        ratios.push(plain.as_secs_f64() / ours.as_secs_f64());
        eprintln!("round {round}: plain {plain:?}, windows {ours:?}");
    }
    ratios.sort_by(f64::total_cmp);
    assert!(ratios[1] >= 0.8, "{ratios:?} of the rate of a plain loop");
}
