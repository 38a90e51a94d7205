//! Transactions of the oplog, and the moment at which it is cut.

use bson::{Bson, Document, Timestamp, doc};
use farshore::mongo::{Change, Error, Place, oplog::Replay};

fn ts(seconds: u32, increment: u32) -> Bson {
    Bson::Timestamp(Timestamp { time: seconds, increment })
}

fn insert(seconds: u32, increment: u32, id: i32) -> Document {
    doc! {"ts": ts(seconds, increment), "op": "i", "ns": "shop.orders", "o": {"_id": id}}
}

/// A part of transaction 7; `previous` is that of its entry before.
fn part(at: (u32, u32), ids: &[i32], flag: &str, previous: u32) -> Document {
    let operations: Vec<Document> =
        ids.iter().map(|id| doc! {"op": "i", "ns": "shop.orders", "o": {"_id": *id}}).collect();
    let mut o = doc! {"applyOps": operations};
    if !flag.is_empty() {
        o.insert(flag, true);
    }
    doc! {"ts": ts(at.0, at.1), "op": "c", "ns": "admin.$cmd", "o": o, "lsid": {"id": 1}, "txnNumber": 7_i64,
    "prevOpTime": {"ts": ts(previous, u32::from(previous > 0)), "t": 1_i64}}
}

fn end(at: (u32, u32), command: &str) -> Document {
    doc! {"ts": ts(at.0, at.1), "op": "c", "ns": "admin.$cmd", "o": {command: 1}, "lsid": {"id": 1}, "txnNumber": 7_i64,
    "prevOpTime": {"ts": ts(at.0, 1), "t": 1_i64}}
}

fn ids(replay: &mut Replay, entries: Vec<Document>) -> Result<Vec<i32>, Error> {
    let mut found = Vec::new();
    for entry in entries {
        for change in replay.take(entry)? {
            let Change::Put { id: Bson::Int32(id), .. } = change else { panic!("{change:?}") };
            found.push(id);
        }
    }
    Ok(found)
}

fn all(entries: Vec<Document>, from: (u32, u32), until: u32) -> Result<Vec<i32>, Error> {
    ids(&mut Replay::new(Place { seconds: from.0, increment: from.1 }, until), entries)
}

#[test]
fn b08_a_replay_holds_the_whole_second_and_nothing_later() {
    let entries =
        || vec![insert(9, 9, 1), insert(10, 1, 2), insert(10, 2, 3), insert(11, 1, 4), insert(10, 3, 5)];
    assert_eq!(all(entries(), (9, 9), 10).unwrap(), [2, 3]);
    assert_eq!(all(entries(), (10, 1), 11).unwrap(), [3, 4]);
    let mut replay = Replay::new(Place::default(), 10);
    ids(&mut replay, entries()).unwrap();
    assert!(replay.is_over());
    assert_eq!(replay.last, Some(Place { seconds: 10, increment: 2 }));
}

#[test]
fn b08_a_transaction_counts_where_it_was_committed_and_as_a_whole() {
    let entries = || {
        vec![
            part((9, 1), &[1, 2], "partialTxn", 0),
            insert(10, 1, 3),
            part((10, 2), &[4], "partialTxn", 9),
            part((12, 1), &[5], "", 10),
        ]
    };
    assert_eq!(all(entries(), (0, 0), 11).unwrap(), [3]);
    assert_eq!(all(entries(), (0, 0), 12).unwrap(), [3, 1, 2, 4, 5]);
    // Its beginning lies before the place from which on the log is replayed.
    assert_eq!(all(entries(), (10, 1), 12).unwrap(), [1, 2, 4, 5]);
    // And its end, too.
    assert_eq!(all(entries(), (12, 1), 12).unwrap(), [0; 0]);
}

#[test]
fn b08_a_transaction_whose_beginning_is_missing_is_refused() {
    let headless = vec![insert(10, 1, 3), part((12, 1), &[5], "", 9)];
    let error = all(headless, (9, 5), 12).unwrap_err().to_string();
    assert!(error.contains("12.1 began before the oplog that is there"), "{error}");
    let mut short = part((12, 1), &[5], "", 0);
    short.get_document_mut("o").unwrap().insert("count", 3_i64);
    assert!(all(vec![short], (0, 0), 12).is_err());
    assert!(all(vec![end((12, 1), "commitTransaction")], (0, 0), 12).is_err());
}

#[test]
fn b08_prepared_transactions_wait_for_their_end() {
    let prepared = |command| vec![part((10, 1), &[1], "prepare", 0), insert(10, 2, 2), end((11, 1), command)];
    assert_eq!(all(prepared("commitTransaction"), (0, 0), 20).unwrap(), [2, 1]);
    assert_eq!(all(prepared("commitTransaction"), (0, 0), 10).unwrap(), [2]);
    assert_eq!(all(prepared("abortTransaction"), (0, 0), 20).unwrap(), [2]);
}

#[test]
fn b08_entries_that_come_again_are_applied_once_in_the_order_of_the_log() {
    let mut replay = Replay::new(Place::default(), 100);
    let first = vec![insert(10, 1, 1), insert(10, 2, 2), insert(11, 1, 3)];
    assert_eq!(ids(&mut replay, first).unwrap(), [1, 2, 3]);
    let overlapping = vec![insert(10, 2, 2), insert(11, 1, 3), insert(11, 2, 4)];
    assert_eq!(ids(&mut replay, overlapping).unwrap(), [4]);
}

#[test]
fn b08_an_entry_that_is_not_known_stops_the_replay() {
    for (op, o) in
        [("x", doc! {"_id": 1}), ("c", doc! {"importCollection": "a"}), ("u", doc! {"$inc": {"a": 1}})]
    {
        let ns = if op == "c" { "shop.$cmd" } else { "shop.orders" };
        let entry = doc! {"ts": ts(1, 1), "op": op, "ns": ns, "o": o, "o2": {"_id": 1}};
        let error = Replay::new(Place::default(), 9).take(entry).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
    }
    for op in ["n", "km", "ci"] {
        let entry = doc! {"ts": ts(1, 1), "op": op, "ns": "", "o": {}};
        assert_eq!(Replay::new(Place::default(), 9).take(entry).unwrap(), []);
    }
}
