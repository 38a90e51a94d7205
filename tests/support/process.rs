//! Servers that a test starts for itself, and that end with it.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// A running server and its folder; both go when this is dropped.
#[derive(Debug)]
pub struct Process {
    pub endpoint: String,
    child: Child,
    folder: TempDir,
}

impl Process {
    /// Starts a server on a free port, told to `command` with its folder, and waits until it answers.
    pub async fn start(command: impl FnOnce(u16, &std::path::Path) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command(port, folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut process = Self { endpoint: format!("http://127.0.0.1:{port}"), child, folder };
        let begin = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let ended = process.child.try_wait().unwrap();
            assert!(ended.is_none() && begin.elapsed() < Duration::from_secs(30), "{}", process.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        process
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
