//! PUT, DELETE and multipart uploads.

use aws_sdk_s3::{
    config::{Builder as ConfigBuilder, timeout::TimeoutConfig},
    types::{CompletedMultipartUpload, CompletedPart},
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{
    HeaderName, Method, Response,
    header::{IF_MATCH, IF_NONE_MATCH},
};
use md5::{Digest, Md5};
use std::time::Duration;

use super::{
    S3Store,
    attributes::{self, etag, header},
    body::outgoing,
    extras,
    trouble::{Kind, Trouble},
    wire::{Call, Payload},
};
use crate::store::{
    ByteStream, ETag, Error, ObjectStore, Precondition, PutOptions, PutReply, Result, UploadId, UploadedPart,
    composite_etag,
};

/// A store may take minutes to join the parts of a large object (AWS says so).
pub(super) const JOINING: Duration = Duration::from_mins(5);

impl S3Store {
    pub(super) async fn put_bytes(&self, key: &str, body: Bytes, options: &PutOptions) -> Result<PutReply> {
        self.check_name(key).await?;
        let sent = self.spelled(key, options).await?;
        let put = || async {
            let call = put_call(key, &sent)?.payload(Payload::Whole(body.clone()));
            put_reply(&self.wire.ask(call).await?)
        };
        match self.repeat_counted(Some(key), put).await {
            Ok((reply, _)) => Ok(reply),
            // Ours may have been applied although its answer was lost.
            Err(Error::Changed(context)) if context.attempts > 1 => {
                let there = self.head_object(key).await?;
                let ours = there.etag.0 == hex::encode(Md5::digest(&body));
                if ours && options.attributes.are_kept_as(&there.attributes) {
                    return Ok(PutReply { etag: there.etag, version: there.version });
                }
                Err(Error::Changed(context))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn put_body(
        &self,
        key: &str,
        size: u64,
        body: ByteStream,
        options: &PutOptions,
    ) -> Result<PutReply> {
        self.check_name(key).await?;
        let options = &*self.spelled(key, options).await?;
        let (body, watch) = outgoing(body, size);
        let put = async {
            let call = put_call(key, options)?.payload(Payload::Streamed(body, size));
            put_reply(&self.wire.ask(call).await?)
        };
        let sent = self.once(Some(key), watch.over(put, self.config.patience.body)).await;
        sent.map_err(|error| watch.failure().unwrap_or(error))
    }

    pub(super) async fn begin_upload(&self, key: &str, options: &PutOptions) -> Result<UploadId> {
        self.check_name(key).await?;
        let options = &*self.spelled(key, options).await?;
        let attributes = &options.attributes;
        let begin = || async {
            let request = self
                .client
                .create_multipart_upload()
                .bucket(self.bucket())
                .key(key)
                .set_content_type(attributes.content_type.clone())
                .set_content_encoding(attributes.content_encoding.clone())
                .set_content_language(attributes.content_language.clone())
                .set_content_disposition(attributes.content_disposition.clone())
                .set_cache_control(attributes.cache_control.clone())
                .set_metadata(Some(attributes.metadata.clone().into_iter().collect()));
            let (expires, extras) = (attributes.expires.clone(), extras::headers(options));
            let request = request.customize().mutate_request(move |r| {
                set_expires(r, expires.as_deref());
                extras::add(r, extras.clone());
            });
            let id = request.send().await?.upload_id.filter(|id| !id.is_empty());
            id.map(UploadId).ok_or_else(|| Trouble::new(Kind::Protocol, "the answer has no upload id"))
        };
        self.repeat(Some(key), begin).await
    }

    pub(super) async fn put_part(
        &self,
        key: &str,
        upload: &UploadId,
        part: u32,
        (size, body): (u64, ByteStream),
    ) -> Result<UploadedPart> {
        let (body, watch) = outgoing(body, size);
        let put = async {
            let call = Call::new(Method::PUT, Some(key)).payload(Payload::Streamed(body, size));
            let call = call.query("partNumber", part.to_string()).query("uploadId", &upload.0);
            let answer = self.wire.ask(call).await?;
            Ok(UploadedPart { part, size, etag: etag(header(answer.headers(), "etag"))? })
        };
        let sent = self.once(Some(key), watch.over(put, self.config.patience.body)).await;
        sent.map_err(|error| watch.failure().unwrap_or(error))
    }

    pub(super) async fn finish_upload(
        &self,
        key: &str,
        upload: &UploadId,
        parts: &[UploadedPart],
        options: &PutOptions,
    ) -> Result<PutReply> {
        let named = |p: &UploadedPart| {
            CompletedPart::builder()
                .part_number(part_number(p.part))
                .e_tag(format!("\"{}\"", p.etag.0))
                .build()
        };
        let all =
            CompletedMultipartUpload::builder().set_parts(Some(parts.iter().map(named).collect())).build();
        let (if_match, if_none_match) = conditions(&options.precondition);
        let finish = || async {
            let request = self.client.complete_multipart_upload().bucket(self.bucket()).key(key);
            let request = request.upload_id(&upload.0).multipart_upload(all.clone());
            let request = request.set_if_match(if_match.clone()).set_if_none_match(if_none_match.clone());
            let replica = options.replica.iter().flat_map(extras::replica_headers).collect::<Vec<_>>();
            let request = request.customize().config_override(read_timeout(JOINING));
            let output = request.mutate_request(move |r| extras::add(r, replica.clone())).send().await?;
            let version = output.version_id().map(str::to_owned);
            Ok(PutReply { etag: etag(output.e_tag())?, version })
        };
        match self.repeat(Some(key), finish).await {
            // Ours may have been joined although the answer was lost, or says it in other words.
            Err(error @ (Error::NotFound(_) | Error::Changed(_) | Error::Protocol { .. })) => {
                let expected = composite_etag(parts);
                let there = self.head_object(key).await.ok();
                let done = there.filter(|o| Some(&o.etag) == expected.as_ref());
                done.map(|o| PutReply { etag: o.etag, version: o.version }).ok_or(error)
            }
            answer => answer,
        }
    }

    pub(super) async fn drop_upload(&self, key: &str, upload: &UploadId) -> Result<()> {
        let abort = || async {
            let request = self.client.abort_multipart_upload().bucket(self.bucket()).key(key);
            gone_is_fine(request.upload_id(&upload.0).send().await.map_err(Trouble::from))
        };
        self.repeat(Some(key), abort).await
    }

    pub(super) async fn delete_object(&self, key: &str, version: Option<&str>) -> Result<()> {
        match self.check_name(key).await {
            // An object of this name can't be there, and another is not to be hit.
            Err(Error::Unsupported { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.delete_named(key, version).await,
        }
    }

    pub(super) async fn delete_named(&self, key: &str, version: Option<&str>) -> Result<()> {
        let delete = || async {
            let request = self.client.delete_object().bucket(self.bucket()).key(key);
            let request = request.set_version_id(version.map(str::to_owned));
            gone_is_fine(request.send().await.map_err(Trouble::from))
        };
        self.repeat(Some(key), delete).await
    }
}

fn gone_is_fine<T>(answer: Result<T, Trouble>) -> Result<(), Trouble> {
    match answer {
        Err(t) if t.kind != Kind::NotFound => Err(t),
        _ => Ok(()),
    }
}

/// `If-Match` and `If-None-Match`.
fn conditions(precondition: &Precondition) -> (Option<String>, Option<String>) {
    match precondition {
        Precondition::None => (None, None),
        Precondition::Absent => (None, Some("*".to_owned())),
        Precondition::Matches(ETag(tag)) => (Some(format!("\"{tag}\"")), None),
    }
}

pub(super) fn read_timeout(patience: Duration) -> ConfigBuilder {
    aws_sdk_s3::Config::builder().timeout_config(TimeoutConfig::builder().read_timeout(patience).build())
}

/// The header as it was found: not every one in the wild is a date.
pub(super) fn set_expires(request: &mut HttpRequest, expires: Option<&str>) {
    if let Some(expires) = expires {
        // What no header can carry came from none.
        request.headers_mut().try_insert("expires", expires.to_owned()).ok();
    }
}

fn put_call<'a>(key: &'a str, options: &PutOptions) -> Result<Call<'a>, Trouble> {
    let mut call = attributes::add(Call::new(Method::PUT, Some(key)), &options.attributes)?;
    for (name, value) in extras::headers(options) {
        call = call.header(HeaderName::from_static(name), &value)?;
    }
    if let Some(md5) = options.content_md5 {
        call = call.header(HeaderName::from_static("content-md5"), &BASE64_STANDARD.encode(md5))?;
    }
    match conditions(&options.precondition) {
        (Some(tag), _) => call.header(IF_MATCH, &tag),
        (None, Some(tag)) => call.header(IF_NONE_MATCH, &tag),
        (None, None) => Ok(call),
    }
}

fn put_reply(answer: &Response<Bytes>) -> Result<PutReply, Trouble> {
    let version = header(answer.headers(), "x-amz-version-id").map(str::to_owned);
    Ok(PutReply { etag: etag(header(answer.headers(), "etag"))?, version })
}

fn part_number(part: u32) -> i32 {
    i32::try_from(part).unwrap_or(i32::MAX)
}
