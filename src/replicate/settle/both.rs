//! A key of two buckets that are both written: each side's versions say what becomes of it.
//!
//! A store can't be told to delete only what was seen, nor does every one refuse a write over a marker that it
//! did not show before. So what was done is looked at afterwards, and taken back where it hid a change that
//! nobody had seen: each version is a thing of its own, and ours can be deleted again.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::{Left, Looked, Settled, Settler, are_dated};
use crate::{
    replicate::{
        Copied, CopyRequest, Error, Outcome, Result,
        listing::Listing,
        mutual::{History, Run, Sides, Verdict, Version, decide},
        place::is_probe,
    },
    store::{
        self, ListVersionsRequest, Listed, ObjectVersion, Precondition, Side, is_out_of_order, newest_first,
    },
};

/// Versions asked for at a time: most keys have few.
const PAGE: u32 = 100;
/// Most versions of a key that are looked at.
const MOST: usize = 1000;
/// Times that a key is decided on anew, since it changed meanwhile. Then it has failed, and is tried again later.
const TRIES: u32 = 3;
/// A copy that took longer may have landed after its original was deleted. Shorter than what a later look takes
/// for the copy's delay.
const SLOW: Duration = Duration::from_secs(3);

/// Pauses between questions that must be answered.
const INSISTENCE: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Names of the regions of both sides, the source's first.
pub type Regions = [String; 2];

/// What both sides hold, and held.
struct Both {
    source: Vec<ObjectVersion>,
    target: Vec<ObjectVersion>,
    verdict: Verdict,
    /// The source's newest version is newer than the target's.
    is_newer_at_source: bool,
    read: Instant,
}

/// What an object is that only the target was listed with.
pub(in crate::replicate) enum Extra {
    /// The source has deleted it.
    Deleted,
    /// The source had deleted it, and holds another one by now: what the target holds is older than either.
    Back(Listed),
    /// It stays: the opposite direction brings it to the source.
    Theirs,
}

/// What became of a try.
enum Tried {
    Done(Settled),
    /// Somebody else wrote in between: what is there now says what is to be done.
    Again,
}

impl Settler {
    /// Two buckets that are both written: only what the source went on to, or did last, goes over.
    #[must_use]
    pub(in crate::replicate) fn mutual(self, regions: Regions) -> Self {
        Self { regions: Some(regions.into()), ..self }
    }

    /// True of two buckets that are both written.
    #[must_use]
    pub(in crate::replicate) fn is_mutual(&self) -> bool {
        self.regions.is_some()
    }

    /// Does for a key what the histories of both sides say. A delete is only told of unless it `may_delete`.
    pub(super) async fn meet(&self, key: &str, may_delete: bool) -> Result<Looked> {
        // Somebody is finding out what is where: it is gone in a moment, without a marker.
        if is_probe(key) {
            return Ok(Looked::Settled(Settled::Theirs));
        }
        for _ in 0..TRIES {
            let both = self.both(key).await?;
            let tried = match (both.verdict, both.source.first()) {
                (Verdict::Alike, Some(ours))
                    if !may_delete && both.is_newer_at_source && !ours.is_delete_marker =>
                {
                    self.attributes(key, &both, ours).await?
                }
                (Verdict::Alike, _) => Tried::Done(Settled::Overtaken),
                (Verdict::Theirs, _) | (_, None) => Tried::Done(Settled::Theirs),
                (Verdict::Ours { .. }, Some(ours)) if !ours.is_delete_marker => {
                    self.overwrite(key, &both, ours).await?
                }
                (Verdict::Ours { .. }, Some(_)) if !may_delete => return Ok(Looked::Gone),
                (Verdict::Ours { .. }, Some(_)) => self.delete(key, &both).await?,
            };
            let Tried::Done(settled) = tried else { continue };
            let changed = matches!(settled, Settled::Copied(_) | Settled::Deleted);
            if changed && both.verdict == (Verdict::Ours { conflict: true }) {
                self.common.conflict();
            }
            return Ok(Looked::Settled(settled));
        }
        // Nobody knows what is where: no time point may go past it.
        Err(Error::target(store::Error::Changed(self.at_target(key))))
    }

