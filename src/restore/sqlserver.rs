//! SQL Server, of 2022 or later, from its own files: the server itself reads them from the copy, with the script that
//! [`script()`] writes. It listens to us alone meanwhile, under a password that nobody is told.
//!
//! No SQL Server was to be had: the script is tested as a text, the course with programs that stand in for
//! `sqlservr` and `sqlcmd`.

mod handover;
mod script;
mod server;

use std::path::PathBuf;

pub use self::script::{Dialect, script};
use self::server::{Server, Tools};
use super::{Error, Origin, Plan, Reached, Result, Step, error::AtStep, mysql::Admin, room};
use crate::{
    backup::{catalog::Format, records::read_service, sync::Place},
    store::credentials::Credentials,
};

/// How an instance is restored.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What its user has agreed to; without it no server is started.
    pub terms: Option<Terms>,
    /// The volume: all that the server keeps lies in it, and everything else in it goes.
    pub volume: PathBuf,
    /// The same volume where the server looks for it: its images have this place built in.
    pub home: PathBuf,
    /// A folder for small files, of this attempt alone.
    pub work: PathBuf,
    /// Where the database's programs are, if not where its images have them.
    pub programs: Option<PathBuf>,
    /// Arguments for the server, besides ours.
    pub arguments: Vec<String>,
    /// The login that the new instance is handed over with.
    pub admin: Option<Admin>,
    /// Queries that are asked of the restored instance.
    pub checks: Vec<String>,
    /// The server checks all its databases, too; its answer comes last.
    pub check_tables: bool,
    /// The copy, as the server reaches it.
    pub copy: Place,
    pub signing_region: String,
    /// The bucket's name is part of the host's.
    pub virtual_hosted: bool,
    /// Certificates that the store's is signed with, where it isn't a public one.
    pub ca_bundle: Option<String>,
    /// Where the store's keys are mounted.
    pub credentials: PathBuf,
}

/// Licence and setup of a server.
#[derive(Clone, Debug)]
pub struct Terms {
    /// As `MSSQL_PID` has it.
    pub edition: String,
    /// Of the server; databases bring their own.
    pub collation: Option<String>,
}

/// Restores what the plan says. The volume is emptied first: whatever an earlier attempt left is not used.
///
/// # Errors
/// With the step at which it failed. What runs by then is ended.
pub async fn restore(plan: &Plan, origin: &Origin, settings: &Settings) -> Result<Reached, AtStep> {
    let reporter = &origin.reporter;
    let at = |step: Step| move |error: Error| error.at(step);
    reporter.enter(Step::Begin);
    let order = order(plan, origin, settings).await.map_err(at(Step::Begin))?;
    let mut server = begin(&order, settings).await.map_err(at(Step::Begin))?;
    // The server fetches, and brings the log up to the moment, in one go.
    reporter.enter(Step::Fetch);
    bring_back(&mut server, &order).await.map_err(at(Step::Fetch))?;
    reporter.fetched(plan.bytes);
    reporter.enter(Step::Finish);
    let answers = handover::finish(server, &order.databases, settings).await.map_err(at(Step::Finish))?;
    Ok(Reached {
        time_point: plan.time_point,
        // The server tells neither.
        last_commit: None,
        transactions: 0,
        bytes: reporter.progress().done,
        answers,
    })
}

/// All that is known before anything is touched.
struct Order<'a> {
    terms: &'a Terms,
    tools: Tools,
    script: String,
    databases: Vec<String>,
    /// For the script, and for nobody else.
    keys: [(&'static str, String); 2],
}

async fn order<'a>(plan: &Plan, origin: &Origin, settings: &'a Settings) -> Result<Order<'a>> {
    let terms = settings.terms.as_ref().ok_or_else(|| {
        Error::Unusable(
            "nobody has accepted the terms of SQL Server: say so with instance.sqlServer.acceptEula: true"
                .to_owned(),
        )
    })?;
    let tools = Tools::find(settings.programs.as_deref())?;
    let service = read_service(&*origin.store, &settings.copy).await?;
    let Some(Format::SqlServer(names)) = service.map(|service| service.format) else {
        return Err(Error::Unusable(
            "the copy holds no files that SQL Server wrote itself: the tool that wrote them restores them"
                .to_owned(),
        ));
    };
    let dialect = Dialect {
        utc_offset_seconds: names.utc_offset_seconds,
        folder: settings.home.join("data").display().to_string(),
        signing_region: settings.signing_region.clone(),
        virtual_hosted: settings.virtual_hosted,
    };
    Ok(Order {
        terms,
        tools,
        script: script(plan, &settings.copy, &dialect)?,
        databases: script::names(plan)?,
        keys: keys(settings)?,
    })
}

/// The store's keys, as far as a credential of SQL Server can hold them.
fn keys(settings: &Settings) -> Result<[(&'static str, String); 2]> {
    let keys = Credentials::files(&settings.credentials).map_err(Error::store)?.current();
    let keys = keys.ok_or_else(|| Error::Broken("keys that are files are not there".to_owned()))?;
    if keys.session_token.is_some() {
        return Err(Error::Unusable(
            "SQL Server takes no session token: give the service's target a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY alone".to_owned(),
        ));
    }
    let pairs = [("S3_ACCESS_KEY", keys.access_key), ("S3_SECRET_KEY", keys.secret_key.reveal().to_owned())];
    for ((_, key), name) in pairs.iter().zip(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]) {
        if !key.chars().all(|c| c.is_ascii_alphanumeric() || "+/=_-.".contains(c)) {
            return Err(Error::Unusable(format!(
                "{name} in the Secret of the service's target has a character that can't be given to SQL Server, which takes letters and digits, and may take + / = _ - and dots: make another key"
            )));
        }
    }
    Ok(pairs)
}

/// A server in an empty volume, which answers.
async fn begin(order: &Order<'_>, settings: &Settings) -> Result<Server> {
    room::empty(&settings.volume)?;
    std::fs::create_dir_all(&settings.work).map_err(Error::file(&settings.work))?;
    server::trust(&settings.volume, settings.ca_bundle.as_deref())?;
    let mut server = Server::start(&order.tools, order.terms, settings)?;
    server.wait().await?;
    server.is_new_enough().await?;
    Ok(server)
}

async fn bring_back(server: &mut Server, order: &Order<'_>) -> Result<()> {
    server.run("restore.sql", &order.script, &order.keys).await?;
    let told = server.ask("SELECT name, state_desc FROM sys.databases WHERE database_id > 4").await?;
    let online: Vec<&str> = told.lines().filter_map(|line| line.strip_suffix("\tONLINE")).collect();
    match order.databases.iter().find(|name| !online.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Error::Tool {
            program: "the restored server".to_owned(),
            status: format!("database {name} is not online"),
            said: told,
        }),
    }
}

#[cfg(test)]
mod tests;
