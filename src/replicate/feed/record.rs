//! What stores say of a change: one parser for all the shapes that AWS's event record comes in.
//!
//! S3's own `Records` and `MinIO`'s, `RustFS`'s, Ceph's and `VersityGW`'s versions of them, the same in an SNS
//! envelope, and `EventBridge`'s other shape. Stores differ in how they spell a key and in how they tell that
//! their own lifecycle deleted it; both are settled here. No I/O.

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer};

/// Longest key that S3 knows, in bytes.
const LONGEST_KEY: usize = 1024;
/// What `MinIO` calls itself where its lifecycle deletes; the event is an ordinary removal otherwise.
const MINIO_LIFECYCLE: &str = "Internal: [ILM-Expiry]";

/// How a message came here: `MinIO` escapes the keys that it pushes, and leaves those as they are that it
/// tells over an open request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Over a request of ours that stays open.
    Listening,
    /// In a request of the store's, or from a queue.
    Pushed,
}

/// A change to one key, as a store tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The whole key, decoded.
    pub key: String,
    pub kind: Kind,
    /// When it happened, by the store's clock.
    pub at: Option<Timestamp>,
    /// The version written, deleted, or made by the deletion; stores differ. `None` without versioning.
    pub version: Option<String>,
    /// Orders the changes of one key, where the store has it.
    pub sequencer: Option<Sequencer>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An object was written, or can be read again.
    Written,
    /// An object, or a version of it, was deleted by someone.
    Removed,
    /// The bucket's own lifecycle deleted the object. `MinIO` tells in the same words, and with a version
    /// too, that it deleted an older one or put a marker over the current one: whether the current object
    /// is gone must be looked at in any case.
    Expired,
    /// Tags, grants, or a lock changed; the bytes did not.
    Attributes,
}

/// A store's number for a change, in hexadecimal digits. Only those of one key can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequencer(String);

impl Sequencer {
    /// True when this change came before the other one. The shorter number is filled with zeros on the
    /// right, as AWS asks for.
    #[must_use]
    pub fn is_before(&self, other: &Self) -> bool {
        let length = self.0.len().max(other.0.len());
        let digits = |s: &Self| format!("{:0<length$}", s.0.to_ascii_uppercase());
        digits(self) < digits(other)
    }
}

/// What a message held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Changes, each with its bucket; none in a sign of life and in a test message.
    Changes(Vec<(String, Change)>),
    /// An SNS topic asks whether its messages are wanted: someone must open the address.
    Unconfirmed { topic: String, address: String },
}

/// A message that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("not JSON of the expected form: {0}")]
    Json(String),
    #[error("neither records nor an event of EventBridge nor an SNS envelope")]
    Shape,
    #[error("record {index}: no {what}")]
    Missing { index: usize, what: &'static str },
    #[error("record {index}: a key {what}")]
    Key { index: usize, what: &'static str },
}

/// Reads a message.
///
/// Changes that concern no current object (accesses, transitions, replication's own reports, the clearing
/// of old versions) are left out.
///
/// # Errors
/// A message of another form. One bad record spoils its message: what else it told is no more certain.
pub fn parse(text: &[u8], via: Via) -> Result<Message, Malformed> {
    let envelope: Envelope = serde_json::from_slice(text).map_err(|e| Malformed::Json(e.to_string()))?;
    match (envelope.r#type.as_deref(), envelope.message.as_deref()) {
        (Some("Notification"), Some(inner)) => {
            let inner = serde_json::from_str(inner).map_err(|e| Malformed::Json(e.to_string()))?;
            plain(inner, via).map(Message::Changes)
        }
        (Some("SubscriptionConfirmation"), _) => {
            let (topic, address) = (envelope.topic, envelope.subscribe_url);
            Ok(Message::Unconfirmed {
                topic: topic.unwrap_or_default(),
                address: address.unwrap_or_default(),
            })
        }
        _ => plain(envelope, via).map(Message::Changes),
    }
}

fn plain(envelope: Envelope, via: Via) -> Result<Vec<(String, Change)>, Malformed> {
    match envelope {
        Envelope { records: Some(records), .. } => {
            let read = records.into_iter().enumerate().map(|(i, r)| r.read(i, via));
            read.filter_map(Result::transpose).collect()
        }
        Envelope { event: Some(event), .. } if event == "s3:TestEvent" => Ok(Vec::new()),
        Envelope { detail_type: Some(name), detail: Some(detail), time, .. } => {
            Ok(detail.read(&name, time.as_deref())?.into_iter().collect())
        }
        _ => Err(Malformed::Shape),
    }
}

/// All the outer shapes in one.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Records", default, deserialize_with = "present")]
    records: Option<Vec<Record>>,
    #[serde(rename = "Event")]
    event: Option<String>,
    #[serde(rename = "Type")]
    r#type: Option<String>,
    #[serde(rename = "Message")]
    message: Option<String>,
    #[serde(rename = "TopicArn")]
    topic: Option<String>,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<String>,
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
    detail: Option<Detail>,
    time: Option<String>,
}

