//! Compares two sides whole, and brings the target in line where that is asked for.

mod budget;
mod known;
mod report;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::{
    Copier, CopyRequest, Error, KeyRange, Outcome, Result, Skipped,
    listing::Listing,
    merge::{Complete, Difference, Merge, Step},
    range,
};
use crate::store::{self, Listed, ObjectStore, Precondition, Side};
pub use budget::DeleteBudget;
pub use known::KnownAlike;
pub use report::{Counts, Examples, Failure, Report, Tally};

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
    /// Ranges compared at a time: each holds at most two pages a side.
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
    copier: Copier,
    action: Action,
    effort: Effort,
    budget: Option<DeleteBudget>,
    known: Option<Arc<KnownAlike>>,
    tally: Arc<Tally>,
}

/// What a range has too much, told once it was listed to its end.
struct Extras {
    range: KeyRange,
    complete: Complete,
}

/// Something to do about one key.
enum Task {
    Copy(Listed),
    Delete(Listed),
}

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
        Self { source, target, copier, action, effort, budget: None, known: None, tally }
    }

    /// Deletes nothing at all if that would be more than the budget allows.
    #[must_use]
    pub fn deletes_within(self, budget: DeleteBudget) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// Takes pairs that an earlier sweep copied for alike, though their `ETag`s differ; adds its own.
    #[must_use]
    pub fn knows(self, known: Arc<KnownAlike>) -> Self {
        Self { known: Some(known), ..self }
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
        let mut merge = Merge::new(self.source.clone(), self.target.clone(), range.clone());
        let mut listing = Duration::ZERO;
        let complete = loop {
            let asked = Instant::now();
            let step = merge.next().await?;
            listing += asked.elapsed();
            match step {
                Step::Difference(difference) if self.is_known(&difference) => self.tally.same(),
                Step::Difference(difference) => {
                    self.tally.differs(&difference);
                    if self.action != Action::Compare {
                        hand_over(tasks, Task::Copy(difference.source())).await;
                    }
                }
                Step::Complete(complete) => break complete,
            }
        };
        self.tally.compared(&complete);
        // Ranges that are listed abreast share the time.
        self.tally.listed(listing / u32::try_from(abreast).unwrap_or(u32::MAX).max(1));
        let some = self.action == Action::Mirror && !complete.extras.is_empty();
        Ok(some.then_some(Extras { range, complete }))
    }

    fn is_known(&self, difference: &Difference) -> bool {
        match (&self.known, difference) {
            (Some(known), Difference::Unlike { source, target }) => {
                known.contains(&source.key, &source.etag, &target.etag)
            }
            _ => false,
        }
    }

    /// All of them are counted before the first one goes: no more go than were counted.
    async fn delete_all(&self, extras: Vec<Extras>, tasks: &mpsc::Sender<Task>) -> Result<()> {
        let counts = self.tally.counts();
        if self.budget.is_some_and(|budget| !budget.allows(counts.extra, counts.target)) {
            self.tally.held();
            return Ok(());
        }
        let mut left = counts.extra;
        for Extras { range, complete } in extras {
            self.delete_extras(range, complete, &mut left, tasks).await?;
        }
        Ok(())
    }

    /// A range tells of a thousand extras; of the others it tells when it is looked at again from there.
    async fn delete_extras(
        &self,
        mut range: KeyRange,
        mut complete: Complete,
        left: &mut u64,
        tasks: &mpsc::Sender<Task>,
    ) -> Result<()> {
        loop {
            range.after = complete.extras.last().map(|extra| extra.key.clone());
            for extra in complete.extras {
                if *left == 0 {
                    return Ok(());
                }
                *left -= 1;
                hand_over(tasks, Task::Delete(extra)).await;
            }
            if complete.more_extras == 0 {
                return Ok(());
            }
            let mut merge = Merge::new(self.source.clone(), self.target.clone(), range.clone());
            complete = loop {
                if let Step::Complete(complete) = merge.next().await? {
                    break complete;
                }
            };
        }
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

    async fn work(&self, task: Task) -> Result<()> {
        let key = match &task {
            Task::Copy(source) => source.key.clone(),
            Task::Delete(extra) => extra.key.clone(),
        };
        let done = match task {
            Task::Copy(source) => self.copy(&source).await,
            Task::Delete(extra) => self.delete(&extra).await,
        };
        match done {
            Err(error) if ends_everything(&error) => Err(error),
            Err(error) => {
                self.tally.failed(&key, &error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Whatever is there now goes over: a listing is old when it arrives.
    async fn copy(&self, source: &Listed) -> Result<()> {
        let request = CopyRequest {
            source_key: format!("{}{}", self.source.prefix, source.key),
            target_key: format!("{}{}", self.target.prefix, source.key),
            size: Some(source.size),
            etag: None,
            precondition: Precondition::None,
        };
        match self.copier.copy(&request).await? {
            Outcome::Copied(_) if !is_listed_as_written(&self.target, &source.key).await? => {
                Err(misspelt(Side::Target, &self.target, &source.key))
            }
            Outcome::Copied(copied) => {
                if let Some(known) = self.known.as_ref().filter(|_| copied.source_etag != copied.target_etag)
                {
                    known.insert(&source.key, &copied.source_etag, &copied.target_etag);
                }
                self.tally.copied(&source.key, &copied);
                Ok(())
            }
            Outcome::Gone | Outcome::Changed if is_mangled(&source.key) => {
                Err(misspelt(Side::Source, &self.source, &source.key))
            }
            Outcome::Gone | Outcome::Changed => {
                self.tally.overtaken();
                Ok(())
            }
            Outcome::Skipped(Skipped::Archived) => {
                self.tally.skipped(&source.key);
                Ok(())
            }
        }
    }

    /// Only what the source itself says is not there, and only what was seen: an object that was
    /// written meanwhile stays.
    async fn delete(&self, extra: &Listed) -> Result<()> {
        let source_key = format!("{}{}", self.source.prefix, extra.key);
        let target_key = format!("{}{}", self.target.prefix, extra.key);
        match self.source.pages.head(&source_key).await {
            Err(store::Error::NotFound(_)) => {}
            Err(error) => return Err(Error::source(error)),
            Ok(_) => {
                self.tally.overtaken();
                return Ok(());
            }
        }
        match self.target.pages.head(&target_key).await {
            Err(store::Error::NotFound(_)) if is_mangled(&extra.key) => {
                return Err(misspelt(Side::Target, &self.target, &extra.key));
            }
            Err(store::Error::NotFound(_)) => {}
            Err(error) => return Err(Error::target(error)),
            Ok(there) if there.etag == extra.etag => {
                self.target.pages.delete(&target_key, None).await.map_err(Error::target)?;
            }
            Ok(_) => {
                self.tally.overtaken();
                return Ok(());
            }
        }
        self.tally.deleted();
        Ok(())
    }
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

/// Nobody takes it any more: the sweep is over, and says why elsewhere.
async fn hand_over(tasks: &mpsc::Sender<Task>, task: Task) {
    tasks.send(task).await.ok();
}

/// True where the next object would meet the same.
fn ends_everything(error: &Error) -> bool {
    use store::Error as E;
    matches!(
        error,
        Error::Store {
            source: E::NoSuchBucket(_)
                | E::BadCredentials(_)
                | E::ClockSkew(_)
                | E::Full(_)
                | E::CredentialsMissing { .. }
                | E::Config(_),
            ..
        }
    )
}

#[cfg(test)]
#[path = "sweep/tests.rs"]
mod tests;
