//! The script that a server of 2022 or later is given, which reads the files from the copy itself.
//!
//! Every database is restored to the same moment: the full backup, the differential one, the logs up to the
//! one that holds the moment, all of them before any is opened. The moment is written in the zone of the
//! server that made the backups, since its logs are.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::tz::Offset;

use crate::{
    backup::{
        catalog::{Base, Position, Span, mssql::SIDECAR},
        sync::Place,
    },
    restore::{Error, Plan, PlannedLog, Result},
};

/// A server reads a backup from at most so many addresses.
const MAX_STRIPES: usize = 64;
/// Characters of an address, and of a credential's name, that a server takes.
const MAX_URL: usize = 259;
const MAX_NAME: usize = 128;
/// The region that a server signs for unless it is told another.
const REGION: &str = "us-east-1";
/// What RESTORE FILELISTONLY shows, from 2016 on.
const FILES: &str = "LogicalName nvarchar(128), PhysicalName nvarchar(260), Type char(1), FileGroupName nvarchar(128), \
Size numeric(20,0), MaxSize numeric(20,0), FileId bigint, CreateLSN numeric(25,0), DropLSN numeric(25,0), \
UniqueId uniqueidentifier, ReadOnlyLSN numeric(25,0), ReadWriteLSN numeric(25,0), BackupSizeInBytes bigint, \
SourceBlockSize int, FileGroupId int, LogGroupGUID uniqueidentifier, DifferentialBaseLSN numeric(25,0), \
DifferentialBaseGUID uniqueidentifier, IsReadOnly bit, IsPresent bit, TDEThumbprint varbinary(32), \
SnapshotUrl nvarchar(360)";

/// What statements have to spell out.
#[derive(Clone, Debug)]
pub struct Dialect {
    /// Of the server that made the backups, east of UTC.
    pub utc_offset_seconds: i32,
    /// Where the new server keeps its files.
    pub folder: String,
    /// Region that requests are signed for.
    pub signing_region: String,
    /// The bucket's name is part of the host's.
    pub virtual_hosted: bool,
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

/// The databases that a plan restores, by name.
///
/// # Errors
/// [`Error::Unusable`] for a set that SQL Server can't restore by itself.
pub(super) fn names(plan: &Plan) -> Result<Vec<String>> {
    Ok(databases(plan)?.iter().map(|database| database.name.to_owned()).collect())
}

/// The script that restores what the plan says from a copy. The keys of the store come from the environment, as
/// `S3_ACCESS_KEY` and `S3_SECRET_KEY`.
///
/// # Errors
/// [`Error::Unusable`] for an endpoint that SQL Server does not read from, a set that it can't restore by
/// itself, or a backup with too many stripes.
pub fn script(plan: &Plan, copy: &Place, dialect: &Dialect) -> Result<String> {
    let databases = databases(plan)?;
    let source = Source::new(copy, dialect)?;
    let offset = Offset::from_seconds(dialect.utc_offset_seconds);
    let offset = offset.map_err(|error| Error::Unusable(format!("the offset from UTC: {error}")))?;
    let moment = offset.to_datetime(plan.time_point).strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let mut text = opening(&source, plan);
    let begun = text.len();
    for database in &databases {
        restore(&mut text, database, (&source, &moment), dialect)?;
    }
    // sqlcmd would fill in what it takes for a variable of its own, within texts and names as well.
    if text[begun..].contains("$(") {
        return Err(Error::Unusable("a name with $( in it can't be given to sqlcmd".to_owned()));
    }
    line(&mut text, "-- All of them are at the moment: now they may be opened.");
    for database in &databases {
        line(&mut text, &format!("RESTORE DATABASE {} WITH RECOVERY;", name(database.name)));
    }
    line(&mut text, &format!("DROP CREDENTIAL {};", name(&source.credential)));
    Ok(text)
}

fn line(text: &mut String, words: &str) {
    text.push_str(words);
    text.push('\n');
}

/// Where the files lie, as a server is told.
struct Source {
    /// `s3://host:port/bucket/prefix`
    url: String,
    /// A credential counts for all addresses that begin with its name.
    credential: String,
    /// What is added to the options of each statement.
    options: String,
}

impl Source {
    fn new(copy: &Place, dialect: &Dialect) -> Result<Self> {
        let host = copy.endpoint.strip_prefix("https://").ok_or_else(|| {
            Error::Unusable(format!(
                "SQL Server reads from https endpoints only, and {} is none: give the store's Region an https endpoint",
                copy.endpoint
            ))
        })?;
        let host = host.trim_end_matches('/');
        let credential = if dialect.virtual_hosted {
            format!("s3://{}.{host}", copy.bucket)
        } else {
            format!("s3://{host}/{}", copy.bucket)
        };
        if credential.encode_utf16().count() > MAX_NAME {
            return Err(Error::Unusable(format!(
                "SQL Server takes no credential whose name has more than {MAX_NAME} characters, and {credential} has"
            )));
        }
        let options = match dialect.signing_region.as_str() {
            "" | REGION => String::new(),
            region if region.contains(['"', '\\', '\'']) => {
                return Err(Error::Unusable(format!("SQL Server can't be told the region {region}")));
            }
            region => format!(", RESTORE_OPTIONS = '{{\"s3\": {{\"region\":\"{region}\"}}}}'"),
        };
        Ok(Self { url: format!("{credential}/{}", copy.prefix), credential, options })
    }

