//! MongoDB from the copy of Percona Backup's set, by Percona's own agents, into a cluster that is there already and has
//! an agent on every member: the script that [`script()`] writes, run in Percona's image.
//!
//! No MongoDB and no agent was to be had: the script is tested as a text, the course with a program that stands in for
//! `pbm`.

mod script;

use std::path::{Path, PathBuf};

use tokio::process::Command;

pub use self::script::{Settings, script};
use super::{Error, Origin, Plan, Reached, Result, Step, child, error::AtStep, room};
use crate::{
    backup::{catalog::Format, records::read_service, sync::Place},
    store::credentials::{Credentials, Keys},
};

/// Key of the cluster's address in its Secret, and its file name.
pub const URI: &str = "uri";
/// Bytes of last words that a failure shows.
const WORDS: usize = 2048;

/// What a cluster is restored with.
#[derive(Clone, Debug)]
pub struct Course {
    /// A folder for small files, of this attempt alone.
    pub work: PathBuf,
    /// Where `pbm` is, if not in the `PATH`.
    pub programs: Option<PathBuf>,
    /// Where the Secret with the cluster's address is mounted.
    pub cluster: PathBuf,
    /// The copy, as the agents reach it.
    pub copy: Place,
    /// Where the store's keys are mounted.
    pub credentials: PathBuf,
    /// How the cluster differs from the old one.
    pub settings: Settings,
}

/// Has the agents restore what the plan says. What the cluster holds is replaced.
///
/// # Errors
/// With the step at which it failed. What the agents have begun by then they may go on with.
pub async fn restore(plan: &Plan, origin: &Origin, course: &Course) -> Result<Reached, AtStep> {
    let reporter = &origin.reporter;
    reporter.enter(Step::Begin);
    let order = order(plan, origin, course).await.map_err(|error| error.at(Step::Begin))?;
    reporter.enter(Step::Fetch);
    carry_out(&order, course).await.map_err(|error| error.at(Step::Fetch))?;
    reporter.fetched(plan.bytes);
    Ok(Reached {
        time_point: plan.time_point,
        // The agents tell neither.
        last_commit: None,
        transactions: 0,
        bytes: reporter.progress().done,
        answers: Vec::new(),
    })
}

/// All that is known before the cluster is touched.
struct Order {
    script: String,
    uri: String,
    keys: Keys,
}

async fn order(plan: &Plan, origin: &Origin, course: &Course) -> Result<Order> {
    let format = read_service(&*origin.store, &course.copy).await?.map(|service| service.format);
    if format != Some(Format::PerconaMongoDB) {
        return Err(Error::Unusable(
            "bootstrap.existing is for sets of Percona Backup for MongoDB, and the copy holds none: create the instance anew with bootstrap.instance".to_owned(),
        ));
    }
    child::tool_in(course.programs.as_deref(), &["pbm"])?;
    let file = course.cluster.join(URI);
    let uri = std::fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
    if !uri.starts_with("mongodb") || uri.contains(char::is_control) {
        return Err(Error::Unusable(format!(
            "the Secret of spec.bootstrap.existing.uriSecretRef has no key {URI} like mongodb://user:password@host:27017/?authSource=admin; add it, then ask for another attempt"
        )));
    }
    let keys = Credentials::files(&course.credentials).map_err(Error::store)?.current();
    let keys = keys.ok_or_else(|| Error::Broken("keys that are files are not there".to_owned()))?;
    if keys.session_token.is_some() {
        return Err(Error::Unusable(
            "the agents keep the keys of the copy, so that they can't be temporary ones: give the service's target a Secret without AWS_SESSION_TOKEN".to_owned(),
        ));
    }
    Ok(Order { script: script(plan, &course.copy, &course.settings)?, uri, keys })
}

/// The shell reads its script from a file: what it runs may read its input.
async fn carry_out(order: &Order, course: &Course) -> Result<()> {
    std::fs::create_dir_all(&course.work).map_err(Error::file(&course.work))?;
    let file = course.work.join("restore.sh");
    room::private(&file, &order.script)?;
    let mut shell = Command::new("/bin/sh");
    shell.arg(&file).env("PBM_MONGODB_URI", &order.uri).env("TMPDIR", &course.work).env("HOME", &course.work);
    shell.env("AWS_ACCESS_KEY_ID", &order.keys.access_key);
    shell.env("AWS_SECRET_ACCESS_KEY", order.keys.secret_key.reveal());
    if let Some(path) = course.programs.as_deref().and_then(path_with) {
        shell.env("PATH", path);
    }
    let (answer, said, well) = child::feed(&mut shell, b"").await?;
    if well {
        return Ok(());
    }
    let said = if said.is_empty() { String::from_utf8_lossy(&answer).into_owned() } else { said };
    let from = said.ceil_char_boundary(said.len().saturating_sub(WORDS));
    let said = order.without_secrets(said[from..].trim());
    Err(Error::Tool { program: "pbm".to_owned(), status: "refused".to_owned(), said })
}

fn path_with(folder: &Path) -> Option<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path))).ok()
}

impl Order {
    /// A tool that can't connect may tell with what it tried.
    fn without_secrets(&self, said: &str) -> String {
        let password = self
            .uri
            .split_once("://")
            .and_then(|(_, rest)| rest.rsplit_once('@'))
            .and_then(|(user, _)| user.split_once(':'));
        let secrets = [
            Some(self.uri.as_str()),
            password.map(|(_, password)| password),
            Some(self.keys.secret_key.reveal()),
        ];
        let secrets = secrets.into_iter().flatten().filter(|secret| !secret.is_empty());
        secrets.fold(said.to_owned(), |said, secret| said.replace(secret, "***"))
    }
}

#[cfg(test)]
mod tests;
