//! `farshore copy` and `farshore compare`, as typed, between real stores.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use farshore::store::{Attributes, ListRequest, ObjectStore, PutOptions, s3::S3Store};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::{
    proxy::{Break, Proxy},
    stores,
    suite::noise,
};

/// Keys that tools trip over.
const ZOO: [&str; 18] = [
    "plain",
    "a/b/c",
    "a//b",
    "/leading",
    "with space",
    "plus+and%25percent",
    "quote\"and'",
    "emoji-\u{1f40b}",
    "e\u{301}-and-\u{e9}",
    "tab\tand-control-\u{1}",
    "question?hash#amp&eq=",
    "semi;colon:at@dollar$comma,",
    "back\\slash",
    "tilde~star*paren()",
    "angle<>brace{}pipe|caret^tick`",
    "trailing.",
    "...dots",
    "x-a",
];

struct Side {
    store: S3Store,
    endpoint: String,
}

async fn minio() -> Side {
    Side { store: stores::minio_a().await, endpoint: stores::endpoint("FARSHORE_TEST_MINIO_A") }
}

async fn minio_b() -> Side {
    Side { store: stores::minio_b().await, endpoint: stores::endpoint("FARSHORE_TEST_MINIO_B") }
}

async fn versity() -> Side {
    Side { store: stores::versity().await, endpoint: stores::endpoint("FARSHORE_TEST_VERSITY") }
}

async fn farshore(command: &str, source: &Side, target: &Side, more: &[&str]) -> (Output, Value) {
    let mut typed = typed(command, source, target, more);
    let output = tokio::task::spawn_blocking(move || typed.output().unwrap()).await.unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, told)
}

fn typed(command: &str, source: &Side, target: &Side, more: &[&str]) -> Command {
    let buckets = [source, target].map(|side| format!("s3://{}", side.store.bucket()));
    let mut typed = between(command, buckets, (source, target));
    typed.args(more);
    typed
}

fn between(command: &str, places: [String; 2], (source, target): (&Side, &Side)) -> Command {
    let keys = stores::credentials().current().unwrap();
    let mut typed = Command::new(env!("CARGO_BIN_EXE_farshore"));
    typed
        .arg(command)
        .args(places)
        .args(["--source-endpoint", &source.endpoint, "--target-endpoint", &target.endpoint, "--json"])
        .env("SOURCE_AWS_ACCESS_KEY_ID", &keys.access_key)
        .env("SOURCE_AWS_SECRET_ACCESS_KEY", keys.secret_key.reveal())
        .env("AWS_ACCESS_KEY_ID", &keys.access_key)
        .env("AWS_SECRET_ACCESS_KEY", keys.secret_key.reveal());
    typed
}

fn options(n: usize) -> PutOptions {
    let attributes = Attributes {
        content_type: Some("text/x-test".into()),
        cache_control: Some("max-age=60".into()),
        content_disposition: Some("attachment".into()),
        metadata: [("number".to_owned(), n.to_string()), ("word".to_owned(), "gr\u{fc}n".to_owned())].into(),
        ..Attributes::default()
    };
    PutOptions { attributes, ..PutOptions::default() }
}

/// Keys that this store takes.
async fn fill(store: &S3Store) -> Vec<&'static str> {
    let mut kept = Vec::new();
    for (n, key) in ZOO.into_iter().enumerate() {
        match store.put(key, noise(1000 * n, n as u64), &options(n)).await {
            Ok(_) => kept.push(key),
            Err(error) => println!("{key:?} can't be stored: {error}"),
        }
    }
    kept
}

