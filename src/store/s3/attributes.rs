//! Content headers and user metadata, as they go over the wire and as they are meant.

use std::collections::BTreeMap;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES},
};

use super::{
    extras,
    trouble::{Kind, Trouble},
    wire::Call,
};
use crate::store::{Attributes, ETag, Lock, ObjectInfo};

const METADATA: &str = "x-amz-meta-";

/// What an answer's headers say of an object of this size.
pub(super) fn info(headers: &HeaderMap, size: u64) -> Result<ObjectInfo, Trouble> {
    let content = |name: HeaderName| match headers.get(name) {
        Some(value) => text(value).map(Some).ok_or_else(|| unfit("an attribute that is not UTF-8")),
        None => Ok(None),
    };
    let kept = |name| content(name).map(|text| text.map(str::to_owned));
    Ok(ObjectInfo {
        size,
        etag: etag(header(headers, "etag"))?,
        modified: http_date(header(headers, "last-modified"))?,
        version: header(headers, "x-amz-version-id").map(str::to_owned),
        attributes: Attributes {
            content_type: kept(CONTENT_TYPE)?,
            content_encoding: content(CONTENT_ENCODING)?.and_then(own_encoding),
            content_language: kept(CONTENT_LANGUAGE)?,
            content_disposition: kept(CONTENT_DISPOSITION)?,
            cache_control: kept(CACHE_CONTROL)?,
            expires: kept(EXPIRES)?,
            metadata: metadata(headers)?,
        },
        tag_count: header(headers, "x-amz-tagging-count").and_then(|n| n.parse().ok()).unwrap_or_default(),
        lock: lock(headers)?,
        storage_class: extras::class(header(headers, "x-amz-storage-class")),
    })
}

/// A header's text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(text)
}

/// Many stores send UTF-8 where HTTP has ASCII only.
fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

fn unfit(what: &'static str) -> Trouble {
    Trouble::new(Kind::Unsupported(what), "")
}

/// Adds content headers and metadata to a request.
pub(super) fn add<'a>(mut call: Call<'a>, attributes: &Attributes) -> Result<Call<'a>, Trouble> {
    let headers = [
        (CONTENT_TYPE, &attributes.content_type),
        (CONTENT_ENCODING, &attributes.content_encoding),
        (CONTENT_LANGUAGE, &attributes.content_language),
        (CONTENT_DISPOSITION, &attributes.content_disposition),
        (CACHE_CONTROL, &attributes.cache_control),
        // As it was found: not every one in the wild is a date.
        (EXPIRES, &attributes.expires),
    ];
    for (name, value) in headers {
        if let Some(value) = value {
            call = call.header(name, value)?;
        }
    }
    for (name, value) in &attributes.metadata {
        let name = HeaderName::from_bytes(format!("{METADATA}{name}").as_bytes());
        let name = name.map_err(|_| unfit("metadata that no header can carry"))?;
        call = call.header(name, value)?;
    }
    Ok(call)
}

/// # Errors
/// A lock that is not understood is not to be lost.
fn lock(headers: &HeaderMap) -> Result<Lock, Trouble> {
    let text = |name| header(headers, name).filter(|text| !text.is_empty());
    let until = text("x-amz-object-lock-retain-until-date").map(str::parse).transpose();
    let until = until.map_err(|_| Trouble::new(Kind::Protocol, "a lock until a time that is none"))?;
    extras::lock(text("x-amz-object-lock-mode"), until, text("x-amz-object-lock-legal-hold"))
}

