//! A server that speaks MongoDB's protocol, as a child, with its data in a folder: it can be killed and started
//! again where it was.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use mongodb::{Client, bson::doc};
use tempfile::TempDir;

/// The interpreter that has the server.
fn python() -> String {
    std::env::var("FARSHORE_TEST_PYTHON").unwrap_or_else(|_| {
        panic!("FARSHORE_TEST_PYTHON is not set: run `make test`, or take the python of `dev/build --path python`")
    })
}

/// A port of this machine that nobody uses.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running server; it goes with its data when this is dropped.
pub struct Secantus {
    child: Child,
    folder: TempDir,
    arguments: Vec<String>,
    program: Option<std::path::PathBuf>,
    pub port: u16,
    /// A client that notices quickly when the server is gone.
    pub client: Client,
}

impl Secantus {
    /// Starts a server that holds nothing. What it acknowledges outlives a kill.
    pub async fn start() -> Self {
        Self::with(&["--sync-on-commit"]).await
    }

    /// As [`start`](Self::start), with other arguments: `--auth`, `--oplog-max-entries N`, `--sync-on-commit`.
    pub async fn with(arguments: &[&str]) -> Self {
        Self::of(None, arguments).await
    }

    /// A Python program that takes `SecantusDB`'s arguments, in its place.
    pub async fn of(program: Option<&Path>, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let program = program.map(Path::to_owned);
        let child = spawn(program.as_deref(), port, folder.path(), &arguments);
        let client =
            Client::with_uri_str(format!("{}&serverSelectionTimeoutMS=2000", uri(port))).await.unwrap();
        let server = Self { child, folder, arguments, program, port, client };
        server.wait().await;
        server
    }

    /// Its address, without an account.
    pub fn uri(&self) -> String {
        uri(self.port)
    }

    /// Ends it as a lost machine does.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Sends it a signal, by its name: `STOP` makes it silent, and `CONT` ends that.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Starts it again on its data, with other arguments.
    pub async fn restart_with(&mut self, arguments: &[&str]) {
        self.kill();
        self.arguments = arguments.iter().map(ToString::to_string).collect();
        self.restart().await;
    }

    /// Starts it again on its data.
    pub async fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.program.as_deref(), self.port, self.folder.path(), &self.arguments);
        self.wait().await;
    }

    /// Waits until it answers.
    async fn wait(&self) {
        for _ in 0..200 {
            if self.client.database("admin").run_command(doc! {"ping": 1}).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("the server doesn't start: {log}");
    }
}

fn uri(port: u16) -> String {
    format!("mongodb://127.0.0.1:{port}/?directConnection=true")
}

fn spawn(program: Option<&Path>, port: u16, folder: &Path, arguments: &[String]) -> Child {
    let python = python();
    // The script names a folder that the environment was in while it was made.
    let own = Path::new(&python).with_file_name("secantusd-py");
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    Command::new(&python)
        .arg(program.unwrap_or(&own))
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--noop-heartbeat-seconds", "1"])
        .arg("--storage-path")
        .arg(folder.join("data"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Drop for Secantus {
    fn drop(&mut self) {
        self.kill();
    }
}
