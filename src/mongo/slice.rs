//! A stream of BSON documents: oplog slices, and the inside of archives.

use std::io::{ErrorKind, Read};

use mongodb::bson::Document;

use super::{Error, Result};

/// A server refuses documents of more than 16 MiB; entries of the oplog are a little longer.
const MAX: i32 = 48 << 20;
const MIN: i32 = 5;
/// Stands for the end of a list of documents.
const TERMINATOR: i32 = -1;

/// What comes next in a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Document(Vec<u8>),
    Terminator,
    End,
}

/// Reads the next document, as bytes. Memory is that of the document.
pub(super) fn next(input: &mut impl Read) -> Result<Next> {
    let mut head = [0; 4];
    match read_up_to(input, &mut head)? {
        0 => return Ok(Next::End),
        4 => {}
        _ => return Err(cut_off()),
    }
    let length = i32::from_le_bytes(head);
    if length == TERMINATOR {
        return Ok(Next::Terminator);
    }
    if !(MIN..=MAX).contains(&length) {
        return Err(Error::Damaged(format!("a document of {length} bytes")));
    }
    let mut document = vec![0; usize::try_from(length).unwrap_or_default()];
    document[..4].copy_from_slice(&head);
    let body = &mut document[4..];
    if read_up_to(input, body)? < body.len() {
        return Err(cut_off());
    }
    if document.last() != Some(&0) {
        return Err(Error::Damaged("a document does not end as one".to_owned()));
    }
    Ok(Next::Document(document))
}

fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

pub(super) fn cut_off() -> Error {
    Error::Damaged("it ends within a document: it is cut off".to_owned())
}

/// Bytes as a document.
pub fn parse(bytes: &[u8]) -> Result<Document> {
    Document::from_reader(bytes).map_err(|error| Error::Damaged(error.to_string()))
}

/// The entries of a slice of an oplog, one after another.
#[derive(Debug)]
pub struct Slice<R> {
    input: R,
}

impl<R: Read> Slice<R> {
    pub fn new(input: R) -> Self {
        Self { input }
    }
}

impl<R: Read> Iterator for Slice<R> {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        match next(&mut self.input) {
            Ok(Next::Document(bytes)) => Some(parse(&bytes)),
            Ok(Next::End) => None,
            Ok(Next::Terminator) => Some(Err(Error::Damaged("a terminator between entries".to_owned()))),
            Err(error) => Some(Err(error)),
        }
    }
}
