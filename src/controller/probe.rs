//! Anonymous questions: does a store answer, does a database answer.

mod mongod;

use std::{io, time::Duration};

use http_body_util::Empty;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use jiff::{SignedDuration, Timestamp};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::api::ObjectStoreSpec;

const STORE_PATIENCE: Duration = Duration::from_secs(5);
const DATABASE_PATIENCE: Duration = Duration::from_secs(3);

/// A store that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How far the store's clock is ahead of ours, to a second; `None` when it does not say.
    pub offset: Option<SignedDuration>,
}

/// A store that does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAnswer {
    /// `StoreUnreachable`, or `BadCABundle` where only a person can help.
    pub reason: &'static str,
    pub message: String,
}

/// Asks a store for its root, without credentials: any answer below 500 is one.
///
/// # Errors
/// [`NoAnswer`], within five seconds.
pub async fn ask_store(store: &ObjectStoreSpec) -> Result<Answer, NoAnswer> {
    let endpoint = store.endpoint.trim_end_matches('/');
    let unreachable = |why: String| NoAnswer {
        reason: "StoreUnreachable",
        message: format!("{endpoint} does not answer: {why}"),
    };
    let config = tls(store.ca_bundle.as_deref()).map_err(|why| NoAnswer {
        reason: "BadCABundle",
        message: format!("spec.objectStore.caBundle: {why}"),
    })?;
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .build();
    let client: Client<_, Empty<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
    let uri = format!("{endpoint}/").parse().map_err(|error| unreachable(format!("{error}")))?;
    let start = Timestamp::now();
    let response = timeout(STORE_PATIENCE, client.get(uri))
        .await
        .map_err(|_| unreachable(format!("no answer within {} s", STORE_PATIENCE.as_secs())))?
        .map_err(|error| unreachable(causes(&error)))?;
    if response.status().is_server_error() {
        return Err(unreachable(format!("HTTP {}", response.status())));
    }
    let date = response.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
    Ok(Answer { offset: date.and_then(|date| offset(date, start, Timestamp::now())) })
}

/// All messages of an error and its sources: the outer one alone says nothing.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn tls(ca_bundle: Option<&str>) -> Result<ClientConfig, String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(ca_bundle)?)
        .with_no_client_auth())
}

/// The well-known authorities and the bundle's, as the workers have it: both ends must agree on who is
/// trusted, or a Region is Ready whose workers fail.
fn roots(ca_bundle: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // A root that this library can't use is no reason to trust none.
        drop(roots.add(certificate));
    }
    for certificate in CertificateDer::pem_slice_iter(ca_bundle.unwrap_or_default().as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

/// The clock's offset by a `Date` header, which has whole seconds only: what lies within the time of
/// the request, give or take that second, is none.
fn offset(date: &str, start: Timestamp, end: Timestamp) -> Option<SignedDuration> {
    let date = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    let second = SignedDuration::from_secs(1);
    if date + second >= start && date <= end + second {
        return Some(SignedDuration::ZERO);
    }
    Some(SignedDuration::from_secs(start.duration_until(date).as_secs()))
}

/// Asks a database for its greeting, in the words of the engine that its URI names.
///
/// # Errors
/// Why there was none, within some seconds.
pub async fn ask_database(uri: &str) -> Result<(), String> {
    match uri.strip_prefix("mongodb://") {
        Some(_) => mongod::ask(uri).await,
        None => ask_mysql(uri).await,
    }
}

/// Asks a MySQL or MariaDB server for its greeting, and ends the conversation as a client would that is
/// not known: a server counts connections that break off against their host, and blocks it in the end.
///
/// # Errors
/// Why there was no greeting, within three seconds.
pub async fn ask_mysql(uri: &str) -> Result<(), String> {
    let url = url::Url::parse(uri).map_err(|error| error.to_string())?;
    let host = url.host_str().ok_or("the URI names no host")?;
    let port = url.port().unwrap_or(3306);
    match timeout(DATABASE_PATIENCE, greet(host, port)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no greeting within {} s", DATABASE_PATIENCE.as_secs())),
    }
}

async fn greet(host: &str, port: u16) -> io::Result<()> {
    let mut stream = TcpStream::connect((host, port)).await?;
    let (_, greeting) = packet(&mut stream).await?;
    match greeting.first() {
        Some(10) => {}
        // An error is an answer too: too many connections, or a host that is blocked.
        Some(0xff) => return Ok(()),
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the answer is no greeting of MySQL or MariaDB",
            ));
        }
    }
    // The greeting is what was asked for; taking leave may fail.
    if let Err(error) = take_leave(&mut stream).await {
        tracing::debug!(host, port, %error, "conversation broke off after the greeting");
    }
    Ok(())
}

