//! What the rules answer when they don't accept.

/// Why something is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// True: something is missing that may come by itself. False: somebody has to change something.
    pub waiting: bool,
    /// One word, the same in conditions and Events.
    pub reason: &'static str,
    /// Names the objects, and the next step.
    pub message: String,
}

pub(super) fn waiting(reason: &'static str, message: String) -> Objection {
    Objection { waiting: true, reason, message }
}

pub(super) fn refused(reason: &'static str, message: String) -> Objection {
    Objection { waiting: false, reason, message }
}
