//! What pages of objects and of versions have in common, as far as it was read.

use super::super::{
    attributes::etag,
    listing::{decode, garbled},
    trouble::Trouble,
};
use crate::store::ETag;

/// What a page says of itself.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Keys are escaped as in addresses.
    pub encoded: bool,
    pub truncated: Option<bool>,
    /// The token or the key to go on at.
    pub next: Option<String>,
    /// The version of that key.
    pub next_version: Option<String>,
    /// How many keys the page has.
    pub count: Option<usize>,
}

impl Head {
    pub(super) fn read(&mut self, name: &str, text: &str) -> Result<(), Trouble> {
        let neither = |_| garbled("IsTruncated is neither true nor false");
        match name {
            "IsTruncated" => self.truncated = Some(text.parse().map_err(neither)?),
            "NextContinuationToken" | "NextKeyMarker" => self.next = Some(text.to_owned()),
            "NextVersionIdMarker" => self.next_version = filled(text),
            "EncodingType" => self.encoded = text == "url",
            "KeyCount" => self.count = Some(text.parse().map_err(|_| garbled("KeyCount is no number"))?),
            _ => {}
        }
        Ok(())
    }

    /// A key as it is.
    pub(super) fn decode(&self, key: &mut String) -> Result<(), Trouble> {
        if self.encoded { decode(key) } else { Ok(()) }
    }
}

/// An object or a version.
#[derive(Debug, Default)]
pub(super) struct Entry {
    key: Option<String>,
    pub version: Option<String>,
    pub is_latest: bool,
    size: Option<u64>,
    etag: Option<ETag>,
    modified: Option<jiff::Timestamp>,
    pub storage_class: Option<String>,
}

impl Entry {
    pub(super) fn read(&mut self, name: &str, text: &str) {
        match name {
            "Key" => self.key = filled(text),
            "VersionId" => self.version = filled(text),
            "IsLatest" => self.is_latest = text == "true",
            "Size" => self.size = text.parse().ok(),
            // A delete marker has none; MinIO gives it an empty one.
            "ETag" => self.etag = etag(Some(text)).ok(),
            "LastModified" => self.modified = text.parse().ok(),
            "StorageClass" => self.storage_class = filled(text).filter(|class| class != "STANDARD"),
            _ => {}
        }
    }

    /// Its key, and when it was written.
    pub(super) fn place(&mut self) -> Result<(String, jiff::Timestamp), Trouble> {
        let key = self.key.take().ok_or_else(|| garbled("an entry has no key"))?;
        Ok((key, self.modified.ok_or_else(|| garbled("an entry has no time of change"))?))
    }

    /// Its length, and its tag.
    pub(super) fn content(&mut self) -> Result<(u64, ETag), Trouble> {
        let size = self.size.ok_or_else(|| garbled("an entry has no size"))?;
        Ok((size, self.etag.take().ok_or_else(|| garbled("an entry has no ETag"))?))
    }
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
