//! The whole course, with programs that stand in for `sqlservr` and `sqlcmd`: they note what they are told, by which
//! names their environment goes, and answer.

use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use jiff::Timestamp;

use super::*;
use crate::{
    backup::{catalog::sqlserver::Names, records::Service},
    restore::{Reporter, look},
    store::{ObjectStore, memory::MemoryStore},
};

/// Serves until it is told to end.
const SERVER: &str = r#"#!/bin/sh
here=$(dirname "$0")
env | grep -E '^(ACCEPT_EULA|MSSQL_PID|MSSQL_COLLATION|MSSQL_IP_ADDRESS)=' >"$here/server.env"
echo "$*" >"$here/server.args"
[ -e "$here/broken" ] && { echo 'it needs more memory'; exit 3; }
[ -n "$MSSQL_SA_PASSWORD" ] && echo "$MSSQL_SA_PASSWORD" >"$here/server.password"
while [ ! -e "$here/end" ]; do sleep 0.05; done
"#;

/// Answers as a server would, once it is up.
const CLIENT: &str = r#"#!/bin/sh
here=$(dirname "$0")
while [ $# -gt 0 ]; do [ "$1" = -i ] && script=$2; args="$args $1"; shift; done
[ -e "$here/server.password" ] && [ "$SQLCMDPASSWORD" = "$(cat "$here/server.password")" ] || { echo 'login failed' >&2; exit 1; }
name=$(basename "$script")
echo "$name$args" >>"$here/asked"
case $name in
question.sql)
  cat "$script" >>"$here/questions"
  case $(cat "$script") in
  *ProductMajorVersion*) cat "$here/version" ;;
  *state_desc*) printf 'Shop\tONLINE\nOdd ]name\t%s\n' "$(cat "$here/state")" ;;
  *CHECKDB*Odd*) [ -e "$here/damaged" ] && { echo 'page 1:7 is damaged' >&2; exit 1; } ;;
  *COUNT*) echo '42  ' ;;
  esac ;;
restore.sql)
  cp "$script" "$here/restore.sql"
  echo "$S3_ACCESS_KEY:$S3_SECRET_KEY" >"$here/keys"
  [ -e "$here/refuse" ] && { echo 'Msg 3201, Cannot open backup device' >&2; exit 1; } ;;
login.sql)
  cp "$script" "$here/login.sql"
  echo "$FARSHORE_ADMIN_NAME $FARSHORE_ADMIN_PASSWORD" >"$here/login" ;;
shutdown.sql) touch "$here/end" ;;
esac
exit 0
"#;

struct Bench {
    folder: tempfile::TempDir,
    store: Arc<dyn ObjectStore>,
    plan: Plan,
    settings: Settings,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["bin", "volume", "keys", "volume/old"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        for (name, text) in [("sqlservr", SERVER), ("sqlcmd", CLIENT)] {
            std::fs::write(path("bin").join(name), text).unwrap();
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(path("bin").join(name), mode).unwrap();
        }
        for (name, text) in [
            ("bin/version", "16"),
            ("bin/state", "ONLINE"),
            ("keys/AWS_ACCESS_KEY_ID", "reader"),
            ("keys/AWS_SECRET_ACCESS_KEY", "s/e+cret"),
        ] {
            std::fs::write(path(name), text).unwrap();
        }
        let copy =
            Place { endpoint: "https://store.example".into(), bucket: "b".into(), prefix: "orders/".into() };
        let settings = Settings {
            terms: Some(Terms {
                edition: "Developer".into(),
                collation: Some("Latin1_General_CI_AS".into()),
            }),
            volume: path("volume"),
            home: "/var/opt/mssql".into(),
            work: path("work"),
            programs: Some(path("bin")),
            arguments: vec!["-T1222".into()],
            admin: Some(Admin { name: "Zoë".into(), password: "it's $(HOME)".into() }),
            checks: vec!["SELECT COUNT(*) FROM Shop.dbo.orders".into()],
            check_tables: true,
            copy: copy.clone(),
            signing_region: "us-east-1".into(),
            virtual_hosted: false,
            ca_bundle: None,
            credentials: path("keys"),
        };
        let (store, plan) = Self::copy(&copy).await;
        Self { folder, store, plan, settings }
    }

