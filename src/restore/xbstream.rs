//! Unpacks an xbstream, as mariadb-backup and xtrabackup write it, into a folder.
//!
//! A stream is a row of chunks: `XBSTCK01`, flags, a type, the path, and for data its length, its offset in
//! the file, a CRC-32 and the bytes. Chunks of several files are mixed.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Component, Path, PathBuf},
};

use super::{Error, Result};

const MAGIC: &[u8; 8] = b"XBSTCK01";
/// Chunks are 10 MiB at most, as their tools write them; more is held by none.
const MAX_CHUNK: u64 = 64 << 20;
const MAX_PATH: u32 = 4096;

/// Unpacks a stream below `folder`. Answers how many files there were.
///
/// # Errors
/// [`Error::Damaged`] for what is no such stream, ends too early, or has another sum than it says.
pub(super) fn extract(mut input: impl Read, name: &str, folder: &Path) -> Result<usize> {
    let mut unpacking = Unpacking { name, folder, files: HashMap::new(), buffer: Vec::new(), count: 0 };
    while unpacking.chunk(&mut input)? {}
    match unpacking.files.keys().next() {
        Some(open) => Err(unpacking.damaged(format!("it ends within {}", open.display()))),
        None if unpacking.count == 0 => Err(unpacking.damaged("it holds no files".to_owned())),
        None => Ok(unpacking.count),
    }
}

struct Unpacking<'a> {
    name: &'a str,
    folder: &'a Path,
    files: HashMap<PathBuf, File>,
    buffer: Vec<u8>,
    count: usize,
}

impl Unpacking<'_> {
    fn damaged(&self, cause: String) -> Error {
        Error::Damaged { key: self.name.to_owned(), cause }
    }

    /// What came of reading: the input's end in the wrong place is damage, all else its own failure.
    fn input(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it ends within a chunk".to_owned()),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => self.damaged(error.to_string()),
            _ => Error::File { path: self.name.to_owned(), source: error },
        }
    }

    fn fill(&self, input: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
        input.read_exact(buffer).map_err(|error| self.input(error))
    }

    fn number<const N: usize>(&self, input: &mut impl Read) -> Result<u64> {
        let mut raw = [0; N];
        self.fill(input, &mut raw)?;
        Ok(raw.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)))
    }

    /// Takes the next chunk; false at the end.
    fn chunk(&mut self, input: &mut impl Read) -> Result<bool> {
        let mut head = [0; 10];
        if input.read(&mut head[..1]).map_err(|error| self.input(error))? == 0 {
            return Ok(false);
        }
        self.fill(input, &mut head[1..])?;
        if head[..8] != *MAGIC {
            return Err(self.damaged("it is not an xbstream".to_owned()));
        }
        let length = self.number::<4>(input)?;
        if length > u64::from(MAX_PATH) {
            return Err(self.damaged(format!("a path of {length} bytes")));
        }
        let mut path = vec![0; usize::try_from(length).unwrap_or_default()];
        self.fill(input, &mut path)?;
        let path = self.safe(&String::from_utf8_lossy(&path))?;
        match head[9] {
            b'E' => {
                self.open(&path)?;
                self.files.remove(&path);
            }
            b'P' => self.payload(input, &path, &[])?,
            b'S' => {
                let count = self.number::<4>(input)?;
                self.sparse(input, &path, count)?;
            }
            other => return Err(self.damaged(format!("a chunk of unknown type {other:?}"))),
        }
        Ok(true)
    }

    /// A path that stays below the folder.
    fn safe(&self, path: &str) -> Result<PathBuf> {
        let parts = Path::new(path).components().filter(|part| !matches!(part, Component::CurDir));
        let safe: Option<PathBuf> =
            parts.map(|part| if let Component::Normal(name) = part { Some(name) } else { None }).collect();
        safe.filter(|safe| !safe.as_os_str().is_empty())
            .ok_or_else(|| self.damaged(format!("it names {path}, which lies outside of the data directory")))
    }

    fn open(&mut self, path: &Path) -> Result<&mut File> {
        if !self.files.contains_key(path) {
            let full = self.folder.join(path);
            if let Some(parent) = full.parent() {
                std::fs::create_dir_all(parent).map_err(Error::file(parent))?;
            }
            let file = File::options().write(true).create(true).truncate(true).open(&full);
            self.files.insert(path.to_owned(), file.map_err(Error::file(&full))?);
            self.count += 1;
        }
        match self.files.get_mut(path) {
            Some(file) => Ok(file),
            None => Err(Error::Broken("a file that was opened is not open".to_owned())),
        }
    }

    fn sparse(&mut self, input: &mut impl Read, path: &Path, count: u64) -> Result<()> {
        // Sizes and checksum come before the map.
        let sizes = self.sizes(input)?;
        let mut map = Vec::new();
        for _ in 0..count {
            map.push((self.number::<4>(input)?, self.number::<4>(input)?));
        }
        self.write(input, path, sizes, &map)
    }

    fn payload(&mut self, input: &mut impl Read, path: &Path, map: &[(u64, u64)]) -> Result<()> {
        let sizes = self.sizes(input)?;
        self.write(input, path, sizes, map)
    }

    /// Length, offset in the file, sum.
    fn sizes(&self, input: &mut impl Read) -> Result<(u64, u64, u64)> {
        let sizes = (self.number::<8>(input)?, self.number::<8>(input)?, self.number::<4>(input)?);
        if sizes.0 > MAX_CHUNK {
            return Err(self.damaged(format!("a chunk of {} bytes", sizes.0)));
        }
        Ok(sizes)
    }

    fn write(
        &mut self,
        input: &mut impl Read,
        path: &Path,
        (length, offset, sum): (u64, u64, u64),
        map: &[(u64, u64)],
    ) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(usize::try_from(length).unwrap_or_default(), 0);
        self.fill(input, &mut buffer)?;
        // The sum of a sparse chunk is over its map too, in a form of its own: it is not looked at.
        if map.is_empty() && crc(&buffer) != sum {
            return Err(self.damaged(format!("{} has another checksum than the stream says", path.display())));
        }
        let full = self.folder.join(path);
        let file = self.open(path)?;
        write_at(file, &buffer, offset, map).map_err(Error::file(&full))?;
        self.buffer = buffer;
        Ok(())
    }
}

