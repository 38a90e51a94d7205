//! What is set on a bucket itself.

use farshore::store::{
    Error, Expires, LifecycleFilter, LifecycleRule, ObjectStore, Tags, WebsiteRoute, memory::MemoryStore,
    s3::S3Store,
};

use crate::{process::Process, queues::aws, stores};

/// Rules of each kind that a store may know.
fn rules() -> Vec<LifecycleRule> {
    let tags: Tags = [("class", "scratch"), ("team", "a")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let filters = [
        LifecycleFilter { prefix: "logs/".into(), ..LifecycleFilter::default() },
        LifecycleFilter { prefix: "tmp/".into(), tags, ..LifecycleFilter::default() },
        LifecycleFilter { larger_than: Some(10), smaller_than: Some(5000), ..LifecycleFilter::default() },
    ];
    let expires = [
        Expires::After { days: 3 },
        Expires::On("2020-01-02T00:00:00Z".parse().unwrap()),
        Expires::After { days: 400 },
    ];
    let numbered = filters.into_iter().zip(expires).enumerate();
    numbered.map(|(n, (filter, expires))| LifecycleRule { id: format!("r{n}"), filter, expires }).collect()
}

async fn tells_its_lifecycle(store: &S3Store) {
    assert_eq!(store.lifecycle().await.unwrap(), []);
    store.set_lifecycle(&rules()).await.unwrap();
    assert_eq!(store.lifecycle().await.unwrap(), rules());
    store.set_lifecycle(&[]).await.unwrap();
    assert_eq!(store.lifecycle().await.unwrap(), []);
}

#[tokio::test]
async fn c10_minio_tells_its_lifecycle() {
    tells_its_lifecycle(&stores::minio_a().await).await;
}

#[tokio::test]
async fn c10_versity_has_none() {
    let store = stores::versity().await;
    assert!(matches!(store.set_lifecycle(&rules()).await, Err(Error::Unsupported { .. })));
    assert_eq!(store.lifecycle().await.unwrap(), []);
}

async fn keeps_tags(store: &dyn ObjectStore) {
    assert_eq!(store.bucket_tags().await.unwrap(), Tags::new());
    let tags: Tags = [
        ("owner", "team a"),
        (
            "farshore.dev/replicates-to",
            "2026-11-21 4be1a0de-1c2d-4e5f-8a9b-0123456789ab team-a/photos north/b.c_d",
        ),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into();
    store.put_bucket_tags(&tags).await.unwrap();
    assert_eq!(store.bucket_tags().await.unwrap(), tags);
    store.put_bucket_tags(&Tags::new()).await.unwrap();
    assert_eq!(store.bucket_tags().await.unwrap(), Tags::new());
}

#[tokio::test]
async fn c07_a_bucket_has_tags() {
    keeps_tags(&MemoryStore::new("b")).await;
    keeps_tags(&stores::minio_a().await).await;
    keeps_tags(&stores::versity().await).await;
}

#[tokio::test]
async fn c09_a_store_without_websites_sends_nobody_elsewhere() {
    for store in [stores::minio_a().await, stores::versity().await] {
        assert_eq!(store.website_routes().await.unwrap(), []);
    }
}

#[tokio::test]
async fn c09_a_website_tells_where_it_sends_readers() {
    use aws_sdk_s3::types::{Condition, IndexDocument, Redirect, RoutingRule, WebsiteConfiguration};
    let server = Process::start(aws).await;
    let bucket = stores::fresh_name();
    let store = S3Store::new(stores::config(&server.endpoint, &bucket)).unwrap();
    store.create_bucket().await.unwrap();
    assert_eq!(store.website_routes().await.unwrap(), []);
    let config = aws_sdk_s3::config::Builder::new()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .endpoint_url(&server.endpoint)
        .force_path_style(true)
        .credentials_provider(aws_sdk_s3::config::Credentials::new("id", "secret", None, None, "tests"));
    let client = aws_sdk_s3::Client::from_conf(config.build());
    let condition = Condition::builder().http_error_code_returned_equals("404").key_prefix_equals("img/");
    let redirect = Redirect::builder().host_name("origin.example");
    let rule = RoutingRule::builder().condition(condition.build()).redirect(redirect.build()).build();
    let index = IndexDocument::builder().suffix("index.html").build().unwrap();
    let website = WebsiteConfiguration::builder().index_document(index).routing_rules(rule).build();
    client.put_bucket_website().bucket(&bucket).website_configuration(website).send().await.unwrap();
    let route = WebsiteRoute {
        instead_of: Some(404),
        prefix: "img/".to_owned(),
        host: Some("origin.example".to_owned()),
    };
    assert_eq!(store.website_routes().await.unwrap(), [route]);
}

#[tokio::test]
async fn c07_a_bucket_that_is_gone_has_no_tags() {
    let config = stores::config(&stores::endpoint("FARSHORE_TEST_MINIO_A"), &stores::fresh_name());
    let store = S3Store::new(config).unwrap();
    // MinIO says of some of them that they have no tags, of others that they are not there.
    match store.bucket_tags().await {
        Ok(tags) => assert!(tags.is_empty(), "{tags:?}"),
        Err(error) => assert!(matches!(error, Error::NoSuchBucket(_)), "{error}"),
    }
}
