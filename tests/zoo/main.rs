//! `farshore copy`, as typed, judged by another client: `tests/zoo/fill.py` writes the objects that copying tools
//! trip over, `tests/compare.py` compares both buckets field by field.
//!
//! Needs `FARSHORE_TEST_PYTHON` (`make test`, or `dev/build python`) and the stores.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests may")]

#[path = "../support/moto.rs"]
mod moto;
#[path = "../support/stores.rs"]
mod stores;

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use farshore::store::{Attributes, ObjectStore, PutOptions, Tags, s3::S3Store};
use serde_json::{Value, json};

use moto::Moto;

/// A bucket and where it is.
struct Side {
    store: S3Store,
    endpoint: String,
}

impl Side {
    async fn new(endpoint: &str, locks: bool) -> Self {
        Self::at(stores::endpoint(endpoint), locks).await
    }

    async fn at(endpoint: String, locks: bool) -> Self {
        let store = S3Store::new(stores::config(&endpoint, &stores::fresh_name())).unwrap();
        let made = if locks { store.create_bucket_with_locks().await } else { store.create_bucket().await };
        made.unwrap();
        Self { store, endpoint }
    }

    fn url(&self) -> String {
        format!("s3://{}", self.store.bucket())
    }
}

/// Runs a program that gets its keys from the environment, as a person would.
fn typed(program: &Path, arguments: &[&str]) -> Output {
    let keys = stores::credentials().current().unwrap();
    Command::new(program)
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", &keys.access_key)
        .env("AWS_SECRET_ACCESS_KEY", keys.secret_key.reveal())
        .output()
        .unwrap()
}

fn interpreter() -> String {
    std::env::var("FARSHORE_TEST_PYTHON")
        .expect("FARSHORE_TEST_PYTHON is not set: run `make test`, or take the python of `dev/build python`")
}

