//! A made-up history of a database: its oplog, and its documents after each entry.

use std::{collections::BTreeMap, io::Write};

use bson::{Bson, Document, Timestamp, doc};
use crc_fast::{CrcAlgorithm, checksum};
use farshore::store::memory::MemoryStore;

/// By collection, then by `_id`.
pub type Documents = BTreeMap<String, BTreeMap<i32, Document>>;

/// 2026-11-20T00:00:00Z
const START: u32 = 1_795_132_800;
const STEPS: usize = 600;
/// The dump was read between these.
const DUMPED: (usize, usize) = (150, 220);
/// A unique index is built, and a collection changes its name.
const INDEXED: usize = 300;
const RENAMED: usize = 350;
const DROPPED: usize = 400;

type Place = (u32, u32);

pub struct History {
    entries: Vec<(Place, Document)>,
    /// What an entry at this place left, in log order.
    states: Vec<(Place, Documents)>,
    seed: u64,
}

struct Player {
    random: fastrand::Rng,
    now: Place,
    next: i32,
    documents: Documents,
    history: History,
}

impl History {
    pub fn play(seed: u64) -> Self {
        let history = Self { entries: Vec::new(), states: Vec::new(), seed };
        let documents = Documents::from([("orders".to_owned(), BTreeMap::new())]);
        let random = fastrand::Rng::with_seed(seed);
        let mut player = Player { random, now: (START, 0), next: 1, documents, history };
        for step in 0..STEPS {
            player.step(step);
        }
        player.history
    }

    fn state(&self, place: Place) -> Documents {
        self.states.iter().rfind(|(at, _)| *at <= place).map(|(_, state)| state.clone()).unwrap()
    }

    /// Documents at the end of a second.
    pub fn at(&self, second: u32) -> Documents {
        self.state((second, u32::MAX))
    }

    pub fn indexes_at(&self, second: u32) -> Vec<(String, bool)> {
        let built = self.states[INDEXED].0.0 <= second;
        let unique = built.then(|| ("n_1".to_owned(), true));
        [("tag_1".to_owned(), false)]
            .into_iter()
            .chain(unique)
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect()
    }

    /// Places between which the dump was read.
    fn dumped(&self) -> (Place, Place) {
        (self.states[DUMPED.0].0, self.states[DUMPED.1].0)
    }

    /// First and last second that can be restored.
    pub fn window(&self) -> (u32, u32) {
        (self.dumped().1.0, self.entries.last().unwrap().0.0 - 1)
    }

    /// A dump in which each document is as it stood at some place of its own.
    pub fn dump(&self) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut ids: Vec<i32> = self.states[DUMPED.0..=DUMPED.1]
            .iter()
            .flat_map(|(_, state)| state["orders"].keys().copied())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let seen = ids.into_iter().filter_map(|id| {
            let at = random.usize(DUMPED.0..=DUMPED.1);
            self.states[at].1["orders"].get(&id).cloned()
        });
        archive(&seen.collect::<Vec<_>>())
    }

    /// Slices of the oplog: places, and entries.
    fn slices(&self) -> Vec<(Place, Place, Vec<u8>)> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let (mut slices, mut from) = (Vec::new(), 0);
        while from + 1 < self.entries.len() {
            let to = (from + random.usize(5..60)).min(self.entries.len() - 1);
            // Writers overlap now and then.
            let begin = if random.u8(..4) == 0 { from.saturating_sub(3) } else { from };
            let bytes: Vec<u8> =
                self.entries[begin + 1..=to].iter().flat_map(|(_, entry)| encoded(entry)).collect();
            slices.push((self.entries[begin].0, self.entries[to].0, bytes));
            from = to;
        }
        slices
    }

    /// A bucket in WAL-G's layout.
    pub fn backed_up(&self) -> MemoryStore {
        let store = MemoryStore::new("backups");
        let at = jiff::Timestamp::from_second(i64::from(START)).unwrap();
        store.seed("o/basebackups_005/stream_1/stream.lz4", lz4(&self.dump()), at);
        let place = |(seconds, increment): Place| serde_json::json!({"TS": seconds, "Inc": increment});
        let (before, after) = self.dumped();
        let node = |at| serde_json::json!({"LastTS": place(at), "LastMajTS": place(at)});
        let sentinel = serde_json::json!({"BackupName": "stream_1", "BackupType": "logical",
            "StartLocalTime": at.to_string(), "FinishLocalTime": at.to_string(),
            "MongoMeta": {"Before": node(before), "After": node(after), "Version": "7.0.1"}, "DataSize": 1});
        store.seed("o/basebackups_005/stream_1_backup_stop_sentinel.json", sentinel.to_string(), at);
        for (number, (from, to, bytes)) in self.slices().into_iter().enumerate() {
            let (packing, packed) = match number % 3 {
                0 => ("lz4", lz4(&bytes)),
                1 => ("zst", zstd::encode_all(&bytes[..], 3).unwrap()),
                _ => ("bson", bytes),
            };
            store.seed(&format!("o/oplog_005/{}.{packing}", name(from, to)), packed, at);
        }
        store
    }

    /// A slice after the last one, with an entry and a note.
    pub fn one_more_slice(&self, more: &Document) -> (String, Vec<u8>) {
        let end = self.entries.last().unwrap().0;
        let entry = |seconds: u32, more: &Document| {
            let mut entry = doc! {"ts": Timestamp { time: end.0 + seconds, increment: 1 }};
            entry.extend(more.clone());
            encoded(&entry)
        };
        let entries = [entry(50, more), entry(100, &doc! {"op": "n", "ns": "", "o": {}})].concat();
        (format!("o/oplog_005/{}.bson", name(end, (end.0 + 100, 1))), entries)
    }

    /// A slice that is not packed and the newest but one, without its last entry; and its key.
    pub fn plain_slice(&self) -> (String, Vec<u8>) {
        let slices = self.slices();
        let number = (0..slices.len() - 1).rfind(|number| number % 3 == 2).unwrap();
        let (from, to, bytes) = &slices[number];
        let last = encoded(&self.entries.iter().find(|(at, _)| at == to).unwrap().1);
        let short = bytes[..bytes.len() - last.len()].to_vec();
        (format!("o/oplog_005/{}.bson", name(*from, *to)), short)
    }
}

