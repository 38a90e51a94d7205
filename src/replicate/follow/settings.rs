//! What the buckets' owners have set on the buckets, as a run sees it: lifecycles, claims, websites.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp, civil::Date};

use super::{
    Config, Error, Lifecycles, Memory,
    claim::{self, Claimant, claimed},
};
use crate::{
    replicate::{
        lifecycle::{Bucket, Expiry, Lifecycle},
        pace::jittered,
    },
    store::{self, ObjectStore, Side, Tags, Versioning, WebsiteRoute},
};

/// Time that a claim is half put, and plenty.
const HALF_WAY: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 2000 });

/// Something that stops nothing and that a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The one word used in conditions, Events and metrics.
    pub reason: &'static str,
    /// What it is, and the next step.
    pub message: String,
}

/// What was found before a comparison.
pub(super) struct Look {
    pub expiry: Arc<Expiry>,
    pub lifecycles: Lifecycles,
    pub notices: Vec<Notice>,
}

/// Both buckets' settings, looked at again before each comparison.
pub(super) struct Settings {
    source: Arc<dyn ObjectStore>,
    target: Arc<dyn ObjectStore>,
    /// Of the source and of the target: what else is in the buckets is not looked at.
    prefixes: [String; 2],
    claimant: Option<Claimant>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    expiry: Arc<Expiry>,
    /// When the claims were put last, or found impossible, and why.
    claimed: Option<(Date, Vec<Notice>)>,
}

impl Settings {
    /// Refuses buckets that serve misses from elsewhere, and those that another cluster's rule claims.
    pub(super) async fn open(
        (source, target): (&Arc<dyn ObjectStore>, &Arc<dyn ObjectStore>),
        config: &Config,
        claimant: Option<Claimant>,
    ) -> Result<Self, Error> {
        for (side, store) in [(Side::Source, source), (Side::Target, target)] {
            let routes = granted(store.website_routes().await).map_err(|source| of(side, source))?;
            if let Some(host) = routes.as_deref().and_then(mirrors_from) {
                return Err(Error::MirrorsBack { side, bucket: store.bucket().to_owned(), host });
            }
        }
        let (source, target) = (Arc::clone(source), Arc::clone(target));
        let prefixes = [config.source_prefix.clone(), config.target_prefix.clone()];
        let settings = Self { source, target, prefixes, claimant, known: Mutex::default() };
        settings.claim(Timestamp::now()).await?;
        Ok(settings)
    }

