//! What the master did is at the target, each window wholly, however often a run breaks off.

mod random;
mod speed;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use farshore::{
    mongo::{Change, Define, Namespace, Place, diff::Update},
    standby::{
        Error, Result,
        apply::{Applier, FromMaster, Refetch},
        feed::Group,
        state::State,
        window::Window,
    },
};
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::{
    Client,
    bson::{Bson, Document, doc},
};

use crate::{
    secantus::Secantus,
    state::{held, position, start},
};

pub fn orders() -> Namespace {
    Namespace::new("shop", "orders")
}

pub fn put(namespace: &Namespace, document: Document) -> Change {
    let id = document.get("_id").unwrap().clone();
    Change::Put { namespace: namespace.clone(), id, document }
}

pub fn update(namespace: &Namespace, id: i32, set: Document) -> Change {
    let update = Update::Modify { set, unset: Document::new() };
    Change::Update { namespace: namespace.clone(), id: Bson::Int32(id), update }
}

pub fn remove(namespace: &Namespace, id: i32) -> Change {
    Change::Remove { namespace: namespace.clone(), id: Bson::Int32(id) }
}

pub fn unique(namespace: &Namespace, field: &str) -> Define {
    let index = doc! {"v": 2, "key": {field: 1}, "name": format!("{field}_1"), "unique": true};
    Define::CreateIndexes { namespace: namespace.clone(), indexes: vec![index] }
}

pub fn window(number: i64, changes: Vec<Change>) -> Window {
    let position = position(u32::try_from(number).unwrap() + 100);
    Window { number, groups: vec![Group { changes, position }] }
}

/// All documents of the database `shop`, by collection and `_id`.
pub async fn documents(client: &Client) -> BTreeMap<String, BTreeMap<i32, Document>> {
    let database = client.database("shop");
    let mut all = BTreeMap::new();
    for name in database.list_collection_names().await.unwrap() {
        let found = database.collection::<Document>(&name).find(doc! {}).await.unwrap();
        let found: Vec<Document> = found.try_collect().await.unwrap();
        let keyed = found.into_iter().map(|document| (document.get_i32("_id").unwrap(), document));
        all.insert(name, keyed.collect());
    }
    all
}

/// A target that is being caught up.
async fn copied(server: &Secantus) -> Arc<State> {
    let state = held(server, "run-1").await;
    state.begin(&start(1)).await.unwrap();
    state.copied(Place { seconds: 2, increment: 1 }).await.unwrap();
    state
}

/// A target that follows.
async fn following(server: &Secantus) -> (Arc<State>, Applier) {
    let state = copied(server).await;
    state.follow(Timestamp::now()).await.unwrap();
    let applier = Applier::open(Arc::clone(&state), None).await.unwrap();
    (state, applier)
}

async fn only_orders(server: &Secantus) -> Vec<Document> {
    documents(&server.client).await.remove("orders").unwrap_or_default().into_values().collect()
}

#[tokio::test]
async fn d01_documents_are_put_updated_and_removed_and_the_checkpoint_moves() {
    let server = Secantus::start().await;
    let (state, mut applier) = following(&server).await;
    let of = orders();
    let first = vec![put(&of, doc! {"_id": 1, "a": 1}), put(&of, doc! {"_id": 2, "a": [1, 2]})];
    applier.write(window(1, first), false).await.unwrap();
    let second = vec![
        update(&of, 2, doc! {"a.1": 5, "b.c": 1}),
        remove(&of, 1),
        put(&of, doc! {"_id": 3, "$odd": 1, "dotted.name": 2}),
    ];
    applier.write(window(2, second), true).await.unwrap();
    let expected =
        [doc! {"_id": 2, "a": [1, 5], "b": {"c": 1}}, doc! {"_id": 3, "$odd": 1, "dotted.name": 2}];
    assert_eq!(only_orders(&server).await, expected);
    let record = state.record();
    assert_eq!((record.window, record.position), (2, Some(position(102))));
    assert_eq!((record.counts.changes, record.counts.transactions, record.counts.repeated), (5, 2, 3));
    let skipped = applier.write(window(4, vec![remove(&of, 1)]), false).await;
    assert!(matches!(skipped, Err(Error::Broken(_))), "a window is missing: {skipped:?}");
}

