//! The program as it is typed: help, bad input, and how it ends. Nothing else is running.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may")]

#[path = "support/shown.rs"]
mod shown;

use std::{path::Path, process::Command, sync::Arc};

use farshore::{
    backup::{
        catalog::{Format, Object},
        records::{Fact, Manifest, Service, Stored, claim},
        sync::Place,
    },
    store::{ETag, memory::MemoryStore},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How the program ended.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn farshore(args: &[&str], environment: &[(&str, &str)]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_farshore"))
        .args(args)
        .env_clear()
        .env("KUBECONFIG", "/nonexistent/kubeconfig")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let ended = Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!ended.err.contains("panicked"), "{args:?}: {}", ended.err);
    ended
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hush")];

#[test]
fn each_command_tells_its_flags() {
    for (command, flags) in [
        (
            "",
            &["controller", "worker", "backup", "crds", "protected", "completions", "--log", "--version"][..],
        ),
        (
            "controller",
            &["--regions", "--watch-namespaces", "--worker-image", "--listen", "--lease-name", "--namespace"],
        ),
        ("worker", &["sync", "purge"]),
        ("worker sync", &["--task", "--task-hash", "--run-id", "--source-credentials", "--termination-log"]),
        ("worker purge", &["--task", "--task-hash", "--run-id", "--target-credentials", "--health-address"]),
        ("backup", &["inspect", "plan", "extract", "purge", "restore-mongodb"]),
        ("backup extract", &["<S3-URL>", "--into", "--at", "--format", "--endpoint", "increment-1"]),
        ("backup restore-mongodb", &["<S3-URL>", "--at", "--endpoint", "FARSHORE_MONGODB_URI"]),
        ("backup inspect", &["<S3-URL>", "--format", "--at", "--output", "--endpoint", "--credentials-dir"]),
        ("backup purge", &["<S3-URL>", "--source", "--source-endpoint", "--yes", "--output", "--ca-bundle"]),
        ("crds", &["--dir"]),
        ("protected", &["--force"]),
        ("completions", &["bash", "zsh", "fish"]),
    ] {
        let args: Vec<_> = command.split_whitespace().chain(["--help"]).collect();
        let help = farshore(&args, &[]);
        assert_eq!(help.code, Some(0), "{command}: {}", help.err);
        for flag in flags {
            assert!(help.out.contains(flag), "{command} --help does not tell {flag}:\n{}", help.out);
        }
    }
}

#[test]
fn the_version_has_a_commit() {
    let version = farshore(&["--version"], &[]);
    let commit = version.out.trim().strip_prefix(concat!("farshore ", env!("CARGO_PKG_VERSION"), " ("));
    let commit = commit.and_then(|rest| rest.strip_suffix(')')).unwrap_or_else(|| panic!("{}", version.out));
    assert!(commit == "unknown" || commit.chars().all(|c| c.is_ascii_hexdigit()), "{commit}");
    assert_eq!(version.code, Some(0));
}

#[test]
fn completions_are_there_for_the_common_shells() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = farshore(&["completions", shell], &[]);
        assert_eq!(script.code, Some(0), "{shell}");
        assert!(script.out.contains("farshore") && script.out.contains("task-hash"), "{shell}");
    }
    assert_eq!(farshore(&["completions", "cmd"], &[]).code, Some(2));
}

#[test]
fn definitions_are_printed_or_written() {
    let printed = farshore(&["crds"], &[]).out;
    assert_eq!(printed.matches("kind: CustomResourceDefinition").count(), 6);
    let folder = TempDir::new().unwrap();
    let below = folder.path().join("new");
    assert_eq!(farshore(&["crds", "--dir", below.to_str().unwrap()], &[]).code, Some(0));
    assert_eq!(std::fs::read_dir(&below).unwrap().count(), 6);
    let failed = farshore(&["crds", "--dir", "/proc/nowhere"], &[]);
    assert_eq!(failed.code, Some(1));
    assert!(failed.err.contains("/proc/nowhere"), "{}", failed.err);
}

