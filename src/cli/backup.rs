//! `farshore backup …`: the same eyes as the worker's, without a cluster.

mod extract;
mod mongodb;
mod purge;

use std::{io::Write, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::Error;
use crate::{
    api::utc_offset_seconds,
    backup::{
        self,
        catalog::{Format, sqlserver::Names},
        sync::Place,
    },
    restore,
    store::{
        ObjectStore,
        credentials::Credentials,
        s3::{Addressing, S3Config, S3Store},
    },
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows what a bucket holds: bases, logs, gaps, windows, and whether a moment can be restored.
    Inspect(Inspect),
    /// Says what a restore to a moment reads, or why there is none: exit code 1. Without --at: the latest.
    Plan(Inspect),
    /// Fetches the bases that a restore to a moment reads, and unpacks them into a folder.
    ///
    /// For those who go on by hand: no cluster and no database is needed, and nothing is prepared or replayed. Bases of
    /// mariadb-backup and xtrabackup (mariadb-operator, WAL-G), and of PostgreSQL (Barman, WAL-G).
    Extract(extract::Extract),
    /// Deletes a copy that Farshore made: what its records name, in all versions, and nothing else.
    Purge(purge::Purge),
    /// Restores a logical backup of WAL-G and its oplog, to any second, into a MongoDB that holds nothing.
    ///
    /// Its address, with an account that may do everything, comes from `FARSHORE_MONGODB_URI`.
    RestoreMongodb(mongodb::Restore),
}

#[derive(Debug, Args)]
pub struct Inspect {
    /// The set, like `s3://bucket/prefix`.
    #[arg(value_name = "S3-URL")]
    url: String,
    /// Layout of the backups. Without it, the one that a copy was begun with, or that names tell.
    #[arg(long, value_enum)]
    format: Option<FormatName>,
    /// With format `files`: regular expression that fits the keys of full backups.
    #[arg(long, value_name = "REGEX", required_if_eq("format", "files"))]
    full: Option<String>,
    /// With format `files`: regular expression that fits the keys of incremental backups or logs.
    #[arg(long, value_name = "REGEX")]
    incremental: Option<String>,
    /// With format `sqlserver`: offset from UTC of the times in names, as +02:00 or Z.
    #[arg(long, value_name = "OFFSET", required_if_eq("format", "sqlserver"), allow_hyphen_values = true)]
    utc_offset: Option<String>,
    /// With format `sqlserver`: regular expression that fits keys, with groups `database`, `kind` and `time`.
    #[arg(long, value_name = "REGEX")]
    pattern: Option<String>,
    /// With format `sqlserver`: a database that no moment waits for.
    #[arg(long = "ignore-database", value_name = "NAME")]
    ignore_databases: Vec<String>,
    /// Moment to ask about, in RFC 3339: 2026-11-21T02:14:06Z
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    store: StoreFlags,
}

/// How the store is reached. Keys come from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
/// `AWS_SESSION_TOKEN`, or from files of these names.
#[derive(Debug, Args)]
struct StoreFlags {
    /// URL of the store's endpoint.
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    endpoint: String,
    /// Region that requests are signed for.
    #[arg(long, value_name = "REGION", env = "AWS_REGION", default_value = "us-east-1")]
    region: String,
    /// How the bucket is addressed.
    #[arg(long, value_enum, default_value_t = AddressingName::Path)]
    addressing: AddressingName,
    /// PEM file of authorities to trust besides the system's.
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// Directory with files `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, instead of the environment.
    #[arg(long, value_name = "DIR")]
    credentials_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// mariadb-operator: physicalbackup-*.xb*, server-*/binlogs
    MariadbOperator,
    /// WAL-G for MySQL and MariaDB
    WalgMysql,
    /// WAL-G for MongoDB
    WalgMongodb,
    /// WAL-G for SQL Server
    WalgSqlserver,
    /// SQL Server's own files, told by --utc-offset and --pattern
    Sqlserver,
    /// The operator of Percona `XtraDB` Cluster
    Pxc,
    /// Percona Backup for MongoDB
    Pbm,
    /// Barman in object stores, CloudNativePG
    Barman,
    /// WAL-G for PostgreSQL
    WalgPostgres,
    /// pgBackRest
    #[value(name = "pgbackrest")]
    PgBackRest,
    /// Any tool, told by --full and --incremental
    Files,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AddressingName {
    /// endpoint/bucket
    Path,
    /// bucket.endpoint
    Virtual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Runs the command.
pub async fn run(command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::Inspect(flags) => inspect(flags).await,
        Command::Plan(flags) => plan(flags).await,
        Command::Extract(flags) => Box::pin(extract::run(flags)).await,
        Command::Purge(flags) => purge::run(flags).await,
        Command::RestoreMongodb(flags) => Box::pin(mongodb::run(flags)).await,
    }
}

async fn inspect(flags: Inspect) -> Result<ExitCode, Error> {
    let Asked { store, prefix, format, at } = asked(&flags).await?;
    let found = backup::inspect::inspect(store, &prefix, &format, at).await?;
    print(flags.output, &found)?;
    Ok(ExitCode::SUCCESS)
}

async fn plan(flags: Inspect) -> Result<ExitCode, Error> {
    let Asked { store, prefix, format, at } = asked(&flags).await?;
    match restore::look(&store, &prefix, &format, at).await {
        Ok((_, plan)) => print(flags.output, &plan)?,
        Err(restore::Error::Refused(refusal)) if flags.output == Output::Json => {
            print(flags.output, &refusal)?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// A set, and what is asked of it.
struct Asked {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    format: Format,
    at: Option<Timestamp>,
}

async fn asked(flags: &Inspect) -> Result<Asked, Error> {
    let at = flags.at.as_deref().map(moment).transpose()?;
    let (bucket, prefix) = s3_url("S3-URL", &flags.url)?;
    pattern("--full", flags.full.as_deref())?;
    pattern("--incremental", flags.incremental.as_deref())?;
    pattern("--pattern", flags.pattern.as_deref())?;
    let store = flags.store.open(&bucket)?;
    let format = match flags.format {
        Some(name) => named(name, flags)?,
        None => told(&store, &bucket, &prefix, flags).await?,
    };
    Ok(Asked { store, prefix, format, at })
}

fn print(output: Output, answer: &(impl serde::Serialize + std::fmt::Display)) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Table => write!(out, "{answer}")?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(answer)?)?,
    }
    Ok(())
}

fn named(name: FormatName, flags: &Inspect) -> Result<Format, Error> {
    Ok(match name {
        FormatName::MariadbOperator => Format::MariaDBOperator,
        FormatName::WalgMysql => Format::WalGMySQL,
        FormatName::WalgMongodb => Format::WalGMongoDB,
        FormatName::Pbm => Format::PerconaMongoDB,
        FormatName::Barman => Format::Barman,
        FormatName::WalgPostgres => Format::WalGPostgres,
        FormatName::PgBackRest => Format::PgBackRest,
        FormatName::WalgSqlserver => Format::WalGSQLServer,
        FormatName::Pxc => Format::PerconaXtraDB,
        FormatName::Sqlserver => Format::SqlServer(Names {
            pattern: flags.pattern.clone(),
            utc_offset_seconds: utc_offset(flags.utc_offset.as_deref().unwrap_or("Z"))?,
            ignore: flags.ignore_databases.clone(),
        }),
        FormatName::Files => Format::Files {
            full: flags.full.clone().unwrap_or_default(),
            incremental: flags.incremental.clone(),
        },
    })
}

/// The format of a set that nobody names.
async fn told(
    store: &Arc<dyn ObjectStore>,
    bucket: &str,
    prefix: &str,
    flags: &Inspect,
) -> Result<Format, Error> {
    if let Some(offset) = &flags.utc_offset {
        utc_offset(offset)?;
        return named(FormatName::Sqlserver, flags);
    }
    let place = Place {
        endpoint: flags.store.endpoint.clone(),
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    };
    let (format, told) = backup::detect::resolve_any(&**store, &place).await?;
    tracing::info!(format = format.name(), told, "format");
    Ok(format)
}

impl StoreFlags {
    fn open(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>, Error> {
        let credentials = match &self.credentials_dir {
            Some(directory) => Credentials::files(directory)?,
            None => from_environment()?,
        };
        let ca_bundle = self.ca_bundle.as_ref().map(|path| {
            std::fs::read_to_string(path).map_err(|source| Error::File { path: path.clone(), source })
        });
        let config = S3Config {
            signing_region: self.region.clone(),
            addressing: match self.addressing {
                AddressingName::Path => Addressing::Path,
                AddressingName::Virtual => Addressing::Virtual,
            },
            ca_bundle: ca_bundle.transpose()?,
            ..S3Config::new(self.endpoint.trim_end_matches('/'), bucket, credentials)
        };
        Ok(Arc::new(S3Store::new(config)?))
    }
}

fn from_environment() -> Result<Credentials, Error> {
    let variable = |name: &str| {
        std::env::var(name).map_err(|_| {
            Error::Missing(format!("{name} is not set: export the store's keys, or name a --credentials-dir"))
        })
    };
    let (access_key, secret_key) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
    Ok(match std::env::var("AWS_SESSION_TOKEN") {
        Ok(token) if !token.is_empty() => Credentials::temporary(access_key, secret_key, token),
        _ => Credentials::fixed(access_key, secret_key),
    })
}

fn utc_offset(text: &str) -> Result<i32, Error> {
    utc_offset_seconds(text).ok_or_else(|| Error::BadArgument {
        argument: "--utc-offset",
        value: text.to_owned(),
        expected: "write it like +02:00, or Z",
    })
}

fn moment(text: &str) -> Result<Timestamp, Error> {
    text.parse().map_err(|_| Error::BadArgument {
        argument: "--at",
        value: text.to_owned(),
        expected: "write a moment like 2026-11-21T02:14:06Z",
    })
}

/// Whether it is a regular expression, before a store is asked for anything.
fn pattern(argument: &'static str, text: Option<&str>) -> Result<(), Error> {
    let Some(text) = text else { return Ok(()) };
    regex::Regex::new(text).map(drop).map_err(|_| Error::BadArgument {
        argument,
        value: text.to_owned(),
        expected: r"write a regular expression like .*_FULL_.*\.bak",
    })
}

/// Bucket and prefix; the prefix is empty or ends in `/`.
pub(super) fn s3_url(argument: &'static str, text: &str) -> Result<(String, String), Error> {
    let bad = || Error::BadArgument {
        argument,
        value: text.to_owned(),
        expected: "write it like s3://bucket/folder",
    };
    let path = text.strip_prefix("s3://").ok_or_else(bad)?;
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    if bucket.is_empty() {
        return Err(bad());
    }
    let prefix = match prefix.trim_matches('/') {
        "" => String::new(),
        folder => format!("{folder}/"),
    };
    Ok((bucket.to_owned(), prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_a_bucket_and_a_folder() {
        for (text, bucket, prefix) in
            [("s3://b", "b", ""), ("s3://b/", "b", ""), ("s3://b/a", "b", "a/"), ("s3://b/a/c/", "b", "a/c/")]
        {
            assert_eq!(s3_url("S3-URL", text).unwrap(), (bucket.to_owned(), prefix.to_owned()), "{text}");
        }
        for text in ["", "b/a", "https://b", "s3://", "s3:///a"] {
            assert!(s3_url("S3-URL", text).unwrap_err().to_string().contains("s3://bucket/folder"), "{text}");
        }
    }
}
