//! What is seen of a body on its way from one store to the other.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use futures::StreamExt;
use md5::{Digest, Md5};

use super::OnBytes;
use crate::{
    replicate::Error,
    store::{self, ByteStream, ETag},
};

/// Counts a body, hashes it where that is asked for, and remembers whether the source failed it.
pub(super) struct Tap {
    hash: Option<Arc<Mutex<Md5>>>,
    source_failed: Arc<AtomicBool>,
    on_bytes: OnBytes,
}

impl Tap {
    /// With an MD5, which costs three times as much CPU as all else that is done with the bytes.
    pub(super) fn new(on_bytes: OnBytes) -> Self {
        Self { hash: Some(Arc::default()), ..Self::unhashed(on_bytes) }
    }

    /// Without one: the two stores' own tags prove the content.
    pub(super) fn unhashed(on_bytes: OnBytes) -> Self {
        Self { hash: None, source_failed: Arc::default(), on_bytes }
    }

    /// The body, watched.
    pub(super) fn through(&self, body: ByteStream) -> ByteStream {
        let (hash, failed, on_bytes) =
            (self.hash.clone(), Arc::clone(&self.source_failed), Arc::clone(&self.on_bytes));
        Box::pin(body.inspect(move |chunk| match chunk {
            Ok(bytes) => {
                if let Some(hash) = &hash {
                    hash.lock().unwrap_or_else(PoisonError::into_inner).update(bytes);
                }
                on_bytes(bytes.len() as u64);
            }
            Err(_) => failed.store(true, Ordering::Relaxed),
        }))
    }

    /// MD5 of what went through, as an ETag; `None` where it was not hashed.
    pub(super) fn etag(&self) -> Option<ETag> {
        let hash = self.hash.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(ETag(hex::encode(hash.finalize())))
    }

    /// A write's error, laid at the side that caused it.
    pub(super) fn blame(&self, error: store::Error) -> Error {
        if self.source_failed.load(Ordering::Relaxed) { Error::source(error) } else { Error::target(error) }
    }
}