    /// What the source says of an object that it was listed without.
    ///
    /// # Errors
    /// Of either side.
    pub(in crate::replicate) async fn extra(&self, extra: &Listed) -> Result<Extra> {
        if is_probe(&extra.key) {
            return Ok(Extra::Theirs);
        }
        let both = self.both(&extra.key).await?;
        Ok(match both.source.first().filter(|_| matches!(both.verdict, Verdict::Ours { .. })) {
            Some(ours) if ours.is_delete_marker => Extra::Deleted,
            Some(ours) => Extra::Back(listed(&extra.key, ours)),
            None => Extra::Theirs,
        })
    }

    async fn both(&self, key: &str) -> Result<Both> {
        let read = Instant::now();
        let (source, target) =
            tokio::join!(versions(&self.source, key, MOST), versions(&self.target, key, MOST));
        let (source, target) = (source.map_err(Error::source)?, target.map_err(Error::target)?);
        let ahead = [&self.source, &self.target]
            .map(|side| side.pages.clock_offset().unwrap_or(SignedDuration::ZERO));
        let regions = self.regions.as_deref();
        let names = regions.map_or(["", ""], |[source, target]| [source.as_str(), target.as_str()]);
        let sides = Sides::new(ahead, names);
        let verdict = decide(&history(&source), &history(&target), sides);
        let is_newer_at_source =
            sides.is_newer_at_source(newest(&source, |at| sides.by_target(at)), newest(&target, |at| at));
        Ok(Both { source, target, verdict, is_newer_at_source, read })
    }

    /// Copies what the source holds over what was seen at the target.
    async fn overwrite(&self, key: &str, both: &Both, ours: &ObjectVersion) -> Result<Tried> {
        let there = both.target.first();
        let precondition = match there {
            Some(there) if !there.is_delete_marker => Precondition::Matches(there.etag.clone()),
            Some(_) | None => Precondition::Absent,
        };
        let request =
            CopyRequest { etag: Some(ours.etag.clone()), precondition, ..self.request(key, Some(ours.size)) };
        let mut outcome = self.copier.copy(&request).await;
        // There are stores (seen: `VersityGW` 1.8) to which a delete marker is an object.
        if is_refused(&outcome)
            && there.is_some_and(|there| there.is_delete_marker)
            && is_same(versions(&self.target, key, 1).await.map_err(Error::target)?.first(), there)
        {
            outcome = self.copier.copy(&CopyRequest { precondition: Precondition::None, ..request }).await;
        }
        if is_refused(&outcome) {
            return Ok(Tried::Again);
        }
        let outcome = outcome?;
        let copied = match outcome {
            Outcome::Copied(copied) => copied,
            Outcome::Gone | Outcome::Changed => return Ok(Tried::Again),
            outcome @ Outcome::Skipped(_) => return self.settled(key, outcome).await.map(Tried::Done),
        };
        if copied.target_etag != copied.source_etag {
            self.take_back(key, copied.version.as_deref()).await?;
            return Err(self.other_etag(key));
        }
        // Where nothing was there, too: what is put and deleted meanwhile leaves a marker, and a store writes over that
        // whatever was asked for. A request that is sent again after its answer was lost takes long enough for it.
        if copied.wrote
            && (self.hides_a_change(key, both, &copied).await? || self.is_stale(both, ours).await?)
        {
            self.take_back(key, copied.version.as_deref()).await?;
            return Ok(Tried::Again);
        }
        self.settled(key, Outcome::Copied(copied)).await.map(Tried::Done)
    }

    /// True if something came between what was seen at the target and our version.
    async fn hides_a_change(&self, key: &str, both: &Both, copied: &Copied) -> Result<bool> {
        let now = insist(|| versions(&self.target, key, PAGE as usize)).await.map_err(Error::target)?;
        let mut below = now.iter().skip_while(|version| Some(&version.version) != copied.version.as_ref());
        below.next();
        Ok(below.next().is_some_and(|below| !is_same(Some(below), both.target.first())))
    }

