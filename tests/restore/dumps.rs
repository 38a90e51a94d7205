//! Archives and oplogs that real mongodump and mongod wrote.

use std::{collections::BTreeMap, io::Read, path::PathBuf};

use bson::{Bson, Document, doc};
use farshore::mongo::{
    Change, Define, Error, Place,
    archive::{Archive, Item, Kind},
    diff::Update,
    oplog::{Replay, place_of},
    slice::{Slice, parse},
};

fn sample(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples/mongodump");
    std::fs::read(folder.join(name)).unwrap()
}

type Counts<'a> = &'a [(&'a str, usize)];

/// All documents of an archive, by collection.
fn documents(archive: &[u8]) -> Result<BTreeMap<String, Vec<Document>>, Error> {
    let mut archive = Archive::open(archive)?;
    let mut found: BTreeMap<String, Vec<Document>> = BTreeMap::new();
    while let Some(item) = archive.next_item()? {
        match item {
            Item::Document { namespace, bytes } => {
                found.entry(namespace.to_string()).or_default().push(parse(&bytes)?);
            }
            Item::Ended(namespace) => drop(found.entry(namespace.to_string()).or_default()),
        }
    }
    Ok(found)
}

#[test]
fn b08_archives_of_real_mongodump_are_read_whole() {
    let sets: [(&str, &str, Counts); 3] = [
        ("test.bar.archive", "3.4.3", &[("admin.system.version", 1), ("test.bar", 1)]),
        ("dump-w-oplog.archive", "4.0.2", &[(".oplog", 18), ("admin.system.version", 1), ("test.foo", 25)]),
        (
            "timeseries_tests-dump.archive",
            "5.0.0-rc0",
            &[
                ("admin.system.version", 1),
                ("admin.system.views", 0),
                ("timeseries_test.system.buckets.foo_ts", 10),
            ],
        ),
    ];
    for (name, version, expected) in sets {
        let bytes = sample(name);
        assert_eq!(Archive::open(&bytes[..]).unwrap().prelude.server_version, version);
        let found = documents(&bytes).unwrap();
        let counts: Vec<(&str, usize)> =
            found.iter().map(|(name, documents)| (name.as_str(), documents.len())).collect();
        assert_eq!(counts, expected, "{name}");
    }
}

#[test]
fn b08_an_archive_tells_collections_and_their_indexes() {
    let bytes = sample("timeseries_tests-dump.archive");
    let prelude = Archive::open(&bytes[..]).unwrap().prelude;
    let series = prelude.collections.iter().find(|of| of.kind == Kind::TimeSeries).unwrap();
    assert_eq!(series.namespace.to_string(), "timeseries_test.foo_ts");
    assert_eq!(series.options.get_document("timeseries").unwrap().get_str("timeField").unwrap(), "ts");
    assert!(series.indexes.iter().any(|index| index.get_str("name").unwrap() == "meta.device_1"));
}

#[test]
fn b08_a_broken_archive_is_refused_with_what_is_wrong() {
    let error = documents(&sample("bad-format.archive")).unwrap_err().to_string();
    assert!(error.contains("the metadata of test.ixtest"), "{error}");
    let error = documents(b"not an archive").unwrap_err().to_string();
    assert_eq!(error, "not an archive of mongodump");
}

#[test]
fn b08_an_archive_that_is_cut_off_anywhere_or_changed_is_never_taken_for_whole() {
    let whole = sample("dump-w-oplog.archive");
    for length in 0..whole.len() {
        assert!(documents(&whole[..length]).is_err(), "cut off at {length}");
    }
    // A value within a document: only the checksum can tell.
    let at = whole.windows(3).position(|bytes| bytes == b"\x10a\0").unwrap() + 3;
    let mut changed = whole.clone();
    changed[at] ^= 1;
    let error = documents(&changed).unwrap_err().to_string();
    assert!(error.contains("test.foo are not those that were written"), "{error}");
}

#[test]
fn b08_an_archive_is_read_in_the_memory_of_a_document() {
    // Nothing reads ahead: what is behind an item was not asked for yet.
    struct Counting<'a>(&'a [u8], std::rc::Rc<std::cell::Cell<usize>>);
    impl Read for Counting<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.read(buffer)?;
            self.1.set(self.1.get() + count);
            Ok(count)
        }
    }
    let (bytes, read) = (sample("timeseries_tests-dump.archive"), std::rc::Rc::default());
    let mut archive = Archive::open(Counting(&bytes, std::rc::Rc::clone(&read))).unwrap();
    let (mut before, mut largest) = (read.get(), 0);
    while let Some(item) = archive.next_item().unwrap() {
        if let Item::Document { bytes, .. } = item {
            largest = largest.max(read.get() - before - bytes.len());
        }
        before = read.get();
    }
    assert!(largest < 200, "{largest} bytes were read besides a document");
}

/// Everything that an oplog changes, to its end.
fn changes(name: &str) -> Result<Vec<Change>, Error> {
    let mut replay = Replay::new(Place::default(), u32::MAX);
    let mut found = Vec::new();
    for entry in Slice::new(&sample(name)[..]) {
        found.extend(replay.take(entry?)?);
    }
    Ok(found)
}

