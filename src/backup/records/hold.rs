//! Holds: what a restore under way reads is not pruned.
//!
//! A hold names a moment. While it lasts, retention reaches back to that moment at least, so that its base and
//! its logs stay. It ends by itself: a restore that died holds nothing for ever.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::at_target;
use crate::{
    backup::{Error, Result, reader::collect},
    store::{self, GetOptions, ListRequest, ObjectStore, PutOptions},
};

const HOLDS: &str = ".farshore/holds/";
/// How long a hold lasts without being renewed.
pub const HOLD_LASTS: SignedDuration = SignedDuration::from_hours(2);

/// What is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// The moment whose base and logs stay.
    pub time_point: Timestamp,
    pub expires_at: Timestamp,
    /// For people: the instance that is restored.
    pub owner: String,
}

fn key(prefix: &str, id: &str) -> String {
    format!("{prefix}{HOLDS}{id}.json")
}

/// Places a hold, or renews it.
///
/// # Errors
/// [`Error::Store`].
pub async fn hold(store: &dyn ObjectStore, prefix: &str, id: &str, hold: &Hold) -> Result<()> {
    let key = key(prefix, id);
    let body = serde_json::to_vec(hold).map_err(|error| Error::BadRecord {
        bucket: store.bucket().to_owned(),
        key: key.clone(),
        cause: error.to_string(),
    })?;
    store.put(&key, Bytes::from(body), &PutOptions::default()).await.map(drop).map_err(at_target)
}

/// Takes a hold away.
///
/// # Errors
/// [`Error::Store`].
pub async fn release(store: &dyn ObjectStore, prefix: &str, id: &str) -> Result<()> {
    store.delete(&key(prefix, id), None).await.map_err(at_target)
}

/// The earliest moment that is held at `now`. Holds that are over, or that can't be read and so can't be
/// renewed either, are taken away.
///
/// # Errors
/// [`Error::Store`]: then nothing is known, and nothing may be pruned.
pub async fn earliest_held(
    store: &dyn ObjectStore,
    prefix: &str,
    now: Timestamp,
) -> Result<Option<Timestamp>> {
    let request = ListRequest { prefix: format!("{prefix}{HOLDS}"), ..ListRequest::default() };
    let page = store.list(&request).await.map_err(at_target)?;
    let mut earliest = None;
    for listed in page.objects {
        let body = match store.get(&listed.key, &GetOptions::default()).await {
            Ok(reply) => collect(reply.body).await.map_err(at_target)?,
            Err(store::Error::NotFound(_)) => continue,
            Err(error) => return Err(at_target(error)),
        };
        match serde_json::from_slice::<Hold>(&body) {
            Ok(hold) if hold.expires_at > now => {
                earliest = Some(earliest.map_or(hold.time_point, |at: Timestamp| at.min(hold.time_point)));
            }
            _ => store.delete(&listed.key, None).await.map_err(at_target)?,
        }
    }
    Ok(earliest)
}
