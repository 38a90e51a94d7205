//! Stores of a story's own, that can be killed and started again, and links to them that can be broken.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

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
        for name in ["data", "versions"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let child = Mutex::new(spawn(make, port, folder.path()));
        let server = Self { make, port, endpoint: format!("http://127.0.0.1:{port}"), child, folder };
        server.answers().await;
        server
    }

    /// How often one must look to be sure.
    pub fn looks(&self) -> u32 {
        match self.make {
            Make::Minio => 1,
            Make::Versity => 3,
        }
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
        .arg("--versioning-dir")
        .arg(folder.join("versions"))
        .arg(folder.join("data"))
        .envs([("ROOT_ACCESS_KEY", &*keys.access_key), ("ROOT_SECRET_KEY", keys.secret_key.reveal())]);
    command
}

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Every connection is cut, and none can be made.
    Down,
    /// Every connection is cut as soon as something goes over it.
    Reset,
    /// Nothing passes; connections stay open, and are cut after a while.
    Stall,
    /// All is late.
    Late,
    /// Connections are cut after so many bytes.
    Short(usize),
}

/// A link to a store that can be made to fail.
#[derive(Debug)]
pub struct Link {
    pub endpoint: String,
    fault: watch::Sender<Fault>,
}

impl Link {
    pub async fn to(endpoint: &str) -> Self {
        let far = endpoint.trim_start_matches("http://").to_owned();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (fault, state) = watch::channel(Fault::None);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if *state.borrow() != Fault::Down {
                    tokio::spawn(pass(near, far.clone(), state.clone()));
                }
            }
        });
        Self { endpoint, fault }
    }

    /// Fails for so long, and is whole again.
    pub async fn fails(&self, fault: Fault, pause: Duration) {
        self.fault.send_replace(fault);
        tokio::time::sleep(pause).await;
        self.fault.send_replace(Fault::None);
    }
}

/// Both directions end with the first.
async fn pass(near: TcpStream, far: String, mut state: watch::Receiver<Fault>) {
    let Ok(far) = TcpStream::connect(far).await else { return };
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let (there, back) = (state.clone(), state.clone());
    tokio::select! {
        () = pump(from_near, to_far, there) => {}
        () = pump(from_far, to_near, back) => {}
        _ = state.wait_for(|fault| *fault == Fault::Down) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<Fault>) {
    let (mut buffer, mut passed) = (vec![0; 16 * 1024], 0);
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let fault = *state.borrow_and_update();
        match fault {
            Fault::None => {}
            Fault::Down | Fault::Reset => return,
            Fault::Stall => {
                state.changed().await.ok();
                return;
            }
            Fault::Late => tokio::time::sleep(Duration::from_millis(100)).await,
            Fault::Short(most) => {
                passed += length;
                if passed > most {
                    return;
                }
            }
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
