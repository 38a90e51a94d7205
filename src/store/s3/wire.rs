//! Requests of the hot path, straight on HTTP: what is sent once an object or once a page.
//!
//! For a small object the SDK's own work costs more CPU than sending it; listings, HEAD, GET, PUT and parts are
//! therefore built, signed and read here. Everything else goes through the SDK, over the same connections.

mod address;
mod entry;
mod page;
mod sign;
mod transport;
mod versions;
mod xml;

use std::time::Duration;

use aws_sdk_s3::primitives::SdkBody;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{ACCEPT_ENCODING, CONTENT_LENGTH, HOST, USER_AGENT},
};
use hyper::body::{Body, Incoming};
use jiff::Timestamp;

pub(super) use page::page;
pub(super) use transport::Transport;
pub(super) use versions::{versioning, versions};
pub(super) use xml::Refusal;

use address::Address;
use sign::{Request as Signable, Signer};

use super::{
    Patience, S3Config,
    body::read_whole,
    trouble::{Kind, Trouble, chain},
};
use crate::store::Result;

/// No page and no error is longer than this: 1,000 keys of 1,024 bytes, each byte as `%XX`, take 4 MiB.
const LONGEST_TEXT: usize = 16 << 20;
/// Slowest link that a body from memory is waited for, in bytes a second.
const SLOWEST: u64 = 64 * 1024;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("farshore/", env!("CARGO_PKG_VERSION")));

/// One bucket, as requests on it are sent.
#[derive(Debug)]
pub(super) struct Wire {
    transport: Transport,
    address: Address,
    signer: Signer,
    patience: Patience,
}

/// A request, before it has an address and a signature.
#[derive(Debug)]
pub(super) struct Call<'a> {
    method: Method,
    key: Option<&'a str>,
    query: Vec<(&'static str, String)>,
    headers: HeaderMap,
    payload: Payload,
}

/// What goes with a request.
#[derive(Debug)]
pub(super) enum Payload {
    Nothing,
    Whole(Bytes),
    /// Exactly this many bytes.
    Streamed(SdkBody, u64),
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, key: Option<&'a str>) -> Self {
        Self { method, key, query: Vec::new(), headers: HeaderMap::new(), payload: Payload::Nothing }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Result<Self, Trouble> {
        self.headers.insert(name, header_value(value)?);
        Ok(self)
    }
}

/// # Errors
/// Line breaks and other control characters fit no header.
fn header_value(text: &str) -> Result<HeaderValue, Trouble> {
    HeaderValue::from_bytes(text.as_bytes())
        .map_err(|_| Trouble::new(Kind::Unsupported("an attribute that no header can carry"), ""))
}

impl Wire {
    /// # Errors
    /// [`crate::store::Error::Config`] for an endpoint that is none.
    pub(super) fn new(config: &S3Config, transport: Transport) -> Result<Self> {
        Ok(Self {
            transport,
            address: Address::new(&config.endpoint, &config.bucket, config.addressing)?,
            signer: Signer::new(config.credentials.clone(), config.signing_region.clone()),
            patience: config.patience,
        })
    }