    /// A copy of ours, whose record says in which zone its server is.
    async fn copy(place: &Place) -> (Arc<dyn ObjectStore>, Plan) {
        let store = MemoryStore::new("b");
        for database in ["Shop", "Odd ]name"] {
            for (kind, hhmm, ending, written) in [
                ("FULL", "0300", "bak", "01:06"),
                ("LOG", "0310", "trn", "01:11"),
                ("LOG", "0400", "trn", "02:01"),
            ] {
                let key = format!("orders/sql1/{database}/{kind}/x_{kind}_20261120_{hhmm}00.{ending}");
                store.seed(&key, "x", format!("2026-11-20T{written}:00Z").parse().unwrap());
            }
        }
        let format = Format::SqlServer(Names { utc_offset_seconds: 7200, ..Names::default() });
        let seen: Arc<dyn ObjectStore> = Arc::new(store.clone());
        let at = "2026-11-20T01:30:00Z".parse().unwrap();
        let (_, plan) = look(&seen, "orders/", &format, Some(at)).await.unwrap();
        let service = Service {
            version: 1,
            source: Place { endpoint: "https://north.example".into(), ..place.clone() },
            engine: "SQLServer".into(),
            format,
            owner: "shop/copy".into(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        store.seed(
            "orders/.farshore/service.json",
            serde_json::to_vec(&service).unwrap(),
            Timestamp::UNIX_EPOCH,
        );
        (seen, plan)
    }

    fn note(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join("bin").join(name)).unwrap_or_default()
    }

    fn set(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join("bin").join(name), text).unwrap();
    }

    async fn restore(&self) -> Result<Reached, AtStep> {
        let reporter = Reporter::new(self.plan.bytes);
        let origin = Origin { store: Arc::clone(&self.store), prefix: "orders/".into(), reporter };
        restore(&self.plan, &origin, &self.settings).await
    }
}

#[tokio::test]
async fn b08_a_stand_in_of_sql_server_is_started_told_checked_and_shut_down() {
    let mut bench = Bench::new().await;
    let certificate = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n";
    bench.settings.ca_bundle = Some(certificate.repeat(2));
    let reached = bench.restore().await.unwrap();
    assert_eq!(reached.answers, ["42", "OK"]);
    assert_eq!(reached.bytes, 6, "all that the plan holds");
    let told = bench.note("server.env");
    for word in [
        "ACCEPT_EULA=Y",
        "MSSQL_PID=Developer",
        "MSSQL_COLLATION=Latin1_General_CI_AS",
        "MSSQL_IP_ADDRESS=127.0.0.1",
    ] {
        assert!(told.contains(word), "{told}");
    }
    assert_eq!(bench.note("server.args").trim(), "-T1222");
    // The old zone's time, and the files where the server's home will be.
    let script = bench.note("restore.sql");
    assert!(script.contains("STOPAT = N'2026-11-20T03:30:00'"), "{script}");
    assert!(script.contains("/var/opt/mssql/data/Shop_"), "{script}");
    assert!(bench.note("questions").contains("DBCC CHECKDB (N'Odd ]name')"));
    // What an earlier attempt left is gone, and so is what was trusted for the sake of the restore.
    assert!(!bench.settings.volume.join("old").exists());
    let trusted = bench.settings.volume.join("security/ca-certificates");
    assert_eq!(std::fs::read_dir(trusted).unwrap().count(), 0);
}

