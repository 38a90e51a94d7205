//! Change feeds: which key to look at.
//!
//! Every feed loses, repeats and reorders. What one tells is therefore a hint and never a fact: who uses
//! it looks at the source, and compares the whole from time to time. A feed only makes that fast.

mod error;
mod listen;
mod record;

use async_trait::async_trait;

pub use error::{FeedError, Result};
pub use listen::Listen;
pub use record::{Change, Kind, Malformed, Message, Sequencer, Via, parse};

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

/// The ways to hear of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeedKind {
    /// A request to the store that stays open (`MinIO`, `RustFS`).
    Listen,
}

impl FeedKind {
    /// The word in status, metrics and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Listen => "Listen",
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
    /// [`Hint::Connected`]; the caller waits in between, longer each time.
    async fn next(&mut self) -> Result<Hint>;

    /// Which way this is.
    fn kind(&self) -> FeedKind;
}
