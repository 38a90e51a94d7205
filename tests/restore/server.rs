//! A database server of our own, as a child.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A database on a socket.
pub struct Database {
    child: Child,
    client: PathBuf,
    pub socket: PathBuf,
}

/// MySQL's programs.
pub fn mysql_programs() -> PathBuf {
    let folder = std::env::var("FARSHORE_TEST_MYSQL");
    let folder =
        folder.unwrap_or_else(|_| panic!("FARSHORE_TEST_MYSQL is to be what `dev/build --path mysql` says"));
    folder.into()
}

impl Database {
    /// Starts a MariaDB on a data directory.
    pub fn mariadb(folder: &Path, data: &Path, arguments: &[&str]) -> Self {
        Self::start(("mariadbd".into(), "mariadb".into()), folder, data, arguments)
    }

    /// Starts a MySQL on a data directory.
    pub fn mysql(folder: &Path, data: &Path, arguments: &[&str]) -> Self {
        let programs = mysql_programs();
        let arguments = [&["--mysqlx=OFF"], arguments].concat();
        Self::start((programs.join("mysqld"), programs.join("mysql")), folder, data, &arguments)
    }

    fn start((program, client): (PathBuf, PathBuf), folder: &Path, data: &Path, arguments: &[&str]) -> Self {
        let socket = folder.join("s.sock");
        let child = Command::new(program)
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", socket.display()))
            .arg(format!("--pid-file={}", folder.join("s.pid").display()))
            .args(["--skip-networking", "--user=root"])
            .args(arguments)
            // A MariaDB that starts clears temporary tables away, whoever made them.
            .env("TMPDIR", folder)
            .env("TZ", "UTC")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("server.log")).unwrap())
            .spawn()
            .unwrap();
        let server = Self { child, client, socket };
        for _ in 0..600 {
            if server.try_ask("SELECT 1", &["--user=root"]).is_ok() || server.answers() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{}", std::fs::read_to_string(folder.join("server.log")).unwrap());
    }

    /// Another account may be needed.
    fn answers(&self) -> bool {
        self.try_ask("SELECT 1", &["--user=root"]).is_err_and(|error| error.contains("Access denied"))
    }

    /// Answers of statements, or what the client says.
    pub fn try_ask(&self, sql: &str, account: &[&str]) -> Result<String, String> {
        let output =
            self.client(account).args(["--batch", "--skip-column-names", "-e", sql]).output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    pub fn ask(&self, sql: &str) -> String {
        self.try_ask(sql, &["--user=root"]).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// A client of this server.
    pub fn client(&self, account: &[&str]) -> Command {
        let mut client = Command::new(&self.client);
        client.arg("--no-defaults").arg(format!("--socket={}", self.socket.display())).args(account);
        client
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
