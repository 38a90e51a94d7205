//! A receiver for the requests in which stores tell of changes.
//!
//! It answers 200 only once the hints are queued, so that a store that keeps and repeats its messages
//! (`MinIO` with a queue directory, Ceph with a persistent topic, SNS) loses none to a full queue or to a
//! restart of ours. It speaks plain HTTP: TLS is for the ingress before it.

mod answer;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore, mpsc},
    task::JoinSet,
};

use super::{Feed, FeedError, FeedKind, Hint, Result, Told};
use answer::Desk;

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 64;
/// For the head of the next request, so that nobody holds a connection for ever.
const HEAD: Duration = Duration::from_secs(30);
/// After a failure to accept, mostly for want of file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// How to receive.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub address: SocketAddr,
    /// Records of other buckets are answered, and passed over.
    pub bucket: String,
    /// A file with a token that every request must carry: `Authorization: Bearer TOKEN`, or as the password
    /// of `Basic` for stores that know only addresses (`http://any:TOKEN@host/`). Read for each request,
    /// so that it can be changed. `None`: whoever reaches the port is believed.
    pub token: Option<PathBuf>,
    /// Hints that may wait; a message for which there is no room is answered with 503.
    pub queue: usize,
}

impl Options {
    /// No token, and room for 10,000 hints (about 3 MiB).
    #[must_use]
    pub fn new(address: SocketAddr, bucket: impl Into<String>) -> Self {
        Self { address, bucket: bucket.into(), token: None, queue: 10_000 }
    }
}

/// Receives what stores tell. Its port opens with the first call of [`Feed::next`], or with
/// [`Self::open`]; it closes, and requests end, when this is dropped.
#[derive(Debug)]
pub struct Webhook {
    options: Options,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    address: SocketAddr,
    hints: mpsc::Receiver<Hint>,
    gap: Arc<Gap>,
    announced: bool,
    /// Ends with the receiver.
    _server: JoinSet<()>,
}

/// That something was turned away, until it is told.
#[derive(Debug, Default)]
struct Gap {
    open: AtomicBool,
    told: Notify,
}

impl Gap {
    fn note(&self) {
        self.open.store(true, Ordering::Release);
        self.told.notify_one();
    }

    fn take(&self) -> bool {
        self.open.swap(false, Ordering::AcqRel)
    }
}

impl Webhook {
    /// Prepares a receiver; opens no port yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, open: None }
    }

    /// Opens the port.
    ///
    /// # Errors
    /// [`FeedError::NoPort`], and [`FeedError::Token`] where the token can't be read.
    pub async fn open(&mut self) -> Result<SocketAddr> {
        let Options { address, bucket, token, queue } = self.options.clone();
        if let Some(file) = &token {
            answer::read_token(file).await?;
        }
        let no_port = |e: std::io::Error| FeedError::NoPort { address, cause: e.to_string() };
        let listener = TcpListener::bind(address).await.map_err(no_port)?;
        let address = listener.local_addr().map_err(no_port)?;
        let (queued, hints) = mpsc::channel(queue.max(1));
        let gap = Arc::new(Gap::default());
        let desk = Arc::new(Desk { bucket, token, queued, gap: Arc::clone(&gap) });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, desk));
        self.open = Some(Open { address, hints, gap, announced: false, _server: server });
        Ok(address)
    }

    /// Where it listens, once it does.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.open.as_ref().map(|open| open.address)
    }
}

impl Open {
    /// `None`: the server has ended.
    async fn next(&mut self) -> Option<Hint> {
        if !self.announced {
            self.announced = true;
            return Some(Hint::Connected);
        }
        loop {
            tokio::select! {
                biased;
                hint = self.hints.recv() => return hint,
                () = self.gap.told.notified() => {
                    if self.gap.take() {
                        return Some(Hint::Lost { why: "messages were turned away".to_owned() });
                    }
                }
            }
        }
    }
}

#[async_trait]
impl Feed for Webhook {
    async fn next(&mut self) -> Result<Told> {
        if self.open.is_none() {
            self.open().await?;
        }
        let hint = match &mut self.open {
            Some(open) => open.next().await,
            None => None,
        };
        if hint.is_none() {
            self.open = None;
        }
        hint.map(Told::from).ok_or(FeedError::Stopped)
    }

    fn kind(&self) -> FeedKind {
        FeedKind::Webhook
    }
}

async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        // Those that have ended are let go.
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the webhook receiver can't be accepted");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let desk = Arc::clone(&desk);
        connections.spawn(async move {
            let answer = service_fn(move |request| {
                let desk = Arc::clone(&desk);
                async move { Ok::<_, std::convert::Infallible>(desk.answer(request).await) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), answer).await {
                tracing::debug!(%error, "a connection to the webhook receiver broke");
            }
            drop(place);
        });
    }
}
