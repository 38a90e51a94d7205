//! The whole course of a restore into a server of its own: made, filled, asked, handed over, shut down, and started
//! again as the new instance is. No mongod was to be had: `mongod.py` stands in for it.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bson::doc;
use farshore::{
    backup::catalog::Format,
    restore::{
        self, Origin, Reached, Reporter, locate, look,
        mongodb::fresh::{self, Settings},
        mysql::Admin,
    },
    store::{ObjectStore, memory::MemoryStore},
};
use jiff::Timestamp;
use mongodb::Client;

use super::{
    history::History,
    secantus::{documents, free_port, python},
};

/// As in `tests/golden/instance/mongodb.yaml`.
const HOST: &str = "orders-2.shop.svc";

/// A pod: its image's programs, the names that mean itself, a volume, a folder.
struct Pod {
    folder: tempfile::TempDir,
    port: u16,
}

impl Pod {
    /// With a mongod that knows itself by these names.
    fn new(names: &str) -> Self {
        let pod = Self { folder: tempfile::tempdir().unwrap(), port: free_port() };
        for folder in [pod.programs(), pod.volume(), pod.work()] {
            std::fs::create_dir(folder).unwrap();
        }
        let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/restore/mongodb/mongod.py");
        let (python, stand_in) = (python(), stand_in.display());
        let script = format!("#!/bin/sh\nSTAND_IN_HOSTS='{names}' exec '{python}' '{stand_in}' \"$@\"\n");
        let program = pod.programs().join("mongod");
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        pod
    }

