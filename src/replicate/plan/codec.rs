//! A plan as a file: JSON, gzipped, so that a person can read it with common tools.

use std::io::{Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};

use super::{Chunk, KeyRange, Plan, PlannedRange, RANGES, Volume};

/// Version of the file.
const VERSION: u32 = 1;
/// Most bytes of the file. As Base64 in an object of the API that is half a megabyte, half of what such an
/// object can hold.
const MOST: usize = 384 << 10;
/// Most bytes of the JSON in it: two keys of 1,024 bytes a range, each byte escaped.
const MOST_TEXT: u64 = 16 << 20;

/// A plan, and the file that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub plan: Plan,
    pub file: Vec<u8>,
}

/// A file that holds no plan.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("plan can't be unpacked: {0}")]
    Packed(#[from] std::io::Error),
    #[error("plan can't be read: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("plan has version {0}, but this program knows {VERSION}; use the image that made it")]
    UnknownVersion(u32),
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    about: String,
    objects: u64,
    bytes: u64,
    /// After, until, objects, bytes.
    ranges: Vec<(Option<String>, Option<String>, u64, u64)>,
}

impl Plan {
    /// Plans what these chunks lack. The chunks cover the key space in order. Where keys that share a
    /// thousand bytes would make the file too large, there are fewer ranges.
    ///
    /// # Errors
    /// Never for what is planned here; the types are serde's and the compressor's.
    pub fn encoded(about: &str, chunks: &[Chunk]) -> Result<Encoded, Error> {
        let mut most = RANGES.1;
        loop {
            let plan = Self::of(about, chunks, most);
            let file = plan.to_file()?;
            if file.len() <= MOST || most == 1 {
                return Ok(Encoded { plan, file });
            }
            most /= 2;
        }
    }

    fn to_file(&self) -> Result<Vec<u8>, Error> {
        let range = |PlannedRange { range, lacking }: &PlannedRange| {
            (range.after.clone(), range.until.clone(), lacking.objects, lacking.bytes)
        };
        let file = File {
            version: VERSION,
            about: self.about.clone(),
            objects: self.held.objects,
            bytes: self.held.bytes,
            ranges: self.ranges.iter().map(range).collect(),
        };
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&serde_json::to_vec(&file)?)?;
        Ok(packed.finish()?)
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn from_file(packed: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct VersionOnly {
            version: u32,
        }
        let mut text = Vec::new();
        GzDecoder::new(packed).take(MOST_TEXT).read_to_end(&mut text)?;
        let VersionOnly { version } = serde_json::from_slice(&text)?;
        if version != VERSION {
            return Err(Error::UnknownVersion(version));
        }
        let File { about, objects, bytes, ranges, version: _ } = serde_json::from_slice(&text)?;
        let range = |(after, until, objects, bytes)| PlannedRange {
            range: KeyRange { after, until },
            lacking: Volume { objects, bytes },
        };
        Ok(Self { about, held: Volume { objects, bytes }, ranges: ranges.into_iter().map(range).collect() })
    }
}
