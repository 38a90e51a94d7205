//! Which moments can be restored: one set of rules for every format.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How far a time point can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Basis {
    /// An unbroken chain of logs proves it.
    Proved,
    /// The format can't prove it.
    Estimated,
}

/// A stretch of time of which every moment can be restored, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// A hole in the logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Last moment before the hole that can be restored.
    pub after: Timestamp,
    /// First moment after it, `None` when nothing newer can be restored yet.
    pub before: Option<Timestamp>,
    /// Names of the missing pieces, as the tool would have called them.
    pub missing: String,
}
