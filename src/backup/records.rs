//! What Farshore writes beside the copies, under [`FOLDER`].
//!
//! `service.json` says whose copy this is; it is written once, first, and deleted last. The manifest
//! ([`Manifest`]) names every object of the copy before it is written: what it does not name is not ours
//! and is never deleted. Contents that may not take the place of a copy lie in [`generation`]s.

mod codec;
mod entry;
mod hold;
mod manifest;
mod reading;
mod service;
#[cfg(test)]
mod tests;

use super::Error;
use crate::store::{self, ETag, Side};

pub use entry::{Entry, Fact, Record, Stored};
pub use hold::{HOLD_LASTS, Hold, earliest_held, hold, release};
pub use manifest::Manifest;
pub use reading::Records;
pub use service::{Claim, Service, claim, read_service, verify};

/// Folder of all records, below the copy's prefix.
pub const FOLDER: &str = ".farshore/";
const SERVICE: &str = ".farshore/service.json";
const MANIFEST: &str = ".farshore/manifest/";
const GENERATIONS: &str = ".farshore/generations/";

/// Where another content of `key` is kept, so that it takes nothing's place. Relative to the prefix.
#[must_use]
pub fn generation(key: &str, etag: &ETag) -> String {
    format!("{GENERATIONS}{}/{key}", etag.0)
}

/// Under what key the manifest counts what a run wrote.
#[must_use]
pub fn usage_key(run: &str) -> String {
    format!("{FOLDER}usage/{run}")
}

/// True for a key of the records themselves: kept generations are copies, not records.
#[must_use]
pub fn is_record(key: &str) -> bool {
    key.starts_with(FOLDER) && !key.starts_with(GENERATIONS)
}

fn at_target(source: store::Error) -> Error {
    Error::Store { side: Side::Target, source }
}
