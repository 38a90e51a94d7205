use mongodb::bson::{Bson, DateTime, Document, Timestamp, doc};

use super::{Parts, read};
use crate::mongo::{
    Change, Define, Error, Namespace, Place,
    diff::{Update, described::Described},
};

/// An event as mongod gives it, in its words.
fn event(kind: &str, fields: Document) -> Document {
    let mut event = doc! {
        "_id": {"_data": "82"},
        "operationType": kind,
        "clusterTime": Timestamp { time: 7, increment: 3 },
        "wallTime": DateTime::from_millis(1_700_000_000_123),
        "ns": {"db": "shop", "coll": "orders"},
    };
    event.extend(fields);
    event
}

fn changes(event: Document) -> Vec<Change> {
    read(event).unwrap().changes
}

fn orders() -> Namespace {
    Namespace::new("shop", "orders")
}

#[test]
fn d01_documents_change_as_events_say() {
    let key = doc! {"_id": 1};
    let put = |document: Document| Change::Put { namespace: orders(), id: Bson::Int32(1), document };
    let description = doc! {"updatedFields": {"a": 1}, "removedFields": [], "truncatedArrays": []};
    let update = Update::Described(Described::read(description.clone()).unwrap());
    let cases = [
        (
            event("insert", doc! {"documentKey": &key, "fullDocument": {"_id": 1, "a": 2}}),
            put(doc! {"_id": 1, "a": 2}),
        ),
        (event("replace", doc! {"documentKey": &key, "fullDocument": {"_id": 1}}), put(doc! {"_id": 1})),
        (
            event("update", doc! {"documentKey": &key, "updateDescription": description}),
            Change::Update { namespace: orders(), id: Bson::Int32(1), update },
        ),
        (
            event("delete", doc! {"documentKey": {"shard": "key", "_id": 1}}),
            Change::Remove { namespace: orders(), id: Bson::Int32(1) },
        ),
    ];
    for (event, expected) in cases {
        let read = read(event).unwrap();
        assert_eq!(read.changes, [expected]);
        assert_eq!(read.place, Place { seconds: 7, increment: 3 });
        assert_eq!(read.wall.unwrap().as_millisecond(), 1_700_000_000_123);
        assert_eq!((read.token, read.transaction, read.ends), (doc! {"_data": "82"}, None, false));
    }
}

#[test]
fn d01_an_update_of_nothing_never_replaces_the_document() {
    let description = doc! {"updatedFields": {}, "removedFields": [], "truncatedArrays": []};
    let change = changes(event("update", doc! {"documentKey": {"_id": 1}, "updateDescription": description}));
    let [Change::Update { update, .. }] = &change[..] else { panic!("{change:?}") };
    let mut document = doc! {"_id": 1, "a": 2};
    update.apply(&mut document).unwrap();
    assert_eq!(document, doc! {"_id": 1, "a": 2});
}

#[test]
fn d01_collections_change_as_events_say() {
    let namespace = orders;
    let index = doc! {"v": 2, "key": {"a": 1}, "name": "a_1", "unique": true};
    let id_index = doc! {"v": 2, "key": {"_id": 1}, "name": "_id_"};
    let described = |described: Document| doc! {"operationDescription": described};
    let cases = [
        (
            event("create", described(doc! {"capped": true, "size": 4096, "idIndex": id_index})),
            Define::Create { namespace: orders(), options: doc! {"capped": true, "size": 4096} },
        ),
        (
            event("createIndexes", described(doc! {"indexes": [&index]})),
            Define::CreateIndexes { namespace: namespace(), indexes: vec![index.clone()] },
        ),
        (
            event("dropIndexes", described(doc! {"indexes": [&index]})),
            Define::DropIndexes { namespace: orders(), index: Bson::String("a_1".into()) },
        ),
        (
            event("modify", described(doc! {"index": {"name": "a_1", "expireAfterSeconds": 5_i64}})),
            Define::ModifyIndex {
                namespace: orders(),
                change: doc! {"name": "a_1", "expireAfterSeconds": 5_i64},
            },
        ),
        (
            event("modify", described(doc! {"validationLevel": "off"})),
            Define::Command {
                database: "shop".into(),
                command: doc! {"collMod": "orders", "validationLevel": "off"},
            },
        ),
        (event("drop", doc! {}), Define::Drop { namespace: orders() }),
        (
            event("rename", doc! {"to": {"db": "shop", "coll": "old.orders"}}),
            Define::Rename { from: orders(), to: Namespace::new("shop", "old.orders") },
        ),
        (
            event("dropDatabase", doc! {"ns": {"db": "shop"}}),
            Define::DropDatabase { database: "shop".into() },
        ),
    ];
    for (event, expected) in cases {
        assert_eq!(changes(event), [Change::Define(expected)]);
    }
}

