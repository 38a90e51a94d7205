//! Two servers are equal: databases, collections with their options, indexes, and every document.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use mongodb::{
    Client,
    bson::{Bson, Document, doc},
};

/// All that a server holds, but for what is its own.
pub async fn contents(client: &Client) -> BTreeMap<String, Document> {
    let mut all = BTreeMap::new();
    for name in client.list_database_names().await.unwrap() {
        if matches!(name.as_str(), "admin" | "config" | "local" | "farshore") {
            continue;
        }
        let database = client.database(&name);
        let mut collections = database.list_collections().await.unwrap();
        while let Some(collection) = collections.try_next().await.unwrap() {
            let options = mongodb::bson::serialize_to_document(&collection.options).unwrap();
            let key = format!("{name}.{}", collection.name);
            let indexes = indexes(client, (&name, &collection.name)).await;
            all.insert(key, doc! {"options": options, "indexes": indexes});
        }
    }
    all
}

/// Definitions of indexes, by name.
async fn indexes(client: &Client, (database, collection): (&str, &str)) -> Document {
    let reply = client.database(database).run_command(doc! {"listIndexes": collection}).await.unwrap();
    let batch = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
    let mut sorted: Vec<&Document> = batch.iter().filter_map(Bson::as_document).collect();
    sorted.sort_by_key(|index| index.get_str("name").unwrap().to_owned());
    sorted
        .into_iter()
        .map(|index| {
            let mut index = index.clone();
            index.remove("ns");
            (index.get_str("name").unwrap().to_owned(), Bson::Document(index))
        })
        .collect()
}

async fn documents(client: &Client, namespace: &str) -> BTreeMap<Vec<u8>, Document> {
    let (database, collection) = namespace.split_once('.').unwrap();
    let found = client.database(database).collection::<Document>(collection).find(doc! {}).await.unwrap();
    let all: Vec<Document> = found.try_collect().await.unwrap();
    let keyed = all.into_iter().map(|document| {
        let mut key = Vec::new();
        doc! {"": document.get("_id").unwrap()}.to_writer(&mut key).unwrap();
        (key, document)
    });
    keyed.collect()
}

/// Asserts that both hold the same.
pub async fn assert_equal(master: &Client, target: &Client) {
    let (expected, found) = (contents(master).await, contents(target).await);
    assert_eq!(expected, found, "collections, options and indexes");
    for namespace in expected.keys() {
        let (expected, found) = (documents(master, namespace).await, documents(target, namespace).await);
        let missing: Vec<_> = expected.iter().filter(|(key, _)| !found.contains_key(*key)).take(3).collect();
        assert!(missing.is_empty(), "{namespace}: of {} are missing {missing:?}", expected.len());
        let more: Vec<_> = found.iter().filter(|(key, _)| !expected.contains_key(*key)).take(3).collect();
        assert!(more.is_empty(), "{namespace}: beside {} there are {more:?}", expected.len());
        for (key, document) in &expected {
            assert_eq!(Some(document), found.get(key), "{namespace}");
        }
    }
}
