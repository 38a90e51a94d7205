//! In which order the versions of a key came to be.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};

use super::ObjectVersion;

/// Digits of Crockford's base 32, the alphabet of ULIDs.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Length of a ULID, and how many of its digits are milliseconds since the epoch
/// (<https://github.com/ulid/spec>).
const ULID: (usize, usize) = (26, 10);
/// A version and its id are made at one time: what differs by more is no time.
const NEAR: SignedDuration = SignedDuration::from_secs(2);

/// Puts versions of one key in order, the newest first.
///
/// Stores list them so, but for those that tell delete markers before all else (seen: `VersityGW` 1.8, which
/// also dates a marker by its last move). Their versions' ids are ULIDs, and these have an order of their own.
pub fn newest_first(versions: &mut [ObjectVersion]) {
    if versions.iter().any(|version| written(version).is_some()) {
        versions.sort_by_key(|version| Reverse((version.is_latest, version.written())));
    }
}

/// True of a version that may be listed elsewhere than its age says.
#[must_use]
pub fn is_out_of_order(version: &ObjectVersion) -> bool {
    written(version).is_some()
}

impl ObjectVersion {
    /// When it was written, by its store's clock, as exactly as that can be known.
    #[must_use]
    pub fn written(&self) -> Timestamp {
        written(self).unwrap_or(self.modified)
    }
}

fn written(version: &ObjectVersion) -> Option<Timestamp> {
    let (length, digits) = ULID;
    let id = version.version.as_bytes();
    if id.len() != length {
        return None;
    }
    let mut milliseconds: i64 = 0;
    for digit in id {
        DIGITS.iter().position(|known| known == digit)?;
    }
    for digit in &id[..digits] {
        let value = DIGITS.iter().position(|known| known == digit)?;
        milliseconds = milliseconds.checked_mul(32)?.checked_add(i64::try_from(value).ok()?)?;
    }
    let at = Timestamp::from_millisecond(milliseconds).ok()?;
    (version.is_delete_marker || at.duration_since(version.modified).abs() <= NEAR).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ETag;

    fn version(id: &str, modified: &str, is_delete_marker: bool) -> ObjectVersion {
        ObjectVersion {
            key: "k".to_owned(),
            version: id.to_owned(),
            is_latest: false,
            is_delete_marker,
            size: 1,
            etag: ETag("e".to_owned()),
            modified: modified.parse().unwrap(),
        }
    }

    #[test]
    fn c08_markers_that_are_listed_first_find_their_place() {
        // As VersityGW listed them.
        let mut listed = [
            version("01M7Z8RMGT3BQCR3TDZPZTFA5S", "2026-11-21T14:39:31.357862255Z", true),
            version("01M7Z8RMFS8VK1AHJAXZKDM5BR", "2026-11-21T14:39:31.329862254Z", true),
            version("01M7Z8RMH3S930ZMB4P9D2Z4J0", "2026-11-21T14:39:31Z", false),
            version("01M7Z8RMG44TWVCM4R38ZDSGSY", "2026-11-21T14:39:31Z", false),
            version("01M7Z8RMFK67R79QPQSJWGPJJA", "2026-11-21T14:39:31Z", false),
        ];
        listed[2].is_latest = true;
        assert_eq!(listed[0].written().to_string(), "2026-11-21T14:39:31.354Z");
        newest_first(&mut listed);
        let order: Vec<_> = listed.iter().map(|version| &version.version[8..10]).collect();
        assert_eq!(order, ["H3", "GT", "G4", "FS", "FK"]);
    }

    #[test]
    fn c08_ids_that_are_no_times_change_nothing() {
        let time = "2026-11-21T14:39:31Z";
        let ids = ["b", "null", "01M7Z8RMGT3BQCR3TDZPZTFA5I", "7ZZZZZZZZZ3BQCR3TDZPZTFA5S", "3fa85f64-5717"];
        let mut listed = ids.map(|id| version(id, time, false));
        newest_first(&mut listed);
        assert_eq!(listed.map(|version| version.version), ids);
    }
}
