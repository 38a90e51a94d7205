//! Change feeds: which key to look at.
//!
//! Every feed loses, repeats and reorders. What one tells is therefore a hint and never a fact: who uses
//! it looks at the source, and compares the whole from time to time. A feed only makes that fast.

mod choice;
mod error;
mod listen;
mod poll;
mod receipt;
mod record;
pub mod sqs;
mod under;
pub mod webhook;

use async_trait::async_trait;

pub(super) use choice::why_poll;
pub use choice::{Choice, Chosen, choose};
pub use error::{FeedError, Result};
pub use listen::Listen;
pub use poll::Poll;
pub use receipt::Receipt;
pub use record::{Change, Kind, Malformed, Message, Sequencer, Via, parse};
pub use sqs::Sqs;
pub(super) use under::Under;
pub use webhook::Webhook;

/// What a feed tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Something happened to a key.
    Changed(Change),
    /// The feed is connected (again). What happened before may be lost: compare.
    Connected,
    /// Something was told that can't be made out, or found no room: compare.
    Lost { why: String },
    /// A sign of life: nothing waits up to now.
    Alive,
}

/// A hint, and what to hand in once it is dealt with.
#[derive(Debug)]
pub struct Told {
    pub hint: Hint,
    pub receipt: Receipt,
}

impl From<Hint> for Told {
    fn from(hint: Hint) -> Self {
        Self { hint, receipt: Receipt::default() }
    }
}

/// The ways to hear of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeedKind {
    /// A request to the store that stays open (`MinIO`, `RustFS`). Tells within milliseconds.
    Listen,
    /// Requests of the store to us (`MinIO`, Ceph, `VersityGW`, SNS). It gives no signs of life.
    Webhook,
    /// A queue (AWS). Tells within seconds, what happened while nobody listened too.
    Sqs,
    /// Nobody tells anything: changes are found by comparing.
    Poll,
}

impl FeedKind {
    /// The word in status, metrics and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Listen => "Listen",
            Self::Webhook => "Webhook",
            Self::Sqs => "SQS",
            Self::Poll => "Poll",
        }
    }
}

impl std::fmt::Display for FeedKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A source of hints.
#[async_trait]
pub trait Feed: Send {
    /// Waits for the next hint. Dropping the future loses none.
    ///
    /// # Errors
    /// The connection broke, or can't be made. The next call makes a new one, which begins with
    /// [`Hint::Connected`] unless the other side kept what there was to tell; the caller waits in
    /// between, longer each time.
    async fn next(&mut self) -> Result<Told>;

    /// Which way this is.
    fn kind(&self) -> FeedKind;
}
