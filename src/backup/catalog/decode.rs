//! Unpacks what backup tools pack, as a stream with bounded memory.

use std::io::{self, BufReader, Read};

/// Largest zstd window that is unpacked (8 MiB): a larger one would not fit beside everything else.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How a file is packed, told by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Bzip2,
    Zstd,
    Lz4,
    Brotli,
    /// A known packing that can't be unpacked here.
    Other,
}

/// Splits a packing's suffix off a name: `a.xb.gz` → (`a.xb`, `Gzip`).
#[must_use]
pub fn split(name: &str) -> (&str, Packing) {
    let Some((stem, suffix)) = name.rsplit_once('.') else { return (name, Packing::Plain) };
    let packing = match suffix {
        "gz" => Packing::Gzip,
        "bz2" => Packing::Bzip2,
        "zst" => Packing::Zstd,
        "lz4" => Packing::Lz4,
        "br" => Packing::Brotli,
        "lzma" | "lzo" | "xz" | "s2" | "snappy" | "zlib" | "pgz" => Packing::Other,
        _ => return (name, Packing::Plain),
    };
    (stem, packing)
}

/// Unpacks `input`. The error comes with the first read.
#[must_use]
pub fn unpack(packing: Packing, input: Box<dyn Read>) -> Box<dyn Read> {
    let buffered = BufReader::with_capacity(64 * 1024, input);
    match packing {
        Packing::Plain => Box::new(buffered),
        Packing::Gzip => {
            Box::new(BufReader::with_capacity(64 * 1024, flate2::bufread::MultiGzDecoder::new(buffered)))
        }
        Packing::Bzip2 => {
            Box::new(BufReader::with_capacity(64 * 1024, bzip2::bufread::MultiBzDecoder::new(buffered)))
        }
        Packing::Zstd => match zstd::stream::read::Decoder::with_buffer(buffered) {
            Ok(mut decoder) => match decoder.window_log_max(ZSTD_WINDOW_LOG) {
                Ok(()) => Box::new(BufReader::with_capacity(64 * 1024, decoder)),
                Err(error) => Box::new(Failed(Some(error))),
            },
            Err(error) => Box::new(Failed(Some(error))),
        },
        Packing::Lz4 => {
            Box::new(BufReader::with_capacity(64 * 1024, lz4_flex::frame::FrameDecoder::new(buffered)))
        }
        // Its format can't hold a larger window than 16 MiB.
        Packing::Brotli => Box::new(BufReader::with_capacity(
            64 * 1024,
            brotli_decompressor::Decompressor::new(buffered, 64 * 1024),
        )),
        Packing::Other => {
            Box::new(Failed(Some(io::Error::other("packed in a way that can't be unpacked here"))))
        }
    }
}

struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| io::Error::other("cannot be unpacked")))
    }
}
