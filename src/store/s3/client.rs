//! Builds the SDK's client.

use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError, future};
use aws_sdk_s3::config::{
    Credentials as SdkCredentials, IdentityCache, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
};

use super::{Addressing, S3Config, wire::Transport};
use crate::store::credentials::Credentials;

/// A client over the connections of the hot path.
pub(super) fn build(config: &S3Config, transport: &Transport) -> aws_sdk_s3::Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(config.patience.connect)
        .read_timeout(config.patience.answer)
        .build();
    let mut sdk = aws_sdk_s3::Config::builder()
        .behavior_version_latest()
        .region(Region::new(config.signing_region.clone()))
        .endpoint_url(config.endpoint.trim_end_matches('/'))
        .force_path_style(config.addressing == Addressing::Path)
        .http_client(transport.for_sdk())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::disabled())
        // Stalls are watched by us: the SDK counts a throttled source as a stalled store.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // Trailing checksums are refused by many stores (aws-sdk-rust#1240, versitygw#2274).
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .identity_cache(IdentityCache::no_cache());
    sdk = match config.credentials.current() {
        Some(_) => sdk.credentials_provider(CurrentKeys(config.credentials.clone())),
        None => sdk.allow_no_auth(),
    };
    aws_sdk_s3::Client::from_conf(sdk.build())
}

/// Gives an SDK whatever keys are current.
#[derive(Debug)]
pub(crate) struct CurrentKeys(pub Credentials);

impl ProvideCredentials for CurrentKeys {
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