#[tokio::test]
async fn d01_values_of_a_unique_index_change_places() {
    let server = Secantus::start().await;
    let (_, mut applier) = following(&server).await;
    let of = orders();
    let mut first: Vec<Change> = (0..200).map(|id| put(&of, doc! {"_id": id, "place": id})).collect();
    first.insert(0, Change::Define(unique(&of, "place")));
    applier.write(window(1, first), false).await.unwrap();
    // A ring in which each waits for the next one, a swap, and one that takes the place of one that goes.
    let mut second: Vec<Change> =
        (0..100).map(|id| update(&of, id, doc! {"place": (id + 1) % 100})).collect();
    second.extend([update(&of, 150, doc! {"place": 151}), update(&of, 151, doc! {"place": 150})]);
    second.extend([put(&of, doc! {"_id": 900, "place": 199}), remove(&of, 199)]);
    applier.write(window(2, second), false).await.unwrap();
    let found = only_orders(&server).await;
    let place = |id: i32| {
        let of = found.iter().find(|document| document.get_i32("_id").unwrap() == id);
        of.map(|document| document.get_i32("place").unwrap())
    };
    assert_eq!(found.len(), 200);
    assert!((0..100).all(|id| place(id) == Some((id + 1) % 100)), "{found:?}");
    assert_eq!([150, 151, 199, 900].map(place), [Some(151), Some(150), None, Some(199)]);
}

#[tokio::test]
async fn d01_what_the_target_does_not_take_is_an_error_that_names_it() {
    let server = Secantus::start().await;
    let (state, mut applier) = following(&server).await;
    let of = orders();
    let first = vec![Change::Define(unique(&of, "a")), put(&of, doc! {"_id": 1, "a": 1})];
    applier.write(window(1, first), false).await.unwrap();
    let error = applier.write(window(2, vec![put(&of, doc! {"_id": 7, "a": 1})]), false).await.unwrap_err();
    assert_eq!(error.reason(), "WriteRefused");
    assert!(error.to_string().contains("shop.orders, _id 7"), "{error}");
    assert_eq!(state.record().window, 1, "the checkpoint stays before it");
    assert_eq!(only_orders(&server).await, [doc! {"_id": 1, "a": 1}]);
}

/// A master with some documents.
struct Master(Vec<Document>);

#[async_trait]
impl Refetch for Master {
    async fn fetch(&self, _: &Namespace, ids: &[Bson]) -> Result<Vec<Document>> {
        let wanted = |document: &&Document| ids.contains(document.get("_id").unwrap());
        Ok(self.0.iter().filter(wanted).cloned().collect())
    }
}

#[tokio::test]
async fn d01_a_document_that_should_be_there_is_fetched_from_the_master_and_counted() {
    let server = Secantus::start().await;
    let (state, mut alone) = following(&server).await;
    let of = orders();
    let changes = || vec![update(&of, 1, doc! {"a": 2}), update(&of, 2, doc! {"a": 2})];
    let error = alone.write(window(1, changes()), false).await.unwrap_err();
    assert!(error.to_string().contains("shop.orders, _id"), "{error}");
    let master = Arc::new(Master(vec![doc! {"_id": 1, "a": 3, "more": true}]));
    let mut applier = Applier::open(Arc::clone(&state), Some(master)).await.unwrap();
    applier.write(window(1, changes()), true).await.unwrap();
    assert_eq!(only_orders(&server).await, [doc! {"_id": 1, "a": 3, "more": true}]);
    assert_eq!(state.record().counts.refetched, 2);
}

