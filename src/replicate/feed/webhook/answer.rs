//! One request to the receiver, and its answer.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::Gap;
use crate::replicate::feed::{FeedError, Hint, Message, Result, Via, parse};

/// AWS, the most talkative one, sends at most 256 KiB.
const LONGEST: usize = 1 << 20;
/// For the body of a request.
const BODY: Duration = Duration::from_secs(30);

/// Where messages are taken in.
#[derive(Debug)]
pub(super) struct Desk {
    pub bucket: String,
    pub token: Option<PathBuf>,
    pub queued: mpsc::Sender<Hint>,
    pub gap: Arc<Gap>,
}

/// Why a message is not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    Method,
    Unknown,
    NoToken(String),
    TooLong,
    Late,
    Unreadable(String),
    Full,
}

impl Desk {
    pub(super) async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match self.take(request).await {
            Ok(()) => Response::new(Full::new(Bytes::from_static(b"queued\n"))),
            Err(refusal) => {
                // Whoever reaches the port can bring these about: they fill no log.
                if !matches!(refusal, Refusal::Method | Refusal::Unknown) {
                    tracing::warn!(?refusal, "a message to the webhook receiver is turned away");
                }
                refusal.into_answer()
            }
        }
    }

    async fn take<B>(&self, request: Request<B>) -> Result<(), Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        let taken = match self.admit(request.headers()).await {
            Ok(()) => whole(request.into_body()).await.and_then(|body| self.queue(&body)),
            Err(refusal) => Err(refusal),
        };
        // A store's message that is not understood or not kept is missed.
        if taken.as_ref().is_err_and(|refusal| *refusal != Refusal::Unknown) {
            self.gap.note();
        }
        taken
    }

    async fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(file) = &self.token else { return Ok(()) };
        let wanted = read_token(file).await.map_err(|e| Refusal::NoToken(e.to_string()))?;
        let given = given_token(headers).ok_or(Refusal::Unknown)?;
        // Of digests, the time that a comparison takes tells nothing of the token.
        if Sha256::digest(&given) == Sha256::digest(&wanted) { Ok(()) } else { Err(Refusal::Unknown) }
    }

    /// Queues all hints of a message or none.
    fn queue(&self, body: &[u8]) -> Result<(), Refusal> {
        let changes = match parse(body, Via::Pushed) {
            Ok(Message::Changes(changes)) => changes,
            Ok(Message::Unconfirmed { topic, address }) => {
                tracing::warn!(topic, address, "an SNS topic is not confirmed: open the address once");
                return Ok(());
            }
            Err(error) => return Err(Refusal::Unreadable(error.to_string())),
        };
        let ours: Vec<_> = changes.into_iter().filter(|(bucket, _)| *bucket == self.bucket).collect();
        if ours.len() > self.queued.max_capacity() {
            return Err(Refusal::TooLong);
        }
        let room = self.queued.try_reserve_many(ours.len()).map_err(|_| Refusal::Full)?;
        for (place, (_, change)) in room.zip(ours) {
            place.send(Hint::Changed(change));
        }
        Ok(())
    }
}

async fn whole<B>(body: B) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let read = Limited::new(body, LONGEST).collect();
    match tokio::time::timeout(BODY, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refusal::TooLong),
        Ok(Err(error)) => Err(Refusal::Unreadable(error.to_string())),
        Err(_) => Err(Refusal::Late),
    }
}

impl Refusal {
    fn into_answer(self) -> Response<Full<Bytes>> {
        let (status, words) = match &self {
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "POST records of S3 events here"),
            Self::Unknown => (StatusCode::UNAUTHORIZED, "the token is missing or wrong"),
            Self::NoToken(_) => (StatusCode::SERVICE_UNAVAILABLE, "the token can't be read here"),
            Self::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "the message is too long"),
            Self::Late => (StatusCode::REQUEST_TIMEOUT, "the message did not come in time"),
            Self::Unreadable(why) => (StatusCode::BAD_REQUEST, why.as_str()),
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, "no room: send it again"),
        };
        let mut answer = Response::new(Full::new(Bytes::from(format!("{words}\n"))));
        *answer.status_mut() = status;
        let header = match self {
            Self::Method => Some((ALLOW, "POST")),
            Self::Unknown => Some((WWW_AUTHENTICATE, "Bearer")),
            Self::NoToken(_) | Self::Full => Some((RETRY_AFTER, "1")),
            _ => None,
        };
        if let Some((name, value)) = header {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

/// The token that a request carries, as `Bearer` or as the password of `Basic`.
fn given_token(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (scheme, given) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(given.trim().as_bytes().to_vec()),
        "basic" => {
            let pair = BASE64_STANDARD.decode(given.trim()).ok()?;
            let colon = pair.iter().position(|b| *b == b':')?;
            Some(pair[colon + 1..].to_vec())
        }
        _ => None,
    }
}