fn words(change: &Change) -> &'static str {
    match change {
        Change::Put { .. } => "put",
        Change::Update { .. } => "update",
        Change::Remove { .. } => "remove",
        Change::Define(Define::Create { .. }) => "create",
        Change::Define(Define::CreateIndexes { .. }) => "indexes",
        Change::Define(Define::ModifyIndex { .. }) => "modify",
        Change::Define(_) => "define",
    }
}

#[test]
fn b08_oplogs_of_real_servers_become_changes() {
    let sets: [(&str, Counts); 8] = [
        ("oplog-collMod_ttl_index.bson", &[("modify", 1), ("put", 1)]),
        // Builds that were begun, or given up, are nothing; those that were done are indexes. One of the two
        // is the server's own.
        ("oplog-commit_indexes_build.bson", &[("create", 1), ("indexes", 1), ("put", 1)]),
        ("oplog-create_indexes.bson", &[("create", 1), ("indexes", 1)]),
        ("oplog-oplog_ignore_index.bson", &[]),
        ("oplog-dump_with_noop_in_oplog.bson", &[("create", 1), ("put", 1)]),
        ("oplog-duplicate_index_key_with_oplog.bson", &[("put", 1), ("remove", 1)]),
        ("oplog-tools-2002.bson", &[("create", 1), ("indexes", 1)]),
        ("oplog-dump_oplog_conflict.bson", &[("put", 5)]),
    ];
    for (name, expected) in sets {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        changes(name).unwrap().iter().for_each(|change| *counts.entry(words(change)).or_default() += 1);
        let counts: Vec<(&str, usize)> = counts.into_iter().collect();
        assert_eq!(counts, expected, "{name}");
    }
}

#[test]
fn b08_apply_ops_of_a_real_server_are_unpacked() {
    let found = changes("oplog-oplogdump.bson").unwrap();
    let bytes = sample("oplog-oplogdump.bson");
    let packed: usize = Slice::new(&bytes[..])
        .map(|entry| entry.unwrap().get_document("o").unwrap().get_array("applyOps").map_or(1, Vec::len))
        .sum();
    assert!(packed > 3 && found.len() == packed, "{} of {packed}", found.len());
}

#[test]
fn b08_a_time_series_is_refused_by_name_and_not_left_out() {
    let error = changes("oplog-timeseries.bson").unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)));
    assert!(error.to_string().contains("timeseries_test.system.buckets.foo_ts"), "{error}");
}

#[test]
fn b08_what_belongs_to_the_server_itself_is_left_alone() {
    let of_config = changes("oplog-oplog_partial_skips.bson").unwrap();
    for change in &of_config {
        if let Change::Put { namespace, .. } | Change::Remove { namespace, .. } = change {
            assert!(!namespace.is_internal(), "{namespace}");
        }
    }
}

/// What a diff sets, by path: worked out without the code under test.
fn paths(diff: &Document, at: &str, found: &mut Vec<(String, Option<Bson>)>) {
    let join = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}\u{1}{name}") };
    for (key, value) in diff {
        match (key.as_str(), value) {
            ("i" | "u", Bson::Document(fields)) => {
                fields.iter().for_each(|(name, value)| found.push((join(name), Some(value.clone()))));
            }
            ("d", Bson::Document(fields)) => fields.keys().for_each(|name| found.push((join(name), None))),
            (section, Bson::Document(inner)) => paths(inner, &join(&section[1..]), found),
            other => panic!("{other:?}"),
        }
    }
}

fn at_path<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    match path.split_once('\u{1}') {
        None => document.get(path),
        Some((first, rest)) => at_path(document.get(first)?.as_document()?, rest),
    }
}

#[test]
fn b08_the_872_diffs_of_a_real_server_change_documents_as_they_say() {
    let empty = || {
        let inner = || doc! {"min": {}, "max": {}};
        doc! {"control": inner(), "data": {"ts": {}, "_id": {}, "measurement": {}}}
    };
    let mut buckets: BTreeMap<Vec<u8>, Document> = BTreeMap::new();
    let mut model: BTreeMap<Vec<u8>, BTreeMap<String, Option<Bson>>> = BTreeMap::new();
    let mut log: Vec<(Vec<u8>, Update)> = Vec::new();
    for entry in Slice::new(&sample("oplog-timeseries.bson")[..]) {
        let entry = entry.unwrap();
        assert!(place_of(&entry).unwrap() > Place::default());
        let mut id = Vec::new();
        doc! {"": entry.get_document("o2").unwrap().get("_id")}.to_writer(&mut id).unwrap();
        let o = entry.get_document("o").unwrap().clone();
        let mut said = Vec::new();
        paths(o.get_document("diff").unwrap(), "", &mut said);
        assert!(!said.is_empty());
        model.entry(id.clone()).or_default().extend(said);
        log.push((id, Update::read(o).unwrap()));
    }
    assert_eq!(log.len(), 872);
    for (id, update) in &log {
        update.apply(buckets.entry(id.clone()).or_insert_with(empty)).unwrap();
    }
    let check = |buckets: &BTreeMap<Vec<u8>, Document>| {
        let mut checked = 0;
        for (id, said) in &model {
            for (path, value) in said {
                assert_eq!(at_path(&buckets[id], path), value.as_ref(), "{path:?}");
                checked += 1;
            }
        }
        checked
    };
    assert!(check(&buckets) > 1000, "{}", check(&buckets));
    // A second time, on what is newer: as when the dump was taken late.
    for (id, update) in &log {
        update.apply(buckets.get_mut(id).unwrap()).unwrap();
    }
    check(&buckets);
}
