//! An HTTP proxy that breaks things on order, between a client and a real store.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;

type Failure = std::io::Error;
type Body = BoxBody<Bytes, Failure>;
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Failure>> + Send>>;

/// What is done to a request.
#[derive(Clone, Debug)]
pub enum Break {
    /// An S3 error in XML, without asking the store.
    Error(u16, &'static str),
    /// The connection is closed without an answer.
    Reset,
    /// The answer's body ends after this many bytes, and the connection with it.
    Truncate(usize),
    /// The answer's body is whole by its length, and cut to this many bytes.
    Shorten(usize),
    /// A proxy's own page, with status 200.
    Html,
    /// The answer's body stops for this long after its first chunk.
    Stall(Duration),
    /// The store is asked; its answer is lost.
    LoseAnswer,
}

/// An order to break some requests.
#[derive(Clone, Debug)]
struct Order {
    method: &'static str,
    /// Part of path and query.
    what: &'static str,
    after: u32,
    times: u32,
    how: Break,
}

#[derive(Debug, Default)]
struct Seen {
    orders: Vec<Order>,
    connections: usize,
    requests: Vec<(String, String)>,
}

/// A running proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    pub endpoint: String,
    seen: Arc<Mutex<Seen>>,
}

impl Proxy {
    /// Starts a proxy before a store. It ends with the test's runtime.
    pub async fn before(store: &str) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let client = Client::builder(TokioExecutor::new()).build_http();
        let there = Arc::new(Way { store: store.to_owned(), client, seen: Arc::clone(&seen) });
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                there.seen.lock().unwrap().connections += 1;
                let way = Arc::clone(&there);
                tokio::spawn(async move {
                    let answer = hyper::service::service_fn(move |r| {
                        let answer: Answer = Box::pin(Arc::clone(&way).answer(r));
                        answer
                    });
                    // A connection that we broke ends in an error, as ordered.
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), answer)
                        .await
                        .ok();
                });
            }
        });
        Self { endpoint, seen }
    }

    /// Breaks `times` requests of a method whose path and query contain `what`, the first `after` spared.
    pub fn breaks(&self, method: &'static str, what: &'static str, (after, times): (u32, u32), how: Break) {
        self.seen.lock().unwrap().orders.push(Order { method, what, after, times, how });
    }

    /// Connections opened so far.
    #[allow(dead_code, reason = "not every test binary needs it")]
    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    /// Requests of a method whose path and query contain `what`, so far.
    pub fn count(&self, method: &str, what: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.requests.iter().filter(|(m, path)| m == method && path.contains(what)).count()
    }
}

struct Way {
    store: String,
    client: Client<HttpConnector, Incoming>,
    seen: Arc<Mutex<Seen>>,
}

impl Way {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let how = self.meet(request.method().as_str(), &request.uri().to_string());
        match how {
            Some(Break::Reset) => Err(Failure::other("reset, as ordered")),
            Some(Break::Error(status, code)) => Ok(error(status, code)),
            Some(Break::Html) => Ok(page("text/html", "<html><body>Gateway says hello</body></html>".into())),
            how => {
                let answer = self.forward(request).await?;
                broken(answer, how).await
            }
        }
    }

    fn meet(&self, method: &str, path: &str) -> Option<Break> {
        let mut seen = self.seen.lock().unwrap();
        seen.requests.push((method.to_owned(), path.to_owned()));
        for order in &mut seen.orders {
            if order.method == method && path.contains(order.what) {
                if order.after > 0 {
                    order.after -= 1;
                } else if order.times > 0 {
                    order.times -= 1;
                    return Some(order.how.clone());
                }
            }
        }
        None
    }

    /// The Host header stays as the client signed it.
    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>, Failure> {
        let uri: Uri = format!("{}{}", self.store, request.uri().path_and_query().unwrap())
            .parse()
            .map_err(Failure::other)?;
        *request.uri_mut() = uri;
        self.client.request(request).await.map_err(Failure::other)
    }
}

async fn broken(answer: Response<Incoming>, how: Option<Break>) -> Result<Response<Body>, Failure> {
    let (mut head, body) = answer.into_parts();
    let body = match how {
        None => body.map_err(Failure::other).boxed(),
        Some(Break::LoseAnswer) => {
            body.collect().await.map_err(Failure::other)?;
            return Err(Failure::other("answer lost, as ordered"));
        }
        Some(Break::Truncate(length)) => {
            let whole = body.collect().await.map_err(Failure::other)?.to_bytes();
            let kept = whole.slice(..length.min(whole.len()));
            head.headers.insert("content-length", whole.len().into());
            let pause = Box::pin(async {
                // Lets what was sent arrive before the connection goes.
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(Failure::other("truncated, as ordered"))
            })
                as Pin<Box<dyn Future<Output = Result<Frame<Bytes>, Failure>> + Send + Sync>>;
            let chunks = stream::iter([Ok(Frame::data(kept))]).chain(stream::once(pause));
            BodyExt::boxed(StreamBody::new(chunks))
        }
        Some(Break::Shorten(length)) => {
            let whole = body.collect().await.map_err(Failure::other)?.to_bytes();
            let kept = whole.slice(..length.min(whole.len()));
            head.headers.insert("content-length", kept.len().into());
            full(kept)
        }
        Some(Break::Stall(pause)) => {
            let whole = body.collect().await.map_err(Failure::other)?.to_bytes();
            let halves = [whole.slice(..whole.len() / 2), whole.slice(whole.len() / 2..)];
            let chunks = stream::iter(halves).enumerate().then(move |(i, half)| async move {
                if i > 0 {
                    tokio::time::sleep(pause).await;
                }
                Ok::<_, Failure>(Frame::data(half))
            });
            BodyExt::boxed(StreamBody::new(chunks))
        }
        Some(other) => return Err(Failure::other(format!("{other:?} needs no answer"))),
    };
    Ok(Response::from_parts(head, body))
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed()
}

fn page(kind: &str, text: String) -> Response<Body> {
    Response::builder().header("content-type", kind).body(full(text.into())).unwrap()
}

fn error(status: u16, code: &str) -> Response<Body> {
    let text =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as ordered</Message></Error>");
    let mut answer = page("application/xml", text);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer.headers_mut().insert("x-amz-request-id", "ORDERED1".parse().unwrap());
    answer
}