    fn programs(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    fn volume(&self) -> PathBuf {
        self.folder.path().join("volume")
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn settings(&self) -> Settings {
        Settings {
            volume: self.volume(),
            work: self.work(),
            programs: Some(self.programs()),
            arguments: vec!["--wiredTigerCacheSizeGB=0.25".to_owned()],
            host: Some(HOST.to_owned()),
            port: self.port,
            admin: Some(Admin { name: "boss".to_owned(), password: "it's $secret".to_owned() }),
            checks: vec![r#"{"count": "orders", "$db": "shop"}"#.to_owned()],
            check_tables: true,
        }
    }

    /// The command of the new instance's server, where this pod has its files.
    fn serve(&self) -> Served {
        let golden = include_str!("../../golden/instance/mongodb.yaml");
        let server = golden.split("---\n").find(|text| text.contains("kind: StatefulSet")).unwrap();
        let server: serde_json::Value = serde_yaml_ng::from_str(server).unwrap();
        let spec = &server["spec"]["template"]["spec"];
        assert_eq!(spec["hostAliases"][0]["hostnames"][0], HOST);
        let container = &spec["containers"][0];
        let words = ["command", "args"].map(|field| container[field].as_array().unwrap().clone()).concat();
        let (volume, work) = (self.volume().display().to_string(), self.work().display().to_string());
        // In this order: folders of tests lie in the one of the pod.
        let words = words
            .iter()
            .map(|word| word.as_str().unwrap().replace("/tmp", &work).replace("/var/lib/farshore", &volume));
        let words: Vec<String> = words.collect();
        let path = format!("{}:{}", self.programs().display(), std::env::var("PATH").unwrap());
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(["--port", &self.port.to_string()])
            .env("PATH", path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Served(child)
    }

    /// A client that logs in, once the server answers.
    async fn client(&self, account: &str) -> Client {
        let uri = format!(
            "mongodb://{account}127.0.0.1:{}/?directConnection=true&serverSelectionTimeoutMS=500",
            self.port
        );
        let client = Client::with_uri_str(uri).await.unwrap();
        for _ in 0..100 {
            if client.database("admin").run_command(doc! {"ping": 1}).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        client
    }
}

struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

async fn restored(store: MemoryStore, at: Option<Timestamp>, settings: &Settings) -> Result<Reached, String> {
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    let (_, mut plan) = look(&store, "o/", &Format::WalGMongoDB, at).await.unwrap();
    locate(&store, "o/", &mut plan).await.unwrap();
    let origin = Origin { store, prefix: "o/".to_owned(), reporter: Reporter::new(plan.bytes) };
    fresh::restore(&plan, &origin, settings).await.map_err(|error: restore::AtStep| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_a_mongodb_is_made_filled_handed_over_and_starts_as_the_instance_does() {
    let history = History::play(11);
    let (first, last) = history.window();
    let moment = first.midpoint(last);
    let pod = Pod::new(HOST);
    // An earlier attempt was killed.
    std::fs::create_dir_all(pod.volume().join("db/data")).unwrap();
    std::fs::write(pod.volume().join("db/data/WiredTiger"), "half").unwrap();
    let at = Timestamp::from_second(i64::from(moment)).unwrap();
    let reached = restored(history.backed_up(), Some(at), &pod.settings()).await.unwrap();
    let expected = history.at(moment);
    assert_eq!((reached.time_point, reached.answers.len()), (at, 2));
    assert_eq!(reached.answers, [expected["orders"].len().to_string(), "OK".to_owned()]);
    assert!(reached.transactions > 0 && reached.last_commit.is_some_and(|last| last <= at));
    let key = std::fs::metadata(pod.volume().join(fresh::KEY)).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    assert!(std::net::TcpStream::connect(("127.0.0.1", pod.port)).is_err(), "the server has ended");

    // A volume that is mounted anew may be given to the pod's group.
    let shared = std::fs::Permissions::from_mode(0o660);
    std::fs::set_permissions(pod.volume().join(fresh::KEY), shared).unwrap();
    let _server = pod.serve();
    let client = pod.client("boss:it%27s%20%24secret@").await;
    assert_eq!(documents(&client).await, expected);
    let hello = client.database("admin").run_command(doc! {"hello": 1}).await.unwrap();
    assert_eq!(
        (hello.get_bool("isWritablePrimary").unwrap(), hello.get_str("setName").unwrap()),
        (true, "rs0")
    );
    client.database("shop").collection("orders").insert_one(doc! {"_id": -1}).await.unwrap();
    for stranger in ["", "boss:wrong@"] {
        let client = pod.client(stranger).await;
        assert!(client.list_database_names().await.is_err(), "{stranger:?} is let in");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b15_a_drill_of_a_mongodb_needs_neither_a_name_nor_an_account() {
    let history = History::play(12);
    let (_, last) = history.window();
    let pod = Pod::new("");
    let names = r#"{"aggregate": "orders", "$db": "shop", "pipeline": [{"$count": "orders"}], "cursor": {}}"#;
    let checks = vec![names.to_owned()];
    let settings = Settings { host: None, admin: None, checks, check_tables: false, ..pod.settings() };
    let reached = restored(history.backed_up(), None, &settings).await.unwrap();
    assert_eq!(reached.answers, [history.at(last)["orders"].len().to_string()]);
    let wrong = Settings { checks: vec!["SELECT 1".to_owned()], ..settings };
    let error = restored(history.backed_up(), None, &wrong).await.unwrap_err();
    assert!(error.contains("at step Finish") && error.contains("a command in JSON"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_a_mongod_that_is_missing_ends_early_or_is_not_its_sets_member_is_told_with_its_words() {
    let history = History::play(13);
    // Another pod's name: this one is not found in the set.
    let pod = Pod::new("somebody-else");
    let error = restored(history.backed_up(), None, &pod.settings()).await.unwrap_err();
    assert!(error.contains("at step Begin") && error.contains("maps to this node"), "{error}");
    let nonsense = Settings { arguments: vec!["--nonsense".to_owned()], ..pod.settings() };
    let error = restored(history.backed_up(), None, &nonsense).await.unwrap_err();
    assert!(error.contains("mongod failed (exit status: 2)"), "{error}");
    assert!(error.contains("Error parsing command line: unrecognized arguments: --nonsense"), "{error}");
    // Nothing is emptied for what can't be.
    std::fs::write(pod.volume().join("mine"), "precious").unwrap();
    let empty = pod.folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let missing = Settings { programs: Some(empty), ..pod.settings() };
    let ours = Settings { arguments: vec!["--auth".to_owned()], ..pod.settings() };
    for (settings, cause) in
        [(missing, "the image has none of mongod"), (ours, "--auth in the instance's arguments")]
    {
        let error = restored(history.backed_up(), None, &settings).await.unwrap_err();
        assert!(error.contains(cause), "{error}");
    }
    // A binary backup has many objects.
    let store = history.backed_up();
    store.seed("o/basebackups_005/stream_1/part_2.tar.lz4", "files", Timestamp::UNIX_EPOCH);
    let error = restored(store, None, &pod.settings()).await.unwrap_err();
    assert!(error.contains("stream_1 has 2 objects") && error.contains("WAL-G restores it"), "{error}");
    assert_eq!(std::fs::read_to_string(pod.volume().join("mine")).unwrap(), "precious");
}
