//! What a master holds is copied, whatever is done meanwhile, and however often it is begun.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use farshore::{
    mongo::Namespace,
    standby::{
        Endpoint, SeedProgress, Session,
        apply::{Applier, FromMaster, Refetch},
        feed::{self, Heard, Kind},
        lease::Lease,
        seed::{Copied, Later, Seed},
        state::{self, Claimed, Start, State},
        target::Target,
        window::Window,
    },
};
use futures::TryStreamExt;
use mongodb::{
    Client,
    bson::{Bson, Document, RawDocumentBuf, doc, oid::ObjectId},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::secantus::Secantus;

/// Documents by collection, as bytes by `_id`.
type Documents = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

async fn documents(client: &Client) -> Documents {
    let mut all = Documents::new();
    for name in client.list_database_names().await.unwrap() {
        if ["admin", "config", "local", "farshore"].contains(&name.as_str()) {
            continue;
        }
        let database = client.database(&name);
        let filter = doc! {"type": "collection", "name": {"$not": {"$regex": "^system"}}};
        let listed: Vec<_> =
            database.list_collections().filter(filter).await.unwrap().try_collect().await.unwrap();
        for collection in listed {
            let of = database.collection::<RawDocumentBuf>(&collection.name);
            let found: Vec<RawDocumentBuf> = of.find(doc! {}).await.unwrap().try_collect().await.unwrap();
            let by_id = found
                .into_iter()
                .map(|document| (format!("{:?}", document.get("_id").unwrap()), document.into_bytes()));
            all.insert(format!("{name}.{}", collection.name), by_id.collect());
        }
    }
    all
}

/// A collection's options, and its indexes by name.
async fn described(client: &Client, collection: &str) -> (Document, BTreeMap<String, Document>) {
    let shop = client.database("shop");
    let command = doc! {"listCollections": 1, "filter": {"name": collection}};
    let listed: Vec<Document> = shop.run_cursor_command(command).await.unwrap().try_collect().await.unwrap();
    let options = listed[0].get_document("options").cloned().unwrap_or_default();
    let command = doc! {"listIndexes": collection};
    let indexes: Vec<Document> = shop.run_cursor_command(command).await.unwrap().try_collect().await.unwrap();
    let by_name = indexes.into_iter().map(|index| (index.get_str("name").unwrap().to_owned(), index));
    (options, by_name.collect())
}

struct Pair {
    master: Secantus,
    target: Secantus,
}

impl Pair {
    async fn start() -> Self {
        let (master, target) = tokio::join!(Secantus::start(), Secantus::start());
        Self { master, target }
    }

    fn target(&self) -> Target {
        Target::new(self.target.client.clone(), Lease::new(Instant::now()))
    }

    fn seed(&self, progress: &watch::Sender<SeedProgress>, stop: &CancellationToken) -> Seed {
        Seed::new(&self.master.client, &self.target(), progress.clone(), stop.clone())
    }

    /// Copies to the end, in ranges of so many bytes.
    async fn copy(&self, range: u64) -> (Vec<Later>, SeedProgress) {
        let progress = watch::Sender::default();
        let seed = self.seed(&progress, &CancellationToken::new()).with_ranges_of(range);
        let Copied::All(later) = seed.copy().await.unwrap() else { panic!("nobody stopped it") };
        let progress = progress.borrow().clone();
        (later, progress)
    }

    async fn assert_same(&self) {
        assert_eq!(documents(&self.master.client).await, documents(&self.target.client).await);
    }

    async fn plan(&self, name: &str) -> Document {
        let ledger = self.target.client.database("farshore").collection::<Document>("seed");
        ledger.find_one(doc! {"_id": name}).await.unwrap().unwrap()
    }
}

/// Documents whose `_id`s are of several types.
async fn fill(client: &Client, collection: &str, count: i32) {
    let of = client.database("shop").collection::<Document>(collection);
    // SecantusDB looks at every document for one of a document: few of them.
    let id = |number: i32| match number % 100 {
        0..40 => Bson::Int32(number),
        40..70 => Bson::String(format!("{number:06}")),
        70..98 => Bson::ObjectId(ObjectId::new()),
        _ => Bson::Document(doc! {"of": number}),
    };
    let documents = (0..count).map(|number| doc! {"_id": id(number), "n": number, "text": "x".repeat(100)});
    of.insert_many(documents).await.unwrap();
}

#[tokio::test]
async fn d01_what_a_master_holds_is_copied_in_ranges_with_ids_of_every_type() {
    let pair = Pair::start().await;
    fill(&pair.master.client, "orders", 3000).await;
    fill(&pair.master.client, "few", 3).await;
    pair.master.client.database("shop").create_collection("empty").await.unwrap();
    pair.master
        .client
        .database("farshore")
        .collection("state")
        .insert_one(doc! {"_id": "standby"})
        .await
        .unwrap();
    let (later, progress) = pair.copy(50_000).await;
    assert_eq!(later, []);
    pair.assert_same().await;
    let bounds = pair.plan("shop.orders").await.get_array("bounds").unwrap().len();
    assert!(bounds > 3, "{bounds}");
    assert_eq!((progress.collections, progress.collections_done), (3, 3));
    assert_eq!((progress.documents, progress.documents_done), (3003, 3003));
    let own: Vec<Document> = pair
        .target
        .client
        .database("farshore")
        .collection("state")
        .find(doc! {})
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(own, [], "the master's records of its own past are not copied");
}

#[tokio::test]
async fn d01_options_views_and_indexes_are_kept_and_unique_ones_come_last() {
    let pair = Pair::start().await;
    let shop = pair.master.client.database("shop");
    let run = async |command: Document| shop.run_command(command).await.unwrap();
    run(doc! {"create": "logs", "capped": true, "size": 65_536}).await;
    run(doc! {"create": "people", "collation": {"locale": "de"}, "validator": {"name": {"$exists": true}}})
        .await;
    run(doc! {"create": "old", "viewOn": "people", "pipeline": [{"$match": {"age": {"$gt": 60}}}]}).await;
    let indexes = vec![
        doc! {"key": {"name": 1}, "name": "name", "unique": true},
        doc! {"key": {"age": -1}, "name": "age", "sparse": true, "hidden": true},
        doc! {"key": {"seen": 1}, "name": "ttl", "expireAfterSeconds": 3600},
        doc! {"key": {"a": 1, "b": 1}, "name": "part", "partialFilterExpression": {"a": {"$gt": 5}}},
        doc! {"key": {"$**": 1}, "name": "all"},
    ];
    run(doc! {"createIndexes": "people", "indexes": indexes}).await;
    // One that the validator would refuse today.
    let insert = doc! {"insert": "people", "documents": [{"_id": 1}], "bypassDocumentValidation": true};
    run(insert).await;
    for number in 0..50 {
        shop.collection("logs").insert_one(doc! {"_id": 100 - number, "n": number}).await.unwrap();
    }
    let (later, _) = pair.copy(1000).await;
    pair.assert_same().await;
    let names = |later: &[Later]| {
        let names = later
            .iter()
            .flat_map(|later| later.indexes.iter().map(|index| index.get_str("name").unwrap().to_owned()));
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&later), ["name"]);
    let mut expected = described(&pair.master.client, "people").await;
    let unique = expected.1.remove("name").unwrap();
    assert_eq!(described(&pair.target.client, "people").await, expected);
    assert_eq!(described(&pair.target.client, "logs").await, described(&pair.master.client, "logs").await);
    assert_eq!(described(&pair.target.client, "old").await.0, described(&pair.master.client, "old").await.0);
    // What is capped keeps its order.
    let logs = pair.target.client.database("shop").collection::<Document>("logs");
    let found: Vec<Document> = logs.find(doc! {}).await.unwrap().try_collect().await.unwrap();
    assert!(found.iter().map(|log| log.get_i32("n").unwrap()).eq(0..50));
    // A run that comes later is told as well.
    assert_eq!(names(&pair.copy(1000).await.0), ["name"]);
    assert_eq!((&later[0].namespace, &later[0].indexes), (&Namespace::new("shop", "people"), &vec![unique]));
}