/// The token of a file, without white space around it.
pub(super) async fn read_token(file: &Path) -> Result<Vec<u8>> {
    let unusable = |cause: String| FeedError::Token { file: file.to_owned(), cause };
    let text = tokio::fs::read(file).await.map_err(|e| unusable(e.to_string()))?;
    match text.trim_ascii() {
        [] => Err(unusable("it is empty".to_owned())),
        token => Ok(token.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn desk(queue: usize, token: Option<PathBuf>) -> (Desk, mpsc::Receiver<Hint>) {
        let (queued, hints) = mpsc::channel(queue);
        (Desk { bucket: "shop".into(), token, queued, gap: Arc::default() }, hints)
    }

    fn records(places: &[(&str, &str)]) -> String {
        let record = |(bucket, key): &(&str, &str)| {
            json!({"eventSource": "ceph:s3", "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": bucket}, "object": {"key": key}}})
        };
        json!({"Records": places.iter().map(record).collect::<Vec<_>>()}).to_string()
    }

    fn post(body: impl Into<Bytes>, authorization: Option<&str>) -> Request<Full<Bytes>> {
        let mut request = Request::post("/").body(Full::new(body.into())).unwrap();
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value.parse().unwrap());
        }
        request
    }

    fn keys(hints: &mut mpsc::Receiver<Hint>) -> Vec<String> {
        std::iter::from_fn(|| hints.try_recv().ok())
            .map(|hint| match hint {
                Hint::Changed(change) => change.key,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[tokio::test]
    async fn hints_of_our_bucket_are_queued_before_the_answer() {
        let (desk, mut hints) = desk(9, None);
        let answer = desk.answer(post(records(&[("shop", "a"), ("other", "b"), ("shop", "c")]), None)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(keys(&mut hints), ["a", "c"]);
        assert!(!desk.gap.take());
    }

    #[tokio::test]
    async fn c16_a_message_is_queued_whole_or_turned_away_and_the_gap_told() {
        let (desk, mut hints) = desk(3, None);
        let two = || post(records(&[("shop", "a"), ("shop", "b")]), None);
        assert_eq!(desk.answer(two()).await.status(), StatusCode::OK);
        let full = desk.answer(two()).await;
        assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(full.headers()[RETRY_AFTER], "1");
        assert_eq!(keys(&mut hints), ["a", "b"]);
        assert!(desk.gap.take() && !desk.gap.take());
        let four = records(&[("shop", "a"); 4]);
        assert_eq!(desk.answer(post(four, None)).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(desk.gap.take(), "it will never fit: nobody sends it again");
    }

    #[tokio::test]
    async fn what_is_no_message_is_answered_so() {
        let (desk, mut hints) = desk(3, None);
        let get = Request::get("/").body(Full::new(Bytes::new())).unwrap();
        assert_eq!(desk.answer(get).await.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert!(!desk.gap.take());
        for (body, status) in [
            (Bytes::from_static(b"hello"), StatusCode::BAD_REQUEST),
            (Bytes::from(vec![b' '; LONGEST + 1]), StatusCode::PAYLOAD_TOO_LARGE),
        ] {
            assert_eq!(desk.answer(post(body, None)).await.status(), status);
            assert!(desk.gap.take());
        }
        for silent in
            [r#"{"Records":null}"#, r#"{"Event":"s3:TestEvent"}"#, r#"{"Type":"SubscriptionConfirmation"}"#]
        {
            assert_eq!(desk.answer(post(silent, None)).await.status(), StatusCode::OK);
        }
        assert!(keys(&mut hints).is_empty() && !desk.gap.take());
    }

    #[tokio::test]
    async fn only_who_has_the_token_is_heard_and_it_can_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "s3cret\n").unwrap();
        let (desk, mut hints) = desk(9, Some(file.clone()));
        let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
        for (given, admitted) in [
            (None, false),
            (Some("Bearer s3cret".to_owned()), true),
            (Some("bearer s3cret".to_owned()), true),
            (Some(basic("minio:s3cret")), true),
            (Some("Bearer s3cre".to_owned()), false),
            (Some("Bearer ".to_owned()), false),
            (Some("s3cret".to_owned()), false),
            (Some(basic("s3cret:other")), false),
            (Some("Basic §".to_owned()), false),
        ] {
            let answer = desk.answer(post(records(&[("shop", "a")]), given.as_deref())).await;
            let expected = if admitted { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            assert_eq!(answer.status(), expected, "{given:?}");
            assert_eq!(keys(&mut hints).len(), usize::from(admitted));
            assert!(!desk.gap.take(), "strangers can't make us compare");
        }
        std::fs::write(&file, "other").unwrap();
        let told = post(records(&[("shop", "a")]), Some("Bearer other"));
        assert_eq!(desk.answer(told).await.status(), StatusCode::OK);
        std::fs::write(&file, " \n").unwrap();
        let told = post(records(&[("shop", "a")]), Some("Bearer "));
        assert_eq!(desk.answer(told).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
