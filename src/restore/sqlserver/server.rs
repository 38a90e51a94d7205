//! `sqlservr` as our child, and `sqlcmd` to speak to it.

use std::{
    fs::File,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::{Child, Command};

use super::{Settings, Terms, handover::FIRST_LOGIN};
use crate::restore::{Error, Result, child, room};

const LOOK: Duration = Duration::from_millis(500);
/// A server that does not answer, or end, by then never will.
const PATIENCE: Duration = Duration::from_mins(10);
/// Bytes of the server's log that a failure shows.
const WORDS: usize = 2048;
/// The first version that reads from S3: 2022.
const OLDEST: u32 = 16;
/// Where a server looks for certificates, in its home, and how many files it reads.
const TRUSTED: &str = "security/ca-certificates";
const MAX_TRUSTED: usize = 50;

/// Programs of the image.
pub(super) struct Tools {
    server: PathBuf,
    client: PathBuf,
}

impl Tools {
    pub fn find(folder: Option<&Path>) -> Result<Self> {
        let find = |name: &str, folders: &[&str]| {
            let folders = folder.into_iter().chain(folders.iter().map(Path::new));
            let mut files = folders.map(|folder| folder.join(name));
            files.find(|file| file.is_file()).map_or_else(|| child::tool(&[name]), Ok)
        };
        Ok(Self {
            server: find("sqlservr", &["/opt/mssql/bin"])?,
            client: find("sqlcmd", &["/opt/mssql-tools18/bin", "/opt/mssql-tools/bin"])?,
        })
    }
}

/// Lays down the certificates that a server trusts beside those that it comes with. It reads them when it starts.
pub(super) fn trust(volume: &Path, bundle: Option<&str>) -> Result<()> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let folder = volume.join(TRUSTED);
    std::fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
    let certificates: Vec<_> = bundle.unwrap_or_default().split(BEGIN).skip(1).collect();
    if certificates.len() > MAX_TRUSTED {
        return Err(Error::Unusable(format!(
            "SQL Server reads at most {MAX_TRUSTED} certificates, and the Region's caBundle has {}: leave those out that the store doesn't need",
            certificates.len()
        )));
    }
    for (at, certificate) in certificates.iter().enumerate() {
        let file = folder.join(format!("farshore-{at}.crt"));
        std::fs::write(&file, format!("{BEGIN}{certificate}")).map_err(Error::file(&file))?;
    }
    Ok(())
}

/// The new instance trusts nobody on our account.
pub(super) fn forget(volume: &Path) -> Result<()> {
    let folder = volume.join(TRUSTED);
    for entry in std::fs::read_dir(&folder).map_err(Error::file(&folder))? {
        let path = entry.map_err(Error::file(&folder))?.path();
        std::fs::remove_file(&path).map_err(Error::file(&path))?;
    }
    Ok(())
}

/// A server that listens on this pod's own address alone.
pub(super) struct Server {
    child: Child,
    log: PathBuf,
    client: PathBuf,
    work: PathBuf,
    password: String,
}

