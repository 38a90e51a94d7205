//! What copies lack that the target could not be given.

use std::collections::BTreeMap;

use super::super::{Attribute, Copied, LeftOut};

/// What copies lack, by attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacks(BTreeMap<Attribute, Lack>);

/// Copies that lack the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// How many were made.
    pub copies: u64,
    pub why: String,
    /// Key of one of them.
    pub example: Option<String>,
}

impl Lacks {
    pub(super) fn note_copy(&mut self, key: &str, copied: &Copied) {
        self.note(key, &copied.left_out);
        if copied.source_etag != copied.target_etag {
            let why = "its parts can't be made again, or a side's ETags are no MD5s: content and length are equal, the ETag is not";
            self.add(Attribute::PartLayout, one(why, key));
        }
    }

    pub(super) fn note(&mut self, key: &str, left_out: &[LeftOut]) {
        for LeftOut { attribute, why } in left_out {
            self.add(*attribute, one(why, key));
        }
    }

    /// Notes what is known of an attribute beside what is here.
    pub fn add(&mut self, attribute: Attribute, lack: Lack) {
        let Some(known) = self.0.get_mut(&attribute) else {
            self.0.insert(attribute, lack);
            return;
        };
        known.copies = known.copies.saturating_add(lack.copies);
        known.example = known.example.take().or(lack.example);
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        for (attribute, lack) in more.0 {
            self.add(attribute, lack);
        }
        self
    }

    /// What remains true once the attributes of all objects were compared: parts are none of them.
    #[must_use]
    pub(in super::super) fn of_parts(mut self) -> Self {
        self.0.retain(|attribute, _| *attribute == Attribute::PartLayout);
        self
    }

    /// By attribute, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (Attribute, &Lack)> {
        self.0.iter().map(|(attribute, lack)| (*attribute, lack))
    }
}

fn one(why: &str, key: &str) -> Lack {
    Lack { copies: 1, why: why.to_owned(), example: Some(key.to_owned()) }
}
