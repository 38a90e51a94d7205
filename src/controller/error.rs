//! What can go wrong in the controller.

use std::{io, net::SocketAddr, time::Duration};

/// An error of the controller.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A definition is missing.
    #[error(
        "the cluster does not know {kinds}; install the definitions first: farshore crds | kubectl apply --server-side -f -"
    )]
    MissingDefinitions { kinds: String },
    /// The API server refused or failed a request.
    #[error("request to the API server failed: {0}")]
    Api(#[from] kube::Error),
    /// There is no cluster to talk to.
    #[error("no cluster is configured: {0}")]
    Config(#[source] kube::config::InferConfigError),
    /// An object under the name that is ours belongs to somebody else.
    #[error("{kind} {namespace}/{name} exists and is not ours; delete or rename it")]
    NameTaken { kind: &'static str, namespace: String, name: String },
    /// The system gives no random bytes.
    #[error("no random bytes are to be had, so no key can be made; see the node's log")]
    NoRandomness,
    /// A reconcile took too long.
    #[error("not done after {0:?}")]
    TooSlow(Duration),
    /// A task could not be written.
    #[error("task can't be written: {0}")]
    Task(#[from] crate::task::Error),
    /// An object could not be written as JSON.
    #[error("object can't be written: {0}")]
    Json(#[from] serde_json::Error),
    /// Another leads now.
    #[error("lease {lease} is lost: another controller leads, or the API server does not answer")]
    LeadershipLost { lease: String },
    /// The address can't be had.
    #[error("can't listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    /// A part of the process ended that never should.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
    /// A part of the process panicked.
    #[error("a task panicked: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

impl Error {
    /// One word, the same in metrics and logs.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::MissingDefinitions { .. } => "MissingDefinitions",
            Self::Api(kube::Error::Api(_)) => "Refused",
            Self::Api(_) => "ApiUnreachable",
            Self::Config(_) => "NoCluster",
            Self::NameTaken { .. } => "NameTaken",
            Self::NoRandomness => "NoRandomness",
            Self::TooSlow(_) => "TooSlow",
            Self::Task(_) | Self::Json(_) => "Malformed",
            Self::LeadershipLost { .. } => "LeadershipLost",
            Self::Listen { .. } => "Listen",
            Self::Ended(_) | Self::Panicked(_) => "Ended",
        }
    }
}
