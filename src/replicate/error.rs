//! Why copying or comparing failed.

use crate::store::{self, Side};

/// Result of copying or comparing.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Copying or comparing failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A store failed; `side` says which region to look at.
    #[error("{side:?} store: {source}")]
    Store {
        side: Side,
        #[source]
        source: store::Error,
    },
    /// The object changed at the source each time that it was being copied.
    #[error("{key} changed {times} times while it was being copied; it is tried again later")]
    Restless { key: String, times: u32 },
}

impl Error {
    pub(super) fn source(source: store::Error) -> Self {
        Self::Store { side: Side::Source, source }
    }

    pub(super) fn target(source: store::Error) -> Self {
        Self::Store { side: Side::Target, source }
    }

    /// The one word used in conditions, Events and metrics alike.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Store { source, .. } => source.reason(),
            Self::Restless { .. } => "ChangedMeanwhile",
        }
    }

    /// True where only a person can help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Store { source, .. } if source.is_permanent())
    }

    /// The side to look at.
    #[must_use]
    pub fn side(&self) -> Side {
        match self {
            Self::Store { side, .. } => *side,
            Self::Restless { .. } => Side::Source,
        }
    }
}
