//! What travels through [`ObjectStore`](super::ObjectStore): plain data, no I/O.

use std::{collections::BTreeMap, pin::Pin};

use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;

use super::{Error, Grant, Lock, Replica, Tags, words};

/// A body in flight. Chunks are at most 1 MiB, so that memory is bounded by streams in flight.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send + Sync>>;

/// An entity tag without its quotes, as the store computed it (`"abc"` → `abc`).
///
/// Multipart objects end in `-N`; only equality has meaning.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ETag(pub String);

impl ETag {
    /// Number of parts, when the tag has the multipart form `<hex>-N`.
    #[must_use]
    pub fn parts(&self) -> Option<u32> {
        self.0.rsplit_once('-')?.1.parse().ok()
    }
}

/// One object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    /// Bytes.
    pub size: u64,
    pub etag: ETag,
    /// The store's time of the last write, by the store's clock.
    pub modified: Timestamp,
    /// Storage class, when the store says one other than STANDARD.
    pub storage_class: Option<String>,
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    pub prefix: String,
    /// Keys strictly after this one, bytewise.
    pub start_after: Option<String>,
    /// Continuation of an earlier page; takes the place of `start_after`.
    pub token: Option<String>,
    /// At most this many keys; `None` = the store's own maximum (1000).
    pub max_keys: Option<u32>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    pub objects: Vec<Listed>,
    /// `None`: this was the last page.
    pub next: Option<String>,
}

/// Content headers and user metadata: what is copied with the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub content_disposition: Option<String>,
    pub cache_control: Option<String>,
    pub expires: Option<String>,
    /// User metadata without the `x-amz-meta-` prefix, names in lower case, values as the store spells them: what
    /// is beyond ASCII comes as it was sent, or in the words of RFC 2047.
    pub metadata: BTreeMap<String, String>,
}

impl Attributes {
    /// True when an object written with these was found with `there`. A store gives a type of its own
    /// to an object that has none, and may spell metadata otherwise.
    #[must_use]
    pub fn are_kept_as(&self, there: &Self) -> bool {
        let content_type = self.content_type.clone().or_else(|| there.content_type.clone());
        Self { content_type, ..self.clone() }.decoded() == there.clone().decoded()
    }

    fn decoded(mut self) -> Self {
        for value in self.metadata.values_mut().filter(|value| words::is_encoded(value)) {
            *value = words::decoded(value);
        }
        self
    }
}

/// Attributes of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Bytes.
    pub size: u64,
    pub etag: ETag,
    pub modified: Timestamp,
    pub version: Option<String>,
    pub attributes: Attributes,
    /// Number of tags, as far as these credentials may know.
    pub tag_count: usize,
    pub lock: Lock,
    /// Storage class, when the store says one other than STANDARD.
    pub storage_class: Option<String>,
}

/// How a multipart object is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartLayout {
    /// Size of the part asked for, in bytes.
    pub size: u64,
    /// Number of parts of the object.
    pub count: u32,
}

/// How to read.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    /// First and last byte, inclusive.
    pub range: Option<(u64, u64)>,
    /// The last this many bytes (a suffix range); wins over `range`.
    pub suffix: Option<u64>,
    /// Fail with [`Error::Changed`] unless the object still has this tag.
    pub if_match: Option<ETag>,
}

/// An open object.
pub struct GetReply {
    pub info: ObjectInfo,
    /// Bytes that the body will give.
    pub length: u64,
    pub body: ByteStream,
}

impl std::fmt::Debug for GetReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GetReply")
            .field("info", &self.info)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// When a write may go ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    #[default]
    None,
    /// Only if the key holds no object.
    Absent,
    /// Only if the key holds an object with this tag.
    Matches(ETag),
}

/// How to write.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    pub attributes: Attributes,
    pub tags: Tags,
    pub lock: Lock,
    /// None of them: the store's default, which is the owner alone.
    pub grants: Vec<Grant>,
    /// `None`: the store's default.
    pub storage_class: Option<String>,
    /// Asks the store to keep the original's time and tag. Others than `MinIO` ignore it.
    pub replica: Option<Replica>,
    /// A store that cannot hold to it answers [`Error::Unsupported`].
    pub precondition: Precondition,
    /// MD5 of the whole body, sent as `Content-MD5` so that the store verifies it.
    pub content_md5: Option<[u8; 16]>,
}

/// The store's answer to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReply {
    pub etag: ETag,
    pub version: Option<String>,
}

/// Name of an open multipart upload.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(pub String);

/// A part that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedPart {
    pub part: u32,
    pub size: u64,
    pub etag: ETag,
}

/// An upload that is neither complete nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    pub key: String,
    pub id: UploadId,
    pub initiated: Option<Timestamp>,
}

/// What versions to list.
#[derive(Clone, Debug, Default)]
pub struct ListVersionsRequest {
    pub prefix: String,
    /// Continuation of an earlier page.
    pub marker: Option<VersionMarker>,
    /// At most this many versions; `None` = the store's own maximum (1000).
    pub max_keys: Option<u32>,
}

/// Where the next page of versions begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionMarker {
    pub key: String,
    pub version: Option<String>,
}

/// One version of an object, or a delete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    pub key: String,
    pub version: String,
    pub is_latest: bool,
    pub is_delete_marker: bool,
    /// Bytes; 0 for a delete marker.
    pub size: u64,
    /// Empty for a delete marker.
    pub etag: ETag,
    pub modified: Timestamp,
}

/// One page of versions, those of a key newest first.
#[derive(Clone, Debug, Default)]
pub struct VersionPage {
    pub versions: Vec<ObjectVersion>,
    pub next: Option<VersionMarker>,
}

/// Versioning state of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// Never enabled.
    Off,
    Enabled,
    Suspended,
    /// The store does not know versioning at all.
    Unsupported,
}
