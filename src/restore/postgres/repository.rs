//! pgBackRest's repository: the backups of a chain are brought into the volume, and pgBackRest restores them.
//!
//! Only its own program knows all of its ways to lay a file down (bundles, blocks, encryption). Its index
//! may have forgotten the backup by now, so one is written from the backups' own manifests where that can be read.

mod index;
mod locked;

use std::{
    fmt::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::process::Command;

pub use self::locked::{is_locked, no_key};
use super::{
    Place, SPACES, Settings,
    data::{Account, make_folder},
};
use crate::{
    backup::{catalog::Object, reader::collect},
    restore::{Error, Origin, Plan, PlannedBase, Result, child, fetch::Room},
    store::GetOptions,
};

const MANIFEST: &str = "backup.manifest";
const INFO: &str = "backup.info";
/// Files that are fetched side by side.
const PARALLEL: usize = 16;

/// Where a backup lies in its repository.
struct Label<'a> {
    /// Before `backup/`.
    root: &'a str,
    stanza: &'a str,
    name: &'a str,
}

/// True for a backup of pgBackRest.
#[must_use]
pub fn is_label(base: &PlannedBase) -> bool {
    label(base).is_some()
}

fn label(base: &PlannedBase) -> Option<Label<'_>> {
    let folder = base.base.keys.commit.as_deref()?.strip_suffix(MANIFEST)?.strip_suffix('/')?;
    let (rest, label) = folder.rsplit_once('/')?;
    let (rest, stanza) = rest.rsplit_once('/')?;
    Some(Label { root: rest.strip_suffix("backup")?, stanza, name: label })
}

/// Brings the backups into the volume, and lets pgBackRest restore the last one. Answers the command that brings
/// the server its log, where only pgBackRest can read that.
pub(super) async fn bring_back(
    plan: &Plan,
    origin: &Origin,
    (settings, place): (&Settings, &Place),
) -> Result<Option<String>> {
    let Some(last) = plan.bases.last().and_then(label) else { return Ok(None) };
    let repository = place.scratch.join("repository");
    let program = Program {
        file: child::tool(&["pgbackrest"])?,
        config: settings.work.join("pgbackrest.conf"),
        stanza: last.stanza,
        account: place.account,
    };
    let encrypted = is_locked(&*origin.store, &origin.prefix, plan).await?;
    if encrypted && settings.passphrase.is_none() {
        return Err(locked::no_key(plan, &settings.decryption));
    }
    write_config(&program.config, &last, (settings, place), (&repository, encrypted))?;
    // Before all else is fetched: whether the key fits shows in the index.
    let index =
        if encrypted { Some(unlock(&last, origin, (settings, place), &program).await?) } else { None };
    for base in &plan.bases {
        fetch(base, last.root, origin, &repository).await?;
    }
    let folder = repository.join("backup").join(last.stanza);
    match &index {
        Some(index) => rewrite_info(plan, index, (settings, place), &program).await?,
        None => write_info(plan, (&last, origin), &folder).await?,
    }
    if encrypted {
        fetch_log(plan, (&last, origin), &repository).await?;
    }
    hand_over((settings, place))?;
    let mut command = program.command();
    // The recovery is ours to steer.
    command.args([&format!("--set={}", last.name), "--type=none", "restore"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    child::Running::start(&mut Command::from(command))?.done().await?;
    if encrypted {
        let (file, config) = (program.file.display(), program.config.display());
        let stanza = last.stanza;
        return Ok(Some(format!("\"{file}\" --config=\"{config}\" --stanza={stanza} archive-get %f \"%p\"")));
    }
    std::fs::remove_dir_all(&repository).map_err(Error::file(&repository))?;
    Ok(None)
}

/// What we wrote is read by who runs the server.
fn hand_over((settings, place): (&Settings, &Place)) -> Result<()> {
    let Some(account) = place.account else { return Ok(()) };
    account.own(&settings.volume)?;
    account.own(&settings.work)
}

/// pgBackRest itself.
struct Program<'a> {
    file: PathBuf,
    config: PathBuf,
    stanza: &'a str,
    account: Option<Account>,
}

impl Program<'_> {
    fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.file);
        if let Some(account) = self.account {
            command.uid(account.user).gid(account.group);
        }
        command.arg(format!("--config={}", self.config.display()));
        command.arg(format!("--stanza={}", self.stanza));
        command
    }
}

/// Brings the encrypted index into the volume. Answers its text: only the right passphrase gives it.
async fn unlock(
    last: &Label<'_>,
    origin: &Origin,
    (settings, place): (&Settings, &Place),
    program: &Program<'_>,
) -> Result<String> {
    let file = format!("backup/{}/{INFO}", last.stanza);
    let bytes = small(origin, &format!("{}{file}", last.root)).await?;
    for name in [file.clone(), format!("{file}.copy")] {
        write(&place.scratch.join("repository").join(name), &bytes)?;
    }
    hand_over((settings, place))?;
    locked::open(program.command(), (last.stanza, &file), &settings.decryption).await
}

/// Writes an encrypted index that names the plan's backups alone, if the one that was found has forgotten one.
async fn rewrite_info(
    plan: &Plan,
    index: &str,
    (settings, place): (&Settings, &Place),
    program: &Program<'_>,
) -> Result<()> {
    let labels: Vec<Label<'_>> = plan.bases.iter().filter_map(label).collect();
    if names_all(&labels, index) {
        return Ok(());
    }
    hand_over((settings, place))?;
    let mut manifests = Vec::new();
    for own in &labels {
        let file = format!("backup/{}/{}/{MANIFEST}", own.stanza, own.name);
        manifests.push((
            own.name,
            locked::open(program.command(), (own.stanza, &file), &settings.decryption).await?,
        ));
    }
    let file = format!("backup/{}/{INFO}", program.stanza);
    let made = index::index(&manifests, index::sealed(index)).ok_or_else(|| Error::Damaged {
        key: file.clone(),
        cause: "it has forgotten a backup whose manifest can't be read".to_owned(),
    })?;
    for name in [file.clone(), format!("{file}.copy")] {
        locked::save(program.command(), &name, &made).await?;
    }
    Ok(())
}