async fn copies_exactly(source: Side, target: Side) {
    let keys = fill(&source.store).await;
    assert!(keys.len() > 10, "{keys:?}");
    let (output, told) = farshore("copy", &source, &target, &[]).await;
    println!("{told:#} {}", String::from_utf8_lossy(&output.stderr));
    for key in &keys {
        // What a store can't hold or spell is named; nothing is left out in silence.
        let spelt = key.replace('\u{1}', "\u{fffd}");
        let failures = told["failed"]["examples"].as_array().unwrap();
        let named = failures.iter().any(|f| f["key"] == **key || f["key"] == *spelt);
        match target.store.head(key).await {
            Ok(there) => {
                let here = source.store.head(key).await.unwrap();
                assert_eq!((there.size, &there.etag), (here.size, &here.etag), "{key:?}");
                assert!(here.attributes.are_kept_as(&there.attributes), "{key:?}: {there:?}");
            }
            Err(error) => assert!(named, "{key:?} is neither there nor named: {error}"),
        }
    }
    let failed = told["failed"]["count"].as_u64().unwrap();
    assert_eq!(output.status.success(), failed == 0);
    assert_eq!(told["copied"]["objects"].as_u64().unwrap() + failed, keys.len() as u64);
    let (output, told) = farshore("compare", &source, &target, &[]).await;
    assert_eq!(output.status.success(), failed == 0, "{told:#}");
    assert_eq!(told["equal"].as_u64().unwrap() + failed, keys.len() as u64);
}

#[tokio::test]
async fn c15_p06_minio_to_versity_every_key_is_copied_or_named() {
    copies_exactly(minio().await, versity().await).await;
}

#[tokio::test]
async fn c15_p06_versity_to_minio_every_key_is_copied_or_named() {
    copies_exactly(versity().await, minio().await).await;
}

