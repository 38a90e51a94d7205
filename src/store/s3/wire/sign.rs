//! Signature Version 4, as S3 wants it: the path is escaped once and never normalized.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::AUTHORIZATION};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{super::trouble::Trouble, header_value};
use crate::store::credentials::{Credentials, Keys, Secret};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// SHA-256 of nothing.
pub(super) const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(super) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Signs with whatever keys are current, or not at all.
#[derive(Debug)]
pub(super) struct Signer {
    credentials: Credentials,
    region: String,
    /// A day's key costs as much as four signatures.
    latest: Mutex<Option<Arc<DayKey>>>,
}

struct DayKey {
    day: String,
    secret: Secret,
    key: Vec<u8>,
}

impl std::fmt::Debug for DayKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a key for {}", self.day)
    }
}

/// What is signed besides the headers.
pub(super) struct Request<'a> {
    pub method: &'a Method,
    /// Escaped.
    pub path: &'a str,
    /// Escaped and in order.
    pub query: &'a str,
    /// SHA-256 of the body, or that it is not signed.
    pub payload: &'a str,
}

impl Signer {
    pub(super) fn new(credentials: Credentials, region: String) -> Self {
        Self { credentials, region, latest: Mutex::default() }
    }

    /// Adds what makes a signed request of this one. All headers that are there are signed.
    pub(super) fn sign(
        &self,
        request: &Request<'_>,
        headers: &mut HeaderMap,
        now: Timestamp,
    ) -> Result<(), Trouble> {
        let Some(keys) = self.credentials.current() else { return Ok(()) };
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = &time[..8];
        headers.insert(HeaderName::from_static("x-amz-date"), header_value(&time)?);
        headers.insert(HeaderName::from_static("x-amz-content-sha256"), header_value(request.payload)?);
        if let Some(token) = &keys.session_token {
            let mut token = header_value(token.reveal())?;
            token.set_sensitive(true);
            headers.insert(HeaderName::from_static("x-amz-security-token"), token);
        }
        let (canonical, names) = canonical(request, headers);
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", digest(&canonical));
        let signature = calculate_signature(&self.day_key(&keys, day, now).key, to_sign.as_bytes());
        let access_key = &keys.access_key;
        let authorization = format!(
            "{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        headers.insert(AUTHORIZATION, header_value(&authorization)?);
        Ok(())
    }

    fn day_key(&self, keys: &Keys, day: &str, now: Timestamp) -> Arc<DayKey> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = latest.as_ref().filter(|k| k.day == day && k.secret == keys.secret_key) {
            return Arc::clone(known);
        }
        let secret = keys.secret_key.clone();
        let key = generate_signing_key(secret.reveal(), now.into(), &self.region, "s3").as_ref().to_vec();
        let fresh = Arc::new(DayKey { day: day.to_owned(), secret, key });
        *latest = Some(Arc::clone(&fresh));
        fresh
    }
}

/// The request in the form that both sides agree on, and the names of its headers.
fn canonical(request: &Request<'_>, headers: &HeaderMap) -> (Vec<u8>, String) {
    let mut sorted: Vec<(&str, &HeaderValue)> = headers.iter().map(|(n, v)| (n.as_str(), v)).collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    let names = sorted.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let mut text = Vec::with_capacity(1024);
    for part in [request.method.as_str(), request.path, request.query] {
        text.extend_from_slice(part.as_bytes());
        text.push(b'\n');
    }
    for (name, value) in sorted {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        push_squeezed(&mut text, value.as_bytes());
        text.push(b'\n');
    }
    text.push(b'\n');
    text.extend_from_slice(names.as_bytes());
    text.push(b'\n');
    text.extend_from_slice(request.payload.as_bytes());
    (text, names)
}

/// A value without spaces around it, and with one where several stood.
fn push_squeezed(text: &mut Vec<u8>, value: &[u8]) {
    let mut space = true;
    for &byte in value.trim_ascii() {
        if byte != b' ' || !space {
            text.push(byte);
        }
        space = byte == b' ';
    }
}

#[cfg(test)]
mod tests {
    use aws_sigv4::{
        http_request::{
            PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
            UriPathNormalizationMode,
        },
        sign::v4::SigningParams,
    };
    use proptest::prelude::*;

