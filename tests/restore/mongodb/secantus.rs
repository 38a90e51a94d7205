//! A server that speaks MongoDB's protocol, as a child.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bson::{Document, doc};
use futures::TryStreamExt;
use mongodb::Client;

use super::history::Documents;

/// The interpreter that has the server.
pub fn python() -> String {
    std::env::var("FARSHORE_TEST_PYTHON").unwrap_or_else(|_| {
        panic!("FARSHORE_TEST_PYTHON is not set: run `make test`, or take the python of `dev/build python`")
    })
}

/// A port of this machine that nobody uses.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// All documents of the database `shop`, by collection.
pub async fn documents(client: &Client) -> Documents {
    let database = client.database("shop");
    let mut all = Documents::new();
    for name in database.list_collection_names().await.unwrap() {
        let found = database.collection::<Document>(&name).find(doc! {}).await.unwrap();
        let found: Vec<Document> = found.try_collect().await.unwrap();
        let by_id = found.into_iter().map(|document| (document.get_i32("_id").unwrap(), document));
        all.insert(name, by_id.collect::<BTreeMap<_, _>>());
    }
    all
}

pub struct Secantus {
    child: Child,
    pub uri: String,
    client: Client,
}

impl Secantus {
    /// Starts a server that holds nothing.
    pub async fn start() -> Self {
        let python = python();
        let program = Path::new(&python).with_file_name("secantusd-py");
        let port = free_port();
        // The script names a folder that the environment was in while it was made.
        let child = Command::new(&python)
            .arg(program)
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--storage-path", ":memory:"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true&serverSelectionTimeoutMS=500");
        let client = Client::with_uri_str(&uri).await.unwrap();
        let server = Self { child, uri, client };
        for _ in 0..100 {
            if server.client.database("admin").run_command(doc! {"ping": 1}).await.is_ok() {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server doesn't start");
    }

    /// All documents of the database, by collection.
    pub async fn documents(&self) -> Documents {
        documents(&self.client).await
    }

    /// Names of a collection's indexes but the one on `_id`, and whether they are unique.
    pub async fn indexes(&self, collection: &str) -> Vec<(String, bool)> {
        let of = self.client.database("shop").collection::<Document>(collection);
        let indexes: Vec<_> = of.list_indexes().await.unwrap().try_collect().await.unwrap();
        let mut found: Vec<(String, bool)> = indexes
            .into_iter()
            .filter_map(|index| index.options)
            .map(|options| (options.name.unwrap_or_default(), options.unique == Some(true)))
            .filter(|(name, _)| name != "_id_")
            .collect();
        found.sort();
        found
    }

    pub async fn insert(&self, collection: &str, document: Document) {
        self.client.database("shop").collection(collection).insert_one(document).await.unwrap();
    }
}

impl Drop for Secantus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
