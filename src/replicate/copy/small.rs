//! A small object goes over in one request, from memory, proved before it is written.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use md5::{Digest, Md5};

use super::{
    Copied, Copier, CopyRequest, Error, Result, TRIES, context, kib, passes, pause, with_tags_named,
};
use crate::store::{self, GetOptions, GetReply, PutOptions};

impl Copier {
    pub(super) async fn copy_small(&self, request: &CopyRequest, reply: GetReply) -> Result<Copied> {
        // Closed never: the semaphore lives as long as the copier.
        let _memory = self.buffers.acquire_many(kib(reply.length)).await.ok();
        let info = reply.info.clone();
        let (body, md5) = self.read_small(request, reply).await?;
        let (wanted, left_out) = self.wanted(&request.source_key, &info).await?;
        let precondition = request.precondition.clone();
        let options = PutOptions { precondition, content_md5: Some(md5), ..wanted };
        let put = self.target.put(&request.target_key, body, &options).await.map_err(Error::target);
        let put = put.map_err(|error| with_tags_named(error, &options))?;
        Ok(self.seen(&request.target_key, &options, Copied::whole(&info, put, left_out)).await)
    }

    /// Reads a whole small object, proved by its ETag, or, where that is not the content's MD5, by
    /// reading it twice alike.
    async fn read_small(&self, request: &CopyRequest, reply: GetReply) -> Result<(Bytes, [u8; 16])> {
        let etag = reply.info.etag.clone();
        let options = GetOptions { if_match: Some(etag.clone()), ..GetOptions::default() };
        let (mut reply, mut seen, mut tries) = (Some(reply), None, 0);
        loop {
            tries += 1;
            let read = match reply.take() {
                Some(reply) => self.read_whole(reply).await,
                None => match self.source.get(&request.source_key, &options).await {
                    Ok(reply) => self.read_whole(reply).await,
                    Err(error) => Err(error),
                },
            };
            match read {
                Ok(body) => {
                    let md5: [u8; 16] = Md5::digest(&body).into();
                    if etag.0 == hex::encode(md5) || seen == Some(md5) {
                        return Ok((body, md5));
                    }
                    if tries >= TRIES {
                        let cause = format!("every read differs, none has the ETag {}", etag.0);
                        let context = context(&*self.source, &request.source_key);
                        return Err(Error::source(store::Error::Corrupt { cause, context }));
                    }
                    seen = Some(md5);
                }
                Err(error) if passes(&error) && tries < TRIES => pause(tries).await,
                Err(error) => return Err(Error::source(error)),
            }
        }
    }

    async fn read_whole(&self, mut reply: GetReply) -> store::Result<Bytes> {
        let mut bytes = BytesMut::with_capacity(usize::try_from(reply.length).unwrap_or_default());
        while let Some(chunk) = reply.body.next().await {
            let chunk = chunk?;
            (self.on_bytes)(chunk.len() as u64);
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}
