//! `farshore copy` and `farshore compare`: the engine of the workers, without a cluster.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_credential_types::provider::ProvideCredentials;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Error, backup::s3_url, watch};
use crate::{
    api::ByteRate,
    replicate::{
        self, Attribute, Created, Keep, LeftOut,
        follow::Attributes,
        sweep::{Action, Counts, Effort, Report, Sweep, Tally},
    },
    store::{
        ObjectStore,
        credentials::Credentials,
        limits::{Lane, Limited, Limits},
        s3::{Addressing, S3Config, S3Store},
    },
};

/// A line of progress in a pipe.
const LINES_EVERY: Duration = Duration::from_secs(10);
const BAR_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub struct Copy {
    #[command(flatten)]
    sides: Sides,
    /// Also deletes what only the target has, each object after the source itself said that it has none.
    #[arg(long)]
    delete: bool,
    /// Goes on with what changes until it is stopped. Of deletes no more than 1,000 an hour are made where that is
    /// more than a tenth of what the target has in its folder, and none before the first comparison is over. How
    /// much is under way is not for `--parallel` to say then.
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
    /// Only says what would be copied and deleted.
    #[arg(long)]
    dry_run: bool,
    /// Ceiling on bytes a second, like 50Mi.
    #[arg(long, value_name = "RATE")]
    bandwidth: Option<ByteRate>,
}

#[derive(Debug, Args)]
pub struct Compare {
    #[command(flatten)]
    sides: Sides,
}

/// The two ends. Keys come from `SOURCE_AWS_ACCESS_KEY_ID`, `SOURCE_AWS_SECRET_ACCESS_KEY` (and
/// `SOURCE_AWS_SESSION_TOKEN`), and the same with `TARGET_`; else from the usual `AWS_` variables, else from
/// the profile that `AWS_PROFILE` names.
#[derive(Debug, Args)]
pub struct Sides {
    /// Where objects come from, like `s3://bucket/folder`: the bucket, or all of its keys that begin with `folder/`.
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where they go, like `s3://bucket/folder`: it takes the place of the source's.
    #[arg(value_name = "TARGET")]
    target: String,
    /// URL of the source's endpoint. Default: AWS in the source's region.
    #[arg(long, value_name = "URL")]
    source_endpoint: Option<String>,
    /// URL of the target's endpoint. Default: AWS in the target's region.
    #[arg(long, value_name = "URL")]
    target_endpoint: Option<String>,
    /// Region that requests to the source are signed for.
    #[arg(long, value_name = "REGION", env = "SOURCE_AWS_REGION", default_value = "us-east-1")]
    source_region: String,
    /// Region that requests to the target are signed for.
    #[arg(long, value_name = "REGION", env = "TARGET_AWS_REGION", default_value = "us-east-1")]
    target_region: String,
    /// How the source's bucket is addressed. Default: path with an endpoint of one's own, else virtual.
    #[arg(long, value_enum, value_name = "HOW")]
    source_addressing: Option<AddressingName>,
    /// How the target's bucket is addressed. Default: path with an endpoint of one's own, else virtual.
    #[arg(long, value_enum, value_name = "HOW")]
    target_addressing: Option<AddressingName>,
    /// PEM file of authorities that both ends may be proved by, besides the system's.
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// Requests that wait for an answer at a time, at each of the two ends.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,
    /// Prints the outcome as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    kept: Kept,
}

/// What counts beside content, content headers, user metadata, parts, tags and locks.
#[derive(Debug, Args)]
struct Kept {
    /// Also looks at the attributes of objects whose content is the same on both sides, and brings them in line
    /// when copying. Costs a request on each side for every object.
    #[arg(long)]
    attributes: bool,
    /// Also access control lists. The file holds the accounts' ids at the source, and what they are at the
    /// target, as a JSON object.
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// Also the time of the last write: `replica`, where the target is a `MinIO` that lets us write replicas, or
    /// `metadata=NAME` as user metadata.
    #[arg(long, value_name = "HOW", value_parser = created)]
    created: Option<Created>,
    /// Also storage classes, as they are called.
    #[arg(long)]
    storage_class: bool,
}

