//! PostgreSQL's log, brought to a recovering server segment by segment.
//!
//! A server in recovery runs its `restore_command` for each segment. Exit 1 means that there is none, and ends
//! the recovery: right at the end of the log, and a silent loss anywhere else. So a frozen index says which
//! files there are: what it names and can't be had is a failure, on which the server stops
//! (pgbackrest/pgbackrest#2549 is what happens else).

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Error, Origin, Reporter, Result};
use crate::{
    backup::catalog::{Object, decode},
    store::{
        ETag, ObjectStore,
        credentials::Credentials,
        s3::{Addressing, S3Config, S3Store},
    },
};

/// Segments that are fetched together: the one that is asked for, and those after it.
const TOGETHER: usize = 4;

/// Where a copy lies. Holds no credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    pub endpoint: String,
    pub signing_region: String,
    /// The bucket's name is part of the host.
    #[serde(default)]
    pub virtual_hosted: bool,
    /// PEM of authorities to trust besides the system's.
    #[serde(default)]
    pub ca_bundle: Option<String>,
    pub bucket: String,
    /// Empty, or ends in `/`.
    pub prefix: String,
    /// Directory with files `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
    pub credentials: PathBuf,
}

/// What `farshore wal-get` reads: where the files are, and which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Archive {
    pub address: Address,
    /// A line a file, in log order: name, bytes, key relative to the prefix; tabs between.
    pub index: PathBuf,
    /// A folder for files that were fetched ahead, on the file system of the data directory.
    pub spool: PathBuf,
}

/// A file of the log, as the index names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As the server asks for it.
    pub name: String,
    pub size: u64,
    /// Relative to the prefix.
    pub key: String,
}

/// An answer to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// The file lies where the server wants it.
    Here,
    /// There is no such file: the log ends before it.
    NoSuch,
}

impl Archive {
    /// Reads the file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Unusable`].
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(Error::file(path))?;
        serde_json::from_slice(&text).map_err(|error| Error::Unusable(format!("{}: {error}", path.display())))
    }

    /// Writes it, and its index.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save(&self, path: &Path, entries: &[Entry]) -> Result<()> {
        let lines: String = entries.iter().map(Entry::line).collect();
        std::fs::write(&self.index, lines).map_err(Error::file(&self.index))?;
        std::fs::create_dir_all(&self.spool).map_err(Error::file(&self.spool))?;
        let text = serde_json::to_vec(self).map_err(|error| Error::Broken(error.to_string()))?;
        std::fs::write(path, text).map_err(Error::file(path))
    }

    /// Brings a file to where the server wants it.
    ///
    /// # Errors
    /// When it is named by the index and can't be had: the server must stop, and not take it for the end.
    pub async fn get(&self, name: &str, path: &Path) -> Result<Got> {
        let spooled = self.spool.join(name);
        let wanted = self.wanted(name)?;
        if wanted.is_empty() {
            return Ok(Got::NoSuch);
        }
        if !spooled.exists() {
            let store = self.address.open()?;
            self.fetch(store, wanted).await?;
        }
        place(&spooled, path)?;
        Ok(Got::Here)
    }

    /// A file and those after it that are not here yet; nothing when the index doesn't name it.
    fn wanted(&self, name: &str) -> Result<Vec<Entry>> {
        let file = File::open(&self.index).map_err(Error::file(&self.index))?;
        let mut wanted: Vec<Entry> = Vec::new();
        for line in BufReader::new(file).lines() {
            let line = line.map_err(Error::file(&self.index))?;
            let entry = Entry::parse(&line).ok_or_else(|| {
                Error::Unusable(format!("{}: {line:?} is no file of the log", self.index.display()))
            })?;
            if wanted.is_empty() && entry.name != name {
                continue;
            }
            if wanted.is_empty() || !self.spool.join(&entry.name).exists() {
                wanted.push(entry);
            }
            if wanted.len() == TOGETHER {
                break;
            }
        }
        Ok(wanted)
    }

    /// Fetches files side by side. Only the first one's failure counts: nobody has asked for the others.
    async fn fetch(&self, store: Arc<dyn ObjectStore>, wanted: Vec<Entry>) -> Result<()> {
        let origin = Origin { store, prefix: self.address.prefix.clone(), reporter: Reporter::default() };
        let first = wanted[0].name.clone();
        stream::iter(wanted)
            .map(|entry| {
                let (origin, spool, asked) = (origin.clone(), self.spool.clone(), entry.name == first);
                async move {
                    match unpack(&origin, &spool, &entry).await {
                        Err(error) if !asked => {
                            tracing::warn!(%error, name = entry.name, "not fetched ahead");
                            Ok(())
                        }
                        other => other,
                    }
                }
            })
            .buffer_unordered(TOGETHER)
            .try_collect()
            .await
    }
}

impl Address {
    /// Opens the store.
    ///
    /// # Errors
    /// What is wrong with the credentials' files, or the configuration.
    pub fn open(&self) -> Result<Arc<dyn ObjectStore>> {
        let credentials = Credentials::files(&self.credentials).map_err(Error::store)?;
        let config = S3Config {
            signing_region: self.signing_region.clone(),
            addressing: if self.virtual_hosted { Addressing::Virtual } else { Addressing::Path },
            ca_bundle: self.ca_bundle.clone(),
            ..S3Config::new(&self.endpoint, &self.bucket, credentials)
        };
        Ok(Arc::new(S3Store::new(config).map_err(Error::store)?))
    }
}

impl Entry {
    fn line(&self) -> String {
        format!("{}\t{}\t{}\n", self.name, self.size, self.key)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut columns = line.splitn(3, '\t');
        let name = columns.next()?.to_owned();
        Some(Self { name, size: columns.next()?.parse().ok()?, key: columns.next()?.to_owned() })
    }