impl Server {
    /// Starts the server on an empty volume: it sets itself up.
    pub fn start(tools: &Tools, terms: &Terms, settings: &Settings) -> Result<Self> {
        // Letters of both cases, digits and a dash: the policy of passwords wants three kinds.
        let password = crate::store::unguessable("Fs").map_err(|error| Error::Broken(error.to_string()))?;
        let log = settings.work.join("server.log");
        let file = File::create(&log).map_err(Error::file(&log))?;
        let again = file.try_clone().map_err(Error::file(&log))?;
        let mut command = Command::new(&tools.server);
        command
            .args(&settings.arguments)
            .env("ACCEPT_EULA", "Y")
            .env("MSSQL_PID", &terms.edition)
            .env("MSSQL_SA_PASSWORD", &password)
            .env("MSSQL_IP_ADDRESS", "127.0.0.1")
            .env("MSSQL_AGENT_ENABLED", "false")
            .env_remove("SA_PASSWORD");
        if let Some(collation) = &terms.collation {
            command.env("MSSQL_COLLATION", collation);
        }
        command.stdin(Stdio::null()).stdout(file).stderr(again).kill_on_drop(true);
        let child = command.spawn().map_err(Error::file(&tools.server))?;
        let (client, work) = (tools.client.clone(), settings.work.clone());
        Ok(Self { child, log, client, work, password })
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// [`Error::Tool`] with its last words when it ends instead, or with the client's when it never does.
    pub async fn wait(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.ask("SELECT 1").await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until || !self.is_running() => return Err(error),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// # Errors
    /// [`Error::Unusable`] for a server that can't read from S3.
    pub async fn is_new_enough(&mut self) -> Result<()> {
        let told = self.ask("SELECT CAST(SERVERPROPERTY('ProductMajorVersion') AS int)").await?;
        if told.trim().parse::<u32>().is_ok_and(|version| version >= OLDEST) {
            return Ok(());
        }
        Err(Error::Unusable(format!(
            "the image's SQL Server is of version {}, and only 2022 ({OLDEST}) and later read from S3: name such an image in spec.bootstrap.instance.image",
            told.trim()
        )))
    }

    /// True while it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The password of the first login is another now.
    pub fn goes_by(&mut self, password: &str) {
        password.clone_into(&mut self.password);
    }

    /// Runs a script, whose variables are in the environment of the client alone.
    ///
    /// # Errors
    /// [`Error::Tool`] with the last words of the client, or of the server where that has ended.
    pub async fn run(&mut self, name: &str, script: &str, variables: &[(&str, String)]) -> Result<()> {
        let variables = variables.iter().map(|(name, value)| (*name, value.as_str()));
        let mut client = self.client(name, script)?;
        client.envs(variables);
        self.speak(&mut client).await.map(drop)
    }

    /// Answers a query: rows split by line ends, columns by tabs. What looks like a variable is none.
    pub async fn ask(&mut self, query: &str) -> Result<String> {
        let mut client = self.client("question.sql", &format!("SET NOCOUNT ON;\n{query}\n"))?;
        client.args(["-x", "-h", "-1", "-W", "-s", "\t"]);
        let answer = self.speak(&mut client).await?;
        Ok(answer.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned())
    }

    /// It ends at the first error, and says errors where errors are said. The password has no place among arguments,
    /// and none in scripts.
    fn client(&self, name: &str, script: &str) -> Result<Command> {
        let file = self.work.join(name);
        room::private(&file, script)?;
        let mut client = Command::new(&self.client);
        client.args(["-S", "tcp:127.0.0.1,1433", "-U", FIRST_LOGIN, "-C", "-b", "-r1", "-l", "10", "-i"]);
        client.arg(file).env("SQLCMDPASSWORD", &self.password).env("HOME", &self.work);
        Ok(client)
    }

    async fn speak(&mut self, client: &mut Command) -> Result<String> {
        let (answer, said, well) = child::feed(client, b"").await?;
        if well {
            return Ok(String::from_utf8_lossy(&answer).into_owned());
        }
        if let Some(error) = self.ended() {
            return Err(error);
        }
        let said = if said.is_empty() { String::from_utf8_lossy(&answer).into_owned() } else { said };
        Err(Error::Tool { program: "sqlcmd".to_owned(), status: "refused".to_owned(), said: tail(&said) })
    }

    /// Its end, if it has ended.
    fn ended(&mut self) -> Option<Error> {
        let status = self.child.try_wait().ok().flatten()?;
        let said = String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned();
        Some(Error::Tool { program: "sqlservr".to_owned(), status: status.to_string(), said: tail(&said) })
    }

    /// Shuts it down in good order. It cuts its last conversation off: what counts is that it ends.
    pub async fn stop(mut self) -> Result<()> {
        let told = self.run("shutdown.sql", "SHUTDOWN;\n", &[]).await;
        let Ok(ended) = tokio::time::timeout(PATIENCE, self.child.wait()).await else {
            let said = told.err().map(|error| error.to_string()).unwrap_or_default();
            let status = "did not shut down".to_owned();
            return Err(Error::Tool { program: "sqlservr".to_owned(), status, said });
        };
        let status = ended.map_err(|error| Error::Broken(error.to_string()))?;
        match status.signal() {
            None => {
                if !status.success() {
                    tracing::warn!(%status, "the server was shut down, and says otherwise");
                }
                Ok(())
            }
            Some(_) => Err(self.ended().unwrap_or_else(|| Error::Broken("it was killed".to_owned()))),
        }
    }
}

fn tail(said: &str) -> String {
    let from = said.ceil_char_boundary(said.len().saturating_sub(WORDS));
    said[from..].trim().to_owned()
}
