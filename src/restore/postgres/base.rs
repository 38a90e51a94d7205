//! Bases as Barman and WAL-G lay them out: tar files, unpacked while they are fetched.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt as _,
    path::{Component, Path, PathBuf},
};

use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use super::data::make_folder;
use crate::{
    backup::catalog::{BaseKind, Object, decode},
    restore::{Error, Origin, Plan, Result, fetch::Room},
};

/// Tar files that are unpacked side by side.
const PARALLEL: usize = 4;
const CHUNK: usize = 256 << 10;
/// The control file comes last: without it nothing looks like a database.
const CONTROL: &str = "pg_control.tar";

/// Where the files of a base, or of one tar file, go.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub root: PathBuf,
    /// Tablespaces, each in a folder that is called as its number.
    pub spaces: PathBuf,
}

/// Brings a base back.
///
/// # Errors
/// [`Error::Unusable`] for what can't be restored here.
pub(super) async fn bring_back(plan: &Plan, origin: &Origin, place: &Target) -> Result<()> {
    let [base] = &plan.bases[..] else {
        return Err(Error::Unusable(format!(
            "{} lies on top of another backup: only full backups of this format can be restored here; choose a moment that a full one shows",
            plan.bases.last().map(|base| base.id.as_str()).unwrap_or_default()
        )));
    };
    if base.kind == BaseKind::Incremental {
        return Err(Error::Unusable(format!("{} is not a full backup", base.id)));
    }
    let tars = base.objects.iter().filter(|object| stem(object).is_some());
    let (last, first): (Vec<_>, Vec<_>) = tars.partition(|object| object.key.contains(CONTROL));
    let memory = Room::new();
    for part in [first, last] {
        let unpacked = part.into_iter().map(|object| unpack((origin, &memory), object, place).boxed());
        let unpacked: Vec<_> = unpacked.collect();
        stream::iter(unpacked).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;
    }
    for needed in ["PG_VERSION", "global/pg_control", "backup_label"] {
        if !place.root.join(needed).exists() {
            let cause = format!("it has no {needed}: it is not whole");
            return Err(Error::Damaged { key: base.id.clone(), cause });
        }
    }
    Ok(())
}

/// `…/16387.tar.gz` → `16387`; `None` for what is no tar file.
fn stem(object: &Object) -> Option<&str> {
    let (name, _) = decode::split(object.key.rsplit('/').next()?);
    name.strip_suffix(".tar")
}

async fn unpack((origin, memory): (&Origin, &Room), object: &Object, place: &Target) -> Result<()> {
    let (key, packing) = (object.key.clone(), decode::split(&object.key).1);
    // Barman packs a tablespace into a file of its own, named by its number.
    let space = stem(object).and_then(|name| name.split('_').next()).filter(|name| is_number(name));
    let root = space.map_or_else(|| place.root.clone(), |oid| place.spaces.join(oid));
    let target = Target { root, spaces: place.spaces.clone() };
    make_folder(&target.root)?;
    let take = move |input| target.extract(decode::unpack(packing, input), &key);
    origin.read_beside(memory, object, take).await
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

impl Target {
    fn extract(&self, input: impl Read, key: &str) -> Result<()> {
        let damaged = |source: io::Error| match source.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Error::Damaged { key: key.to_owned(), cause: source.to_string() }
            }
            _ => Error::File { path: key.to_owned(), source },
        };
        let mut archive = tar::Archive::new(input);
        for entry in archive.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            let path = entry.path().map_err(damaged)?.into_owned();
            let Some(to) = self.place(&path) else {
                let cause = format!("{} leads out of its folder", path.display());
                return Err(Error::Damaged { key: key.to_owned(), cause });
            };
            let kind = entry.header().entry_type();
            // Links lead to places on another machine: the log's folder is made here, tablespaces are told apart.
            if kind.is_dir() || (kind.is_symlink() && path.ends_with("pg_wal")) {
                make_folder(&to)?;
            } else if kind.is_file() || kind.is_gnu_sparse() || kind.is_contiguous() {
                write(&mut entry, &to).map_err(damaged)?;
            }
        }
        // What follows the archive's end is padding; a stream that was cut off shows here.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(damaged)?;
        Ok(())
    }

    /// Where an entry goes; `None` if it would leave its folder.
    fn place(&self, path: &Path) -> Option<PathBuf> {
        let mut parts = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(part) => parts.push(part),
                Component::CurDir | Component::RootDir => {}
                Component::ParentDir | Component::Prefix(_) => return None,
            }
        }
        let space = parts.first().is_some_and(|part| *part == "pg_tblspc") && parts.len() > 1;
        let root = if space { &self.spaces } else { &self.root };
        Some(root.join(parts[usize::from(space)..].iter().collect::<PathBuf>()))
    }
}

fn write(input: &mut impl Read, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        make_folder(folder).map_err(io::Error::other)?;
    }
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    let mut buffer = io::BufReader::with_capacity(CHUNK, input);
    io::copy(&mut buffer, &mut file).map(drop)
}
