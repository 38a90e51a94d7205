//! A place that holds buckets.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A region: an object store, and what is offered there. Written by administrators; holds no credentials.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "farshore.dev",
    version = "v1alpha1",
    kind = "Region",
    status = "RegionStatus",
    category = "farshore",
    derive = "PartialEq",
    doc = "A region: an object store, and what is offered there. Written by administrators; holds no credentials.",
    printcolumn(name = "Display Name", type_ = "string", json_path = ".spec.displayName"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".spec.zone"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".spec.objectStore.endpoint"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RegionSpec {
    /// Name that people use for the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub display_name: Option<String>,
    /// Kind of zone. Zones never mix: what lies in a finance zone stays in finance zones.
    #[serde(default)]
    pub zone: Zone,
    /// What may be used in this region. A service that needs one that is missing is not accepted.
    #[serde(default = "all_services")]
    #[schemars(length(max = 8))]
    pub services: Vec<Offer>,
    /// The region's object store.
    pub object_store: ObjectStoreSpec,
    /// How many disaster recovery instances one master in this region may have. What is accepted stays accepted when it is lowered.
    #[serde(default = "default_quota")]
    #[schemars(range(min = 0, max = 100))]
    pub disaster_recovery_quota: u32,
}

const fn default_quota() -> u32 {
    3
}

fn all_services() -> Vec<Offer> {
    vec![Offer::BackupSync, Offer::BucketReplication, Offer::DisasterRecovery]
}

/// Kind of zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Zone {
    /// Open to all.
    #[default]
    Common,
    /// Under a financial regulator's rules.
    Finance,
}

/// A service that a region may offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Offer {
    /// Backups may be copied from and to this region.
    BackupSync,
    /// Buckets may be replicated from and to this region.
    BucketReplication,
    /// Instances here may be masters of disaster recovery instances, and those may be here.
    DisasterRecovery,
}

/// How to reach a region's object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStoreSpec {
    /// URL of the S3 endpoint, without a path: `https://s3.cn-east-1.example`. With `https`,
    /// certificates are always checked; `http` is for stores inside the cluster's own network.
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@]+/?$')").message(
        "must be a URL like https://host[:port], without user, path or query"
    ))]
    pub endpoint: String,
    /// Region name that requests are signed for. Default: `us-east-1`, which most stores accept.
    #[serde(default = "default_signing_region")]
    #[schemars(length(min = 1, max = 64))]
    pub signing_region: String,
    /// How buckets are addressed: `Path` (endpoint/bucket) or `Virtual` (bucket.endpoint).
    #[serde(default)]
    pub addressing: Addressing,
    /// PEM certificates of authorities that are trusted for this endpoint, besides the well-known ones
    /// of the image. Needed where the endpoint's certificate is signed by an authority of your own;
    /// certificates are checked in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    #[x_kube(validation = Rule::new("self.contains('-----BEGIN CERTIFICATE-----')").message(
        "must hold PEM certificates (-----BEGIN CERTIFICATE-----)"
    ))]
    pub ca_bundle: Option<String>,
}

fn default_signing_region() -> String {
    "us-east-1".to_owned()
}

/// How buckets are addressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Addressing {
    /// `https://endpoint/bucket/key`.
    #[default]
    Path,
    /// `https://bucket.endpoint/key`.
    Virtual,
}

/// What the controller found out about a region.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionStatus {
    /// Generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the endpoint answers as an object store. While it is `False`, no worker is started for
    /// this region; one probe with growing pauses finds out when it is back.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// How far the store's clock is ahead of ours, rounded to milliseconds, as of the last change of
    /// more than a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset: Option<String>,
    /// Set while the store does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage: Option<Outage>,
    /// The last outage that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_outage: Option<PastOutage>,
}

/// An outage that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastOutage {
    /// When the store stopped answering.
    pub since: Time,
    /// When it answered again.
    pub until: Time,
}

/// An outage of a region's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outage {
    /// When the store stopped answering.
    pub since: Time,
    /// When it will be asked again.
    pub next_probe: Time,
    /// Probes that failed in a row.
    pub failures: u32,
}
