//! Listings: a page is whole or an error.

use aws_sdk_s3::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::AfterDeserializationInterceptorContextRef,
    },
    types::EncodingType,
};
use aws_smithy_runtime_api::box_error::BoxError;
use http::Method;

use super::{
    S3Store,
    attributes::{etag, moment},
    trouble::{Kind, Trouble},
    wire::{Call, page, versions},
};
use crate::store::{
    ListPage, ListRequest, ListVersionsRequest, ObjectStore, OpenUpload, Result, UploadId, UploadedPart,
    VersionMarker, VersionPage,
};

impl S3Store {
    pub(super) async fn list_page(&self, request: &ListRequest) -> Result<ListPage> {
        let list = || async {
            let call = Call::new(Method::GET, None).query("list-type", "2").query("encoding-type", "url");
            let mut call = call.query("prefix", &request.prefix);
            match (&request.token, &request.start_after) {
                (Some(token), _) => call = call.query("continuation-token", token),
                (None, Some(key)) => call = call.query("start-after", key),
                (None, None) => {}
            }
            if let Some(keys) = request.max_keys {
                call = call.query("max-keys", keys.to_string());
            }
            page(self.wire.ask(call).await?.body())
        };
        self.repeat(None, list).await
    }

    pub(super) async fn version_page(&self, request: &ListVersionsRequest) -> Result<VersionPage> {
        let list = || async {
            let call = Call::new(Method::GET, None).query("versions", "").query("encoding-type", "url");
            let mut call = call.query("prefix", &request.prefix);
            if let Some(VersionMarker { key, version }) = &request.marker {
                call = call.query("key-marker", key);
                if let Some(version) = version {
                    call = call.query("version-id-marker", version);
                }
            }
            if let Some(keys) = request.max_keys {
                call = call.query("max-keys", keys.to_string());
            }
            versions(self.wire.ask(call).await?.body())
        };
        self.repeat(None, list).await
    }

    pub(super) async fn all_parts(&self, key: &str, upload: &UploadId) -> Result<Vec<UploadedPart>> {
        let (mut parts, mut marker) = (Vec::new(), None);
        loop {
            let list = || async {
                let request = self.client.list_parts().bucket(self.bucket()).key(key).upload_id(&upload.0);
                let request = request.set_part_number_marker(marker.clone()).customize();
                let output = request.interceptor(Whole("ListPartsResult")).send().await?;
                let mut found = Vec::new();
                for p in output.parts() {
                    let part = p.part_number().and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
                    found.push(UploadedPart { part, size: size(p.size())?, etag: etag(p.e_tag())? });
                }
                let next = next(output.is_truncated(), output.next_part_number_marker())?;
                Ok((found, next.map(str::to_owned)))
            };
            let (found, next) = self.repeat(Some(key), list).await?;
            parts.extend(found);
            match next {
                Some(next) if marker.as_ref() != Some(&next) => marker = Some(next),
                _ => return Ok(parts),
            }
        }
    }

    pub(super) async fn all_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>> {
        let (mut uploads, mut marker) = (Vec::new(), None::<(String, Option<String>)>);
        loop {
            let list = || async {
                let output = self
                    .client
                    .list_multipart_uploads()
                    .bucket(self.bucket())
                    .encoding_type(EncodingType::Url)
                    .prefix(prefix)
                    .set_key_marker(marker.as_ref().map(|m| m.0.clone()))
                    .set_upload_id_marker(marker.as_ref().and_then(|m| m.1.clone()))
                    .customize()
                    .interceptor(Whole("ListMultipartUploadsResult"))
                    .send()
                    .await?;
                let decode = decoder(output.encoding_type());
                let mut found = Vec::new();
                for u in output.uploads() {
                    let (key, id) =
                        (decode(u.key())?, UploadId(u.upload_id().unwrap_or_default().to_owned()));
                    found.push(OpenUpload { key, id, initiated: moment(u.initiated()).ok() });
                }
                let key = next(output.is_truncated(), output.next_key_marker())?;
                let id = output.next_upload_id_marker().map(str::to_owned);
                let next = key.map(|key| decode(Some(key))).transpose()?.map(|key| (key, id));
                Ok((found, next))
            };
            let (found, next) = self.repeat(None, list).await?;
            uploads.extend(found);
            match next {
                Some(next) if marker.as_ref() != Some(&next) => marker = Some(next),
                _ => return Ok(uploads),
            }
        }
    }
}

/// Continuation of a page: there if and only if the page says that more follows.
pub(super) fn next(truncated: Option<bool>, marker: Option<&str>) -> Result<Option<&str>, Trouble> {
    match (truncated, marker.filter(|m| !m.is_empty())) {
        (None, _) => Err(garbled("the page doesn't say whether more follows")),
        (Some(true), None) => Err(garbled("more follows, but the page doesn't say where")),
        (Some(true), marker) => Ok(marker),
        (Some(false), _) => Ok(None),
    }
}

/// Decodes keys where the store says that it encoded them.
fn decoder(encoding: Option<&EncodingType>) -> impl Fn(Option<&str>) -> Result<String, Trouble> + use<> {
    let encoded = encoding == Some(&EncodingType::Url);
    move |raw| {
        let mut key = raw.ok_or_else(|| garbled("an entry has no key"))?.to_owned();
        if encoded {
            decode(&mut key)?;
        }
        Ok(key)
    }
}

/// Decodes a key that came URL-encoded. A space may come as `+`.
pub(super) fn decode(key: &mut String) -> Result<(), Trouble> {
    if key.contains(['%', '+']) {
        let spaced = key.replace('+', " ");
        let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
        *key = decoded.map_err(|_| garbled("a key is not UTF-8"))?.into_owned();
    }
    Ok(())
}

fn size(raw: Option<i64>) -> Result<u64, Trouble> {
    raw.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| garbled("an entry has no size"))
}

pub(super) fn garbled(cause: &str) -> Trouble {
    Trouble::new(Kind::Protocol, cause)
}

/// Refuses an answer that is not one whole XML document of this name: the SDK's parser takes the end
/// of the text for the end of the document.
#[derive(Debug)]
struct Whole(&'static str);

impl Intercept for Whole {
    fn name(&self) -> &'static str {
        "Whole"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        let text = answer.body().bytes().unwrap_or_default().trim_ascii_end();
        let end = format!("</{}>", self.0);
        if !answer.status().is_success() || text.ends_with(end.as_bytes()) {
            return Ok(());
        }
        Err(format!("the answer is not a whole {}", self.0).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_only_where_the_store_says_so() {
        let decode = decoder(Some(&EncodingType::Url));
        assert_eq!(decode(Some("a%2Bb+c%20%C3%A4/%2F")).unwrap(), "a+b c ä//");
        assert_eq!(decoder(None)(Some("a%2Bb+c")).unwrap(), "a%2Bb+c");
        assert!(decode(None).is_err());
    }

    #[test]
    fn a_page_that_does_not_say_where_it_goes_on_is_an_error() {
        assert!(next(None, None).is_err());
        assert!(next(Some(true), Some("")).is_err());
        assert_eq!(next(Some(true), Some("t")).unwrap(), Some("t"));
        assert_eq!(next(Some(false), Some("t")).unwrap(), None);
    }
}
