//! One pool of connections for a bucket, shared by our own requests and the SDK's.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use aws_sdk_s3::{config::SharedHttpClient, primitives::SdkBody};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        http::{HttpConnector as SdkConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use jiff::{SignedDuration, Timestamp};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::net::TcpStream;
use tower_service::Service;

use super::super::{ClockOffset, S3Config, trouble::obstacle};
use crate::store::{Error, Obstacle, Result};

/// Stores close idle connections after some 20 s and more; a body that can't be sent again should not meet one.
const IDLE: Duration = Duration::from_secs(15);
/// As many as ever wait for an answer at a time: one that is closed costs a round trip to open again.
const MOST_IDLE: usize = 1024;
/// An object may have 2 KiB of metadata, in as many headers as fit.
const MOST_HEADERS: usize = 1200;

/// Sends requests over pooled connections, and notes the endpoint's clock from each answer.
#[derive(Clone, Debug)]
pub(in super::super) struct Transport {
    client: Client<Connector, SdkBody>,
    /// For answers with more than a hundred headers: room for these is taken for every answer.
    roomy: Client<Connector, SdkBody>,
    /// There was such an answer.
    needs_room: Arc<AtomicBool>,
    clock: Arc<ClockOffset>,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error(transparent)]
    Http(#[from] hyper_util::client::legacy::Error),
}

impl SendError {
    /// What it says of the way to the store.
    pub(super) fn obstacle(&self) -> Obstacle {
        match self {
            Self::Late(_) => Obstacle::Silence,
            Self::Http(error) => obstacle(Some(error)),
        }
    }
}

impl Transport {
    /// # Errors
    /// [`Error::Config`] for a certificate bundle that can't be used.
    pub(in super::super) fn new(config: &S3Config, clock: Arc<ClockOffset>) -> Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls(config)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let connector = Connector { https, patience: config.patience.connect };
        let mut pooled = Client::builder(TokioExecutor::new());
        pooled.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(MOST_IDLE);
        let client = pooled.build(connector.clone());
        let roomy = pooled.http1_max_headers(MOST_HEADERS).build(connector);
        Ok(Self { client, roomy, needs_room: Arc::default(), clock })
    }

    /// Sends a request, and waits so long for the answer's head.
    pub(super) async fn send(
        &self,
        request: Request<SdkBody>,
        patience: Option<Duration>,
    ) -> Result<Response<Incoming>, SendError> {
        let roomy = self.needs_room.load(Ordering::Relaxed);
        let sent = if roomy { &self.roomy } else { &self.client }.request(request);
        let answer = match patience {
            Some(patience) => {
                tokio::time::timeout(patience, sent).await.map_err(|_| SendError::Late(patience))?
            }
            None => sent.await,
        };
        let answer = answer.inspect_err(|error| self.make_room(error))?;
        self.note_clock(answer.headers().get(http::header::DATE));
        Ok(answer)
    }

    /// The next attempt, and all that follow, can read what this one could not.
    fn make_room(&self, error: &hyper_util::client::legacy::Error) {
        let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<hyper::Error>());
        if cause.is_some_and(hyper::Error::is_parse_too_large) {
            self.needs_room.store(true, Ordering::Relaxed);
        }
    }

    fn note_clock(&self, date: Option<&http::HeaderValue>) {
        let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok());
        if let Some(theirs) = date {
            // The header is cut to whole seconds: its moment was half a second later on average.
            let theirs = theirs.timestamp() + SignedDuration::from_millis(500);
            let ahead = theirs.duration_since(Timestamp::now()).as_millis();
            self.clock.note(i64::try_from(ahead).unwrap_or(i64::MAX));
        }
    }

    /// The same connections, for the SDK.
    pub(in super::super) fn for_sdk(&self) -> SharedHttpClient {
        let transport = self.clone();
        http_client_fn(move |settings, _| {
            SharedHttpConnector::new(ForSdk {
                transport: transport.clone(),
                patience: settings.read_timeout(),
            })
        })
    }
}

/// Trusts the system's certificates and those of the bundle.
fn tls(config: &S3Config) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    // Reading them takes time, and plain HTTP has no use for them.
    if config.endpoint.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:")) {
        // A root that rustls can't use is no reason to trust none of the others.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if let Some(pem) = &config.ca_bundle {
        add_bundle(&mut roots, pem).map_err(|why| Error::Config(format!("certificate bundle {why}")))?;
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(|e| Error::Config(e.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn add_bundle(roots: &mut RootCertStore, pem: &str) -> Result<(), String> {
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|e| format!("can't be read: {e}"))?;
        roots.add(certificate).map_err(|e| format!("can't be used: {e}"))?;
    }
    if roots.len() == before { Err("holds no certificate".to_owned()) } else { Ok(()) }
}

/// Connects within a time, TLS included.
#[derive(Clone, Debug)]
struct Connector {
    https: HttpsConnector<HttpConnector>,
    patience: Duration,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(task)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connected, patience) = (self.https.call(uri), self.patience);
        Box::pin(async move {
            let words = format!("no connection within {patience:?}");
            let late = |_| BoxError::from(io::Error::new(io::ErrorKind::TimedOut, words));
            tokio::time::timeout(patience, connected).await.map_err(late)?
        })
    }
}

#[derive(Debug)]
struct ForSdk {
    transport: Transport,
    patience: Option<Duration>,
}

impl SdkConnector for ForSdk {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (transport, patience) = (self.transport.clone(), self.patience);
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|e| ConnectorError::user(e.into()))?;
            let answer = transport.send(request, patience).await.map_err(|e| match e {
                SendError::Late(_) => ConnectorError::timeout(e.into()),
                SendError::Http(e) => ConnectorError::io(e.into()),
            })?;
            HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))
                .map_err(|e| ConnectorError::other(e.into(), None))
        })
    }
}
