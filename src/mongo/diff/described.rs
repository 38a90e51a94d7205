//! The update of a document as a change stream tells it.
//!
//! `updateDescription` holds dotted paths: fields that were set (`updatedFields`) or removed (`removedFields`),
//! and arrays that became shorter (`truncatedArrays`). Where a name is a number or holds a dot, a path alone could
//! mean two things: `disambiguatedPaths` says, component by component, which are names and which are places in an
//! array. A number in any other path is a place in an array.

use mongodb::bson::{Bson, Document};
use serde::{Deserialize, Serialize};

use super::MAX_ELEMENTS;
use crate::mongo::{Error, Result};

/// An update, path by path. No path leads through another one, except through an array that is made shorter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Described {
    shortened: Vec<(Vec<Step>, usize)>,
    removed: Vec<Vec<Step>>,
    set: Vec<(Vec<Step>, Bson)>,
}

/// One step into a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Step {
    Field(String),
    Element(usize),
}

impl Described {
    /// Reads an `updateDescription`. One that is empty changes nothing.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a part that is not known; [`Error::Damaged`] for one that isn't what it should be.
    pub fn read(mut description: Document) -> Result<Self> {
        let known = match description.remove("disambiguatedPaths") {
            Some(Bson::Document(paths)) => paths,
            None | Some(Bson::Null) => Document::new(),
            Some(other) => return Err(odd("disambiguatedPaths", &other)),
        };
        let mut read = Self::default();
        for (name, part) in description {
            match (name.as_str(), part) {
                (_, Bson::Null) => {}
                ("updatedFields", Bson::Document(fields)) => {
                    for (path, value) in fields {
                        read.set.push((steps(&path, &known)?, value));
                    }
                }
                ("removedFields", Bson::Array(paths)) => {
                    for path in paths {
                        let path = path.as_str().ok_or_else(|| odd(&name, &path))?;
                        read.removed.push(steps(path, &known)?);
                    }
                }
                ("truncatedArrays", Bson::Array(arrays)) => {
                    for array in arrays {
                        read.shortened.push(shortened(&array, &known)?);
                    }
                }
                (_, part) => return Err(odd(&name, &part)),
            }
        }
        Ok(read)
    }

    /// The values that are set.
    pub fn values(&self) -> impl Iterator<Item = &Bson> {
        self.set.iter().map(|(_, value)| value)
    }

    /// Changes a document. A path that leads nowhere meets a document that is newer already: it is left as it is.
    pub fn apply(&self, document: &mut Document) {
        for (path, length) in &self.shortened {
            if let Some(Bson::Array(array)) = find(document, path) {
                array.truncate(*length);
            }
        }
        for path in &self.removed {
            place(document, path, None);
        }
        for (path, value) in &self.set {
            place(document, path, Some(value));
        }
    }
}

fn odd(name: &str, part: &Bson) -> Error {
    let part: String = part.to_string().chars().take(80).collect();
    Error::Unsupported(format!("an updateDescription with {name:?}: {part} is not known"))
}

fn shortened(array: &Bson, known: &Document) -> Result<(Vec<Step>, usize)> {
    let parts = array.as_document();
    let field = parts.and_then(|parts| parts.get_str("field").ok());
    let size = parts.and_then(|parts| parts.get("newSize")).and_then(whole);
    match (field, size) {
        (Some(field), Some(size)) => Ok((steps(field, known)?, size)),
        _ => Err(odd("truncatedArrays", array)),
    }
}

fn whole(number: &Bson) -> Option<usize> {
    match number {
        Bson::Int32(number) => usize::try_from(*number).ok(),
        Bson::Int64(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

fn steps(path: &str, known: &Document) -> Result<Vec<Step>> {
    let steps: Option<Vec<Step>> = match known.get(path) {
        Some(Bson::Array(components)) => components.iter().map(component).collect(),
        Some(other) => return Err(odd("disambiguatedPaths", other)),
        None => path.split('.').map(|part| Some(guessed(part))).collect(),
    };
    let sound = |steps: &Vec<Step>| {
        !steps.is_empty()
            && steps.iter().all(|step| !matches!(step, Step::Element(at) if *at >= MAX_ELEMENTS))
    };
    steps.filter(sound).ok_or_else(|| odd("path", &Bson::String(path.to_owned())))
}

fn component(component: &Bson) -> Option<Step> {
    match component {
        Bson::String(name) => Some(Step::Field(name.clone())),
        number => whole(number).map(Step::Element),
    }
}

/// A component of a path of which it isn't said what it is.
fn guessed(part: &str) -> Step {
    // `01` is a name: no place is written so.
    let plain = part == "0" || !part.starts_with('0');
    match part.parse::<usize>() {
        Ok(at) if plain && part.bytes().all(|byte| byte.is_ascii_digit()) => Step::Element(at),
        _ => Step::Field(part.to_owned()),
    }
}

/// What a path leads to.
fn find<'a>(document: &'a mut Document, path: &[Step]) -> Option<&'a mut Bson> {
    let Some((Step::Field(first), rest)) = path.split_first() else { return None };
    rest.iter().try_fold(document.get_mut(first)?, |value, step| match (value, step) {
        (Bson::Document(document), Step::Field(name)) => document.get_mut(name),
        (Bson::Array(array), Step::Element(at)) => array.get_mut(*at),
        _ => None,
    })
}

/// Sets or removes what a path leads to.
fn place(document: &mut Document, path: &[Step], value: Option<&Bson>) {
    let Some((last, way)) = path.split_last() else { return };
    if way.is_empty() {
        if let Step::Field(name) = last {
            set(document, name, value);
        }
        return;
    }
    match (find(document, way), last) {
        (Some(Bson::Document(inner)), Step::Field(name)) => set(inner, name, value),
        (Some(Bson::Array(array)), Step::Element(at)) => set_element(array, *at, value),
        _ => {}
    }
}

fn set(document: &mut Document, name: &str, value: Option<&Bson>) {
    match value {
        Some(value) => drop(document.insert(name, value.clone())),
        None => drop(document.remove(name)),
    }
}

fn set_element(array: &mut Vec<Bson>, at: usize, value: Option<&Bson>) {
    if at >= array.len() {
        // What is removed from an array leaves a null, and what it doesn't have can't be removed.
        if value.is_none() {
            return;
        }
        array.resize(at + 1, Bson::Null);
    }
    array[at] = value.cloned().unwrap_or(Bson::Null);
}

#[cfg(test)]
mod tests;