    /// What the lifecycles let go by now, and what a person should know.
    pub(super) async fn look(
        &self,
        memory: &Memory,
        (source, target): (Option<Versioning>, Option<Versioning>),
    ) -> Result<Look, Error> {
        let now = Timestamp::now();
        let mut notices = self.claim(now).await?;
        let mut lifecycles = memory.lifecycles.clone();
        for (side, known) in [(Side::Source, &mut lifecycles.source), (Side::Target, &mut lifecycles.target)]
        {
            match self.store(side).lifecycle().await {
                Ok(found) => *known = known.updated(found, now),
                // What was known before is as true as ever.
                Err(store::Error::AccessDenied(_) | store::Error::Unsupported { .. }) => {
                    notices.push(unread(self.store(side)));
                }
                Err(source) => return Err(of(side, source)),
            }
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let [source_prefix, target_prefix] = &self.prefixes;
        let expiry = Expiry {
            source: bucket(lifecycles.source.under(source_prefix), source, &*self.source),
            target: bucket(lifecycles.target.under(target_prefix), target, &*self.target),
            synced_until: memory.synced_until,
            migrated_at: memory.migrated.map(|migrated| migrated.at),
            ..Expiry::default()
        };
        known.expiry = Arc::new(expiry.with_answers_of(&known.expiry));
        Ok(Look { expiry: Arc::clone(&known.expiry), lifecycles, notices })
    }

    /// Puts the rule's claim on both buckets, once a day.
    async fn claim(&self, now: Timestamp) -> Result<Vec<Notice>, Error> {
        let Some(claimant) = &self.claimant else { return Ok(Vec::new()) };
        let today = claim::day(now);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).claimed.clone();
        if let Some((_, notices)) = known.filter(|(at, _)| *at == today) {
            return Ok(notices);
        }
        let notices = match self.try_claim(claimant, now).await {
            // The other half of a mutual pair may have put the first of its two tags just now.
            Err(Error::Claimed { .. }) => {
                tokio::time::sleep(jittered(HALF_WAY)).await;
                self.try_claim(claimant, now).await?
            }
            tried => tried?,
        };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).claimed = Some((today, notices.clone()));
        Ok(notices)
    }

    /// Whoever writes a bucket's tags writes all of them: what was put is read again, and taken back where
    /// another was faster.
    async fn try_claim(&self, claimant: &Claimant, now: Timestamp) -> Result<Vec<Notice>, Error> {
        let ends = self.ends().await?;
        let wanted = self.judge(claimant, &ends, now)?;
        let mut notices = Vec::new();
        for (end, wanted) in ends.iter().zip(wanted) {
            notices.extend(self.put(end, &wanted).await?);
        }
        let there = self.ends().await?;
        if let Err(refused) = self.judge(claimant, &there, now) {
            for end in &there {
                let rest = claimant.without(end.tags.as_ref().unwrap_or(&Tags::new()));
                self.put(end, &rest).await?;
            }
            return Err(refused);
        }
        Ok(notices)
    }

    async fn ends(&self) -> Result<[End; 2], Error> {
        let end = async |side, store: &'_ dyn ObjectStore| {
            let tags = granted(store.bucket_tags().await).map_err(|source| of(side, source))?;
            Ok::<_, Error>(End { side, bucket: store.bucket().to_owned(), tags })
        };
        Ok([end(Side::Source, &*self.source).await?, end(Side::Target, &*self.target).await?])
    }

    fn judge(&self, me: &Claimant, [source, target]: &[End; 2], now: Timestamp) -> Result<[Tags; 2], Error> {
        let none = Tags::new();
        let tags = |end: &End| end.tags.as_ref().unwrap_or(&none).clone();
        let (source, target) = claimed(me, &tags(source), &tags(target), now).map_err(|conflict| {
            let bucket = self.store(conflict.side).bucket();
            Error::Claimed { side: conflict.side, message: conflict.message(bucket) }
        })?;
        Ok([source, target])
    }

    async fn put(&self, end: &End, wanted: &Tags) -> Result<Option<Notice>, Error> {
        match &end.tags {
            Some(had) if had == wanted => return Ok(None),
            None => return Ok(Some(unclaimed(&end.bucket))),
            Some(_) => {}
        }
        let put = granted(self.store(end.side).put_bucket_tags(wanted).await);
        let put = put.map_err(|source| of(end.side, source))?;
        Ok(put.is_none().then(|| unclaimed(&end.bucket)))
    }

    fn store(&self, side: Side) -> &dyn ObjectStore {
        match side {
            Side::Source => &*self.source,
            Side::Target => &*self.target,
        }
    }
}

/// A bucket with its tags; `None` where there are none to be had.
struct End {
    side: Side,
    bucket: String,
    tags: Option<Tags>,
}

/// What a store or its owner does not grant is no failure: it is `None`.
fn granted<T>(answer: store::Result<T>) -> store::Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        // Of the last kind: too many tags, a character too odd, an answer of a kind of its own.
        Err(
            store::Error::AccessDenied(_) | store::Error::Unsupported { .. } | store::Error::Protocol { .. },
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

fn of(side: Side, source: store::Error) -> Error {
    crate::replicate::Error::Store { side, source }.into()
}

fn bucket(lifecycle: Lifecycle, versioning: Option<Versioning>, store: &dyn ObjectStore) -> Bucket {
    Bucket {
        lifecycle,
        versioned: versioning == Some(Versioning::Enabled),
        ahead: store.clock_offset().unwrap_or(SignedDuration::ZERO),
    }
}

/// Where a website fetches what its bucket does not have: mirror-back-to-source (`C09`).
fn mirrors_from(routes: &[WebsiteRoute]) -> Option<String> {
    let misses = |route: &&WebsiteRoute| matches!(route.instead_of, Some(403 | 404));
    routes.iter().filter(misses).find_map(|route| route.host.clone())
}

fn unread(store: &dyn ObjectStore) -> Notice {
    let bucket = store.bucket();
    Notice {
        reason: "LifecycleUnknown",
        message: format!(
            "the lifecycle rules of bucket {bucket} can't be read: what they let go is taken for deleted; allow s3:GetLifecycleConfiguration on it to the rule's credentials"
        ),
    }
}

fn unclaimed(bucket: &str) -> Notice {
    Notice {
        reason: "BucketUnclaimed",
        message: format!(
            "the rule's claim can't be put on bucket {bucket}, so that rules of other clusters don't see it; allow s3:GetBucketTagging and s3:PutBucketTagging on it to the rule's credentials, if its store has tags of buckets"
        ),
    }
}

#[cfg(test)]
mod tests;