#[tokio::test]
async fn c17_p06_a_comparison_names_what_differs_and_a_mirror_settles_it() {
    let (source, target) = (minio().await, versity().await);
    let put = async |store: &S3Store, key: &str, content: &'static str| {
        store.put(key, Bytes::from(content), &PutOptions::default()).await.unwrap();
    };
    put(&source.store, "same", "1").await;
    put(&target.store, "same", "1").await;
    put(&source.store, "other", "1").await;
    put(&target.store, "other", "2").await;
    put(&source.store, "here", "1").await;
    put(&target.store, "there", "1").await;
    let (output, told) = farshore("compare", &source, &target, &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(told["equal"], 1);
    for (kind, key) in [("differing", "other"), ("onlyAtSource", "here"), ("onlyAtTarget", "there")] {
        assert_eq!((&told[kind]["count"], &told[kind]["examples"][0]), (&1.into(), &key.into()), "{told:#}");
    }
    let (output, _) = farshore("copy", &source, &target, &["--dry-run", "--delete"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(target.store.head("here").await.is_err(), "a dry run copies nothing");
    let (output, told) = farshore("copy", &source, &target, &["--delete"]).await;
    assert!(output.status.success(), "{told:#}");
    assert_eq!((&told["copied"]["objects"], &told["deleted"]), (&2.into(), &1.into()));
    assert!(farshore("compare", &source, &target, &[]).await.0.status.success());
}

/// What a proxy in trouble answers instead of a page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c14_p06_a_listing_that_breaks_on_its_third_page_deletes_nothing() {
    let (source, target) = (minio().await, minio().await);
    let body = Bytes::from_static(b"1");
    for n in 0..2500 {
        let key = format!("k{n:05}");
        target.store.put(&key, body.clone(), &PutOptions::default()).await.unwrap();
        if n % 5 > 0 {
            source.store.put(&key, body.clone(), &PutOptions::default()).await.unwrap();
        }
    }
    for how in [Break::Html, Break::Shorten(900), Break::Error(403, "AccessDenied")] {
        let proxy = Proxy::before(&source.endpoint).await;
        proxy.breaks("GET", "list-type=2", (2, u32::MAX), how.clone());
        let broken = Side { store: source.store.clone(), endpoint: proxy.endpoint.clone() };
        let (output, _) = farshore("copy", &broken, &target, &["--delete"]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{how:?}: {said}");
        assert!(said.contains("error: "), "{how:?}: {said}");
        let (_, told) = farshore("compare", &source, &target, &[]).await;
        assert_eq!(told["onlyAtTarget"]["count"], 500, "{how:?}: {said}");
    }
}

/// By hand: `FARSHORE_MC=…/mc cargo test --test store -- --ignored --nocapture what_mc`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement of another tool, for docs/soak.md"]
async fn c14_what_mc_mirror_remove_does_with_a_listing_that_breaks_on_its_third_page() {
    let body = Bytes::from_static(b"1");
    let faults = [
        ("none", None),
        ("a page of HTML", Some(Break::Html)),
        ("a page that is cut", Some(Break::Shorten(900))),
        ("403", Some(Break::Error(403, "AccessDenied"))),
        ("503", Some(Break::Error(503, "SlowDown"))),
        ("reset", Some(Break::Reset)),
    ];
    for (name, how) in faults {
        let (source, target) = (minio().await, minio().await);
        let puts = (0..3500).map(|n| {
            let (key, body, source, target) =
                (format!("k{n:05}"), body.clone(), &source.store, &target.store);
            async move {
                target.put(&key, body.clone(), &PutOptions::default()).await.unwrap();
                if n % 5 > 0 {
                    source.put(&key, body, &PutOptions::default()).await.unwrap();
                }
            }
        });
        stream::iter(puts).buffer_unordered(16).collect::<()>().await;
        let proxy = Proxy::before(&source.endpoint).await;
        if let Some(how) = how {
            proxy.breaks("GET", "list-type=2", (2, u32::MAX), how);
        }
        let keys = stores::credentials().current().unwrap();
        let host = |endpoint: &str| {
            let secret = keys.secret_key.reveal();
            endpoint.replace("http://", &format!("http://{}:{secret}@", keys.access_key))
        };
        let folder = tempfile::tempdir().unwrap();
        let mut typed = Command::new(std::env::var("FARSHORE_MC").unwrap());
        typed
            .arg("--config-dir")
            .arg(folder.path())
            .args(["mirror", "--remove", "--overwrite", "--quiet"])
            .arg(format!("here/{}", source.store.bucket()))
            .arg(format!("there/{}", target.store.bucket()))
            .env("MC_HOST_here", host(&proxy.endpoint))
            .env("MC_HOST_there", host(&target.endpoint));
        let output = tokio::task::spawn_blocking(move || typed.output().unwrap()).await.unwrap();
        let (_, told) = farshore("compare", &source, &target, &[]).await;
        let said = String::from_utf8_lossy(&output.stderr);
        println!(
            "{name}: {}; {} that the source has are gone at the target, {} of 700 extras stayed, {} requests; {}",
            output.status,
            told["onlyAtSource"]["count"],
            told["onlyAtTarget"]["count"],
            proxy.count("GET", "list-type=2"),
            said.lines().last().unwrap_or_default()
        );
    }
}

#[tokio::test]
async fn c06_p06_a_bucket_is_not_copied_onto_itself() {
    let source = minio().await;
    let again = Side { store: source.store.clone(), endpoint: source.endpoint.clone() };
    let (output, _) = farshore("copy", &source, &again, &[]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("the source itself"), "{said}");
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn p06_c03_a_copy_that_watches_goes_on_until_it_is_stopped() {
    let (source, target) = (minio().await, minio_b().await);
    source.store.put("before", Bytes::from_static(b"1"), &PutOptions::default()).await.unwrap();
    let more = ["--watch", "--delete"];
    let mut watching =
        typed("copy", &source, &target, &more).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let is_there = async |key: &str| target.store.head(key).await.is_ok();
    until("what was there is copied", async || is_there("before").await).await;
    source.store.put("after", Bytes::from_static(b"2"), &PutOptions::default()).await.unwrap();
    until("what is written is copied", async || is_there("after").await).await;
    source.store.delete("after", None).await.unwrap();
    until("what is deleted goes", async || !is_there("after").await).await;
    // A comparison that began when nothing happened any more.
    let (told, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let out = watching.stdout.take().unwrap();
    tokio::task::spawn_blocking(move || {
        for line in BufReader::new(out).lines() {
            drop(told.send(serde_json::from_str::<Value>(&line.unwrap()).unwrap()));
        }
    });
    let quiet = jiff::Timestamp::now();
    let last = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let line = lines.recv().await.expect("it goes on");
            if line["dealtWithUntil"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap() > quiet {
                return line;
            }
        }
    });
    let last = last.await.expect("it compares again");
    let stopped = Command::new("kill").arg(watching.id().to_string()).status().unwrap();
    assert!(stopped.success());
    let ended = tokio::task::spawn_blocking(move || watching.wait().unwrap()).await.unwrap();
    assert!(ended.success(), "{last:?}");
    assert_eq!((&last["agree"], &last["source"], &last["feed"]), (&json!(true), &json!(1), &json!("Listen")));
}

#[tokio::test]
async fn c02_p06_a_copy_that_watches_looks_at_attributes_where_that_is_asked_for() {
    let (source, target) = (minio().await, minio_b().await);
    let tags: farshore::store::Tags = [("t".to_owned(), "1".to_owned())].into();
    let tagged = PutOptions { tags: tags.clone(), ..PutOptions::default() };
    source.store.put("k", Bytes::from_static(b"1"), &tagged).await.unwrap();
    // Later, and alike but for its tags: a listing shows nothing of them.
    tokio::time::sleep(Duration::from_secs(4)).await;
    target.store.put("k", Bytes::from_static(b"1"), &PutOptions::default()).await.unwrap();
    let more = ["--watch", "--attributes"];
    let mut watching =
        typed("copy", &source, &target, &more).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the tags are there", async || target.store.tags("k").await.unwrap() == tags).await;
    watching.kill().unwrap();
    watching.wait().unwrap();
}

/// What is under a prefix goes under another one; what stands beside both is nobody's business.
async fn watches_a_prefix(source: Side, target: Side) {
    let put = async |side: &Side, key: &str| {
        side.store.put(key, Bytes::from(key.to_owned()), &PutOptions::default()).await.unwrap();
    };
    for key in ["in/before", "in/gone", "inside", "else"] {
        put(&source, key).await;
    }
    for key in ["out/extra", "out/deep/extra", "outside", "before", "in/before"] {
        put(&target, key).await;
    }
    let parts = [(&source, "in/"), (&target, "out/")];
    let mut command = between(
        "copy",
        parts.map(|(side, prefix)| format!("s3://{}/{prefix}", side.store.bucket())),
        (&source, &target),
    );
    command.args(["--watch", "--delete"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut watching = command.spawn().unwrap();
    let held = async || {
        let page = target.store.list(&ListRequest::default()).await.unwrap();
        page.objects.into_iter().map(|object| object.key).collect::<Vec<_>>()
    };
    let beside = ["before", "in/before", "outside"];
    let is = async |under: &[&str]| {
        let mut wanted = [&beside, under].concat();
        wanted.sort_unstable();
        held().await == wanted
    };
    until("what the target has too much goes", async || is(&["out/before", "out/gone"]).await).await;
    for key in ["in/after", "inner", "in\u{fc}/x"] {
        put(&source, key).await;
    }
    source.store.delete("in/gone", None).await.unwrap();
    source.store.delete("else", None).await.unwrap();
    until("changes are followed", async || is(&["out/after", "out/before"]).await).await;
    // Both prefixes are compared the same way without watching.
    let keys = parts.map(|(side, prefix)| format!("s3://{}/{prefix}", side.store.bucket()));
    let mut compare = between("compare", keys, (&source, &target));
    let compared = tokio::task::spawn_blocking(move || compare.output().unwrap()).await.unwrap();
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert!(compared.status.success(), "{compared:?}");
    assert!(is(&["out/after", "out/before"]).await, "{:?}", held().await);
}

#[tokio::test]
async fn p06_c03_c14_a_prefix_is_watched_as_a_store_tells_of_changes() {
    watches_a_prefix(minio().await, versity().await).await;
}

#[tokio::test]
async fn p06_c14_a_prefix_is_watched_where_no_store_tells_of_changes() {
    watches_a_prefix(versity().await, minio().await).await;
}

/// An object that is named as the prefix is has no name left: a request for that would be about the bucket.
#[tokio::test]
async fn p06_c14_an_object_named_as_the_prefix_is_refused_and_the_bucket_stays() {
    let (source, target) = (minio().await, minio_b().await);
    for key in ["p/", "p/1"] {
        source.store.put(key, Bytes::from_static(b"1"), &PutOptions::default()).await.unwrap();
    }
    let sides = [format!("s3://{}/p", source.store.bucket()), format!("s3://{}", target.store.bucket())];
    let mut command = between("copy", sides, (&source, &target));
    command.arg("--delete");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let failed = &told["failed"];
    assert_eq!(
        (output.status.code(), &failed["count"], &failed["examples"][0]["key"]),
        (Some(1), &json!(1), &json!("")),
        "{told:#}"
    );
    assert!(target.store.head("1").await.is_ok());
}
