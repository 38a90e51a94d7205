//! The script that Percona's image is given, beside a cluster in which an agent runs on every member: the copy is made
//! the agents' storage, they read its catalog anew, and restore by themselves.

use crate::{
    backup::sync::Place,
    restore::{Error, Plan, Result},
};

/// How the new cluster differs from the old one.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Region that requests are signed for.
    pub signing_region: String,
    /// The bucket's name is part of the host's.
    pub virtual_hosted: bool,
    /// New name and old name of each replica set that is called otherwise now.
    pub renamed: Vec<(String, String)>,
}

/// The script, for a POSIX shell. The store's keys come from the environment, as `AWS_ACCESS_KEY_ID` and
/// `AWS_SECRET_ACCESS_KEY`, the cluster's address as `PBM_MONGODB_URI`.
///
/// # Errors
/// [`Error::Unusable`] for a plan without a backup.
pub fn script(plan: &Plan, copy: &Place, settings: &Settings) -> Result<String> {
    let base = plan.bases.last().ok_or_else(|| Error::Unusable("the plan has no backup".to_owned()))?;
    let name = quoted(&base.id);
    // Agents take a bare second for its beginning; the moment holds all of it.
    let what = if plan.logs.is_empty() {
        name.clone()
    } else {
        format!("--time={},4294967295 --base-snapshot={name}", plan.time_point.as_second())
    };
    let pairs: Vec<String> = settings.renamed.iter().map(|(new, old)| format!("{new}={old}")).collect();
    let remapping = if pairs.is_empty() {
        String::new()
    } else {
        format!(" --replset-remapping={}", quoted(&pairs.join(",")))
    };
    Ok(format!(
        r#"set -eu
umask 077
config=$(mktemp)
trap 'rm -f "$config"' EXIT
cat >"$config" <<END
{storage}END
pbm config --file="$config" >/dev/null
rm -f "$config"
pbm config --force-resync
# The catalog is read in the background: it is there once the backup is, and nothing runs.
tries=0
until pbm describe-backup {name} >/dev/null 2>&1 && pbm status --sections=running | grep -q '(none)'; do
  tries=$((tries + 1))
  if [ "$tries" -gt 720 ]; then
    echo "the agents did not read the copy's catalog within an hour" >&2
    exit 1
  fi
  sleep 5
done
yes=
if pbm restore --help 2>&1 | grep -q -- --yes; then yes=--yes; fi
pbm restore {what}{remapping} --wait $yes
"#,
        storage = storage(copy, settings),
    ))
}

fn storage(copy: &Place, settings: &Settings) -> String {
    // Within the here-document only what begins with a dollar sign is filled in.
    let text = |value: &str| format!("\"{}\"", escaped(value));
    format!(
        "storage:\n  type: s3\n  s3:\n    region: {}\n    endpointUrl: {}\n    forcePathStyle: {}\n    bucket: {}\n    prefix: {}\n    credentials:\n      access-key-id: \"$AWS_ACCESS_KEY_ID\"\n      secret-access-key: \"$AWS_SECRET_ACCESS_KEY\"\n",
        text(&settings.signing_region),
        text(&copy.endpoint),
        !settings.virtual_hosted,
        text(&copy.bucket),
        text(copy.prefix.trim_end_matches('/')),
    )
}

/// For a text in double quotes of YAML, in a here-document of the shell.
fn escaped(text: &str) -> String {
    let yaml = text.replace('\\', "\\\\").replace('"', "\\\"");
    yaml.replace('\\', "\\\\").replace('$', "\\$").replace('`', "\\`")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
