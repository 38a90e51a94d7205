//! Moves data, knows one task.
//!
//! A worker reads its task, does it, reports into `status.observed` of the one resource that it serves,
//! and ends with an exit code that says whose turn it is. All that it knows lies at the target: killed
//! at any moment, the next one goes on where it was.

mod draft;
mod health;
mod kept;
mod migrate;
mod outcome;
mod position;
mod purge;
mod replicate;
pub mod report;
mod restore;
mod run;
mod standby;
mod stores;
mod sync;
mod wake;

use std::path::{Path, PathBuf};

use crate::task::{self, ExitCode, Task, Work};

pub use outcome::Error;
pub use standby::reported;

/// How a worker was started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The task's file.
    pub task: PathBuf,
    /// Hash that the file must have.
    pub task_hash: String,
    /// Sortable id of this run: a greater one takes over.
    pub run_id: String,
    /// Where the last words go.
    pub termination_log: PathBuf,
    /// Where the Secrets are mounted.
    pub mounts: Mounts,
    /// The plan's file, and this pod's index in its Job; both of a migration.
    pub plan: PathBuf,
    pub index: Option<u32>,
    /// Address of `/healthz` and `/readyz`; `None`: not served.
    pub listen: Option<std::net::SocketAddr>,
    /// Address at which the source store's messages are received, where they are.
    pub receive: std::net::SocketAddr,
}

/// Where Secrets are mounted.
#[derive(Clone, Debug)]
pub struct Mounts {
    pub source: PathBuf,
    pub target: PathBuf,
    pub instance: PathBuf,
    /// The token of the messages that are received.
    pub receiver: PathBuf,
    pub queue: PathBuf,
    /// The account of a new instance.
    pub admin: PathBuf,
    /// What opens encrypted backups.
    pub decryption: PathBuf,
    /// The volume of a new instance.
    pub volume: PathBuf,
    /// Small files of this pod.
    pub work: PathBuf,
}

impl Default for Mounts {
    fn default() -> Self {
        Self {
            source: task::SOURCE_CREDENTIALS_DIR.into(),
            target: task::TARGET_CREDENTIALS_DIR.into(),
            instance: task::INSTANCE_CREDENTIALS_DIR.into(),
            receiver: task::RECEIVER_TOKEN_DIR.into(),
            queue: task::QUEUE_CREDENTIALS_DIR.into(),
            admin: task::ADMIN_CREDENTIALS_DIR.into(),
            decryption: task::DECRYPTION_DIR.into(),
            volume: task::VOLUME_DIR.into(),
            work: task::WORK_DIR.into(),
        }
    }
}

/// Does the task, whatever it is, and leaves last words when it did not end well.
pub async fn run(start: Start) -> ExitCode {
    match work(&start).await {
        Ok(()) => ExitCode::Done,
        Err(error) => {
            tracing::error!(reason = error.reason(), "{error}");
            leave_last_words(&start.termination_log, &error.last_words());
            error.exit_code()
        }
    }
}

async fn work(start: &Start) -> Result<(), Error> {
    let task = read_task(start)?;
    match &task.work {
        // Their futures are large.
        Work::Sync(work) => Box::pin(sync::run(start, &task, work)).await,
        Work::Purge(work) => purge::run(start, work).await,
        Work::Replicate(work) => Box::pin(replicate::run(start, &task, work)).await,
        Work::Plan(work) => Box::pin(restore::plan(start, &task, work)).await,
        Work::Restore(work) => Box::pin(restore::restore(start, &task, work)).await,
        Work::Migrate(work) => {
            let done = Box::pin(migrate::run(start, work)).await?;
            leave_last_words(&start.termination_log, &done);
            Ok(())
        }
        Work::Standby(work) => Box::pin(standby::run(start, &task, work)).await,
    }
}

fn read_task(start: &Start) -> Result<Task, Error> {
    let text = std::fs::read_to_string(&start.task)
        .map_err(|source| Error::TaskFile { path: start.task.clone(), source })?;
    Task::from_text(&text, &start.task_hash)
        .map_err(|source| Error::Task { path: start.task.clone(), source })
}

/// Without a kubelet nobody reads them: that they can't be written is no failure.
fn leave_last_words(path: &Path, words: &impl serde::Serialize) {
    let written = serde_json::to_string(words).map(|text| std::fs::write(path, text));
    if !matches!(written, Ok(Ok(()))) {
        tracing::debug!(path = %path.display(), "last words were not written");
    }
}