    /// True if what was copied is not what the source holds any more, and the copy took long, or the source holds the
    /// same with other attributes by now: that is older than the copy, and would be taken for what the copy replaces.
    async fn is_stale(&self, both: &Both, ours: &ObjectVersion) -> Result<bool> {
        let key = ours_key(&self.source, ours);
        let now = insist(|| versions(&self.source, key, 1)).await.map_err(Error::source)?;
        let alike = now.first().is_some_and(|now| is_alike(now, ours));
        Ok(!is_same(now.first(), Some(ours)) && (alike || both.read.elapsed() >= SLOW))
    }

    /// As [`Self::meet`], after a change of attributes that leaves no version, as one of tags does.
    pub(super) async fn meet_attributes(&self, key: &str) -> Result<Looked> {
        let both = self.both(key).await?;
        let alike =
            both.source.first().filter(|ours| both.verdict == Verdict::Alike && !ours.is_delete_marker);
        let Some(ours) = alike else { return self.meet(key, false).await };
        let differences = self.copier.differences(&self.request(key, None)).await?.unwrap_or_default();
        if !both.is_newer_at_source && are_dated(&differences) {
            return Ok(Looked::Settled(Settled::Theirs));
        }
        match self.attributes(key, &both, ours).await? {
            Tried::Done(settled) => Ok(Looked::Settled(settled)),
            Tried::Again => self.meet(key, false).await,
        }
    }

    /// Gives the object of the same content that was seen at the target the attributes of the source's: the newer ones
    /// stay.
    async fn attributes(&self, key: &str, both: &Both, ours: &ObjectVersion) -> Result<Tried> {
        let precondition = Precondition::Matches(ours.etag.clone());
        let request =
            CopyRequest { etag: Some(ours.etag.clone()), precondition, ..self.request(key, Some(ours.size)) };
        let outcome = self.copier.update(&request).await;
        if is_refused(&outcome) {
            return Ok(Tried::Again);
        }
        let copied = match outcome? {
            Outcome::Copied(copied) => copied,
            Outcome::Gone | Outcome::Changed => return Ok(Tried::Again),
            outcome @ Outcome::Skipped(_) => return self.settled(key, outcome).await.map(Tried::Done),
        };
        if copied.wrote
            && (self.hides_a_change(key, both, &copied).await? || self.is_stale(both, ours).await?)
        {
            self.take_back(key, copied.version.as_deref()).await?;
            return Ok(Tried::Again);
        }
        self.settled(key, Outcome::Copied(copied)).await.map(Tried::Done)
    }

    /// Deletes what was seen at the target, and nothing else; unless the source's own lifecycle let it go.
    async fn delete(&self, key: &str, both: &Both) -> Result<Tried> {
        if let Some(there) = both.target.first().map(|there| listed(key, there))
            && self.is_expired(Side::Source, &there).await?
        {
            return Ok(Tried::Done(Settled::Left(Left::Expired(Side::Source))));
        }
        let target_key = format!("{}{key}", self.target.prefix);
        let deleted = self.target.pages.delete(&target_key, None).await.map_err(Error::target);
        // Whatever was answered: it may have been done.
        let (source, target) = tokio::join!(
            insist(|| versions(&self.source, key, 1)),
            insist(|| versions(&self.target, key, PAGE as usize))
        );
        let (source, target) = (source.map_err(Error::source)?, target.map_err(Error::target)?);
        let new: Vec<_> =
            target.iter().take_while(|version| !is_same(Some(version), both.target.first())).collect();
        // More markers than one: somebody else deleted what came in between.
        let markers = new.iter().filter(|version| version.is_delete_marker).count();
        let hides = markers == 1 && new.len() > 1;
        let stale = !is_same(source.first(), both.source.first());
        match new.first().filter(|top| top.is_delete_marker && (hides || stale)) {
            Some(marker) => {
                self.take_back(key, Some(&marker.version)).await?;
                Ok(Tried::Again)
            }
            None => deleted.map(|()| Tried::Done(Settled::Deleted)),
        }
    }

    /// Deletes a version that we wrote.
    async fn take_back(&self, key: &str, version: Option<&str>) -> Result<()> {
        let Some(version) = version else { return Ok(()) };
        let key = format!("{}{key}", self.target.prefix);
        insist(|| self.target.pages.delete(&key, Some(version))).await.map_err(Error::target)
    }

