//! `farshore backup purge`: says what it would delete; with `--yes` it does.

use std::{ffi::OsString, fmt, io::Write, process::ExitCode};

use clap::Args;
use serde::Serialize;

use super::{Output, StoreFlags, s3_url};
use crate::{
    backup::{
        inspect::bytes,
        purge::{Purged, preview, purge},
        sync::Place,
    },
    cli::Error,
};

#[derive(Debug, Args)]
pub struct Purge {
    /// The copy, like `s3://bucket/prefix`.
    #[arg(value_name = "S3-URL")]
    url: String,
    /// Endpoint of the source's store, as the copy's records have it.
    #[arg(long, value_name = "URL")]
    source_endpoint: String,
    /// Source of the copy, like `s3://bucket/prefix`.
    #[arg(long, value_name = "S3-URL")]
    source: String,
    /// Really deletes. Without it, the command only counts what it would delete.
    #[arg(long)]
    yes: bool,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    store: StoreFlags,
}

/// What was counted, or done.
#[derive(Debug, Serialize)]
struct Answer {
    source: Place,
    target: Place,
    /// It is gone; otherwise it was only counted.
    deleted: bool,
    /// `None`: no copy lies there.
    #[serde(rename = "copy")]
    counts: Option<Purged>,
    /// What deletes it, where that is still to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
}

/// Counts, or deletes.
pub async fn run(flags: Purge) -> Result<ExitCode, Error> {
    let (bucket, prefix) = s3_url("S3-URL", &flags.url)?;
    let (source_bucket, source_prefix) = s3_url("--source", &flags.source)?;
    let store = flags.store.open(&bucket)?;
    let place = |endpoint: &str, bucket, prefix| {
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        Place { endpoint, bucket, prefix }
    };
    let source = place(&flags.source_endpoint, source_bucket, source_prefix);
    let target = place(&flags.store.endpoint, bucket, prefix);
    let counts = if flags.yes {
        Some(purge(store, &source, &target).await?)
    } else {
        preview(store, &source, &target).await?
    };
    let command = (!flags.yes && counts.is_some()).then(|| with_yes(std::env::args_os()));
    let answer = Answer { source, target, deleted: flags.yes, counts, command };
    let mut out = std::io::stdout().lock();
    match flags.output {
        Output::Table => write!(out, "{answer}")?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { endpoint, bucket, prefix } = &self.source;
        let target = format!("s3://{}/{}", self.target.bucket, self.target.prefix);
        let Some(counts) = self.counts else {
            return writeln!(f, "{target} holds no copy that Farshore made: there is nothing to delete");
        };
        let Purged { objects, versions, bytes: size, uploads, foreign } = counts;
        let (goes, stays) =
            if self.deleted { ("deleted", "stay") } else { ("would be deleted", "would stay") };
        writeln!(f, "{target}: the copy of s3://{bucket}/{prefix} at {endpoint}")?;
        writeln!(
            f,
            "{goes}: {objects} objects in {versions} versions ({}), and {uploads} open uploads",
            bytes(size)
        )?;
        writeln!(f, "{stays}: {foreign} objects of others")?;
        match &self.command {
            Some(command) => writeln!(f, "Nothing was deleted. This deletes it:\n  {command}"),
            None => Ok(()),
        }
    }
}

/// The command as it was typed, which deletes this time.
fn with_yes(typed: impl Iterator<Item = OsString>) -> String {
    let words = typed.map(|word| quoted(&word.to_string_lossy()));
    words.chain(["--yes".to_owned()]).collect::<Vec<_>>().join(" ")
}

/// A word that a shell reads as one.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_what_was_typed_and_yes() {
        let typed = ["farshore", "backup", "purge", "s3://b/it's here/", "--endpoint", "http://x:1", ""];
        let again = with_yes(typed.into_iter().map(OsString::from));
        assert_eq!(again, r"farshore backup purge 's3://b/it'\''s here/' --endpoint http://x:1 '' --yes");
    }
}
