//! Random histories, broken off at random moments, against a model in memory.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use farshore::{
    mongo::{Change, Define, Namespace},
    standby::{
        apply::Applier,
        journal::Journal,
        state::{Claimed, State, claim},
        window::Window,
    },
};
use jiff::Timestamp;
use mongodb::bson::{Document, doc};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};

use super::{documents, put, remove, unique, update, window};
use crate::{
    secantus::Secantus,
    state::{session, start},
};

type Model = BTreeMap<String, BTreeMap<i32, Document>>;

/// What a user tries; the master takes it, or doesn't.
#[derive(Clone, Debug)]
enum Try {
    Put(u8, i32, i32),
    Update(u8, i32, i32),
    Remove(u8, i32),
    /// Two documents change what is unique of them, in one transaction.
    Swap(u8, i32, i32),
    Rename(u8, u8),
    Drop(u8),
}

fn attempt() -> impl Strategy<Value = Try> {
    let (of, id, value) = (|| 0..3_u8, || 0..6_i32, || 0..8_i32);
    prop_oneof![
        8 => (of(), id(), value()).prop_map(|(of, id, value)| Try::Put(of, id, value)),
        8 => (of(), id(), value()).prop_map(|(of, id, value)| Try::Update(of, id, value)),
        4 => (of(), id()).prop_map(|(of, id)| Try::Remove(of, id)),
        6 => (of(), id(), id()).prop_map(|(of, one, other)| Try::Swap(of, one, other)),
        1 => (of(), of()).prop_map(|(from, to)| Try::Rename(from, to)),
        1 => of().prop_map(Try::Drop),
    ]
}

fn name(of: u8) -> Namespace {
    Namespace::new("shop", ["orders", "people", "places"][usize::from(of)])
}

/// The master: what it holds, and what it did.
#[derive(Default)]
struct Master {
    holds: Model,
    did: Vec<Change>,
}

impl Master {
    /// With three collections, each of which has something unique.
    fn new() -> Self {
        let mut master = Self::default();
        for of in 0..3 {
            master.create(of);
        }
        master
    }

    fn create(&mut self, of: u8) {
        let namespace = name(of);
        self.holds.insert(namespace.collection.clone(), BTreeMap::new());
        self.did.push(Change::Define(Define::Create { namespace: namespace.clone(), options: doc! {} }));
        self.did.push(Change::Define(unique(&namespace, "mine")));
    }

    fn of(&mut self, of: u8) -> &mut BTreeMap<i32, Document> {
        self.holds.get_mut(&name(of).collection).unwrap()
    }

    fn is_taken(&mut self, of: u8, id: i32, value: i32) -> bool {
        self.of(of)
            .iter()
            .any(|(other, document)| *other != id && document.get_i32("mine").is_ok_and(|mine| mine == value))
    }

    fn take(&mut self, attempt: &Try) {
        match *attempt {
            Try::Put(of, id, value) if !self.is_taken(of, id, value) => {
                self.put(of, doc! {"_id": id, "mine": value, "old": [id]});
            }
            Try::Update(of, id, value) if !self.is_taken(of, id, value) => self.update(of, id, value),
            Try::Remove(of, id) if self.of(of).remove(&id).is_some() => self.did.push(remove(&name(of), id)),
            Try::Swap(of, one, other) if one != other => self.swap(of, one, other),
            Try::Rename(from, to) if from != to => {
                let moved = self.holds.remove(&name(from).collection).unwrap();
                self.holds.insert(name(to).collection, moved);
                self.did.push(Change::Define(Define::Rename { from: name(from), to: name(to) }));
                self.create(from);
            }
            Try::Drop(of) => {
                self.did.push(Change::Define(Define::Drop { namespace: name(of) }));
                self.create(of);
            }
            _ => {}
        }
    }

    fn put(&mut self, of: u8, document: Document) {
        self.did.push(put(&name(of), document.clone()));
        self.of(of).insert(document.get_i32("_id").unwrap(), document);
    }

    fn update(&mut self, of: u8, id: i32, value: i32) {
        let set = doc! {"mine": value, format!("seen.{value}"): true};
        let change = update(&name(of), id, set);
        let Some(document) = self.of(of).get_mut(&id) else { return };
        if let Change::Update { update, .. } = &change {
            update.apply(document).unwrap();
        }
        self.did.push(change);
    }

