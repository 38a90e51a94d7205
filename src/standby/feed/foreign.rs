//! Servers that speak MongoDB's protocol and are not mongod: their events say less.

use mongodb::{
    Client,
    bson::{Bson, Document, doc},
};

use crate::standby::{
    Result, Side,
    servers::{ANSWER, within},
};

/// What every index has: an event that tells no more may have left out the rest.
const BARE: [&str; 3] = ["v", "key", "name"];

/// What such a server notes of an index in its oplog, and takes from nobody.
const NOTES: [&str; 2] = ["multikey", "entryFormat"];

/// Completes the indexes of an event from the oplog's entry of the same moment. What they are by now may be something
/// else.
///
/// # Errors
/// [`Error::Server`](crate::standby::Error::Server)
pub(super) async fn complete(client: &Client, event: &mut Document) -> Result<()> {
    if !event.get_str("operationType").is_ok_and(|kind| kind == "createIndexes") || !is_bare(event) {
        return Ok(());
    }
    let collection = event.get_document("ns").and_then(|ns| ns.get_str("coll").map(str::to_owned));
    let (Some(time), Ok(collection)) = (event.get("clusterTime").cloned(), collection) else { return Ok(()) };
    let find = doc! {
        "find": "oplog.rs", "filter": {"ts": time, "o.createIndexes": collection}, "limit": 1, "singleBatch": true,
    };
    let local = client.database("local");
    let asked = local.run_command(find);
    let reply =
        within(ANSWER, Side::Master, "looking for an entry of the oplog", asked.into_future()).await?;
    let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let entry = batch.ok().and_then(|batch| batch.first()?.as_document()?.get_document("o").ok());
    if let Some(indexes) = entry.and_then(|o| o.get_array("indexes").ok()) {
        event
            .insert("operationDescription", doc! {"indexes": indexes.iter().map(public).collect::<Vec<_>>()});
    }
    Ok(())
}

/// An index without the server's own notes on it.
fn public(index: &Bson) -> Bson {
    let mut index = index.clone();
    if let Bson::Document(index) = &mut index {
        for note in NOTES {
            index.remove(note);
        }
    }
    index
}

fn is_bare(event: &Document) -> bool {
    let described = event.get_document("operationDescription");
    let indexes = described.and_then(|described| described.get_array("indexes"));
    let bare = |index: &Bson| {
        index.as_document().is_some_and(|index| index.keys().all(|option| BARE.contains(&option.as_str())))
    };
    indexes.is_ok_and(|indexes| indexes.iter().all(bare))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::{is_bare, public};

    #[test]
    fn d01_what_a_server_notes_of_an_index_for_itself_is_left_out() {
        let noted =
            doc! {"v": 2, "key": {"a": 1}, "name": "a_1", "unique": true, "entryFormat": 4, "multikey": true};
        let index = doc! {"v": 2, "key": {"a": 1}, "name": "a_1", "unique": true};
        assert_eq!(public(&noted.into()), index.into());
    }

    #[test]
    fn d01_an_index_whose_options_are_told_needs_no_second_look() {
        let event = |index| doc! {"operationDescription": {"indexes": [index]}};
        assert!(is_bare(&event(doc! {"v": 2, "key": {"a": 1}, "name": "a_1"})));
        assert!(!is_bare(&event(doc! {"v": 2, "key": {"a": 1}, "name": "a_1", "sparse": true})));
        assert!(!is_bare(&doc! {}));
    }
}
