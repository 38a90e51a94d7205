//! The database's server, for nobody but us.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use mysql_async::{Conn, OptsBuilder, Row, Value, prelude::Queryable};
use tokio::process::Command;

use super::{SETTINGS, Settings, Tools, plain};
use crate::restore::{Error, Result, child::Running, room::private};

/// The account under which the log is replayed; it is gone before the instance is handed over.
const USER: &str = "farshore_restore";
const LOOK: Duration = Duration::from_millis(100);

/// A server that listens on a socket in our own folder, writes no log, and runs no events of its own.
pub(super) struct Server {
    running: Running,
    socket: PathBuf,
    password: String,
    /// Settings for the command-line client: a password has no place among arguments.
    client_file: PathBuf,
    conn: Option<Conn>,
}

impl Server {
    /// Starts the server on a data directory, and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Tool`] with its last words, when it ends instead.
    pub async fn start(tools: &Tools, data: &Path, settings: &Settings) -> Result<Self> {
        let work = &settings.work;
        let (socket, init) = (work.join("server.sock"), work.join("init.sql"));
        let client_file = work.join("client.cnf");
        let password = crate::store::unguessable("p").map_err(|error| Error::Broken(error.to_string()))?;
        private(&init, &init_file(&password))?;
        private(
            &client_file,
            &format!("[client]\nuser={USER}\npassword={password}\nsocket={}\n", socket.display()),
        )?;
        let mut command = plain(&tools.server);
        command.arg(format!("--defaults-file={}", settings.volume.join(SETTINGS).display()));
        command.args(&settings.arguments);
        command.args([
            format!("--datadir={}", data.display()),
            format!("--socket={}", socket.display()),
            format!("--pid-file={}", work.join("server.pid").display()),
            format!("--init-file={}", init.display()),
            format!("--server-id={}", settings.server_id),
            "--skip-networking".to_owned(),
            "--skip-log-bin".to_owned(),
            "--skip-slave-start".to_owned(),
            "--event-scheduler=OFF".to_owned(),
            "--max-allowed-packet=1G".to_owned(),
        ]);
        if !tools.mariadb {
            // Takes logs with GTIDs, and logs without. No files are read, so that no folder must be there for them.
            command.args([
                "--mysqlx=OFF",
                "--gtid-mode=OFF_PERMISSIVE",
                "--enforce-gtid-consistency=OFF",
                "--secure-file-priv=NULL",
            ]);
        }
        let running = Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
        let mut server = Self { running, socket, password, client_file, conn: None };
        server.wait().await?;
        std::fs::remove_file(&init).map_err(Error::file(&init))?;
        Ok(server)
    }

    /// Recovery may take long: as long as the server runs, it is waited for.
    async fn wait(&mut self) -> Result<()> {
        loop {
            if let Some(error) = self.running.ended().await {
                return Err(error);
            }
            if self.socket.exists() && self.ask("SELECT 1").await.is_ok() {
                return Ok(());
            }
            self.conn = None;
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn conn(&mut self) -> Result<&mut Conn> {
        if self.conn.is_none() {
            let options = OptsBuilder::default()
                .socket(self.socket.to_str())
                .user(Some(USER))
                .pass(Some(&self.password))
                .init(vec!["SET sql_log_bin = 0", "SET sql_mode = ''"]);
            self.conn = Some(Conn::new(options).await.map_err(|error| said(&error))?);
        }
        self.conn.as_mut().ok_or_else(|| Error::Broken("a connection that was made is gone".to_owned()))
    }

    /// Runs a statement.
    pub async fn say(&mut self, statement: &str) -> Result<()> {
        self.conn().await?.query_drop(statement).await.map_err(|error| said(&error))
    }

    /// Answers a query: rows split by line ends, columns by tabs.
    pub async fn ask(&mut self, query: &str) -> Result<String> {
        let rows: Vec<Row> = self.conn().await?.query(query).await.map_err(|error| said(&error))?;
        let rows = rows.into_iter().map(|row| row.unwrap().iter().map(text).collect::<Vec<_>>().join("\t"));
        Ok(rows.collect::<Vec<_>>().join("\n"))
    }

    /// A client of the server, in a session that writes no log.
    pub fn client(&self, tools: &Tools) -> Command {
        let mut client = plain(&tools.client);
        client.arg(format!("--defaults-file={}", self.client_file.display())).args([
            "--binary-mode",
            "--batch",
            "--max-allowed-packet=1G",
            "--init-command=SET sql_log_bin = 0",
        ]);
        client
    }

    /// Takes our account away, and shuts the server down as it should be.
    pub async fn stop(mut self) -> Result<()> {
        self.say(&format!("DROP USER {}@'localhost'", quoted(USER))).await?;
        self.shut_down().await
    }

    /// Shuts the server down.
    pub async fn shut_down(mut self) -> Result<()> {
        self.say("SHUTDOWN").await?;
        drop(self.conn.take());
        self.running.done().await
    }
}

fn said(error: &mysql_async::Error) -> Error {
    Error::Tool {
        program: "the restored server".to_owned(),
        status: "refused".to_owned(),
        said: error.to_string(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::NULL => "NULL".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => other.as_sql(true).trim_matches('\'').to_owned(),
    }
}

/// Statements run before anybody may connect, with all rights: one a line.
fn init_file(password: &str) -> String {
    let account = format!("{}@'localhost'", quoted(USER));
    let mut text = String::from("SET sql_log_bin = 0;\n");
    for statement in [
        format!("DROP USER IF EXISTS {account}"),
        format!("CREATE USER {account} IDENTIFIED BY {}", quoted(password)),
        format!("GRANT ALL PRIVILEGES ON *.* TO {account} WITH GRANT OPTION"),
    ] {
        // Writing to a string can't fail.
        writeln!(text, "{statement};").ok();
    }
    text
}

/// A text as SQL spells it, where backslashes escape.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