    /// By way of a value that nobody has.
    fn swap(&mut self, of: u8, one: i32, other: i32) {
        let mine = |document: &Document| document.get_i32("mine").unwrap();
        let (Some(a), Some(b)) = (self.of(of).get(&one).map(mine), self.of(of).get(&other).map(mine)) else {
            return;
        };
        self.update(of, one, -1);
        self.update(of, other, a);
        self.update(of, one, b);
    }
}

/// Runs that have the target one after another.
struct Runs<'a> {
    server: &'a Secantus,
    number: std::cell::Cell<u32>,
}

impl Runs<'_> {
    async fn next(&self) -> (Arc<State>, Applier, Journal) {
        self.number.set(self.number.get() + 1);
        let session = session(self.server, &format!("run-{:06}", self.number.get()));
        let Claimed::Held { state, .. } = claim(&self.server.client, &session).await.unwrap() else {
            panic!("sealed")
        };
        let applier = Applier::open(Arc::clone(&state), None).await.unwrap();
        let journal = Journal::new(state.target().clone());
        (state, applier, journal)
    }

    /// Does a window, and is broken off so many microseconds later, if it isn't through by then.
    async fn broken(&self, window: Window, after: Duration) {
        let (state, mut applier, journal) = self.next().await;
        journal.write(&window).await.unwrap();
        let lease = state.target().lease().clone();
        let cut = async {
            tokio::time::sleep(after).await;
            lease.end();
        };
        let (written, ()) = tokio::join!(applier.write(window, false), cut);
        if let Err(error) = written {
            assert_eq!(error.reason(), "Superseded", "{error}");
        }
        state.let_go().await.unwrap();
    }

    /// Ends what was begun.
    async fn recover(&self) -> (Arc<State>, u64) {
        let (state, mut applier, journal) = self.next().await;
        for number in journal.windows(state.record().window).await.unwrap() {
            applier.write(journal.read(number).await.unwrap(), true).await.unwrap();
        }
        journal.forget(state.record().window).await.unwrap();
        let repeated = state.record().counts.repeated;
        state.let_go().await.unwrap();
        (state, repeated)
    }
}

async fn compare(runs: &Runs<'_>, history: &[Vec<Try>], cuts: &[u64]) -> Result<u64, TestCaseError> {
    let (state, ..) = runs.next().await;
    state.empty().await.unwrap();
    state.begin(&start(1)).await.unwrap();
    state.follow(Timestamp::now()).await.unwrap();
    state.let_go().await.unwrap();
    let (mut master, mut repeated) = (Master::new(), 0);
    for (number, (attempts, cut)) in (1..).zip(history.iter().zip(cuts.iter().cycle())) {
        for attempt in attempts {
            master.take(attempt);
        }
        let done = std::mem::take(&mut master.did);
        if done.is_empty() {
            break;
        }
        runs.broken(window(number, done), Duration::from_micros(*cut)).await;
        let (state, again) = runs.recover().await;
        repeated = again;
        prop_assert_eq!(state.record().window, number);
        prop_assert_eq!(&documents(&runs.server.client).await, &master.holds, "after window {}", number);
    }
    Ok(repeated)
}

#[test]
fn d10_a_history_that_is_broken_off_anywhere_ends_as_the_master_has_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let server = runtime.block_on(Secantus::with(&[]));
    let runs = Runs { server: &server, number: std::cell::Cell::new(0) };
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(16);
    let mut runner = TestRunner::new(Config { cases, max_shrink_iters: 64, ..Config::default() });
    let history = prop::collection::vec(prop::collection::vec(attempt(), 1..30), 1..4);
    let repeated = std::cell::Cell::new(0);
    let ran = runner.run(&(history, prop::collection::vec(0..40_000_u64, 1..4)), |(history, cuts)| {
        let again = runtime.block_on(compare(&runs, &history, &cuts))?;
        repeated.set(repeated.get() + again);
        Ok(())
    });
    ran.unwrap();
    assert!(repeated.get() > 0, "no window was ever broken off");
}
