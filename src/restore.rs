//! A new instance from a copy of backups: which of them, and each engine's way back.
//!
//! [`plan()`] says, before anything is made, what a restore to a moment reads, or why there is none. The engines
//! work beside the database's own tools, in its image: they fetch from the store straight into the data
//! directory, replay the log to the place that the moment means, and say what was reached. Progress goes
//! through a channel; nothing here knows Kubernetes.

mod child;
mod error;
mod extract;
mod fetch;
mod finished;
mod locate;
pub mod mongodb;
pub mod mysql;
pub mod pbm;
mod plan;
pub mod postgres;
mod progress;
mod room;
pub mod sqlserver;
pub mod wal;
mod xbstream;

pub use error::{AtStep, Error, Result};
pub use extract::extract;
pub use fetch::Origin;
pub use finished::{finished, note_finished};
pub use locate::{locate, look, look_at_copy};
pub use plan::{Plan, PlannedBase, PlannedLog, Refusal, plan};
pub use progress::{Progress, Reached, Reporter, Step};
