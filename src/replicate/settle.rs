//! What becomes of one key: it is brought over, or taken away.

mod both;
mod busy;
mod expired;
mod handled;
mod known;
mod lacks;
mod looks;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;

pub(super) use self::both::Extra;
pub use self::both::Regions;
use self::{
    busy::{Busy, Held},
    handled::Handled,
    known::KnownAlike,
};
pub use self::{
    lacks::{Lack, Lacks},
    looks::{Looks, Newer, Seen},
};
use super::{
    Attribute, Copied, Copier, CopyRequest, Error, Keep, LeftOut, Outcome, Result, Skipped,
    lifecycle::Expiry, listing::Listing,
};
use crate::store::{self, ETag, Listed, ObjectInfo, Precondition, Side};

/// Why attributes differ between two buckets that are both written, and stay so.
const UNDECIDED: &str = "the other bucket's object has others, and no store tells when they were changed: nobody can say whose are to stay; set them again at one side, or at both where the feed is Poll";

/// Brings the target in line with the source, a key at a time. Shared by comparisons and feeds: both only say
/// where to look.
#[derive(Clone)]
pub struct Settler {
    source: Listing,
    target: Listing,
    copier: Copier,
    common: Arc<Common>,
    /// Both sides are written: names of their regions.
    regions: Option<Arc<Regions>>,
}

/// What all who settle keys of one pair of buckets share.
#[derive(Debug, Default)]
pub struct Common {
    known: KnownAlike,
    busy: Busy,
    handled: Handled,
    expiry: Mutex<Arc<Expiry>>,
    seen: Seen,
    lacks: Mutex<Lacks>,
    conflicts: AtomicU64,
}

