//! The data directory, between the source and the new instance.

use std::{
    fmt::Write as _,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::Path,
};

use super::{Place, server::Tools};
use crate::restore::{Error, Result};

/// The source's own settings, kept under other names for people to look at.
const ASIDE: [(&str, &str); 4] = [
    ("postgresql.conf", "postgresql.source.conf"),
    ("postgresql.auto.conf", "postgresql.auto.source.conf"),
    ("pg_hba.conf", "pg_hba.source.conf"),
    ("pg_ident.conf", "pg_ident.source.conf"),
];
/// What would make the server something else than a copy of its source at a moment.
const GONE: [&str; 6] = [
    "postmaster.pid",
    "postmaster.opts",
    "recovery.conf",
    "recovery.signal",
    "standby.signal",
    "recovery.done",
];
/// `pg_controldata`'s words, and the settings that they are about: a recovery needs as much as the source had.
const NEEDED: [(&str, &str); 6] = [
    ("max_connections setting:", "max_connections"),
    ("max_worker_processes setting:", "max_worker_processes"),
    ("max_wal_senders setting:", "max_wal_senders"),
    ("max_prepared_xacts setting:", "max_prepared_transactions"),
    ("max_locks_per_xact setting:", "max_locks_per_transaction"),
    ("track_commit_timestamp setting:", "track_commit_timestamp"),
];

/// A user of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub user: u32,
    pub group: u32,
}

impl Account {
    /// PostgreSQL refuses to run as root: then the volume's owner runs it. `None` where we are somebody else.
    pub fn of(volume: &Path) -> Result<Option<Self>> {
        let own = Path::new("/proc/self");
        if std::fs::metadata(own).map_err(Error::file(own))?.uid() != 0 {
            return Ok(None);
        }
        let owner = std::fs::metadata(volume).map_err(Error::file(volume))?;
        match owner.uid() {
            0 => Err(Error::Unusable(format!(
                "PostgreSQL refuses to run as root, which owns {}: run as another user, or let one own it",
                volume.display()
            ))),
            user => Ok(Some(Self { user, group: owner.gid() })),
        }
    }

    /// Number of the user that runs the server: this one, or ourselves.
    pub fn runs(account: Option<Self>) -> Result<u32> {
        let own = Path::new("/proc/self");
        let ours = || std::fs::metadata(own).map(|process| process.uid()).map_err(Error::file(own));
        account.map_or_else(ours, |account| Ok(account.user))
    }

    /// Makes a folder, and all in it, the account's.
    pub fn own(self, folder: &Path) -> Result<()> {
        std::os::unix::fs::lchown(folder, Some(self.user), Some(self.group)).map_err(Error::file(folder))?;
        if !folder.is_symlink() && folder.is_dir() {
            for entry in std::fs::read_dir(folder).map_err(Error::file(folder))? {
                self.own(&entry.map_err(Error::file(folder))?.path())?;
            }
        }
        Ok(())
    }
}

/// A folder for nobody but its owner, as the server wants it.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::file(folder))
}

/// Lays the source's settings aside.
pub(super) fn lay_aside(data: &Path) -> Result<()> {
    for (from, to) in ASIDE {
        let from = data.join(from);
        if from.exists() {
            std::fs::rename(&from, data.join(to)).map_err(Error::file(&from))?;
        }
    }
    for name in GONE {
        let path = data.join(name);
        if path.exists() {
            std::fs::remove_file(&path).map_err(Error::file(&path))?;
        }
    }
    // Tools leave empty folders out.
    for name in
        ["pg_wal/archive_status", "pg_tblspc", "pg_replslot", "pg_stat_tmp", "pg_dynshmem", "pg_notify"]
    {
        make_folder(&data.join(name))?;
    }
    for name in ["pg_serial", "pg_snapshots", "pg_subtrans", "pg_stat", "pg_twophase", "pg_commit_ts"] {
        make_folder(&data.join(name))?;
    }
    Ok(())
}

/// Tells the server where its tablespaces lie now.
pub(super) fn link_spaces(place: &Place) -> Result<()> {
    let links = place.data.join("pg_tblspc");
    let linked = std::fs::read_dir(&links).map_err(Error::file(&links))?.flatten();
    if linked.into_iter().any(|entry| entry.path().is_symlink()) {
        // pgBackRest made the links itself.
        return Ok(());
    }
    let mut map = String::new();
    for entry in std::fs::read_dir(&place.spaces).map_err(Error::file(&place.spaces))? {
        let path = entry.map_err(Error::file(&place.spaces))?.path();
        let oid = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        writeln!(map, "{oid} {}", path.display()).ok();
    }
    let file = place.data.join("tablespace_map");
    if !map.is_empty() {
        std::fs::write(&file, map).map_err(Error::file(&file))?;
    } else if file.exists() {
        std::fs::remove_file(&file).map_err(Error::file(&file))?;
    }
    Ok(())
}

/// Writes the new instance's settings: what the recovery needs, and a way in for those who know a password.
pub(super) async fn configure(place: &Place, tools: &Tools) -> Result<()> {
    let mut text = "# Written by a restore. The source's settings are in postgresql.source.conf.\nlisten_addresses = '*'\n".to_owned();
    let told = tools.control_data(&place.data).await?;
    for (words, setting) in NEEDED {
        let value = told.lines().find_map(|line| line.strip_prefix(words)).map(str::trim);
        if let Some(value) = value {
            writeln!(text, "{setting} = {value}").ok();
        }
    }
    let access = "local all all peer\nhost all all all scram-sha-256\n";
    for (name, text) in [("postgresql.conf", text.as_str()), ("pg_hba.conf", access), ("pg_ident.conf", "")] {
        let file = place.data.join(name);
        std::fs::write(&file, text).map_err(Error::file(&file))?;
    }
    Ok(())
}
