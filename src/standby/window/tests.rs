//! Windows on paper.

use bson::{Bson, Document, doc};
use proptest::prelude::*;

use super::*;
use crate::mongo::{Define, Namespace, Place};

fn value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        any::<f64>().prop_filter("one that equals itself", |it| !it.is_nan()).prop_map(Bson::Double),
        any::<bool>().prop_map(Bson::Boolean),
        "[a-zA-Z$.äß ]{0,12}".prop_map(Bson::String),
        any::<[u8; 12]>().prop_map(|id| Bson::ObjectId(bson::oid::ObjectId::from_bytes(id))),
        any::<i64>().prop_map(|at| Bson::DateTime(bson::DateTime::from_millis(at))),
        (any::<u32>(), any::<u32>())
            .prop_map(|(time, increment)| Bson::Timestamp(bson::Timestamp { time, increment })),
        any::<Vec<u8>>().prop_map(|bytes| {
            Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes })
        }),
        Just(Bson::Null),
        Just(Bson::MinKey),
        Just(Bson::Undefined),
        any::<[u8; 16]>().prop_map(|bytes| Bson::Decimal128(bson::Decimal128::from_bytes(bytes))),
        "[a-z]{1,4}".prop_map(Bson::Symbol),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            prop::collection::vec(("[a-z$.]{0,4}", inner), 0..4)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

fn document() -> impl Strategy<Value = Document> {
    prop::collection::vec(("[a-z$.]{1,4}", value()), 0..4).prop_map(|fields| fields.into_iter().collect())
}

fn change() -> impl Strategy<Value = Change> {
    let namespace = || "[a-z]{1,3}".prop_map(|name| Namespace::new("shop", &name));
    prop_oneof![
        (namespace(), value(), document()).prop_map(|(namespace, id, document)| Change::Put {
            namespace,
            id,
            document
        }),
        (namespace(), value(), document()).prop_map(|(namespace, id, diff)| Change::Update {
            namespace,
            id,
            update: Update::Diff(diff)
        }),
        (namespace(), value(), document(), document()).prop_map(|(namespace, id, set, unset)| {
            Change::Update { namespace, id, update: Update::Modify { set, unset } }
        }),
        (namespace(), value()).prop_map(|(namespace, id)| Change::Remove { namespace, id }),
        (namespace(), document())
            .prop_map(|(namespace, options)| Change::Define(Define::Create { namespace, options })),
        (namespace(), prop::collection::vec(document(), 0..3))
            .prop_map(|(namespace, indexes)| Change::Define(Define::CreateIndexes { namespace, indexes })),
    ]
}

fn group() -> impl Strategy<Value = Group> {
    let position = (any::<u32>(), any::<u32>(), any::<bool>(), "[0-9A-F]{0,20}").prop_map(
        |(seconds, increment, known, token)| Position {
            place: Place { seconds, increment },
            wall: known.then(|| jiff::Timestamp::from_second(i64::from(seconds)).unwrap()),
            token: known.then(|| doc! {"_data": token}),
        },
    );
    (prop::collection::vec(change(), 0..5), position)
        .prop_map(|(changes, position)| Group { changes, position })
}

proptest! {
    #[test]
    fn d10_a_window_is_read_as_it_was_written(groups in prop::collection::vec(group(), 1..6)) {
        let window = Window { number: 7, groups };
        let bytes = window.encode().unwrap();
        prop_assert_eq!(Window::decode(7, &bytes).unwrap(), window);
        prop_assert!(Window::decode(7, &bytes[..bytes.len() / 2]).is_err());
    }
}

#[test]
fn d10_a_transaction_is_never_divided() {
    let position = Position { place: Place { seconds: 1, increment: 1 }, wall: None, token: None };
    let change =
        |id: i32| Change::Remove { namespace: Namespace::new("shop", "orders"), id: Bson::Int32(id) };
    let mut gathering = Gathering::default();
    assert!(gathering.is_empty());
    let large = i32::try_from(CHANGES).unwrap() * 2;
    gathering.add(Group { changes: (0..large).map(change).collect(), position: position.clone() });
    assert!(gathering.is_full());
    let window = gathering.take(1);
    assert_eq!((window.groups.len(), window.changes(), window.transactions()), (1, CHANGES * 2, 1));
    assert!(gathering.is_empty() && !gathering.is_full());
}

#[test]
fn d01_a_window_is_no_more_than_a_second_of_work_however_slow_the_target_is() {
    let mut gathering = Gathering::default();
    for _ in 0..10 {
        gathering.pace(gathering.most, Duration::from_millis(20));
    }
    assert_eq!(gathering.most, CHANGES);
    gathering.pace(300, Duration::from_millis(30));
    assert_eq!(gathering.most, CHANGES, "a small one says nothing");
    gathering.pace(1_200, Duration::from_secs(2));
    assert_eq!(gathering.most, 600);
    for _ in 0..10 {
        gathering.pace(gathering.most, Duration::from_secs(3));
    }
    assert_eq!(gathering.most, FEW);
}
