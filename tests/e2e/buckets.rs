//! The regions' buckets, reached from the machine by the Services' addresses.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use aws_sdk_s3::{
    config::{BehaviorVersion, Credentials as SdkCredentials, Region},
    types::{Event, NotificationConfiguration, QueueConfiguration},
};
use bytes::Bytes;
use farshore::store::{
    GetOptions, ListRequest, ListVersionsRequest, Listed, ObjectStore, PutOptions,
    credentials::Credentials,
    s3::{S3Config, S3Store},
};
use futures::TryStreamExt;

use crate::cluster::{SOURCE, TARGET, get, kubeconfig, kubectl_path, secret_value, store_secret};

/// A bucket and the runtime that its requests run on: these stories are plain blocking tests.
pub struct Bucket {
    store: S3Store,
    endpoint: String,
    /// Key and secret.
    keys: [String; 2],
    runtime: tokio::runtime::Runtime,
}

/// A bucket of a region, opened with the region's root credentials.
pub fn open(region: &str, bucket: &str) -> Bucket {
    let (endpoint, keys) = address(region);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let store = runtime.block_on(async { store(region, bucket) });
    Bucket { store, endpoint, keys, runtime }
}

/// The same, for who has a runtime.
pub fn store(region: &str, bucket: &str) -> S3Store {
    let (endpoint, keys) = address(region);
    S3Store::new(S3Config::new(&endpoint, bucket, Credentials::fixed(&keys[0], &keys[1]))).expect("a store")
}

/// Where a region's store listens, with its root credentials.
fn address(region: &str) -> (String, [String; 2]) {
    let service =
        get("service", region, "minio").unwrap_or_else(|| panic!("no MinIO in {region}: is the demo up?"));
    let address = service["spec"]["clusterIP"].as_str().expect("a Service has an address");
    (
        format!("http://{address}:9000"),
        ["rootUser", "rootPassword"].map(|key| secret_value(region, "minio", key)),
    )
}

/// Has the store tell one of its targets of what happens in the bucket.
pub fn have_told(bucket: &Bucket, target: &str) {
    let [user, password] = &bucket.keys;
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&bucket.endpoint)
        .force_path_style(true)
        .credentials_provider(SdkCredentials::new(user, password, None, None, "tests"));
    let queue = QueueConfiguration::builder()
        .queue_arn(target)
        .events(Event::S3ObjectCreated)
        .events(Event::S3ObjectRemoved)
        .build()
        .expect("all is there");
    let wanted = NotificationConfiguration::builder().queue_configurations(queue).build();
    let set = aws_sdk_s3::Client::from_conf(config.build()).put_bucket_notification_configuration();
    let set = set.bucket(bucket.store.bucket()).notification_configuration(wanted);
    bucket.runtime.block_on(set.send()).expect("the store knows the target");
}

/// Makes a bucket in a region.
pub fn make(region: &str, bucket: &str) {
    let bucket = open(region, bucket);
    bucket.runtime.block_on(bucket.store.create_bucket()).expect("a bucket");
}

/// Makes a bucket in both regions, with a Secret `source` and `target` in the namespace for each.
pub fn pair(namespace: &str, bucket: &str) -> [Bucket; 2] {
    [(SOURCE, "source"), (TARGET, "target")].map(|(region, secret)| {
        make(region, bucket);
        let key = |name: &str| secret_value(region, "minio", name);
        store_secret(namespace, secret, &key("rootUser"), &key("rootPassword"));
        open(region, bucket)
    })
}

/// Writes so many small objects, under a thousand names each.
pub fn fill(bucket: &Bucket, count: usize) {
    use futures::StreamExt;
    let put = |n: usize| {
        let body = Bytes::from(format!("object {n}"));
        async move {
            let key = format!("{:02}/{n:06}", n / 1000);
            bucket.store.put(&key, body, &PutOptions::default()).await.expect("it is written");
        }
    };
    bucket.runtime.block_on(futures::stream::iter(0..count).map(put).buffer_unordered(32).collect::<()>());
}

/// Every current object under a prefix.
pub fn list(bucket: &Bucket, prefix: &str) -> Vec<Listed> {
    bucket.runtime.block_on(async {
        let mut request = ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() };
        let mut all = Vec::new();
        loop {
            let page = bucket.store.list(&request).await.expect("a page");
            all.extend(page.objects);
            match page.next {
                Some(token) => request.token = Some(token),
                None => return all,
            }
        }
    })
}

/// Every object under a prefix with its content.
pub fn read_all(bucket: &Bucket, prefix: &str) -> Vec<(String, Bytes)> {
    let keys = list(bucket, prefix);
    bucket.runtime.block_on(async {
        let mut all = Vec::new();
        for listed in keys {
            let reply = bucket.store.get(&listed.key, &GetOptions::default()).await.expect("an object");
            let chunks: Vec<Bytes> = reply.body.try_collect().await.expect("its body");
            all.push((listed.key, chunks.concat().into()));
        }
        all
    })
}

/// Writes an object.
pub fn write(bucket: &Bucket, key: &str, bytes: Bytes) {
    bucket.runtime.block_on(bucket.store.put(key, bytes, &PutOptions::default())).expect("it is written");
}

/// Deletes an object.
pub fn delete(bucket: &Bucket, key: &str) {
    bucket.runtime.block_on(bucket.store.delete(key, None)).expect("it is deleted");
}

/// Number of versions and delete markers under a prefix.
pub fn versions(bucket: &Bucket, prefix: &str) -> usize {
    bucket.runtime.block_on(async {
        let mut request = ListVersionsRequest { prefix: prefix.to_owned(), ..ListVersionsRequest::default() };
        let mut count = 0;
        loop {
            let page = bucket.store.list_versions(&request).await.expect("a page");
            count += page.versions.len();
            match page.next {
                Some(marker) => request.marker = Some(marker),
                None => return count,
            }
        }
    })
}

/// Number of open uploads under a prefix.
pub fn uploads(bucket: &Bucket, prefix: &str) -> usize {
    bucket.runtime.block_on(bucket.store.list_uploads(prefix)).expect("uploads").len()
}

/// The real MariaDB set of the samples: names below the prefix, and contents.
pub fn sample_files() -> Vec<(String, Bytes)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/mariadb/objects");
    let mut files = Vec::new();
    collect(&root, &root, &mut files);
    assert!(files.len() > 10, "the sample set lies in {}", root.display());
    files
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, Bytes)>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            files.push((name, std::fs::read(&path).expect("a file").into()));
        }
    }
}

/// Feeds bytes to a command in a container.
pub fn pipe_into_pod(namespace: &str, pod: &str, container: &str, script: &str, bytes: &[u8]) {
    let mut child = Command::new(kubectl_path())
        .env("KUBECONFIG", kubeconfig())
        .args(["exec", "-i", "-n", namespace, pod, "-c", container, "--", "bash", "-ec", script])
        .stdin(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    child.stdin.take().expect("stdin is piped").write_all(bytes).expect("it reads");
    assert!(child.wait().expect("it ends").success(), "{script}");
}
