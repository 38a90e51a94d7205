//! Compares two sides whole, and brings the target in line where that is asked for.

mod both;
mod budget;
mod extras;
mod report;
mod task;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    Common, Copier, Error, Keep, KeyRange, Looks, Regions, Result, Settler,
    lifecycle::{Answer, Expiry},
    listing::Listing,
    merge::{Difference, Merge, Step},
    plan::{Chunk, Sampler},
    range,
};
use crate::store::{Listed, ObjectStore, Side};
pub use budget::{Allowance, DeleteBudget};
use extras::Extras;
pub use report::{Counts, Examples, Failure, Report, Tally};
use task::{Task, ends_everything};

/// Ranges for each one that is compared at a time: those that turn out short leave room for others.
const RANGES_EACH: usize = 8;

/// What becomes of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is counted, and the first of each kind are named.
    Compare,
    /// What the target lacks is copied; what it has too much stays.
    Copy,
    /// What the target lacks is copied; what it has too much is deleted, each object after the source
    /// itself said that it has no such object.
    Mirror,
}

/// How much is done at a time.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Ranges compared at a time: each holds at most two pages a side. One: the keys are not parted, which costs
    /// some requests for each range.
    pub ranges: usize,
    /// Objects copied or deleted at a time.
    pub objects: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Self { ranges: 4, objects: 32 }
    }
}

/// A comparison of everything under two prefixes, with what is done about it.
#[derive(Clone)]
pub struct Sweep {
    source: Listing,
    target: Listing,
    settler: Settler,
    action: Action,
    effort: Effort,
    allowance: Option<Arc<dyn Allowance>>,
    since: Option<Timestamp>,
    within: Option<KeyRange>,
    samples: Option<Arc<Samples>>,
    looks: Looks,
    tally: Arc<Tally>,
}

/// Chunks of each range, by the key that it begins after.
type Samples = Mutex<Vec<(Option<String>, Vec<Chunk>)>>;

impl Sweep {
    /// A sweep from one prefix to another; `""` is the whole bucket.
    #[must_use]
    pub fn new(
        source: (Arc<dyn ObjectStore>, String),
        target: (Arc<dyn ObjectStore>, String),
        action: Action,
        effort: Effort,
    ) -> Self {
        let tally = Arc::new(Tally::default());
        let on_bytes = {
            let tally = Arc::clone(&tally);
            move |bytes| tally.sent(bytes)
        };
        let copier = Copier::new(Arc::clone(&source.0), Arc::clone(&target.0)).on_bytes(Arc::new(on_bytes));
        let listing = |(pages, prefix)| Listing { pages, prefix };
        let (source, target) = (listing(source), listing(target));
        let settler = Settler::new(source.clone(), target.clone(), copier);
        Self {
            source,
            target,
            settler,
            action,
            effort,
            allowance: None,
            since: None,
            within: None,
            samples: None,
            looks: Looks::None,
            tally,
        }
    }

    /// Deletes nothing at all if that would be more than is allowed.
    #[must_use]
    pub fn deletes_within(self, allowance: Arc<dyn Allowance>) -> Self {
        Self { allowance: Some(allowance), ..self }
    }

    /// What is kept beside content, content headers, user metadata and part layout.
    #[must_use]
    pub fn keep(self, keep: Keep) -> Self {
        Self { settler: self.settler.keep(keep), ..self }
    }

    /// Also looks at the attributes of objects that the listings show alike, and brings them in line unless
    /// nothing is to be written. That costs a HEAD on each side for every object.
    #[must_use]
    pub fn with_attributes(self, attributes: bool) -> Self {
        self.looking_at(if attributes { Looks::All } else { Looks::None })
    }

    /// The same, of some.
    #[must_use]
    pub fn looking_at(self, looks: Looks) -> Self {
        Self { looks, ..self }
    }

    /// Shares what is known of pairs of objects, and who is at work on which key, with other sweeps and feeds of
    /// the same buckets.
    #[must_use]
    pub fn sharing(self, common: Arc<Common>) -> Self {
        Self { settler: self.settler.sharing(common), ..self }
    }

