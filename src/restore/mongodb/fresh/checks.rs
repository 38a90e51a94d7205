//! What is asked of a restored instance.

use futures::TryStreamExt;
use mongodb::{
    Client,
    bson::{Bson, Document, doc},
    results::CollectionType,
};
use serde_json::{Map, Value};

use crate::{
    mongo::Namespace,
    restore::{Error, Result, mongodb::target::failed},
};

/// Runs a check's command, and answers with its text.
///
/// # Errors
/// [`Error::Unusable`] for a text that is no command; [`Error::MongoDB`] for one that the server refuses.
pub(super) async fn ask(client: &Client, query: &str) -> Result<String> {
    let (database, command) = parse(query)?;
    let reply = client.database(&database).run_command(command).await;
    reply.map(|reply| answer(&reply)).map_err(failed(format!("check {query}")))
}

/// A database, and a command for it: `{"count": "orders", "$db": "shop"}`, in MongoDB's Extended JSON.
fn parse(query: &str) -> Result<(String, Document)> {
    let wrong = |cause: &str| {
        Error::Unusable(format!(
            "check {query} {cause}: a check of MongoDB is a command in JSON with its database, like {{\"count\": \"orders\", \"$db\": \"shop\"}}"
        ))
    };
    let mut fields: Map<String, Value> =
        serde_json::from_str(query).map_err(|error| wrong(&format!("can't be read ({error})")))?;
    // The others stay in their order: the first is the command's name.
    let database = fields.shift_remove("$db");
    let Some(Value::String(database)) = database.filter(|name| *name != "") else {
        return Err(wrong("names no database"));
    };
    let command = Document::try_from(fields).map_err(|error| wrong(&format!("can't be read ({error})")))?;
    if command.is_empty() {
        return Err(wrong("has no command"));
    }
    Ok((database, command))
}

/// What a reply says, in the words of a check: `n` of those that count, the first page of those that find, else the
/// first thing that it says.
fn answer(reply: &Document) -> String {
    if let Some(count) = reply.get("n") {
        return text(count);
    }
    let page = reply.get_document("cursor").ok().and_then(|cursor| cursor.get_array("firstBatch").ok());
    let rows = page.or_else(|| reply.get_array("values").ok());
    let Some(rows) = rows else {
        return reply.values().next().map(text).unwrap_or_default();
    };
    let rows = rows.iter().map(|row| match row {
        Bson::Document(row) => row.values().map(text).collect::<Vec<_>>().join("\t"),
        value => text(value),
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn text(value: &Bson) -> String {
    match value {
        Bson::String(text) => text.clone(),
        // Whole numbers look alike, however they are kept.
        Bson::Double(number) => number.to_string(),
        Bson::Null => "null".to_owned(),
        other => match other.clone().into_relaxed_extjson() {
            Value::String(text) => text,
            other => other.to_string(),
        },
    }
}

/// `OK`, or the first complaint of a collection.
pub(super) async fn validate(client: &Client) -> Result<String> {
    let names = client.list_database_names().await.map_err(failed("listing its databases"))?;
    for name in names.into_iter().filter(|name| !Namespace::new(name, "").is_internal()) {
        let database = client.database(&name);
        let listing = || failed(format!("listing the collections of {name}"));
        let found = database.list_collections().await.map_err(listing())?;
        let found: Vec<_> = found.try_collect().await.map_err(listing())?;
        for of in found.into_iter().filter(|of| of.collection_type == CollectionType::Collection) {
            let what = format!("{name}.{}", of.name);
            let told = database.run_command(doc! {"validate": &of.name}).await;
            let told = told.map_err(failed(format!("validating {what}")))?;
            if let Some(complaint) = complaint(&told) {
                return Ok(format!("{what}: {complaint}"));
            }
        }
    }
    Ok("OK".to_owned())
}

/// What a validation found.
fn complaint(told: &Document) -> Option<String> {
    if told.get_bool("valid").unwrap_or_default() {
        return None;
    }
    let first = told.get_array("errors").ok().and_then(|errors| errors.first()).map(text);
    Some(first.unwrap_or_else(|| "is not valid".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b15_a_check_is_a_command_in_its_order_and_its_database() {
        let query = r#"{"count": "orders", "$db": "shop", "query": {"at": {"$gt": {"$date": "2026-11-22T00:00:00Z"}}}}"#;
        let (database, command) = parse(query).unwrap();
        assert_eq!(database, "shop");
        assert_eq!(command.keys().collect::<Vec<_>>(), ["count", "query"]);
        let at = command.get_document("query").unwrap().get_document("at").unwrap();
        assert!(matches!(at.get("$gt"), Some(Bson::DateTime(_))), "{command}");
        // The name of a database may come first.
        let (_, command) =
            parse(r#"{"$db": "shop", "aggregate": "a", "pipeline": [], "cursor": {}}"#).unwrap();
        assert_eq!(command.keys().collect::<Vec<_>>(), ["aggregate", "pipeline", "cursor"]);
        for (wrong, cause) in [
            ("SELECT 1", "can't be read"),
            (r#"{"count": "orders"}"#, "names no database"),
            (r#"{"count": "orders", "$db": ""}"#, "names no database"),
            (r#"{"$db": "shop"}"#, "has no command"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.is_permanent(), "{wrong}");
            assert!(error.to_string().contains(cause) && error.to_string().contains(wrong), "{error}");
        }
    }

    #[test]
    fn b15_answers_are_numbers_or_rows_as_other_engines_give_them() {
        for (reply, expected) in [
            (doc! {"n": 12, "ok": 1.0}, "12"),
            (doc! {"n": 12_i64, "ok": 1.0}, "12"),
            (doc! {"n": 12.0, "ok": 1.0}, "12"),
            (doc! {"cursor": {"firstBatch": [{"n": 7}], "id": 0_i64, "ns": "a.b"}, "ok": 1.0}, "7"),
            (doc! {"cursor": {"firstBatch": [{"_id": 1, "a": "x"}, {"_id": 2, "a": [1]}]}}, "1\tx\n2\t[1]"),
            (doc! {"values": ["a", "b"], "ok": 1.0}, "a\nb"),
            (doc! {"cursor": {"firstBatch": []}}, ""),
            (doc! {"ok": 1.0}, "1"),
        ] {
            assert_eq!(answer(&reply), expected, "{reply}");
        }
    }

    #[test]
    fn b15_a_collection_that_is_not_valid_is_told_with_the_first_error() {
        assert_eq!(complaint(&doc! {"valid": true, "errors": []}), None);
        assert_eq!(complaint(&doc! {"valid": false, "errors": ["a", "b"]}).unwrap(), "a");
        assert_eq!(complaint(&doc! {"ok": 1.0}).unwrap(), "is not valid");
    }
}
