//! Builds the SDK's client, and what is watched on each of its answers.

use std::sync::Arc;

use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError, future};
use aws_sdk_s3::config::{
    ConfigBag, Credentials as SdkCredentials, IdentityCache, Intercept, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, RuntimeComponents, StalledStreamProtectionConfig,
    interceptors::BeforeDeserializationInterceptorContextRef, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_smithy_http_client::{
    Builder as HttpBuilder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::box_error::BoxError;
use jiff::{SignedDuration, Timestamp};

use super::{Addressing, ClockOffset, S3Config};
use crate::store::{Error, Result, credentials::Credentials};

pub(super) fn build(config: &S3Config, clock: Arc<ClockOffset>) -> Result<aws_sdk_s3::Client> {
    check_endpoint(&config.endpoint)?;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(config.patience.connect)
        .read_timeout(config.patience.answer)
        .build();
    let mut sdk = aws_sdk_s3::Config::builder()
        .behavior_version_latest()
        .region(Region::new(config.signing_region.clone()))
        .endpoint_url(config.endpoint.trim_end_matches('/'))
        .force_path_style(config.addressing == Addressing::Path)
        .http_client(http_client(config.ca_bundle.as_deref())?)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::disabled())
        // Stalls are watched by us: the SDK counts a throttled source as a stalled store.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // Trailing checksums are refused by many stores (aws-sdk-rust#1240, versitygw#2274).
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .identity_cache(IdentityCache::no_cache())
        .interceptor(DateWatch(clock));
    sdk = match config.credentials.current() {
        Some(_) => sdk.credentials_provider(Signer(config.credentials.clone())),
        None => sdk.allow_no_auth(),
    };
    Ok(aws_sdk_s3::Client::from_conf(sdk.build()))
}

fn check_endpoint(endpoint: &str) -> Result<()> {
    let url = url::Url::parse(endpoint)
        .map_err(|e| Error::Config(format!("endpoint {endpoint:?} is not an address: {e}")))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none() {
        return Ok(());
    }
    Err(Error::Config(format!("endpoint {endpoint:?} is not of the form https://host[:port]")))
}

fn http_client(ca_bundle: Option<&str>) -> Result<aws_sdk_s3::config::SharedHttpClient> {
    let mut trust = TrustStore::default();
    if let Some(pem) = ca_bundle {
        check_bundle(pem)?;
        trust = trust.with_pem_certificate(pem.as_bytes());
    }
    let tls = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|e| Error::Config(format!("certificate bundle: {e}")))?;
    Ok(HttpBuilder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(tls).build_https())
}

/// The HTTP client panics on a bundle that it can't read, so it is read here first.
fn check_bundle(pem: &str) -> Result<()> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|e| Error::Config(format!("certificate bundle: {e}")))?;
        roots.add(certificate).map_err(|e| Error::Config(format!("certificate bundle: {e}")))?;
    }
    if roots.is_empty() {
        return Err(Error::Config("certificate bundle holds no certificate".to_owned()));
    }
    Ok(())
}

/// Gives the SDK whatever keys are current.
#[derive(Debug)]
struct Signer(Credentials);

impl ProvideCredentials for Signer {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let keys = self.0.current().map(|keys| {
            let token = keys.session_token.map(|t| t.reveal().to_owned());
            SdkCredentials::new(keys.access_key, keys.secret_key.reveal(), token, None, "farshore")
        });
        future::ProvideCredentials::ready(keys.ok_or_else(|| CredentialsError::not_loaded("no keys")))
    }
}

/// Notes the endpoint's clock from every answer.
#[derive(Debug)]
struct DateWatch(Arc<ClockOffset>);

impl Intercept for DateWatch {
    fn name(&self) -> &'static str {
        "DateWatch"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(theirs) = date.and_then(|d| jiff::fmt::rfc2822::parse(d).ok()) {
            // The header is cut to whole seconds: its moment was half a second later on average.
            let theirs = theirs.timestamp() + SignedDuration::from_millis(500);
            let ahead = theirs.duration_since(Timestamp::now()).as_millis();
            self.0.note(i64::try_from(ahead).unwrap_or(i64::MAX));
        }
        Ok(())
    }
}
