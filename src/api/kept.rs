//! What a rule keeps of objects beside their content, and what could not be kept.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HumanDuration;

/// What of an object is kept on request. Content, content headers, user metadata, parts (so the ETag), tags and object locks always are, where the target can hold them; `status.incomplete` says what it can't.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptAttributes {
    /// Keeps access control lists. Otherwise the source's are not looked at, and copies are private.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_control: Option<KeptAccessControl>,
    /// The storage class of copies.
    #[serde(default)]
    pub storage_class: KeptStorageClass,
    /// Keeps the time of the last write. Otherwise the target notes the moment of the copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_time: Option<KeptCreationTime>,
    /// How often the attributes of all objects are compared, at a request on each side for every object. Without it that is done once, and again when spec.attributes has changed; between, attributes are looked at where the source has told of a change or has a later time than the target. Of two buckets that are both written, tags, locks and lists that differ stay as they are, since no store tells when they were changed: status.incomplete counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self.replace('d', 'h')) >= duration('10m')").message(
        "must be at least 10m: each time every object is asked for on both sides"
    ))]
    pub compare_every: Option<HumanDuration>,
}

/// How access control lists are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptAccessControl {
    /// What the accounts are called at the target. A list that names an account which is not among them is left out as a whole. Groups, such as all users, are the same everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["source".into()]))]
    pub accounts: Vec<KeptAccount>,
}

/// An account at both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptAccount {
    /// Its canonical id at the source.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^[!#-~]+$')").message(
        "must be an account's canonical id, without spaces and quotes"
    ))]
    pub source: String,
    /// Its canonical id at the target.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^[!#-~]+$')").message(
        "must be an account's canonical id, without spaces and quotes"
    ))]
    pub target: String,
}

/// The storage class of copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeptStorageClass {
    /// The target's default.
    #[default]
    Default,
    /// As it is called at the source; the target must have a class of that name.
    Keep,
}

/// How the time of the last write is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.keep == 'InMetadata') == has(self.metadataName)").message(
    "metadataName is needed with keep: InMetadata, and with no other"
))]
pub struct KeptCreationTime {
    /// Where it is kept.
    pub keep: KeptTimeIn,
    /// Name of the user metadata that takes it, like `original-time`. An object that has such metadata at the source keeps it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')").message(
        "must be a name of small letters, digits and dashes"
    ))]
    pub metadata_name: Option<String>,
}

/// Where the time of the last write is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeptTimeIn {
    /// As the copy's own time, where the target is a MinIO that lets its user write replicas. MinIO tells nobody of such writes: whoever waits for the target's events does not see them.
    AsReplica,
    /// Among the copy's user metadata, which then has one more than the source's.
    InMetadata,
}

/// Something of objects that copies lack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Incomplete {
    /// What they lack.
    pub attribute: AttributeName,
    /// Why.
    pub why: String,
    /// Copies made without it since the attributes of all objects were compared last; an object that was copied twice counts twice. Absent: all of them lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// One of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

impl Incomplete {
    /// The same, with what others tell of the same attribute.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        let count = self.count.zip(other.count).map(|(count, more)| count.saturating_add(more));
        Self { count, example: self.example.or_else(|| other.example.clone()), ..self }
    }
}

/// Something of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum AttributeName {
    /// `Content-Type`, `Cache-Control` and their like.
    ContentHeaders,
    /// User metadata.
    Metadata,
    /// Tags.
    Tags,
    /// The access control list.
    AccessControl,
    /// Retention and legal hold.
    ObjectLock,
    /// The storage class.
    StorageClass,
    /// The time of the last write.
    CreationTime,
    /// The account that it belongs to.
    Owner,
    /// Its parts, and so its ETag.
    PartLayout,
}

/// Objects that stay at the source for the time being.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkippedObjects {
    /// Why: `Archived` objects can't be read until somebody restores them.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// One of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

/// When the attributes of all objects were compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttributesCompared {
    /// When that began.
    pub at: Time,
    /// Hash of spec.attributes as it was.
    pub asked: String,
}
