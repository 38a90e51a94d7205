//! What is told of keys under a prefix.

use async_trait::async_trait;

use super::{Change, Feed, FeedKind, Hint, Result, Told};

/// Tells of the keys under a prefix, without it. What happens to other keys is nobody's business: a queue
/// forgets it.
pub(in crate::replicate) struct Under {
    feed: Box<dyn Feed>,
    prefix: String,
}

impl Under {
    /// `""` is the whole bucket.
    pub(in crate::replicate) fn new(feed: Box<dyn Feed>, prefix: impl Into<String>) -> Self {
        Self { feed, prefix: prefix.into() }
    }
}

#[async_trait]
impl Feed for Under {
    async fn next(&mut self) -> Result<Told> {
        loop {
            let Told { hint, receipt } = self.feed.next().await?;
            let Hint::Changed(change) = hint else { return Ok(Told { hint, receipt }) };
            match change.key.strip_prefix(&self.prefix).map(str::to_owned) {
                Some(key) => return Ok(Told { hint: Hint::Changed(Change { key, ..change }), receipt }),
                None => receipt.hand_in(),
            }
        }
    }

    fn kind(&self) -> FeedKind {
        self.feed.kind()
    }
}
