//! The database's server, for nobody but us: in recovery, then for checks and the administrator's account.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use jiff::Timestamp;
use tokio::process::{Child, Command};

use super::{Place, Settings, data::Account};
use crate::restore::{Error, Result, child, mysql::Admin};

const LOOK: Duration = Duration::from_millis(100);
/// What the server says of a target that nothing follows.
const TOO_EARLY: &str = "recovery ended before configured recovery target was reached";
const READY: &str = "database system is ready to accept connections";
const LAST: &str = "last completed transaction was at log time ";
const RESTORED: &str = "restored log file \"";
/// Bytes of the server's log that a failure shows.
const WORDS: usize = 2048;

/// Programs of the server's version.
pub(super) struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Looks whether the image has a server at all.
    pub fn any() -> Result<()> {
        let debian = Path::new("/usr/lib/postgresql");
        let versions = std::fs::read_dir(debian).into_iter().flatten().flatten();
        if versions.into_iter().any(|version| version.path().join("bin/postgres").is_file()) {
            return Ok(());
        }
        child::tool(&["postgres"]).map(drop)
    }

    /// The programs that fit a data directory.
    ///
    /// # Errors
    /// [`Error::Unusable`] where the image's server is of another major version.
    pub fn for_data(data: &Path) -> Result<Self> {
        let file = data.join("PG_VERSION");
        let version = std::fs::read_to_string(&file).map_err(Error::file(&file))?.trim().to_owned();
        let known = [format!("/usr/lib/postgresql/{version}/bin"), format!("/usr/pgsql-{version}/bin")];
        if let Some(folder) = known.map(PathBuf::from).into_iter().find(|f| f.join("postgres").is_file()) {
            return Ok(Self { folder });
        }
        let found = child::tool(&["postgres"])?;
        let real = std::fs::canonicalize(&found).map_err(Error::file(&found))?;
        let told = std::process::Command::new(&real).arg("--version").output().map_err(Error::file(&real))?;
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let own = told.split_whitespace().nth(2).and_then(|number| number.split('.').next());
        if own != Some(version.as_str()) {
            return Err(Error::Unusable(format!(
                "the backup is of PostgreSQL {version}, the image has {}: name an image of version {version} in spec.bootstrap.instance.image",
                told.trim()
            )));
        }
        Ok(Self { folder: real.parent().unwrap_or(Path::new("/")).to_owned() })
    }

    /// What the control file says.
    pub async fn control_data(&self, data: &Path) -> Result<String> {
        let program = self.folder.join("pg_controldata");
        let mut command = Command::new(&program);
        let output = command.arg(data).env("LC_ALL", "C").output().await.map_err(Error::file(&program))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self, program: &str, account: Option<Account>) -> Command {
        let mut command = std::process::Command::new(self.folder.join(program));
        command.env("TZ", "UTC").env("LC_ALL", "C").env_remove("PGDATA");
        if let Some(account) = account {
            command.uid(account.user).gid(account.group);
        }
        Command::from(command)
    }
}

/// Where a recovery ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    At {
        timeline: String,
        moment: Timestamp,
    },
    /// When the log has no more, and not before this segment.
    AtEnd {
        timeline: String,
        last: Option<String>,
    },
}

/// How a recovery ended.
pub(super) enum Ended {
    Promoted {
        server: Box<Server>,
        last_commit: Option<Timestamp>,
    },
    /// The log has nothing that would be too late for the moment.
    TooEarly,
}

/// A recovery to be run.
pub(super) struct Recovery<'a> {
    pub settings: &'a Settings,
    pub place: &'a Place,
    pub tools: &'a Tools,
    /// Brings the server its log.
    pub command: &'a str,
    pub stop: Stop,
}

