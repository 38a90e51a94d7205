//! One run at a time has a target, and what it wrote down is there for the next one.

use std::{sync::Arc, time::Duration};

use farshore::{
    mongo::Place,
    standby::{
        Activate, Counts, Endpoint, Error, Session, Step,
        feed::Position,
        state::{self, Activating, Checkpoint, Claimed, Phase, Start, State},
    },
};
use jiff::Timestamp;
use mongodb::bson::{DateTime, Document, doc};

use crate::secantus::Secantus;

pub fn session(server: &Secantus, run: &str) -> Session {
    let endpoint = Endpoint { uri: server.uri(), credentials: None };
    Session {
        master: endpoint.clone(),
        target: endpoint,
        owner: "shop/orders".to_owned(),
        run: run.to_owned(),
        resync: None,
    }
}

pub fn position(seconds: u32) -> Position {
    let place = Place { seconds, increment: 1 };
    let wall = Some(Timestamp::from_second(i64::from(seconds)).unwrap());
    Position { place, wall, token: Some(doc! {"_data": format!("82{seconds:08X}")}) }
}

pub fn start(seconds: u32) -> Start {
    Start { position: position(seconds), replica_set_id: Some("one".to_owned()) }
}

/// Takes the target, which must be free.
pub async fn held(server: &Secantus, run: &str) -> Arc<State> {
    held_or_anew(server, &session(server, run)).await.0
}

async fn held_or_anew(server: &Secantus, session: &Session) -> (Arc<State>, bool) {
    match state::claim(&server.client, session).await.unwrap() {
        Claimed::Held { state, anew } => (state, anew),
        sealed @ Claimed::Sealed(_) => panic!("{sealed:?}"),
    }
}

async fn reason(server: &Secantus, session: &Session) -> &'static str {
    state::claim(&server.client, session).await.unwrap_err().reason()
}

#[tokio::test]
async fn d10_a_later_run_is_let_in_at_once_and_the_earlier_one_writes_no_more() {
    let server = Secantus::start().await;
    let first = held(&server, "run-1").await;
    assert!(!first.renew().await.unwrap(), "nobody wants it");
    first.begin(&start(7)).await.unwrap();

    let begun = std::time::Instant::now();
    let later = session(&server, "run-2");
    let hand_over = async {
        first.keep().await.unwrap();
        first.let_go().await.unwrap();
    };
    let ((second, anew), ()) = tokio::join!(held_or_anew(&server, &later), hand_over);
    assert!(begun.elapsed() < Duration::from_secs(4), "a shift costs little: {:?}", begun.elapsed());
    assert!(!anew);
    assert_eq!(second.record().start, Some(start(7)));
    assert_eq!((second.record().epoch, second.record().successor), (2, None));

    let insert = doc! {"insert": "orders", "documents": [{"_id": 1}]};
    let late = first.target().write("shop", insert, "inserting").await;
    assert!(matches!(late, Err(Error::Superseded(_))), "{late:?}");
    assert!(matches!(first.renew().await, Err(Error::Superseded(_))));
    assert_eq!(reason(&server, &session(&server, "run-1")).await, "Superseded");
}

#[tokio::test]
async fn d10_a_run_that_was_killed_is_succeeded_when_its_lease_is_over() {
    let server = Secantus::start().await;
    let first = held(&server, "run-1").await;
    let claiming = session(&server, "run-2");
    let early = tokio::time::timeout(Duration::from_secs(1), state::claim(&server.client, &claiming)).await;
    assert!(early.is_err(), "it may still be writing");

    // As if it were silent since then.
    let long_ago = DateTime::from_millis(DateTime::now().timestamp_millis() - 15_000);
    let records = server.client.database("farshore").collection::<Document>("state");
    records.update_one(doc! {}, doc! {"$set": {"renewed_at": long_ago}}).await.unwrap();
    let second = held(&server, "run-2").await;
    assert_eq!(second.record().epoch, 2);
    let checkpoint =
        Checkpoint { window: 1, parts: 0, position: None, counts: Counts::default(), noted: None };
    assert!(matches!(first.checkpoint(&checkpoint).await, Err(Error::Superseded(_))));
    assert_eq!(held_window(&server).await, 0);
}

