//! Slices of a MongoDB oplog, however a tool names them.

use jiff::Timestamp;

use super::{Mark, Object, Segment, before};

/// A place in an oplog: seconds, and the count within the second.
pub type Place = (u32, u32);

/// The moment of a place.
#[must_use]
pub fn second(seconds: u32) -> Timestamp {
    Timestamp::from_second(i64::from(seconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The slice between two places, in an object.
#[must_use]
pub fn segment(stream: &str, (from, to): (Place, Place), object: &Object) -> Segment {
    Segment {
        stream: stream.to_owned(),
        branch: String::new(),
        number: u64::from(from.0) << 32 | u64::from(from.1),
        name: object.key.rsplit('/').next().unwrap_or(&object.key).to_owned(),
        object: object.clone(),
        from: second(from.0),
        // More may have been written in that second, in the next slice.
        to: before(second(to.0)),
        start: Mark::Oplog(from.0, from.1),
        end: Mark::Oplog(to.0, to.1),
        open: false,
        stopped: false,
        indivisible: false,
    }
}
