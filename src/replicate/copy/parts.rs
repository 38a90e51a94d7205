//! A large object goes over part by part, and goes on where an earlier copy was cut short.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    Copied, Copier, CopyRequest, Error, Layout, LeftOut, Result, TRIES, layout::Part, passes, pause,
    pipe::Tap, with_tags_named,
};
use crate::store::{
    self, ByteStream, GetOptions, ObjectInfo, Precondition, PutOptions, PutReply, Side, UploadId,
    UploadedPart, composite_etag,
};

/// One object on its way.
struct Transfer<'a> {
    copier: &'a Copier,
    request: &'a CopyRequest,
    info: ObjectInfo,
    layout: Layout,
    wanted: PutOptions,
    left_out: Vec<LeftOut>,
    sent: AtomicU64,
}

/// An open upload at the target and the parts in it that fit the layout.
struct Resumed {
    id: UploadId,
    parts: BTreeMap<u32, UploadedPart>,
}

impl Copier {
    pub(super) async fn copy_in_parts(
        &self,
        request: &CopyRequest,
        info: ObjectInfo,
        layout: Layout,
    ) -> Result<Copied> {
        let (wanted, left_out) = self.wanted(&request.source_key, &info).await?;
        let sent = AtomicU64::new(0);
        let transfer = Transfer { copier: self, request, info, layout, wanted, left_out, sent };
        let resumed = transfer.find_upload().await?;
        let reused = resumed.parts.len();
        let id = resumed.id.clone();
        match transfer.finish(resumed, &request.precondition).await {
            Ok(put) if reused == 0 || transfer.has_attributes(&put).await? => {
                let copied = transfer.copied(put, reused);
                Ok(self.seen(&request.target_key, &transfer.wanted, copied).await)
            }
            // The upload was begun for an older object of other headers: all over, into a new one.
            Ok(put) => {
                let fresh = transfer.begin().await?;
                let put = transfer.finish(fresh, &Precondition::Matches(put.etag)).await?;
                Ok(transfer.copied(put, 0))
            }
            Err(error) => {
                if is_useless_after(&error) {
                    // The error is what matters; a leftover upload is found and dropped next time.
                    self.target.abort_upload(&request.target_key, &id).await.ok();
                }
                Err(error)
            }
        }
    }
}

/// Parts are kept for the next copy, except where they can't fit it.
fn is_useless_after(error: &Error) -> bool {
    use store::Error as E;
    let Error::Store { side, source } = error else { return false };
    match side {
        Side::Source => matches!(source, E::NotFound(_) | E::Changed(_) | E::Archived(_)),
        Side::Target => matches!(source, E::Changed(_) | E::Unsupported { .. } | E::Locked(_)),
    }
}