#[test]
fn d01_views_are_documents_of_the_servers_own_collection() {
    let view = doc! {"viewOn": "orders", "pipeline": [{"$match": {"a": 1}}]};
    let mut document = view.clone();
    document.insert("_id", "shop.recent");
    let namespace = Namespace::new("shop", "system.views");
    let expected = Change::Put { namespace, id: "shop.recent".into(), document };
    for kind in ["create", "modify"] {
        let fields = doc! {"ns": {"db": "shop", "coll": "recent"}, "operationDescription": &view};
        assert_eq!(changes(event(kind, fields)), std::slice::from_ref(&expected));
    }
}

#[test]
fn d01_our_own_records_and_internal_databases_are_left_out() {
    for db in ["farshore", "admin", "config", "local"] {
        let ns = doc! {"db": db, "coll": "state"};
        let insert = doc! {"ns": &ns, "documentKey": {"_id": 1}, "fullDocument": {"_id": 1}};
        for event in [event("insert", insert), event("drop", doc! {"ns": &ns})] {
            let read = read(event).unwrap();
            assert_eq!(read.changes, [], "{db}");
            assert_eq!(read.place.seconds, 7, "it moves the position");
        }
    }
}

#[test]
fn d01_events_of_a_transaction_say_so() {
    let with = |number: i64, kind: &str| {
        let lsid = doc! {"id": "a session"};
        event(kind, doc! {"documentKey": {"_id": 1}, "lsid": lsid, "txnNumber": number})
    };
    let [first, second, other] =
        [with(1, "delete"), with(1, "delete"), with(2, "delete")].map(|event| read(event).unwrap());
    assert!(first.transaction.is_some());
    assert_eq!(first.transaction, second.transaction);
    assert_ne!(first.transaction, other.transaction);
    // It tells of no collection.
    let mut end = with(1, "endOfTransaction");
    end.remove("ns");
    let end = read(end).unwrap();
    assert!(end.ends && end.changes.is_empty() && end.transaction == first.transaction);
}

#[test]
fn d01_what_is_not_known_or_not_whole_is_an_error_and_never_skipped() {
    let key = doc! {"_id": 1};
    let series = doc! {"viewOn": "system.buckets.t", "timeseries": {"timeField": "t"}};
    let cases = [
        event("invalidate", doc! {}),
        event("somethingNew", doc! {}),
        event("shardCollection", doc! {}),
        event("reshardCollection", doc! {}),
        event("refineCollectionShardKey", doc! {}),
        event("insert", doc! {"documentKey": &key}),
        event("insert", doc! {"fullDocument": {}}),
        event("update", doc! {"documentKey": &key}),
        event("createIndexes", doc! {}),
        event("dropIndexes", doc! {}),
        event("modify", doc! {}),
        event("rename", doc! {}),
        event("create", doc! {"operationDescription": series}),
        event(
            "insert",
            doc! {"ns": {"db": "shop", "coll": "system.buckets.t"}, "documentKey": &key, "fullDocument": {}},
        ),
        event("drop", doc! {"ns": {"db": "shop"}}),
        event("drop", doc! {"clusterTime": 1}),
        doc! {},
    ];
    for event in cases {
        let error = read(event.clone()).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_) | Error::Damaged(_)), "{event}");
    }
}

#[test]
fn d01_a_large_event_is_put_together() {
    let whole = event("insert", doc! {"documentKey": {"_id": 1}, "fullDocument": {"_id": 1}});
    let mut first = whole.clone();
    let large = first.remove("fullDocument").unwrap();
    first.insert("splitEvent", doc! {"fragment": 1, "of": 2});
    let second = doc! {"_id": {"_data": "83"}, "splitEvent": {"fragment": 2, "of": 2}, "fullDocument": large};
    let mut parts = Parts::default();
    assert_eq!(parts.take(whole.clone()).unwrap(), Some(whole.clone()));
    assert_eq!(parts.take(first.clone()).unwrap(), None);
    let mut expected = whole.clone();
    // A stream that is opened with it goes on after the last part.
    expected.insert("_id", doc! {"_data": "83"});
    assert_eq!(parts.take(second.clone()).unwrap(), Some(expected));
    assert_eq!(parts.take(whole.clone()).unwrap(), Some(whole.clone()));
    // Torn ones.
    assert!(Parts::default().take(second).is_err());
    let mut torn = Parts::default();
    torn.take(first.clone()).unwrap();
    assert!(torn.take(whole).is_err());
    let mut twice = Parts::default();
    twice.take(first.clone()).unwrap();
    assert!(twice.take(first).is_err());
}
