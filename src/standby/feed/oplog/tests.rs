use std::{fs::File, io::BufReader, path::Path};

use mongodb::bson::{Bson, DateTime, Document, Timestamp, doc, oid::ObjectId};

use super::{Entries, OPEN};
use crate::{
    mongo::{Change, Define, Place, slice::Slice},
    standby::feed::{Heard, groups::TRANSACTION},
};

fn place(seconds: u32) -> Place {
    Place { seconds, increment: 1 }
}

fn ts(seconds: u32) -> Timestamp {
    Timestamp { time: seconds, increment: 1 }
}

/// An entry as servers of today write it.
fn entry(seconds: u32, op: &str, ns: &str, o: Document) -> Document {
    let wall = DateTime::from_millis(i64::from(seconds) * 1000 + 7);
    doc! {"op": op, "ns": ns, "o": o, "ts": ts(seconds), "t": 1_i64, "v": 2_i64, "wall": wall}
}

fn insert(seconds: u32, id: i32) -> Document {
    entry(seconds, "i", "shop.orders", doc! {"_id": id})
}

/// An entry of the transaction with this number.
fn of_transaction(seconds: u32, number: i64, o: Document) -> Document {
    let mut entry = entry(seconds, "c", "admin.$cmd", o);
    entry.insert("lsid", doc! {"id": "a session"});
    entry.insert("txnNumber", number);
    entry.insert("prevOpTime", doc! {"ts": Timestamp { time: 0, increment: 0 }, "t": -1_i64});
    entry
}

fn operations(ids: &[i32]) -> Vec<Document> {
    ids.iter().map(|id| doc! {"op": "i", "ns": "shop.orders", "o": {"_id": id}}).collect()
}

fn part(seconds: u32, number: i64, ids: &[i32], flag: &str) -> Document {
    let mut o = doc! {"applyOps": operations(ids)};
    if !flag.is_empty() {
        o.insert(flag, true);
    }
    of_transaction(seconds, number, o)
}

/// What was heard: ids of groups, with the seconds of their positions; `~` where a transaction was open.
fn words(heard: &[Heard]) -> Vec<String> {
    let word = |heard: &Heard| {
        let (what, position) = match heard {
            Heard::Group(group) => {
                let ids = group.changes.iter().map(|change| match change {
                    Change::Put { id, .. } => format!("{id}"),
                    Change::Update { id, .. } => format!("~{id}"),
                    Change::Remove { id, .. } => format!("-{id}"),
                    Change::Define(define) => format!("{define:?}").split_once(' ').unwrap().0.to_owned(),
                });
                (ids.collect::<Vec<_>>().join("+"), &group.position)
            }
            Heard::Idle(position) => ("idle".to_owned(), position),
        };
        let open = position.token.as_ref().map(|token| token.get_timestamp(OPEN).unwrap().time);
        let open = open.map_or_else(String::new, |open| format!(" open since {open}"));
        format!("{what} to {}{open}", position.place.seconds)
    };
    heard.iter().map(word).collect()
}

fn heard(from: u32, entries: Vec<Document>) -> Vec<String> {
    words(&Entries::new(place(from)).take(entries).unwrap())
}

#[test]
fn d01_entries_become_groups_with_the_position_after_them() {
    let update = doc! {"$v": 2, "diff": {"u": {"a": 1}}};
    let mut updated = entry(12, "u", "shop.orders", update);
    updated.insert("o2", doc! {"_id": 1});
    let entries = vec![
        insert(10, 0),
        insert(11, 1),
        updated,
        entry(13, "d", "shop.orders", doc! {"_id": 1}),
        entry(14, "c", "shop.$cmd", doc! {"drop": "orders"}),
    ];
    // What is there already is read, and not told again.
    assert_eq!(heard(10, entries), ["1 to 11", "~1 to 12", "-1 to 13", "Drop to 14"]);
    let heard = Entries::new(place(10)).take(vec![insert(11, 1)]).unwrap();
    let Heard::Group(group) = &heard[0] else { panic!("{heard:?}") };
    assert_eq!(group.position.wall.unwrap().as_millisecond(), 11_007);
}