#[tokio::test]
async fn d10_a_copy_that_was_stopped_goes_on_and_repeats_no_range() {
    let pair = Pair::start().await;
    fill(&pair.master.client, "orders", 3000).await;
    let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
    let mut watched = progress.subscribe();
    let seed = pair.seed(&progress, &stop).with_ranges_of(50_000);
    let stopping = tokio::spawn(async move {
        watched.wait_for(|progress: &SeedProgress| progress.documents_done > 0).await.unwrap();
        stop.cancel();
    });
    assert_eq!(seed.copy().await.unwrap(), Copied::Stopped);
    stopping.await.unwrap();
    let plan = pair.plan("shop.orders").await;
    let done = plan.get_array("done").unwrap().len();
    assert!(done < plan.get_array("bounds").unwrap().len(), "{plan}");
    // Documents of ranges that are there are not written again.
    let before = plan.get_i64("documents").unwrap();
    let (_, progress) = pair.copy(77).await;
    pair.assert_same().await;
    assert_eq!(progress.documents_done, 3000);
    let after = pair.plan("shop.orders").await;
    assert_eq!(after.get_array("bounds").unwrap(), plan.get_array("bounds").unwrap());
    assert_eq!((after.get_i64("documents").unwrap(), before <= 3000), (3000, true));
}