impl Transfer<'_> {
    /// The open upload of this key with the most parts that fit; a new one where there is none.
    /// Others are dropped.
    async fn find_upload(&self) -> Result<Resumed> {
        let (target, key) = (&self.copier.target, &self.request.target_key);
        let mut best: Option<Resumed> = None;
        let open = match target.list_uploads(key).await {
            // Nothing can be resumed there, everything can be copied.
            Err(store::Error::Unsupported { .. }) => Vec::new(),
            open => open.map_err(Error::target)?,
        };
        for open in open {
            if open.key != *key {
                continue;
            }
            let parts = match target.list_parts(key, &open.id).await {
                Ok(parts) => self.fitting(parts),
                Err(store::Error::NotFound(_)) => continue,
                Err(error) => return Err(Error::target(error)),
            };
            let found = Resumed { id: open.id, parts };
            let (kept, dropped) = match best.take() {
                Some(best) if best.parts.len() >= found.parts.len() => (best, Some(found)),
                other => (found, other),
            };
            best = Some(kept);
            if let Some(dropped) = dropped {
                target.abort_upload(key, &dropped.id).await.map_err(Error::target)?;
            }
        }
        match best {
            Some(best) => Ok(best),
            None => self.begin().await,
        }
    }

    fn fitting(&self, parts: Vec<UploadedPart>) -> BTreeMap<u32, UploadedPart> {
        let sizes: BTreeMap<u32, u64> = self.layout.parts().map(|p| (p.number, p.size)).collect();
        parts.into_iter().filter(|p| sizes.get(&p.part) == Some(&p.size)).map(|p| (p.part, p)).collect()
    }

    async fn begin(&self) -> Result<Resumed> {
        let begun = self.copier.target.create_upload(&self.request.target_key, &self.wanted).await;
        let id = begun.map_err(|error| with_tags_named(Error::target(error), &self.wanted))?;
        Ok(Resumed { id, parts: BTreeMap::new() })
    }

    /// Sends what is missing, proves the parts, and makes them the object.
    ///
    /// Nothing becomes the object that is not proved. If the ETag of all parts, by the MD5s that the target
    /// took of them, is the source's own, every byte is as it was written there: nothing need be hashed on
    /// the way. Else each part that was not hashed is compared with the source.
    async fn finish(&self, resumed: Resumed, precondition: &Precondition) -> Result<PutReply> {
        let Resumed { id, parts: found } = resumed;
        let hashed = self.hashes();
        let mut parts = if self.layout.exact { found.clone() } else { self.proved(&found).await? };
        self.send_missing(&id, &mut parts, hashed).await?;
        if self.layout.exact && !self.is_proved(&parts) && (!hashed || !found.is_empty()) {
            let fresh = |part: &u32| hashed && !found.contains_key(part);
            let (sent, unproved) = parts.into_iter().partition(|(part, _)| fresh(part));
            parts = self.proved(&unproved).await?;
            parts.extend::<BTreeMap<_, _>>(sent);
            self.send_missing(&id, &mut parts, true).await?;
            self.copier.tags_prove_nothing.store(!self.is_proved(&parts), Ordering::Relaxed);
        }
        let (precondition, replica) = (precondition.clone(), self.wanted.replica.clone());
        let options = PutOptions { replica, precondition, ..PutOptions::default() };
        let (key, all) = (&self.request.target_key, parts.into_values().collect::<Vec<_>>());
        self.copier.target.complete_upload(key, &id, &all, &options).await.map_err(Error::target)
    }

    /// True if the target took the source's own parts, byte for byte.
    fn is_proved(&self, parts: &BTreeMap<u32, UploadedPart>) -> bool {
        let all: Vec<_> = parts.values().cloned().collect();
        composite_etag(&all).is_some_and(|tag| tag == self.info.etag)
    }

    /// Parts are hashed on the way where the object's ETag can't prove them.
    fn hashes(&self) -> bool {
        !self.layout.exact || self.copier.tags_prove_nothing.load(Ordering::Relaxed)
    }

    /// Those of the parts found whose bytes are the source's, by reading them there.
    async fn proved(&self, found: &BTreeMap<u32, UploadedPart>) -> Result<BTreeMap<u32, UploadedPart>> {
        let checks = self.layout.parts().filter_map(|part| Some((part, found.get(&part.number)?.clone())));
        let checks = checks.map(|(part, there)| async move {
            let tap = Tap::new(Arc::new(|_| {}));
            let mut body = tap.through(self.open(part).await?);
            while let Some(chunk) = body.next().await {
                chunk.map_err(Error::source)?;
            }
            Ok::<_, Error>((tap.etag().as_ref() == Some(&there.etag)).then_some((part.number, there)))
        });
        let in_flight = self.copier.parts_in_flight;
        stream::iter(checks).buffer_unordered(in_flight).try_filter_map(async |p| Ok(p)).try_collect().await
    }

    async fn send_missing(
        &self,
        id: &UploadId,
        parts: &mut BTreeMap<u32, UploadedPart>,
        hashed: bool,
    ) -> Result<()> {
        let missing: Vec<Part> = self.layout.parts().filter(|p| !parts.contains_key(&p.number)).collect();
        let sends = missing.into_iter().map(|part| self.send(id, part, hashed));
        let mut sent = stream::iter(sends).buffer_unordered(self.copier.parts_in_flight);
        while let Some(part) = sent.try_next().await? {
            parts.insert(part.part, part);
        }
        Ok(())
    }

    async fn send(&self, id: &UploadId, part: Part, hashed: bool) -> Result<UploadedPart> {
        let (mut unlike, mut tries) = (false, 0);
        loop {
            tries += 1;
            match self.send_once(id, part, hashed).await {
                Ok((sent, true)) => return Ok(sent),
                // A target whose tags are no MD5s gives another tag each time; one that took something
                // else than we sent should not do so twice.
                Ok((sent, false)) if unlike => return Ok(sent),
                Ok((_, false)) => unlike = true,
                Err(Error::Store { source, .. }) if passes(&source) && tries < TRIES => pause(tries).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a part; false when the target's tag is not the MD5 of what was sent, as far as that is known.
    async fn send_once(&self, id: &UploadId, part: Part, hashed: bool) -> Result<(UploadedPart, bool)> {
        // Closed never: the semaphore lives as long as the copier.
        let _place = self.copier.parts.acquire().await.ok();
        let body = self.open(part).await?;
        let on_bytes = Arc::clone(&self.copier.on_bytes);
        let tap = if hashed { Tap::new(on_bytes) } else { Tap::unhashed(on_bytes) };
        let (target, key) = (&self.copier.target, &self.request.target_key);
        let sent = target.upload_part(key, id, part.number, part.size, tap.through(body)).await;
        let sent = sent.map_err(|error| tap.blame(error))?;
        self.sent.fetch_add(part.size, Ordering::Relaxed);
        let alike = tap.etag().is_none_or(|md5| md5 == sent.etag);
        Ok((sent, alike))
    }

    async fn open(&self, part: Part) -> Result<ByteStream> {
        // An empty stretch has no first byte to ask for.
        let range = (part.size > 0).then(|| (part.from, part.from + part.size - 1));
        let options = GetOptions { range, if_match: Some(self.info.etag.clone()), ..GetOptions::default() };
        let reply =
            self.copier.source.get(&self.request.source_key, &options).await.map_err(Error::source)?;
        Ok(reply.body)
    }

    /// An upload's headers can't be read while it is open: they are compared once it is the object, and
    /// set right where that takes no content.
    async fn has_attributes(&self, put: &PutReply) -> Result<bool> {
        let key = &self.request.target_key;
        let there = self.copier.target.head(key).await.map_err(Error::target)?;
        if self.copier.unlike(key, &self.wanted, &there).await?.is_nothing() {
            return Ok(true);
        }
        let precondition = Precondition::Matches(put.etag.clone());
        let request = CopyRequest { precondition, ..self.request.clone() };
        Ok(self.copier.aligned(&request, &self.info, &there).await?.is_some())
    }

    fn copied(&self, put: PutReply, reused: usize) -> Copied {
        Copied {
            size: self.info.size,
            source_etag: self.info.etag.clone(),
            target_etag: put.etag,
            version: put.version,
            wrote: true,
            modified: self.info.modified,
            sent: self.sent.load(Ordering::Relaxed),
            left_out: self.left_out.clone(),
            parts_reused: u32::try_from(reused).unwrap_or(u32::MAX),
        }
    }
}