#[test]
fn wrong_usage_ends_with_2_and_names_the_argument() {
    for (line, words) in [
        ("", "Usage"),
        ("inspct", "inspct"),
        ("--log-format yaml crds", "--log-format"),
        ("controller", "--worker-image"),
        ("controller --worker-image i --listen here", "--listen"),
        ("worker", "Usage"),
        ("worker sync", "--task"),
        ("worker sync --task f --task-hash h", "--run-id"),
        ("worker copy", "copy"),
        ("backup inspect", "<S3-URL>"),
        ("backup inspect s3://b --format pbm", "--endpoint"),
        ("backup inspect s3://b --endpoint http://x --format sqlserver", "--utc-offset"),
        ("backup inspect s3://b --endpoint http://x --format tar", "--format"),
        ("backup inspect s3://b --endpoint http://x --format files", "--full"),
        ("backup inspect s3://b --endpoint http://x --format pbm --output xml", "--output"),
        ("backup extract s3://b --endpoint http://x", "--into"),
        ("backup purge s3://b --endpoint http://x --source s3://a", "--source-endpoint"),
    ] {
        let args: Vec<_> = line.split_whitespace().collect();
        let ended = farshore(&args, &KEYS);
        assert_eq!(ended.code, Some(2), "{line}: {}", ended.err);
        assert!(ended.err.contains(words), "{line}: {}", ended.err);
    }
}

/// Words of the failure of a command that could not do what it was asked.
fn failure(line: &str, environment: &[(&str, &str)]) -> String {
    let args: Vec<_> = line.split_whitespace().collect();
    let ended = farshore(&args, environment);
    assert_eq!(ended.code, Some(1), "{line}: {}", ended.err);
    assert!(ended.err.starts_with("error: "), "{line}: {}", ended.err);
    assert!(!ended.err.contains("hush"), "{line}: a secret in {}", ended.err);
    ended.err
}

#[test]
fn p06_bad_input_names_the_argument_and_the_next_step() {
    let inspect = "backup inspect --format pbm";
    for (line, argument, step) in [
        (format!("{inspect} bucket/folder --endpoint http://x"), "S3-URL", "s3://bucket/folder"),
        (format!("{inspect} https://x/b --endpoint http://x"), "S3-URL", "s3://bucket/folder"),
        (format!("{inspect} s3:///folder --endpoint http://x"), "S3-URL", "s3://bucket/folder"),
        (format!("{inspect} s3://b --endpoint nonsense"), "nonsense", "is not"),
        (format!("{inspect} s3://b --endpoint ftp://x"), "ftp://x", "https://host[:port]"),
        (format!("{inspect} s3://b --endpoint http://x --at yesterday"), "--at", "2026-11-21T02:14:06Z"),
        (format!("{inspect} s3://b --endpoint http://x --ca-bundle /nowhere/ca.pem"), "/nowhere/ca.pem", ""),
        (
            format!("{inspect} s3://b --endpoint http://x --credentials-dir /nowhere"),
            "/nowhere/AWS_ACCESS_KEY_ID",
            "",
        ),
        (
            "backup inspect s3://b --endpoint http://x --format files --full (".to_owned(),
            "--full",
            "a regular expression like",
        ),
        (
            "backup purge s3://b --endpoint http://x --source there --source-endpoint http://y".to_owned(),
            "--source",
            "s3://bucket/folder",
        ),
    ] {
        let told = failure(&line, &KEYS);
        assert!(told.contains(argument) && told.contains(step), "{line}: {told}");
    }
}

#[test]
fn p06_missing_keys_are_named_with_the_next_step() {
    let line = "backup inspect s3://b --endpoint http://x --format pbm";
    for (environment, name) in [
        (vec![], "AWS_ACCESS_KEY_ID is not set"),
        (vec![KEYS[0]], "AWS_SECRET_ACCESS_KEY is not set"),
        (vec![KEYS[1]], "AWS_ACCESS_KEY_ID is not set"),
    ] {
        let told = failure(line, &environment);
        assert!(told.contains(name) && told.contains("--credentials-dir"), "{told}");
    }
}

