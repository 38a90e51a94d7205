//! Diffs as servers write them.

use mongodb::bson::{Bson, Document, bson, doc};

use super::*;

fn applied(before: &Document, entry: Document) -> Document {
    let mut document = before.clone();
    Update::read(entry).unwrap().apply(&mut document).unwrap();
    document
}

#[test]
fn b08_a_diff_sets_removes_and_changes_within() {
    let before = doc! {"_id": 1, "a": 1, "b": {"c": 2, "d": 3}, "list": [1, {"x": 1}, 3]};
    let cases = [
        (
            doc! {"i": {"e": 5}},
            doc! {"_id": 1, "a": 1, "b": {"c": 2, "d": 3}, "list": [1, {"x": 1}, 3], "e": 5},
        ),
        // A field that is inserted stands at the end, one that is updated where it was.
        (doc! {"i": {"a": 5}}, doc! {"_id": 1, "b": {"c": 2, "d": 3}, "list": [1, {"x": 1}, 3], "a": 5}),
        (doc! {"u": {"a": 5}}, doc! {"_id": 1, "a": 5, "b": {"c": 2, "d": 3}, "list": [1, {"x": 1}, 3]}),
        (doc! {"d": {"a": false}}, doc! {"_id": 1, "b": {"c": 2, "d": 3}, "list": [1, {"x": 1}, 3]}),
        (
            doc! {"sb": {"u": {"c": 9}, "d": {"d": false}}},
            doc! {"_id": 1, "a": 1, "b": {"c": 9}, "list": [1, {"x": 1}, 3]},
        ),
        (
            doc! {"slist": {"a": true, "l": 2, "u0": 7, "s1": {"u": {"x": 8}}}},
            doc! {"_id": 1, "a": 1, "b": {"c": 2, "d": 3}, "list": [7, {"x": 8}]},
        ),
        (
            doc! {"slist": {"a": true, "u4": 5}},
            doc! {"_id": 1, "a": 1, "b": {"c": 2, "d": 3}, "list": [1, {"x": 1}, 3, null, 5]},
        ),
        // It is something else by now.
        (doc! {"sa": {"u": {"x": 1}}, "sb": {"a": true, "l": 0}, "snone": {"u": {"x": 1}}}, before.clone()),
    ];
    for (diff, after) in cases {
        let entry = doc! {"$v": 2, "diff": diff.clone()};
        let once = applied(&before, entry.clone());
        assert_eq!(once, after, "{diff}");
        assert_eq!(applied(&once, entry), after, "{diff} again");
    }
}

#[test]
fn b08_modifiers_of_older_servers_go_by_dotted_paths() {
    let before = doc! {"_id": 1, "b": {"c": 2}, "list": [1, {"x": 1}]};
    let cases = [
        (
            doc! {"$v": 1, "$set": {"b.c": 3, "n.e.w": 1}},
            doc! {"_id": 1, "b": {"c": 3}, "list": [1, {"x": 1}], "n": {"e": {"w": 1}}},
        ),
        (
            doc! {"$set": {"list.1.x": 2, "list.3": 4}},
            doc! {"_id": 1, "b": {"c": 2}, "list": [1, {"x": 2}, null, 4]},
        ),
        (
            doc! {"$unset": {"b.c": true, "list.0": true, "no.such": true}},
            doc! {"_id": 1, "b": {}, "list": [null, {"x": 1}]},
        ),
        (doc! {"_id": 1, "all": "new"}, doc! {"_id": 1, "all": "new"}),
    ];
    for (entry, after) in cases {
        assert_eq!(applied(&before, entry.clone()), after, "{entry}");
    }
}

#[test]
fn b08_what_is_not_known_is_an_error_and_not_left_out() {
    for entry in [doc! {"$inc": {"a": 1}}, doc! {"$v": 1, "$push": {"a": 1}}] {
        assert!(Update::read(entry).is_err());
    }
    for diff in [doc! {"b": {"bin": [1]}}, doc! {"x": 1}, doc! {"slist": {"a": true, "z0": 1}}] {
        let update = Update::read(doc! {"$v": 2, "diff": diff.clone()}).unwrap();
        let mut document = doc! {"list": [bson!(1), Bson::Null]};
        assert!(matches!(update.apply(&mut document), Err(Error::Unsupported(_))), "{diff}");
    }
}
