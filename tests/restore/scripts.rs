//! Scripts for servers that were not to be had, as texts. `FARSHORE_WRITE_GOLDEN=1 cargo test --test restore
//! scripts` writes them anew.

use std::{path::Path, process::Command, sync::Arc};

use farshore::{
    backup::{
        catalog::{Format, sqlserver::Names},
        sync::Place,
    },
    restore::{Plan, look, pbm, sqlserver},
    store::{ObjectStore, memory::MemoryStore},
};
use jiff::Timestamp;

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/restore").join(name);
    if std::env::var_os("FARSHORE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == found, "{} differs; FARSHORE_WRITE_GOLDEN=1 writes:\n{found}", path.display());
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

async fn plan(store: &MemoryStore, format: &Format, at: &str) -> Plan {
    let store: Arc<dyn ObjectStore> = Arc::new(store.clone());
    look(&store, "", format, Some(time(at))).await.unwrap().1
}

fn place(endpoint: &str) -> Place {
    Place { endpoint: endpoint.into(), bucket: "dr-backups".into(), prefix: "orders/".into() }
}

fn dialect() -> sqlserver::Dialect {
    sqlserver::Dialect {
        utc_offset_seconds: 7200,
        folder: "/var/opt/mssql/data".into(),
        signing_region: "us-east-1".into(),
        virtual_hosted: false,
    }
}

fn names() -> Format {
    Format::SqlServer(Names { utc_offset_seconds: 7200, ..Names::default() })
}

/// Two databases, one of them striped and with a quote in its name; times in names are two hours ahead.
fn files() -> MemoryStore {
    let store = MemoryStore::new("b");
    let put = |database: &str, kind: &str, hhmm: &str, stripe: &str, written: &str| {
        let ending = if kind == "LOG" { "trn" } else { "bak" };
        let key = format!("sql1/{database}/{kind}/sql1_{database}_{kind}_20261120_{hhmm}00{stripe}.{ending}");
        store.seed(&key, "x", time(written));
    };
    for stripe in ["_1", "_2"] {
        put("Shop", "FULL", "0300", stripe, "2026-11-20T01:12:00Z");
    }
    put("Shop", "DIFF", "0330", "", "2026-11-20T01:31:00Z");
    put("Bob's", "FULL", "0305", "", "2026-11-20T01:06:00Z");
    for hhmm in ["0310", "0340", "0410"] {
        put("Shop", "LOG", hhmm, "", "2026-11-20T02:20:00Z");
        put("Bob's", "LOG", hhmm, "", "2026-11-20T02:20:00Z");
    }
    put("master", "FULL", "0300", "", "2026-11-20T01:00:30Z");
    store
}

#[tokio::test]
async fn b08_sql_server_is_told_to_restore_every_database_to_one_moment() {
    let plan = plan(&files(), &names(), "2026-11-20T02:00:00Z").await;
    let script = sqlserver::script(&plan, &place("https://store.example:9000"), &dialect()).unwrap();
    golden("sqlserver.sql", &script);
    // In the zone of the old server, and nothing is opened before all are there.
    assert!(script.contains("STOPAT = N'2026-11-20T04:00:00'"), "{script}");
    let opened = script.find("WITH RECOVERY").unwrap();
    assert!(script.rfind("RESTORE LOG").unwrap() < opened && !script.contains("master"), "{script}");
}

#[tokio::test]
async fn b08_sql_server_is_told_the_region_that_it_does_not_take_for_granted_and_the_buckets_own_host() {
    let plan = plan(&files(), &names(), "2026-11-20T02:00:00Z").await;
    let dialect =
        sqlserver::Dialect { signing_region: "eu-west-1".into(), virtual_hosted: true, ..dialect() };
    let script = sqlserver::script(&plan, &place("https://store.example"), &dialect).unwrap();
    let reading: Vec<_> = script.lines().filter(|line| line.contains("URL = ")).collect();
    assert!(reading.len() > 6);
    for line in reading {
        assert!(line.contains("{\"s3\": {\"region\":\"eu-west-1\"}}"), "{line}");
        assert!(line.contains("s3://dr-backups.store.example/orders/sql1/"), "{line}");
    }
    assert!(script.contains("CREATE CREDENTIAL [s3://dr-backups.store.example] "), "{script}");
}

#[tokio::test]
async fn b08_an_address_longer_than_sql_server_takes_is_refused_before_anything_is_made() {
    let plan = plan(&files(), &names(), "2026-11-20T02:00:00Z").await;
    let far = Place { prefix: format!("{}/", "a".repeat(200)), ..place("https://store.example") };
    let error = sqlserver::script(&plan, &far, &dialect()).unwrap_err();
    assert!(error.to_string().contains("more than 259 characters"), "{error}");
}

#[tokio::test]
async fn b08_what_sql_server_can_not_read_is_refused() {
    let store = files();
    let plan = plan(&store, &names(), "2026-11-20T02:00:00Z").await;
    let error = sqlserver::script(&plan, &place("http://store.example"), &dialect()).unwrap_err();
    assert!(error.to_string().contains("https endpoints only"), "{error}");
    let files = Format::Files { full: r".*\.bak".into(), incremental: None };
    let other = self::plan(&store, &files, "2026-11-20T01:06:00Z").await;
    let error = sqlserver::script(&other, &place("https://store.example"), &dialect()).unwrap_err();
    assert!(error.to_string().contains("its own tool restores it"), "{error}");
}

#[tokio::test]
async fn b08_a_name_that_sqlcmd_would_change_is_refused() {
    let store = MemoryStore::new("b");
    let key = "sql1/$(HOME)/FULL/sql1_x_FULL_20261120_030000.bak";
    store.seed(key, "x", time("2026-11-20T01:00:00Z"));
    let plan = plan(&store, &names(), "2026-11-20T01:00:00Z").await;
    let error = sqlserver::script(&plan, &place("https://store.example"), &dialect()).unwrap_err();
    assert!(error.to_string().contains("can't be given to sqlcmd"), "{error}");
}

fn pbm_set() -> MemoryStore {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/pbm");
    let store = MemoryStore::new("b");
    for line in std::fs::read_to_string(folder.join("listing.jsonl")).unwrap().lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = row["key"].as_str().unwrap();
        let body = std::fs::read(folder.join(key)).unwrap_or_else(|_| b"x".to_vec());
        store.seed(key, body, time(row["lastModified"].as_str().unwrap()));
    }
    store
}

