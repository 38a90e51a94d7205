//! Random writes to a master that may be killed at any of them.

use fastrand::Rng;
use jiff::Timestamp;
use mongodb::{
    Client, ClientSession, Collection, Database,
    bson::{Bson, Document, doc},
    error::Error,
};

/// Ordinary documents.
const ORDINARY: [&str; 3] = ["a", "b", "c"];
const DOCUMENTS: i32 = 400;
/// Documents whose `k` is unique.
const UNIQUE: i32 = 20;
/// Bytes of each document of a large transaction, and how many.
const LARGE: (usize, i32) = (300_000, 12);

#[derive(Debug, Default)]
pub struct Counts {
    pub writes: u64,
    pub transactions: u64,
    pub aborted: u64,
    pub definitions: u64,
}

pub struct Writer {
    client: Client,
    random: Rng,
    /// Cluster time of the acknowledgement, and the number.
    marks: Vec<((u32, u32), i64)>,
    next_mark: i64,
    last: Timestamp,
    large: u32,
    pub counts: Counts,
}

impl Writer {
    pub fn new(master: &Client, random: Rng) -> Self {
        let (counts, last) = (Counts::default(), Timestamp::now());
        Self { client: master.clone(), random, marks: Vec::new(), next_mark: 0, last, large: 0, counts }
    }

    /// Acknowledged marks: nothing that a checkpoint is past may lack one.
    pub fn marks(&self) -> &[((u32, u32), i64)] {
        &self.marks
    }

    /// A moment after the last write.
    pub fn last(&self) -> Timestamp {
        self.last
    }

    fn shop(&self) -> Database {
        self.client.database("shop")
    }

    fn of(&self, name: &str) -> Collection<Document> {
        self.shop().collection(name)
    }

    /// The master was started again.
    pub fn again(&mut self, master: &Client) {
        self.client = master.clone();
        // A mark that was not acknowledged may be there.
        self.next_mark += 1;
    }

    /// What is there before anybody follows.
    pub async fn history(&mut self, documents: i32) {
        for name in ORDINARY {
            let all: Vec<_> = (0..documents / 3).map(|id| ordinary(id, &mut self.random)).collect();
            self.of(name).insert_many(all).await.unwrap();
        }
        let unique =
            doc! {"createIndexes": "u", "indexes": [{"key": {"k": 1}, "name": "k_1", "unique": true}]};
        self.shop().run_command(unique).await.unwrap();
        let all: Vec<_> = (0..UNIQUE).map(|id| doc! {"_id": id, "k": id}).collect();
        self.of("u").insert_many(all).await.unwrap();
        self.of("marks").insert_one(doc! {"_id": -1_i64}).await.unwrap();
    }

    /// One write of some kind. What fails because the master is gone, or the server refuses it, is no matter: both
    /// sides know of the same.
    pub async fn write(&mut self) {
        self.counts.writes += 1;
        let done = match self.random.u32(..1000) {
            0..300 => self.insert().await,
            300..600 => self.update().await,
            600..700 => self.delete().await,
            700..780 => self.swap().await,
            780..880 => self.transaction().await,
            880..885 => self.large_transaction().await,
            885..895 => self.define().await,
            _ => self.mark().await,
        };
        if let Err(error) = done {
            tracing::debug!(%error, "not written");
        }
    }

    /// The last mark, after which nothing comes.
    pub async fn end(&mut self) {
        while self.mark().await.is_err() {
            self.next_mark += 1;
        }
        self.last = Timestamp::now();
        // The feed of a quiet master tells of a moment after this one.
        std::thread::sleep(std::time::Duration::from_millis(1_100));
    }

    fn some(&mut self) -> (Collection<Document>, i32) {
        let name = ORDINARY[self.random.usize(..ORDINARY.len())];
        (self.of(name), self.random.i32(..DOCUMENTS))
    }

    async fn insert(&mut self) -> Result<(), Error> {
        let (of, id) = self.some();
        let document = ordinary(id, &mut self.random);
        let put = of.replace_one(doc! {"_id": id}, document).upsert(true);
        put.await.map(drop)
    }

    async fn update(&mut self) -> Result<(), Error> {
        let (of, id) = self.some();
        let update = an_update(&mut self.random);
        of.update_one(doc! {"_id": id}, update).await.map(drop)
    }

    async fn delete(&mut self) -> Result<(), Error> {
        let (of, id) = self.some();
        of.delete_one(doc! {"_id": id}).await.map(drop)
    }

    /// Two documents exchange what is unique, by way of a third value.
    async fn swap(&mut self) -> Result<(), Error> {
        let (one, other) = (self.random.i32(..UNIQUE), self.random.i32(..UNIQUE));
        let of = self.of("u");
        let found = (of.find_one(doc! {"_id": one}).await?, of.find_one(doc! {"_id": other}).await?);
        let (Some(a), Some(b)) = found else { return Ok(()) };
        let (a, b) = (a.get_i32("k").unwrap_or(-1), b.get_i32("k").unwrap_or(-1));
        if one == other || a < 0 || b < 0 {
            // A swap that the death of the master divided.
            let free = 1_000 + self.random.i32(..1_000_000);
            return of.update_one(doc! {"_id": one}, doc! {"$set": {"k": free}}).await.map(drop);
        }
        of.update_one(doc! {"_id": one}, doc! {"$set": {"k": -1 - one}}).await?;
        of.update_one(doc! {"_id": other}, doc! {"$set": {"k": a}}).await?;
        of.update_one(doc! {"_id": one}, doc! {"$set": {"k": b}}).await.map(drop)
    }

