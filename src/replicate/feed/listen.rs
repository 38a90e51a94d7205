//! A store that tells of changes over a request that stays open.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use futures::StreamExt;

use super::{Feed, FeedError, FeedKind, Hint, Message, Result, Told, Via, parse};
use crate::store::{self, ListenRequest, Listens, Notices};

/// Listens to one bucket. Connects with the first call of [`Feed::next`].
///
/// Nothing is told twice and nothing is kept by the store: what happens between two connections, and what
/// a busy store drops, only a comparison finds.
pub struct Listen {
    store: Arc<dyn Listens>,
    request: ListenRequest,
    open: Option<Notices>,
    /// Told, and not yet passed on.
    told: VecDeque<Hint>,
}

impl Listen {
    /// Listens to the bucket of a store.
    #[must_use]
    pub fn new(store: Arc<dyn Listens>) -> Self {
        Self { store, request: ListenRequest::default(), open: None, told: VecDeque::new() }
    }

    /// How often the store gives a sign of life, and how long one is waited for.
    #[must_use]
    pub fn request(mut self, request: ListenRequest) -> Self {
        self.request = request;
        self
    }

    /// Connects at once rather than with the first call of [`Feed::next`].
    ///
    /// # Errors
    /// [`FeedError::CantListen`] where the store knows no listening, [`FeedError::MayNotListen`] where
    /// these credentials may not, [`FeedError::Store`] for all else.
    pub async fn connect(&mut self) -> Result<()> {
        self.open = Some(self.store.listen(&self.request).await.map_err(failed)?);
        self.told = VecDeque::from([Hint::Connected]);
        Ok(())
    }
}

#[async_trait]
impl Feed for Listen {
    async fn next(&mut self) -> Result<Told> {
        loop {
            if let Some(hint) = self.told.pop_front() {
                return Ok(hint.into());
            }
            let Some(open) = &mut self.open else {
                self.connect().await?;
                continue;
            };
            match open.next().await {
                Some(Ok(notice)) => self.told.extend(hints(&notice)),
                Some(Err(error)) => {
                    self.open = None;
                    return Err(failed(error));
                }
                // A stream ends with its error; the next call connects anew.
                None => self.open = None,
            }
        }
    }

    fn kind(&self) -> FeedKind {
        FeedKind::Listen
    }
}

fn failed(error: store::Error) -> FeedError {
    match error {
        store::Error::Unsupported { context, .. } => FeedError::CantListen(context),
        store::Error::AccessDenied(context) => FeedError::MayNotListen(context),
        source => FeedError::Store { feed: FeedKind::Listen, source },
    }
}

/// What a notice says. One without changes is a sign of life.
fn hints(notice: &[u8]) -> Vec<Hint> {
    match parse(notice, Via::Listening) {
        Ok(Message::Changes(changes)) if changes.is_empty() => vec![Hint::Alive],
        Ok(Message::Changes(changes)) => changes.into_iter().map(|(_, c)| Hint::Changed(c)).collect(),
        Ok(Message::Unconfirmed { .. }) => Vec::new(),
        Err(error) => vec![Hint::Lost { why: format!("a notice can't be read: {error}") }],
    }
}
