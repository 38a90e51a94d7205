//! Why a restore failed.

use super::{Refusal, Step};
use crate::{
    backup,
    store::{self, Side},
};

/// Result of a restore.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A restore that failed, or was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The copy can't be read.
    #[error(transparent)]
    Backup(#[from] backup::Error),
    /// The moment can't be restored.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// An object of the copy is not what it was when it was planned, or is damaged.
    #[error("{key} can't be restored: {cause}")]
    Damaged { key: String, cause: String },
    /// The image lacks a program.
    #[error("the image has none of {0}: name an image with them in spec.bootstrap.instance.image")]
    NoTool(String),
    /// One of the database's own programs failed.
    #[error("{program} failed ({status}): {said}")]
    Tool { program: String, status: String, said: String },
    /// The volume, or the pod's own files.
    #[error("{path}: {source}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// The new instance did not do what it was told.
    #[error("the new instance: {what}: {source}")]
    MongoDB {
        what: String,
        #[source]
        source: Box<mongodb::error::Error>,
    },
    /// What was read from a Secret, a base or a log can't be used.
    #[error("{0}")]
    Unusable(String),
    /// What is encrypted lacks its key, or was given another one's.
    #[error("{0}")]
    Locked(String),
    /// A part of this program ended unexpectedly.
    #[error("a part of the restore ended unexpectedly: {0}")]
    Broken(String),
}

impl Error {
    /// The copy's store failed.
    pub(crate) fn store(source: store::Error) -> Self {
        Self::Backup(backup::Error::Store { side: Side::Target, source })
    }

    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::File { path, source }
    }

    /// The one word used in conditions, Events and metrics alike.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Backup(error) => error.reason(),
            Self::Refused(_) => "OutsideWindow",
            Self::Damaged { .. } => "DamagedBackup",
            Self::NoTool(_) => "ToolMissing",
            Self::Tool { .. } => "ToolFailed",
            Self::File { .. } => "VolumeFailed",
            Self::MongoDB { .. } => "InstanceFailed",
            Self::Unusable(_) => "Unusable",
            Self::Locked(_) => "DecryptionFailed",
            Self::Broken(_) => "WorkerBroken",
        }
    }

    /// True where another attempt would end alike until a person has done something.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Backup(error) => error.is_permanent(),
            Self::Refused(_)
            | Self::Damaged { .. }
            | Self::NoTool(_)
            | Self::Unusable(_)
            | Self::Locked(_) => true,
            Self::Tool { .. } | Self::File { .. } | Self::MongoDB { .. } | Self::Broken(_) => false,
        }
    }

    /// The same, with the step at which it came up.
    #[must_use]
    pub fn at(self, step: Step) -> AtStep {
        AtStep { step, error: self }
    }
}

/// A failure, and the step at which it came up.
#[derive(Debug, thiserror::Error)]
#[error("at step {}: {error}", .step.word())]
pub struct AtStep {
    pub step: Step,
    #[source]
    pub error: Error,
}
