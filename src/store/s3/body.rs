//! Bodies in flight: watched for stalls in both directions, whole or an error.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context as TaskContext, Poll, ready},
    time::{Duration, Instant},
};

use aws_sdk_s3::primitives::SdkBody;
use bytes::{Bytes, BytesMut};
use futures::stream;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::trouble::{Kind, Trouble, chain, obstacle};
use crate::store::{ByteStream, Context, Error, Obstacle};

/// A body that comes from the store. It ends after exactly `length` bytes, or in an error.
pub(super) fn incoming<B>(body: B, length: u64, patience: Duration, context: Context) -> ByteStream
where
    B: Body<Data = Bytes> + Send + Sync + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let begin = Some((body, 0_u64, context));
    Box::pin(stream::unfold(begin, move |state| async move {
        let (mut body, seen, context) = state?;
        let error = match tokio::time::timeout(patience, chunk(&mut body)).await {
            Ok(Some(Ok(chunk))) => {
                let seen = seen + chunk.len() as u64;
                return Some((Ok(chunk), Some((body, seen, context))));
            }
            Ok(None) if seen == length => return None,
            Ok(None) => Error::Corrupt { cause: format!("{seen} of {length} bytes came"), context },
            Ok(Some(Err(e))) => broken(&e, seen, length).into_error(context),
            Err(_) => silent(format!("no data for {patience:?}")).into_error(context),
        };
        Some((Err(error), None))
    }))
}