#[tokio::test]
async fn d01_unique_indexes_are_built_when_the_copy_is_consistent_even_by_a_later_run() {
    let server = Secantus::start().await;
    let state = copied(&server).await;
    let of = orders();
    let mut applier = Applier::open(Arc::clone(&state), None).await.unwrap();
    let index = doc! {"v": 2, "key": {"a": 1}, "name": "a_1", "unique": true};
    applier.copied(vec![of.clone()], vec![(of.clone(), index)]).await.unwrap();
    let plain = doc! {"v": 2, "key": {"c": 1}, "name": "c_1"};
    let first = vec![
        // It was changed while it was copied: not there any more, and the same as another for a while.
        update(&of, 9, doc! {"a": 1}),
        put(&of, doc! {"_id": 1, "a": 1, "b": 1}),
        put(&of, doc! {"_id": 2, "a": 1, "b": 2}),
        Change::Define(unique(&of, "b")),
        Change::Define(Define::CreateIndexes { namespace: of.clone(), indexes: vec![plain] }),
    ];
    applier.write(window(1, first), false).await.unwrap();
    assert_eq!(indexes(&server, "orders").await, [("c_1".to_owned(), false)]);
    let error = applier.finish().await.unwrap_err();
    assert_eq!(error.reason(), "IndexRefused", "{error}");

    state.let_go().await.unwrap();
    let state = held(&server, "run-2").await;
    let mut applier = Applier::open(Arc::clone(&state), None).await.unwrap();
    applier.write(window(2, vec![update(&of, 2, doc! {"a": 2})]), false).await.unwrap();
    applier.finish().await.unwrap();
    let expected = [("a_1".to_owned(), true), ("b_1".to_owned(), true), ("c_1".to_owned(), false)];
    assert_eq!(indexes(&server, "orders").await, expected);
    assert_eq!(state.record().noted, None);
}

/// Names of indexes but the one on `_id`, and whether they are unique.
async fn indexes(server: &Secantus, collection: &str) -> Vec<(String, bool)> {
    let of = server.client.database("shop").collection::<Document>(collection);
    let indexes: Vec<_> = of.list_indexes().await.unwrap().try_collect().await.unwrap();
    let options = indexes.into_iter().filter_map(|index| index.options);
    let mut found: Vec<_> =
        options.map(|of| (of.name.unwrap_or_default(), of.unique == Some(true))).collect();
    found.retain(|(name, _)| name != "_id_");
    found.sort();
    found
}

