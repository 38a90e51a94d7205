//! Which feed is used, and why.

use std::sync::Arc;

use super::{Feed, FeedError, FeedKind, Listen, Poll, Result, Sqs, Webhook, sqs, webhook};
use crate::store::Listens;

/// What the user asks for.
#[derive(Clone, Debug, Default)]
pub enum Choice {
    /// Listens where the store can tell, and compares more often where it can't.
    #[default]
    Auto,
    Listen,
    Webhook(webhook::Options),
    Sqs(sqs::Options),
    Poll,
}

/// A feed, and a sentence for the user on why it is this one.
pub struct Chosen {
    pub feed: Box<dyn Feed>,
    pub why: String,
}

impl Chosen {
    fn new(feed: impl Feed + 'static, why: impl Into<String>) -> Self {
        Self { feed: Box::new(feed), why: why.into() }
    }

    /// Which way it is.
    #[must_use]
    pub fn kind(&self) -> FeedKind {
        self.feed.kind()
    }
}

impl std::fmt::Debug for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind(), self.why)
    }
}

/// Opens the feed that was asked for.
///
/// # Errors
/// A feed that was named and can't be had; `Auto` fails only where the store can't be asked at all.
pub async fn choose(choice: Choice, source: Arc<dyn Listens>) -> Result<Chosen> {
    let named = "it was asked for";
    match choice {
        Choice::Auto => auto(source).await,
        Choice::Listen => {
            let mut feed = Listen::new(source);
            feed.connect().await?;
            Ok(Chosen::new(feed, named))
        }
        Choice::Webhook(options) => {
            let mut feed = Webhook::new(options);
            feed.open().await?;
            Ok(Chosen::new(feed, named))
        }
        Choice::Sqs(options) => {
            let mut feed = Sqs::new(options);
            feed.connect().await?;
            Ok(Chosen::new(feed, named))
        }
        Choice::Poll => Ok(Chosen::new(Poll::default(), named)),
    }
}

async fn auto(source: Arc<dyn Listens>) -> Result<Chosen> {
    let mut feed = Listen::new(source);
    match feed.connect().await {
        Ok(()) => Ok(Chosen::new(feed, "the source store tells of changes over an open request")),
        Err(FeedError::CantListen(place)) => {
            let why = format!(
                "the source store can't be listened to ({place}); changes are found by comparing, \
                 or within seconds with the feed Webhook or SQS"
            );
            Ok(Chosen::new(Poll::default(), why))
        }
        Err(FeedError::MayNotListen(place)) => {
            let why = format!(
                "listening to the source store is denied ({place}); changes are found by comparing, \
                 or at once with s3:ListenBucketNotification allowed"
            );
            Ok(Chosen::new(Poll::default(), why))
        }
        Err(error) => Err(error),
    }
}