    /// `URL = N'…', URL = N'…'`, in the order of stripes.
    fn from(&self, keys: &[&str], what: &str) -> Result<String> {
        if keys.is_empty() || keys.len() > MAX_STRIPES {
            let message = format!("{what} has {} stripes: a server reads 1 to {MAX_STRIPES}", keys.len());
            return Err(Error::Unusable(message));
        }
        let mut from = String::new();
        for key in keys {
            let url = format!("{}{key}", self.url);
            if url.encode_utf16().count() > MAX_URL {
                return Err(Error::Unusable(format!(
                    "SQL Server reads from no address with more than {MAX_URL} characters, and {url} has: let the copy have a shorter prefix"
                )));
            }
            let separator = if from.is_empty() { "" } else { ", " };
            write!(from, "{separator}URL = {}", literal(&url))
                .map_err(|error| Error::Broken(error.to_string()))?;
        }
        Ok(from)
    }
}

fn opening(source: &Source, plan: &Plan) -> String {
    let mut text = String::new();
    line(&mut text, &format!("-- Restores the databases of {} to {}.", source.url, plan.time_point));
    line(&mut text, "SET NOCOUNT ON;");
    line(&mut text, "SET XACT_ABORT ON;");
    let (named, quoted) = (name(&source.credential), literal(&source.credential));
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
    (source, moment): (&Source, &str),
    dialect: &Dialect,
) -> Result<()> {
    let options = &source.options;
    let named = name(database.name);
    for (at, base) in database.bases.iter().enumerate() {
        let mut keys = Vec::new();
        for span in base.keys.payload.iter().rev() {
            let Span::One(key) = span else {
                return Err(Error::Unusable(format!("backup {} is a folder", base.id)));
            };
            keys.push(key.as_str());
        }
        let from = source.from(&keys, &base.id)?;
        line(text, &format!("-- {}: {}", database.name, base.id));
        if at == 0 {
            full(text, database.name, (&from, options), dialect);
        } else {
            line(
                text,
                &format!("RESTORE DATABASE {named} FROM {from} WITH NORECOVERY, STATS = 10{options};"),
            );
        }
    }
    for log in &database.logs {
        let from = source.from(&log.keys, database.name)?;
        let statement =
            format!("RESTORE LOG {named} FROM {from} WITH NORECOVERY, STOPAT = N'{moment}'{options};");
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
fn full(text: &mut String, database: &str, (from, options): (&str, &str), dialect: &Dialect) {
    let statement =
        format!("RESTORE DATABASE {} FROM {from} WITH NORECOVERY, STATS = 10{options}", name(database));
    let listed = match options.strip_prefix(", ") {
        Some(options) => format!("RESTORE FILELISTONLY FROM {from} WITH {options}"),
        None => format!("RESTORE FILELISTONLY FROM {from}"),
    };
    let place = format!("{}/{database}_", dialect.folder.trim_end_matches('/'));
    line(text, &format!("DECLARE @files TABLE ({FILES});"));
    line(text, &format!("INSERT INTO @files EXEC ({});", literal(&listed)));
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

/// A name in brackets.
pub(super) fn name(text: &str) -> String {
    format!("[{}]", text.replace(']', "]]"))
}

pub(super) fn literal(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}
