//! Who listens to a bucket in memory, told in `MinIO`'s words and as unreliably on order.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;

use super::{MemoryStore, faults::Failure};
use crate::store::{ListenRequest, Listens, Notices, Result, listen::watched};

/// What one listener may lag behind; more is lost to it, as with `MinIO`.
const ROOM: usize = 1000;

/// The open requests, and what goes wrong with them.
#[derive(Debug)]
pub(super) struct Listeners {
    open: Vec<mpsc::Sender<Bytes>>,
    /// Why nobody can listen.
    refused: Option<Failure>,
    /// Of a hundred notices.
    lost: u8,
    /// Neither notices nor signs of life arrive.
    mute: bool,
    chance: fastrand::Rng,
    told: u64,
}

impl Default for Listeners {
    fn default() -> Self {
        let chance = fastrand::Rng::with_seed(7);
        Self { open: Vec::new(), refused: None, lost: 0, mute: false, chance, told: 0 }
    }
}

/// What a listener is told of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event<'a> {
    pub name: &'a str,
    pub bucket: &'a str,
    pub key: &'a str,
    pub at: Timestamp,
    /// What `MinIO` calls who did it.
    pub agent: &'a str,
}

impl Listeners {
    pub(super) fn tell(&mut self, event: Event<'_>) {
        self.told += 1;
        if self.mute || self.open.is_empty() || self.chance.u8(..100) < self.lost {
            return;
        }
        let Event { name, bucket, key, at, agent } = event;
        let object = json!({"key": key, "sequencer": format!("{:016X}", self.told)});
        let record = json!({
            "eventSource": "minio:s3", "eventTime": at.to_string(), "eventName": name,
            "s3": {"bucket": {"name": bucket}, "object": object},
            "source": {"userAgent": agent},
        });
        let notice = Bytes::from(json!({"Records": [record]}).to_string());
        self.open.retain(|listener| {
            !matches!(listener.try_send(notice.clone()), Err(mpsc::error::TrySendError::Closed(_)))
        });
    }
}

impl MemoryStore {
    /// A store that can't be listened to, when `false`.
    pub fn set_listening(&self, supported: bool) {
        self.refuse_listeners((!supported).then_some(Failure::Unsupported("listening to changes")));
    }

    /// Answers so to whoever begins to listen.
    pub fn refuse_listeners(&self, failure: Option<Failure>) {
        self.inner().listeners.refused = failure;
    }

    /// Loses this many of a hundred notices, always the same ones.
    pub fn lose_notices(&self, percent: u8) {
        self.inner().listeners.lost = percent;
    }

    /// Leaves listeners without notices and signs of life, their connections open, when `true`.
    pub fn mute_listeners(&self, mute: bool) {
        self.inner().listeners.mute = mute;
    }

    /// Ends all open requests of listeners.
    pub fn drop_listeners(&self) {
        self.inner().listeners.open.clear();
    }

    /// Deletes an object as the bucket's own lifecycle does, past all faults and counts.
    pub fn expire(&self, key: &str) {
        let mut inner = self.inner();
        let at = inner.now();
        // Without a version nothing is in the way.
        inner.state.delete(key, None, at).ok();
        let event = Event {
            name: "s3:ObjectRemoved:Delete",
            bucket: &self.bucket,
            key,
            at,
            agent: "Internal: [ILM-Expiry]",
        };
        inner.listeners.tell(event);
    }
}

#[async_trait]
impl Listens for MemoryStore {
    async fn listen(&self, request: &ListenRequest) -> Result<Notices> {
        let (listener, notices) = mpsc::channel(ROOM);
        {
            let mut inner = self.inner();
            if let Some(failure) = inner.listeners.refused {
                return Err(failure.into_error(self.context(None)));
            }
            inner.listeners.open.push(listener);
        }
        let (store, ping) = (self.clone(), request.ping);
        let told = stream::unfold((notices, store), move |(mut notices, store)| async move {
            loop {
                match tokio::time::timeout(ping, notices.recv()).await {
                    Ok(notice) => return Some((Ok(notice?), (notices, store))),
                    Err(_) if store.inner().listeners.mute => {}
                    Err(_) => return Some((Ok(Bytes::from_static(b"{\"Records\":null}")), (notices, store))),
                }
            }
        });
        Ok(watched(Box::pin(told), request.silence, self.context(None)))
    }
}