    fn other_etag(&self, key: &str) -> Error {
        let what =
            "to keep an object's ETag, by which two buckets that are both written know their objects".into();
        Error::target(store::Error::Unsupported { what, context: self.at_target(key) })
    }

    fn at_target(&self, key: &str) -> store::Context {
        let key = Some(format!("{}{key}", self.target.prefix));
        store::Context { bucket: self.target.pages.bucket().to_owned(), key, ..store::Context::default() }
    }
}

/// Asks again for a while: what was written may hide a change, and nobody else will take it back.
async fn insist<T, F: Future<Output = store::Result<T>>>(ask: impl Fn() -> F) -> store::Result<T> {
    for pause in INSISTENCE {
        match ask().await {
            Err(store::Error::Unreachable { .. } | store::Error::SlowDown(_)) => {
                tokio::time::sleep(pause).await;
            }
            answer => return answer,
        }
    }
    ask().await
}

/// True if the target held something else than was seen there.
fn is_refused(outcome: &Result<Outcome>) -> bool {
    use store::Error::{Changed, NotFound};
    matches!(outcome, Err(Error::Store { side: Side::Target, source: Changed(_) | NotFound(_) }))
}

fn ours_key<'a>(listing: &Listing, version: &'a ObjectVersion) -> &'a str {
    version.key.strip_prefix(&listing.prefix).unwrap_or(&version.key)
}

fn listed(key: &str, version: &ObjectVersion) -> Listed {
    Listed {
        key: key.to_owned(),
        size: version.size,
        etag: version.etag.clone(),
        modified: version.written(),
        storage_class: None,
    }
}

/// How often the newest content was written one time after the other.
fn newest(versions: &[ObjectVersion], by: impl Fn(Timestamp) -> Timestamp) -> Option<Run> {
    let first = versions.first()?;
    let mut run = Run { since: by(first.written()), at: by(first.written()), times: 0 };
    for version in versions.iter().take_while(|version| is_alike(version, first)) {
        (run.since, run.times) = (by(version.written()), run.times + 1);
    }
    Some(run)
}

/// True of two versions of the same content.
fn is_alike(a: &ObjectVersion, b: &ObjectVersion) -> bool {
    (a.is_delete_marker, a.size, &a.etag) == (b.is_delete_marker, b.size, &b.etag)
}

fn is_same(a: Option<&ObjectVersion>, b: Option<&ObjectVersion>) -> bool {
    a.map(|version| &version.version) == b.map(|version| &version.version)
}

/// The newest versions of one key, newest first; all of them, unless there are at least so many.
async fn versions(listing: &Listing, key: &str, most: usize) -> store::Result<Vec<ObjectVersion>> {
    let key = format!("{}{key}", listing.prefix);
    let mut request =
        ListVersionsRequest { prefix: key.clone(), max_keys: Some(PAGE), ..ListVersionsRequest::default() };
    let mut found: Vec<ObjectVersion> = Vec::new();
    loop {
        let page = listing.pages.list_versions(&request).await?;
        // Longer keys come after it.
        let others = page.versions.iter().any(|version| version.key != key);
        found.extend(page.versions.into_iter().filter(|version| version.key == key));
        let most = if found.iter().any(is_out_of_order) { MOST } else { most };
        match page.next.filter(|next| next.key == key && !others && found.len() < most) {
            Some(next) if request.marker.as_ref() != Some(&next) => request.marker = Some(next),
            _ => {
                newest_first(&mut found);
                return Ok(found);
            }
        }
    }
}