    use super::*;

    const ACCESS: &str = "AKIAIOSFODNN7EXAMPLE";
    const HUSH: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), header_value(v).unwrap())).collect()
    }

    fn signed(request: &Request<'_>, mut headers: HeaderMap) -> String {
        let signer = Signer::new(Credentials::fixed(ACCESS, HUSH), "us-east-1".to_owned());
        signer.sign(request, &mut headers, "2013-05-24T00:00:00Z".parse().unwrap()).unwrap();
        headers[AUTHORIZATION].to_str().unwrap().to_owned()
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>
    #[test]
    fn the_examples_of_the_documentation_have_their_signatures() {
        let body = digest(b"Welcome to Amazon S3.");
        let host = ("host", "examplebucket.s3.amazonaws.com");
        let stored =
            [host, ("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        let (get, put) = (Method::GET, Method::PUT);
        for (method, path, query, payload, sent, signature) in [
            (
                &get,
                "/test.txt",
                "",
                EMPTY,
                &[host, ("range", "bytes=0-9")][..],
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                &put,
                "/test%24file.text",
                "",
                &body,
                &stored,
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
            (
                &get,
                "/",
                "lifecycle=",
                EMPTY,
                &[host],
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                &get,
                "/",
                "max-keys=2&prefix=J",
                EMPTY,
                &[host],
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let authorization = signed(&Request { method, path, query, payload }, headers(sent));
            assert!(
                authorization.ends_with(&format!("Signature={signature}")),
                "{path}?{query}: {authorization}"
            );
        }
    }

    /// What the library of the SDK makes of the same request.
    fn by_the_library(request: &Request<'_>, headers: &HeaderMap) -> String {
        let identity = aws_credential_types::Credentials::new(ACCESS, HUSH, None, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let now = "2013-05-24T00:00:00Z".parse::<Timestamp>().unwrap();
        let params = SigningParams::builder().identity(&identity).region("us-east-1").name("s3");
        let params = params.time(now.into()).settings(settings).build().unwrap().into();
        let headers = headers.iter().map(|(n, v)| (n.as_str(), std::str::from_utf8(v.as_bytes()).unwrap()));
        let uri = format!("http://h{}?{}", request.path, request.query);
        let body = SignableBody::Precomputed(request.payload.to_owned());
        let signable = SignableRequest::new(request.method.as_str(), uri, headers, body).unwrap();
        aws_sigv4::http_request::sign(signable, &params).unwrap().signature().to_owned()
    }

    proptest! {
        #[test]
        fn any_request_is_signed_as_the_sdk_signs_it(
            key in "\\PC{0,40}",
            prefix in "\\PC{0,20}",
            value in "[ -~äö世]{0,40}",
        ) {
            let address = super::super::address::Address::new("http://h", "b", crate::store::s3::Addressing::Path);
            let path = address.unwrap().path(Some(&key));
            let query = super::super::address::query(vec![("prefix", prefix), ("list-type", "2".to_owned())]);
            let headers = headers(&[("host", "h"), ("content-type", "a/b"), ("x-amz-meta-v", &value)]);
            let request = Request { method: &Method::GET, path: &path, query: &query, payload: EMPTY };
            let expected = format!("Signature={}", by_the_library(&request, &headers));
            let authorization = signed(&request, headers);
            prop_assert!(authorization.ends_with(&expected), "{authorization}, not {expected}");
        }
    }

    #[test]
    fn a_days_key_is_made_once_and_anew_for_another_day_or_secret() {
        let signer = Signer::new(Credentials::anonymous(), "us-east-1".to_owned());
        let keys = |hush: &str| Keys {
            access_key: ACCESS.to_owned(),
            secret_key: Secret::new(hush),
            session_token: None,
        };
        let key = |hush, now: &str| signer.day_key(&keys(hush), &now[..8], now.parse().unwrap());
        let first = key("a", "20130524T000000Z");
        assert!(Arc::ptr_eq(&first, &key("a", "20130524T235959Z")));
        assert_ne!(first.key, key("a", "20130525T000000Z").key);
        assert_ne!(first.key, key("b", "20130524T000000Z").key);
        assert!(!format!("{first:?}").contains("[1"), "keys are not printed");
    }
}
