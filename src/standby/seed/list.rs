//! What the master holds.

use futures::TryStreamExt;
use mongodb::{
    Client,
    bson::{Binary, Bson, Document, doc},
};

use crate::{
    mongo::{Namespace, Place},
    standby::{
        Error, Result, Side,
        feed::is_copied,
        servers::{
            ANSWER, ask,
            facts::{self, why_uncopied},
            lacking, within,
        },
    },
};

/// A collection of the master.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listed {
    pub namespace: Namespace,
    /// As `create` takes them.
    pub options: Document,
    pub capped: bool,
    /// Another one of the same name has another.
    pub uuid: Option<Binary>,
    /// It is read as it was at this moment of the master, or later.
    pub since: Place,
    /// An estimate.
    pub documents: u64,
    /// An estimate; 0 where it isn't known.
    pub bytes: u64,
}

type View = (Namespace, Document);

/// Lists collections and views.
///
/// # Errors
/// [`Error::Refused`] with `NotSupported` for a collection that can't be copied, or `PrivilegeMissing`;
/// [`Error::Server`].
pub(super) async fn list(master: &Client) -> Result<(Vec<Listed>, Vec<View>)> {
    let (since, _) = facts::majority_of(master, Side::Master).await?;
    let names = master.list_database_names();
    let names = within(ANSWER, Side::Master, "listDatabases", names.into_future()).await.map_err(reader)?;
    let (mut collections, mut views) = (Vec::new(), Vec::new());
    for name in names.into_iter().filter(|name| is_copied(name)) {
        for found in of_database(master, &name, doc! {}).await? {
            match read(&name, found, since)? {
                Some(Found::Collection(listed)) => collections.push(measured(master, *listed).await?),
                Some(Found::View(namespace, options)) => views.push((namespace, options)),
                None => {}
            }
        }
    }
    // The largest first: they take longest.
    collections.sort_by_key(|listed| std::cmp::Reverse(listed.bytes));
    Ok((collections, views))
}

/// One collection, if it is there.
///
/// # Errors
/// As [`list`].
pub(super) async fn list_one(master: &Client, namespace: &Namespace) -> Result<Option<Listed>> {
    if !is_copied(&namespace.database) {
        return Ok(None);
    }
    let (since, _) = facts::majority_of(master, Side::Master).await?;
    let filter = doc! {"name": &namespace.collection};
    let found = of_database(master, &namespace.database, filter).await?;
    match found.into_iter().next().map(|found| read(&namespace.database, found, since)).transpose()?.flatten()
    {
        Some(Found::Collection(listed)) => Ok(Some(measured(master, *listed).await?)),
        _ => Ok(None),
    }
}

fn reader(error: Error) -> Error {
    lacking(error, Side::Master, "readAnyDatabase")
}

async fn of_database(master: &Client, name: &str, filter: Document) -> Result<Vec<Document>> {
    let database = master.database(name);
    let listed = async {
        let command = doc! {"listCollections": 1, "filter": filter};
        database.run_cursor_command(command).await?.try_collect().await
    };
    within(ANSWER, Side::Master, "listCollections", listed).await.map_err(reader)
}

enum Found {
    Collection(Box<Listed>),
    View(Namespace, Document),
}

/// Reads an entry of a list; `None` for one that is the server's own.
fn read(database: &str, mut found: Document, since: Place) -> Result<Option<Found>> {
    let name = found.get_str("name").unwrap_or_default().to_owned();
    let namespace = Namespace::new(database, &name);
    if let Some(why) = why_uncopied(&found) {
        let message =
            format!("{namespace} is {why}: these are not supported yet; drop it, or follow another master");
        return Err(Error::Refused { side: Some(Side::Master), reason: "NotSupported", message });
    }
    if name.starts_with("system.") {
        return Ok(None);
    }
    let kind = found.get_str("type").unwrap_or("collection").to_owned();
    let mut options = match found.remove("options") {
        Some(Bson::Document(options)) => options,
        _ => Document::new(),
    };
    match kind.as_str() {
        "view" => return Ok(Some(Found::View(namespace, options))),
        "collection" => {}
        other => {
            let message = format!("{namespace} is of type {other}: these are not supported yet");
            return Err(Error::Refused { side: Some(Side::Master), reason: "NotSupported", message });
        }
    }
    // Of a collection that goes with its client; of old servers.
    for internal in ["temp", "uuid", "flags", "autoIndexId"] {
        options.remove(internal);
    }
    let capped = options.get_bool("capped").is_ok_and(|capped| capped);
    let uuid = match found.get_document("info").ok().and_then(|info| info.get("uuid")) {
        Some(Bson::Binary(uuid)) => Some(uuid.clone()),
        _ => None,
    };
    let listed = Listed { namespace, options, capped, uuid, since, documents: 0, bytes: 0 };
    Ok(Some(Found::Collection(Box::new(listed))))
}

/// With the master's estimates. Where it has none, it is copied in one go.
async fn measured(master: &Client, mut listed: Listed) -> Result<Listed> {
    let Namespace { database, collection } = &listed.namespace;
    let stats = match ask(master, Side::Master, (database, doc! {"collStats": collection})).await {
        Ok(stats) => stats,
        // It was dropped just now, or its statistics are for others.
        Err(Error::Server { source, .. })
            if matches!(*source.kind, mongodb::error::ErrorKind::Command(_)) =>
        {
            return Ok(listed);
        }
        Err(error) => return Err(error),
    };
    let number = |name: &str| match stats.get(name) {
        Some(Bson::Int32(number)) => u64::try_from(*number).unwrap_or_default(),
        Some(Bson::Int64(number)) => u64::try_from(*number).unwrap_or_default(),
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate; a cast saturates"
        )]
        Some(Bson::Double(number)) => *number as u64,
        _ => 0,
    };
    (listed.documents, listed.bytes) = (number("count"), number("size"));
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::{Found, read};
    use crate::mongo::{Namespace, Place};

    #[test]
    fn d01_options_are_kept_as_create_takes_them() {
        let options = doc! {
            "capped": true, "size": 4096, "validator": {"a": 1}, "collation": {"locale": "de"},
            "uuid": 1, "temp": true, "autoIndexId": false,
        };
        let found = read(
            "shop",
            doc! {"name": "logs", "type": "collection", "options": options, "idIndex": {}},
            Place::default(),
        );
        let Some(Found::Collection(listed)) = found.unwrap() else { panic!("a collection") };
        let expected =
            doc! {"capped": true, "size": 4096, "validator": {"a": 1}, "collation": {"locale": "de"}};
        assert_eq!((listed.options, listed.capped), (expected, true));
        assert_eq!(listed.namespace, Namespace::new("shop", "logs"));
    }

    #[test]
    fn d01_views_and_the_servers_own_are_told_apart_and_what_can_not_be_copied_is_refused() {
        let view = doc! {"name": "v", "type": "view", "options": {"viewOn": "a", "pipeline": []}};
        assert!(matches!(read("shop", view, Place::default()).unwrap(), Some(Found::View(..))));
        for name in ["system.views", "system.profile", "system.js"] {
            assert!(
                read("shop", doc! {"name": name, "type": "collection"}, Place::default()).unwrap().is_none()
            );
        }
        for other in [doc! {"name": "t", "type": "timeseries"}, doc! {"name": "t", "type": "something"}] {
            assert_eq!(read("shop", other, Place::default()).err().unwrap().reason(), "NotSupported");
        }
    }
}
