//! What an update entry of the oplog does to a document.
//!
//! Servers from 5.0 on write `{$v: 2, diff}`: fields that are inserted (`i`), updated (`u`), deleted (`d`),
//! and changed within (`s<name>`); of an array (`a: true`) its length (`l`) and elements by number (`u<n>`,
//! `s<n>`). Older ones write `$set` and `$unset` with dotted paths, or a whole document.
//!
//! A change stream says the same in other words: [`described`].
//!
//! As on a secondary that catches up, an update may meet a document that is newer already: a part that is
//! not what the update takes it to be is left as it is, since a later update will set it.

use mongodb::bson::{Bson, Document};
use serde::{Deserialize, Serialize};

use self::described::Described;
use super::{Error, Result};

pub mod described;

/// An update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Update {
    /// `$v: 2`
    Diff(Document),
    /// `$set` and `$unset`
    Modify {
        set: Document,
        unset: Document,
    },
    Replace(Document),
    /// `updateDescription` of a change stream.
    Described(Described),
}

impl Update {
    /// Reads the `o` of an update entry.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a form that is not known.
    pub fn read(mut entry: Document) -> Result<Self> {
        let version = entry.remove("$v").and_then(|version| match version {
            Bson::Int32(version) => Some(i64::from(version)),
            Bson::Int64(version) => Some(version),
            _ => None,
        });
        if let (None | Some(2), Some(Bson::Document(diff))) = (version, entry.get("diff"))
            && version.is_some()
        {
            return Ok(Self::Diff(diff.clone()));
        }
        let Some(first) = entry.keys().next() else { return Ok(Self::Replace(entry)) };
        if !first.starts_with('$') {
            return Ok(Self::Replace(entry));
        }
        let (mut set, mut unset) = (Document::new(), Document::new());
        for (name, fields) in entry {
            match (name.as_str(), fields) {
                ("$set", Bson::Document(fields)) => set = fields,
                ("$unset", Bson::Document(fields)) => unset = fields,
                _ => return Err(Error::Unsupported(format!("an update with {name} is not known"))),
            }
        }
        Ok(Self::Modify { set, unset })
    }

    /// Changes a document.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a part of a diff that is not known: the document is not to be used then.
    pub fn apply(&self, document: &mut Document) -> Result<()> {
        match self {
            Self::Diff(diff) => patch(document, diff),
            Self::Replace(new) => {
                document.clone_from(new);
                Ok(())
            }
            Self::Described(described) => {
                described.apply(document);
                Ok(())
            }
            Self::Modify { set, unset } => {
                for (path, value) in set {
                    put(document, path, Some(value));
                }
                for path in unset.keys() {
                    put(document, path, None);
                }
                Ok(())
            }
        }
    }
}

fn unknown(what: &str) -> Error {
    Error::Unsupported(format!("a diff with {what:?} is not known"))
}

fn patch(document: &mut Document, diff: &Document) -> Result<()> {
    for (name, change) in diff {
        match (name.as_str(), change) {
            // A field that changes its place is removed and appended, as the server does.
            ("d", Bson::Document(fields)) => fields.keys().for_each(|field| drop(document.remove(field))),
            ("u", Bson::Document(fields)) => {
                for (field, value) in fields {
                    document.insert(field.clone(), value.clone());
                }
            }
            ("i", Bson::Document(fields)) => {
                for (field, value) in fields {
                    document.remove(field);
                    document.insert(field.clone(), value.clone());
                }
            }
            // Opaque changes of binary values, and whatever else a newer server writes.
            (section, Bson::Document(change)) if section.len() > 1 && section.starts_with('s') => {
                if let Some(value) = document.get_mut(&section[1..]) {
                    patch_value(value, change)?;
                }
            }
            (other, _) => return Err(unknown(other)),
        }
    }
    Ok(())
}

fn patch_value(value: &mut Bson, diff: &Document) -> Result<()> {
    let of_array = matches!(diff.get("a"), Some(Bson::Boolean(true)));
    match value {
        Bson::Document(document) if !of_array => patch(document, diff),
        Bson::Array(array) if of_array => patch_array(array, diff),
        // It is something else by now: a later update sets it.
        _ => Ok(()),
    }
}

fn patch_array(array: &mut Vec<Bson>, diff: &Document) -> Result<()> {
    let mut length = None;
    for (name, change) in diff {
        match (name.as_str(), change) {
            ("a", _) => {}
            ("l", Bson::Int32(new)) => length = usize::try_from(*new).ok(),
            (element, value) if element.starts_with('u') => {
                let at = index(element)?;
                if at >= array.len() {
                    array.resize(at + 1, Bson::Null);
                }
                array[at] = value.clone();
            }
            (element, Bson::Document(change)) if element.starts_with('s') => {
                if let Some(value) = array.get_mut(index(element)?) {
                    patch_value(value, change)?;
                }
            }
            (other, _) => return Err(unknown(other)),
        }
    }
    if let Some(length) = length {
        array.resize(length, Bson::Null);
    }
    Ok(())
}

/// Elements of an array that an entry can grow it by: a document holds no more.
const MAX_ELEMENTS: usize = 2 << 20;

fn index(element: &str) -> Result<usize> {
    let at = element[1..].parse().map_err(|_| unknown(element))?;
    if at < MAX_ELEMENTS { Ok(at) } else { Err(unknown(element)) }
}

/// Sets or removes what a dotted path names. On the way, what is missing is made, and what is neither a
/// document nor an array is left as it is.
fn put(document: &mut Document, path: &str, value: Option<&Bson>) {
    let Some((first, rest)) = path.split_once('.') else {
        match value {
            Some(value) => drop(document.insert(path, value.clone())),
            None => drop(document.remove(path)),
        }
        return;
    };
    if !document.contains_key(first) {
        if value.is_none() {
            return;
        }
        document.insert(first, Document::new());
    }
    if let Some(inner) = document.get_mut(first) {
        put_value(inner, rest, value);
    }
}

fn put_value(inner: &mut Bson, path: &str, value: Option<&Bson>) {
    match inner {
        Bson::Document(document) => put(document, path, value),
        Bson::Array(array) => {
            let (first, rest) =
                path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
            let Some(at) = first.parse::<usize>().ok().filter(|at| *at < MAX_ELEMENTS) else { return };
            if at >= array.len() {
                if value.is_none() {
                    return;
                }
                array.resize(at + 1, Bson::Null);
            }
            match rest {
                Some(rest) => {
                    if array[at] == Bson::Null && value.is_some() {
                        array[at] = Bson::Document(Document::new());
                    }
                    put_value(&mut array[at], rest, value);
                }
                // What is removed from an array leaves a null.
                None => array[at] = value.cloned().unwrap_or(Bson::Null),
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