fn place(endpoint: &str, bucket: &str, prefix: &str) -> Place {
    Place { endpoint: endpoint.into(), bucket: bucket.into(), prefix: prefix.into() }
}

/// A bucket `b` with a copy of two objects in the folder `f`, and somebody's notes.
async fn copied() -> MemoryStore {
    let (bucket, now) = (MemoryStore::new("b"), Timestamp::UNIX_EPOCH);
    let service = Service {
        version: 1,
        source: place("http://y", "a", "f/"),
        engine: "MySQL".into(),
        format: Format::MariaDBOperator,
        owner: "shop/orders".into(),
        created_at: now,
    };
    claim(&bucket, &place("http://x", "b", "f/"), &service).await.unwrap();
    let mut facts = Vec::new();
    for (key, body) in [("base.xb", "a base"), ("log.000001", "a log")] {
        let (key, etag) = (key.to_owned(), ETag("tag".into()));
        let object =
            Object { key, stored_as: None, stored_etag: None, size: body.len() as u64, etag, modified: now };
        facts.push((object.key.clone(), Fact::Stored(Stored::of(&object, None))));
        bucket.seed(&format!("f/{}", object.key), body, now);
    }
    bucket.seed("f/notes.txt", "mine", now);
    Manifest::new(Arc::new(bucket.clone()), "f/", true).append(now, facts).await.unwrap();
    bucket
}

#[tokio::test]
async fn p06_b11_a_purge_without_yes_counts_says_the_command_and_only_reads() {
    let (endpoint, requests) = shown::show(&copied().await);
    let purge = ["backup", "purge", "s3://b/f", "--source", "s3://a/f/", "--source-endpoint", "http://y/"];
    let args = [&purge[..], &["--endpoint", &endpoint]].concat();
    let counted = farshore(&args, &KEYS);
    assert_eq!(counted.code, Some(0), "{}", counted.err);
    let command = format!("{} --yes", args.join(" "));
    for words in
        ["s3://a/f/ at http://y\n", "2 objects in 2 versions (11 B)", "1 objects of others", &command]
    {
        assert!(counted.out.contains(words), "{words}: {}", counted.out);
    }

    let answer = farshore(&[&args[..], &["--output", "json"]].concat(), &KEYS);
    let answer: Value = serde_json::from_str(&answer.out).unwrap();
    let copy = json!({"objects": 2, "versions": 2, "bytes": 11, "uploads": 0, "foreign": 1});
    assert_eq!((&answer["deleted"], &answer["copy"]), (&json!(false), &copy), "{answer}");
    assert!(answer["command"].as_str().unwrap().ends_with(" --output json --yes"), "{answer}");

    let other: Vec<_> = args.iter().map(|word| word.replace("s3://a/f/", "s3://other/")).collect();
    let refused = failure(&other.join(" "), &KEYS);
    assert!(refused.contains("holds the copy of s3://a/f/ at http://y"), "{refused}");

    let nothing: Vec<_> = args.iter().map(|word| word.replace("s3://b/f", "s3://b/g")).collect();
    let nothing = farshore(&nothing.iter().map(String::as_str).collect::<Vec<_>>(), &KEYS);
    assert_eq!(nothing.code, Some(0), "{}", nothing.err);
    assert!(
        nothing.out.contains("s3://b/g/ holds no copy") && !nothing.out.contains("--yes"),
        "{}",
        nothing.out
    );
    let requests = requests.lock().unwrap();
    assert!(requests.iter().all(|request| request.starts_with("GET ")), "{requests:?}");
}

#[test]
fn without_a_cluster_the_failure_says_what_is_missing() {
    let told = failure("protected", &[]);
    assert!(told.contains("the services can't be listed"), "{told}");
    failure("controller --worker-image i --listen 127.0.0.1:0", &[]);
}

// ---- a worker's end: the controller reads the exit code and the last words

struct Worker {
    folder: TempDir,
    text: String,
}