    fn object(&self) -> Object {
        Object {
            key: self.key.clone(),
            stored_as: None,
            stored_etag: None,
            size: self.size,
            etag: ETag(String::new()),
            modified: Timestamp::UNIX_EPOCH,
        }
    }
}

/// Fetches a file, unpacks it, and puts it into the spool under its name once it is whole.
async fn unpack(origin: &Origin, spool: &Path, entry: &Entry) -> Result<()> {
    let (packing, key) = (decode::split(&entry.key).1, entry.key.clone());
    // Two servers' commands, or an attempt before, may be at the same file.
    let part = spool.join(format!("{}.{}.part", entry.name, std::process::id()));
    let to = part.clone();
    let object = entry.object();
    let unpacked = origin.read(&object, move |input| {
        let mut file = File::create(&to).map_err(Error::file(&to))?;
        io::copy(&mut decode::unpack(packing, input), &mut file).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Error::Damaged { key, cause: source.to_string() }
            }
            _ => Error::File { path: to.display().to_string(), source },
        })?;
        file.flush().map_err(Error::file(&to))
    });
    if let Err(error) = unpacked.await {
        std::fs::remove_file(&part).ok();
        return Err(error);
    }
    std::fs::rename(&part, spool.join(&entry.name)).map_err(Error::file(&part))
}

/// Moves a file of the spool to its place; over a temporary name where that is another file system.
fn place(spooled: &Path, path: &Path) -> Result<()> {
    if std::fs::rename(spooled, path).is_ok() {
        return Ok(());
    }
    let part = path.with_extension("part");
    std::fs::copy(spooled, &part).map_err(Error::file(&part))?;
    std::fs::rename(&part, path).map_err(Error::file(path))?;
    std::fs::remove_file(spooled).map_err(Error::file(spooled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::{Failure, Fault, MemoryStore, Verb};

    struct Place {
        archive: Archive,
        store: MemoryStore,
        folder: PathBuf,
    }

    impl Drop for Place {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.folder).ok();
        }
    }

    fn place_of(names: &[&str]) -> Place {
        let folder = std::env::temp_dir().join(format!("farshore-wal-{:016x}", fastrand::u64(..)));
        std::fs::create_dir_all(&folder).unwrap();
        let address = Address {
            endpoint: "http://east".into(),
            signing_region: "east".into(),
            virtual_hosted: false,
            ca_bundle: None,
            bucket: "dr".into(),
            prefix: "copies/".into(),
            credentials: "/nowhere".into(),
        };
        let archive = Archive { address, index: folder.join("index"), spool: folder.join("spool") };
        let store = MemoryStore::new("dr");
        let mut entries = Vec::new();
        for name in names {
            let (key, body) = (format!("wals/{name}.zst"), zstd::encode_all(name.as_bytes(), 1).unwrap());
            entries.push(Entry { name: (*name).to_owned(), size: body.len() as u64, key: key.clone() });
            store.seed(&format!("copies/{key}"), body, Timestamp::UNIX_EPOCH);
        }
        archive.save(&folder.join("archive.json"), &entries).unwrap();
        assert_eq!(Archive::load(&folder.join("archive.json")).unwrap(), archive);
        Place { archive, store, folder }
    }

    impl Place {
        async fn get(&self, name: &str) -> Result<Got> {
            let wanted = self.archive.wanted(name)?;
            if wanted.is_empty() {
                return Ok(Got::NoSuch);
            }
            if !self.archive.spool.join(name).exists() {
                self.archive.fetch(Arc::new(self.store.clone()), wanted).await?;
            }
            place(&self.archive.spool.join(name), &self.folder.join("RECOVERYXLOG"))?;
            Ok(Got::Here)
        }

        fn got(&self) -> String {
            std::fs::read_to_string(self.folder.join("RECOVERYXLOG")).unwrap()
        }
    }

    #[tokio::test]
    async fn b08_a_server_gets_each_segment_unpacked_and_the_next_ones_are_there_already() {
        let names = ["A1", "A2", "A3", "A4", "A5"];
        let place = place_of(&names);
        for name in names {
            assert_eq!(place.get(name).await.unwrap(), Got::Here);
            assert_eq!(place.got(), name);
        }
        assert_eq!(place.store.requests(Verb::Get), 5, "each is fetched once");
        assert_eq!(place.get("A6").await.unwrap(), Got::NoSuch);
        let left = std::fs::read_dir(&place.archive.spool).unwrap().count();
        assert_eq!(left, 0, "nothing half done is left");
    }

    #[tokio::test]
    async fn b08_a_segment_that_should_be_there_and_is_not_is_never_taken_for_the_end() {
        let place = place_of(&["A1", "A2"]);
        place.store.unseed("copies/wals/A2.zst");
        // Fetched ahead in vain: nobody asked for it yet.
        assert_eq!(place.get("A1").await.unwrap(), Got::Here);
        let error = place.get("A2").await.unwrap_err();
        assert!(matches!(&error, Error::Damaged { key, .. } if key.contains("A2")), "{error}");

        let place = place_of(&["A1"]);
        place.store.fault(Fault::always(Verb::Get, Failure::AccessDenied));
        assert!(place.get("A1").await.is_err());
    }

    #[tokio::test]
    async fn b08_a_damaged_segment_is_refused() {
        let place = place_of(&["A1"]);
        place.store.seed("copies/wals/A1.zst", "not zstd at all", Timestamp::UNIX_EPOCH);
        assert!(place.get("A1").await.is_err());
        assert!(!place.folder.join("RECOVERYXLOG").exists());
    }
}
