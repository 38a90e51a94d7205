//! HEAD and GET.

use aws_sdk_s3::operation::get_object::GetObjectOutput;

use super::{
    S3Store,
    attributes::{self, etag, moment},
    body::incoming,
    trouble::{Kind, Trouble},
};
use crate::store::{
    Context, Error, GetOptions, GetReply, ObjectInfo, ObjectStore, PartLayout, Result, Versioning,
};

impl S3Store {
    pub(super) async fn head_object(&self, key: &str) -> Result<ObjectInfo> {
        let head = || async {
            let output = self.client.head_object().bucket(self.bucket()).key(key).send().await?;
            Ok(ObjectInfo {
                size: bytes(output.content_length())?,
                etag: etag(output.e_tag())?,
                modified: moment(output.last_modified())?,
                version: output.version_id().map(str::to_owned),
                attributes: attributes::of_head(&output)?,
            })
        };
        self.repeat(Some(key), head).await
    }

    pub(super) async fn head_one_part(&self, key: &str, part: u32) -> Result<Option<PartLayout>> {
        let number = i32::try_from(part).unwrap_or(i32::MAX);
        let head = || async {
            let request = self.client.head_object().bucket(self.bucket()).key(key).part_number(number);
            let output = match request.send().await.map_err(Trouble::from) {
                Ok(output) => output,
                Err(t) if matches!(t.kind, Kind::Unsupported(_)) || t.is_code("400") => return Ok(None),
                Err(t) => return Err(t),
            };
            let Some(count) = output.parts_count().and_then(|n| u32::try_from(n).ok()) else {
                return Ok(None);
            };
            Ok(Some(PartLayout { size: bytes(output.content_length())?, count }))
        };
        self.repeat(Some(key), head).await
    }

    pub(super) async fn get_object(&self, key: &str, options: &GetOptions) -> Result<GetReply> {
        let range = match (options.suffix, options.range) {
            (Some(suffix), _) => Some(format!("bytes=-{suffix}")),
            (None, Some((first, last))) => Some(format!("bytes={first}-{last}")),
            (None, None) => None,
        };
        let get = || async {
            let request = self
                .client
                .get_object()
                .bucket(self.bucket())
                .key(key)
                .set_range(range.clone())
                .set_if_match(options.if_match.as_ref().map(|tag| format!("\"{}\"", tag.0)));
            // The stored bytes, not what a proxy would unpack of them.
            let identity = request.customize().mutate_request(|r| {
                r.headers_mut().insert("accept-encoding", "identity");
            });
            let output = identity.send().await?;
            let length = bytes(output.content_length())?;
            let info = opened(&output, length)?;
            if range.is_some() && length != info.size && output.content_range().is_none() {
                return Err(Trouble::new(
                    Kind::Protocol,
                    "a part of the object was asked for, all of it came",
                ));
            }
            Ok((info, length, output.body))
        };
        let (info, length, body) = match self.repeat(Some(key), get).await {
            Err(Error::Protocol { context, .. }) if context.code.as_deref() == Some("InvalidRange") => {
                return self.nothing_there(key, options, context).await;
            }
            opened => opened?,
        };
        let body = incoming(body, length, self.config.patience.body, self.context(Some(key)));
        Ok(GetReply { info, length, body })
    }

    /// A range that begins past the end holds no bytes, as the last bytes of an empty object do.
    async fn nothing_there(&self, key: &str, options: &GetOptions, context: Context) -> Result<GetReply> {
        let info = self.head_object(key).await?;
        if options.if_match.as_ref().is_some_and(|tag| *tag != info.etag) {
            return Err(Error::Changed(context));
        }
        Ok(GetReply { info, length: 0, body: Box::pin(futures::stream::empty()) })
    }

    pub(super) async fn bucket_versioning(&self) -> Result<Versioning> {
        use aws_sdk_s3::types::BucketVersioningStatus as Status;
        let ask = || async {
            match self
                .client
                .get_bucket_versioning()
                .bucket(self.bucket())
                .send()
                .await
                .map_err(Trouble::from)
            {
                Ok(output) => Ok(match output.status() {
                    Some(Status::Enabled) => Versioning::Enabled,
                    Some(Status::Suspended) => Versioning::Suspended,
                    _ => Versioning::Off,
                }),
                Err(t) if matches!(t.kind, Kind::Unsupported(_)) => Ok(Versioning::Unsupported),
                Err(t) if t.is_code("VersioningNotConfigured") => Ok(Versioning::Unsupported),
                Err(t) => Err(t),
            }
        };
        self.repeat(None, ask).await
    }
}

fn opened(output: &GetObjectOutput, length: u64) -> Result<ObjectInfo, Trouble> {
    Ok(ObjectInfo {
        size: output.content_range().and_then(total).unwrap_or(length),
        etag: etag(output.e_tag())?,
        modified: moment(output.last_modified())?,
        version: output.version_id().map(str::to_owned),
        attributes: attributes::of_get(output)?,
    })
}

/// Size of the whole object, from `bytes 0-9/100`.
fn total(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.parse().ok()
}

fn bytes(length: Option<i64>) -> Result<u64, Trouble> {
    let length = length.and_then(|n| u64::try_from(n).ok());
    length.ok_or_else(|| Trouble::new(Kind::Protocol, "the answer has no length"))
}