impl Worker {
    fn new(change: impl FnOnce(&mut Value)) -> Self {
        let mut task = json!({
            "version": 1,
            "owner": {"kind": "BackupSyncService", "namespace": "databases", "name": "orders", "uid": "1",
                      "generation": 1},
            "work": {"purge": {
                "sourceEndpoint": "http://north", "sourceBucket": "backups", "sourcePrefix": "orders/",
                "target": {"region": "east", "endpoint": "http://127.0.0.1:1", "signingRegion": "us-east-1",
                           "addressing": "Path", "bucket": "dr-backups", "prefix": "orders/"},
            }},
        });
        change(&mut task);
        let worker = Self { folder: TempDir::new().unwrap(), text: task.to_string() };
        worker.write("task.json", &worker.text);
        worker
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Runs it; the exit code, and the last words.
    fn run(&self, hash: &str) -> (Option<i32>, Value) {
        let (task, target, log) = (self.path("task.json"), self.path("target"), self.path("log"));
        let args = [
            ["worker", "purge"],
            ["--task", &task],
            ["--task-hash", hash],
            ["--run-id", "1"],
            ["--target-credentials", &target],
            ["--termination-log", &log],
            ["--health-address", "off"],
        ];
        let ended = farshore(args.as_flattened(), &[]);
        assert!(!ended.err.contains("hush"), "a secret in {}", ended.err);
        for line in ended.err.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "a worker logs JSON: {line}");
        }
        let words = std::fs::read_to_string(Path::new(&log)).unwrap_or_else(|_| panic!("{}", ended.err));
        (ended.code, serde_json::from_str(&words).unwrap())
    }

    fn hash(&self) -> String {
        farshore::task::hash(&self.text)
    }
}

fn says(words: &Value, reason: &str, all: &[&str]) {
    assert_eq!(words["reason"], reason, "{words}");
    let message = words["message"].as_str().unwrap();
    assert!(all.iter().all(|word| message.contains(word)), "{all:?}: {message}");
}

#[test]
fn p11_a_task_that_is_not_the_one_meant_ends_for_good() {
    let worker = Worker::new(|_| {});
    let (code, words) = worker.run("0123456789abcdef");
    assert_eq!(code, Some(10));
    says(&words, "InvalidTask", &["task.json", "0123456789abcdef", &worker.hash(), "delete the Job"]);
}

#[test]
fn p11_a_task_of_another_version_or_shape_ends_for_good() {
    let newer = Worker::new(|task| task["version"] = json!(7));
    let (code, words) = newer.run(&newer.hash());
    assert_eq!(code, Some(10));
    says(&words, "InvalidTask", &["task.json", "version 7", "same image"]);

    let odd = Worker::new(|task| task["work"] = json!({"mow": {}}));
    let (code, words) = odd.run(&odd.hash());
    assert_eq!(code, Some(10));
    says(&words, "InvalidTask", &["task.json", "mow"]);

    let gone = Worker::new(|_| {});
    std::fs::remove_file(gone.path("task.json")).unwrap();
    let (code, words) = gone.run(&gone.hash());
    assert_eq!(code, Some(10));
    says(&words, "InvalidTask", &["task.json"]);
}

#[test]
fn p08_a_secret_without_a_key_is_denied_so_that_mending_it_heals() {
    let worker = Worker::new(|_| {});
    let (code, words) = worker.run(&worker.hash());
    assert_eq!(code, Some(11));
    let file = worker.path("target/AWS_ACCESS_KEY_ID");
    says(&words, "CredentialsMissing", &[&file, "add it to the Secret"]);
    assert_eq!(words["side"], "Target");

    worker.write("target/AWS_ACCESS_KEY_ID", "id");
    worker.write("target/AWS_SECRET_ACCESS_KEY", " \n");
    let (code, words) = worker.run(&worker.hash());
    assert_eq!(code, Some(11));
    let file = worker.path("target/AWS_SECRET_ACCESS_KEY");
    says(&words, "CredentialsMissing", &[&file, "it is empty"]);
}

