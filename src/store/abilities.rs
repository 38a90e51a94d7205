//! What an endpoint can do, found by trying. Vendors' names decide nothing.

use bytes::Bytes;
use futures::stream;
use jiff::SignedDuration;

use super::{Error, ObjectStore, Precondition, PutOptions, Result, Versioning, unguessable};

/// What was found.
#[allow(clippy::struct_excessive_bools, reason = "each is an answer of its own")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// `If-None-Match: *` and `If-Match` on a PUT are honoured, not ignored.
    pub conditional_put: bool,
    /// `HEAD ?partNumber` tells the parts of an object.
    pub part_heads: bool,
    /// Open uploads are listed by prefix. Elsewhere (`MinIO`) only by the exact key.
    pub uploads_by_prefix: bool,
    /// Keys are listed in bytewise order, and from any `start-after` on.
    pub bytewise_order: bool,
    pub versioning: Versioning,
    pub clock_offset: Option<SignedDuration>,
}

/// Tries a target under a prefix that is ours: about fifteen requests, on four keys that nobody else
/// uses. They are removed again on every path; a process killed meanwhile leaves them, a few bytes.
///
/// # Errors
/// The first failure that is not itself an answer (denied, unreachable).
pub async fn probe(store: &dyn ObjectStore, prefix: &str) -> Result<Abilities> {
    let mut probe = Probe { store, name: format!("{prefix}{}", unguessable("probe")?), written: Vec::new() };
    let found = probe.run(prefix).await;
    let removed = probe.remove().await;
    let found = found?;
    removed.map(|()| found)
}

struct Probe<'a> {
    store: &'a dyn ObjectStore,
    name: String,
    written: Vec<(String, Option<String>)>,
}

impl Probe<'_> {
    async fn run(&mut self, prefix: &str) -> Result<Abilities> {
        Ok(Abilities {
            conditional_put: self.conditional_put().await?,
            part_heads: self.part_heads().await?,
            uploads_by_prefix: self.uploads_by_prefix(prefix).await?,
            bytewise_order: self.bytewise_order().await?,
            versioning: self.store.versioning().await?,
            clock_offset: self.store.clock_offset(),
        })
    }

    async fn put(&mut self, key: &str, precondition: Precondition) -> Result<()> {
        let options = PutOptions { precondition, ..PutOptions::default() };
        let put = self.store.put(key, Bytes::from_static(b"?"), &options).await?;
        self.written.push((key.to_owned(), put.version));
        Ok(())
    }

    async fn conditional_put(&mut self) -> Result<bool> {
        let key = self.name.clone();
        for (precondition, holds) in [
            (Precondition::Absent, true),
            (Precondition::Absent, false),
            (Precondition::Matches(super::ETag("0".repeat(32))), false),
        ] {
            match self.put(&key, precondition).await {
                Ok(()) if holds => {}
                // The key is ours alone: a first attempt was applied, its answer was lost, and the
                // condition kept the second one out.
                Err(Error::Changed(_)) if holds => self.written.push((key.clone(), None)),
                Err(Error::Changed(_)) => {}
                Ok(()) | Err(Error::Unsupported { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn part_heads(&mut self) -> Result<bool> {
        let key = format!("{}-parts", self.name);
        let upload = self.store.create_upload(&key, &PutOptions::default()).await?;
        let body = Box::pin(stream::iter([Ok(Bytes::from_static(b"?"))]));
        let joined = match self.store.upload_part(&key, &upload, 1, 1, body).await {
            Ok(part) => self.store.complete_upload(&key, &upload, &[part], &PutOptions::default()).await,
            Err(error) => Err(error),
        };
        match joined {
            Ok(put) => self.written.push((key.clone(), put.version)),
            Err(error) => {
                // The first error is the one to tell.
                self.store.abort_upload(&key, &upload).await.ok();
                return Err(error);
            }
        }
        Ok(self.store.head_part(&key, 1).await?.is_some_and(|part| part.count == 1))
    }

    async fn uploads_by_prefix(&mut self, prefix: &str) -> Result<bool> {
        let key = format!("{}-open", self.name);
        let upload = self.store.create_upload(&key, &PutOptions::default()).await?;
        let listed = self.store.list_uploads(prefix).await;
        self.store.abort_upload(&key, &upload).await?;
        Ok(listed?.iter().any(|open| open.id == upload))
    }

    /// `-` sorts before `/`: a store that walks folders gives `x/a` before `x-b`.
    async fn bytewise_order(&mut self) -> Result<bool> {
        let keys = ["-a", "/b"].map(|end| format!("{}-order{end}", self.name));
        for key in keys.iter().rev() {
            self.put(key, Precondition::None).await?;
        }
        let prefix = format!("{}-order", self.name);
        let all = super::ListRequest { prefix, ..super::ListRequest::default() };
        let after = super::ListRequest { start_after: Some(keys[0].clone()), ..all.clone() };
        let listed = |page: super::ListPage| page.objects.into_iter().map(|o| o.key).collect::<Vec<_>>();
        let (all, after) = (listed(self.store.list(&all).await?), listed(self.store.list(&after).await?));
        Ok(all == keys && after == keys[1..])
    }

    async fn remove(&self) -> Result<()> {
        let mut result = Ok(());
        for (key, version) in &self.written {
            let removed = self.store.delete(key, version.as_deref()).await;
            result = result.and(removed);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        ListVersionsRequest,
        memory::{Failure, Fault, MemoryStore, Verb},
    };

    async fn is_clean(store: &MemoryStore) -> bool {
        let versions = store.list_versions(&ListVersionsRequest::default()).await.unwrap().versions;
        versions.is_empty() && store.list_uploads("").await.unwrap().is_empty()
    }

    #[tokio::test]
    async fn what_a_store_can_do_is_found_and_nothing_stays() {
        let store = MemoryStore::new("b");
        store.set_versioning(Versioning::Enabled);
        let found = probe(&store, "p/").await.unwrap();
        assert!(found.conditional_put && found.part_heads && found.uploads_by_prefix && found.bytewise_order);
        assert_eq!(found.versioning, Versioning::Enabled);
        assert!(is_clean(&store).await);

        store.set_conditions(false);
        store.set_part_heads(false);
        let found = probe(&store, "p/").await.unwrap();
        assert!(!found.conditional_put && !found.part_heads);
        assert!(is_clean(&store).await);
    }

    #[tokio::test]
    async fn nothing_stays_after_a_failure_either() {
        for verb in [Verb::UploadPart, Verb::CompleteUpload, Verb::HeadPart, Verb::ListUploads, Verb::List] {
            let store = MemoryStore::new("b");
            store.fault(Fault::once(verb, Failure::AccessDenied));
            assert!(probe(&store, "p/").await.is_err(), "{verb:?}");
            assert!(is_clean(&store).await, "{verb:?}");
        }
    }
}
