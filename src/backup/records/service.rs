//! Whose copy a prefix holds.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FOLDER, SERVICE, at_target};
use crate::{
    backup::{Error, Result, catalog::Format, reader::collect, sync::Place},
    store::{self, Attributes, GetOptions, ListRequest, ObjectStore, Precondition, PutOptions},
};

/// A larger one is not ours.
const MAX: u64 = 64 * 1024;

/// What `service.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    pub version: u32,
    pub source: Place,
    pub engine: String,
    pub format: Format,
    /// For people: who made the copy first.
    pub owner: String,
    pub created_at: Timestamp,
}

/// How a prefix came to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It was empty.
    New,
    /// It held this source's copy.
    Adopted,
}

/// Makes sure that the prefix holds this source's copy, or nothing, and says so there.
///
/// Another source's claim is never replaced, not even one under which nothing was copied: a worker that
/// outlived its task may still write by it, and since its writes don't touch `service.json`, no condition
/// on that object would notice them. The claim would then name one source and lie over another's objects.
/// A person who knows that no such worker runs takes it away with a purge.
///
/// # Errors
/// [`Error::PrefixTaken`] when it holds anything else: nothing is written then.
pub async fn claim(store: &dyn ObjectStore, target: &Place, service: &Service) -> Result<Claim> {
    if let Some(found) = read_service(store, target).await? {
        return same_source(&found, service, target).map(|()| Claim::Adopted);
    }
    refuse_others(store, target).await?;
    let body = serde_json::to_vec_pretty(service).map_err(|error| bad_record(target, error.to_string()))?;
    let attributes =
        Attributes { content_type: Some("application/json".to_owned()), ..Attributes::default() };
    let mut options = PutOptions { attributes, precondition: Precondition::Absent, ..PutOptions::default() };
    let key = format!("{}{SERVICE}", target.prefix);
    let mut put = store.put(&key, Bytes::from(body.clone()), &options).await;
    if matches!(put, Err(store::Error::Unsupported { .. })) {
        options.precondition = Precondition::None;
        put = store.put(&key, Bytes::from(body), &options).await;
    }
    match put {
        Ok(_) => Ok(Claim::New),
        // Another worker was faster: it may be our twin.
        Err(store::Error::Changed(_)) => match read_service(store, target).await? {
            Some(found) => same_source(&found, service, target).map(|()| Claim::Adopted),
            None => Err(taken(target, "is being claimed by another service".to_owned())),
        },
        Err(error) => Err(at_target(error)),
    }
}

/// Makes sure that a prefix holds the copy of `source`. `None`: it holds no records at all.
///
/// # Errors
/// [`Error::PrefixTaken`] when it holds another's.
pub async fn verify(store: &dyn ObjectStore, target: &Place, source: &Place) -> Result<Option<Service>> {
    let Some(found) = read_service(store, target).await? else { return Ok(None) };
    if found.source == *source { Ok(Some(found)) } else { Err(taken(target, of_another(&found))) }
}

/// What `service.json` under a prefix says; `None` when there is none.
///
/// # Errors
/// [`Error::BadRecord`] when there is one that can't be read.
pub async fn read_service(store: &dyn ObjectStore, target: &Place) -> Result<Option<Service>> {
    let key = format!("{}{SERVICE}", target.prefix);
    let reply = match store.get(&key, &GetOptions::default()).await {
        Ok(reply) => reply,
        Err(store::Error::NotFound(_)) => return Ok(None),
        Err(error) => return Err(at_target(error)),
    };
    if reply.length > MAX {
        return Err(bad_record(target, format!("{} bytes are too many", reply.length)));
    }
    let body = collect(reply.body).await.map_err(at_target)?;
    serde_json::from_slice(&body).map(Some).map_err(|error| bad_record(target, error.to_string()))
}

fn same_source(found: &Service, wanted: &Service, target: &Place) -> Result<()> {
    if found.source != wanted.source {
        return Err(taken(target, of_another(found)));
    }
    if !found.format.goes_on_as(&wanted.format) {
        return Err(taken(target, format!("holds a copy in the format {}", found.format.name())));
    }
    Ok(())
}

/// The prefix is empty, and no copy lies around it.
async fn refuse_others(store: &dyn ObjectStore, target: &Place) -> Result<()> {
    let mut outer = target.prefix.trim_end_matches('/');
    while let Some((parent, _)) = outer.rsplit_once('/').or((!outer.is_empty()).then_some(("", ""))) {
        let prefix = if parent.is_empty() { String::new() } else { format!("{parent}/") };
        let place = Place { prefix: prefix.clone(), ..target.clone() };
        if read_service(store, &place).await?.is_some() {
            return Err(taken(target, format!("lies within the copy at {prefix:?}")));
        }
        outer = parent;
    }
    let request = ListRequest { prefix: target.prefix.clone(), max_keys: Some(1), ..ListRequest::default() };
    let page = store.list(&request).await.map_err(at_target)?;
    match page.objects.first() {
        None => Ok(()),
        Some(object) => Err(taken(target, format!("is not empty and not ours: it holds {}", object.key))),
    }
}

fn of_another(found: &Service) -> String {
    let Place { endpoint, bucket, prefix } = &found.source;
    format!(
        "holds the copy of s3://{bucket}/{prefix} at {endpoint}, made for {} \
         (`farshore backup purge` deletes it where nobody needs it)",
        found.owner
    )
}

fn taken(target: &Place, cause: String) -> Error {
    Error::PrefixTaken { bucket: target.bucket.clone(), prefix: target.prefix.clone(), cause }
}

fn bad_record(target: &Place, cause: String) -> Error {
    let key = format!("{}{FOLDER}service.json", target.prefix);
    Error::BadRecord { bucket: target.bucket.clone(), key, cause }
}
