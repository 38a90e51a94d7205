//! Stores of a story's own, that can be killed and started again, and links to them that can be broken.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stores;

/// Longest that a store may take to answer again.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    Minio,
    Versity,
}

/// A running store; it and its folder go when this is dropped.
#[derive(Debug)]
pub struct Server {
    make: Make,
    port: u16,
    pub endpoint: String,
    child: Mutex<Child>,
    folder: TempDir,
}

impl Server {
    /// Starts a store on a free port, and waits until it takes connections.
    pub async fn start(make: Make) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let child = Mutex::new(spawn(make, port, folder.path()));
        let server = Self { make, port, endpoint: format!("http://127.0.0.1:{port}"), child, folder };
        server.answers().await;
        server
    }

    /// `kill -9`, and after a pause the same store again.
    pub async fn is_killed_for(&self, pause: Duration) {
        {
            let mut child = self.child.lock().unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
        }
        tokio::time::sleep(pause).await;
        *self.child.lock().unwrap() = spawn(self.make, self.port, self.folder.path());
        self.answers().await;
    }

    async fn answers(&self) {
        let begin = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(begin.elapsed() < PATIENCE, "{:?} does not answer: {log}", self.make);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        child.kill().ok();
        child.wait().ok();
    }
}

fn spawn(make: Make, port: u16, folder: &Path) -> Child {
    let log = std::fs::File::options().append(true).create(true).open(folder.join("log")).unwrap();
    let mut command = match make {
        Make::Minio => minio(port, folder),
        Make::Versity => versity(port, folder),
    };
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

fn minio(port: u16, folder: &Path) -> Command {
    let keys = stores::credentials().current().unwrap();
    let mut command = Command::new(stores::endpoint("FARSHORE_TEST_MINIO_PROGRAM"));
    command
        .args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")])
        .arg(folder.join("data"))
        .envs([("MINIO_ROOT_USER", &*keys.access_key), ("MINIO_ROOT_PASSWORD", keys.secret_key.reveal())])
        .envs([("MINIO_BROWSER", "off"), ("MINIO_UPDATE", "off"), ("MINIO_CALLHOME_ENABLE", "off")]);
    command
}

/// With its attributes beside the data (`--sidecar`) a kill in mid-write leaves objects that lost theirs: so the
/// folder for temporary files must be on a file system that keeps extended attributes.
fn versity(port: u16, folder: &Path) -> Command {
    let keys = stores::credentials().current().unwrap();
    let mut command = Command::new(stores::endpoint("FARSHORE_TEST_VERSITY_PROGRAM"));
    command
        .args(["--port", &format!("127.0.0.1:{port}"), "--quiet", "posix"])
        .arg(folder.join("data"))
        .envs([("ROOT_ACCESS_KEY", &*keys.access_key), ("ROOT_SECRET_KEY", keys.secret_key.reveal())]);
    command
}

/// How a link fails.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Every connection is cut, and none can be made.
    Down,
    /// Every connection is reset as soon as something goes over it.
    Reset,
    /// Nothing passes; connections stay open, and are cut after a while.
    Stall,
    /// All is late.
    Late,
    /// Connections are cut after so many bytes.
    Short(u32),
}

/// A link to a store through toxiproxy.
#[derive(Debug)]
pub struct Link {
    name: String,
    api: String,
    pub endpoint: String,
}

impl Link {
    pub async fn to(endpoint: &str) -> Self {
        let (name, api) = (stores::fresh_name(), stores::endpoint("FARSHORE_TEST_TOXIPROXY"));
        let upstream = endpoint.trim_start_matches("http://");
        let order = json!({"name": name, "listen": "127.0.0.1:0", "upstream": upstream, "enabled": true});
        let made = call(Method::POST, format!("{api}/proxies"), order).await;
        let endpoint = format!("http://{}", made["listen"].as_str().unwrap());
        Self { name, api, endpoint }
    }

    /// Fails for so long, and is whole again.
    pub async fn fails(&self, fault: Fault, pause: Duration) {
        let proxy = format!("{}/proxies/{}", self.api, self.name);
        let millis = u64::try_from(pause.as_millis()).unwrap();
        let toxic =
            |kind: &str, attributes: Value| json!({"name": "fault", "type": kind, "attributes": attributes});
        let toxic = match fault {
            Fault::Down => {
                call(Method::POST, proxy.clone(), json!({"enabled": false})).await;
                tokio::time::sleep(pause).await;
                call(Method::POST, proxy, json!({"enabled": true})).await;
                return;
            }
            Fault::Reset => toxic("reset_peer", json!({"timeout": 0})),
            Fault::Stall => toxic("timeout", json!({"timeout": millis})),
            Fault::Late => toxic("latency", json!({"latency": 100, "jitter": 50})),
            Fault::Short(bytes) => toxic("limit_data", json!({"bytes": bytes})),
        };
        call(Method::POST, format!("{proxy}/toxics"), toxic).await;
        // A stall ends with its connections, not with bytes that are missing in the middle.
        tokio::time::sleep(pause + Duration::from_millis(200)).await;
        call(Method::DELETE, format!("{proxy}/toxics/fault"), Value::Null).await;
    }

    pub async fn close(&self) {
        call(Method::DELETE, format!("{}/proxies/{}", self.api, self.name), Value::Null).await;
    }
}

async fn call(method: Method, url: String, body: Value) -> Value {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let request = Request::builder().method(method).uri(&url).body(Full::new(body)).unwrap();
    let reply = client.request(request).await.unwrap();
    let status = reply.status();
    let bytes = reply.into_body().collect().await.unwrap().to_bytes();
    assert!(status.is_success(), "{url}: {status} {}", String::from_utf8_lossy(&bytes));
    serde_json::from_slice(&bytes).unwrap_or_default()
}
