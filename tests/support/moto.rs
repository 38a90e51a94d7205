//! moto: a server with AWS's access control lists and queues, in memory.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The command of a server.
pub fn command(python: &str, port: u16) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
    command
}

/// A running server; it ends when this is dropped.
pub struct Moto {
    server: Child,
    pub endpoint: String,
}

impl Moto {
    pub fn start(python: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = command(python, port).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moto = Self { server, endpoint: format!("http://127.0.0.1:{port}") };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < Duration::from_mins(1), "moto doesn't start");
            std::thread::sleep(Duration::from_millis(50));
        }
        moto
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}
