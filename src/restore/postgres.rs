//! PostgreSQL: the base unpacked into the data directory, then the log, which the server asks us for.
//!
//! The server itself replays, in recovery, and stops where the first transaction is too late; our own
//! `farshore wal-get` is its `restore_command`. All that steers the recovery is given on the command line, so
//! nothing of it is left in the instance. The source's settings are laid aside: they name files, libraries and
//! addresses of another machine.

mod base;
mod data;
mod repository;
mod server;

use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub use self::repository::{is_label, is_locked, no_key};
use self::{
    data::Account,
    server::{Server, Stop, Tools},
};
use super::{
    Error, Origin, Plan, Reached, Result, Step,
    error::AtStep,
    mysql::{Admin, DATA},
    room,
    wal::{Address, Archive, Entry},
};
use crate::store::ListRequest;

/// How an instance is restored.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The volume. The data directory is `db` in it, tablespaces lie in [`SPACES`]; everything else in it goes.
    pub volume: PathBuf,
    /// A folder for sockets and other small files, of this attempt alone.
    pub work: PathBuf,
    /// Arguments for the server, besides ours.
    pub arguments: Vec<String>,
    /// The account that the new instance is handed over with.
    pub admin: Option<Admin>,
    /// Queries that are asked of the restored instance, in its database `postgres`.
    pub checks: Vec<String>,
    /// Everything is read once, as a dump reads it.
    pub check_tables: bool,
    /// This program, which the server runs for each file of the log.
    pub program: PathBuf,
    /// Where the copy lies, for the same.
    pub address: Address,
    /// A file with the passphrase of an encrypted pgBackRest repository.
    pub passphrase: Option<PathBuf>,
    /// What people know the place as where the passphrase is given, or would be.
    pub decryption: String,
}

/// Where tablespaces lie, in the volume.
pub const SPACES: &str = "tablespaces";
const SCRATCH: &str = "farshore-scratch";

/// Folders of one restore.
struct Place {
    data: PathBuf,
    spaces: PathBuf,
    scratch: PathBuf,
    /// Who runs the server, where that can't be us.
    account: Option<Account>,
}

impl Place {
    /// Empties the volume: whatever an earlier attempt left is not used.
    fn make(settings: &Settings) -> Result<Self> {
        let volume = &settings.volume;
        let account = Account::of(volume)?;
        room::empty(volume)?;
        let place = Self {
            data: volume.join(DATA),
            spaces: volume.join(SPACES),
            scratch: volume.join(SCRATCH),
            account,
        };
        for folder in [&place.data, &place.spaces, &place.scratch, &settings.work] {
            data::make_folder(folder)?;
        }
        Ok(place)
    }
}

/// Restores what the plan says.
///
/// # Errors
/// With the step at which it failed. What runs by then is ended.
pub async fn restore(plan: &Plan, origin: &Origin, settings: &Settings) -> Result<Reached, AtStep> {
    let reporter = &origin.reporter;
    let at = |step: Step| move |error: Error| error.at(step);
    reporter.enter(Step::Begin);
    Tools::any().map_err(at(Step::Begin))?;
    let place = Place::make(settings).map_err(at(Step::Begin))?;
    reporter.enter(Step::Fetch);
    let other = bring_back(plan, origin, (settings, &place)).await.map_err(at(Step::Fetch))?;
    let command = other.unwrap_or_else(|| log_command(settings));
    reporter.enter(Step::Prepare);
    let tools = prepare(plan, origin, (settings, &place)).await.map_err(at(Step::Prepare))?;
    reporter.enter(Step::Replay);
    let last_commit = replay(plan, (settings, &place), (&tools, &command)).await.map_err(at(Step::Replay))?;
    reporter.enter(Step::Finish);
    let answers = server::finish((settings, &place), &tools).await.map_err(at(Step::Finish))?;
    std::fs::remove_dir_all(&place.scratch).map_err(Error::file(&place.scratch)).map_err(at(Step::Finish))?;
    Ok(Reached {
        time_point: plan.time_point,
        last_commit,
        // The server doesn't count them.
        transactions: 0,
        bytes: reporter.progress().done,
        answers,
    })
}

/// Answers the command that brings the server its log, where ours can't.
async fn bring_back(
    plan: &Plan,
    origin: &Origin,
    (settings, place): (&Settings, &Place),
) -> Result<Option<String>> {
    if plan.bases.iter().any(repository::is_label) {
        repository::bring_back(plan, origin, (settings, place)).await
    } else {
        let target = base::Target { root: place.data.clone(), spaces: place.spaces.clone() };
        base::bring_back(plan, origin, &target).await.map(|()| None)
    }
}

