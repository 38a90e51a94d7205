//! Names that fit, and that two controllers make alike.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::api::RUN_STAMP;

/// Names of Jobs end up in labels and pod names, which end at 63 characters; a pod adds six of its own.
const LONGEST: usize = 52;
const HASH: usize = 10;

/// First ten hex digits of a hash over the parts.
#[must_use]
pub fn hash_of(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hasher.update(part.len().to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hex::encode(hasher.finalize())[..HASH].to_owned()
}

/// `<prefix><cut name>-<hash>`: a DNS label, however long the name.
#[must_use]
pub fn cut(prefix: &str, name: &str, hash: &str) -> String {
    let room = LONGEST - prefix.len() - hash.len() - 1;
    let cut: String = name.chars().map(|c| if c == '.' { '-' } else { c }).take(room).collect();
    format!("{prefix}{}-{hash}", cut.trim_end_matches('-'))
}

/// A number below `bound` that is always the same for the same text: jitter that survives a restart.
#[must_use]
pub fn spread(text: &str, bound: u64) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    if bound == 0 { 0 } else { number % bound }
}

/// `<time>-<hash>`: ids of later runs are greater. `earlier` are ids that were given before.
#[must_use]
pub fn run_id<'a>(uid: &str, now: Timestamp, earlier: impl IntoIterator<Item = &'a str>) -> String {
    let stamp = |at: Timestamp| at.strftime(RUN_STAMP).to_string();
    let mut at = now;
    let last = earlier.into_iter().max().and_then(|id| id.split_once('-')).map(|(stamp, _)| stamp);
    // A clock that was set back must not make a run that counts as an old one.
    if let Some(last) = last
        && stamp(at).as_str() <= last
    {
        at = jiff::civil::DateTime::strptime(RUN_STAMP, last)
            .ok()
            .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC).ok())
            .map_or(now, |time| time.timestamp() + jiff::SignedDuration::from_secs(1));
    }
    let time = stamp(at);
    format!("{time}-{}", &hash_of(&[uid, &time])[..6])
}

/// True when the id is one that this controller gives to runs of this resource.
#[must_use]
pub fn is_run_of(uid: &str, id: &str) -> bool {
    id.split_once('-').is_some_and(|(time, hash)| hash_of(&[uid, time])[..6] == *hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_length_become_labels() {
        for name in ["orders".to_owned(), "a".repeat(253), "a.".repeat(126) + "a", "x".repeat(38) + "---y"] {
            let cut = cut("farshore-", &name, &hash_of(&["uid", "slot"]));
            assert!(cut.len() <= LONGEST, "{cut}");
            assert!(cut.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && !cut.contains('.'));
        }
        assert!(cut("", "orders", "0123456789").starts_with("orders-"));
    }

    #[test]
    fn ids_of_later_runs_are_greater_even_when_the_clock_is_set_back() {
        let now: Timestamp = "2026-11-21T04:00:00Z".parse().unwrap();
        let first = run_id("uid", now, None);
        assert!(first.starts_with("20261121T040000Z-"), "{first}");
        let second = run_id("uid", now, Some(first.as_str()));
        assert!(second.starts_with("20261121T040001Z-"), "{second}");
        assert!(second > first);
        assert!(is_run_of("uid", &second) && !is_run_of("other", &second));
    }

    #[test]
    fn jitter_is_the_same_each_time() {
        assert_eq!(spread("a", 60), spread("a", 60));
        assert!((0..50).map(|i| spread(&i.to_string(), 60)).all(|n| n < 60));
        assert_eq!(spread("a", 0), 0);
    }
}
