//! A mixed load on both buckets of a mutual pair: the same keys at both sides, by writers that know only their own.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use farshore::store::{ETag, Error, ObjectStore, s3::S3Store};
use fastrand::Rng;
use jiff::Timestamp;

use super::{
    changes::Changes,
    history::State,
    load::{self, Body, Deed, NUMBER},
};

/// Writers at a side, each with keys of its own there.
const WRITERS: u64 = 2;
/// What can be seen for so long is written to its end.
const WRITTEN: Duration = Duration::from_millis(300);

/// A load under way.
#[derive(Debug)]
pub struct Both {
    stores: [S3Store; 2],
    /// What that side's store writes is there as a whole or not at all, and has a time of its own, attributes too.
    whole: [bool; 2],
    pub changes: Mutex<Changes>,
    /// What was put under a number, whether it arrived or not.
    bodies: Mutex<BTreeMap<u64, Body>>,
    wanted: u64,
    made: AtomicU64,
    numbers: AtomicU64,
    counts: Mutex<BTreeMap<String, u64>>,
    pause: Duration,
}

impl Both {
    /// So many writes, about so many of them a second.
    pub fn new(stores: [S3Store; 2], whole: [bool; 2], wanted: u64, per_second: u64) -> Arc<Self> {
        Arc::new(Self {
            stores,
            whole,
            changes: Mutex::default(),
            bodies: Mutex::default(),
            wanted,
            made: AtomicU64::new(0),
            numbers: AtomicU64::new(1),
            counts: Mutex::default(),
            pause: Duration::from_secs(2 * WRITERS) / u32::try_from(per_second).unwrap(),
        })
    }

    /// Writes made so far.
    pub fn made(&self) -> u64 {
        self.made.load(SeqCst).min(self.wanted)
    }

    /// How often what was done, and how it ended.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap().clone()
    }

    /// What was put under a number.
    pub fn body(&self, number: u64) -> Body {
        self.bodies.lock().unwrap()[&number]
    }

    /// Writes until all is written.
    pub async fn run(self: &Arc<Self>, keys: &[String], rng: &mut Rng) {
        let mut writers = tokio::task::JoinSet::new();
        let share = keys.len().div_ceil(usize::try_from(WRITERS).unwrap());
        for side in 0..2 {
            for keys in keys.chunks(share) {
                let (load, keys, rng) = (Arc::clone(self), keys.to_vec(), rng.fork());
                writers.spawn(async move { load.write(side, &keys, rng).await });
            }
        }
        writers.join_all().await;
    }

    async fn write(&self, side: usize, keys: &[String], mut rng: Rng) {
        while self.made.fetch_add(1, SeqCst) < self.wanted {
            let key = &keys[rng.usize(..keys.len())];
            self.write_one((side, key), &mut rng).await;
            tokio::time::sleep(self.pause.mul_f64(rng.f64() * 2.0)).await;
        }
    }

    async fn write_one(&self, place @ (side, key): (usize, &str), rng: &mut Rng) {
        let (seen, etag) = self.settled(place).await;
        let deed = match load::choose(seen, rng) {
            Deed::Attributes if !self.whole[side] => Deed::PutSame,
            deed => deed,
        };
        let number = self.numbers.fetch_add(1, SeqCst);
        let state = if deed == Deed::Delete { State::Absent } else { State::Holds(number) };
        let body = self.content(deed, seen, number, rng);
        let repeats =
            matches!(deed, Deed::PutSame | Deed::Attributes) || deed != Deed::Delete && body.size == 0;
        let ticket = self.changes.lock().unwrap().begin(place, seen, (state, repeats), Timestamp::now());
        let mut options = load::options(number, rng);
        // Where that is not dated it is spelt in two ways, too.
        if self.whole.contains(&false) {
            options.attributes.metadata.remove("word");
        }
        let done = load::attempt(&self.stores[side], deed, key, (body, etag), &options).await;
        let how = match done {
            Ok(()) => "done",
            Err(Error::Unsupported { .. }) => panic!("{key:?}: {done:?}"),
            // What was seen there is there no more.
            Err(Error::Changed(_) | Error::NotFound(_)) => "refused",
            Err(_) if self.look(place).await.0 == state => "done, answer lost",
            Err(_) => "unknown",
        };
        let mut changes = self.changes.lock().unwrap();
        match how {
            "refused" => changes.is_refused(key, ticket),
            "unknown" => changes.is_unknown(key, ticket),
            _ => changes.is_done(place, ticket, Timestamp::now()),
        }
        *self.counts.lock().unwrap().entry(format!("{deed:?} {how}")).or_default() += 1;
    }

    /// Noted before it is put: the other side may see it at once.
    fn content(&self, deed: Deed, seen: State, number: u64, rng: &mut Rng) -> Body {
        let mut bodies = self.bodies.lock().unwrap();
        let body = match (deed, seen) {
            (Deed::PutSame | Deed::Attributes, State::Holds(seen)) => bodies[&seen],
            (Deed::PutInParts, _) => load::in_parts(number, rng),
            _ => Body { seed: number, size: load::size(rng) },
        };
        bodies.insert(number, body);
        body
    }

    /// What a side holds, once that is written to its end: what comes before may be lost, though the store has said
    /// that it is done (seen: a delete at `VersityGW` 1.8, of an object that a reader had seen while it was being put).
    async fn settled(&self, place @ (side, _): (usize, &str)) -> (State, Option<ETag>) {
        let mut seen = self.look(place).await;
        if self.whole[side] {
            return seen;
        }
        loop {
            tokio::time::sleep(WRITTEN).await;
            let before = seen.0;
            seen = self.look(place).await;
            if seen.0 == before {
                return seen;
            }
        }
    }

    /// What a side holds, once it answers.
    async fn look(&self, (side, key): (usize, &str)) -> (State, Option<ETag>) {
        loop {
            match self.stores[side].head(key).await {
                Ok(info) if info.attributes.metadata.contains_key(NUMBER) => {
                    let number = info.attributes.metadata[NUMBER].parse().unwrap();
                    return (State::Holds(number), Some(info.etag));
                }
                Err(Error::NotFound(_)) => return (State::Absent, None),
                // It was killed a moment ago, or shows half an object.
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}
