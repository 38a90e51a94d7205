use mongodb::bson::{Bson, Document, doc};

use super::{Groups, TRANSACTION, size};
use crate::{
    mongo::{Change, Namespace, Place},
    standby::feed::{Heard, Position, event::Event},
};

fn place(seconds: u32) -> Place {
    Place { seconds, increment: 0 }
}

fn put(id: i32) -> Change {
    Change::Put { namespace: Namespace::new("shop", "orders"), id: id.into(), document: doc! {"_id": id} }
}

fn token(id: i32) -> Document {
    doc! {"_data": id.to_string()}
}

/// An event: of a transaction, if it has a number.
fn event(id: i32, seconds: u32, number: Option<u8>) -> Event {
    let transaction = number.map(|number| vec![number]);
    let token = token(id);
    Event { transaction, place: place(seconds), wall: None, token, changes: vec![put(id)], ends: false }
}

/// What was heard, as ids with the seconds of the position after them.
fn words(heard: &[Heard]) -> Vec<String> {
    let word = |heard: &Heard| match heard {
        Heard::Group(group) => {
            let ids = group.changes.iter().map(|change| match change {
                Change::Put { id, .. } => id.to_string(),
                other => format!("{other:?}"),
            });
            format!("{} to {}", ids.collect::<Vec<_>>().join("+"), group.position.place.seconds)
        }
        Heard::Idle(Position { place, .. }) => format!("idle to {}", place.seconds),
    };
    heard.iter().map(word).collect()
}

fn all(events: Vec<Event>) -> (Groups, Vec<String>) {
    let mut groups = Groups::new(place(1));
    let heard: Vec<Heard> = events.into_iter().flat_map(|event| groups.take(event).unwrap()).collect();
    (groups, words(&heard))
}

#[test]
fn d09_a_transaction_waits_for_what_proves_it_whole() {
    let events = || vec![event(1, 5, None), event(2, 6, Some(1)), event(3, 6, Some(1))];
    let (groups, heard) = all(events());
    assert_eq!(heard, ["1 to 5"]);
    assert!(groups.holds());
    // A batch that came empty, a later token, a later event, another transaction.
    let (mut groups, _) = all(events());
    assert_eq!(words(&groups.settle().into_iter().collect::<Vec<_>>()), ["2+3 to 6"]);
    let (mut groups, _) = all(events());
    assert_eq!(groups.settle_before(place(6)), None);
    assert_eq!(words(&groups.settle_before(place(7)).into_iter().collect::<Vec<_>>()), ["2+3 to 6"]);
    for next in [event(4, 7, None), event(4, 7, Some(2))] {
        let mut events = events();
        events.push(next);
        let (mut groups, heard) = all(events);
        assert_eq!(heard, ["1 to 5", "2+3 to 6"]);
        assert_eq!(words(&groups.settle().into_iter().collect::<Vec<_>>()), ["4 to 7"]);
        assert!(!groups.holds());
    }
}

#[test]
fn d09_an_unfinished_tail_is_never_given_out() {
    let (groups, heard) = all(vec![event(1, 6, Some(1)), event(2, 6, Some(1))]);
    assert_eq!(heard, Vec::<String>::new());
    assert_eq!(groups.before(), place(1));
}

#[test]
fn d09_a_transaction_whose_end_is_told_waits_for_nothing() {
    let mut end = event(3, 8, Some(1));
    (end.ends, end.changes) = (true, Vec::new());
    let (groups, heard) = all(vec![event(1, 6, Some(1)), event(2, 6, Some(1)), end]);
    assert_eq!(heard, ["1+2 to 8"]);
    assert!(!groups.holds());
}

#[test]
fn d09_a_position_is_never_ahead_of_a_change_of_the_same_time() {
    let (mut groups, heard) =
        all(vec![event(1, 5, None), event(2, 5, None), event(3, 5, None), event(4, 6, None)]);
    assert_eq!(heard, ["1 to 1", "2 to 1", "3 to 5"]);
    let Some(Heard::Group(last)) = groups.settle() else { panic!("one is held") };
    assert_eq!(last.position, Position { place: place(6), wall: None, token: Some(token(4)) });
}

#[test]
fn d09_what_changes_nothing_moves_the_position_alone() {
    let mut nothing = event(1, 5, None);
    nothing.changes.clear();
    let (mut groups, _) = all(vec![nothing]);
    assert_eq!(words(&groups.settle().into_iter().collect::<Vec<_>>()), ["idle to 5"]);
    assert_eq!(
        words(&[groups.idle(Some(place(9)), None), groups.idle(Some(place(8)), None)]),
        ["idle to 9", "idle to 9"]
    );
    assert_eq!(words(&[groups.idle(None, None)]), ["idle to 9"]);
}

#[test]
fn d09_a_clock_that_goes_back_is_refused() {
    let mut groups = Groups::new(place(10));
    assert_eq!(groups.take(event(1, 9, None)).unwrap_err().reason(), "MasterDiverged");
    groups.take(event(1, 11, None)).unwrap();
    assert_eq!(groups.take(event(2, 10, None)).unwrap_err().reason(), "MasterDiverged");
}

#[test]
fn d09_a_transaction_that_is_too_large_is_an_error_and_not_divided() {
    let large = |id: i32| {
        let namespace = Namespace::new("shop", "orders");
        let document = doc! {"_id": id, "text": "x".repeat(TRANSACTION / 4)};
        let mut event = event(id, 5, Some(1));
        event.changes = vec![Change::Put { namespace, id: Bson::Int32(id), document }];
        event
    };
    let mut groups = Groups::new(place(1));
    for id in 0..3 {
        assert_eq!(groups.take(large(id)).unwrap(), []);
    }
    let error = groups.take(large(3)).unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("128 MiB"), "{error}");
}

#[test]
fn d09_sizes_are_about_those_of_bson() {
    let document =
        doc! {"_id": 1, "text": "x".repeat(1000), "in": {"list": [1.0, 2_i64, {"a": "b"}], "none": null}};
    let mut bytes = Vec::new();
    document.to_writer(&mut bytes).unwrap();
    let change = Change::Put { namespace: Namespace::new("shop", "orders"), id: 1.into(), document };
    assert!((bytes.len()..bytes.len() + 100).contains(&size(&change)), "{} {}", bytes.len(), size(&change));
}
