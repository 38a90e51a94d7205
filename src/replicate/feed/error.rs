//! Why a feed tells nothing.

use super::FeedKind;
use crate::store;

/// Result of asking a feed.
pub type Result<T, E = FeedError> = std::result::Result<T, E>;

/// A feed broke, or can't be had.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The store that is listened to failed.
    #[error("{feed} feed: {source}")]
    Store {
        feed: FeedKind,
        #[source]
        source: store::Error,
    },
}

impl FeedError {
    /// The one word used in conditions, Events and metrics alike.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Store { source, .. } => source.reason(),
        }
    }

    /// True where only a person can help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Store { source, .. } => source.is_permanent(),
        }
    }
}
