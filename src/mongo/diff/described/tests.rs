use mongodb::bson::{Document, doc};

use super::Described;

fn after(mut document: Document, description: Document) -> Document {
    Described::read(description).unwrap().apply(&mut document);
    document
}

#[test]
fn d01_paths_lead_into_documents_and_arrays() {
    let before = doc! {"_id": 1, "a": {"b": 1, "c": [1, {"d": 2}, 3]}, "gone": 1, "z": 0};
    let description = doc! {
        "updatedFields": {"a.b": 5, "a.c.1.d": 6, "a.c.4": 7, "new": true},
        "removedFields": ["gone", "a.nothing"],
        "truncatedArrays": [],
        "disambiguatedPaths": {},
    };
    let expected = doc! {"_id": 1, "a": {"b": 5, "c": [1, {"d": 6}, 3, null, 7]}, "z": 0, "new": true};
    assert_eq!(after(before, description), expected);
}

#[test]
fn d01_arrays_become_shorter_before_their_elements_are_set() {
    let before = doc! {"list": [1, 2, 3, 4], "in": {"list": [{"x": 1}, 2, 3]}};
    let description = doc! {
        "updatedFields": {"list.0": 9, "in.list.0.x": 5},
        "removedFields": [],
        "truncatedArrays": [{"field": "list", "newSize": 2}, {"field": "in.list", "newSize": 1_i64}],
    };
    assert_eq!(after(before, description), doc! {"list": [9, 2], "in": {"list": [{"x": 5}]}});
}

#[test]
fn d01_an_array_alone_that_became_shorter_keeps_the_document() {
    // alibaba/MongoShake#986: the document became empty.
    let before = doc! {"_id": 1, "name": "a", "list": [1, 2, 3]};
    let description =
        doc! {"updatedFields": {}, "removedFields": [], "truncatedArrays": [{"field": "list", "newSize": 0}]};
    assert_eq!(after(before, description), doc! {"_id": 1, "name": "a", "list": []});
}

#[test]
fn d01_a_description_of_nothing_changes_nothing() {
    let before = doc! {"_id": 1, "a": 2};
    assert_eq!(after(before.clone(), doc! {}), before);
    let description =
        doc! {"updatedFields": {}, "removedFields": [], "truncatedArrays": [], "disambiguatedPaths": {}};
    assert_eq!(after(before.clone(), description), before);
}

#[test]
fn d01_names_with_dots_and_numbers_are_told_apart_from_places() {
    let before = doc! {"a": {"0": "name", "b.c": 1}, "l": [{"7": 1}], "x.y": 1};
    let description = doc! {
        "updatedFields": {"a.0": "changed", "a.b.c": 2, "l.0.7": 3},
        "removedFields": ["x.y"],
        "disambiguatedPaths": {"a.0": ["a", "0"], "a.b.c": ["a", "b.c"], "l.0.7": ["l", 0, "7"], "x.y": ["x.y"]},
    };
    assert_eq!(after(before, description), doc! {"a": {"0": "changed", "b.c": 2}, "l": [{"7": 3}]});
}

#[test]
fn d01_a_field_that_is_set_keeps_its_place_and_a_new_one_comes_last() {
    let described = doc! {"updatedFields": {"b": 3, "a": 2, "0x": 1}};
    let found = after(doc! {"a": 1, "c": 1}, described);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "c", "b", "0x"]);
}

#[test]
fn d01_a_path_that_leads_nowhere_leaves_a_newer_document_as_it_is() {
    let newer = doc! {"_id": 1, "a": "text", "l": {"x": 1}};
    let description = doc! {
        "updatedFields": {"a.b": 1, "l.0": 1, "m.n": 1},
        "removedFields": ["a.c", "q.r"],
        "truncatedArrays": [{"field": "a", "newSize": 1}],
    };
    assert_eq!(after(newer.clone(), description), newer);
}

#[test]
fn d01_what_is_not_known_is_an_error() {
    let unknown = [
        doc! {"updatedFields": {"a": 1}, "movedFields": {"a": "b"}},
        doc! {"removedFields": [1]},
        doc! {"updatedFields": [1]},
        doc! {"truncatedArrays": [{"field": "a"}]},
        doc! {"truncatedArrays": [{"field": "a", "newSize": -1}]},
        doc! {"updatedFields": {"a": 1}, "disambiguatedPaths": {"a": "a"}},
        doc! {"updatedFields": {"a": 1}, "disambiguatedPaths": {"a": []}},
        doc! {"updatedFields": {"a.99999999": 1}},
    ];
    for description in unknown {
        assert!(Described::read(description.clone()).is_err(), "{description}");
    }
}