/// The next bytes of a body; trailers are passed over.
pub(super) async fn chunk<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Option<Result<Bytes, B::Error>> {
    loop {
        match body.frame().await?.map(Frame::into_data) {
            Ok(Ok(data)) => return Some(Ok(data)),
            Ok(Err(_trailers)) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// The whole body of an answer that is read at once.
///
/// # Errors
/// One that stalls, breaks off, or is longer than `longest`.
pub(super) async fn read_whole<B>(mut body: B, longest: usize, patience: Duration) -> Result<Bytes, Trouble>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    let mut whole = BytesMut::new();
    loop {
        let next = tokio::time::timeout(patience, chunk(&mut body)).await;
        let stalled =
            |_| Trouble::new(Kind::Unreachable(Obstacle::Silence), format!("no data for {patience:?}"));
        let Some(next) = next.map_err(stalled)? else { return Ok(whole.freeze()) };
        whole.extend_from_slice(
            &next.map_err(|e| Trouble::new(Kind::Unreachable(obstacle(Some(&e))), chain(Some(&e))))?,
        );
        if whole.len() > longest {
            return Err(Trouble::new(Kind::Protocol, format!("the answer is longer than {longest} bytes")));
        }
    }
}

fn broken(error: &(dyn std::error::Error + 'static), seen: u64, length: u64) -> Trouble {
    let cause = format!("{} after {seen} of {length} bytes", chain(Some(error)));
    let mut next = Some(error);
    while let Some(e) = next {
        if e.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message) {
            return Trouble::new(Kind::Corrupt, cause);
        }
        next = e.source();
    }
    let short = cause.contains("before message length") || cause.contains("invalid content-length");
    Trouble::new(if short { Kind::Corrupt } else { Kind::Unreachable(Obstacle::Failing) }, cause)
}

fn silent(cause: String) -> Trouble {
    Trouble::new(Kind::Unreachable(Obstacle::Silence), cause)
}

/// What is known of a body on its way to the store.
#[derive(Debug)]
struct Flow {
    begin: Instant,
    /// Milliseconds since `begin` at which the transport last took something.
    taken: AtomicU64,
    /// The transport is ready and the source has nothing yet: not the store's fault.
    starved: AtomicBool,
    /// The source's own error, which the transport would wrap beyond recognition.
    failure: Mutex<Option<Error>>,
}

impl Flow {
    fn touch(&self, starved: bool) {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.taken.store(now, Ordering::Relaxed);
        self.starved.store(starved, Ordering::Relaxed);
    }

    fn still_for(&self) -> Duration {
        let taken = Duration::from_millis(self.taken.load(Ordering::Relaxed));
        if self.starved.load(Ordering::Relaxed) {
            Duration::ZERO
        } else {
            self.begin.elapsed().saturating_sub(taken)
        }
    }
}

/// Watches one body on its way out.
pub(super) struct Watch(Arc<Flow>);

impl Watch {
    /// The source's own error, when that is what ended the body.
    pub(super) fn failure(&self) -> Option<Error> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Runs a request until it answers, or the store takes nothing for `patience`.
    pub(super) async fn over<T>(
        &self,
        request: impl Future<Output = Result<T, Trouble>>,
        patience: Duration,
    ) -> Result<T, Trouble> {
        let stall = async {
            while self.0.still_for() < patience {
                tokio::time::sleep(patience / 8).await;
            }
        };
        tokio::select! {
            answer = request => answer,
            () = stall => Err(silent(format!("the store took nothing for {patience:?}"))),
        }
    }
}

/// A body of exactly `size` bytes that goes to the store.
pub(super) fn outgoing(stream: ByteStream, size: u64) -> (SdkBody, Watch) {
    let flow = Arc::new(Flow {
        begin: Instant::now(),
        taken: AtomicU64::new(0),
        starved: AtomicBool::new(false),
        failure: Mutex::new(None),
    });
    let body = Outgoing { stream, left: size, flow: Arc::clone(&flow) };
    (SdkBody::from_body_1_x(body), Watch(flow))
}

struct Outgoing {
    stream: ByteStream,
    left: u64,
    flow: Arc<Flow>,
}

/// Why a body ended early; the true error waits in [`Flow`].
#[derive(Debug, thiserror::Error)]
#[error("the source of the body failed")]
struct SourceFailed;

impl Outgoing {
    fn fail(&self, error: Error) -> SourceFailed {
        *self.flow.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        SourceFailed
    }

    fn wrong_length(&self, how: &str) -> SourceFailed {
        let cause = format!("the source gave {how} than announced ({} bytes off)", self.left);
        self.fail(Error::Corrupt { cause, context: Context::default() })
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = SourceFailed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SourceFailed>>> {
        self.flow.touch(true);
        let next = ready!(self.stream.as_mut().poll_next(task));
        self.flow.touch(false);
        Poll::Ready(match next {
            Some(Ok(chunk)) => match self.left.checked_sub(chunk.len() as u64) {
                Some(left) => {
                    self.left = left;
                    Some(Ok(Frame::data(chunk)))
                }
                None => Some(Err(self.wrong_length("more"))),
            },
            Some(Err(error)) => Some(Err(self.fail(error))),
            None if self.left > 0 => Some(Err(self.wrong_length("less"))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    fn chunks(parts: &[&'static [u8]]) -> ByteStream {
        let parts: Vec<_> = parts.iter().map(|p| Ok(Bytes::from_static(p))).collect();
        Box::pin(stream::iter(parts))
    }

    #[tokio::test]
    async fn a_body_from_the_store_is_whole_or_an_error() {
        let body = |length| {
            let five = http_body_util::Full::new(Bytes::from_static(b"12345"));
            incoming(five, length, Duration::from_secs(1), Context::default())
        };
        assert!(body(5).all(|c| async move { c.is_ok() }).await);
        let last = body(7).collect::<Vec<_>>().await.pop().unwrap();
        assert!(matches!(last, Err(Error::Corrupt { .. })), "{last:?}");
    }

    #[tokio::test]
    async fn a_source_that_gives_too_little_fails_the_body() {
        let (body, watch) = outgoing(chunks(&[b"12", b"3"]), 5);
        assert!(body.collect().await.is_err());
        assert!(matches!(watch.failure(), Some(Error::Corrupt { .. })));
    }

    #[tokio::test]
    async fn a_store_that_takes_nothing_is_given_up_and_a_slow_source_is_waited_for() {
        let never = || std::future::pending::<Result<(), Trouble>>();
        let (_body, watch) = outgoing(chunks(&[b"12345"]), 5);
        let gave_up = watch.over(never(), Duration::from_millis(80)).await;
        assert_eq!(gave_up.unwrap_err().kind, Kind::Unreachable(Obstacle::Silence));

        let (mut body, watch) = outgoing(Box::pin(stream::pending()), 5);
        let _pending = futures::poll!(BodyExt::frame(&mut body));
        let waited =
            tokio::time::timeout(Duration::from_millis(300), watch.over(never(), Duration::from_millis(80)));
        assert!(waited.await.is_err(), "a starved body is not the store's fault");
    }
}
