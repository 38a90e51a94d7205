//! Why a feed tells nothing.

use std::{net::SocketAddr, path::PathBuf};

use super::FeedKind;
use crate::store;

/// Result of asking a feed.
pub type Result<T, E = FeedError> = std::result::Result<T, E>;

/// A feed broke, or can't be had. Its words are whole: what happened, and the next step.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The store that is listened to failed.
    #[error("{feed} feed: {source}")]
    Store {
        feed: FeedKind,
        #[source]
        source: store::Error,
    },
    /// The store knows no listening.
    #[error("Listen feed: this store can't be listened to: {0}; choose the feed Webhook, SQS or Poll")]
    CantListen(store::Context),
    /// The credentials may not listen.
    #[error(
        "Listen feed: listening is denied: {0}; allow s3:ListenBucketNotification to these credentials, or choose another feed"
    )]
    MayNotListen(store::Context),
    /// The receiver has no place to listen at.
    #[error("Webhook feed: can't listen at {address}: {cause}; free the port, or choose another one")]
    NoPort { address: SocketAddr, cause: String },
    /// The file of the receiver's token.
    #[error("Webhook feed: token file {}: {cause}; add the token to the Secret", file.display())]
    Token { file: PathBuf, cause: String },
    /// The receiver has ended; the next call starts a new one.
    #[error("Webhook feed: the receiver has stopped; it is started again")]
    Stopped,
    /// The queue refused or is out of reach.
    #[error("SQS feed: {url}: {cause}; {}", if *.permanent { "correct the queue's address, its policy or the credentials" } else { "look at the way to the queue" })]
    Queue { url: String, cause: String, permanent: bool },
}

impl FeedError {
    /// The one word used in conditions, Events and metrics alike.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Store { source, .. } => source.reason(),
            Self::CantListen(_) => "Unsupported",
            Self::MayNotListen(_) => "AccessDenied",
            Self::NoPort { .. } | Self::Stopped => "ReceiverFailed",
            Self::Token { .. } => "TokenMissing",
            Self::Queue { permanent: true, .. } => "QueueRefused",
            Self::Queue { permanent: false, .. } => "QueueUnreachable",
        }
    }

    /// True where only a person can help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Store { source, .. } => source.is_permanent(),
            Self::CantListen(_) | Self::MayNotListen(_) | Self::Token { .. } => true,
            Self::Queue { permanent, .. } => *permanent,
            Self::NoPort { .. } | Self::Stopped => false,
        }
    }
}
