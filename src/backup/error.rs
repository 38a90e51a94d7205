//! Why keeping a copy failed.

use crate::store::{self, Side};

/// Result of work on a backup set.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Work on a backup set that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A store failed; `side` says which region to look at.
    #[error("{side:?} store: {source}")]
    Store {
        side: Side,
        #[source]
        source: store::Error,
    },
    /// The target prefix holds another source's copy, or foreign objects. It is never emptied.
    #[error("s3://{bucket}/{prefix} {cause}; choose an empty prefix for this service")]
    PrefixTaken { bucket: String, prefix: String, cause: String },
    /// The two buckets are one store, one bucket, overlapping prefixes.
    #[error("source and target are the same place: {0}")]
    SamePlace(String),
    /// Our own records at the target cannot be read.
    #[error("record s3://{bucket}/{key} cannot be read: {cause}")]
    BadRecord { bucket: String, key: String, cause: String },
    /// A pattern of the `Files` format is not a regular expression.
    #[error("pattern `{pattern}` is not a regular expression: {cause}")]
    BadPattern { pattern: String, cause: String },
    /// Nothing of the source belongs to the format that was named, and something to another one.
    #[error("s3://{bucket}/{prefix}: {cause}")]
    WrongFormat { bucket: String, prefix: String, cause: String },
    /// No format was named, and none can be told.
    #[error("s3://{bucket}/{prefix}: no format is named, and it can't be told: {cause}; name the format")]
    UnknownFormat { bucket: String, prefix: String, cause: String },
    /// No progress was made for too long.
    #[error("no progress for {0:?}")]
    Stuck(std::time::Duration),
}

impl Error {
    /// The one word used in conditions, Events and metrics alike.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Store { source, .. } => source.reason(),
            Self::PrefixTaken { .. } => "PrefixTaken",
            Self::SamePlace(_) => "SamePlace",
            Self::BadRecord { .. } => "BadRecord",
            Self::BadPattern { .. } => "BadPattern",
            Self::WrongFormat { .. } => "WrongFormat",
            Self::UnknownFormat { .. } => "UnknownFormat",
            Self::Stuck(_) => "Stuck",
        }
    }

    /// True where only a person can help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Store { source, .. } => source.is_permanent(),
            Self::PrefixTaken { .. }
            | Self::SamePlace(_)
            | Self::BadRecord { .. }
            | Self::BadPattern { .. }
            | Self::WrongFormat { .. } => true,
            // The first backup may still come.
            Self::UnknownFormat { .. } | Self::Stuck(_) => false,
        }
    }

    /// The side to look at, where one is to blame.
    #[must_use]
    pub fn side(&self) -> Option<Side> {
        match self {
            Self::Store { side, .. } => Some(*side),
            Self::WrongFormat { .. } | Self::UnknownFormat { .. } => Some(Side::Source),
            Self::PrefixTaken { .. } | Self::BadRecord { .. } => Some(Side::Target),
            Self::SamePlace(_) | Self::BadPattern { .. } | Self::Stuck(_) => None,
        }
    }
}
