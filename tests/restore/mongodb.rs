//! Any moment of a MongoDB, from a dump that was taken while it was written, and its oplog.
//!
//! The history is made here, in the words of a real server's oplog (`$v: 2`, `applyOps`), with the documents
//! as they stand after each entry: what is restored into a server is compared with these. No MongoDB was to
//! be had: the server is `SecantusDB`.

mod fresh;
mod history;
mod secantus;

use std::sync::Arc;

use farshore::{
    backup::catalog::Format,
    restore::{Origin, Reporter, locate, look, mongodb},
    store::{ObjectStore, memory::MemoryStore},
};
use jiff::Timestamp;

use history::History;
use secantus::Secantus;

async fn restored(
    store: &MemoryStore,
    at: Option<Timestamp>,
) -> Result<(Secantus, farshore::restore::Reached), String> {
    let store: Arc<dyn ObjectStore> = Arc::new(store.clone());
    let (_, mut plan) =
        look(&store, "o/", &Format::WalGMongoDB, at).await.map_err(|error| error.to_string())?;
    locate(&store, "o/", &mut plan).await.map_err(|error| error.to_string())?;
    let server = Secantus::start().await;
    let origin = Origin { store, prefix: "o/".to_owned(), reporter: Reporter::new(plan.bytes) };
    let settings = mongodb::Settings { uri: server.uri.clone() };
    let reached = mongodb::restore(&plan, &origin, &settings).await.map_err(|error| error.to_string())?;
    Ok((server, reached))
}

fn second(seconds: u32) -> Timestamp {
    Timestamp::from_second(i64::from(seconds)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_ten_moments_of_a_mongodb_are_restored_exactly() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let history = History::play(seed);
    let store = history.backed_up();
    let (first, last) = history.window();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut moments: Vec<u32> = (0..8).map(|_| random.u32(first..=last)).collect();
    moments.extend([first, last]);
    for moment in moments {
        let (server, reached) = restored(&store, Some(second(moment))).await.unwrap();
        let expected = history.at(moment);
        assert_eq!(server.documents().await, expected, "seed {seed}, moment {moment}");
        assert_eq!(reached.time_point, second(moment));
        assert_eq!(
            server.indexes("orders").await,
            history.indexes_at(moment),
            "seed {seed}, moment {moment}"
        );
    }
    // The latest that is shown is the last second of which no entry can be missing.
    let (server, reached) = restored(&store, None).await.unwrap();
    assert_eq!((server.documents().await, reached.time_point), (history.at(last), second(last)));
    for outside in [first - 1, last + 1] {
        let error = restored(&store, Some(second(outside))).await.err().unwrap();
        assert!(error.contains("can't be restored"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_a_slice_that_is_cut_off_or_a_dump_that_is_damaged_is_an_error_and_not_a_shorter_history() {
    let history = History::play(7);
    let (_, last) = history.window();
    let at = Timestamp::UNIX_EPOCH;
    // Cut off between two entries: nothing inside tells.
    let store = history.backed_up();
    let (key, entries) = history.plain_slice();
    store.unseed(&key);
    let plain = key.rsplit_once('.').unwrap().0;
    store.seed(&format!("{plain}.bson"), entries, at);
    let error = restored(&store, Some(second(last))).await.err().unwrap();
    assert!(error.contains("ends before its name says"), "{error}");

    // An update of a document that neither the dump nor the oplog has: something is missing.
    let store = history.backed_up();
    let (key, entries) = history.one_more_slice(&bson::doc! {"op": "u", "ns": "shop.orders",
    "o": {"$v": 2, "diff": {"u": {"tag": "x"}}}, "o2": {"_id": 999_999}});
    store.seed(&key, entries, at);
    let error = restored(&store, None).await.err().unwrap();
    assert!(error.contains("_id 999999") && error.contains("neither it nor the dump has it"), "{error}");

    let store = history.backed_up();
    let key = "o/basebackups_005/stream_1/stream.lz4";
    let mut dump = history.dump();
    let middle = dump.len() / 2;
    dump[middle] ^= 1;
    store.seed(key, history::lz4(&dump), at);
    let error = restored(&store, Some(second(last))).await.err().unwrap();
    assert!(error.contains("stream.lz4"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_an_instance_that_holds_something_is_left_alone() {
    let history = History::play(7);
    let store = history.backed_up();
    let server = Secantus::start().await;
    server.insert("mine", bson::doc! {"_id": 1}).await;
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    let (_, mut plan) = look(&store, "o/", &Format::WalGMongoDB, None).await.unwrap();
    locate(&store, "o/", &mut plan).await.unwrap();
    let origin = Origin { store, prefix: "o/".to_owned(), reporter: Reporter::new(plan.bytes) };
    let settings = mongodb::Settings { uri: server.uri.clone() };
    let error = mongodb::restore(&plan, &origin, &settings).await.unwrap_err().to_string();
    assert!(error.contains("holds database shop already"), "{error}");
    assert!(!format!("{settings:?}").contains("mongodb://"));
}
