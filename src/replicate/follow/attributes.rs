//! What is kept of objects, and when all of them are looked at for it: pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Memory;
use crate::replicate::{Keep, Lacks, Looks, Newer};

/// What is kept beside content, content headers, user metadata and part layout.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    pub keep: Keep,
    /// Names what was asked for. As long as it was not looked at for just this, every object is. `None`: for nothing
    /// beyond what is kept anyway, and what was alike before is left so.
    pub asked: Option<String>,
    /// How often all are looked at; `None`: once.
    pub every: Option<Duration>,
}

/// All objects were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllLooked {
    pub at: Timestamp,
    /// For what.
    pub asked: String,
}

impl Attributes {
    /// Which objects a comparison looks at that begins now.
    #[must_use]
    pub fn looks(&self, memory: &Memory, newer: Newer, now: Timestamp) -> Looks {
        // Of two buckets that are both written, most of what is found nobody can decide: who asks for it wants to know.
        let wanted = !newer.mutual || self.every.is_some();
        if wanted && self.is_due(memory.looked.as_ref(), now) { Looks::All } else { Looks::Newer(newer) }
    }

    fn is_due(&self, looked: Option<&AllLooked>, now: Timestamp) -> bool {
        let Some(asked) = &self.asked else { return false };
        let Some(looked) = looked.filter(|looked| looked.asked == *asked) else { return true };
        let age = now.duration_since(looked.at);
        let every = self.every.map(|every| SignedDuration::try_from(every).unwrap_or(SignedDuration::MAX));
        every.is_some_and(|every| age >= every)
    }
}

impl Memory {
    /// What copies lack, with those made by a comparison that began then; `all`: it looked at every object, for this.
    pub(super) fn learn(&mut self, lacks: Lacks, (began, all): (Timestamp, Option<&String>)) {
        let known = std::mem::take(&mut self.lacks);
        let Some(asked) = all else {
            self.lacks = known.and(lacks);
            return;
        };
        self.lacks = known.of_parts().and(lacks);
        self.looked = Some(AllLooked { at: began, asked: asked.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replicate::{Attribute, Lack};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn lacks(attributes: &[(Attribute, u64)]) -> Lacks {
        let mut lacks = Lacks::default();
        for (attribute, copies) in attributes {
            lacks.add(*attribute, Lack { copies: *copies, why: "w".into(), example: None });
        }
        lacks
    }

    #[test]
    fn c02_all_objects_are_looked_at_once_for_what_is_asked_and_as_often_as_is_asked() {
        let asked = |asked: &str, every: Option<u64>| Attributes {
            asked: Some(asked.to_owned()),
            every: every.map(Duration::from_secs),
            ..Attributes::default()
        };
        let looked = AllLooked { at: at(0), asked: "a".into() };
        let looked = Memory { looked: Some(looked), ..Memory::default() };
        let all = |attributes: Attributes, memory: &Memory, now| {
            attributes.looks(memory, Newer::default(), at(now)) == Looks::All
        };
        assert!(!all(Attributes::default(), &Memory::default(), 0), "nothing was asked for");
        assert!(all(asked("a", None), &Memory::default(), 0));
        assert!(!all(asked("a", None), &looked, 1_000_000));
        assert!(all(asked("b", None), &looked, 1), "something else");
        assert!(all(asked("a", Some(600)), &looked, 600) && !all(asked("a", Some(600)), &looked, 599));
        let both = |attributes: Attributes| {
            let newer = Newer { mutual: true, ..Newer::default() };
            attributes.looks(&Memory::default(), newer, at(0)) == Looks::All
        };
        assert!(
            both(asked("a", Some(600))) && !both(asked("a", None)),
            "of both sides only as often as is asked"
        );
    }

    #[test]
    fn c02_what_copies_lack_is_kept_until_all_were_looked_at() {
        let mut memory = Memory::default();
        memory.learn(lacks(&[(Attribute::Tags, 2), (Attribute::PartLayout, 1)]), (at(0), None));
        memory.learn(lacks(&[(Attribute::Tags, 1)]), (at(1), None));
        assert_eq!(memory.lacks, lacks(&[(Attribute::Tags, 3), (Attribute::PartLayout, 1)]));
        assert_eq!(memory.looked, None);
        memory.learn(lacks(&[(Attribute::Acl, 4)]), (at(2), Some(&"a".to_owned())));
        assert_eq!(memory.lacks, lacks(&[(Attribute::Acl, 4), (Attribute::PartLayout, 1)]));
        assert_eq!(memory.looked, Some(AllLooked { at: at(2), asked: "a".into() }));
    }
}