fn names_all(labels: &[Label<'_>], index: &str) -> bool {
    labels.iter().all(|own| index.lines().any(|line| line.starts_with(&format!("{}=", own.name))))
}

/// The log of an encrypted repository: its key is in a file beside it.
async fn fetch_log(plan: &Plan, (last, origin): (&Label<'_>, &Origin), repository: &Path) -> Result<()> {
    let path = |key: &str| repository.join(key.strip_prefix(last.root).unwrap_or(key));
    let memory = Room::new();
    let saved =
        plan.logs.iter().map(|log| save((origin, &memory), &log.object, path(&log.object.key)).boxed());
    stream::iter(saved.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;
    let key = format!("{}archive/{}/archive.info", last.root, last.stanza);
    let bytes = small(origin, &key).await?;
    for name in [key.clone(), format!("{key}.copy")] {
        write(&path(&name), &bytes)?;
    }
    Ok(())
}

async fn fetch(base: &PlannedBase, root: &str, origin: &Origin, repository: &Path) -> Result<()> {
    let path = |key: &str| repository.join(key.strip_prefix(root).unwrap_or(key));
    let memory = Room::new();
    let saved = base.objects.iter().map(|object| save((origin, &memory), object, path(&object.key)).boxed());
    stream::iter(saved.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;
    let beside = base.base.keys.commit.iter().chain(&base.base.keys.metadata);
    for key in beside.filter(|key| !key.contains("/backup.history/")) {
        let bytes = small(origin, key).await?;
        write(&path(key), &bytes)?;
    }
    Ok(())
}

async fn save((origin, memory): (&Origin, &Room), object: &Object, to: PathBuf) -> Result<()> {
    if let Some(folder) = to.parent() {
        make_folder(folder)?;
    }
    origin
        .read_beside(memory, object, move |mut input| {
            let mut file = std::fs::File::create(&to).map_err(Error::file(&to))?;
            std::io::copy(&mut input, &mut file).map(drop).map_err(Error::file(&to))
        })
        .await
}

/// A file that is fetched as a whole.
async fn small(origin: &Origin, key: &str) -> Result<Vec<u8>> {
    let at = format!("{}{key}", origin.prefix);
    let got = async { collect(origin.store.get(&at, &GetOptions::default()).await?.body).await }.await;
    Ok(got.map_err(Error::store)?.to_vec())
}

fn write(to: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = to.parent() {
        make_folder(folder)?;
    }
    std::fs::write(to, bytes).map_err(Error::file(to))
}

/// The repository's index: as it is, if it names the backups, or else one that names them alone.
async fn write_info(plan: &Plan, (last, origin): (&Label<'_>, &Origin), folder: &Path) -> Result<()> {
    let labels: Vec<Label<'_>> = plan.bases.iter().filter_map(label).collect();
    let key = format!("{}backup/{}/{INFO}", last.root, last.stanza);
    let found = small(origin, &key).await.ok();
    let usable = found.filter(|bytes| names_all(&labels, &String::from_utf8_lossy(bytes)));
    let text = match usable {
        Some(bytes) => bytes,
        None => made_index(&labels, folder, &key)?,
    };
    write(&folder.join(INFO), &text)?;
    write(&folder.join(format!("{INFO}.copy")), &text)
}

/// An index that names these backups alone.
fn made_index(labels: &[Label<'_>], folder: &Path, key: &str) -> Result<Vec<u8>> {
    let damaged = |cause: &str| Error::Damaged { key: key.to_owned(), cause: cause.to_owned() };
    let mut manifests = Vec::new();
    for own in labels {
        let file = folder.join(own.name).join(MANIFEST);
        let text = std::fs::read(&file).map_err(Error::file(&file))?;
        manifests.push((own.name, String::from_utf8_lossy(&text).into_owned()));
    }
    let made = index::index(&manifests, None).ok_or_else(|| damaged("a backup's manifest can't be read"))?;
    Ok(made.into_bytes())
}

/// The passphrase is in no argument: the file is for its owner alone.
fn write_config(
    config: &Path,
    last: &Label<'_>,
    (settings, place): (&Settings, &Place),
    (repository, encrypted): (&Path, bool),
) -> Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let processes = std::thread::available_parallelism().map_or(1, usize::from);
    let mut text = format!(
        "[global]\nrepo1-path={}\nlock-path={}\nspool-path={}\nlog-level-file=off\nlog-level-console=off\nlog-level-stderr=error\nprocess-max={processes}\n",
        repository.display(),
        settings.work.display(),
        settings.work.display(),
    );
    if let Some(passphrase) = settings.passphrase.as_ref().filter(|_| encrypted) {
        let pass = std::fs::read_to_string(passphrase).map_err(Error::file(passphrase))?;
        let pass = pass.trim();
        if pass.contains(['\n', '\r', '\0']) {
            let cause = format!("the passphrase of {} has more than one line", settings.decryption);
            return Err(Error::Locked(cause));
        }
        write!(text, "repo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass={pass}\n").ok();
    }
    write!(
        text,
        "[{}]\npg1-path={}\ntablespace-map-all={}\n",
        last.stanza,
        place.data.display(),
        settings.volume.join(SPACES).display()
    )
    .ok();
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(config);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(Error::file(config))
}