fn write_at(file: &mut File, mut bytes: &[u8], offset: u64, map: &[(u64, u64)]) -> io::Result<()> {
    let mut at = file.seek(SeekFrom::Start(offset))?;
    for (skip, length) in map {
        at = file.seek(SeekFrom::Start(at + skip))?;
        let length = usize::try_from(*length).unwrap_or(usize::MAX);
        let (now, rest) = bytes.split_at_checked(length).ok_or(io::ErrorKind::InvalidData)?;
        file.write_all(now)?;
        at += length as u64;
        bytes = rest;
    }
    file.write_all(bytes)
}

fn crc(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: u8, path: &str, data: &[u8], offset: u64) -> Vec<u8> {
        let mut all = MAGIC.to_vec();
        all.extend([0, kind]);
        all.extend(u32::try_from(path.len()).unwrap().to_le_bytes());
        all.extend(path.bytes());
        if kind != b'E' {
            all.extend((data.len() as u64).to_le_bytes());
            all.extend(offset.to_le_bytes());
            all.extend(u32::try_from(crc(data)).unwrap().to_le_bytes());
            all.extend(data);
        }
        all
    }

    #[test]
    fn b08_files_are_written_where_their_chunks_say() {
        let folder = tempfile::tempdir().unwrap();
        let mut stream = chunk(b'P', "shop/a.ibd", b"first", 0);
        stream.extend(chunk(b'P', "ibdata1", b"other", 0));
        stream.extend(chunk(b'P', "shop/a.ibd", b"second", 5));
        stream.extend(chunk(b'E', "shop/a.ibd", b"", 0));
        stream.extend(chunk(b'E', "ibdata1", b"", 0));
        stream.extend(chunk(b'E', "./empty", b"", 0));
        assert_eq!(extract(stream.as_slice(), "base", folder.path()).unwrap(), 3);
        assert_eq!(std::fs::read(folder.path().join("shop/a.ibd")).unwrap(), b"firstsecond");
        assert_eq!(std::fs::read(folder.path().join("empty")).unwrap(), b"");
        // Cut off anywhere, it is not taken for a whole one.
        for end in 1..stream.len() {
            let again = tempfile::tempdir().unwrap();
            let cut = extract(&stream[..end], "base", again.path());
            let whole = end == stream.len() - chunk(b'E', "./empty", b"", 0).len();
            assert_eq!(cut.is_ok(), whole, "{end}: {cut:?}");
        }
    }

    #[test]
    fn b08_a_stream_that_lies_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut flipped = chunk(b'P', "a", b"data", 0);
        *flipped.last_mut().unwrap() ^= 1;
        let cases = [
            (flipped, "checksum"),
            (chunk(b'P', "../../etc/passwd", b"x", 0), "outside"),
            (chunk(b'P', "/etc/passwd", b"x", 0), "outside"),
            (b"no such thing at all".to_vec(), "not an xbstream"),
            (Vec::new(), "no files"),
        ];
        for (stream, says) in cases {
            let error = extract(stream.as_slice(), "base.xb", folder.path()).unwrap_err();
            assert!(error.to_string().contains(says) && error.to_string().contains("base.xb"), "{error}");
        }
    }

    #[test]
    fn b08_holes_of_a_sparse_chunk_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut stream = MAGIC.to_vec();
        stream.extend([0, b'S', 1, 0, 0, 0, b'a', 2, 0, 0, 0]);
        stream.extend(4_u64.to_le_bytes());
        stream.extend(0_u64.to_le_bytes());
        stream.extend([0; 4]);
        for (skip, length) in [(2_u32, 2_u32), (3, 2)] {
            stream.extend(skip.to_le_bytes());
            stream.extend(length.to_le_bytes());
        }
        stream.extend(b"abcd");
        stream.extend(chunk(b'E', "a", b"", 0));
        extract(stream.as_slice(), "base", folder.path()).unwrap();
        assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"\0\0ab\0\0\0cd");
    }
}
