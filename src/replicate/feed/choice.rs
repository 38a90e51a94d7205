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

/// Opens the feed that was asked for. One that can't be had for the moment is given as it is: it connects with
/// [`Feed::next`], as one that broke does, and until then changes are found by comparing.
///
/// # Errors
/// A feed that was named and that only a person can help to have; with `Auto` the same, but for a store that can't be
/// listened to or doesn't let us.
pub async fn choose(choice: Choice, source: Arc<dyn Listens>) -> Result<Chosen> {
    let named = "it was asked for";
    match choice {
        Choice::Auto => auto(source).await,
        Choice::Listen => {
            let mut feed = Listen::new(source);
            passing(feed.connect().await)?;
            Ok(Chosen::new(feed, named))
        }
        Choice::Webhook(options) => {
            let mut feed = Webhook::new(options);
            passing(feed.open().await)?;
            Ok(Chosen::new(feed, named))
        }
        Choice::Sqs(options) => {
            let mut feed = Sqs::new(options);
            passing(feed.connect().await)?;
            Ok(Chosen::new(feed, named))
        }
        Choice::Poll => Ok(Chosen::new(Poll::default(), named)),
    }
}

/// What may pass is tried again by who follows the feed.
fn passing<T>(opened: Result<T>) -> Result<bool> {
    match opened {
        Ok(_) => Ok(true),
        Err(error) if error.is_permanent() => Err(error),
        Err(error) => {
            tracing::warn!("tried again: {error}");
            Ok(false)
        }
    }
}

async fn auto(source: Arc<dyn Listens>) -> Result<Chosen> {
    let mut feed = Listen::new(source);
    let opened = feed.connect().await;
    if let Some(why) = opened.as_ref().err().and_then(why_poll) {
        return Ok(Chosen::new(Poll::default(), why));
    }
    let tells = if passing(opened)? { "tells" } else { "is asked to tell" };
    Ok(Chosen::new(feed, format!("the source store {tells} of changes over an open request")))
}

/// Why `Auto` finds changes by comparing, where this keeps it from listening.
pub(in crate::replicate) fn why_poll(error: &FeedError) -> Option<String> {
    match error {
        FeedError::CantListen(place) => Some(format!(
            "the source store can't be listened to ({place}); changes are found by comparing, \
             or within seconds with the feed Webhook or SQS"
        )),
        FeedError::MayNotListen(place) => Some(format!(
            "listening to the source store is denied ({place}); changes are found by comparing, \
             or at once with s3:ListenBucketNotification allowed"
        )),
        _ => None,
    }
}
