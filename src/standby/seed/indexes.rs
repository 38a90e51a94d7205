//! Indexes of what was copied.
//!
//! They are built when the documents are there. A unique one waits until the copy is consistent: before that, two
//! documents may hold a value that at the master one had after the other. So does one that the documents don't let be
//! built yet.

use futures::TryStreamExt;
use mongodb::{
    bson::{Bson, Document, doc},
    error::ErrorKind,
};

use super::{Seed, list::Listed};
use crate::{
    mongo::Namespace,
    standby::{
        Error, Result, Side,
        servers::{ANSWER, code, code_of, lacking, within},
        target::Target,
    },
};

/// Builds what may be built at once; answers with what waits.
///
/// # Errors
/// As [`Seed::copy`].
pub(super) async fn build(seed: &Seed, listed: &Listed) -> Result<Vec<Document>> {
    let (unique, plain): (Vec<Document>, Vec<Document>) =
        read(seed, &listed.namespace).await?.into_iter().partition(is_unique);
    let mut waiting = unique;
    if plain.is_empty() || create(&seed.target, &listed.namespace, &plain).await.is_ok_and(|built| built) {
        return Ok(waiting);
    }
    // One by one: some of them can be built.
    for index in plain {
        if !create(&seed.target, &listed.namespace, std::slice::from_ref(&index)).await? {
            waiting.push(index);
        }
    }
    Ok(waiting)
}

/// The master's indexes of a collection, but for the one that each collection has.
async fn read(seed: &Seed, namespace: &Namespace) -> Result<Vec<Document>> {
    let database = seed.master.database(&namespace.database);
    let listed = async {
        let command = doc! {"listIndexes": &namespace.collection};
        database.run_cursor_command(command).await?.try_collect().await
    };
    let what = format!("listing the indexes of {namespace}");
    match within(ANSWER, Side::Master, &what, listed).await {
        Ok(indexes) => Ok(chosen(indexes)),
        // It was dropped: its changes follow.
        Err(error) if code_of(&error) == Some(code::NAMESPACE_NOT_FOUND) => Ok(Vec::new()),
        Err(error) => Err(lacking(error, Side::Master, "readAnyDatabase")),
    }
}

fn chosen(indexes: Vec<Document>) -> Vec<Document> {
    let own = |index: &Document| {
        let name = index.get_str("name").unwrap_or_default();
        // One that a collection is ordered by is made with it.
        name == "_id_" || index.get_bool("clustered").is_ok_and(|clustered| clustered)
    };
    let cleaned = |mut index: Document| {
        // Of old servers.
        for old in ["ns", "background", "dropDups"] {
            index.remove(old);
        }
        if !matches!(index.get("v"), Some(Bson::Int32(version)) if *version >= 2) {
            index.remove("v");
        }
        index
    };
    indexes.into_iter().filter(|index| !own(index)).map(cleaned).collect()
}

fn is_unique(index: &Document) -> bool {
    ["unique", "prepareUnique"].iter().any(|name| match index.get(*name) {
        Some(Bson::Boolean(unique)) => *unique,
        Some(Bson::Int32(unique)) => *unique != 0,
        Some(Bson::Double(unique)) => *unique != 0.0,
        _ => false,
    })
}

/// Builds indexes; false where the target says that it can't.
async fn create(target: &Target, namespace: &Namespace, indexes: &[Document]) -> Result<bool> {
    let command = doc! {"createIndexes": &namespace.collection, "indexes": indexes.to_vec()};
    let what = format!("building indexes of {namespace}");
    match target.build(&namespace.database, command, &what).await {
        Ok(_) => Ok(true),
        Err(Error::Server { source, .. }) if is_refusal(&source) => {
            tracing::info!(%namespace, %source, "an index can't be built yet: once the copy is consistent");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The documents are against it, not the server.
fn is_refusal(error: &mongodb::error::Error) -> bool {
    let ErrorKind::Command(refused) = error.kind.as_ref() else { return false };
    !error.contains_label("RetryableWriteError")
        && !error.contains_label("RetryableError")
        && refused.code != 13
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::{chosen, is_unique};

    #[test]
    fn d01_indexes_keep_their_options_and_unique_ones_wait() {
        let text = doc! {"v": 2, "key": {"_fts": "text", "_ftsx": 1}, "name": "t", "weights": {"a": 1}, "ns": "shop.a"};
        let kept = doc! {"v": 2, "key": {"_fts": "text", "_ftsx": 1}, "name": "t", "weights": {"a": 1}};
        let partial = doc! {
            "v": 2, "key": {"a": 1}, "name": "p", "partialFilterExpression": {"a": {"$gt": 1}}, "hidden": true,
            "sparse": true, "expireAfterSeconds": 5, "collation": {"locale": "de"},
        };
        let found = chosen(vec![
            doc! {"v": 2, "key": {"_id": 1}, "name": "_id_"},
            doc! {"v": 2, "key": {"_id": 1}, "name": "own", "clustered": true, "unique": true},
            text,
            partial.clone(),
            doc! {"v": 1, "key": {"b": 1}, "name": "b", "background": true},
        ]);
        assert_eq!(found, [kept, partial, doc! {"key": {"b": 1}, "name": "b"}]);
        for unique in
            [doc! {"unique": true}, doc! {"unique": 1}, doc! {"unique": 1.0}, doc! {"prepareUnique": true}]
        {
            assert!(is_unique(&unique), "{unique}");
        }
        assert!(!is_unique(&doc! {"unique": false}) && !is_unique(&doc! {"sparse": true}));
    }
}