#[test]
fn d01_entries_that_change_nothing_move_the_position_alone_and_once() {
    let notes = ["n", "km", "ci", "cd", "cu"].into_iter().enumerate();
    let mut entries: Vec<Document> = notes
        .map(|(number, op)| entry(11 + u32::try_from(number).unwrap(), op, "", doc! {"msg": "x"}))
        .collect();
    for (number, command) in
        ["startIndexBuild", "abortIndexBuild", "setMultikeyMetadata", "dropIdent"].iter().enumerate()
    {
        entries.push(entry(20 + u32::try_from(number).unwrap(), "c", "shop.$cmd", doc! {*command: "orders"}));
    }
    // Nor what servers keep for themselves, nor our own records.
    entries.push(entry(30, "i", "config.transactions", doc! {"_id": 1}));
    entries.push(entry(31, "i", "farshore.state", doc! {"_id": 1}));
    entries.push(entry(32, "i", "shop.system.profile", doc! {"_id": 1}));
    assert_eq!(heard(10, entries), ["idle to 32"]);
    assert_eq!(heard(10, Vec::new()), ["idle to 10"]);
}

#[test]
fn d09_a_transaction_of_several_entries_is_told_where_it_was_committed() {
    let mut entries = Entries::new(place(10));
    let first = vec![part(11, 1, &[1, 2], "partialTxn"), insert(12, 9), part(13, 1, &[3], "partialTxn")];
    let found = entries.take(first).unwrap();
    // A feed that is opened there must read from the first part on.
    assert_eq!(words(&found), ["9 to 12 open since 11", "idle to 13 open since 11"]);
    let found = entries.take(vec![part(14, 1, &[4], "")]).unwrap();
    assert_eq!(words(&found), ["1+2+3+4 to 14"]);
}

#[test]
fn d09_a_prepared_transaction_waits_for_its_commit_and_an_aborted_one_is_never_told() {
    let commit = |at, number| of_transaction(at, number, doc! {"commitTransaction": 1, "prepared": true});
    let abort = |at, number| of_transaction(at, number, doc! {"abortTransaction": 1});
    let entries = vec![
        part(11, 1, &[1], "partialTxn"),
        part(12, 1, &[2], "prepare"),
        part(13, 2, &[3], "prepare"),
        insert(14, 9),
        abort(15, 2),
        part(16, 3, &[5], "partialTxn"),
        abort(17, 3),
        commit(18, 1),
    ];
    assert_eq!(heard(10, entries), ["9 to 14 open since 11", "1+2 to 18"]);
}

#[test]
fn d09_a_feed_that_goes_on_within_a_transaction_tells_it_once() {
    let entries = || vec![part(11, 1, &[1], "partialTxn"), insert(12, 9), part(13, 1, &[2], "")];
    let all = Entries::new(place(10)).take(entries()).unwrap();
    let Heard::Group(first) = &all[0] else { panic!("{all:?}") };
    // Read from where the token says, after the place.
    assert_eq!(first.position.token, Some(doc! {OPEN: ts(11)}));
    let mut again = Entries::new(first.position.place);
    assert_eq!(words(&again.take(entries()).unwrap()), ["1+2 to 13"]);
    // Without the beginning it is an error.
    let mut tail = entries().pop().unwrap();
    tail.insert("prevOpTime", doc! {"ts": ts(11), "t": 1_i64});
    assert!(Entries::new(place(12)).take(vec![tail]).is_err());
}

#[test]
fn d09_what_is_not_known_stops_the_feed() {
    let cases = [
        entry(11, "x", "shop.orders", doc! {"_id": 1}),
        entry(11, "c", "shop.$cmd", doc! {"upgradeDowngradeViewlessTimeseries": "orders"}),
        entry(11, "i", "shop.system.buckets.t", doc! {"_id": 1}),
        entry(11, "c", "shop.$cmd", doc! {"create": "t", "timeseries": {"timeField": "t"}}),
        doc! {"op": "i", "ns": "shop.orders", "o": {"_id": 1}},
    ];
    for entry in cases {
        let error = Entries::new(place(10)).take(vec![entry.clone()]).unwrap_err();
        assert!(error.is_permanent() && error.reason() == "UnknownChange", "{entry}");
    }
}

