//! The bases of a chain, brought back and made consistent.

use std::path::Path;

use tokio::process::Command;

use super::plain;
use crate::{
    backup::catalog::{BaseKind, binlog::Applied, decode, gtid::Gtids},
    restore::{
        Error, Origin, Plan, PlannedBase, Result, Step,
        child::{self, tool},
        error::AtStep,
        xbstream,
    },
};

/// Where the log goes on from a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The binlog that was being written.
    pub file: String,
    /// The first byte that the base doesn't hold.
    pub position: u64,
    /// What the base holds, where the server counted.
    pub gtids: Option<Gtids>,
}

impl Start {
    /// Reads `mysql-bin.000008<tab>385<tab>0-101-13`, of which a long set of GTIDs goes on over lines.
    fn parse(text: &str) -> Option<Self> {
        let mut columns = text.trim().splitn(3, ['\t', ' ']);
        let file = columns.next().filter(|file| !file.is_empty())?.to_owned();
        let position = columns.next()?.trim().parse().ok()?;
        let gtids =
            columns.next().map(|gtids| gtids.replace('\n', "")).filter(|gtids| !gtids.trim().is_empty());
        Some(Self { file, position, gtids: gtids.and_then(|gtids| Gtids::parse(&gtids)) })
    }

    /// What needs no replay, when the log begins with a file of this name.
    pub fn applied(self, first_log: &str) -> Result<Applied> {
        match self.gtids {
            Some(gtids) => Ok(Applied::Gtids(gtids)),
            None if self.file == first_log => Ok(Applied::Before(self.position)),
            None => Err(Error::Unusable(format!(
                "the base ends in {} at {}, but the log goes on with {first_log}, and there are no GTIDs to tell what it lacks",
                self.file, self.position
            ))),
        }
    }
}

/// Brings the bases back: each is unpacked while it is fetched, and prepared on top of the one before it. Answers
/// where the log goes on; `None` for a base that doesn't say, since its server wrote none.
pub(super) async fn bring_back(
    plan: &Plan,
    origin: &Origin,
    (data, scratch): (&Path, &Path),
) -> Result<Option<Start>, AtStep> {
    let mut start = None;
    for (at, base) in plan.bases.iter().enumerate() {
        let last = at + 1 == plan.bases.len();
        origin.reporter.enter(Step::Fetch);
        let increment = scratch.join("increment");
        let folder = if base.kind == BaseKind::Full { data } else { increment.as_path() };
        unpack(base, origin, folder).await.map_err(|error| error.at(Step::Fetch))?;
        origin.reporter.enter(Step::Prepare);
        let prepared = async {
            start = read_start(folder)?;
            let increment = (base.kind == BaseKind::Incremental).then_some(folder);
            prepare((data, increment), last).await
        };
        prepared.await.map_err(|error| error.at(Step::Prepare))?;
    }
    Ok(start)
}

/// Unpacks one base into a folder, which is made anew.
///
/// # Errors
/// [`Error::Damaged`] for one that is not whole.
pub(super) async fn unpack(base: &PlannedBase, origin: &Origin, folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(Error::file(folder))?;
    }
    std::fs::create_dir_all(folder).map_err(Error::file(folder))?;
    for object in &base.objects {
        let (folder, key) = (folder.to_owned(), object.key.clone());
        let packing = decode::split(&object.key).1;
        let files = origin
            .read(object, move |input| xbstream::extract(decode::unpack(packing, input), &key, &folder))
            .await?;
        tracing::info!(base = base.id, files, "unpacked");
    }
    // The tool writes this one last: without it, the stream was cut off between two files.
    find(folder, "checkpoints").map(drop).ok_or_else(|| Error::Damaged {
        key: base.id.clone(),
        cause: "it has no xtrabackup_checkpoints: it is not whole".to_owned(),
    })
}

/// A file of the backup's own, under its older or its newer name.
fn find(folder: &Path, what: &str) -> Option<std::path::PathBuf> {
    ["xtrabackup_", "mariadb_backup_"]
        .iter()
        .map(|tool| folder.join(format!("{tool}{what}")))
        .find(|f| f.exists())
}

fn read_start(folder: &Path) -> Result<Option<Start>> {
    let Some(file) = find(folder, "binlog_info") else { return Ok(None) };
    let text = std::fs::read_to_string(&file).map_err(Error::file(&file))?;
    Start::parse(&text)
        .map(Some)
        .ok_or_else(|| Error::Unusable(format!("{} can't be understood: {text:?}", file.display())))
}

async fn prepare((data, increment): (&Path, Option<&Path>), last: bool) -> Result<()> {
    let program = tool(&["mariadb-backup", "mariabackup", "xtrabackup"])?;
    let is_xtrabackup = program.ends_with("xtrabackup");
    let folder = increment.unwrap_or(data);
    if packed(folder)? {
        let mut unpack = plain(&program);
        unpack.arg("--decompress").arg("--remove-original").arg(argument("--target-dir", folder));
        child::run(&mut unpack).await?;
    }
    let mut command: Command = plain(&program);
    command.arg("--no-defaults").arg("--prepare").arg(argument("--target-dir", data));
    if let Some(increment) = increment {
        command.arg(argument("--incremental-dir", increment));
    }
    // xtrabackup rolls back what was open unless told that more is to come; mariadb-backup never does.
    if is_xtrabackup && !last {
        command.arg("--apply-log-only");
    }
    child::run(&mut command).await?;
    if let Some(increment) = increment {
        std::fs::remove_dir_all(increment).map_err(Error::file(increment))?;
    }
    Ok(())
}

fn argument(name: &str, path: &Path) -> std::ffi::OsString {
    let mut all = std::ffi::OsString::from(format!("{name}="));
    all.push(path);
    all
}

/// True when the tool packed single files (`--compress`).
fn packed(folder: &Path) -> Result<bool> {
    for entry in std::fs::read_dir(folder).map_err(Error::file(folder))? {
        let path = entry.map_err(Error::file(folder))?.path();
        if path.extension().is_some_and(|e| e == "qp" || e == "zst" || e == "lz4") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b08_the_place_in_the_log_is_read_as_the_tools_write_it() {
        let start = Start::parse("mysql-bin.000008\t385\t0-101-13\n").unwrap();
        assert_eq!((start.file.as_str(), start.position), ("mysql-bin.000008", 385));
        assert_eq!(
            start.clone().applied("mysql-bin.000001").unwrap(),
            Applied::Gtids(Gtids::parse("0-101-13").unwrap())
        );
        let uncounted = Start::parse("binlog.000002\t157\n").unwrap();
        assert_eq!(uncounted.clone().applied("binlog.000002").unwrap(), Applied::Before(157));
        assert!(uncounted.applied("binlog.000003").unwrap_err().to_string().contains("binlog.000002 at 157"));
        let many = Start::parse(
            "b.1\t4\t3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,\n4e11fa47-71ca-11e1-9e33-c80aa9429562:1\n",
        );
        assert!(matches!(many.unwrap().gtids, Some(Gtids::MySql(set)) if set.len() == 2));
        assert_eq!(Start::parse("\n"), None);
    }
}