#[tokio::test]
async fn d10_a_range_that_is_repeated_replaces_what_is_there() {
    let pair = Pair::start().await;
    let orders = pair.master.client.database("shop").collection::<Document>("orders");
    fill(&pair.master.client, "orders", 500).await;
    pair.copy(1 << 30).await;
    // As after a kill: nobody wrote down that it was there, and the master went on.
    let ledger = pair.target.client.database("farshore").collection::<Document>("seed");
    ledger.update_one(doc! {}, doc! {"$set": {"done": [], "later": null}}).await.unwrap();
    orders.update_many(doc! {"n": {"$lt": 250}}, doc! {"$set": {"text": "changed"}}).await.unwrap();
    let odd = doc! {"_id": 0, "n": 0, "in": {"$set": {"a": 1}}};
    orders.replace_one(doc! {"_id": 0}, odd).await.unwrap();
    pair.copy(1 << 30).await;
    pair.assert_same().await;
}

#[tokio::test]
async fn d10_a_collection_that_is_another_one_by_now_is_copied_anew() {
    let pair = Pair::start().await;
    fill(&pair.master.client, "orders", 100).await;
    pair.copy(1 << 30).await;
    let orders = pair.master.client.database("shop").collection::<Document>("orders");
    orders.drop().await.unwrap();
    fill(&pair.master.client, "orders", 20).await;
    pair.copy(1 << 30).await;
    pair.assert_same().await;
}

#[tokio::test]
async fn d01_a_collection_that_was_renamed_is_copied_again_as_it_is_now() {
    let pair = Pair::start().await;
    fill(&pair.master.client, "orders", 100).await;
    fill(&pair.master.client, "old", 10).await;
    pair.copy(1 << 30).await;
    let rename = doc! {"renameCollection": "shop.orders", "to": "shop.old", "dropTarget": true};
    pair.master.client.database("admin").run_command(rename).await.unwrap();
    let progress = watch::Sender::default();
    let seed = pair.seed(&progress, &CancellationToken::new());
    for name in ["old", "orders"] {
        assert_eq!(seed.copy_again(&Namespace::new("shop", name)).await.unwrap(), Copied::All(Vec::new()));
    }
    pair.assert_same().await;
}

/// Applies what the master did since, until the copy is consistent.
async fn catch_up(pair: &Pair, state: Arc<State>, later: Vec<Later>) {
    let refetch: Arc<dyn Refetch> = Arc::new(FromMaster(pair.master.client.clone()));
    let mut applier = Applier::open(Arc::clone(&state), Some(refetch)).await.unwrap();
    let collections = documents(&pair.target.client).await.into_keys();
    let collections = collections.map(|name| Namespace::parse(&name).unwrap()).collect();
    let unique = later.into_iter().flat_map(|Later { namespace, indexes }| {
        indexes.into_iter().map(move |index| (namespace.clone(), index))
    });
    applier.copied(collections, unique.collect()).await.unwrap();
    let end = feed::here(&pair.master.client, Kind::ChangeStream).await.unwrap().place;
    state.copied(end).await.unwrap();
    let from = state.record().position.unwrap();
    let mut feed = feed::open(&pair.master.client, &from, Kind::ChangeStream).await.unwrap();
    let mut number = 0;
    loop {
        match feed.next().await.unwrap() {
            Heard::Group(group) => {
                number += 1;
                applier.write(Window { number, groups: vec![group] }, false).await.unwrap();
            }
            Heard::Idle(position) if Some(position.place) >= state.record().consistent_at => break,
            Heard::Idle(_) => {}
        }
    }
    applier.finish().await.unwrap();
}

