//! How a worker ends: one table from errors to exit codes.

use std::path::PathBuf;

use crate::{
    api::FailureSide,
    backup,
    replicate::{self, feed::FeedError, follow},
    restore, standby,
    store::{self, Side},
    task::{self, ExitCode, LastWords},
};

/// Why a worker could not do its task.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("task file {path} can't be read: {source}")]
    TaskFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("task file {path}: {source}; delete the Job, and the controller makes another")]
    Task {
        path: PathBuf,
        #[source]
        source: task::Error,
    },
    #[error("plan {path} can't be used: {cause}; delete the Job, and the controller makes another")]
    Plan { path: PathBuf, cause: String },
    #[error(transparent)]
    Backup(#[from] backup::Error),
    #[error(transparent)]
    Replication(#[from] follow::Error),
    #[error(transparent)]
    Restore(#[from] restore::Error),
    #[error(transparent)]
    RestoreStep(#[from] restore::AtStep),
    #[error(transparent)]
    Standby(standby::Error),
    /// Objects are left that a store did not take or give, though it was asked again and again.
    #[error("{0}")]
    Unfinished(String),
    /// A later run reports in our place, or the resource is gone.
    #[error("{0}")]
    Superseded(String),
    /// Asked to stop in the middle of its work.
    #[error("stopped before its work was done; the next run goes on where this one was")]
    Terminated,
    #[error("Kubernetes can't be reached: {0}")]
    Kubernetes(String),
    #[error("a task of this program ended unexpectedly: {0}")]
    Broken(String),
}

impl Error {
    /// The one word used in conditions, Events and metrics alike.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TaskFile { .. } | Self::Task { .. } | Self::Plan { .. } => "InvalidTask",
            Self::Backup(error) => error.reason(),
            Self::Replication(error) => error.reason(),
            Self::Restore(error) | Self::RestoreStep(restore::AtStep { error, .. }) => error.reason(),
            Self::Standby(error) => error.reason(),
            Self::Unfinished(_) => "StoreUnreachable",
            Self::Superseded(_) => "Superseded",
            Self::Terminated => "Terminated",
            Self::Kubernetes(_) => "KubernetesUnreachable",
            Self::Broken(_) => "WorkerBroken",
        }
    }

    /// What the controller and the Job's `podFailurePolicy` read.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::TaskFile { .. } | Self::Task { .. } | Self::Plan { .. } => ExitCode::Permanent,
            Self::Superseded(_) => ExitCode::Superseded,
            Self::Terminated => ExitCode::Stopped,
            Self::Unfinished(_) => ExitCode::Unreachable,
            Self::Backup(backup::Error::Stuck(_)) | Self::Replication(follow::Error::Stuck(_)) => {
                ExitCode::Stuck
            }
            Self::Replication(follow::Error::Replicate(replicate::Error::Store { source, .. })) => {
                store_exit_code(source)
            }
            // A token that is put into the Secret is seen by the next pod at the latest.
            Self::Replication(follow::Error::Feed(FeedError::Token { .. })) => ExitCode::Denied,
            Self::Backup(backup::Error::Store { source, .. })
            | Self::Restore(restore::Error::Backup(backup::Error::Store { source, .. }))
            | Self::RestoreStep(restore::AtStep {
                error: restore::Error::Backup(backup::Error::Store { source, .. }),
                ..
            }) => store_exit_code(source),
            Self::Restore(error) | Self::RestoreStep(restore::AtStep { error, .. })
                if error.is_permanent() =>
            {
                ExitCode::Permanent
            }
            Self::Backup(error) if error.is_permanent() => ExitCode::Permanent,
            Self::Replication(error) if error.is_permanent() => ExitCode::Permanent,
            Self::Standby(error) if error.is_denied() => ExitCode::Denied,
            Self::Standby(error) if error.is_permanent() => ExitCode::Permanent,
            Self::Kubernetes(_)
            | Self::Broken(_)
            | Self::Standby(_)
            | Self::Backup(_)
            | Self::Replication(_)
            | Self::Restore(_)
            | Self::RestoreStep(_) => ExitCode::Failed,
        }
    }

    /// Their words for the termination message.
    #[must_use]
    pub fn last_words(&self) -> LastWords {
        let side = match self {
            Self::Backup(error) => error.side().map(failure_side),
            Self::Replication(error) => error.side().map(failure_side),
            Self::Standby(error) => error.side().map(server_side),
            _ => None,
        };
        LastWords { reason: self.reason().to_owned(), message: self.to_string(), side }
    }
}

impl From<standby::Error> for Error {
    fn from(error: standby::Error) -> Self {
        match error {
            standby::Error::Superseded(why) => Self::Superseded(why),
            error => Self::Standby(error),
        }
    }
}

/// A master is a source.
#[must_use]
pub fn server_side(side: standby::Side) -> FailureSide {
    match side {
        standby::Side::Master => FailureSide::Source,
        standby::Side::Target => FailureSide::Target,
    }
}

fn store_exit_code(error: &store::Error) -> ExitCode {
    match error {
        store::Error::Unreachable { .. } | store::Error::SlowDown(_) => ExitCode::Unreachable,
        error if error.is_denied() => ExitCode::Denied,
        // A key that is added to the Secret is seen by the next pod only.
        store::Error::CredentialsMissing { .. } => ExitCode::Denied,
        error if error.is_permanent() => ExitCode::Permanent,
        _ => ExitCode::Failed,
    }
}

/// The engine's word for a side as the API spells it.
#[must_use]
pub fn failure_side(side: Side) -> FailureSide {
    match side {
        Side::Source => FailureSide::Source,
        Side::Target => FailureSide::Target,
    }
}