/// `aws-chunked` belongs to one upload's transfer; some stores keep it as if it were the content's.
fn own_encoding(header: &str) -> Option<String> {
    if !header.contains("aws-chunked") {
        return Some(header.to_owned());
    }
    let kept: Vec<&str> =
        header.split(',').map(str::trim).filter(|t| !t.is_empty() && *t != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// # Errors
/// A store that hides metadata (`x-amz-missing-meta`) can't be copied from exactly.
fn metadata(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Trouble> {
    if header(headers, "x-amz-missing-meta").is_some_and(|n| n != "0") {
        return Err(unfit("metadata that no header can carry"));
    }
    let mut metadata = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(METADATA) else { continue };
        let value = text(value).ok_or_else(|| unfit("metadata that is not UTF-8"))?.to_owned();
        // A header that comes twice is one list.
        let known = metadata.entry(name.to_owned());
        known.and_modify(|known| *known = format!("{known},{value}")).or_insert(value);
    }
    Ok(metadata)
}

/// An entity tag without its quotes.
pub(super) fn etag(raw: Option<&str>) -> Result<ETag, Trouble> {
    let tag = raw.map(|t| t.trim_matches('"')).filter(|t| !t.is_empty());
    tag.map(|t| ETag(t.to_owned())).ok_or_else(|| Trouble::new(Kind::Protocol, "the answer has no ETag"))
}

/// A moment as the SDK holds it.
pub(super) fn moment(raw: Option<&aws_sdk_s3::primitives::DateTime>) -> Result<jiff::Timestamp, Trouble> {
    let at = raw.ok_or_else(no_moment)?;
    jiff::Timestamp::new(at.secs(), i32::try_from(at.subsec_nanos()).unwrap_or(0)).map_err(|_| no_moment())
}

/// A moment as headers tell it.
fn http_date(raw: Option<&str>) -> Result<jiff::Timestamp, Trouble> {
    let at = raw.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    at.map(|at| at.timestamp()).ok_or_else(no_moment)
}

fn no_moment() -> Trouble {
    Trouble::new(Kind::Protocol, "the answer has no time of change")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let pair = |(n, v): &(&'static str, &[u8])| {
            (HeaderName::from_static(n), HeaderValue::from_bytes(v).unwrap())
        };
        let always: [(&'static str, &[u8]); 2] =
            [("etag", b"\"abc\""), ("last-modified", b"Sat, 21 Nov 2026 02:14:06 GMT")];
        always.iter().chain(pairs).map(pair).collect()
    }

    #[test]
    fn an_object_is_read_off_its_headers() {
        let found = headers(&[
            ("content-type", b"a/b"),
            ("content-encoding", b"gzip, aws-chunked"),
            ("x-amz-version-id", b"v1"),
            ("x-amz-meta-raw", "Grüße".as_bytes()),
            ("x-amz-meta-word", b"=?UTF-8?B?w6Q=?="),
        ]);
        let info = info(&found, 7).unwrap();
        assert_eq!((info.size, info.etag.0.as_str(), info.version.as_deref()), (7, "abc", Some("v1")));
        assert_eq!(info.modified, "2026-11-21T02:14:06Z".parse().unwrap());
        assert_eq!(info.attributes.content_type.as_deref(), Some("a/b"));
        assert_eq!(info.attributes.content_encoding.as_deref(), Some("gzip"));
        let metadata: Vec<_> = info.attributes.metadata.into_iter().collect();
        let pair = |(n, v): (&str, &str)| (n.to_owned(), v.to_owned());
        assert_eq!(metadata, [("raw", "Grüße"), ("word", "=?UTF-8?B?w6Q=?=")].map(pair));
    }

    #[test]
    fn what_cannot_be_copied_exactly_is_an_error_and_never_left_out() {
        for pair in [
            ("content-disposition", &b"attachment; filename=\"\xe4\""[..]),
            ("x-amz-meta-name", b"\xe4"),
            ("x-amz-missing-meta", b"1"),
        ] {
            let trouble = info(&headers(&[pair]), 7).unwrap_err();
            assert!(matches!(trouble.kind, Kind::Unsupported(_)), "{pair:?}: {trouble:?}");
        }
        assert!(info(&HeaderMap::new(), 7).is_err(), "no tag, no time");
    }

    #[test]
    fn what_no_header_can_carry_is_not_sent() {
        let mut attributes = Attributes { content_type: Some("a\nb: c".into()), ..Attributes::default() };
        let put = || Call::new(http::Method::PUT, Some("k"));
        assert!(add(put(), &attributes).is_err());
        attributes.content_type = None;
        attributes.metadata.insert("a b".into(), "x".into());
        assert!(add(put(), &attributes).is_err());
    }

    #[test]
    fn the_transfer_encoding_is_not_the_contents() {
        assert_eq!(own_encoding("aws-chunked"), None);
        assert_eq!(own_encoding("gzip,aws-chunked").as_deref(), Some("gzip"));
        assert_eq!(own_encoding("br,  gzip").as_deref(), Some("br,  gzip"), "nothing else is touched");
    }
}
