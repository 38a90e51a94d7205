//! SQL Server from its own files: the script that a server of 2022 or later is given, which reads them from
//! the copy itself.
//!
//! Every database is restored to the same moment: the full backup, the differential one, the logs up to the
//! one that holds the moment, all of them before any is opened. The moment is written in the zone of the
//! server that made the backups, since its logs are. No SQL Server was to be had: the script is tested as a
//! text.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::tz::Offset;

use super::{Error, Plan, PlannedLog, Result};
use crate::backup::{
    catalog::{Base, Position, Span, mssql::SIDECAR},
    sync::Place,
};

/// A server reads a backup from at most so many addresses.
const MAX_STRIPES: usize = 64;
/// What RESTORE FILELISTONLY shows, from 2016 on.
const FILES: &str = "LogicalName nvarchar(128), PhysicalName nvarchar(260), Type char(1), FileGroupName nvarchar(128), \
Size numeric(20,0), MaxSize numeric(20,0), FileId bigint, CreateLSN numeric(25,0), DropLSN numeric(25,0), \
UniqueId uniqueidentifier, ReadOnlyLSN numeric(25,0), ReadWriteLSN numeric(25,0), BackupSizeInBytes bigint, \
SourceBlockSize int, FileGroupId int, LogGroupGUID uniqueidentifier, DifferentialBaseLSN numeric(25,0), \
DifferentialBaseGUID uniqueidentifier, IsReadOnly bit, IsPresent bit, TDEThumbprint varbinary(32), \
SnapshotUrl nvarchar(360)";

/// How the new server is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of the server that made the backups, east of UTC.
    pub utc_offset_seconds: i32,
    /// Where the new server keeps its files.
    pub folder: String,
}

/// One database, with what restores it.
struct Database<'a> {
    name: &'a str,
    bases: Vec<&'a Base>,
    logs: Vec<Log<'a>>,
}

/// One log, of one or several files.
struct Log<'a> {
    keys: Vec<&'a str>,
    /// The base may hold it already, as far as times tell.
    early: bool,
}

/// The command that runs a script: it ends at the first error. The keys of the store come from the
/// environment, as `S3_ACCESS_KEY` and `S3_SECRET_KEY`, the password as `SQLCMDPASSWORD`.
#[must_use]
pub fn command(script: &str) -> Vec<String> {
    ["sqlcmd", "-S", "localhost", "-U", "sa", "-C", "-b", "-i", script].map(ToOwned::to_owned).to_vec()
}

/// The script that restores what the plan says from a copy.
///
/// # Errors
/// [`Error::Unusable`] for an endpoint that SQL Server does not read from, a set that it can't restore by
/// itself, or a backup with too many stripes.
pub fn script(plan: &Plan, copy: &Place, settings: &Settings) -> Result<String> {
    let databases = databases(plan)?;
    let url = address(copy)?;
    let offset = Offset::from_seconds(settings.utc_offset_seconds);
    let offset = offset.map_err(|error| Error::Unusable(format!("the offset from UTC: {error}")))?;
    let moment = offset.to_datetime(plan.time_point).strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let mut text = opening(copy, &url, plan);
    let begun = text.len();
    for database in &databases {
        restore(&mut text, database, &url, &moment, settings)?;
    }
    // sqlcmd would fill in what it takes for a variable of its own, within texts and names as well.
    if text[begun..].contains("$(") {
        return Err(Error::Unusable("a name with $( in it can't be given to sqlcmd".to_owned()));
    }
    line(&mut text, "-- All of them are at the moment: now they may be opened.");
    for database in &databases {
        line(&mut text, &format!("RESTORE DATABASE {} WITH RECOVERY;", name(database.name)));
    }
    line(&mut text, &format!("DROP CREDENTIAL {};", name(&credential(copy, &url))));
    Ok(text)
}

fn line(text: &mut String, words: &str) {
    text.push_str(words);
    text.push('\n');
}

/// `s3://host:port/bucket/prefix`
fn address(copy: &Place) -> Result<String> {
    let host = copy.endpoint.strip_prefix("https://").ok_or_else(|| {
        Error::Unusable(format!("SQL Server reads from https endpoints only, and {} is none", copy.endpoint))
    })?;
    Ok(format!("s3://{}/{}/{}", host.trim_end_matches('/'), copy.bucket, copy.prefix))
}

/// A credential counts for all addresses that begin with its name.
fn credential(copy: &Place, url: &str) -> String {
    let end = url.len() - copy.prefix.len() - 1;
    url[..end].to_owned()
}

fn opening(copy: &Place, url: &str, plan: &Plan) -> String {
    let mut text = String::new();
    line(&mut text, &format!("-- Restores the databases of {url} to {}.", plan.time_point));
    line(&mut text, "SET NOCOUNT ON;");
    line(&mut text, "SET XACT_ABORT ON;");
    let credential = credential(copy, url);
    let (named, quoted) = (name(&credential), literal(&credential));
    line(&mut text, &format!("IF EXISTS (SELECT 1 FROM sys.credentials WHERE name = {quoted})"));
    line(&mut text, &format!("  DROP CREDENTIAL {named};"));
    line(&mut text, &format!("CREATE CREDENTIAL {named} WITH IDENTITY = 'S3 Access Key',"));
    line(&mut text, "  SECRET = '$(S3_ACCESS_KEY):$(S3_SECRET_KEY)';");
    line(&mut text, "GO");
    text
}