    /// Both sides are written: only what the source went on to, or did last, goes over.
    #[must_use]
    pub fn mutual(self, regions: Regions) -> Self {
        Self { settler: self.settler.mutual(regions), ..self }
    }

    /// Who deals with one key, as this sweep does.
    #[must_use]
    pub fn settler(&self) -> Settler {
        self.settler.clone()
    }

    /// Leaves what the source holds unchanged since before a moment: what the target lacks of it is counted.
    #[must_use]
    pub fn leaves_before(self, since: Option<Timestamp>) -> Self {
        Self { since, ..self }
    }

    /// Compares one range only, with one listing a side.
    #[must_use]
    pub fn within(self, range: KeyRange) -> Self {
        Self { within: Some(range), ..self }
    }

    /// Finds out where the key space can be parted for others; see [`Sweep::chunks`].
    #[must_use]
    pub fn sampled(self) -> Self {
        Self { samples: Some(Arc::default()), ..self }
    }

    /// The key space in chunks, in order, as far as it was compared.
    #[must_use]
    pub fn chunks(&self) -> Vec<Chunk> {
        let Some(samples) = &self.samples else { return Vec::new() };
        let mut all = std::mem::take(&mut *samples.lock().unwrap_or_else(PoisonError::into_inner));
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all.into_iter().flat_map(|(_, chunks)| chunks).collect()
    }

    /// Leaves alone what the lifecycles of both buckets let go, and so do all who share with it from now on. Rules must
    /// be about keys without the sides' prefixes: [`Lifecycle::under`](super::lifecycle::Lifecycle::under).
    #[must_use]
    pub fn expiring(self, expiry: Arc<Expiry>) -> Self {
        self.settler.expiring(expiry);
        self
    }

    /// Counts that move while the sweep runs.
    #[must_use]
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Compares every key once.
    ///
    /// An object that can't be copied or deleted is named in the report and keeps nothing else from
    /// going on. A listing that fails ends the sweep: what was copied until then stays, and nothing
    /// was deleted unless every range was listed to its end on both sides.
    ///
    /// # Errors
    /// [`Error::Store`] with the side whose listing failed, or that nothing more can be done with
    /// (credentials refused, bucket missing).
    pub async fn run(&self) -> Result<Report> {
        let ranges = self.ranges().await?;
        let (tasks, queue) = mpsc::channel(self.effort.objects.max(1));
        let compare = async {
            let abreast = self.effort.ranges.max(1).min(ranges.len());
            let extras = self.compare_all(ranges, &tasks, abreast).await?;
            let deleted = self.delete_all(extras, &tasks).await;
            drop(tasks);
            deleted
        };
        tokio::try_join!(compare, self.work_all(queue))?;
        Ok(self.tally.report())
    }

    /// A side of one page is not split: that would cost more than it saves.
    async fn ranges(&self) -> Result<Vec<KeyRange>> {
        if let Some(range) = &self.within {
            return Ok(vec![range.clone()]);
        }
        if self.effort.ranges <= 1 {
            return Ok(vec![KeyRange::default()]);
        }
        let (source, target) = tokio::join!(self.source.is_short(), self.target.is_short());
        let larger = match (source.map_err(Error::source)?, target.map_err(Error::target)?) {
            (true, true) => return Ok(vec![KeyRange::default()]),
            (true, false) => &self.target,
            (false, _) => &self.source,
        };
        range::split(larger, self.effort.ranges * RANGES_EACH).await
    }

    async fn compare_all(
        &self,
        ranges: Vec<KeyRange>,
        tasks: &mpsc::Sender<Task>,
        abreast: usize,
    ) -> Result<Vec<Extras>> {
        let mut ranges = ranges.into_iter();
        let mut under_way = FuturesUnordered::new();
        under_way.extend(ranges.by_ref().take(abreast).map(|range| self.compare(range, tasks, abreast)));
        let mut all = Vec::new();
        while let Some(extras) = under_way.next().await {
            all.extend(extras?);
            under_way.extend(ranges.next().map(|range| self.compare(range, tasks, abreast)));
        }
        Ok(all)
    }

