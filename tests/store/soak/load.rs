//! A mixed load on a bucket, from a seed, with a history of what the store said was done.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use farshore::store::{Attributes, Context, ETag, Error, ObjectStore, PutOptions, Tags, s3::S3Store};
use fastrand::Rng;
use jiff::Timestamp;

use super::history::{History, State};
use crate::suite::{noise, streamed};

/// Writers at a time, each with keys of its own.
const WRITERS: u64 = 4;
/// One write of so many is in parts.
const PARTS: u64 = 150;
const MIB: usize = 1 << 20;
/// In an object's metadata: the number of the write that left it so.
pub const NUMBER: &str = "number";

/// Names that trip clients and stores.
const NAMES: [&str; 15] = [
    "plain",
    "a b",
    "plus+and%2Bpercent",
    "q?x=1&y=2#z",
    "it's \"quoted\" <&>",
    "ä-ö-ü",
    "日本",
    "emoji-🦀",
    "e\u{301}-decomposed",
    "\u{e9}-composed",
    "tilde~star*(paren)!",
    "colon:semi;comma,at@eq=$",
    "brace{}pipe|caret^tick`",
    "trailing.",
    "...dots",
];
const FOLDERS: [&str; 5] = ["", "d/", "ü b+/", "x/y/z/", "%2F/k=v&w/"];

/// So many keys, the last ones of 1,000 bytes and more.
pub fn keys(count: usize) -> Vec<String> {
    let key = |n: usize| {
        let folder = FOLDERS[n / NAMES.len() % FOLDERS.len()];
        format!("{folder}{}-{n}", NAMES[n % NAMES.len()])
    };
    let long = |n: usize| format!("{}tail-{n}", format!("{}/", "l".repeat(249)).repeat(4));
    (0..count - 2).map(key).chain((count - 2..count).map(long)).collect()
}

/// What is done to one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    Put,
    PutInParts,
    /// The same content again, with other attributes: the tag stays.
    PutSame,
    Attributes,
    Delete,
}

/// What a writer last put under a key.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    pub seed: u64,
    pub size: usize,
}

/// A load under way.
#[derive(Debug)]
pub struct Load {
    store: S3Store,
    pub history: Mutex<History>,
    wanted: u64,
    made: AtomicU64,
    numbers: AtomicU64,
    counts: Mutex<BTreeMap<String, u64>>,
    pause: Duration,
}