fn databases(plan: &Plan) -> Result<Vec<Database<'_>>> {
    let mut found: BTreeMap<&str, Database> = BTreeMap::new();
    for base in plan.bases.iter().map(|planned| &planned.base) {
        let scope = base.scope.name.as_str();
        if scope.is_empty() || !matches!(base.position, Position::Lsn { .. } | Position::Time(_)) {
            let message = format!(
                "backup {} is no file that SQL Server wrote itself: its own tool restores it",
                base.id
            );
            return Err(Error::Unusable(message));
        }
        let name = scope.rsplit('/').next().unwrap_or(scope);
        let database =
            found.entry(scope).or_insert_with(|| Database { name, bases: Vec::new(), logs: Vec::new() });
        database.bases.push(base);
    }
    for group in plan.logs[..plan.needed_logs].chunk_by(same_log) {
        let Some(database) = found.get_mut(group[0].stream.as_str()) else { continue };
        let done = database.bases.last().map(|base| base.consistent_at);
        let proved = database.bases.last().is_some_and(|base| matches!(base.position, Position::Lsn { .. }));
        let keys = group.iter().map(|log| log.object.location()).filter(|key| !key.ends_with(SIDECAR));
        let early = !proved && done.is_some_and(|done| group[0].to <= done);
        database.logs.push(Log { keys: keys.rev().collect(), early });
    }
    let mut names: Vec<&str> = found.values().map(|database| database.name).collect();
    names.sort_unstable();
    if let Some([twice, _]) = names.array_windows().find(|[one, other]| one == other) {
        return Err(Error::Unusable(format!("two servers of the set have a database {twice}")));
    }
    Ok(found.into_values().collect())
}

/// Stripes and headers of one log stand side by side.
fn same_log(a: &PlannedLog, b: &PlannedLog) -> bool {
    (&a.stream, a.from, a.to) == (&b.stream, b.from, b.to)
}

fn restore(
    text: &mut String,
    database: &Database,
    url: &str,
    moment: &str,
    settings: &Settings,
) -> Result<()> {
    let named = name(database.name);
    for (at, base) in database.bases.iter().enumerate() {
        let mut keys = Vec::new();
        for span in base.keys.payload.iter().rev() {
            let Span::One(key) = span else {
                return Err(Error::Unusable(format!("backup {} is a folder", base.id)));
            };
            keys.push(key.as_str());
        }
        let from = from(&keys, url, &base.id)?;
        line(text, &format!("-- {}: {}", database.name, base.id));
        if at == 0 {
            full(text, database.name, &from, settings);
        } else {
            line(text, &format!("RESTORE DATABASE {named} FROM {from} WITH NORECOVERY, STATS = 10;"));
        }
    }
    for log in &database.logs {
        let from = from(&log.keys, url, database.name)?;
        let statement = format!("RESTORE LOG {named} FROM {from} WITH NORECOVERY, STOPAT = N'{moment}';");
        if log.early {
            // What is too early is refused, and not needed; what is missing is noticed with the next one.
            line(
                text,
                &format!("BEGIN TRY {statement} END TRY BEGIN CATCH PRINT ERROR_MESSAGE(); END CATCH;"),
            );
        } else {
            line(text, &statement);
        }
    }
    line(text, "GO");
    Ok(())
}

/// A full backup, with its files where the new server keeps its own.
fn full(text: &mut String, database: &str, from: &str, settings: &Settings) {
    let statement = format!("RESTORE DATABASE {} FROM {from} WITH NORECOVERY, STATS = 10", name(database));
    let place = format!("{}/{database}_", settings.folder.trim_end_matches('/'));
    line(text, &format!("DECLARE @files TABLE ({FILES});"));
    line(
        text,
        &format!("INSERT INTO @files EXEC ({});", literal(&format!("RESTORE FILELISTONLY FROM {from}"))),
    );
    line(text, &format!("DECLARE @restore nvarchar(max) = {};", literal(&statement)));
    line(
        text,
        "SELECT @restore = @restore + N', MOVE N''' + REPLACE(LogicalName, N'''', N'''''') + N''' TO N'''",
    );
    line(text, &format!("  + REPLACE({}, N'''', N'''''') + CAST(FileId AS nvarchar(20))", literal(&place)));
    line(
        text,
        "  + CASE Type WHEN 'D' THEN IIF(FileId = 1, N'.mdf', N'.ndf') WHEN 'L' THEN N'.ldf' ELSE N'' END + N''''",
    );
    line(text, "FROM @files;");
    line(text, "EXEC (@restore);");
}

/// `URL = N'…', URL = N'…'`, in the order of stripes.
fn from(keys: &[&str], url: &str, what: &str) -> Result<String> {
    if keys.is_empty() || keys.len() > MAX_STRIPES {
        let message = format!("{what} has {} stripes: a server reads 1 to {MAX_STRIPES}", keys.len());
        return Err(Error::Unusable(message));
    }
    let mut from = String::new();
    for key in keys {
        let separator = if from.is_empty() { "" } else { ", " };
        write!(from, "{separator}URL = {}", literal(&format!("{url}{key}")))
            .map_err(|error| Error::Broken(error.to_string()))?;
    }
    Ok(from)
}

/// A name in brackets.
fn name(text: &str) -> String {
    format!("[{}]", text.replace(']', "]]"))
}

fn literal(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}
