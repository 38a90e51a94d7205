//! MariaDB and MySQL: bases unpacked and prepared in the data directory, or a dump run in a new one, then the log, in
//! one session.
//!
//! The tools' own way loses transactions with exit code 0: a replay file by file begins at a position that the
//! second file doesn't hold, and a pipe hides who failed. Here the log is one stream into one
//! `mariadb-binlog`, cut at the very byte where the moment ends, and all ends of the pipe are looked at.

mod base;
mod dump;
mod replay;
mod server;

use std::path::{Path, PathBuf};

use tokio::process::Command;

use self::server::{Server, quoted};
use super::{Error, Origin, Plan, Reached, Result, Step, child::tool_in, error::AtStep, room};

/// How an instance is restored.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The volume. The data directory is [`DATA`] in it; everything else in it goes.
    pub volume: PathBuf,
    /// A folder for sockets and other small files, of this attempt alone.
    pub work: PathBuf,
    /// Where the database's programs are, if not in the `PATH`.
    pub programs: Option<PathBuf>,
    /// Arguments for the server, besides ours.
    pub arguments: Vec<String>,
    /// A number that no other server of a replication has.
    pub server_id: u32,
    /// The account that the new instance is handed over with.
    pub admin: Option<Admin>,
    /// Queries that are asked of the restored instance.
    pub checks: Vec<String>,
    /// The server checks all its tables, too; its answer comes last.
    pub check_tables: bool,
}

/// An account with all rights.
#[derive(Clone)]
pub struct Admin {
    pub name: String,
    pub password: String,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The data directory, in the volume.
pub const DATA: &str = "db";
/// Settings that the server needs for this data directory, in the volume: what its source was made with.
pub const SETTINGS: &str = "server.cnf";
const SCRATCH: &str = "farshore-scratch";

/// Programs of the image.
struct Tools {
    mariadb: bool,
    server: PathBuf,
    client: PathBuf,
    binlog: PathBuf,
}

impl Tools {
    fn find(folder: Option<&Path>) -> Result<Self> {
        let server = tool_in(folder, &["mariadbd", "mysqld"])?;
        Ok(Self {
            mariadb: server.ends_with("mariadbd"),
            server,
            client: tool_in(folder, &["mariadb", "mysql"])?,
            binlog: tool_in(folder, &["mariadb-binlog", "mysqlbinlog"])?,
        })
    }
}

/// Restores what the plan says. The volume is emptied first: whatever an earlier attempt left is not used.
///
/// # Errors
/// With the step at which it failed. What runs by then is ended.
pub async fn restore(plan: &Plan, origin: &Origin, settings: &Settings) -> Result<Reached, AtStep> {
    let reporter = &origin.reporter;
    let at = |step: Step| move |error: Error| error.at(step);
    reporter.enter(Step::Begin);
    let tools = Tools::find(settings.programs.as_deref()).map_err(at(Step::Begin))?;
    make_room(settings).map_err(at(Step::Begin))?;
    let data = settings.volume.join(DATA);
    let scratch = settings.volume.join(SCRATCH);
    reporter.enter(Step::Fetch);
    let start = match dump::find(plan, origin).await.map_err(at(Step::Fetch))? {
        Some(dump) => dump::bring_back(dump, origin, (&tools, settings)).await?,
        None => base::bring_back(plan, origin, (&data, &scratch)).await?,
    };
    write_settings(settings).map_err(at(Step::Prepare))?;
    reporter.enter(Step::Replay);
    let (server, replayed) = async {
        let server = Server::start(&tools, &data, settings).await?;
        let replayed = replay::replay(plan, origin, (start, &scratch), (&tools, &server)).await?;
        Ok((server, replayed))
    }
    .await
    .map_err(at(Step::Replay))?;
    reporter.enter(Step::Finish);
    let answers = finish(server, &replayed, (settings, &tools)).await.map_err(at(Step::Finish))?;
    std::fs::remove_dir_all(&scratch).map_err(Error::file(&scratch)).map_err(at(Step::Finish))?;
    Ok(Reached {
        time_point: plan.time_point,
        last_commit: replayed.last_commit,
        transactions: replayed.transactions,
        bytes: reporter.progress().done,
        answers,
    })
}

/// Unpacks the bases of a plan, each into its folder, and leaves them so.
///
/// # Errors
/// [`Error::Unusable`] for a dump: a server runs it, there is nothing to unpack.
pub(super) async fn extract(plan: &Plan, origin: &Origin, folders: &[PathBuf]) -> Result<()> {
    if let Some(dump) = dump::find(plan, origin).await? {
        return Err(Error::Unusable(format!(
            "{} is a dump: there is nothing to unpack, a server runs it",
            dump.key
        )));
    }
    for (base, folder) in plan.bases.iter().zip(folders) {
        base::unpack(base, origin, folder).await?;
    }
    Ok(())
}

/// Keeps what the backup's tool noted of the server that it read: page sizes, names of system files.
fn write_settings(settings: &Settings) -> Result<()> {
    let noted = settings.volume.join(DATA).join("backup-my.cnf");
    let text = if noted.exists() {
        std::fs::read_to_string(&noted).map_err(Error::file(&noted))?
    } else {
        "[mysqld]\n".to_owned()
    };
    let file = settings.volume.join(SETTINGS);
    std::fs::write(&file, text).map_err(Error::file(&file))
}

/// Empties the volume.
fn make_room(settings: &Settings) -> Result<()> {
    let volume = &settings.volume;
    room::empty(volume)?;
    for folder in [volume.join(DATA), volume.join(SCRATCH), settings.work.clone()] {
        std::fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
    }
    Ok(())
}

/// Checks, hands over to the administrator, shuts down.
async fn finish(
    mut server: Server,
    replayed: &replay::Replayed,
    (settings, tools): (&Settings, &Tools),
) -> Result<Vec<String>> {
    let mut answers = Vec::new();
    for check in &settings.checks {
        answers.push(server.ask(check).await?);
    }
    if settings.check_tables {
        answers.push(check_tables(&mut server).await?);
    }
    if let (true, Some(position)) = (tools.mariadb, &replayed.position) {
        // A replica of the new instance's source, or another server of that line, can go on from here.
        server.say(&format!("SET GLOBAL gtid_slave_pos = {}", quoted(position))).await?;
    }
    if let Some(Admin { name, password }) = &settings.admin {
        let (account, password) = (format!("{}@'%'", quoted(name)), quoted(password));
        for statement in [
            format!("CREATE USER IF NOT EXISTS {account} IDENTIFIED BY {password}"),
            format!("ALTER USER {account} IDENTIFIED BY {password}"),
            format!("GRANT ALL PRIVILEGES ON *.* TO {account} WITH GRANT OPTION"),
        ] {
            server.say(&statement).await?;
        }
    }
    server.stop().await?;
    Ok(answers)
}

/// `OK`, or the first complaint.
async fn check_tables(server: &mut Server) -> Result<String> {
    let tables = server
        .ask("SELECT CONCAT('`', table_schema, '`.`', table_name, '`') FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('information_schema', 'performance_schema', 'sys')")
        .await?;
    for table in tables.lines() {
        let told = server.ask(&format!("CHECK TABLE {table}")).await?;
        let last = told.lines().last().unwrap_or_default();
        let note = last.ends_with("\tOK") || told.lines().all(|line| line.contains("\tnote\t"));
        if !note {
            return Ok(format!("{table}: {}", last.replace('\t', " ")));
        }
    }
    Ok("OK".to_owned())
}

/// A command of the database's own that reads no settings but those given here.
fn plain(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("TZ", "UTC");
    command
}