/// Unpacks the base of a plan, its tablespaces beside it, and leaves it so.
///
/// # Errors
/// [`Error::Unusable`] for one that lies on top of another.
pub(super) async fn extract(plan: &Plan, origin: &Origin, (data, spaces): (&Path, &Path)) -> Result<()> {
    let target = base::Target { root: data.to_owned(), spaces: spaces.to_owned() };
    base::bring_back(plan, origin, &target).await
}

/// Lays the source's settings aside, and writes down which files of the log there are.
async fn prepare(plan: &Plan, origin: &Origin, (settings, place): (&Settings, &Place)) -> Result<Tools> {
    let tools = Tools::for_data(&place.data)?;
    data::lay_aside(&place.data)?;
    data::link_spaces(place)?;
    data::configure(place, &tools).await?;
    let archive = archive(settings, place);
    archive.save(&archive_file(settings), &entries(plan, origin).await?)?;
    if let Some(account) = &place.account {
        for folder in [&settings.volume, &settings.work] {
            account.own(folder)?;
        }
    }
    Ok(tools)
}

fn archive(settings: &Settings, place: &Place) -> Archive {
    Archive {
        address: settings.address.clone(),
        index: settings.work.join("log.index"),
        spool: place.scratch.join("log"),
    }
}

/// Our own way to bring the server its log.
fn log_command(settings: &Settings) -> String {
    let (program, archive) = (settings.program.display(), archive_file(settings));
    format!("\"{program}\" wal-get --archive \"{}\" %f \"%p\"", archive.display())
}

fn archive_file(settings: &Settings) -> PathBuf {
    settings.work.join("archive.json")
}

/// The files of the log that the plan may need, and how its timelines go on from one another.
async fn entries(plan: &Plan, origin: &Origin) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    if let (Some(first), Some(last)) = (plan.logs.first(), plan.logs.last())
        && timeline(&first.name) != timeline(&last.name)
    {
        entries.push(history(origin, last.object.location(), timeline(&last.name)).await?);
    }
    entries.extend(plan.logs.iter().map(|log| Entry {
        name: log.name.clone(),
        size: log.object.size,
        key: log.object.location().to_owned(),
    }));
    Ok(entries)
}

fn timeline(segment: &str) -> &str {
    segment.get(..8).unwrap_or_default()
}

/// The history file of a timeline: beside its segments, or a folder above them.
async fn history(origin: &Origin, segment: &str, timeline: &str) -> Result<Entry> {
    let folder = Path::new(segment).parent().unwrap_or(Path::new(""));
    let above = folder.parent().unwrap_or(Path::new(""));
    for folder in [folder, above] {
        let name = format!("{timeline}.history");
        let prefix = format!("{}{}", origin.prefix, folder.join(&name).display());
        let page = origin.store.list(&ListRequest { prefix, ..ListRequest::default() }).await;
        let page = page.map_err(Error::store)?;
        if let Some(found) = page.objects.first() {
            let key = found.key.strip_prefix(&origin.prefix).unwrap_or(&found.key).to_owned();
            return Ok(Entry { name, size: found.size, key });
        }
    }
    let cause = "it is not there any more, and without it nobody knows how the log goes on".to_owned();
    Err(Error::Damaged { key: format!("{timeline}.history"), cause })
}

/// Runs the server until it has the moment. Answers the commit time of the last transaction that it replayed.
async fn replay(
    plan: &Plan,
    (settings, place): (&Settings, &Place),
    (tools, command): (&Tools, &str),
) -> Result<Option<Timestamp>> {
    let stop = stop(plan);
    let mut recovery = server::Recovery { settings, place, tools, command, stop };
    let ended = match recovery.run().await? {
        // Between the last commit and the end of the log: there is nothing that would be too late.
        server::Ended::TooEarly => {
            recovery.stop = Stop::AtEnd { timeline: timeline_of(plan), last: None };
            recovery.run().await?
        }
        ended @ server::Ended::Promoted { .. } => ended,
    };
    match ended {
        server::Ended::Promoted { server, last_commit } => {
            Server::stop(*server, place, tools).await?;
            Ok(last_commit)
        }
        server::Ended::TooEarly => Err(Error::Unusable("the server's log ends before the moment".to_owned())),
    }
}

fn timeline_of(plan: &Plan) -> String {
    let last = plan.logs.last().map_or("00000001", |log| timeline(&log.name));
    u32::from_str_radix(last, 16).unwrap_or(1).to_string()
}

/// Where the recovery ends: at the moment, if the log goes on after it. A moment that nothing follows is no target
/// for a server: it would fail.
fn stop(plan: &Plan) -> Stop {
    let end = plan.logs.iter().map(|log| log.to).max();
    let timeline = timeline_of(plan);
    match end {
        Some(end) if plan.time_point < end => Stop::At { timeline, moment: plan.time_point },
        _ => Stop::AtEnd { timeline, last: plan.logs.last().map(|log| log.name.clone()) },
    }
}