fn name(from: Place, to: Place) -> String {
    format!("oplog_{}.{}_{}.{}", from.0, from.1, to.0, to.1)
}

fn encoded(document: &Document) -> Vec<u8> {
    let mut bytes = Vec::new();
    document.to_writer(&mut bytes).unwrap();
    bytes
}

pub fn lz4(plain: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// An archive as mongodump writes it, in blocks of some documents.
fn archive(documents: &[Document]) -> Vec<u8> {
    let mut bytes = vec![0x6d, 0xe2, 0x99, 0x81];
    let mut put = |document: &Document| bytes.extend(encoded(document));
    put(
        &doc! {"concurrent_collections": 4, "version": "0.1", "server_version": "7.0.1", "tool_version": "100.9"},
    );
    let metadata = r#"{"options":{},"indexes":[{"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"},
        {"v":{"$numberInt":"2"},"key":{"tag":{"$numberInt":"1"}},"name":"tag_1"}],"type":"collection"}"#;
    put(&doc! {"db": "shop", "collection": "orders", "metadata": metadata, "size": 0, "type": "collection"});
    bytes.extend([0xff; 4]);
    let header = |ends: bool, crc: u64| doc! {"db": "shop", "collection": "orders", "EOF": ends, "CRC": crc.cast_signed()};
    for block in documents.chunks(7) {
        bytes.extend(encoded(&header(false, 0)));
        bytes.extend(block.iter().flat_map(encoded));
        bytes.extend([0xff; 4]);
    }
    let all: Vec<u8> = documents.iter().flat_map(encoded).collect();
    bytes.extend(encoded(&header(true, checksum(CrcAlgorithm::Crc64Xz, &all))));
    bytes.extend([0xff; 4]);
    bytes
}

impl Player {
    fn tick(&mut self) -> Place {
        self.now = match self.random.u8(..10) {
            0..=4 => (self.now.0, self.now.1 + 1),
            5..=8 => (self.now.0 + 1, 1),
            _ => (self.now.0 + self.random.u32(2..20), 1),
        };
        self.now
    }

    fn log(&mut self, more: Document) {
        let (time, increment) = self.tick();
        let mut entry = doc! {"ts": Timestamp { time, increment }, "t": 1_i64, "v": 2_i64};
        entry.extend(more);
        self.history.entries.push(((time, increment), entry));
    }

    fn done(&mut self) {
        self.history.states.push((self.now, self.documents.clone()));
    }

    fn command(&mut self, o: Document) {
        self.log(doc! {"op": "c", "ns": "shop.$cmd", "o": o});
    }

    /// One step leaves one state.
    fn step(&mut self, step: usize) {
        match step {
            INDEXED => {
                let index = doc! {"v": 2, "key": {"n": 1}, "name": "n_1", "unique": true};
                self.command(doc! {"startIndexBuild": "orders", "indexes": [index.clone()]});
                self.command(doc! {"commitIndexBuild": "orders", "indexes": [index]});
            }
            RENAMED => {
                self.command(doc! {"create": "late", "idIndex": {"v": 2, "key": {"_id": 1}, "name": "_id_"}});
                self.log(doc! {"op": "i", "ns": "shop.late", "o": {"_id": 1, "x": "y"}});
                self.command(doc! {"renameCollection": "shop.late", "to": "shop.renamed", "stayTemp": false});
                let moved = BTreeMap::from([(1, doc! {"_id": 1, "x": "y"})]);
                // Two states in between, as the log has them.
                let places: Vec<Place> =
                    self.history.entries.iter().rev().take(3).map(|(at, _)| *at).collect();
                for (at, name, documents) in
                    [(places[2], "late", BTreeMap::new()), (places[1], "late", moved.clone())]
                {
                    let mut state = self.documents.clone();
                    state.insert(name.to_owned(), documents);
                    self.history.states.push((at, state));
                }
                self.documents.insert("renamed".to_owned(), moved);
            }
            DROPPED => {
                self.command(doc! {"drop": "renamed"});
                self.documents.remove("renamed");
            }
            _ => self.write(),
        }
        self.done();
    }

