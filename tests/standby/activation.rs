//! The target becomes a server of its own, wherever a run breaks off on the way.

use std::{path::Path, sync::Arc, time::Duration};

use farshore::standby::{
    Activate, Endpoint, Moment, Step,
    activation::{Action, Facts, Master, ask, begin, complete, next},
    fence::Fence,
    servers,
    state::{self, Claimed, Phase, State},
};
use jiff::Timestamp;
use mongodb::bson::doc;

use crate::{
    secantus::Secantus,
    state::{held, position, session, start},
};

fn wish() -> Activate {
    Activate {
        requested_at: Timestamp::now(),
        drain_timeout: Duration::from_secs(2),
        accept_split_brain: false,
    }
}

fn facts(master: Master, applied: Option<Moment>) -> Facts {
    Facts { now: Timestamp::now(), wish: wish(), master, applied, known: None }
}

/// A target that follows, at a second of the master.
async fn following(server: &Secantus, run: &str, second: u32) -> Arc<State> {
    let state = held(server, run).await;
    state.begin(&start(1)).await.unwrap();
    state.follow(Timestamp::now()).await.unwrap();
    state.idle(&position(second)).await.unwrap();
    state
}

fn fence(state: &Arc<State>, server: &Secantus) -> Fence {
    Fence::new(Arc::clone(state), Endpoint { uri: server.uri(), credentials: None }, None)
}

async fn fenced() -> Secantus {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fenced.py");
    Secantus::of(Some(&program), &["--sync-on-commit"]).await
}

#[tokio::test]
async fn d13_a_living_master_is_blocked_before_its_last_change_is_asked_for() {
    let master = fenced().await;
    let orders = master.client.database("shop").collection("orders");
    orders.insert_one(doc! {"_id": 1}).await.unwrap();
    let Master::Blocked { last } = ask(&master.client).await else { panic!("not blocked") };
    let status = master.client.database("admin").run_command(doc! {"serverStatus": 1}).await.unwrap();
    assert_eq!(status.get_document("repl").unwrap().get_i32("userWriteBlockMode").unwrap(), 2);
    let Master::Blocked { last: again } = ask(&master.client).await else { panic!("not blocked") };
    assert!(last.place <= again.place && last.place.seconds > 0, "{last:?} {again:?}");

    let target = Secantus::start().await;
    let state = following(&target, "run-1", 1).await;
    let activating = begin(&state, &wish()).await.unwrap();
    let behind = Moment { place: farshore::mongo::Place { increment: 0, ..last.place }, ..last };
    assert_eq!(next(&activating, &facts(Master::Blocked { last }, Some(behind))), Action::ReadOn);
    let Action::Complete(drained) = next(&activating, &facts(Master::Blocked { last }, Some(last))) else {
        panic!("it has all");
    };
    let receipt = complete(&state, &fence(&state, &target), drained).await.unwrap();
    assert!(receipt.proved && receipt.master_answered, "{receipt:?}");
    assert_eq!(receipt.master, Some(last));
}

#[tokio::test]
async fn d13_a_master_that_can_not_be_blocked_or_is_gone_proves_nothing() {
    let mut master = Secantus::start().await;
    let Master::Open { why, .. } = ask(&master.client).await else { panic!("it can't block") };
    assert!(why.contains("setUserWriteBlockMode"), "{why}");
    let endpoint = Endpoint { uri: master.uri(), credentials: None };
    let client = servers::connect(&endpoint, farshore::standby::Side::Master).await.unwrap();
    master.kill();
    assert_eq!(ask(&client).await, Master::Unreachable);
}

#[tokio::test]
async fn d03_an_activation_that_breaks_off_at_any_step_is_ended_by_the_next_run() {
    for breaks_at in [Step::Draining, Step::Sealing, Step::Unfencing] {
        let target = fenced().await;
        let state = following(&target, "run-1", 100).await;
        let mut activating = begin(&state, &wish()).await.unwrap();
        let drained = state::Drained { proved: false, answered: false, master: None };
        if breaks_at > Step::Draining {
            (activating.step, activating.drained) = (breaks_at, Some(drained));
            state.activate(&activating).await.unwrap();
        }
        // The run is killed: the next one finds what it had begun.
        state.let_go().await.unwrap();
        let state = held(&target, "run-2").await;
        let found = begin(&state, &wish()).await.unwrap();
        assert_eq!(found, activating, "{breaks_at:?}");
        let receipt = complete(&state, &fence(&state, &target), drained).await.unwrap();
        assert_eq!((receipt.proved, receipt.data.place.seconds), (false, 100));
        assert!(receipt.took >= Duration::ZERO && receipt.activated_at >= found.started_at);

        let record = state.record();
        assert_eq!(
            (record.phase, record.activation.unwrap().receipt),
            (Phase::Active, Some(receipt.clone()))
        );
        let again = complete(&state, &fence(&state, &target), drained).await.unwrap();
        assert_eq!(again, receipt, "done once");
        state.let_go().await.unwrap();
        let sealed = state::claim(&target.client, &session(&target, "run-3")).await.unwrap();
        assert!(matches!(sealed, Claimed::Sealed(_)), "{sealed:?}");
        let get = doc! {"getParameter": 1, "ttlMonitorEnabled": 1};
        let parameter = target.client.database("admin").run_command(get).await.unwrap();
        assert!(parameter.get_bool("ttlMonitorEnabled").unwrap(), "documents expire again");
    }
}

#[tokio::test]
async fn d10_a_copy_that_was_never_consistent_is_not_activated() {
    let target = Secantus::start().await;
    let state = held(&target, "run-1").await;
    assert_eq!(begin(&state, &wish()).await.unwrap_err().reason(), "NotReady");
    state.begin(&start(1)).await.unwrap();
    assert_eq!(begin(&state, &wish()).await.unwrap_err().reason(), "NotReady");
    assert_eq!(state.record().phase, Phase::Seeding);
}

#[tokio::test]
async fn d03_a_zombie_of_the_same_run_is_refused_after_the_seal() {
    let target = Secantus::start().await;
    let state = following(&target, "run-1", 100).await;
    begin(&state, &wish()).await.unwrap();
    let before = state.record().epoch;
    // Renewals go on beside it.
    let keeping = tokio::spawn({
        let state = Arc::clone(&state);
        async move { state.keep().await }
    });
    let drained = state::Drained { proved: false, answered: false, master: None };
    complete(&state, &fence(&state, &target), drained).await.unwrap();
    assert_eq!(state.record().epoch, before + 1);
    assert!(!state.renew().await.unwrap());
    assert!(!keeping.is_finished(), "the holder itself goes on");
    keeping.abort();
}
