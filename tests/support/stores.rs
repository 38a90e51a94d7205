//! Real stores for tests: a fresh bucket each.

use std::time::Duration;

use farshore::store::{
    credentials::Credentials,
    s3::{Retry, S3Config, S3Store},
};

fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run `make test`, or source .dev/stores.env"))
}

/// The keys of the test stores.
pub fn credentials() -> Credentials {
    Credentials::fixed(variable("FARSHORE_TEST_ACCESS_KEY"), variable("FARSHORE_TEST_SECRET_KEY"))
}

/// Address of a test store, from its variable.
#[allow(dead_code, reason = "not every test binary needs it")]
pub fn endpoint(name: &str) -> String {
    variable(name)
}

/// A configuration with short patience, for tests of failures.
#[allow(dead_code, reason = "not every test binary needs it")]
pub fn config(endpoint: &str, bucket: &str) -> S3Config {
    let retry = Retry { pause: Duration::from_millis(10), ..Retry::default() };
    S3Config { retry, ..S3Config::new(endpoint, bucket, credentials()) }
}

/// A name that no other test has.
pub fn fresh_name() -> String {
    format!("farshore-test-{:016x}", fastrand::u64(..))
}

async fn fresh(name: &str) -> S3Store {
    let store = S3Store::new(config(&variable(name), &fresh_name())).unwrap();
    store.create_bucket().await.unwrap();
    store
}

/// An empty bucket on the first MinIO.
#[allow(dead_code, reason = "not every test binary needs it")]
pub async fn minio_a() -> S3Store {
    fresh("FARSHORE_TEST_MINIO_A").await
}

/// An empty bucket on the second MinIO.
#[allow(dead_code, reason = "not every test binary needs it")]
pub async fn minio_b() -> S3Store {
    fresh("FARSHORE_TEST_MINIO_B").await
}

/// An empty bucket on VersityGW.
#[allow(dead_code, reason = "not every test binary needs it")]
pub async fn versity() -> S3Store {
    fresh("FARSHORE_TEST_VERSITY").await
}