async fn held_window(server: &Secantus) -> i64 {
    let records = server.client.database("farshore").collection::<Document>("state");
    records.find_one(doc! {}).await.unwrap().unwrap().get_i64("window").unwrap()
}

#[tokio::test]
async fn d10_the_checkpoint_outlives_server_and_run() {
    let mut server = Secantus::start().await;
    let first = held(&server, "run-1").await;
    first.begin(&start(7)).await.unwrap();
    first.copied(Place { seconds: 9, increment: 2 }).await.unwrap();
    let counts = Counts { changes: 5, transactions: 1, repeated: 0, refetched: 2 };
    let checkpoint = Checkpoint {
        window: 3,
        parts: 0,
        position: Some(position(8)),
        counts,
        noted: Some(vec![5, 0, 0, 0, 0]),
    };
    first.checkpoint(&checkpoint).await.unwrap();
    first.let_go().await.unwrap();
    server.restart().await;
    let record = held(&server, "run-2").await.record();
    assert_eq!(record.phase, Phase::CatchingUp);
    assert_eq!(record.consistent_at, Some(Place { seconds: 9, increment: 2 }));
    assert_eq!((record.window, record.position, record.counts), (3, Some(position(8)), counts));
    assert_eq!(record.noted.unwrap().bytes, [5, 0, 0, 0, 0]);
}

#[tokio::test]
async fn d04_a_target_with_foreign_data_or_of_another_owner_is_refused() {
    let server = Secantus::start().await;
    let orders = server.client.database("shop").collection("orders");
    orders.insert_one(doc! {"_id": 1}).await.unwrap();
    let mine = session(&server, "run-1");
    assert_eq!(reason(&server, &mine).await, "TargetNotEmpty");
    assert_eq!(orders.count_documents(doc! {}).await.unwrap(), 1);
    server.client.database("shop").drop().await.unwrap();

    held(&server, "run-1").await.let_go().await.unwrap();
    let other = Session { owner: "bank/orders".to_owned(), ..session(&server, "run-9") };
    assert_eq!(reason(&server, &other).await, "TargetTaken");
}

#[tokio::test]
async fn d09_a_copy_is_made_anew_on_request_only() {
    let server = Secantus::start().await;
    let first = held(&server, "run-1").await;
    first.begin(&start(7)).await.unwrap();
    let orders = server.client.database("shop").collection("orders");
    orders.insert_one(doc! {"_id": 1}).await.unwrap();
    first.let_go().await.unwrap();

    let later = Timestamp::now() + Duration::from_mins(1);
    let wish = Session { resync: Some(later), ..session(&server, "run-2") };
    let (second, anew) = held_or_anew(&server, &wish).await;
    assert!(anew);
    second.empty().await.unwrap();
    assert_eq!(orders.count_documents(doc! {}).await.unwrap(), 0);
    let record = second.record();
    assert_eq!((record.phase, record.position, record.start), (Phase::Empty, None, None));
}

#[tokio::test]
async fn d03_what_was_activated_is_sealed_against_every_run() {
    let server = Secantus::start().await;
    let first = held(&server, "run-1").await;
    first.begin(&start(7)).await.unwrap();
    let wish = Activate {
        requested_at: Timestamp::now(),
        drain_timeout: Duration::from_secs(1),
        accept_split_brain: false,
    };
    let mut activating = Activating::begin(&wish, Timestamp::now());
    first.activate(&activating).await.unwrap();
    assert_eq!(first.record().phase, Phase::Activating);
    assert_eq!(first.empty().await.unwrap_err().reason(), "TargetSealed");
    activating.step = Step::Active;
    first.activate(&activating).await.unwrap();
    first.let_go().await.unwrap();

    let orders = server.client.database("shop").collection("orders");
    orders.insert_one(doc! {"_id": 1}).await.unwrap();
    let resync = Session { resync: Some(Timestamp::MAX), ..session(&server, "run-2") };
    match state::claim(&server.client, &resync).await.unwrap() {
        Claimed::Sealed(record) => assert_eq!(record.activation, Some(activating)),
        held @ Claimed::Held { .. } => panic!("{held:?}"),
    }
    let other = Session { owner: "bank/orders".to_owned(), ..session(&server, "run-3") };
    assert_eq!(reason(&server, &other).await, "TargetSealed");
    assert_eq!(orders.count_documents(doc! {}).await.unwrap(), 1);
}