#[test]
fn d09_open_transactions_are_held_only_so_far() {
    let large = |seconds, id: i32| {
        let operation =
            doc! {"op": "i", "ns": "shop.orders", "o": {"_id": id, "text": "x".repeat(TRANSACTION / 4)}};
        of_transaction(seconds, i64::from(id), doc! {"applyOps": [operation], "partialTxn": true})
    };
    let mut entries = Entries::new(place(10));
    entries.take((0..3).map(|number| large(11 + number, number.cast_signed())).collect()).unwrap();
    let error = entries.take(vec![large(20, 20)]).unwrap_err();
    assert!(error.to_string().contains("128 MiB"), "{error}");
}

/// Entries that mongod wrote.
fn real(name: &str) -> Vec<Document> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/mongodump");
    let file = File::open(folder.join(format!("oplog-{name}.bson"))).unwrap();
    Slice::new(BufReader::new(file)).collect::<Result<_, _>>().unwrap()
}

fn changes(name: &str) -> Vec<Change> {
    let heard = Entries::new(Place::default()).take(real(name)).unwrap();
    let groups = heard.into_iter().filter_map(|heard| match heard {
        Heard::Group(group) => Some(group.changes),
        Heard::Idle(_) => None,
    });
    groups.flatten().collect()
}

#[test]
fn d01_real_entries_of_index_builds_become_indexes() {
    for name in ["commit_indexes_build", "create_indexes"] {
        let indexes: Vec<Document> = changes(name)
            .into_iter()
            .filter_map(|change| match change {
                Change::Define(Define::CreateIndexes { indexes, .. }) => Some(indexes),
                _ => None,
            })
            .flatten()
            .collect();
        assert!(!indexes.is_empty(), "{name}");
        assert!(
            indexes.iter().all(|index| index.get_document("key").is_ok() && index.get_str("name").is_ok())
        );
    }
    let modified = changes("collMod_ttl_index");
    let ttl = |change: &Change| matches!(change, Change::Define(Define::ModifyIndex { change, .. }) if change.contains_key("expireAfterSeconds"));
    assert!(modified.iter().any(ttl), "{modified:?}");
}

#[test]
fn d01_real_entries_of_dumps_are_read_to_their_end() {
    let names = [
        "dump_local_oplog",
        "dump_oplog_conflict",
        "dump_with_noop_in_oplog",
        "duplicate_index_key_with_oplog",
        "oplog_ignore_index",
        "oplog_partial_skips",
        "oplogdump",
        "tools-2002",
    ];
    for name in names {
        let entries = real(name);
        let last = entries.iter().map(|entry| entry.get_timestamp("ts").unwrap()).max().unwrap();
        let mut following = Entries::new(Place::default());
        // Some were put together from several logs.
        let heard = following.take(entries).unwrap_or_else(|error| panic!("{name}: {error}"));
        let Some(Heard::Group(super::Group { position, .. }) | Heard::Idle(position)) = heard.last() else {
            panic!("{name}: nothing was heard")
        };
        assert_eq!((position.place.seconds, position.place.increment), (last.time, last.increment), "{name}");
    }
}

#[test]
fn d01_real_entries_of_time_series_stop_the_feed_with_their_name() {
    let error = Entries::new(Place::default()).take(real("timeseries")).unwrap_err();
    assert!(error.to_string().contains("time series"), "{error}");
}

#[test]
fn d01_the_ids_of_real_entries_are_those_of_their_documents() {
    for change in changes("dump_local_oplog") {
        if let Change::Put { id, document, .. } = change {
            assert_eq!(document.get("_id"), Some(&id));
            assert_ne!(id, Bson::ObjectId(ObjectId::default()));
        }
    }
}