impl Recovery<'_> {
    /// Runs the server until it is promoted.
    ///
    /// # Errors
    /// [`Error::Tool`] with the server's last words when it ends instead; [`Error::Damaged`] when it took an earlier
    /// place for the end of the log.
    pub async fn run(&mut self) -> Result<Ended> {
        let signal = self.place.data.join("recovery.signal");
        std::fs::write(&signal, "").map_err(Error::file(&signal))?;
        if let Some(account) = self.place.account {
            account.own(&signal)?;
        }
        let mut server = Server::start(self.settings, self.place, (self.tools, &self.options()))?;
        let told = loop {
            let told = server.said();
            if told.contains(READY) {
                break told;
            }
            if let Some(error) = server.ended() {
                return if server.said().contains(TOO_EARLY) { Ok(Ended::TooEarly) } else { Err(error) };
            }
            tokio::time::sleep(LOOK).await;
        };
        if let Stop::AtEnd { last: Some(last), .. } = &self.stop
            && !told.contains(&format!("{RESTORED}{last}\""))
        {
            let got = told.rsplit_once(RESTORED).and_then(|(_, rest)| rest.split('"').next());
            let cause = format!(
                "the server took {} for the end of the log, which goes on to {last}: a segment is damaged",
                got.unwrap_or("its base")
            );
            return Err(Error::Damaged { key: got.unwrap_or(last).to_owned(), cause });
        }
        let last_commit = told.lines().rev().find_map(|line| parse_time(line.split_once(LAST)?.1));
        Ok(Ended::Promoted { server: Box::new(server), last_commit })
    }

    /// Settings of the recovery, which nobody will find in the instance.
    fn options(&self) -> Vec<String> {
        let (Stop::At { timeline, .. } | Stop::AtEnd { timeline, .. }) = &self.stop;
        let mut options = vec![
            format!("restore_command={}", self.command),
            format!("recovery_target_timeline={timeline}"),
            "recovery_target_action=promote".to_owned(),
        ];
        if let Stop::At { moment, .. } = &self.stop {
            options.push(format!("recovery_target_time={}", moment.strftime("%Y-%m-%d %H:%M:%S.%6f+00")));
        }
        options
    }
}

/// `2026-11-21 20:58:21.702144+00`
fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let text = text.strip_suffix("+00").unwrap_or(text);
    format!("{text}Z").parse().ok()
}

