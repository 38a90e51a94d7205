//! Which objects a run looks at for their attributes, and what it learns of that.

use std::sync::{Arc, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::{Memory, engine::Engine};
use crate::{
    replicate::{Looks, Newer},
    store::ObjectStore,
};

impl Engine {
    /// Which objects of the same content the comparison looks at that begins now.
    pub(super) fn begin_looks(&self, now: Timestamp) -> Looks {
        let ahead = |store: &Arc<dyn ObjectStore>| store.clock_offset().unwrap_or(SignedDuration::ZERO);
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = Newer {
            source_ahead: ahead(&self.source),
            target_ahead: ahead(&self.target),
            proved: memory.synced_until,
            mutual: self.config.mutual.is_some(),
        };
        if self.common.seen().has_too_many() {
            memory.looked = None;
        }
        let looks = self.config.attributes.looks(&memory, newer, now);
        if looks == Looks::All {
            self.common.seen().begin();
            // What was noted since the last comparison: all of it is found again.
            memory.learn(self.common.take_lacks(), (now, None));
        }
        looks
    }

    /// What is known after a comparison that began then; `all`: it looked at every object.
    pub(super) fn end_looks(&self, memory: &mut Memory, began: Timestamp, all: bool) {
        let asked = self.config.attributes.asked.as_ref().filter(|_| all);
        memory.learn(self.common.take_lacks(), (began, asked));
    }

    /// What the next run is to know: what is to be looked at again only this one does.
    pub(super) fn remembered(&self, memory: &Memory) -> Memory {
        let looked = memory.looked.clone().filter(|_| !self.common.seen().has_failed());
        Memory { looked, ..memory.clone() }
    }
}