#[test]
fn p08_a_store_that_does_not_answer_is_unreachable() {
    let worker = Worker::new(|_| {});
    worker.write("target/AWS_ACCESS_KEY_ID", "id");
    worker.write("target/AWS_SECRET_ACCESS_KEY", "hush");
    let (code, words) = worker.run(&worker.hash());
    assert_eq!(code, Some(12));
    says(&words, "StoreUnreachable", &["s3://dr-backups", "http://127.0.0.1:1"]);
    assert_eq!(words["side"], "Target");
}

#[test]
fn a_health_address_that_is_none_is_named() {
    let line = "worker purge --task f --task-hash h --run-id 1 --health-address somewhere";
    let told = failure(line, &[]);
    assert!(told.contains("--health-address") && told.contains("[::]:8081, or off"), "{told}");
}

/// A store that takes requests and never answers.
fn silent_store() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).collect::<Vec<_>>());
    endpoint
}

/// An address that was free a moment ago.
fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Status line of an answer, if there is one.
fn asked(address: &str, path: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut socket = std::net::TcpStream::connect(address).ok()?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    Some(answer.lines().next()?.to_owned())
}

#[test]
fn b11_a_long_purge_answers_its_probes_and_ends_when_asked_to() {
    let worker = Worker::new(|task| task["work"]["purge"]["target"]["endpoint"] = json!(silent_store()));
    worker.write("target/AWS_ACCESS_KEY_ID", "id");
    worker.write("target/AWS_SECRET_ACCESS_KEY", "hush");
    let (address, log, hash) = (free_address(), worker.path("log"), worker.hash());
    let (task, target) = (worker.path("task.json"), worker.path("target"));
    let mut purge = Command::new(env!("CARGO_BIN_EXE_farshore"))
        .args(["worker", "purge", "--task", &task, "--task-hash", &hash, "--run-id", "1"])
        .args(["--target-credentials", &target, "--termination-log", &log, "--health-address", &address])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begin = std::time::Instant::now();
    let answers = loop {
        let answers = [asked(&address, "/healthz"), asked(&address, "/readyz")];
        if answers.iter().all(Option::is_some) || begin.elapsed().as_secs() > 10 {
            break answers;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    let pid = purge.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let code = purge.wait().unwrap().code();
    assert_eq!(answers.map(Option::unwrap_or_default), ["HTTP/1.1 200 OK", "HTTP/1.1 200 OK"]);
    assert_eq!(code, Some(15), "it ends by itself, not by the signal");
    let words = std::fs::read_to_string(&log).unwrap();
    says(&serde_json::from_str(&words).unwrap(), "Terminated", &["stopped"]);
}

#[test]
fn b08_a_server_in_recovery_takes_only_a_file_that_is_not_there_for_the_end_of_its_log() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let archive = json!({
        // Nobody listens there.
        "address": {"endpoint": "http://127.0.0.1:1", "signingRegion": "east", "bucket": "dr", "prefix": "",
            "credentials": path("keys")},
        "index": path("index"),
        "spool": path("spool"),
    });
    std::fs::write(path("archive.json"), archive.to_string()).unwrap();
    std::fs::write(path("index"), "00000001000000000000000A\t10\twals/00000001000000000000000A.gz\n")
        .unwrap();
    let get =
        |name: &str| farshore(&["wal-get", "--archive", &path("archive.json"), name, &path("log")], &[]).code;
    assert_eq!(get("00000002.history"), Some(1), "no such file: the log ends");
    assert_eq!(get("00000001000000000000000A"), Some(200), "it should be there: the server must stop");
    let farshore = |args: &[&str]| farshore(args, &[]).code;
    assert_eq!(farshore(&["wal-get", "--archive", &path("none.json"), "A", &path("log")]), Some(200));
    assert_eq!(farshore(&["wal-get", "--nonsense"]), Some(202));
}

#[test]
fn b08_a_restore_takes_the_new_instances_address_from_the_environment_alone() {
    let args = ["backup", "restore-mongodb", "s3://b/o", "--endpoint", "http://127.0.0.1:1"];
    let run = farshore(&args, &KEYS);
    assert_ne!(run.code, Some(0));
    assert!(run.err.contains("FARSHORE_MONGODB_URI is not set"), "{}", run.err);
}