#[tokio::test]
async fn b08_p07_secrets_reach_sql_server_by_the_environment_and_no_other_way() {
    let bench = Bench::new().await;
    bench.restore().await.unwrap();
    assert_eq!(bench.note("keys").trim(), "reader:s/e+cret");
    let password = bench.note("server.password");
    let password = password.trim();
    assert!(password.len() > 32, "nobody guesses it");
    let digits = |text: &str| {
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        hex::encode(bytes)
    };
    assert_eq!(bench.note("login").trim(), format!("{} {}", digits("Zoë"), digits("it's $(HOME)")));
    for seen in ["asked", "server.args", "questions", "restore.sql", "login.sql"] {
        let seen = bench.note(seen);
        for secret in ["s/e+cret", "it's", &digits("it's $(HOME)"), password] {
            assert!(!seen.contains(secret), "{secret} in {seen}");
        }
    }
    // Scripts can be read by nobody else.
    let mode = std::fs::metadata(bench.settings.work.join("login.sql")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn b08_what_sql_server_says_is_told_and_what_is_damaged_is_an_answer() {
    let bench = Bench::new().await;
    bench.set("damaged", "");
    assert_eq!(bench.restore().await.unwrap().answers, ["42", "Odd ]name: page 1:7 is damaged"]);
    let cases = [
        ("refuse", "", Step::Fetch, "Msg 3201, Cannot open backup device"),
        ("state", "RESTORING", Step::Fetch, "database Odd ]name is not online"),
        ("version", "15", Step::Begin, "only 2022 (16) and later read from S3"),
        ("broken", "", Step::Begin, "it needs more memory"),
    ];
    for (name, text, step, words) in cases {
        let bench = Bench::new().await;
        bench.set(name, text);
        let failed = bench.restore().await.unwrap_err();
        assert_eq!(failed.step, step, "{failed}");
        assert!(failed.to_string().contains(words), "{failed}");
        assert_eq!(bench.note("login"), "", "nobody was handed anything");
    }
}

fn untouched(volume: &Path) -> bool {
    volume.join("old").exists()
}

#[tokio::test]
async fn b08_what_sql_server_can_not_be_given_is_refused_before_anything_is_touched() {
    let mut bench = Bench::new().await;
    let keys = bench.settings.credentials.clone();
    bench.settings.terms = None;
    let failed = bench.restore().await.unwrap_err();
    assert!(failed.to_string().contains("acceptEula: true") && failed.error.is_permanent(), "{failed}");
    for (file, text, words) in [
        ("AWS_SECRET_ACCESS_KEY", "se:cret", "AWS_SECRET_ACCESS_KEY in the Secret"),
        ("AWS_SECRET_ACCESS_KEY", "se'cret", "make another key"),
        ("AWS_ACCESS_KEY_ID", "$(HOME)", "AWS_ACCESS_KEY_ID in the Secret"),
        ("AWS_SESSION_TOKEN", "x1y2z3", "takes no session token"),
    ] {
        bench = Bench::new().await;
        std::fs::write(bench.settings.credentials.join(file), text).unwrap();
        let failed = bench.restore().await.unwrap_err();
        assert!(failed.to_string().contains(words) && failed.error.is_permanent(), "{failed}");
        assert!(!failed.to_string().contains(text), "the key is not told: {failed}");
        assert!(untouched(&bench.settings.volume));
    }
    bench = Bench::new().await;
    bench.settings.copy.endpoint = "http://store.example".into();
    let failed = bench.restore().await.unwrap_err();
    assert!(failed.to_string().contains("give the store's Region an https endpoint"), "{failed}");
    std::fs::remove_file(bench.folder.path().join("bin/sqlcmd")).unwrap();
    let failed = bench.restore().await.unwrap_err();
    assert_eq!(failed.error.reason(), "ToolMissing", "{failed}");
    assert!(untouched(&bench.settings.volume) && !keys.exists());
}

#[tokio::test]
async fn b08_an_administrator_who_is_the_first_login_keeps_the_conversation_going() {
    let mut bench = Bench::new().await;
    bench.settings.admin = Some(Admin { name: "SA".into(), password: "new one".into() });
    // The stand-in goes by the password of its start, so that the end is not told to it; the course waits for it.
    let restoring = bench.restore();
    let end = bench.folder.path().join("bin/end");
    let watch = async {
        while bench.note("login").is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert!(!bench.note("asked").contains("shutdown.sql"), "it goes by the new password now");
        std::fs::write(end, "").unwrap();
    };
    let (reached, ()) = tokio::join!(restoring, watch);
    reached.unwrap();
}