    /// Money moves between two documents; every third time it is aborted.
    async fn transaction(&mut self) -> Result<(), Error> {
        let mut session = self.client.start_session().await?;
        session.start_transaction().await?;
        let of = self.of("a");
        for _ in 0..self.random.u32(2..8) {
            let id = self.random.i32(..DOCUMENTS);
            let change = doc! {"$inc": {"sum": self.random.i32(..100)}};
            of.update_one(doc! {"_id": id}, change).upsert(true).session(&mut session).await?;
        }
        self.settle(session).await
    }

    async fn large_transaction(&mut self) -> Result<(), Error> {
        let mut session = self.client.start_session().await?;
        session.start_transaction().await?;
        let body = "x".repeat(LARGE.0);
        self.large += 1;
        for id in 0..LARGE.1 {
            let document = doc! {"_id": format!("{}-{id}", self.large % 3), "body": &body, "of": self.large};
            let id = document.get("_id").cloned();
            let of = self.of("large");
            of.replace_one(doc! {"_id": id}, document).upsert(true).session(&mut session).await?;
        }
        self.settle(session).await
    }

    async fn settle(&mut self, mut session: ClientSession) -> Result<(), Error> {
        if self.random.u32(..3) == 0 {
            self.counts.aborted += 1;
            return session.abort_transaction().await;
        }
        self.counts.transactions += 1;
        session.commit_transaction().await
    }

    async fn define(&mut self) -> Result<(), Error> {
        self.counts.definitions += 1;
        let database = self.shop();
        let name = format!("d{}", self.random.u32(..3));
        let index = |unique: bool| {
            doc! {"createIndexes": &name, "indexes": [{"key": {"n": 1}, "name": "n_1", "unique": unique}]}
        };
        let command = match self.random.u32(..8) {
            0 => doc! {"create": &name},
            1 => doc! {"drop": &name},
            2 => index(false),
            3 => doc! {"dropIndexes": &name, "index": "n_1"},
            4 => {
                let to = format!("shop.d{}", self.random.u32(..3));
                let admin = self.client.database("admin");
                let rename = doc! {"renameCollection": format!("shop.{name}"), "to": to, "dropTarget": true};
                return admin.run_command(rename).await.map(drop);
            }
            5 => index(true),
            6 => doc! {"collMod": &name, "validator": {"n": {"$exists": true}}, "validationLevel": "off"},
            _ => {
                let (from, many) = (self.random.i32(..1_000), self.random.i32(1..20));
                let all: Vec<_> = (from..from + many).map(|n| doc! {"n": n}).collect();
                return database.collection(&name).insert_many(all).await.map(drop);
            }
        };
        database.run_command(command).await.map(drop)
    }

    async fn mark(&mut self) -> Result<(), Error> {
        let id = self.next_mark;
        let command = doc! {"insert": "marks", "documents": [{"_id": id}], "writeConcern": {"w": "majority"}};
        let reply = self.shop().run_command(command).await?;
        assert!(!reply.contains_key("writeErrors"), "{reply}");
        self.next_mark += 1;
        let Some(Bson::Timestamp(at)) = reply.get("operationTime") else { panic!("{reply}") };
        self.marks.push(((at.time, at.increment), id));
        Ok(())
    }
}

fn ordinary(id: i32, random: &mut Rng) -> Document {
    let list: Vec<_> =
        (0..random.i32(..6)).map(|n| doc! {"n": n, "text": "t".repeat(random.usize(..20))}).collect();
    let numbers: Vec<i32> = (0..random.i32(..12)).collect();
    doc! {"_id": id, "sum": random.i32(..100), "list": list, "numbers": numbers, "in": {"deep": {"er": random.i32(..9)}}}
}

fn an_update(random: &mut Rng) -> Document {
    let at = random.u32(..5);
    match random.u32(..10) {
        0 => doc! {"$set": {format!("list.{at}.n"): random.i32(..1000)}},
        1 => doc! {"$push": {"numbers": random.i32(..1000)}},
        2 => doc! {"$push": {"numbers": {"$each": [], "$slice": random.i32(..6)}}},
        3 => doc! {"$push": {"numbers": {"$each": [random.i32(..9), random.i32(..9)], "$slice": -3}}},
        4 => doc! {"$unset": {"in.deep": ""}},
        5 => doc! {"$set": {"in.deep.er": random.i32(..99), "in.wide": [1, {"a": [2, 3]}]}},
        6 => doc! {"$pull": {"numbers": {"$lt": random.i32(..9)}}},
        7 => doc! {"$unset": {"list": "", "in": ""}},
        8 => doc! {"$pop": {"list": 1}, "$inc": {"sum": 1}},
        _ => doc! {"$set": {"list": [], "fresh": {"7": {"8": random.i32(..9)}}}},
    }
}
