//! Copies and compares objects: ranges of keys, the two-sided merge, the copier.
//!
//! Nothing here knows what the objects mean. Whatever ends early leaves the target as it was, or with
//! parts of an open upload that the next copy of the same object goes on with.

mod copy;
mod error;
pub mod feed;
pub mod follow;
pub mod lifecycle;
mod listing;
pub mod live;
mod merge;
pub mod mutual;
pub mod pace;
mod place;
pub mod plan;
mod range;
mod settle;
pub mod sweep;

pub use copy::{
    Attribute, Copied, Copier, CopyRequest, Created, Keep, LeftOut, OnBytes, Outcome, Skipped, cannot_hold,
};
pub use error::{Error, Result};
pub use listing::{Listing, Pages};
pub use merge::{Complete, Difference, Leaves, Merge, Step};
pub use place::same_place;
pub use range::{KeyRange, split};
pub use settle::{Common, Lack, Lacks, Left, Looked, Looks, Newer, Regions, Settled, Settler};
