//! What a bucket's owner has set on the bucket itself, as far as it matters to copies.

use jiff::Timestamp;

use super::Tags;

/// A rule by which the bucket lets current objects go on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecycleRule {
    /// Its name; stores give one to those that have none.
    pub id: String,
    pub filter: LifecycleFilter,
    pub expires: Expires,
}

/// Which objects a rule is about: those that meet all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifecycleFilter {
    pub prefix: String,
    /// Tags that an object must have, among others.
    pub tags: Tags,
    /// Bytes that it must have more than, and less than.
    pub larger_than: Option<u64>,
    pub smaller_than: Option<u64>,
}

/// When an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expires {
    /// At the first midnight UTC after so many days from its last write.
    After { days: u32 },
    /// From a day on, whenever it was written.
    On(Timestamp),
}

/// A rule of the bucket's website that sends readers elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebsiteRoute {
    /// The status that a reader would have got instead; `None`: whatever it is.
    pub instead_of: Option<u16>,
    /// Keys that it is about; empty = all.
    pub prefix: String,
    /// Where it sends them; `None`: to another key of the bucket.
    pub host: Option<String>,
}
