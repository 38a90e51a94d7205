//! Faults on order: which request fails, and how.

use std::{collections::BTreeMap, time::Duration};

use crate::store::{Context, Error, Obstacle};

/// The kinds of request that can be told to fail, and are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    List,
    Head,
    HeadPart,
    Get,
    Put,
    CreateUpload,
    UploadPart,
    ListParts,
    CompleteUpload,
    AbortUpload,
    ListUploads,
    Delete,
    ListVersions,
    Versioning,
    Tags,
    PutTags,
    Acl,
    PutLock,
    Rewrite,
    /// Questions about the bucket: locks, access control lists, and, as "keys", lifecycle, tagging, website.
    Configuration,
    PutBucketTags,
}

/// What a failing request answers: the shapes of [`Error`], without their context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    NotFound,
    NoSuchBucket,
    AccessDenied,
    BadCredentials,
    ClockSkew,
    Changed,
    SlowDown,
    Full,
    Locked,
    Archived,
    Unsupported(&'static str),
    Unreachable,
    Corrupt,
    /// What a garbled listing page becomes.
    Protocol,
}

impl Failure {
    pub(super) fn into_error(self, context: Context) -> Error {
        match self {
            Self::NotFound => Error::NotFound(context),
            Self::NoSuchBucket => Error::NoSuchBucket(context),
            Self::AccessDenied => Error::AccessDenied(context),
            Self::BadCredentials => Error::BadCredentials(context),
            Self::ClockSkew => Error::ClockSkew(context),
            Self::Changed => Error::Changed(context),
            Self::SlowDown => Error::SlowDown(context),
            Self::Full => Error::Full(context),
            Self::Locked => Error::Locked(context),
            Self::Archived => Error::Archived(context),
            Self::Unsupported(what) => Error::Unsupported { what: what.into(), context },
            Self::Unreachable => {
                Error::Unreachable { obstacle: Obstacle::Failing, cause: "connection reset".into(), context }
            }
            Self::Corrupt => Error::Corrupt { cause: "fewer bytes than announced".into(), context },
            Self::Protocol => Error::Protocol { cause: "not a listing".into(), context },
        }
    }
}

/// What happens to a request that a [`Fault`] hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answers with a failure; nothing is applied.
    Fail(Failure),
    /// Applies the request, then answers with a failure: the reply was lost.
    LoseReply(Failure),
    /// The body of a GET ends with [`Error::Corrupt`] after this many bytes.
    Truncate(u64),
    /// The answer comes this much later.
    Delay(Duration),
    /// Every chunk of a GET's body (64 KiB) comes this much later.
    SlowBody(Duration),
}

/// An order to fail some requests.
#[derive(Clone, Debug)]
pub struct Fault {
    pub verb: Verb,
    /// Only requests whose key (or prefix) contains this; empty = all.
    pub key: String,
    /// Lets this many matching requests pass first.
    pub after: u32,
    /// Hits this many, then is spent.
    pub times: u32,
    pub effect: Effect,
}

impl Fault {
    /// The next request of a kind fails once.
    #[must_use]
    pub fn once(verb: Verb, failure: Failure) -> Self {
        Self { verb, key: String::new(), after: 0, times: 1, effect: Effect::Fail(failure) }
    }

    /// Every request of a kind fails from now on.
    #[must_use]
    pub fn always(verb: Verb, failure: Failure) -> Self {
        Self { times: u32::MAX, ..Self::once(verb, failure) }
    }

    /// Only for keys that contain `part`.
    #[must_use]
    pub fn on(mut self, part: impl Into<String>) -> Self {
        self.key = part.into();
        self
    }

    /// Lets `count` matching requests pass first.
    #[must_use]
    pub fn after(mut self, count: u32) -> Self {
        self.after = count;
        self
    }

    /// Another effect than a plain failure.
    #[must_use]
    pub fn with(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }
}

/// Orders not yet spent, and the count of requests by kind.
#[derive(Debug, Default)]
pub(super) struct Faults {
    orders: Vec<Fault>,
    counts: BTreeMap<Verb, u64>,
}

impl Faults {
    pub(super) fn order(&mut self, fault: Fault) {
        self.orders.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.orders.clear();
    }

    pub(super) fn count(&self, verb: Verb) -> u64 {
        self.counts.get(&verb).copied().unwrap_or_default()
    }

    /// Counts the request; says what is to happen to it.
    pub(super) fn meet(&mut self, verb: Verb, key: &str) -> Option<Effect> {
        *self.counts.entry(verb).or_default() += 1;
        let hit = self
            .orders
            .iter_mut()
            .filter(|f| f.verb == verb && key.contains(&f.key) && f.times > 0)
            .find_map(|f| {
                if f.after > 0 {
                    f.after -= 1;
                    return None;
                }
                f.times -= 1;
                Some(f.effect)
            });
        self.orders.retain(|f| f.times > 0);
        hit
    }
}