/// A list that is `null` is there and empty: so `MinIO` gives a sign of life.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Record>>, D::Error> {
    Option::deserialize(from).map(|records| Some(records.unwrap_or_default()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_source: Option<String>,
    event_name: Option<String>,
    event_time: Option<String>,
    s3: Option<Place>,
    source: Option<Author>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    configuration_id: Option<String>,
    bucket: Option<Bucket>,
    object: Option<Object>,
}

#[derive(Deserialize)]
struct Bucket {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Object {
    key: Option<String>,
    #[serde(rename = "versionId", alias = "version-id")]
    version: Option<String>,
    sequencer: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Author {
    user_agent: Option<String>,
}

/// What `EventBridge` tells.
#[derive(Deserialize)]
struct Detail {
    bucket: Option<Bucket>,
    object: Option<Object>,
    reason: Option<String>,
    #[serde(rename = "deletion-type")]
    deletion: Option<String>,
}

impl Record {
    fn read(self, index: usize, via: Via) -> Result<Option<(String, Change)>, Malformed> {
        let Self { event_source, event_name, event_time, s3, source } = self;
        let missing = |what| Malformed::Missing { index, what };
        let name = event_name.ok_or(missing("eventName"))?;
        let agent = source.and_then(|s| s.user_agent);
        // What concerns no object may have none.
        if kind(&name, None, agent.as_deref()).is_none() {
            return Ok(None);
        }
        let Place { configuration_id, bucket, object } = s3.ok_or(missing("s3"))?;
        let bucket =
            bucket.and_then(|b| b.name).filter(|n| !n.is_empty()).ok_or(missing("s3.bucket.name"))?;
        let object = object.ok_or(missing("s3.object"))?;
        let written = object.key.ok_or(missing("s3.object.key"))?;
        let source = event_source.unwrap_or_default();
        let escaped = is_escaped(&source, configuration_id.as_deref().unwrap_or_default(), via);
        let key = key(written, escaped, index)?;
        let version = object.version.filter(|v| !v.is_empty());
        let Some(kind) = kind(&name, version.as_deref(), agent.as_deref()) else { return Ok(None) };
        let at = event_time.and_then(|t| t.parse().ok());
        Ok(Some((bucket, Change { key, kind, at, version, sequencer: sequencer(object.sequencer) })))
    }
}

impl Detail {
    fn read(self, name: &str, time: Option<&str>) -> Result<Option<(String, Change)>, Malformed> {
        let missing = |what| Malformed::Missing { index: 0, what };
        let by_lifecycle = self.reason.as_deref() == Some("Lifecycle Expiration");
        let marked = self.deletion.as_deref() == Some("Delete Marker Created");
        let kind = match name {
            "Object Created" | "Object Restore Completed" => Kind::Written,
            "Object Deleted" if by_lifecycle => Kind::Expired,
            "Object Deleted" => Kind::Removed,
            "Object Tags Added" | "Object Tags Deleted" | "Object ACL Updated" => Kind::Attributes,
            _ => return Ok(None),
        };
        let bucket = self.bucket.and_then(|b| b.name).ok_or(missing("detail.bucket.name"))?;
        let object = self.object.ok_or(missing("detail.object"))?;
        // EventBridge doesn't escape keys.
        let key = key(object.key.ok_or(missing("detail.object.key"))?, false, 0)?;
        let version = object.version.filter(|v| !v.is_empty());
        if kind == Kind::Expired && !marked && is_version(version.as_deref()) {
            return Ok(None);
        }
        let at = time.and_then(|t| t.parse().ok());
        Ok(Some((bucket, Change { key, kind, at, version, sequencer: sequencer(object.sequencer) })))
    }
}

/// What an event means for the current object; `None`: nothing.
fn kind(name: &str, version: Option<&str>, agent: Option<&str>) -> Option<Kind> {
    let name = name.strip_prefix("s3:").unwrap_or(name);
    let (family, what) = name.split_once(':').unwrap_or((name, ""));
    Some(match (family, what) {
        ("ObjectCreated", "PutTagging" | "DeleteTagging" | "PutRetention" | "PutLegalHold")
        | ("ObjectTagging" | "ObjectAcl", _) => Kind::Attributes,
        ("ObjectCreated", _) | ("ObjectRestore", "Completed") | ("ObjectSynced", "Create") => Kind::Written,
        ("ObjectRemoved", _) if agent == Some(MINIO_LIFECYCLE) => Kind::Expired,
        ("ObjectRemoved", _) | ("ObjectSynced", "Delete" | "DeletionMarkerCreated") => Kind::Removed,
        // On a versioned bucket the current object expires by a marker; what is deleted is an older version.
        ("LifecycleExpiration", "Delete") if is_version(version) => return None,
        ("LifecycleExpiration", _) | ("ObjectLifecycle", "Expiration:Current") => Kind::Expired,
        _ => return None,
    })
}

/// True for a version of its own, not the one that every unversioned object has.
fn is_version(version: Option<&str>) -> bool {
    version.is_some_and(|v| v != "null")
}

/// True where the store writes keys as HTML forms do.
fn is_escaped(source: &str, configuration: &str, via: Via) -> bool {
    match source {
        "minio:s3" => via == Via::Pushed,
        "ceph:s3" => false,
        // VersityGW calls itself AWS; its configurations have names that no bucket's own can have there.
        "aws:s3" => {
            !matches!(configuration, "webhook-global" | "kafka-global" | "nats-global" | "rabbitmq-global")
        }
        _ => true,
    }
}

fn key(written: String, escaped: bool, index: usize) -> Result<String, Malformed> {
    let wrong = |what| Malformed::Key { index, what };
    let key = if escaped {
        let spaced = written.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8();
        decoded.map_err(|_| wrong("that is not UTF-8"))?.into_owned()
    } else {
        written
    };
    match key.len() {
        0 => Err(wrong("that is empty")),
        1..=LONGEST_KEY => Ok(key),
        _ => Err(wrong("of more than 1,024 bytes")),
    }
}

fn sequencer(told: Option<String>) -> Option<Sequencer> {
    told.filter(|s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_hexdigit())).map(Sequencer)
}

#[cfg(test)]
mod tests;
