//! Listening to changes: a request whose answer never ends.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream;
use http::{HeaderMap, Method, header::CONTENT_TYPE};
use http_body::Body;

use super::{
    S3Store,
    body::chunk,
    trouble::{Kind, Trouble, chain, obstacle},
    wire::Call,
};
use crate::store::{Context, Error, ListenRequest, Listens, Notices, Result, listen::watched};

/// No notice is longer: a key of 1,024 bytes and 8 KiB of metadata, both escaped.
const LONGEST: usize = 1 << 20;
const WHAT: &str = "listening to changes";

#[async_trait]
impl Listens for S3Store {
    async fn listen(&self, request: &ListenRequest) -> Result<Notices> {
        let call = Call::new(Method::GET, None)
            .query("events", "s3:ObjectCreated:*")
            .query("events", "s3:ObjectRemoved:*")
            .query("ping", request.ping.as_secs().max(1).to_string())
            // A store that knows no events lists the bucket: it is spared the work.
            .query("max-keys", "0");
        let ask = async {
            let answer = self.wire.send(call).await.map_err(refused)?;
            if is_stream(answer.headers()) {
                Ok(answer)
            } else {
                Err(Trouble::new(Kind::Unsupported(WHAT), ""))
            }
        };
        let body = self.once(None, ask).await?.into_body();
        let context = self.context(None);
        Ok(watched(lines(body, context.clone()), request.silence, context))
    }
}

/// A store that finds fault with the request, and not with us, doesn't know it.
fn refused(mut trouble: Trouble) -> Trouble {
    if matches!(trouble.kind, Kind::Refused | Kind::Unsupported(_)) {
        trouble.kind = Kind::Unsupported(WHAT);
    }
    trouble
}

/// True unless the answer is a listing, or a page for people.
fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    !["xml", "html"].iter().any(|other| kind.to_ascii_lowercase().contains(other))
}

/// The lines of a body that have more than white space in them.
fn lines<B>(body: B, context: Context) -> Notices
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + 'static,
{
    let begin = Some((body, BytesMut::new(), context));
    Box::pin(stream::unfold(begin, |state| async move {
        let (mut body, mut rest, context) = state?;
        loop {
            if let Some(line) = first_line(&mut rest) {
                return Some((Ok(line), Some((body, rest, context))));
            }
            if rest.len() > LONGEST {
                let cause = format!("a notice of more than {LONGEST} bytes");
                return Some((Err(Error::Protocol { cause, context }), None));
            }
            match chunk(&mut body).await? {
                Ok(bytes) => rest.extend_from_slice(&bytes),
                Err(error) => {
                    let kind = Kind::Unreachable(obstacle(Some(&error)));
                    let trouble = Trouble::new(kind, chain(Some(&error)));
                    return Some((Err(trouble.into_error(context)), None));
                }
            }
        }
    }))
}

fn first_line(rest: &mut BytesMut) -> Option<Bytes> {
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let line = rest.split_to(end + 1);
        if !line.trim_ascii().is_empty() {
            return Some(line.freeze());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    #[tokio::test]
    async fn lines_are_whole_however_they_are_cut() {
        let text = b"{\"a\":1}\n\n \n{\"b\":2}\r\n{\"c\"";
        for size in 1..text.len() {
            let frames: Vec<_> = text
                .chunks(size)
                .map(|c| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::copy_from_slice(c))))
                .collect();
            let body = StreamBody::new(stream::iter(frames));
            let told: Vec<_> = lines(body, Context::default()).map(Result::unwrap).collect().await;
            assert_eq!(told, ["{\"a\":1}\n", "{\"b\":2}\r\n"], "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_an_error_and_fills_no_memory() {
        let endless = Full::new(Bytes::from(vec![b'x'; LONGEST + 1]));
        let told: Vec<_> = lines(endless, Context::default()).collect().await;
        assert!(matches!(told[..], [Err(Error::Protocol { .. })]), "{told:?}");
    }

    #[test]
    fn a_listing_or_a_page_is_no_stream() {
        for (kind, streams) in [
            ("text/event-stream", true),
            ("application/json", true),
            ("application/xml", false),
            ("text/html; charset=utf-8", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]);
            assert_eq!(is_stream(&headers), streams, "{kind}");
        }
    }
}
