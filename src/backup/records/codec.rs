//! Lines of JSON in zstd: entries to bytes, and bytes as they arrive to entries.

use std::io::{self, Write};

use bytes::Bytes;
use zstd::stream::{raw, write::Encoder};

use super::Entry;

/// 32 KiB: many segments are read at once, and each reader needs a window.
const WINDOW_LOG: u32 = 15;
const OUTPUT: usize = 32 * 1024;
/// A longer line is not ours.
const MAX_LINE: usize = 8 << 20;

/// Packs entries until they fill a segment.
pub(super) struct Packer(Encoder<'static, Vec<u8>>);

impl Packer {
    pub(super) fn new() -> io::Result<Self> {
        let mut encoder = Encoder::new(Vec::new(), 3)?;
        encoder.window_log(WINDOW_LOG)?;
        encoder.include_checksum(true)?;
        Ok(Self(encoder))
    }

    pub(super) fn push(&mut self, line: &impl serde::Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, line)?;
        self.0.write_all(b"\n")
    }

    /// Packed bytes so far, roughly.
    pub(super) fn len(&self) -> usize {
        self.0.get_ref().len()
    }

    pub(super) fn finish(self) -> io::Result<Bytes> {
        Ok(self.0.finish()?.into())
    }
}

/// Unpacks a segment chunk by chunk into whole lines.
pub(super) struct Unpacker {
    decoder: raw::Decoder<'static>,
    line: Vec<u8>,
}

impl Unpacker {
    pub(super) fn new() -> io::Result<Self> {
        let mut decoder = raw::Decoder::new()?;
        decoder.set_parameter(raw::DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(Self { decoder, line: Vec::new() })
    }

    /// Takes a chunk; gives each line that it completes.
    pub(super) fn feed(
        &mut self,
        chunk: &[u8],
        mut line: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        use raw::Operation;
        let mut output = vec![0; OUTPUT];
        let mut input = raw::InBuffer::around(chunk);
        loop {
            let mut buffer = raw::OutBuffer::around(output.as_mut_slice());
            self.decoder.run(&mut input, &mut buffer)?;
            let full = buffer.pos() == OUTPUT;
            for piece in buffer.as_slice().split_inclusive(|byte| *byte == b'\n') {
                self.line.extend_from_slice(piece);
                if self.line.len() > MAX_LINE {
                    return Err(io::Error::other("a line is too long"));
                }
                if self.line.ends_with(b"\n") {
                    line(&self.line)?;
                    self.line.clear();
                }
            }
            if input.pos() == chunk.len() && !full {
                return Ok(());
            }
        }
    }
}

pub(super) fn parse(line: &[u8]) -> io::Result<Entry> {
    Ok(serde_json::from_slice(line)?)
}