/// A server that listens on a socket in our own folder.
pub(super) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    fn start(settings: &Settings, place: &Place, (tools, options): (&Tools, &[String])) -> Result<Self> {
        let (log, access) = (settings.work.join("server.log"), settings.work.join("access.conf"));
        std::fs::write(&access, "local all all trust\n").map_err(Error::file(&access))?;
        if let Some(account) = place.account {
            account.own(&access)?;
        }
        let file = File::create(&log).map_err(Error::file(&log))?;
        let mut command = tools.command("postgres", place.account);
        command.arg("-D").arg(&place.data).args(&settings.arguments);
        let own = [
            "listen_addresses=",
            "unix_socket_permissions=0700",
            "archive_mode=off",
            "hot_standby=off",
            "ssl=off",
            "logging_collector=off",
            "log_destination=stderr",
            "log_min_messages=warning",
            "log_timezone=UTC",
            "lc_messages=C",
            "autovacuum=off",
            // Nothing of what the source was told to do is done meanwhile: it may still run elsewhere.
            "max_logical_replication_workers=0",
            "shared_preload_libraries=",
        ];
        let places = [
            format!("unix_socket_directories={}", settings.work.display()),
            format!("hba_file={}", access.display()),
        ];
        for option in own.into_iter().map(str::to_owned).chain(places).chain(options.iter().cloned()) {
            command.arg("-c").arg(option);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).kill_on_drop(true);
        let program = tools.folder.join("postgres");
        let child = command.spawn().map_err(Error::file(&program))?;
        Ok(Self { child, log })
    }

    /// All that it has said.
    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its end, if it has ended.
    fn ended(&mut self) -> Option<Error> {
        let status = self.child.try_wait().ok().flatten()?;
        let said = self.said();
        let from = said.len().saturating_sub(WORDS);
        let from = (from..said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(0);
        let said = said[from..].trim().to_owned();
        Some(Error::Tool { program: "postgres".to_owned(), status: status.to_string(), said })
    }

    async fn ready(&mut self) -> Result<()> {
        while !self.said().contains(READY) {
            if let Some(error) = self.ended() {
                return Err(error);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Shuts it down in good order.
    pub async fn stop(mut self, place: &Place, tools: &Tools) -> Result<()> {
        let mut command = tools.command("pg_ctl", place.account);
        command.arg("-D").arg(&place.data).args(["-w", "-m", "fast", "-t", "3600", "stop"]);
        child::run(&mut command).await?;
        self.child.wait().await.map(drop).map_err(|error| Error::Broken(error.to_string()))
    }
}

/// Makes the administrator's account, and asks the checks. The server is stopped before and after.
pub(super) async fn finish((settings, place): (&Settings, &Place), tools: &Tools) -> Result<Vec<String>> {
    if let Some(admin) = &settings.admin {
        make_admin(admin, (settings, place), tools).await?;
    }
    if settings.checks.is_empty() && !settings.check_tables {
        return Ok(Vec::new());
    }
    let mut server = Server::start(settings, place, (tools, &[]))?;
    server.ready().await?;
    let role = settings.admin.as_ref().map_or("postgres", |admin| admin.name.as_str());
    let mut answers = Vec::new();
    for check in &settings.checks {
        answers.push(ask(check, role, (settings, tools)).await?);
    }
    if settings.check_tables {
        let mut dump = tools.command("pg_dumpall", None);
        // `OK`, or what can't be read.
        answers.push(match child::run(dump.args(["-w", "-U", role, "-h"]).arg(&settings.work)).await {
            Ok(()) => "OK".to_owned(),
            Err(Error::Tool { said, .. }) => said,
            Err(error) => return Err(error),
        });
    }
    server.stop(place, tools).await?;
    Ok(answers)
}

/// Whether the image knows who runs the server by name.
fn is_known(place: &Place) -> Result<bool> {
    let user = Account::runs(place.account)?;
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    Ok(users.lines().any(|line| line.split(':').nth(2) == Some(&user.to_string())))
}

async fn ask(query: &str, role: &str, (settings, tools): (&Settings, &Tools)) -> Result<String> {
    let mut command = tools.command("psql", None);
    command.args([
        "-X",
        "-q",
        "-A",
        "-t",
        "-v",
        "ON_ERROR_STOP=1",
        "-v",
        "VERBOSITY=terse",
        "-d",
        "postgres",
        "-U",
        role,
        "-h",
    ]);
    let (answer, said, well) = feed(command.arg(&settings.work), query).await?;
    if !well {
        return Err(Error::Tool { program: "psql".to_owned(), status: "a check failed".to_owned(), said });
    }
    Ok(answer.trim().to_owned())
}

/// The account of the source's cluster that everybody has unless somebody chose otherwise.
const FIRST_ACCOUNT: &str = "postgres";

/// In single-user mode: whoever made the source's cluster may have called its first account anything. That mode wants
/// a user that the image knows by name; for others, the account with the usual name is asked.
async fn make_admin(admin: &Admin, (settings, place): (&Settings, &Place), tools: &Tools) -> Result<()> {
    if admin.name.contains(['\n', '\0']) || admin.password.contains(['\n', '\0']) {
        return Err(Error::Unusable(
            "the administrator's name or password has more than one line".to_owned(),
        ));
    }
    let (name, text) = (admin.name.replace('"', "\"\""), admin.name.replace('\'', "''"));
    let password = admin.password.replace('\'', "''");
    let sql = format!(
        "DO $farshore$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{text}') THEN CREATE ROLE \"{name}\"; END IF; END $farshore$;\n\
         ALTER ROLE \"{name}\" WITH SUPERUSER CREATEDB CREATEROLE LOGIN PASSWORD '{password}' VALID UNTIL 'infinity';\n"
    );
    if !is_known(place)? {
        let quiet = ["log_min_error_statement=panic", "log_statement=none"].map(ToOwned::to_owned);
        let mut server = Server::start(settings, place, (tools, &quiet))?;
        server.ready().await?;
        ask(&sql, FIRST_ACCOUNT, (settings, tools)).await.map_err(|error| {
            Error::Unusable(format!(
                "the administrator's account can't be made: the image knows no user with the number that spec.bootstrap.instance.runAsUser says, so that PostgreSQL's account {FIRST_ACCOUNT} is asked ({error}); name a user of the image"
            ))
        })?;
        return server.stop(place, tools).await;
    }
    let mut command = tools.command("postgres", place.account);
    command.arg("--single").arg("-D").arg(&place.data).args(&settings.arguments);
    // A statement that fails would be logged, and with it the password.
    for option in [
        "archive_mode=off",
        "log_min_error_statement=panic",
        "log_statement=none",
        "shared_preload_libraries=",
    ] {
        command.arg("-c").arg(option);
    }
    let (_, said, well) = feed(command.arg("postgres"), &sql).await?;
    let failed =
        said.lines().any(|line| ["ERROR:", "FATAL:", "PANIC:"].iter().any(|word| line.contains(word)));
    if failed || !well {
        let status = "the administrator's account can't be made".to_owned();
        return Err(Error::Tool { program: "postgres --single".to_owned(), status, said });
    }
    Ok(())
}

/// Runs a program on an input; answers its output, its words, and whether it ended well.
async fn feed(command: &mut Command, input: &str) -> Result<(String, String, bool)> {
    let (answer, said, well) = child::feed(command, input.as_bytes()).await?;
    Ok((String::from_utf8_lossy(&answer).trim().to_owned(), said, well))
}