impl Common {
    /// A comparison begins: what a feed names from now on is none of its business. Tells for how long somebody
    /// has been at work on a key: what they write may be as old, and come after the key was compared.
    pub(super) fn begin(&self) -> Duration {
        let now = Instant::now();
        self.handled.begin(now);
        self.busy.oldest().map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn expiry(&self) -> Arc<Expiry> {
        Arc::clone(&self.expiry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whose attributes were looked at.
    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// What the copies lack that were made since it was asked last.
    #[must_use]
    pub fn take_lacks(&self) -> Lacks {
        std::mem::take(&mut *self.lacks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, note: impl FnOnce(&mut Lacks)) {
        note(&mut self.lacks.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Changes at the target that gave way to one of the source that knew nothing of them, since it was asked last.
    pub(super) fn take_conflicts(&self) -> u64 {
        self.conflicts.swap(0, Relaxed)
    }

    fn conflict(&self) {
        self.conflicts.fetch_add(1, Relaxed);
    }
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The target holds what the source held.
    Copied(Copied),
    /// The target holds it no more.
    Deleted,
    /// It was listed and then went, or came back: nothing was to be done any more.
    Overtaken,
    /// The source has deleted it since it was listed. What the target holds is older than that: [`Settler::clear`].
    Gone,
    /// What the target holds is to stay: the opposite direction brings it to the source.
    Theirs,
    /// It stays where it is.
    Skipped(Skipped),
    /// Both sides stay as they are, for good.
    Left(Left),
}

/// Why a difference is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The own lifecycle of the side that lacks it has let it go (`C10`).
    Expired(Side),
}

/// What became of attributes that were to be brought in line.
pub(super) enum Aligned {
    /// They are in line, but for what the target can't be given.
    Done(Vec<LeftOut>),
    /// The source has deleted the object.
    Gone,
    /// Of two buckets that are both written, the target's are to stay.
    Theirs,
}

/// A key that a hint was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// What the source holds was dealt with.
    Settled(Settled),
    /// The source itself says that it has no such object. The target may have one still: [`Settler::clear`].
    Gone,
}

impl Settler {
    /// Keys are without the sides' prefixes.
    #[must_use]
    pub(super) fn new(source: Listing, target: Listing, copier: Copier) -> Self {
        Self { source, target, copier, common: Arc::default(), regions: None }
    }

    #[must_use]
    pub(super) fn keep(self, keep: Keep) -> Self {
        Self { copier: self.copier.keep(keep), ..self }
    }

    /// What differs between two objects of the same content; `None` where they are not.
    pub(super) async fn differences(&self, key: &str) -> Result<Option<Vec<Attribute>>> {
        self.copier.differences(&self.request(key, None)).await
    }

    /// True where both sides are written, and no time tells whose attributes are the later ones.
    pub(super) fn is_undecided(&self, differences: &[Attribute]) -> bool {
        self.is_mutual() && !are_dated(differences)
    }

    /// Notes what stays as it is on both sides.
    pub(super) fn note_undecided(&self, key: &str, differences: Vec<Attribute>) {
        let left = |attribute| LeftOut { attribute, why: UNDECIDED.to_owned() };
        let left: Vec<_> = differences.into_iter().map(left).collect();
        self.common.note(|lacks| lacks.note(key, &left));
    }

    /// Gives the target's object the attributes of the source's.
    pub(super) async fn align(&self, key: &str) -> Result<Aligned> {
        let _held = self.common.busy.hold(key).await;
        if self.is_mutual() {
            return Ok(match self.meet(key, false).await? {
                Looked::Settled(Settled::Copied(copied)) => Aligned::Done(copied.left_out),
                Looked::Settled(_) => Aligned::Theirs,
                Looked::Gone => Aligned::Gone,
            });
        }
        Ok(match self.copier.update(&self.request(key, None)).await? {
            Outcome::Copied(copied) => {
                self.common.note(|lacks| lacks.note_copy(key, &copied));
                Aligned::Done(copied.left_out)
            }
            Outcome::Gone => Aligned::Gone,
            Outcome::Changed | Outcome::Skipped(_) => Aligned::Done(Vec::new()),
        })
    }

    /// Shares with others what is known of pairs and who is at work on which key.
    #[must_use]
    pub(super) fn sharing(self, common: Arc<Common>) -> Self {
        Self { common, ..self }
    }

    /// From now on all who share know what the lifecycles of both buckets let go.
    pub(super) fn expiring(&self, expiry: Arc<Expiry>) {
        *self.common.expiry.lock().unwrap_or_else(PoisonError::into_inner) = expiry;
    }

    /// True if the attributes of an object of the same content are to be compared.
    pub(super) fn wants(&self, looks: &Looks, source: &Listed, target: &Listed) -> bool {
        self.common.seen.wants(looks, source, target)
    }

    /// What became of an object whose attributes were to be compared, and were asked for then.
    pub(super) fn looked_at(&self, source: &Listed, asked: Timestamp, settled: bool) {
        if settled {
            let ahead = self.source.pages.clock_offset().unwrap_or_default();
            self.common.seen.settled(source, asked + ahead);
        } else {
            self.common.seen.failed_at(&source.key);
        }
    }

    /// True for a pair that differs in nothing but the `ETag`, as an earlier copy did.
    #[must_use]
    pub(super) fn is_known(&self, source: &Listed, target: &Listed) -> bool {
        self.common.known.contains(&source.key, &source.etag, &target.etag)
    }

    /// Brings over what the source holds now: a listing is old when it arrives.
    ///
    /// # Errors
    /// Of either side; the target is as it was.
    pub async fn bring(&self, listed: &Listed) -> Result<Settled> {
        let _held = self.common.busy.hold(&listed.key).await;
        if self.common.handled.contains(&listed.key) {
            return Ok(Settled::Overtaken);
        }
        if self.is_mutual() {
            // A delete is not what was asked for: it has to be allowed first.
            return Ok(match self.meet(&listed.key, false).await? {
                Looked::Settled(settled) => settled,
                Looked::Gone => Settled::Gone,
            });
        }
        let request = self.request(&listed.key, Some(listed.size));
        let outcome = self.copier.copy(&request).await?;
        self.settled(&listed.key, outcome).await
    }

    /// As [`Self::bring`], of what the target lacks: unless its own lifecycle has let it go.
    ///
    /// # Errors
    /// Of either side; the target is as it was.
    pub async fn bring_missing(&self, listed: &Listed) -> Result<Settled> {
        if self.is_expired(Side::Target, listed).await? {
            return Ok(Settled::Left(Left::Expired(Side::Target)));
        }
        self.bring(listed).await
    }

    /// Something happened to a key: what the source holds under it is brought over, its content only where
    /// that is another.
    ///
    /// # Errors
    /// Of either side; the target is as it was.
    pub async fn look(&self, key: &str, attributes_only: bool) -> Result<Looked> {
        let held = self.common.busy.hold(key).await;
        if self.is_mutual() {
            let looked = if attributes_only {
                self.meet_attributes(key).await?
            } else {
                self.meet(key, false).await?
            };
            return Ok(self.looked(&held, key, looked));
        }
        let request = self.request(key, None);
        let outcome = if attributes_only {
            self.copier.update(&request).await?
        } else {
            self.copier.copy(&request).await?
        };
        let looked = match outcome {
            Outcome::Gone => Looked::Gone,
            outcome => Looked::Settled(self.settled(key, outcome).await?),
        };
        Ok(self.looked(&held, key, looked))
    }

    fn looked(&self, held: &Held<'_>, key: &str, looked: Looked) -> Looked {
        if matches!(looked, Looked::Settled(Settled::Copied(_))) {
            self.common.handled.insert(key, held.since);
        }
        looked
    }

    /// Takes away what is too much at the target: only what the source itself says is not there, and only what
    /// was seen. An object that was written meanwhile stays, and what the source's own lifecycle has let go.
    ///
    /// # Errors
    /// Of either side; the target is as it was.
    pub async fn remove(&self, extra: &Listed) -> Result<Settled> {
        if self.common.handled.contains(&extra.key) {
            return Ok(Settled::Overtaken);
        }
        self.clear(&extra.key, Some(&extra.etag)).await
    }

    /// As [`Self::remove`], whatever the target holds under the key unless `seen` says what.
    ///
    /// # Errors
    /// Of either side; the target is as it was.
    pub async fn clear(&self, key: &str, seen: Option<&ETag>) -> Result<Settled> {
        let held = self.common.busy.hold(key).await;
        if self.is_mutual() {
            return Ok(match self.meet(key, true).await? {
                Looked::Settled(settled) => settled,
                Looked::Gone => Settled::Overtaken,
            });
        }
        let source_key = format!("{}{key}", self.source.prefix);
        let target_key = format!("{}{key}", self.target.prefix);
        match self.source.pages.head(&source_key).await {
            Err(store::Error::NotFound(_)) => {}
            Err(error) => return Err(Error::source(error)),
            // It is back: what the target holds is older than its deletion was.
            Ok(info) => match self.copier.update(&self.request(key, Some(info.size))).await? {
                Outcome::Gone => {}
                outcome => return self.settled(key, outcome).await,
            },
        }
        match self.target.pages.head(&target_key).await {
            Err(store::Error::NotFound(_)) if is_mangled(key) => {
                Err(misspelt(Side::Target, &self.target, key))
            }
            // Somebody else's delete, or our own of a moment ago.
            Err(store::Error::NotFound(_)) => {
                Ok(if seen.is_some() { Settled::Deleted } else { Settled::Overtaken })
            }
            Err(error) => Err(Error::target(error)),
            Ok(there) if seen.is_none_or(|seen| *seen == there.etag) => {
                let extra = listed(key, &there);
                if self.is_expired(Side::Source, &extra).await? {
                    return Ok(Settled::Left(Left::Expired(Side::Source)));
                }
                self.target.pages.delete(&target_key, None).await.map_err(Error::target)?;
                self.common.handled.insert(key, held.since);
                Ok(Settled::Deleted)
            }
            Ok(_) => Ok(Settled::Overtaken),
        }
    }

    fn request(&self, key: &str, size: Option<u64>) -> CopyRequest {
        CopyRequest {
            source_key: format!("{}{key}", self.source.prefix),
            target_key: format!("{}{key}", self.target.prefix),
            size,
            etag: None,
            precondition: Precondition::None,
        }
    }

    async fn settled(&self, key: &str, outcome: Outcome) -> Result<Settled> {
        match outcome {
            Outcome::Copied(_) if !is_listed_as_written(&self.target, key).await? => {
                Err(misspelt(Side::Target, &self.target, key))
            }
            Outcome::Copied(copied) => {
                self.common.note(|lacks| lacks.note_copy(key, &copied));
                if copied.source_etag != copied.target_etag {
                    self.common.known.insert(key, &copied.source_etag, &copied.target_etag);
                }
                Ok(Settled::Copied(copied))
            }
            Outcome::Gone | Outcome::Changed if is_mangled(key) => {
                Err(misspelt(Side::Source, &self.source, key))
            }
            Outcome::Gone => Ok(Settled::Gone),
            Outcome::Changed => Ok(Settled::Overtaken),
            Outcome::Skipped(skipped) => Ok(Settled::Skipped(skipped)),
        }
    }
}

fn listed(key: &str, found: &ObjectInfo) -> Listed {
    Listed {
        key: key.to_owned(),
        size: found.size,
        etag: found.etag.clone(),
        modified: found.modified,
        storage_class: found.storage_class.clone(),
    }
}

/// True for attributes that only a new write changes, so that its time says which side's are the later ones. A copy is
/// later than its original, and would take away the tags that somebody has given that since.
fn are_dated(differences: &[Attribute]) -> bool {
    differences.iter().any(|attribute| matches!(attribute, Attribute::Headers | Attribute::Metadata))
}

/// A key with characters that XML can't hold is listed again: a store that ignores `encoding-type=url`
/// (seen: `VersityGW` 1.8) gives another one in its place, and the object would be copied for ever.
async fn is_listed_as_written(target: &Listing, key: &str) -> Result<bool> {
    let fits = |c: char| c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}') || matches!(c, '\t' | '\n' | '\r');
    if key.chars().all(fits) {
        return Ok(true);
    }
    target.lists(key).await.map_err(Error::target)
}

/// What Go's XML encoder writes for a character that it can't.
fn is_mangled(key: &str) -> bool {
    key.contains(char::REPLACEMENT_CHARACTER)
}

fn misspelt(side: Side, listing: &Listing, key: &str) -> Error {
    let (bucket, key) = (listing.pages.bucket().to_owned(), Some(format!("{}{key}", listing.prefix)));
    let context = store::Context { bucket, key, ..store::Context::default() };
    Error::Store {
        side,
        source: store::Error::Unsupported { what: "to list a key of such characters".into(), context },
    }
}