fn history(versions: &[ObjectVersion]) -> History {
    History { versions: versions.iter().map(Version::from).collect(), is_whole: versions.len() < MOST }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{
        replicate::Copier,
        store::{
            ListRequest, ObjectStore, PutOptions, Versioning,
            memory::{Effect, Failure, Fault, MemoryStore, Rewrites, Verb},
        },
    };

    const REGIONS: [&str; 2] = ["east", "north"];

    fn bucket(name: &str) -> MemoryStore {
        let store = MemoryStore::new(name);
        store.set_versioning(Versioning::Enabled);
        store
    }

    fn settler(source: &MemoryStore, target: &MemoryStore) -> Settler {
        let handle = |store: &MemoryStore| Arc::new(store.clone()) as Arc<dyn ObjectStore>;
        let listing = |store: &MemoryStore| Listing { pages: handle(store), prefix: String::new() };
        let copier = Copier::new(handle(source), handle(target));
        Settler::new(listing(source), listing(target), copier).mutual(REGIONS.map(str::to_owned))
    }

    async fn put(store: &MemoryStore, content: &'static str) -> Listed {
        store.put("k", Bytes::from_static(content.as_bytes()), &PutOptions::default()).await.unwrap();
        store.list(&ListRequest::default()).await.unwrap().objects.remove(0)
    }

    #[tokio::test]
    async fn c08_c18_what_went_after_it_was_listed_is_not_deleted_unasked() {
        let (source, target) = (bucket("a"), bucket("b"));
        let settler = settler(&source, &target);
        settler.bring(&put(&source, "first").await).await.unwrap();
        let listed = put(&source, "second").await;
        source.delete("k", None).await.unwrap();
        assert_eq!(settler.bring(&listed).await.unwrap(), Settled::Gone);
        assert_eq!(target.keys(), ["k"], "nobody has allowed it");
        assert_eq!(settler.clear("k", None).await.unwrap(), Settled::Deleted);
        assert!(target.keys().is_empty());
    }

    async fn put_of(store: &MemoryStore, kind: &str) {
        let content_type = Some(kind.to_owned());
        let attributes = store::Attributes { content_type, ..store::Attributes::default() };
        let options = PutOptions { attributes, ..PutOptions::default() };
        store.put("k", Bytes::from_static(b"x"), &options).await.unwrap();
    }

    async fn kind(store: &MemoryStore) -> String {
        store.head("k").await.unwrap().attributes.content_type.unwrap()
    }

    #[tokio::test]
    async fn c08_attributes_that_were_changed_while_older_ones_came_over_stay() {
        let (source, target) = (bucket("a"), bucket("b"));
        put_of(&target, "text/first").await;
        put_of(&source, "text/first").await;
        put_of(&source, "text/second").await;
        let slow = Fault::once(Verb::Rewrite, Failure::Full).with(Effect::Delay(Duration::from_millis(200)));
        target.fault(slow);
        let settler = settler(&source, &target);
        let (looked, ()) = tokio::join!(settler.look("k", false), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            put_of(&target, "text/third").await;
        });
        assert_eq!(looked.unwrap(), Looked::Settled(Settled::Overtaken));
        assert_eq!(kind(&target).await, "text/third", "the newest of all is lost");
        put_of(&source, "text/fourth").await;
        settler.look("k", false).await.unwrap();
        assert_eq!(kind(&target).await, "text/fourth");
    }

    #[tokio::test]
    async fn c08_a_delete_whose_answer_is_lost_hides_nothing_that_came_in_between() {
        let (source, target) = (bucket("a"), bucket("b"));
        let settler = settler(&source, &target);
        settler.bring(&put(&source, "first").await).await.unwrap();
        source.delete("k", None).await.unwrap();
        let slow = Fault::once(Verb::Delete, Failure::Full).with(Effect::Delay(Duration::from_millis(200)));
        target.fault(slow);
        // Once before the delete, and then where it is looked at what it hides.
        let lost = Fault { times: 2, ..Fault::once(Verb::ListVersions, Failure::Unreachable).after(1) };
        target.fault(lost);
        let (cleared, ()) = tokio::join!(settler.clear("k", None), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            put(&target, "second").await;
        });
        cleared.unwrap();
        assert_eq!(target.head("k").await.unwrap().size, 6, "what came in between is lost");
    }

    /// As a copy does that is sent again, since the answer to the first was lost.
    #[tokio::test]
    async fn c08_what_was_deleted_while_a_copy_was_on_its_way_stays_deleted() {
        let (source, target) = (bucket("a"), bucket("b"));
        let settler = settler(&source, &target);
        let listed = put(&source, "first").await;
        target.fault(Fault::once(Verb::Put, Failure::Full).with(Effect::Delay(Duration::from_millis(300))));
        let (brought, ()) = tokio::join!(settler.bring(&listed), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            put(&target, "first").await;
            target.delete("k", None).await.unwrap();
        });
        assert_eq!(brought.unwrap(), Settled::Theirs);
        assert!(target.keys().is_empty(), "the delete is undone");
    }

    #[tokio::test]
    async fn c08_what_is_gone_at_both_sides_has_no_attributes() {
        let (source, target) = (bucket("a"), bucket("b"));
        let listed = put(&source, "first").await;
        put(&target, "first").await;
        target.delete("k", None).await.unwrap();
        source.delete("k", None).await.unwrap();
        let settler = settler(&source, &target);
        assert_eq!(settler.look("k", false).await.unwrap(), Looked::Settled(Settled::Overtaken));
        assert_eq!(settler.look("k", true).await.unwrap(), Looked::Settled(Settled::Overtaken));
        assert_eq!(settler.bring(&listed).await.unwrap(), Settled::Overtaken);
    }

    #[tokio::test]
    async fn c08_attributes_that_change_while_older_ones_are_copied_are_not_lost() {
        let (source, target) = (bucket("a"), bucket("b"));
        put_of(&source, "text/first").await;
        target.fault(Fault::once(Verb::Put, Failure::Full).with(Effect::Delay(Duration::from_millis(200))));
        let there = settler(&source, &target);
        let (looked, ()) = tokio::join!(there.look("k", false), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            put_of(&source, "text/second").await;
        });
        assert!(matches!(looked.unwrap(), Looked::Settled(Settled::Copied(_))));
        let back = settler(&target, &source);
        back.look("k", false).await.unwrap();
        assert_eq!(
            [kind(&source).await, kind(&target).await],
            ["text/second"; 2],
            "the copy's time is later"
        );
    }

    #[tokio::test]
    async fn c08_attributes_that_are_changed_in_place_leave_the_version_that_is_there() {
        let (source, target) = (bucket("a"), bucket("b"));
        target.set_rewrites(Rewrites::Keep);
        put(&target, "before").await;
        put_of(&target, "text/first").await;
        put_of(&source, "text/first").await;
        put_of(&source, "text/second").await;
        settler(&source, &target).look("k", false).await.unwrap();
        assert_eq!(kind(&target).await, "text/second");
        assert_eq!(target.head("k").await.unwrap().size, 1, "a version is lost that people wrote");
    }

    #[tokio::test]
    async fn c08_tags_that_change_bring_over_nothing_older() {
        let (source, target) = (bucket("a"), bucket("b"));
        let settler = settler(&source, &target);
        settler.bring(&put(&source, "first").await).await.unwrap();
        put(&target, "second").await;
        assert_eq!(settler.look("k", true).await.unwrap(), Looked::Settled(Settled::Theirs));
        assert_eq!(target.head("k").await.unwrap().size, 6, "what the target went on to is lost");
        put_of(&source, "text/older").await;
        put_of(&target, "text/new").await;
        put_of(&target, "text/newer").await;
        assert_eq!(settler.look("k", true).await.unwrap(), Looked::Settled(Settled::Theirs));
        assert_eq!(kind(&target).await, "text/newer");
        let tags = [("a".to_owned(), "b".to_owned())].into();
        put_of(&source, "text/newer").await;
        source.put_tags("k", &tags).await.unwrap();
        settler.look("k", true).await.unwrap();
        assert_eq!(target.tags("k").await.unwrap(), tags);
    }

    #[tokio::test]
    async fn c08_c05_a_key_that_is_never_at_rest_has_failed_by_name() {
        let (source, target) = (bucket("a"), bucket("b"));
        target.fault(Fault::always(Verb::Put, Failure::Changed));
        let error = settler(&source, &target).bring(&put(&source, "first").await).await.unwrap_err();
        assert_eq!((error.reason(), error.side()), ("ChangedMeanwhile", Side::Target));
        assert!(error.to_string().contains("b/k"), "{error}");
        target.heal();
        let settled = settler(&source, &target).bring(&put(&source, "second").await).await.unwrap();
        assert!(matches!(settled, Settled::Copied(_)), "{settled:?}");
    }
}