impl Load {
    /// So many writes, about so many of them a second.
    pub fn new(store: S3Store, wanted: u64, per_second: u64) -> Arc<Self> {
        Arc::new(Self {
            store,
            history: Mutex::default(),
            wanted,
            made: AtomicU64::new(0),
            numbers: AtomicU64::new(1),
            counts: Mutex::default(),
            pause: Duration::from_secs(WRITERS) / u32::try_from(per_second).unwrap(),
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

    /// Writes until all is written.
    pub async fn run(self: &Arc<Self>, keys: &[String], rng: &mut Rng) {
        let mut writers = tokio::task::JoinSet::new();
        let share = keys.len().div_ceil(usize::try_from(WRITERS).unwrap());
        for keys in keys.chunks(share) {
            let (load, keys, rng) = (Arc::clone(self), keys.to_vec(), rng.fork());
            writers.spawn(async move { load.write(&keys, rng).await });
        }
        writers.join_all().await;
    }

    async fn write(&self, keys: &[String], mut rng: Rng) {
        let mut bodies = BTreeMap::new();
        while self.made.fetch_add(1, SeqCst) < self.wanted {
            let key = &keys[rng.usize(..keys.len())];
            self.write_one(key, &mut bodies, &mut rng).await;
            tokio::time::sleep(self.pause.mul_f64(rng.f64() * 2.0)).await;
        }
    }

    async fn write_one(&self, key: &str, bodies: &mut BTreeMap<String, Body>, rng: &mut Rng) {
        let held = self.history.lock().unwrap().now(key);
        let deed = choose(held, rng);
        let number = self.numbers.fetch_add(1, SeqCst);
        let state = if deed == Deed::Delete { State::Absent } else { State::Holds(number) };
        let body = match deed {
            Deed::PutSame => bodies[key],
            Deed::PutInParts => in_parts(number, rng),
            _ => Body { seed: number, size: size(rng) },
        };
        let options = options(number, rng);
        // Asked for before the write is noted: a tag to bind a change of attributes to.
        let etag = if deed == Deed::Attributes { Some(self.etag(key).await) } else { None };
        self.history.lock().unwrap().begin(key, state, Timestamp::now());
        let done = attempt(&self.store, deed, key, (body, etag), &options).await;
        let made = match &done {
            Ok(()) => true,
            Err(Error::Unsupported { .. }) => panic!("{key:?}: {done:?}"),
            Err(_) => self.read(key).await == state,
        };
        if made {
            self.history.lock().unwrap().acknowledge(key, Timestamp::now());
            if !matches!(deed, Deed::Attributes | Deed::Delete) {
                bodies.insert(key.to_owned(), body);
            }
        } else {
            self.history.lock().unwrap().undo(key);
        }
        let how = match (&done, made) {
            (Ok(()), _) => "done",
            (Err(_), true) => "done, answer lost",
            (Err(_), false) => "not done",
        };
        *self.counts.lock().unwrap().entry(format!("{deed:?} {how}")).or_default() += 1;
    }

    async fn etag(&self, key: &str) -> ETag {
        loop {
            match self.store.head(key).await {
                Ok(info) => return info.etag,
                Err(error) => self.wait(key, &error).await,
            }
        }
    }

    /// What the store holds, once it answers.
    async fn read(&self, key: &str) -> State {
        loop {
            match state(&self.store, key).await {
                Ok(state) => return state,
                Err(error) => self.wait(key, &error).await,
            }
        }
    }

    async fn wait(&self, key: &str, error: &Error) {
        let gone = matches!(error, Error::NotFound(_));
        assert!(!gone, "{key:?} is lost, without any fault of a copy: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Does it, once.
pub async fn attempt(
    store: &S3Store,
    deed: Deed,
    key: &str,
    (body, etag): (Body, Option<ETag>),
    options: &PutOptions,
) -> Result<(), Error> {
    match deed {
        Deed::Delete => store.delete(key, None).await,
        Deed::Attributes => store.rewrite(key, &etag.unwrap(), options).await.map(drop),
        Deed::Put | Deed::PutSame if body.size <= 5 * MIB => {
            store.put(key, noise(body.size, body.seed), options).await.map(drop)
        }
        Deed::Put | Deed::PutSame | Deed::PutInParts => put_parts(store, key, body, options).await,
    }
}

async fn put_parts(store: &S3Store, key: &str, body: Body, options: &PutOptions) -> Result<(), Error> {
    let upload = store.create_upload(key, options).await?;
    let whole = noise(body.size, body.seed);
    let mut parts = Vec::new();
    for (number, part) in (1..).zip([whole.slice(..5 * MIB), whole.slice(5 * MIB..)]) {
        let sent = store.upload_part(key, &upload, number, part.len() as u64, streamed(&part));
        parts.push(sent.await?);
    }
    store.complete_upload(key, &upload, &parts, &PutOptions::default()).await.map(drop)
}

/// What a store holds under a key.
pub async fn state(store: &dyn ObjectStore, key: &str) -> Result<State, Error> {
    match store.head(key).await {
        Ok(info) => match info.attributes.metadata.get(NUMBER) {
            Some(number) => Ok(State::Holds(number.parse().unwrap())),
            // Seen of `VersityGW` 1.8 while it changes attributes.
            None => Err(Error::Protocol { cause: "no metadata".into(), context: Context::default() }),
        },
        Err(Error::NotFound(_)) => Ok(State::Absent),
        Err(error) => Err(error),
    }
}

pub fn choose(held: State, rng: &mut Rng) -> Deed {
    match (held, rng.u8(..100)) {
        _ if rng.u64(..PARTS) == 0 => Deed::PutInParts,
        (State::Holds(_), 0..25) => Deed::Delete,
        (State::Holds(_), 25..45) => Deed::Attributes,
        (State::Holds(_), 45..55) => Deed::PutSame,
        _ => Deed::Put,
    }
}

pub fn size(rng: &mut Rng) -> usize {
    match rng.u8(..20) {
        0 => 0,
        1 => rng.usize(100_000..400_000),
        _ => rng.usize(1..5_000),
    }
}

/// As much as makes two parts.
pub fn in_parts(number: u64, rng: &mut Rng) -> Body {
    Body { seed: number, size: 5 * MIB + rng.usize(1..100_000) }
}

pub fn options(number: u64, rng: &mut Rng) -> PutOptions {
    let metadata = [(NUMBER, number.to_string()), ("word", "Grüße, 世界".to_owned())];
    let attributes = Attributes {
        content_type: Some(format!("application/x-{}", rng.u8(..9))),
        cache_control: rng.bool().then(|| "max-age=60".to_owned()),
        metadata: metadata.map(|(name, value)| (name.to_owned(), value)).into(),
        ..Attributes::default()
    };
    let tags: Tags =
        if rng.u8(..5) == 0 { [("tag".to_owned(), number.to_string())].into() } else { Tags::new() };
    PutOptions { attributes, tags, ..PutOptions::default() }
}