    fn write(&mut self) {
        match self.random.u8(..20) {
            0 => self.log(doc! {"op": "n", "ns": "", "o": {"msg": "periodic noop"}}),
            1..=2 => self.transaction(),
            3 => self.swap(),
            _ => {
                let operation = self.operation();
                self.log(operation);
            }
        }
    }

    /// A change of one document, done in `documents`, in the words of the oplog.
    fn operation(&mut self) -> Document {
        let orders = &self.documents["orders"];
        let picked =
            (!orders.is_empty()).then(|| *orders.keys().nth(self.random.usize(..orders.len())).unwrap());
        match (self.random.u8(..10), picked) {
            (0..=2, _) | (_, None) => {
                let id = self.next;
                self.next += 1;
                let document =
                    doc! {"_id": id, "n": id, "tag": format!("t{}", id % 5), "list": [1, 2], "sub": {"a": 1}};
                self.orders().insert(id, document.clone());
                doc! {"op": "i", "ns": "shop.orders", "o": document}
            }
            (3, Some(id)) => {
                self.orders().remove(&id);
                doc! {"op": "d", "ns": "shop.orders", "o": {"_id": id}}
            }
            (_, Some(id)) => {
                let diff = self.update(id);
                doc! {"op": "u", "ns": "shop.orders", "o": {"$v": 2, "diff": diff}, "o2": {"_id": id}}
            }
        }
    }

    fn orders(&mut self) -> &mut BTreeMap<i32, Document> {
        self.documents.get_mut("orders").unwrap()
    }

    /// Changes a document by hand, and says so as a server does.
    fn update(&mut self, id: i32) -> Document {
        let (kind, value) = (self.random.u8(..6), self.random.i32(..));
        let document = self.orders().get_mut(&id).unwrap();
        let list = document.get_array_mut("list").unwrap();
        match kind {
            0 => {
                list.push(Bson::Int32(value));
                doc! {"slist": {"a": true, format!("u{}", list.len() - 1): value}}
            }
            1 if list.len() > 1 => {
                list.truncate(1);
                list[0] = Bson::Int32(value);
                doc! {"slist": {"a": true, "l": 1, "u0": value}}
            }
            2 => {
                document.get_document_mut("sub").unwrap().insert("b", value);
                let section = if value % 2 == 0 { "u" } else { "i" };
                doc! {"ssub": {section: {"b": value}}}
            }
            3 if document.contains_key("extra") => {
                document.remove("extra");
                doc! {"d": {"extra": false}}
            }
            4 if !document.contains_key("extra") => {
                document.insert("extra", value);
                doc! {"i": {"extra": value}}
            }
            _ => {
                document.insert("tag", format!("t{value}"));
                doc! {"u": {"tag": format!("t{value}")}}
            }
        }
    }

    /// Two documents exchange what is unique, by way of a third value.
    fn swap(&mut self) {
        let ids: Vec<i32> = self.documents["orders"].keys().copied().take(2).collect();
        let [a, b] = ids[..] else { return self.log(doc! {"op": "n", "ns": "", "o": {}}) };
        let of = |player: &Self, id: i32| player.documents["orders"][&id].get_i32("n").unwrap();
        let (x, y) = (of(self, a), of(self, b));
        let set = |id: i32, n: i32| doc! {"op": "u", "ns": "shop.orders", "o": {"$v": 2, "diff": {"u": {"n": n}}}, "o2": {"_id": id}};
        let operations = vec![set(a, -1), set(b, x), set(a, y)];
        self.orders().get_mut(&a).unwrap().insert("n", y);
        self.orders().get_mut(&b).unwrap().insert("n", x);
        self.log(doc! {"op": "c", "ns": "admin.$cmd", "o": {"applyOps": operations}, "lsid": {"id": 1}, "txnNumber": i64::from(self.next) * 1000,
            "prevOpTime": {"ts": Timestamp { time: 0, increment: 0 }, "t": -1_i64}});
    }

    /// Several changes in up to three entries, of which the last commits: only that one leaves a state.
    fn transaction(&mut self) {
        let (number, parts) = (self.random.i64(1..i64::MAX), self.random.usize(1..4));
        let (mut previous, mut count) = (Timestamp { time: 0, increment: 0 }, 0_i64);
        for part in 0..parts {
            let operations: Vec<Document> = (0..self.random.usize(1..4)).map(|_| self.operation()).collect();
            count += i64::try_from(operations.len()).unwrap();
            let mut o = doc! {"applyOps": operations};
            if part + 1 < parts {
                o.insert("partialTxn", true);
            } else if parts > 1 {
                o.insert("count", count);
            }
            self.log(doc! {"op": "c", "ns": "admin.$cmd", "o": o, "lsid": {"id": 2}, "txnNumber": number,
            "prevOpTime": {"ts": previous, "t": 1_i64}});
            previous = Timestamp { time: self.now.0, increment: self.now.1 };
        }
    }
}