async fn take_leave(stream: &mut TcpStream) -> io::Result<()> {
    // CLIENT_PROTOCOL_41 | CLIENT_SECURE_CONNECTION, 16 MiB packets, utf8mb4; no password.
    let mut hello = Vec::from([0x00, 0x82, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 45]);
    hello.extend([0; 23]);
    hello.extend(b"farshore-probe\0\0");
    send(stream, 1, &hello).await?;
    for _ in 0..3 {
        let (sequence, answer) = packet(stream).await?;
        if answer.first() != Some(&0xfe) {
            return Ok(());
        }
        send(stream, sequence.wrapping_add(1), &[]).await?;
    }
    Ok(())
}

async fn packet(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let length = usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
    if length == 0 || length > 4096 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the answer is no greeting of MySQL or MariaDB",
        ));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((header[3], body))
}

async fn send(stream: &mut TcpStream, sequence: u8, body: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::from([u8::try_from(body.len()).unwrap_or(u8::MAX), 0, 0, sequence]);
    bytes.extend(body);
    stream.write_all(&bytes).await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_clock_is_off_only_by_what_the_request_does_not_explain() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (start, end) = (at("2026-11-21T08:00:00.4Z"), at("2026-11-21T08:00:00.6Z"));
        for (date, seconds) in [
            ("Sat, 21 Nov 2026 08:00:00 GMT", 0),
            ("Sat, 21 Nov 2026 08:00:01 GMT", 0),
            ("Sat, 21 Nov 2026 08:20:00 GMT", 1199),
            ("Sat, 21 Nov 2026 07:40:00 GMT", -1200),
        ] {
            assert_eq!(offset(date, start, end).unwrap().as_secs(), seconds, "{date}");
        }
    }

    /// Serves one answer to all; `asked`: only after it was asked something, as HTTP has it.
    async fn serving(asked: bool, answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if asked {
                    drop(stream.read(&mut [0; 1024]).await);
                }
                stream.write_all(answer).await.unwrap();
                let mut rest = Vec::new();
                drop(timeout(Duration::from_millis(200), stream.read_to_end(&mut rest)).await);
            }
        });
        format!("{address}")
    }

    #[tokio::test]
    async fn b05_a_greeting_tells_a_database_from_an_open_port() {
        let greeting = serving(false, b"\x05\0\0\0\x0a10.1").await;
        assert_eq!(ask_mysql(&format!("mysql://{greeting}")).await, Ok(()));
        let other = serving(false, b"SSH-2.0-OpenSSH_9.9\r\n").await;
        assert!(ask_mysql(&format!("mysql://{other}")).await.is_err());
        assert!(ask_mysql("mysql://127.0.0.1:1").await.is_err());
    }

    fn store(endpoint: &str) -> ObjectStoreSpec {
        serde_json::from_value(serde_json::json!({"endpoint": endpoint})).unwrap()
    }

    #[tokio::test]
    async fn p08_a_refusal_is_an_answer_and_an_error_is_none() {
        let refusing = serving(true, b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
        assert!(ask_store(&store(&format!("http://{refusing}"))).await.is_ok());
        let broken = serving(true, b"HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\n\r\n").await;
        let error = ask_store(&store(&format!("http://{broken}"))).await.unwrap_err();
        assert_eq!(error.reason, "StoreUnreachable");
        assert!(error.message.contains(&broken), "{}", error.message);
        assert!(ask_store(&store("http://127.0.0.1:1")).await.is_err());
    }

    #[test]
    fn a_ca_bundle_without_certificates_is_named() {
        assert!(tls(Some("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")).is_err());
        assert!(tls(None).is_ok());
    }

    #[test]
    fn a_ca_bundle_is_trusted_besides_the_well_known_authorities() {
        let key = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(["ca".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        let (all, known) = (roots(Some(&own)).unwrap(), roots(None).unwrap());
        assert_eq!(all.len(), known.len() + 1);
        assert!(known.roots.iter().all(|root| all.roots.contains(root)));
    }
}
