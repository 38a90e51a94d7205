//! Whether a bucket's own lifecycle has let an object go that only the other bucket has (`C10`).

use std::sync::Arc;

use jiff::Timestamp;

use super::Settler;
use crate::{
    replicate::{
        Error, Leaves, Result,
        lifecycle::{Answer, Trace, written_by},
        listing::Listing,
    },
    store::{self, ListVersionsRequest, Listed, ObjectVersion, Side, Tags, newest_first},
};

impl Settler {
    /// What is known without asking about an object that `side` lacks and the other has.
    #[must_use]
    pub(in crate::replicate) fn expired(&self, side: Side, other: &Listed) -> Answer {
        match side {
            Side::Source => self.common.expiry().at_source(other, Timestamp::now()),
            Side::Target => self.common.expiry().at_target(other, Timestamp::now()),
        }
    }

    /// Tells what the source has let go, without asking.
    #[must_use]
    pub(in crate::replicate) fn leaves(&self) -> Leaves {
        let expiry = self.common.expiry();
        Arc::new(move |extra| expiry.at_source(extra, Timestamp::now()) == Answer::Yes)
    }

    /// True where the own lifecycle of the side that lacks an object has let it go.
    ///
    /// # Errors
    /// Of either side: it is not known.
    pub async fn is_expired(&self, side: Side, other: &Listed) -> Result<bool> {
        match self.expired(side, other) {
            Answer::No => Ok(false),
            Answer::Yes => Ok(true),
            Answer::Ask => {
                let expired = self.ask(side, other).await?;
                self.common.expiry().remember(side, other, expired);
                Ok(expired)
            }
        }
    }

    async fn ask(&self, side: Side, other: &Listed) -> Result<bool> {
        let (expiry, now) = (self.common.expiry(), Timestamp::now());
        let (bucket, lacking, having) = match side {
            Side::Source => (&expiry.source, &self.source, &self.target),
            Side::Target => (&expiry.target, &self.target, &self.source),
        };
        let of = |side| move |source| Error::Store { side, source };
        let trace = if bucket.versioned { trace(lacking, &other.key).await.map_err(of(side))? } else { None };
        let past = match side {
            Side::Source => expiry.past_at_source(other, trace, now),
            Side::Target => expiry.past_at_target(other, trace, now),
        };
        // It went after it was written: so it had been brought over.
        let went = trace.is_some_and(|trace| trace.gone > written_by(other));
        if side == Side::Target && !went && !expiry.was_there(other) {
            return Ok(false);
        }
        match bucket.lifecycle.explains(&past) {
            Answer::Ask => {
                let there = if side == Side::Source { Side::Target } else { Side::Source };
                let tags = tags(having, &other.key).await.map_err(of(there))?;
                Ok(bucket.lifecycle.explains_tagged(&past, tags.as_ref()))
            }
            answer => Ok(answer == Answer::Yes),
        }
    }
}

/// When the current object was written, and when it went. `None`: it went without a trace, or nobody may see it.
async fn trace(side: &Listing, key: &str) -> store::Result<Option<Trace>> {
    let request =
        ListVersionsRequest { prefix: format!("{}{key}", side.prefix), marker: None, max_keys: Some(10) };
    let page = match side.pages.list_versions(&request).await {
        Err(store::Error::AccessDenied(_) | store::Error::Unsupported { .. }) => return Ok(None),
        page => page?,
    };
    let mut versions: Vec<_> =
        page.versions.into_iter().take_while(|version| version.key == request.prefix).collect();
    newest_first(&mut versions);
    let mut versions = versions.iter();
    let Some(marker) = versions.next().filter(|newest| newest.is_delete_marker) else { return Ok(None) };
    let last = versions.find(|version| !version.is_delete_marker);
    Ok(Some(Trace { written: last.map(ObjectVersion::written), gone: marker.written() }))
}

/// Its tags; `None` where they can't be had.
async fn tags(side: &Listing, key: &str) -> store::Result<Option<Tags>> {
    match side.pages.tags(&format!("{}{key}", side.prefix)).await {
        Ok(tags) => Ok(Some(tags)),
        Err(store::Error::NotFound(_) | store::Error::AccessDenied(_) | store::Error::Unsupported { .. }) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
