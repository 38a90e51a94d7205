//! How a rule hears of changes between two comparisons.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Credentials, LocalReference};

/// How changes are heard of. Whatever is heard is only a hint which object to look at: comparisons of both buckets find what was not heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Feed {
    /// `Listen` where the source store can be listened to, else `Poll`.
    #[default]
    Auto,
    /// Over a request to the source store that stays open (MinIO, RustFS): within milliseconds.
    Listen,
    /// By requests of the source store to the worker (MinIO, Ceph, VersityGW): `status.feed.endpoint` is the address that the store must be given.
    Webhook,
    /// Over a queue that the source store fills (AWS).
    #[serde(rename = "SQS")]
    Sqs,
    /// Not at all: each comparison finds what has changed since the one before.
    Poll,
}

/// What the worker's receiver of messages needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookFeed {
    /// Secret in the same namespace whose key `token` every message must carry: as `Authorization: Bearer`, or as the password of the address for stores that know only addresses. Whoever writes this reference must be allowed to read the Secret. The controller never reads it: it is mounted into the worker's pod, which takes a changed token within minutes.
    pub token_secret_ref: LocalReference,
}

/// The queue that the worker reads. It serves one rule: what it tells of other buckets is taken out and passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueFeed {
    /// The queue's URL.
    #[serde(rename = "queueURL")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@ ]+/[^?# ]*[^/?# ]$')").message(
        "must be the URL of a queue like https://sqs.eu-west-1.amazonaws.com/123456789012/changes, without user or query"
    ))]
    pub queue_url: String,
    /// Region in the signatures of requests to the queue. Without it, that of the source Region's store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub region: Option<String>,
    /// Where requests to the queue go, if not to the host of its URL: an interface endpoint of a VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@ ]+/?$')").message(
        "must be a URL like https://host[:port], without user, path or query"
    ))]
    pub endpoint: Option<String>,
    /// Credentials that may receive, hold and delete the queue's messages. Without them, those of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// How a rule hears of changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeedInUse {
    /// `Listen`, `Webhook`, `SQS` or `Poll`.
    pub kind: String,
    /// Why it is this one.
    pub why: String,
    /// Of the feed `Webhook`: the address that the source store must be given. The Service behind it is named after the rule, and keeps its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}
