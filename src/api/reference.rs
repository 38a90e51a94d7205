//! References from one resource to another, always within its own namespace.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Names an object in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalReference {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Where credentials are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Secret in the same namespace. For an object store it holds `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY` and, for temporary credentials, `AWS_SESSION_TOKEN`; for a database
    /// `username` and `password`. Whoever writes this reference must be allowed to read the Secret.
    /// The controller never reads it: it is mounted into the worker's pod.
    pub secret_ref: LocalReference,
}

/// Opens backups that their tool encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decryption {
    /// Secret in the same namespace. For a repository of pgBackRest it holds `passphrase`: what the source's
    /// pgBackRest has as `repo1-cipher-pass`, which is understood as a name of the key, too. Whoever writes this
    /// reference must be allowed to read the Secret. The controller never reads it: it is mounted into the pod that
    /// restores, and into no other.
    pub secret_ref: LocalReference,
}