fn created(typed: &str) -> Result<Created, &'static str> {
    match typed.split_once('=') {
        None if typed == "replica" => Ok(Created::AsReplica),
        Some(("metadata", name)) if !name.is_empty() && name.bytes().all(is_in_names) => {
            Ok(Created::InMetadata(name.to_owned()))
        }
        _ => Err("either `replica`, or `metadata=NAME` with letters, digits and dashes"),
    }
}

fn is_in_names(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

impl Kept {
    fn keep(&self) -> Result<Keep, Error> {
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|source| Error::File { path: path.clone(), source })?;
            serde_json::from_str(&text).map_err(|_| Error::BadArgument {
                argument: "--accounts",
                value: path.display().to_string(),
                expected: "hold a JSON object of ids at the source and ids at the target",
            })
        };
        let grants = self.accounts.as_ref().map(read).transpose()?;
        let created = self.created.clone().unwrap_or_default();
        Ok(Keep { storage_class: self.storage_class, grants, created, ..Keep::default() })
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AddressingName {
    /// endpoint/bucket
    Path,
    /// bucket.endpoint
    Virtual,
}

/// Copies. The exit code is 0 only if the target then holds all that the source does.
pub async fn copy(flags: Copy) -> Result<ExitCode, Error> {
    if flags.watch {
        let bandwidth = flags.bandwidth.as_ref().map(ByteRate::get);
        return watch::run(&flags.sides, flags.delete, bandwidth).await;
    }
    let action = match (flags.dry_run, flags.delete) {
        (true, _) => Action::Compare,
        (false, true) => Action::Mirror,
        (false, false) => Action::Copy,
    };
    let limits = flags.sides.limits(flags.bandwidth.as_ref().map(ByteRate::get));
    let report = flags.sides.sweep(action, &limits).await?;
    let agrees = if flags.dry_run {
        let Counts { missing, unlike, unlike_attributes, .. } = report.counts;
        report.were_equal() || (!flags.delete && missing + unlike + unlike_attributes == 0)
    } else {
        report.agrees(flags.delete)
    };
    flags.sides.tell(&report, agrees)
}

/// Compares. The exit code is 0 only if both sides hold the same.
pub async fn compare(flags: Compare) -> Result<ExitCode, Error> {
    let report = flags.sides.sweep(Action::Compare, &flags.sides.limits(None)).await?;
    flags.sides.tell(&report, report.were_equal())
}

impl Sides {
    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn target(&self) -> &str {
        &self.target
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// What is kept of objects while changes are followed; with `--attributes` all are looked at for it first.
    pub fn attributes(&self) -> Result<Attributes, Error> {
        let asked = self.kept.attributes.then(|| "--attributes".to_owned());
        Ok(Attributes { keep: self.kept.keep()?, asked, every: None })
    }

    fn limits(&self, bytes_per_second: Option<u64>) -> Arc<Limits> {
        Limits::with_waiting(bytes_per_second, None, Some(self.parallel.into()))
    }

    async fn sweep(&self, action: Action, limits: &Arc<Limits>) -> Result<Report, Error> {
        let (source_bucket, source_prefix) = s3_url("SOURCE", &self.source)?;
        let (target_bucket, target_prefix) = s3_url("TARGET", &self.target)?;
        let source: Arc<dyn ObjectStore> = Arc::new(self.open("SOURCE", &source_bucket).await?);
        let target: Arc<dyn ObjectStore> = Arc::new(self.open("TARGET", &target_bucket).await?);
        if action != Action::Compare && replicate::same_place(&*source, &*target, &target_prefix).await? {
            return Err(Error::BadArgument {
                argument: "TARGET",
                value: self.target.clone(),
                expected: "name another bucket: this one is the source itself",
            });
        }
        let source: Arc<dyn ObjectStore> = Arc::new(Limited::new(source, limits, Lane::Rest));
        let target: Arc<dyn ObjectStore> = Arc::new(Limited::new(target, &self.limits(None), Lane::Rest));
        // While one end is waited for, the other need not be idle.
        let effort = Effort { objects: 2 * usize::from(self.parallel), ..Effort::default() };
        let sweep = Sweep::new((source, source_prefix), (target, target_prefix), action, effort)
            .keep(self.kept.keep()?)
            .with_attributes(self.kept.attributes);
        let shown = tokio::spawn(show(sweep.tally(), action));
        let report = sweep.run().await;
        shown.abort();
        // It ends by being stopped.
        shown.await.ok();
        Ok(report?)
    }

    pub async fn open(&self, side: &'static str, bucket: &str) -> Result<S3Store, Error> {
        let (endpoint, region, addressing) = if side == "SOURCE" {
            (&self.source_endpoint, &self.source_region, self.source_addressing)
        } else {
            (&self.target_endpoint, &self.target_region, self.target_addressing)
        };
        let own = endpoint.as_ref().map(|url| url.trim_end_matches('/').to_owned());
        let addressing = match (addressing, &own) {
            (Some(AddressingName::Path), _) | (None, Some(_)) => Addressing::Path,
            (Some(AddressingName::Virtual), _) | (None, None) => Addressing::Virtual,
        };
        let ca_bundle = self.ca_bundle.as_ref().map(|path| {
            std::fs::read_to_string(path).map_err(|source| Error::File { path: path.clone(), source })
        });
        let config = S3Config {
            signing_region: region.clone(),
            addressing,
            ca_bundle: ca_bundle.transpose()?,
            ..S3Config::new(
                own.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com")),
                bucket,
                credentials(side).await?,
            )
        };
        Ok(S3Store::new(config)?)
    }

    fn tell(&self, report: &Report, agrees: bool) -> Result<ExitCode, Error> {
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&as_json(report, agrees))?)?;
        } else {
            write!(out, "{}", as_text(report))?;
            writeln!(out, "{}", if agrees { "the two sides agree" } else { "the two sides differ" })?;
        }
        Ok(if agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// A side's own variables win over the usual ones, and these over a profile.
async fn credentials(side: &str) -> Result<Credentials, Error> {
    for prefix in [format!("{side}_"), String::new()] {
        let variable = |name: &str| std::env::var(format!("{prefix}{name}")).ok().filter(|v| !v.is_empty());
        let id = variable("AWS_ACCESS_KEY_ID");
        let secret = variable("AWS_SECRET_ACCESS_KEY");
        match (id, secret, variable("AWS_SESSION_TOKEN")) {
            (Some(id), Some(secret), None) => return Ok(Credentials::fixed(id, secret)),
            (Some(id), Some(secret), Some(token)) => return Ok(Credentials::temporary(id, secret, token)),
            (None, None, _) => {}
            _ => {
                return Err(Error::Missing(format!(
                    "only one of {prefix}AWS_ACCESS_KEY_ID and {prefix}AWS_SECRET_ACCESS_KEY is set: set both"
                )));
            }
        }
    }
    let profile = ProfileFileCredentialsProvider::builder().build().provide_credentials().await;
    let keys = profile.map_err(|_| {
        Error::Missing(format!(
            "no keys for the {}: export {side}_AWS_ACCESS_KEY_ID and {side}_AWS_SECRET_ACCESS_KEY, or the AWS_ \
             variables without {side}_, or name a profile in AWS_PROFILE",
            side.to_lowercase()
        ))
    })?;
    Ok(match keys.session_token() {
        Some(token) => Credentials::temporary(keys.access_key_id(), keys.secret_access_key(), token),
        None => Credentials::fixed(keys.access_key_id(), keys.secret_access_key()),
    })
}

/// A bar on a terminal, a line now and then in a pipe. Ends by being stopped.
async fn show(tally: Arc<Tally>, action: Action) {
    let terminal = std::io::stderr().is_terminal();
    let bar = if terminal { ProgressBar::no_length() } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    loop {
        tokio::time::sleep(if terminal { BAR_EVERY } else { LINES_EVERY }).await;
        let line = moving(&tally.counts(), action);
        if terminal {
            bar.set_message(line);
            bar.tick();
        } else {
            tracing::info!("{line}");
        }
    }
}

fn moving(counts: &Counts, action: Action) -> String {
    let Counts { source, copied, missing, unlike, sent, deleted, failed, .. } = counts;
    match action {
        Action::Compare => format!("{source} objects compared, {} differ", missing + unlike),
        _ => format!(
            "{source} objects compared, {copied} of {} copied, {}, {deleted} deleted, {failed} failed",
            missing + unlike,
            size(*sent)
        ),
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

fn as_text(report: &Report) -> String {
    let Report { counts, examples } = report;
    let mut lines = Vec::new();
    let mut row = |what: &str, count: u64, named: &[String]| {
        let few = if named.is_empty() { String::new() } else { format!("   {}", named.join("  ")) };
        lines.push(format!("{what:<16}{count:>12}{few}\n"));
    };
    row("source", counts.source, &[]);
    row("target", counts.target, &[]);
    row("equal", counts.alike, &[]);
    row("differing", counts.unlike, &examples.unlike);
    row("only at source", counts.missing, &examples.missing);
    row("only at target", counts.extra, &examples.extra);
    for (what, count, named) in [
        ("copied", counts.copied, &[][..]),
        ("deleted", counts.deleted, &[]),
        ("gone meanwhile", counts.overtaken, &[]),
        ("other attributes", counts.unlike_attributes, &[]),
        ("brought in line", counts.aligned, &[]),
        ("other ETag", counts.other_etag, &examples.other_etag),
        ("incomplete", counts.inexact, &[]),
        ("archived", counts.skipped, &examples.skipped),
        ("failed", counts.failed, &[]),
    ] {
        if count > 0 {
            row(what, count, named);
        }
    }
    if counts.sent > 0 {
        lines.push(format!("{:<16}{:>12}\n", "bytes sent", size(counts.sent)));
    }
    lines.extend(
        examples
            .unlike_attributes
            .iter()
            .map(|(key, unlike)| format!("other attributes: {key:?}: {}\n", names(unlike).join(", "))),
    );
    lines.extend(
        examples.inexact.iter().map(|(key, lacks)| {
            format!("incomplete: {key:?} without its {}: {}\n", lacks.attribute, lacks.why)
        }),
    );
    lines.extend(examples.failed.iter().map(|f| format!("failed: {:?}: {}\n", f.key, f.message)));
    lines.concat()
}

fn names(attributes: &[Attribute]) -> Vec<String> {
    attributes.iter().map(ToString::to_string).collect()
}

fn as_json(report: &Report, agrees: bool) -> serde_json::Value {
    let Report { counts: c, examples: e } = report;
    let failed: Vec<_> =
        e.failed.iter().map(|f| json!({"key": f.key, "reason": f.reason, "message": f.message})).collect();
    let lacking = |(key, lacks): &(String, LeftOut)| json!({"key": key, "lacks": lacks.attribute.to_string(), "why": lacks.why});
    let unlike = |(key, unlike): &(String, Vec<Attribute>)| json!({"key": key, "attributes": names(unlike)});
    let attributes: Vec<_> = e.unlike_attributes.iter().map(unlike).collect();
    let incomplete: Vec<_> = e.inexact.iter().map(lacking).collect();
    json!({
        "agree": agrees,
        "source": c.source, "target": c.target, "equal": c.alike,
        "differing": {"count": c.unlike, "examples": e.unlike},
        "onlyAtSource": {"count": c.missing, "examples": e.missing},
        "onlyAtTarget": {"count": c.extra, "examples": e.extra},
        "otherAttributes": {"count": c.unlike_attributes, "examples": attributes, "broughtInLine": c.aligned},
        "copied": {"objects": c.copied, "bytes": c.copied_bytes},
        "sentBytes": c.sent, "deleted": c.deleted, "goneMeanwhile": c.overtaken,
        "incomplete": {"count": c.inexact, "examples": incomplete},
        "archived": {"count": c.skipped, "examples": e.skipped},
        "otherETag": {"count": c.other_etag, "examples": e.other_etag},
        "failed": {"count": c.failed, "examples": failed},
    })
}