    /// Sends a request and waits for the answer's head; a refusal is an error.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Response<Incoming>, Trouble> {
        let patience = call.payload.patience(self.patience.answer);
        let answer = self.transport.send(self.request(call)?, patience).await;
        let answer = answer.map_err(|e| Trouble::new(Kind::Unreachable(e.obstacle()), chain(Some(&e))))?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.refusal(answer).await) }
    }

    /// As [`Self::send`], and reads the answer to its end, so that its connection serves the next request.
    pub(super) async fn ask(&self, call: Call<'_>) -> Result<Response<Bytes>, Trouble> {
        let (head, body) = self.send(call).await?.into_parts();
        let text = if body.is_end_stream() { Bytes::new() } else { self.text(body).await? };
        Ok(Response::from_parts(head, text))
    }

    async fn text(&self, body: Incoming) -> Result<Bytes, Trouble> {
        read_whole(body, LONGEST_TEXT, self.patience.body).await
    }

    async fn refusal(&self, answer: Response<Incoming>) -> Trouble {
        let (head, body) = answer.into_parts();
        // An answer that breaks off still has its status.
        let text = self.text(body).await.unwrap_or_default();
        Trouble::of_refusal(head.status, &head.headers, &xml::refusal(&text))
    }

    fn request(&self, call: Call<'_>) -> Result<Request<SdkBody>, Trouble> {
        let Call { method, key, query, mut headers, payload } = call;
        // It would be a request about the bucket: to make it, or to delete it.
        if key == Some("") {
            return Err(Trouble::new(Kind::Unsupported("an object without a name"), ""));
        }
        let (path, query) = (self.address.path(key), address::query(query));
        headers.insert(HOST, self.address.host().clone());
        let digest = payload.digest(self.address.is_tls());
        let signable = Signable { method: &method, path: &path, query: &query, payload: &digest };
        self.signer.sign(&signable, &mut headers, Timestamp::now())?;
        // Not signed: these may change on the way.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, AGENT);
        if let Some(length) = payload.length() {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        let mut request = Request::new(payload.into_body());
        *request.method_mut() = method;
        *request.uri_mut() = self.address.uri(&path, &query)?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

impl Payload {
    /// What the signature says of the body. TLS guards it already; on plain HTTP the signature does where the
    /// body is at hand.
    fn digest(&self, tls: bool) -> String {
        match self {
            Self::Nothing => sign::EMPTY.to_owned(),
            Self::Whole(bytes) if !tls => sign::digest(bytes),
            Self::Whole(_) | Self::Streamed(..) => "UNSIGNED-PAYLOAD".to_owned(),
        }
    }

    /// How long to wait for an answer. A body that streams is watched by its sender.
    fn patience(&self, answer: Duration) -> Option<Duration> {
        match self {
            Self::Nothing => Some(answer),
            Self::Whole(bytes) => Some(answer + Duration::from_secs(bytes.len() as u64 / SLOWEST)),
            Self::Streamed(..) => None,
        }
    }

    fn length(&self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Streamed(_, size) => Some(*size),
        }
    }

    fn into_body(self) -> SdkBody {
        match self {
            Self::Nothing => SdkBody::empty(),
            Self::Whole(bytes) => SdkBody::from(bytes),
            Self::Streamed(body, _) => body,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::header::{AUTHORIZATION, EXPECT};

    use super::*;
    use crate::store::credentials::Credentials;

    fn sent(endpoint: &str, credentials: Credentials, payload: Payload) -> Request<SdkBody> {
        let config = S3Config::new(endpoint, "b", credentials);
        let transport = Transport::new(&config, Arc::default()).unwrap();
        let call = Call::new(Method::PUT, Some("a b")).payload(payload);
        Wire::new(&config, transport).unwrap().request(call).unwrap()
    }

    fn header(request: &Request<SdkBody>, name: &str) -> String {
        request.headers()[name].to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn bodies_are_signed_where_nothing_else_guards_them_and_they_are_at_hand() {
        let keys = || Credentials::fixed("id", "hush");
        let streamed = || Payload::Streamed(SdkBody::empty(), 7);
        for (endpoint, payload, expected, length) in [
            ("http://h", Payload::Whole("x".into()), sign::digest(b"x"), "1"),
            ("http://h", Payload::Whole(Bytes::new()), sign::EMPTY.to_owned(), "0"),
            ("http://h", streamed(), "UNSIGNED-PAYLOAD".to_owned(), "7"),
            ("https://h", Payload::Whole("x".into()), "UNSIGNED-PAYLOAD".to_owned(), "1"),
            ("https://h", streamed(), "UNSIGNED-PAYLOAD".to_owned(), "7"),
        ] {
            let request = sent(endpoint, keys(), payload);
            assert_eq!(header(&request, "x-amz-content-sha256"), expected);
            assert_eq!(header(&request, "content-length"), length);
        }
    }

    #[tokio::test]
    async fn only_what_nobody_on_the_way_may_change_is_signed() {
        let request =
            sent("http://h:81", Credentials::temporary("id", "hush", "ephemeral"), Payload::Nothing);
        assert_eq!(request.uri(), "http://h:81/b/a%20b");
        assert_eq!(header(&request, "host"), "h:81");
        assert_eq!(header(&request, "accept-encoding"), "identity");
        assert!(!request.headers().contains_key(EXPECT));
        let authorization = header(&request, AUTHORIZATION.as_str());
        let names = "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,";
        assert!(authorization.contains(names), "{authorization}");
        assert!(!format!("{request:?}").contains("ephemeral"), "a session token is not printed");
    }

    #[tokio::test]
    async fn anonymous_requests_carry_no_signature() {
        let request = sent("http://h", Credentials::anonymous(), Payload::Nothing);
        assert!(!request.headers().keys().any(|n| *n == AUTHORIZATION || n.as_str().starts_with("x-amz-")));
    }
}
