//! Where a request goes: host, path and query, escaped so that every key arrives as it is.

use http::{
    HeaderValue, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::{Host, Url};

use super::super::{
    Addressing,
    trouble::{Kind, Trouble},
};
use crate::store::{Error, Result};

/// All but RFC 3986's unreserved characters, as signatures want it.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const ESCAPED_IN_PATH: &AsciiSet = &ESCAPED.remove(b'/');

/// A bucket's place.
#[derive(Debug)]
pub(super) struct Address {
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    /// What stands before the key, the slash included.
    root: String,
}

impl Address {
    /// # Errors
    /// [`Error::Config`] for anything but `http(s)://host[:port][/path]`.
    pub(super) fn new(endpoint: &str, bucket: &str, addressing: Addressing) -> Result<Self> {
        let bad = |why: &str| Error::Config(format!("endpoint {endpoint:?} {why}"));
        let url = Url::parse(endpoint).map_err(|e| bad(&format!("is not an address: {e}")))?;
        let (scheme, host) = match (url.scheme(), url.host()) {
            ("http", Some(host)) if url.query().is_none() => (Scheme::HTTP, host),
            ("https", Some(host)) if url.query().is_none() => (Scheme::HTTPS, host),
            _ => return Err(bad("is not of the form https://host[:port]")),
        };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let base = url.path().trim_end_matches('/');
        let named = addressing == Addressing::Virtual && matches!(host, Host::Domain(_)) && is_label(bucket);
        let (authority, root) = if named {
            (format!("{bucket}.{host}{port}"), format!("{base}/"))
        } else {
            (format!("{host}{port}"), format!("{base}/{}/", utf8_percent_encode(bucket, ESCAPED)))
        };
        let host = HeaderValue::from_str(&authority).map_err(|_| bad("has no usable host"))?;
        let authority = authority.parse().map_err(|_| bad("has no usable host"))?;
        Ok(Self { scheme, authority, host, root })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    pub(super) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// The path of a key, or of the bucket itself.
    pub(super) fn path(&self, key: Option<&str>) -> String {
        format!("{}{}", self.root, utf8_percent_encode(key.unwrap_or_default(), ESCAPED_IN_PATH))
    }

    pub(super) fn uri(&self, path: &str, query: &str) -> Result<Uri, Trouble> {
        let place = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let unusable = |_| Trouble::new(Kind::Unsupported("an object of this name"), "");
        let place = PathAndQuery::from_maybe_shared(place).map_err(unusable)?;
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(place);
        Uri::from_parts(parts).map_err(|e| Trouble::new(Kind::Config, e.to_string()))
    }
}

/// True where a certificate for `*.host` covers the bucket's name as a part of the host's.
fn is_label(bucket: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (3..=63).contains(&bucket.len())
        && bucket.chars().all(inner)
        && !bucket.starts_with('-')
        && !bucket.ends_with('-')
}

/// The query, in the order in which it is signed.
pub(super) fn query(mut pairs: Vec<(&'static str, String)>) -> String {
    pairs.sort_unstable();
    let pair = |(name, value): (&str, String)| format!("{name}={}", utf8_percent_encode(&value, ESCAPED));
    pairs.into_iter().map(pair).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(key: &str) -> String {
        Address::new("http://minio:9000", "b", Addressing::Path).unwrap().path(Some(key))
    }

    #[test]
    fn keys_are_escaped_as_signatures_want_it_and_never_normalized() {
        for (key, sent) in [
            ("plain/key-1_2.3~4", "plain/key-1_2.3~4"),
            ("a b", "a%20b"),
            ("a+b", "a%2Bb"),
            ("a%2Bb", "a%252Bb"),
            ("100%", "100%25"),
            ("q?x=1&y=2#z", "q%3Fx%3D1%26y%3D2%23z"),
            ("test$file.text", "test%24file.text"),
            ("star*(paren)!'", "star%2A%28paren%29%21%27"),
            ("ä", "%C3%A4"),
            ("🦀", "%F0%9F%A6%80"),
            ("nul\0 tab\t line\n del\u{7f}", "nul%00%20tab%09%20line%0A%20del%7F"),
            ("back\\slash", "back%5Cslash"),
            ("/leading", "/leading"),
            ("a//b", "a//b"),
            ("dir/", "dir/"),
            // A dot is unreserved: its signature is of itself, and VersityGW refuses one of `%2E`.
            (".", "."),
            ("..", ".."),
            ("a/./b/../c", "a/./b/../c"),
        ] {
            assert_eq!(path(key), format!("/b/{sent}"), "{key:?}");
        }
    }

    #[test]
    fn the_longest_key_makes_an_address_that_arrives_as_it_is() {
        let address = Address::new("http://minio:9000", "b", Addressing::Path).unwrap();
        for key in ["\u{1}".repeat(1024), "🦀".repeat(256), "/".repeat(1024), "./../".repeat(204)] {
            let path = address.path(Some(&key));
            let uri = address.uri(&path, "uploadId=x").unwrap();
            assert_eq!((uri.path(), uri.query()), (path.as_str(), Some("uploadId=x")));
        }
    }

    #[test]
    fn a_bucket_goes_into_the_host_only_where_it_can() {
        let place = |endpoint: &str, bucket: &str| {
            let address = Address::new(endpoint, bucket, Addressing::Virtual).unwrap();
            let host = address.host().to_str().unwrap().to_owned();
            format!("{host}{}", address.path(None))
        };
        assert_eq!(place("https://s3.example.com", "photos"), "photos.s3.example.com/");
        assert_eq!(place("https://s3.example.com:444/base/", "photos"), "photos.s3.example.com:444/base/");
        assert_eq!(
            place("https://s3.example.com", "my.photos"),
            "s3.example.com/my.photos/",
            "no certificate"
        );
        assert_eq!(place("http://127.0.0.1:9000", "photos"), "127.0.0.1:9000/photos/");
        assert_eq!(place("http://[::1]:9000", "photos"), "[::1]:9000/photos/");
        assert_eq!(
            place("https://s3.example.com:443/", "Ph_x"),
            "s3.example.com/Ph_x/",
            "a port that goes unsaid"
        );
    }

    #[test]
    fn a_query_is_in_the_order_of_its_signature() {
        let pairs =
            vec![("prefix", "a b+ä/&=".to_owned()), ("list-type", "2".to_owned()), ("x", String::new())];
        assert_eq!(query(pairs), "list-type=2&prefix=a%20b%2B%C3%A4%2F%26%3D&x=");
    }
}