async fn held(pair: &Pair) -> Arc<State> {
    let endpoint = |server: &Secantus| Endpoint { uri: server.uri(), credentials: None };
    let session = Session {
        master: endpoint(&pair.master),
        target: endpoint(&pair.target),
        owner: "test".to_owned(),
        run: "1".to_owned(),
        resync: None,
    };
    let Claimed::Held { state, .. } = state::claim(&pair.target.client, &session).await.unwrap() else {
        panic!("the target is new")
    };
    let position = feed::here(&pair.master.client, Kind::ChangeStream).await.unwrap();
    state.begin(&Start { position, replica_set_id: None }).await.unwrap();
    let kept = Arc::clone(&state);
    // For as long as the test runs.
    tokio::spawn(async move { kept.keep().await });
    state
}

#[tokio::test]
async fn d01_what_is_renamed_swapped_and_dropped_while_it_is_copied_ends_as_the_master_has_it() {
    let pair = Pair::start().await;
    let database = pair.master.client.database("shop");
    let of = |name: &str| database.collection::<Document>(name);
    let rename = async |from: &str, to: &str| {
        let command =
            doc! {"renameCollection": format!("shop.{from}"), "to": format!("shop.{to}"), "dropTarget": true};
        pair.master.client.database("admin").run_command(command).await.unwrap();
    };
    of("first").insert_one(doc! {"_id": 0}).await.unwrap();
    for name in ["large", "one", "two", "old", "renamed", "kept"] {
        of(name).insert_many((0..150).map(|id| doc! {"_id": id, "of": name})).await.unwrap();
    }
    let state = held(&pair).await;
    // After the place from which on changes are heard, and before it is copied.
    of("one").insert_one(doc! {"_id": -1}).await.unwrap();
    of("renamed").delete_one(doc! {"_id": 1}).await.unwrap();
    rename("renamed", "before").await;
    of("before").update_one(doc! {"_id": 2}, doc! {"$set": {"late": true}}).await.unwrap();
    rename("one", "three").await;
    rename("two", "one").await;
    rename("three", "two").await;
    of("one").delete_one(doc! {"_id": 3}).await.unwrap();
    // While it is copied.
    let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
    let mut watched = progress.subscribe();
    let target = state.target();
    let seed = Seed::new(&pair.master.client, target, progress.clone(), stop.clone()).with_ranges_of(2500);
    let stopping = tokio::spawn(async move {
        watched.wait_for(|progress: &SeedProgress| progress.documents_done > 200).await.unwrap();
        stop.cancel();
    });
    assert_eq!(seed.copy().await.unwrap(), Copied::Stopped);
    stopping.await.unwrap();
    of("large").insert_one(doc! {"_id": -2}).await.unwrap();
    rename("large", "larger").await;
    of("old").drop().await.unwrap();
    rename("kept", "old").await;
    of("kept").insert_one(doc! {"_id": "anew"}).await.unwrap();
    rename("one", "four").await;
    rename("two", "one").await;
    rename("four", "two").await;
    let seed =
        Seed::new(&pair.master.client, target, progress, CancellationToken::new()).with_ranges_of(2500);
    let Copied::All(later) = seed.copy().await.unwrap() else { panic!("nobody stopped it") };
    // After it.
    rename("larger", "large").await;
    of("large").delete_one(doc! {"_id": 7}).await.unwrap();
    rename("first", "before").await;
    catch_up(&pair, state, later).await;
    pair.assert_same().await;
}

#[tokio::test]
async fn d10_nothing_is_copied_without_the_lease() {
    let pair = Pair::start().await;
    fill(&pair.master.client, "orders", 10).await;
    let lease = Lease::new(Instant::now());
    lease.end();
    let target = Target::new(pair.target.client.clone(), lease);
    let seed = Seed::new(&pair.master.client, &target, watch::Sender::default(), CancellationToken::new());
    let error = seed.copy().await.unwrap_err();
    assert_eq!(error.reason(), "Superseded");
    assert!(documents(&pair.target.client).await.is_empty());
}
