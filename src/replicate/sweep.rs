//! Compares two sides whole, and brings the target in line where that is asked for.

mod report;

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::{
    Copier, CopyRequest, Error, KeyRange, Outcome, Result, Skipped,
    listing::Listing,
    merge::{Complete, Merge, Step},
    range,
};
use crate::store::{self, Listed, ObjectStore, Precondition, Side};
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
    tally: Arc<Tally>,
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
        Self { source: listing(source), target: listing(target), copier, action, effort, tally }
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
    /// was deleted in a range that was not listed to its end on both sides.
    ///
    /// # Errors
    /// [`Error::Store`] with the side whose listing failed, or that nothing more can be done with
    /// (credentials refused, bucket missing).
    pub async fn run(&self) -> Result<Report> {
        let ranges = self.ranges().await?;
        let (tasks, queue) = mpsc::channel(self.effort.objects.max(1));
        let compare = async {
            let each = stream::iter(ranges).map(|range| self.compare(range, tasks.clone()));
            let done = each.buffer_unordered(self.effort.ranges.max(1)).try_collect::<Vec<()>>().await;
            drop(tasks);
            done.map(drop)
        };
        let queue = stream::unfold(queue, |mut queue| async { queue.recv().await.map(|task| (task, queue)) });
        let work = queue.map(Ok).try_for_each_concurrent(self.effort.objects.max(1), |task| self.work(task));
        tokio::try_join!(compare, work)?;
        Ok(self.tally.report())
    }

    /// A side of one page is not split: that would cost more than it saves.
    async fn ranges(&self) -> Result<Vec<KeyRange>> {
        let few = |listing: &Listing| {
            let listing = listing.clone();
            async move { listing.is_short().await }
        };
        let (source, target) = tokio::join!(few(&self.source), few(&self.target));
        let larger = match (source.map_err(Error::source)?, target.map_err(Error::target)?) {
            (true, true) => return Ok(vec![KeyRange::default()]),
            (true, false) => &self.target,
            (false, _) => &self.source,
        };
        range::split(larger, self.effort.ranges * RANGES_EACH).await
    }

    /// Tells every difference of a range, and deals with it.
    async fn compare(&self, range: KeyRange, tasks: mpsc::Sender<Task>) -> Result<()> {
        let mut merge = Merge::new(self.source.clone(), self.target.clone(), range.clone());
        let complete = loop {
            match merge.next().await? {
                Step::Difference(difference) => {
                    self.tally.differs(&difference);
                    if self.action != Action::Compare {
                        hand_over(&tasks, Task::Copy(difference.source())).await;
                    }
                }
                Step::Complete(complete) => break complete,
            }
        };
        self.tally.compared(&complete);
        self.delete_extras(range, complete, &tasks).await
    }

    /// A range tells of a thousand extras; of the others it tells when it is looked at again from there.
    async fn delete_extras(
        &self,
        mut range: KeyRange,
        mut complete: Complete,
        tasks: &mpsc::Sender<Task>,
    ) -> Result<()> {
        if self.action != Action::Mirror {
            return Ok(());
        }
        loop {
            range.after = complete.extras.last().map(|extra| extra.key.clone());
            for extra in complete.extras {
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
