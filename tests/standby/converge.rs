//! Random writes while the worker, the master and the target are killed at random: afterwards everything is equal, and
//! no checkpoint ever ran ahead of the data.
//!
//! `FARSHORE_STANDBY_KILLS=100`: kills of the story (default 6). `FARSHORE_STANDBY_SEED`: of the writes and kills; it
//! is printed.
//!
//! What `SecantusDB` doesn't emit is not part of it: implicit `create` events, split events, `collMod`'s of views and
//! time series, prepared transactions; these are table tests of the feed.

pub mod compare;
pub mod follower;
pub mod writes;

use std::time::{Duration, Instant};

use fastrand::Rng;
use mongodb::bson::{Bson, Document, doc};

use self::{compare::assert_equal, follower::Follower, writes::Writer};
use crate::secantus::Secantus;

/// Longest time until everything has arrived at the end.
const PATIENCE: Duration = Duration::from_secs(90);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// The checkpoint as it lies in the target: cluster time.
async fn checkpoint(target: &Secantus) -> Option<(u32, u32)> {
    let states = target.client.database("farshore").collection::<Document>("state");
    let state = states.find_one(doc! {"_id": "standby"}).await.unwrap()?;
    let place = state.get_document("position").ok()?.get_document("place").ok()?;
    let part = |name: &str| match place.get(name) {
        Some(Bson::Int64(value)) => u32::try_from(*value).unwrap(),
        Some(Bson::Int32(value)) => u32::try_from(*value).unwrap(),
        other => panic!("{name}: {other:?}"),
    };
    let seeded = state.get("seeded_at").is_some_and(|at| *at != Bson::Null);
    seeded.then(|| (part("seconds"), part("increment")))
}

/// Every mark that the master acknowledged before the checkpoint is at the target.
async fn no_checkpoint_ahead_of_data(target: &Secantus, writer: &Writer) {
    let Some(checkpoint) = checkpoint(target).await else { return };
    let marks = target.client.database("shop").collection::<Document>("marks");
    let expected = writer.marks().iter().filter(|(at, _)| *at <= checkpoint).map(|(_, id)| *id).max();
    let Some(expected) = expected else { return };
    // Between a window's record and its end the target is ahead of the checkpoint; it is never behind.
    let there = marks.count_documents(doc! {"_id": {"$lte": expected}}).await.unwrap();
    let all = writer.marks().iter().filter(|(_, id)| *id <= expected).count() as u64;
    assert!(there >= all, "the checkpoint is {checkpoint:?}, and {there} of {all} marks before it are there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d01_d09_d10_whatever_is_killed_both_are_equal_in_the_end() {
    let kills = number("FARSHORE_STANDBY_KILLS").unwrap_or(6);
    let seed = number("FARSHORE_STANDBY_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    println!("FARSHORE_STANDBY_SEED={seed} FARSHORE_STANDBY_KILLS={kills}");
    let mut random = Rng::with_seed(seed);
    let (mut master, mut target) = (Secantus::start().await, Secantus::start().await);
    let mut writer = Writer::new(&master.client, random.fork());
    writer.history(2_000).await;
    let mut follower = Follower::start(&master, &target);
    let mut counts = [0_u32; 3];
    for _ in 0..kills {
        let until = Instant::now() + Duration::from_millis(random.u64(50..2_500));
        while Instant::now() < until {
            writer.write().await;
        }
        let victim = random.usize(..3);
        counts[victim] += 1;
        match victim {
            0 => follower.kill(),
            1 => master.kill(),
            _ => target.kill(),
        }
        std::thread::sleep(Duration::from_millis(random.u64(..300)));
        match victim {
            1 => {
                master.restart().await;
                writer.again(&master.client);
            }
            2 => target.restart().await,
            _ => {}
        }
        no_checkpoint_ahead_of_data(&target, &writer).await;
        if !follower.lives() {
            follower = Follower::start(&master, &target);
        }
    }
    writer.end().await;
    let (end, mut fate) = (Instant::now(), String::new());
    while !follower.has_applied(writer.last()) {
        assert!(end.elapsed() < PATIENCE, "not there yet: {}\nbefore: {fate}", follower.told());
        if !follower.lives() {
            fate = follower.told();
            follower = Follower::start(&master, &target);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    no_checkpoint_ahead_of_data(&target, &writer).await;
    follower.stop();
    assert_equal(&master.client, &target.client).await;
    println!(
        "{} writes, {} transactions, {} aborted, {} definitions; killed: worker {}, master {}, target {}",
        writer.counts.writes,
        writer.counts.transactions,
        writer.counts.aborted,
        writer.counts.definitions,
        counts[0],
        counts[1],
        counts[2]
    );
}
