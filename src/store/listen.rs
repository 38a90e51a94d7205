//! Stores that tell of changes over a request that stays open (`MinIO`, `RustFS`).

use std::{pin::Pin, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use super::{Context, Error, Obstacle, Result};

/// What a store tells, message by message, each in JSON. It ends in an error, never quietly.
///
/// What happens while no such request is open, and what the store finds no room for, is told to nobody.
pub type Notices = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub struct ListenRequest {
    /// How often a store with nothing to tell gives a sign of life; whole seconds. `MinIO` answers only
    /// with its first message: this is also how long it takes to know that it listens.
    pub ping: Duration,
    /// A connection over which nothing came for so long is broken.
    pub silence: Duration,
}

impl Default for ListenRequest {
    fn default() -> Self {
        Self { ping: Duration::from_secs(1), silence: Duration::from_secs(30) }
    }
}

/// A bucket whose store may tell of changes.
#[async_trait]
pub trait Listens: Send + Sync + std::fmt::Debug {
    /// Opens a request over which the store tells what is written, deleted or tagged from now on. Tried
    /// once: who listens tries again, and compares what was missed.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the store takes the request for another one.
    async fn listen(&self, request: &ListenRequest) -> Result<Notices>;
}

/// Breaks off when nothing comes for so long: a connection may be dead without anyone saying so.
pub(super) fn watched(notices: Notices, silence: Duration, context: Context) -> Notices {
    Box::pin(stream::unfold(Some((notices, context)), move |state| async move {
        let (mut notices, context) = state?;
        match tokio::time::timeout(silence, notices.next()).await {
            Ok(Some(Ok(notice))) => Some((Ok(notice), Some((notices, context)))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => Some((Err(over(Obstacle::Failing, "the store ended its answer", context)), None)),
            Err(_) => {
                let cause = format!("no sign of life for {silence:?}");
                Some((Err(over(Obstacle::Silence, cause, context)), None))
            }
        }
    }))
}

fn over(obstacle: Obstacle, cause: impl Into<String>, context: Context) -> Error {
    Error::Unreachable { obstacle, cause: cause.into(), context }
}
