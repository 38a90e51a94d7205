//! A MinIO of a test's own that posts what happens in its buckets to an address.

use std::{net::SocketAddr, path::Path, process::Command};

use aws_sdk_s3::{
    config::{BehaviorVersion, Credentials, Region},
    types::{Event, NotificationConfiguration, QueueConfiguration},
};

use crate::stores;

/// User and password of the server.
pub type Keys<'a> = (&'a str, &'a str);

/// The command of a server that posts with a token.
pub fn minio(
    address: SocketAddr,
    (user, password): Keys<'_>,
    token: &str,
) -> impl FnOnce(u16, &Path) -> Command + use<> {
    let environment = [
        ("MINIO_ROOT_USER", user.to_owned()),
        ("MINIO_ROOT_PASSWORD", password.to_owned()),
        ("MINIO_BROWSER", "off".to_owned()),
        ("MINIO_UPDATE", "off".to_owned()),
        ("MINIO_NOTIFY_WEBHOOK_ENABLE_FARSHORE", "on".to_owned()),
        ("MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_FARSHORE", token.to_owned()),
        ("MINIO_NOTIFY_WEBHOOK_ENDPOINT_FARSHORE", format!("http://{address}/")),
    ];
    move |port, folder| {
        let mut command = Command::new(stores::endpoint("FARSHORE_TEST_MINIO_PROGRAM"));
        command
            .args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")])
            .arg(folder.join("data"))
            .envs(environment);
        command
    }
}

/// Has the server tell of what happens in a bucket.
pub async fn notify(endpoint: &str, (user, password): Keys<'_>, bucket: &str) {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .credentials_provider(Credentials::new(user, password, None, None, "tests"));
    let queue = QueueConfiguration::builder()
        .queue_arn("arn:minio:sqs::FARSHORE:webhook")
        .events(Event::S3ObjectCreated)
        .events(Event::S3ObjectRemoved)
        .build()
        .unwrap();
    let wanted = NotificationConfiguration::builder().queue_configurations(queue).build();
    let set = aws_sdk_s3::Client::from_conf(config.build()).put_bucket_notification_configuration();
    set.bucket(bucket).notification_configuration(wanted).send().await.unwrap();
}
