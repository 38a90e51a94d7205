//! The whole course, with a program that stands in for `pbm`: it notes what it is asked, and answers.

use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use jiff::Timestamp;

use super::*;
use crate::{
    backup::records::Service,
    restore::{Reporter, look},
    store::{ObjectStore, memory::MemoryStore},
};

const PBM: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/asked"
[ "$PBM_MONGODB_URI" = "$(cat "$here/../cluster/uri")" ] || exit 9
cat >/dev/null
case "$*" in
*--file=*) cp "${2#--file=}" "$here/config" ;;
status*) echo '(none)' ;;
'restore --help') echo ' --yes' ;;
restore*) [ -e "$here/refuse" ] && { echo "Error: connect $PBM_MONGODB_URI with $AWS_SECRET_ACCESS_KEY" >&2; exit 1; } ;;
esac
exit 0
"#;

struct Bench {
    folder: tempfile::TempDir,
    course: Course,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["bin", "cluster", "keys"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        for (name, text) in [
            ("bin/pbm", PBM),
            ("cluster/uri", "mongodb://pbm:pass%40word@rs0-0:27017/?replicaSet=new0\n"),
            ("keys/AWS_ACCESS_KEY_ID", "agent"),
            ("keys/AWS_SECRET_ACCESS_KEY", "s/e+cret"),
        ] {
            std::fs::write(path(name), text).unwrap();
        }
        std::fs::set_permissions(path("bin/pbm"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let course = Course {
            work: path("work"),
            programs: Some(path("bin")),
            cluster: path("cluster"),
            copy: place(),
            credentials: path("keys"),
            settings: Settings {
                signing_region: "east".into(),
                renamed: vec![("new0".into(), "rs0".into())],
                ..Settings::default()
            },
        };
        Self { folder, course }
    }

    fn note(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join("bin").join(name)).unwrap_or_default()
    }

    async fn restore(&self, format: Format) -> Result<Reached, AtStep> {
        let store = MemoryStore::new("b");
        let service = Service {
            version: 1,
            source: place(),
            engine: "MongoDB".into(),
            format,
            owner: "shop/copy".into(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        store.seed(
            "sessions/.farshore/service.json",
            serde_json::to_vec(&service).unwrap(),
            Timestamp::UNIX_EPOCH,
        );
        let plan = plan().await;
        let store: Arc<dyn ObjectStore> = Arc::new(store);
        let reporter = Reporter::new(plan.bytes);
        restore(&plan, &Origin { store, prefix: "sessions/".into(), reporter }, &self.course).await
    }
}

fn place() -> Place {
    Place { endpoint: "https://store.example".into(), bucket: "b".into(), prefix: "sessions/".into() }
}

/// Of the sample of such a set.
async fn plan() -> Plan {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/pbm");
    let store = MemoryStore::new("b");
    for line in std::fs::read_to_string(folder.join("listing.jsonl")).unwrap().lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = row["key"].as_str().unwrap();
        let body = std::fs::read(folder.join(key)).unwrap_or_else(|_| b"x".to_vec());
        store.seed(key, body, row["lastModified"].as_str().unwrap().parse().unwrap());
    }
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    let at = "2026-11-20T00:30:00Z".parse().unwrap();
    look(&store, "", &Format::PerconaMongoDB, Some(at)).await.unwrap().1
}

#[tokio::test]
async fn b08_a_stand_in_of_percona_backup_is_told_the_copy_and_the_moment() {
    let bench = Bench::new();
    let reached = bench.restore(Format::PerconaMongoDB).await.unwrap();
    assert_eq!(reached.time_point, "2026-11-20T00:30:00Z".parse().unwrap());
    let asked = bench.note("asked");
    let last = asked.trim_end().lines().last().unwrap();
    assert!(
        last.starts_with("restore --time=") && last.ends_with("--replset-remapping=new0=rs0 --wait --yes"),
        "{last}"
    );
    let config: serde_json::Value = serde_yaml_ng::from_str(&bench.note("config")).unwrap();
    let s3 = &config["storage"]["s3"];
    assert_eq!((&s3["bucket"], &s3["prefix"]), (&"b".into(), &"sessions".into()));
    assert_eq!(s3["credentials"]["secret-access-key"], "s/e+cret");
    // Nothing but the script is left, and no secret is in it or was among arguments.
    let left: Vec<_> =
        std::fs::read_dir(&bench.course.work).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["restore.sh"]);
    let script = std::fs::read_to_string(bench.course.work.join("restore.sh")).unwrap();
    for secret in ["s/e+cret", "pass%40word"] {
        assert!(!asked.contains(secret) && !script.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn b08_p07_what_percona_backup_says_is_told_without_what_it_was_given() {
    let bench = Bench::new();
    std::fs::write(bench.folder.path().join("bin/refuse"), "").unwrap();
    let failed = bench.restore(Format::PerconaMongoDB).await.unwrap_err();
    assert_eq!((failed.step, failed.error.reason()), (Step::Fetch, "ToolFailed"));
    assert!(failed.to_string().contains("Error: connect *** with ***"), "{failed}");
}

#[tokio::test]
async fn b08_no_agent_is_asked_for_what_it_can_not_do() {
    let bench = Bench::new();
    let failed = bench.restore(Format::WalGMongoDB).await.unwrap_err();
    assert!(failed.to_string().contains("for sets of Percona Backup for MongoDB"), "{failed}");
    for (file, text, words) in [
        ("cluster/uri", "", "uriSecretRef has no key uri"),
        ("cluster/uri", "https://pbm", "uriSecretRef has no key uri"),
        ("keys/AWS_SESSION_TOKEN", "x1y2z3", "can't be temporary ones"),
    ] {
        let bench = Bench::new();
        std::fs::write(bench.folder.path().join(file), text).unwrap();
        let failed = bench.restore(Format::PerconaMongoDB).await.unwrap_err();
        assert!(failed.to_string().contains(words) && failed.error.is_permanent(), "{failed}");
        assert_eq!(bench.note("asked"), "");
    }
    std::fs::remove_file(bench.folder.path().join("bin/pbm")).unwrap();
    let failed = bench.restore(Format::PerconaMongoDB).await.unwrap_err();
    assert_eq!(failed.error.reason(), "ToolMissing");
}