#[tokio::test]
async fn d01_a_collection_that_was_renamed_while_it_was_copied_is_there_once_and_whole() {
    let server = Secantus::start().await;
    let state = copied(&server).await;
    let (old, new) = (orders(), Namespace::new("shop", "kept"));
    let kept = server.client.database("shop").collection("kept");
    kept.insert_many([doc! {"_id": 1}, doc! {"_id": 2}]).await.unwrap();
    let mut applier = Applier::open(Arc::clone(&state), None).await.unwrap();
    applier.copied(vec![new.clone()], Vec::new()).await.unwrap();
    // The feed begins before the renaming, the copy was made after it.
    let rename = Define::Rename { from: old.clone(), to: new.clone() };
    let changes = vec![put(&old, doc! {"_id": 2}), Change::Define(rename), put(&new, doc! {"_id": 3})];
    applier.write(window(1, changes), false).await.unwrap();
    let all = documents(&server.client).await;
    assert_eq!(all.keys().collect::<Vec<_>>(), ["kept"]);
    assert_eq!(all["kept"].keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn d01_a_collection_that_was_renamed_while_it_was_copied_is_copied_again() {
    let (master, server) = (Secantus::start().await, Secantus::start().await);
    let state = copied(&server).await;
    let (old, new) = (orders(), Namespace::new("shop", "kept"));
    let kept = master.client.database("shop").collection("kept");
    kept.insert_many([doc! {"_id": 1, "a": 1}, doc! {"_id": 2, "a": 2}]).await.unwrap();
    master
        .client
        .database("shop")
        .run_command(doc! {
            "createIndexes": "kept", "indexes": [{"key": {"a": 1}, "name": "a_1", "unique": true}],
        })
        .await
        .unwrap();
    // Half of it was copied when it got its new name.
    let half = server.client.database("shop").collection("orders");
    half.insert_one(doc! {"_id": 1, "a": 1}).await.unwrap();
    let refetch = Arc::new(FromMaster(master.client.clone()));
    let mut applier = Applier::open(Arc::clone(&state), Some(refetch)).await.unwrap();
    applier.copied(vec![old.clone()], Vec::new()).await.unwrap();
    let rename = Define::Rename { from: old, to: new.clone() };
    applier.write(window(1, vec![Change::Define(rename)]), false).await.unwrap();
    let all = documents(&server.client).await;
    assert_eq!(all.keys().collect::<Vec<_>>(), ["kept"]);
    assert_eq!(all["kept"].keys().copied().collect::<Vec<_>>(), [1, 2]);
    assert!(state.record().consistent_at > Some(Place { seconds: 2, increment: 1 }), "later than that");
    applier.finish().await.unwrap();
    assert_eq!(indexes(&server, "kept").await, [("a_1".to_owned(), true)]);
}

#[tokio::test]
async fn d01_collections_indexes_and_views_change_and_what_was_done_may_be_done_again() {
    let server = Secantus::start().await;
    let (state, mut applier) = following(&server).await;
    let (of, moved, log) = (orders(), Namespace::new("shop", "moved"), Namespace::new("shop", "log"));
    let view = doc! {"_id": "shop.dear", "viewOn": "moved", "pipeline": [{"$match": {"a": 1}}]};
    let capped = doc! {"capped": true, "size": 100_000, "max": 3};
    let views = Namespace::new("shop", "system.views");
    let changes: Vec<Change> = vec![
        Change::Define(Define::Create { namespace: of.clone(), options: doc! {} }),
        put(&of, doc! {"_id": 1, "a": 1}),
        Change::Define(unique(&of, "a")),
        Change::Define(Define::Rename { from: of.clone(), to: moved.clone() }),
        put(&moved, doc! {"_id": 2, "a": 2}),
        Change::Define(Define::DropIndexes {
            namespace: moved.clone(),
            index: Bson::String("a_1".to_owned()),
        }),
        put(&moved, doc! {"_id": 3, "a": 2}),
        Change::Put { namespace: views, id: Bson::String("shop.dear".to_owned()), document: view },
        Change::Define(Define::Create { namespace: log.clone(), options: capped }),
        put(&log, doc! {"_id": 9}),
        put(&log, doc! {"_id": 8}),
        put(&log, doc! {"_id": 7}),
        put(&log, doc! {"_id": 6}),
    ];
    applier.write(window(1, changes), false).await.unwrap();
    let database = server.client.database("shop");
    let found = database.collection::<Document>("dear").find(doc! {}).await.unwrap();
    assert_eq!(found.try_collect::<Vec<_>>().await.unwrap(), [doc! {"_id": 1, "a": 1}]);
    let found = database.collection::<Document>("log").find(doc! {}).await.unwrap();
    let found: Vec<Document> = found.try_collect().await.unwrap();
    assert_eq!(found, [doc! {"_id": 8}, doc! {"_id": 7}, doc! {"_id": 6}], "in the order of their writing");
    assert!(indexes(&server, "moved").await.is_empty());

    // Each of them once more, as a run does that was killed before the checkpoint moved.
    let again = [
        Define::Rename { from: of.clone(), to: moved.clone() },
        Define::DropIndexes { namespace: moved.clone(), index: Bson::String("a_1".to_owned()) },
        Define::Drop { namespace: of.clone() },
    ];
    for (number, define) in (2..).zip(again) {
        applier.write(window(number, vec![Change::Define(define)]), true).await.unwrap();
    }
    assert_eq!(documents(&server.client).await["moved"].len(), 3);
    let last = Define::DropDatabase { database: "shop".to_owned() };
    applier.write(window(5, vec![Change::Define(last)]), false).await.unwrap();
    assert!(documents(&server.client).await.is_empty());
    assert_eq!(state.record().window, 5);
}
