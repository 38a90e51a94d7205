//! The database's server, for nobody but us.

use std::{path::Path, time::Duration};

use mongodb::{
    Client,
    bson::{Document, doc},
    error::ErrorKind,
};
use tokio::{process::Command, time::Instant};

use super::{Settings, arguments};
use crate::restore::{Error, Result, child::Running, mongodb::target::failed};

const LOOK: Duration = Duration::from_millis(100);
/// A server of an empty data directory is there in seconds.
const PATIENCE: Duration = Duration::from_mins(5);
/// What it holds in memory is written first.
const SHUTDOWN: Duration = Duration::from_mins(30);
/// Complaints of a log that are shown.
const SHOWN: usize = 4;
/// Bytes of a log that are shown where it complains of nothing.
const WORDS: usize = 1024;

/// A server that listens on this machine alone.
pub(super) struct Server {
    running: Running,
    client: Client,
    port: u16,
}

impl Server {
    /// Starts the server on an empty data directory, and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Tool`] with its last words, when it ends instead.
    pub async fn start(program: &Path, settings: &Settings) -> Result<Self> {
        let port = settings.port;
        // Who is not there is asked again at once.
        let quick = format!("{}&serverSelectionTimeoutMS=500", uri(port));
        let client = Client::with_uri_str(quick).await.map_err(failed("its address"))?;
        let mut command = Command::new(program);
        command.args(arguments(settings)).env("TZ", "UTC");
        let mut server = Self { running: Running::start_logging(&mut command)?, client, port };
        server.wait("does not answer", &doc! {"ping": 1}, |_| true).await?;
        // One that is busy is given time.
        server.client = Client::with_uri_str(uri(port)).await.map_err(failed("its address"))?;
        Ok(server)
    }

    pub fn uri(&self) -> String {
        uri(self.port)
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Makes it a replica set, and waits until it may be written.
    pub async fn initiate(&mut self, configuration: &Document) -> Result<()> {
        self.run("making it a replica set", doc! {"replSetInitiate": configuration.clone()}).await?;
        let primary = |reply: &Document| reply.get_bool("isWritablePrimary").unwrap_or_default();
        self.wait("is not the primary of its replica set", &doc! {"hello": 1}, primary).await
    }

    /// Runs a command in `admin`.
    ///
    /// # Errors
    /// [`Error::MongoDB`] with what the server said, or its last words if it has ended.
    pub async fn run(&mut self, what: &str, command: Document) -> Result<Document> {
        match self.client.database("admin").run_command(command).await {
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.ended().await.unwrap_or_else(|| failed(what)(error))),
        }
    }

    /// Asks until the answer is good, for as long as the server runs and patience lasts.
    async fn wait(
        &mut self,
        without: &str,
        command: &Document,
        good: impl Fn(&Document) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.client.database("admin").run_command(command.clone()).await;
            if answer.as_ref().is_ok_and(&good) {
                return Ok(());
            }
            if let Some(error) = self.ended().await {
                return Err(error);
            }
            if until < Instant::now() {
                let said = answer.map_or_else(|error| error.to_string(), |reply| reply.to_string());
                let status = format!("runs, but {without} within {PATIENCE:?}");
                return Err(Error::Tool { program: "mongod".to_owned(), status, said });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Its end, if it has ended already: asked once.
    pub async fn ended(&mut self) -> Option<Error> {
        self.running.ended().await.map(plainly)
    }

    /// Shuts it down as it should be.
    ///
    /// # Errors
    /// [`Error::Tool`] with its last words, unless it ended well.
    pub async fn stop(self) -> Result<()> {
        // There is no other member to wait for.
        let command = doc! {"shutdown": 1, "force": true, "timeoutSecs": 1};
        if let Err(error) = self.client.database("admin").run_command(command).await
            // The connection ends with the server.
            && matches!(*error.kind, ErrorKind::Command(_))
        {
            return Err(failed("shutting it down")(error));
        }
        match tokio::time::timeout(SHUTDOWN, self.running.done()).await {
            Ok(done) => done.map_err(plainly),
            Err(_) => Err(Error::Tool {
                program: "mongod".to_owned(),
                status: format!("does not end within {SHUTDOWN:?}"),
                said: "it was told to shut down".to_owned(),
            }),
        }
    }
}

fn uri(port: u16) -> String {
    format!("mongodb://127.0.0.1:{port}/?directConnection=true")
}

/// A failure whose last words are a server's log, in words.
fn plainly(error: Error) -> Error {
    match error {
        Error::Tool { program, status, said } => Error::Tool { program, status, said: words(&said) },
        other => other,
    }
}

/// What a log complains of; the log's end where it is no log, or complains of nothing.
fn words(log: &str) -> String {
    let complaints: Vec<String> = log.lines().filter_map(complaint).collect();
    if let [.., _] = &complaints[..] {
        return complaints[complaints.len().saturating_sub(SHOWN)..].join("; ");
    }
    log[log.ceil_char_boundary(log.len().saturating_sub(WORDS))..].trim().to_owned()
}

/// `{"t":…,"s":"E","c":"STORAGE","id":20557,"ctx":…,"msg":…,"attr":{…}}`
fn complaint(line: &str) -> Option<String> {
    let line: serde_json::Value = match serde_json::from_str(line) {
        Ok(line) => line,
        // Arguments are judged before there is a log. The log's first line here may lack its beginning.
        Err(_) => return (!line.ends_with('}') && !line.trim().is_empty()).then(|| line.to_owned()),
    };
    let is_bad = matches!(line.get("s")?.as_str()?, "E" | "F");
    let message = line.get("msg")?.as_str()?;
    let attributes = line.get("attr").map(|attributes| format!(" {attributes}")).unwrap_or_default();
    is_bad.then(|| format!("{message}{}", &attributes[..attributes.floor_char_boundary(WORDS / SHOWN)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b08_of_a_servers_log_only_what_it_complains_of_is_told() {
        let info = r#"{"t":{"$date":"2026-11-22T00:00:00Z"},"s":"I","c":"CONTROL","id":4615611,"ctx":"initandlisten","msg":"MongoDB starting"}"#;
        let bad = r#"{"t":{"$date":"2026-11-22T00:00:00Z"},"s":"E","c":"CONTROL","id":20557,"ctx":"initandlisten","msg":"DBException in initAndListen, terminating","attr":{"error":"Location28596: Unable to determine status of lock file"}}"#;
        let told = words(&format!("{info}\n{bad}\n{info}"));
        assert!(told.starts_with("DBException in initAndListen, terminating {"), "{told}");
        assert!(told.contains("lock file") && !told.contains("MongoDB starting"), "{told}");
        let refused = "Error parsing command line: unrecognised option '--nonsense'";
        assert_eq!(words(&format!("{info}\n{refused}")), refused);
        assert_eq!(words(info), info, "nothing is better than the log itself");
        let many: Vec<&str> = std::iter::repeat_n(bad, 9).collect();
        assert_eq!(words(&many.join("\n")).matches("DBException").count(), SHOWN);
    }
}