#[tokio::test]
async fn b08_percona_agents_are_told_the_copy_the_base_and_the_end_of_the_second() {
    let plan = plan(&pbm_set(), &Format::PerconaMongoDB, "2026-11-20T00:30:00Z").await;
    let mut settings = pbm::Settings { signing_region: "cn-east-1".into(), ..pbm::Settings::default() };
    settings.renamed.push(("new0".into(), "rs0".into()));
    let script = pbm::script(&plan, &place("http://store.example:9000"), &settings).unwrap();
    golden("pbm.sh", &script);
    assert!(script.contains(&format!("--time={},4294967295", time("2026-11-20T00:30:00Z").as_second())));
    let checked = Command::new("sh").args(["-n", "-c", &script]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

/// The script runs against programs that only write down what they were asked: what the shell makes of it.
#[tokio::test]
async fn b08_the_script_for_percona_agents_keeps_the_keys_out_of_arguments() {
    let plan = plan(&pbm_set(), &Format::PerconaMongoDB, "2026-11-20T00:30:00Z").await;
    let copy = Place { prefix: "a\"b$HOME`x`/".into(), ..place("http://store.example:9000") };
    let settings = pbm::Settings { signing_region: "r".into(), ..pbm::Settings::default() };
    let script = pbm::script(&plan, &copy, &settings).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let fake = "#!/bin/sh\necho \"$*\" >>\"$LOG\"\ncase \"$*\" in *--file=*) f=${2#--file=}; cat \"$f\" >>\"$LOG.config\"; stat -c %a \"$f\" >>\"$LOG\";; status*) echo '(none)';; esac\n";
    let program = folder.path().join("pbm");
    std::fs::write(&program, fake).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let log = folder.path().join("log");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let run = Command::new("sh")
        .args(["-c", &script])
        .env("PATH", path)
        .env("LOG", &log)
        .envs([("AWS_ACCESS_KEY_ID", "key$1"), ("AWS_SECRET_ACCESS_KEY", "s/e+c")])
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let asked = std::fs::read_to_string(&log).unwrap();
    assert!(!asked.contains("s/e+c") && asked.contains("\n600\n"), "{asked}");
    assert!(asked.trim_end().ends_with("--base-snapshot=2026-11-20T00:00:00Z --wait"), "{asked}");
    let config: serde_json::Value =
        serde_yaml_ng::from_str(&std::fs::read_to_string(folder.path().join("log.config")).unwrap()).unwrap();
    let s3 = &config["storage"]["s3"];
    assert_eq!(s3["prefix"], "a\"b$HOME`x`");
    assert_eq!(s3["credentials"]["access-key-id"], "key$1");
    assert_eq!(s3["credentials"]["secret-access-key"], "s/e+c");
}
