//! Which objects of the same content are looked at for their attributes.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use crate::store::Listed;

/// Most keys whose attributes could not be brought in line that are remembered.
const MOST_FAILED: usize = 1000;
/// Most objects that were seen to be alike though the source has the later time: two megabytes. The others are looked
/// at each time.
const MOST_SEEN: usize = 1 << 17;
/// What clocks and their offsets, which headers tell in seconds, may be off by.
const SLACK: SignedDuration = SignedDuration::from_secs(3);
/// A write may be seen so long after the moment that the store dates it by, which may be that of its beginning.
const UNDER_WAY: SignedDuration = SignedDuration::from_mins(15);

/// Objects of the same content on both sides whose attributes are looked at. That costs a HEAD on each side.
///
/// The source is right. Of two buckets that are both written, the later write is; of tags, lists and locks nobody can
/// say whose are the later ones: what differs is told of and left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Looks {
    #[default]
    None,
    /// Those that the source has written after the target, and those that failed before: a write that changes
    /// attributes only leaves the same ETag and a later time.
    Newer(Newer),
    All,
}

/// What tells which side has written later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Newer {
    /// How far each side's clock is ahead of ours.
    pub source_ahead: SignedDuration,
    pub target_ahead: SignedDuration,
    /// Up to when, by our clock, all that the source had written was looked at, whichever run did it; `None`: nothing
    /// was.
    pub proved: Option<Timestamp>,
    /// The target is written to as well: the versions of both say whose attributes are the newer ones.
    pub mutual: bool,
}

impl Newer {
    fn is(&self, source: &Listed, target: &Listed) -> bool {
        let (here, there) = (source.modified - self.source_ahead, target.modified - self.target_ahead);
        // What nobody has looked at yet, clocks must not hide: a copy follows its original within milliseconds, and
        // the next write may follow the copy as fast.
        let unproved = self.proved.is_none_or(|proved| here >= proved - UNDER_WAY);
        let slack = if unproved { -SLACK } else { SLACK };
        here > there + slack
    }
}

/// What was found of objects that were looked at.
#[derive(Debug, Default)]
pub struct Seen {
    failed: Mutex<Failed>,
    /// Keys and times of the source's objects that were alike.
    alike: Mutex<HashSet<u64>>,
}

#[derive(Debug, Default)]
struct Failed {
    keys: HashSet<String>,
    more: bool,
}

impl Seen {
    /// True if the attributes of an object of the same content are to be compared.
    #[must_use]
    pub fn wants(&self, looks: &Looks, source: &Listed, target: &Listed) -> bool {
        match looks {
            Looks::None => false,
            Looks::All => true,
            Looks::Newer(newer) => {
                let is_news = || !self.alike().contains(&hash(source));
                self.failed().keys.contains(&source.key) || (newer.is(source, target) && is_news())
            }
        }
    }

    /// An object was looked at, and both sides hold the same, or what the target can hold of it.
    ///
    /// `now`: when it was asked for, by the source's clock. A store that dates by whole seconds may write again within
    /// the same one: until it is over the object is looked at again.
    pub fn settled(&self, source: &Listed, now: Timestamp) {
        self.failed().keys.remove(&source.key);
        let exact = source.modified.subsec_nanosecond() != 0;
        if !exact && now.duration_since(source.modified) < SLACK {
            return;
        }
        let mut alike = self.alike();
        if alike.len() < MOST_SEEN {
            alike.insert(hash(source));
        }
    }

    /// The attributes of an object could not be brought in line: it is looked at again.
    pub fn failed_at(&self, key: &str) {
        let mut failed = self.failed();
        if failed.keys.len() < MOST_FAILED {
            failed.keys.insert(key.to_owned());
        } else {
            failed.more = true;
        }
    }

    /// True if any object is to be looked at again.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        let failed = self.failed();
        failed.more || !failed.keys.is_empty()
    }

    /// All are to be looked at again: there are too many to remember. They are forgotten with that.
    #[must_use]
    pub fn has_too_many(&self) -> bool {
        self.failed().more
    }

    /// All are about to be looked at.
    pub fn begin(&self) {
        *self.failed() = Failed::default();
    }

    fn failed(&self) -> MutexGuard<'_, Failed> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alike(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.alike.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(source: &Listed) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&source.key, source.modified).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ETag;

    fn listed(key: &str, second: i64) -> Listed {
        Listed {
            key: key.to_owned(),
            size: 1,
            etag: ETag("e".into()),
            modified: Timestamp::from_second(second).unwrap(),
            storage_class: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn newer(proved: Option<i64>) -> Looks {
        Looks::Newer(Newer { proved: proved.map(at), ..Newer::default() })
    }

    #[test]
    fn c02_c16_what_the_source_wrote_later_is_looked_at_once() {
        let seen = Seen::default();
        let wants =
            |looks: &Looks, source, target| seen.wants(looks, &listed("k", source), &listed("k", target));
        assert!(wants(&newer(None), 110, 100) && !wants(&newer(None), 100, 110));
        // Clocks are not that exact: what was never proved is looked at, what was is not looked at again for that.
        assert!(wants(&newer(None), 102, 100) && wants(&newer(None), 100, 102));
        assert!(wants(&newer(Some(101)), 100, 102), "it may have been under way");
        assert!(!wants(&newer(Some(200 + 900)), 100, 102) && !wants(&newer(Some(200 + 900)), 102, 100));
        assert!(wants(&newer(Some(200 + 900)), 104, 100), "an older run gave up on it");
        assert!(!wants(&newer(Some(101)), 102, 106), "copied later");
        seen.settled(&listed("k", 110), at(112));
        assert!(wants(&newer(None), 110, 100), "it may be written again in that very second");
        seen.settled(&listed("k", 110), at(113));
        assert!(!wants(&newer(None), 110, 100), "it was looked at");
        assert!(wants(&newer(None), 111, 100), "it was written again");
        assert!(wants(&Looks::All, 110, 100) && !wants(&Looks::None, 111, 100));
    }

    #[test]
    fn c02_a_clock_that_is_ahead_makes_nothing_newer() {
        let ahead = SignedDuration::from_secs(1200);
        for (source_ahead, target_ahead, source, target, wanted) in [
            (ahead, SignedDuration::ZERO, 1290, 100, false),
            (ahead, SignedDuration::ZERO, 1310, 100, true),
            (SignedDuration::ZERO, ahead, 110, 1300, true),
            (SignedDuration::ZERO, ahead, 100, 1310, false),
        ] {
            let looks = Looks::Newer(Newer { source_ahead, target_ahead, ..Newer::default() });
            let wants = Seen::default().wants(&looks, &listed("k", source), &listed("k", target));
            assert_eq!(wants, wanted, "{source} against {target}");
        }
    }

    #[test]
    fn c02_c13_what_failed_is_looked_at_until_it_is_settled() {
        let seen = Seen::default();
        seen.failed_at("k");
        let wants = || seen.wants(&newer(None), &listed("k", 100), &listed("k", 110));
        assert!(wants() && seen.has_failed());
        seen.settled(&listed("k", 100), at(200));
        assert!(!wants() && !seen.has_failed());
        for n in 0..=MOST_FAILED {
            seen.failed_at(&n.to_string());
        }
        assert!(seen.has_too_many());
        seen.begin();
        assert!(!seen.has_failed());
    }
}