    /// Tells every difference of a range, and deals with what the target lacks. What it has too much is
    /// told of when both sides were listed to the end.
    async fn compare(
        &self,
        range: KeyRange,
        tasks: &mpsc::Sender<Task>,
        abreast: usize,
    ) -> Result<Option<Extras>> {
        let mut merge = self.merge(&range).telling_alike(self.looks != Looks::None);
        if self.samples.is_some() {
            merge = merge.sampled(Sampler::new(range.until.clone()));
        }
        let mut listing = Duration::ZERO;
        let mut complete = loop {
            let asked = Instant::now();
            let step = merge.next().await?;
            listing += asked.elapsed();
            match step {
                Step::Difference(difference) if self.is_known(&difference) => self.tally.same(),
                Step::Difference(difference) if self.is_left(&difference) => self.tally.left(),
                Step::Difference(difference) if self.is_expired(&difference) => {
                    self.tally.expired(Side::Target, 1);
                }
                Step::Difference(difference) => {
                    self.tally.differs(&difference);
                    if self.action != Action::Compare {
                        hand_over(tasks, Task::Copy(difference)).await;
                    }
                }
                Step::Alike { source, target } if self.is_looked_at(&source, &target) => {
                    hand_over(tasks, Task::Look(source)).await;
                }
                Step::Alike { .. } => {}
                Step::Complete(complete) => break complete,
            }
        };
        let chunks = std::mem::take(&mut complete.chunks);
        if let Some(samples) = &self.samples {
            samples.lock().unwrap_or_else(PoisonError::into_inner).push((range.after.clone(), chunks));
        }
        let extras = self.extras(range, &mut complete).await?;
        self.tally.compared(&complete);
        // Ranges that are listed abreast share the time.
        self.tally.listed(listing / u32::try_from(abreast).unwrap_or(u32::MAX).max(1));
        Ok(extras)
    }

    fn is_known(&self, difference: &Difference) -> bool {
        match difference {
            Difference::Unlike { source, target } => self.settler.is_known(source, target),
            Difference::Missing(_) => false,
        }
    }

    fn is_left(&self, difference: &Difference) -> bool {
        let (Difference::Missing(source) | Difference::Unlike { source, .. }) = difference;
        self.is_from_before(source)
    }

    fn is_from_before(&self, source: &Listed) -> bool {
        self.since.is_some_and(|since| source.modified < since)
    }

    /// What the target's own lifecycle has let go, as far as that is known without asking.
    fn is_expired(&self, difference: &Difference) -> bool {
        let expired = |missing| self.settler.expired(Side::Target, missing) == Answer::Yes;
        matches!(difference, Difference::Missing(missing) if expired(missing))
    }

    fn is_looked_at(&self, source: &Listed, target: &Listed) -> bool {
        !self.is_from_before(source) && self.settler.wants(&self.looks, source, target)
    }

    fn merge(&self, range: &KeyRange) -> Merge {
        Merge::new(self.source.clone(), self.target.clone(), range.clone()).leaving(self.settler.leaves())
    }

    async fn work_all(&self, mut tasks: mpsc::Receiver<Task>) -> Result<()> {
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(done) = under_way.next() => done?,
                task = tasks.recv(), if under_way.len() < self.effort.objects.max(1) => match task {
                    Some(task) => under_way.push(self.work(task)),
                    None => break,
                },
            }
        }
        while let Some(done) = under_way.next().await {
            done?;
        }
        Ok(())
    }
}

/// Nobody takes it any more: the sweep is over, and says why elsewhere.
async fn hand_over(tasks: &mpsc::Sender<Task>, task: Task) {
    tasks.send(task).await.ok();
}

#[cfg(test)]
#[path = "sweep/tests.rs"]
mod tests;
