//! What a comparison of two buckets counted: the proof that they converge (`C17`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What a comparison of all objects found, before it settled the differences. A request with
/// `farshore.dev/run-requested` makes one now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Convergence {
    /// When it was over.
    pub completed_at: Time,
    /// Objects that both buckets held alike.
    pub equal: u64,
    /// Objects that both held with another content.
    pub differing: KeysFound,
    /// Objects that only the source held.
    pub only_at_source: KeysFound,
    /// Objects that only the target held.
    pub only_at_target: KeysFound,
}

/// Objects of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeysFound {
    /// How many.
    pub count: u64,
    /// Keys of some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub examples: Vec<String>,
}