fn python(script: &str, arguments: &[&str]) -> Output {
    let script = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
    typed(interpreter().as_ref(), &[&[script.as_str()], arguments].concat())
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn filled(endpoint: &str, locks: bool) -> Side {
    let side = Side::new(endpoint, locks).await;
    let stored = fill(&side, if locks { &["--locks"] } else { &[] });
    assert!(stored > 60);
    side
}

/// How many objects the store has taken.
fn fill(side: &Side, more: &[&str]) -> u64 {
    let output = python("zoo/fill.py", &[&[side.url().as_str(), &side.endpoint], more].concat());
    assert!(output.status.success(), "{}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("the source refuses {:#}", told["refused"]);
    told["stored"].as_u64().unwrap()
}

/// Exit code and words of `farshore copy` or `farshore compare`.
fn farshore(command: &str, source: &Side, target: &Side, more: &[&str]) -> (bool, Value) {
    let farshore = Path::new(env!("CARGO_BIN_EXE_farshore"));
    let ends = ["--source-endpoint", &source.endpoint, "--target-endpoint", &target.endpoint];
    let sides = [command, "--json", &source.url(), &target.url()];
    let output = typed(farshore, &[&sides, &ends[..], more].concat());
    let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    (output.status.success(), told)
}

fn copy(source: &Side, target: &Side, more: &[&str]) -> Value {
    let (well, told) = farshore("copy", source, target, more);
    assert_eq!(well, told["failed"]["count"] == 0, "{told:#}");
    told
}

fn compared(source: &Side, target: &Side, told: &Value, more: &[&str]) -> Output {
    let file = std::env::temp_dir().join(stores::fresh_name());
    std::fs::write(&file, told.to_string()).unwrap();
    let ends = ["--source-endpoint", &source.endpoint, "--target-endpoint", &target.endpoint];
    let told = ["--told", file.to_str().unwrap()];
    let sides = [source.url(), target.url()];
    let sides = sides.each_ref().map(String::as_str);
    let output = python("compare.py", &[&sides, &ends[..], &told[..], more].concat());
    std::fs::remove_file(&file).unwrap();
    println!("{}", said(&output));
    output
}

fn assert_exact(source: &Side, target: &Side) -> Value {
    let told = copy(source, target, &[]);
    assert!(compared(source, target, &told, &[]).status.success(), "{told:#}");
    told
}

#[tokio::test]
async fn c02_c15_p06_every_attribute_of_the_zoo_goes_from_minio_to_minio() {
    let source = filled("FARSHORE_TEST_MINIO_A", true).await;
    let told = assert_exact(&source, &Side::new("FARSHORE_TEST_MINIO_B", true).await);
    assert_eq!((&told["failed"]["count"], &told["incomplete"]["count"]), (&0.into(), &0.into()), "{told:#}");
}

#[tokio::test]
async fn c02_c15_p06_what_versity_takes_of_the_zoo_is_equal_and_the_rest_is_named() {
    let source = filled("FARSHORE_TEST_MINIO_A", true).await;
    let told = assert_exact(&source, &Side::new("FARSHORE_TEST_VERSITY", true).await);
    assert!(told["failed"]["count"].as_u64().unwrap() > 0, "a file system refuses some: {told:#}");
    assert_eq!(told["incomplete"]["count"], 0, "{told:#}");
    let told = assert_exact(&source, &Side::new("FARSHORE_TEST_VERSITY", false).await);
    assert_eq!(told["incomplete"]["count"], 6, "locks, in a bucket without: {told:#}");
}

#[tokio::test]
async fn c02_c15_p06_what_versity_holds_of_the_zoo_comes_back_to_minio() {
    let source = filled("FARSHORE_TEST_VERSITY", false).await;
    assert_exact(&source, &Side::new("FARSHORE_TEST_MINIO_A", false).await);
}

/// The judge is judged: what was changed behind the copy's back is found.
#[tokio::test]
async fn c02_the_comparison_finds_what_is_not_equal() {
    let (source, target) =
        (Side::new("FARSHORE_TEST_MINIO_A", false).await, Side::new("FARSHORE_TEST_MINIO_B", false).await);
    let metadata = [("a".to_owned(), "1".to_owned())].into();
    let options = PutOptions {
        attributes: Attributes { metadata, ..Attributes::default() },
        tags: [("t".to_owned(), "1".to_owned())].into(),
        ..PutOptions::default()
    };
    for key in ["content", "metadata", "tags", "gone"] {
        source.store.put(key, "1".into(), &options).await.unwrap();
    }
    let told = assert_exact(&source, &target);
    target.store.put("content", "2".into(), &options).await.unwrap();
    let plain = PutOptions { tags: options.tags.clone(), ..PutOptions::default() };
    target.store.put("metadata", "1".into(), &plain).await.unwrap();
    target.store.put_tags("tags", &Tags::new()).await.unwrap();
    target.store.delete("gone", None).await.unwrap();
    target.store.put("more", "1".into(), &options).await.unwrap();
    let output = compared(&source, &target, &told, &[]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1));
    for wrong in [
        "! content of 'content'",
        "! etag of 'content'",
        "! metadata of 'metadata'",
        "! tags of 'tags'",
        "! 'gone' is not at the target, which takes such a name",
        "! 'more' is at the target only",
    ] {
        assert!(told.contains(wrong), "{wrong}: {told}");
    }
}

#[tokio::test]
async fn c02_the_time_of_the_last_write_goes_over_where_the_target_holds_it() {
    let source = Side::new("FARSHORE_TEST_VERSITY", false).await;
    for key in ["small", "folder/small"] {
        source.store.put(key, "1".into(), &PutOptions::default()).await.unwrap();
    }
    // Times are told in seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let target = Side::new("FARSHORE_TEST_MINIO_A", false).await;
    let told = copy(&source, &target, &["--created", "replica"]);
    assert_eq!(told["incomplete"]["count"], 0, "{told:#}");
    assert!(compared(&source, &target, &told, &["--modified"]).status.success());
    let back = Side::new("FARSHORE_TEST_VERSITY", false).await;
    let told = copy(&target, &back, &["--created", "replica"]);
    assert_eq!(told["incomplete"]["count"], 2, "named, since it was asked for: {told:#}");
    assert_eq!(told["incomplete"]["examples"][0]["lacks"], "creation time");
    let named = Side::new("FARSHORE_TEST_VERSITY", false).await;
    copy(&source, &named, &["--created", "metadata=created"]);
    let (here, there) = (source.store.head("small").await.unwrap(), named.store.head("small").await.unwrap());
    assert_eq!(there.attributes.metadata["created"], here.modified.to_string());
}

/// moto's account, and those of `fill.py`.
const OWNER: &str = "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a";

#[tokio::test]
async fn c02_c15_access_control_lists_go_over_in_the_targets_names() {
    let (here, there) = (Moto::start(&interpreter()), Moto::start(&interpreter()));
    let (source, target) =
        (Side::at(here.endpoint.clone(), false).await, Side::at(there.endpoint.clone(), false).await);
    assert_eq!(fill(&source, &["--acl"]), 8);
    let (ann, bob, anna) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
    let file = std::env::temp_dir().join(stores::fresh_name());
    let accounts = file.to_str().unwrap();

    std::fs::write(&file, json!({OWNER: OWNER, &ann: anna}).to_string()).unwrap();
    let told = copy(&source, &target, &["--accounts", accounts]);
    assert_eq!(told["incomplete"]["count"], 2, "{told:#}");
    for lacking in told["incomplete"]["examples"].as_array().unwrap() {
        assert!(lacking["key"].as_str().unwrap().contains("all-of-them"), "{lacking}");
        assert_eq!(lacking["why"], format!("the table of accounts has no id at the target for {bob}"));
    }
    let (equal, told) = farshore("compare", &source, &target, &["--accounts", accounts, "--attributes"]);
    assert_eq!((equal, &told["otherAttributes"]["count"]), (false, &2.into()), "{told:#}");

    std::fs::write(&file, json!({OWNER: OWNER, &ann: anna, &bob: bob}).to_string()).unwrap();
    let told = copy(&source, &target, &["--accounts", accounts, "--attributes"]);
    assert_eq!(
        (&told["otherAttributes"]["broughtInLine"], &told["incomplete"]["count"]),
        (&2.into(), &0.into())
    );
    assert!(compared(&source, &target, &told, &["--acl", accounts]).status.success());
    let flags = ["--accounts", accounts, "--attributes"];
    let (equal, told) = farshore("compare", &source, &target, &flags);
    assert!(equal, "{told:#}");

    // Where there are no lists, those who had one are named; MinIO takes them and says nothing.
    let without = Side::new("FARSHORE_TEST_MINIO_A", false).await;
    let told = copy(&source, &without, &["--accounts", accounts]);
    assert_eq!(told["incomplete"]["count"], 6, "{told:#}");
    assert!(compared(&source, &without, &told, &["--acl", accounts]).status.success());
    let told = copy(&source, &Side::new("FARSHORE_TEST_MINIO_B", false).await, &[]);
    assert_eq!(told["incomplete"]["count"], 0, "nobody asked for them");
    std::fs::remove_file(&file).unwrap();
}
