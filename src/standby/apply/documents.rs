//! Changes of documents.

use std::{collections::HashMap, time::Instant};

use futures::{StreamExt, stream::FuturesUnordered};
use mongodb::bson::{Bson, Document, doc};

use super::{Applier, by_key, find};
use crate::{
    mongo::{
        Change, Namespace,
        batch::{self, Batch, Outcome, Write},
    },
    standby::{
        Error, Result, Side,
        error::failed,
        lease::COMMAND,
        target::{Target, limits, within},
    },
};

const DUPLICATE: i32 = 11_000;
/// Writes of a command: more of them are no faster.
const WRITES: usize = 1000;
const FEWEST: usize = 64;
/// Documents that are read at a time: they come with the first answer (whose default is 101), and a server that
/// compares each document with each `_id` has little to compare.
const READS: usize = 40;
/// What repeating doesn't mend: a value, a size, a rule that the document breaks.
const PERMANENT: [i32; 8] = [2, 9, 14, 67, 121, 10_003, 10_334, DUPLICATE];

/// Writes of a collection.
type Writes = (Namespace, Vec<Write>);

impl Applier {
    /// Writes what changes leave of documents, and says how many were fetched from the master.
    pub(super) async fn documents(&mut self, changes: Vec<Change>) -> Result<u64> {
        let (mut batch, mut capped) = (Batch::default(), Vec::new());
        for change in changes {
            match &change {
                Change::Put { namespace, .. }
                | Change::Update { namespace, .. }
                | Change::Remove { namespace, .. }
                    if self.capped.contains(namespace) =>
                {
                    capped.push(change);
                }
                _ => batch.add(change, self.is_consistent),
            }
        }
        let begun = Instant::now();
        let (writes, refetched) = self.outcomes(batch).await?;
        let count = count(&writes);
        self.write_all(writes).await?;
        self.lanes.took(count, begun.elapsed());
        self.write_capped(capped).await?;
        Ok(refetched)
    }

    async fn outcomes(&self, mut batch: Batch) -> Result<(Vec<Writes>, u64)> {
        let client = self.target().client();
        let wanted = batch.namespaces().into_iter().flat_map(|of| {
            let ids = batch.wanted(&of);
            ids.chunks(READS).map(|page| (of.clone(), page.to_vec())).collect::<Vec<_>>()
        });
        let wanted: Vec<_> = wanted.collect();
        let found = wanted.into_iter().map(|(namespace, page)| async move {
            let known = find(client, Side::Target, &namespace, &page).await?;
            Ok::<_, Error>((namespace, known))
        });
        let mut known_of: HashMap<Namespace, Vec<Document>> = HashMap::new();
        for (namespace, known) in all(self.lanes.count(), found).await? {
            known_of.entry(namespace).or_default().extend(known);
        }
        let (mut writes_of, mut refetched) = (Vec::new(), 0);
        for namespace in batch.namespaces() {
            let known = known_of.remove(&namespace).unwrap_or_default();
            let mut of = batch.outcomes(&namespace, known)?;
            refetched += u64::try_from(of.missing.len()).unwrap_or(u64::MAX);
            of.outcomes.extend(self.anew(&namespace, of.missing).await?);
            let writes: Result<Vec<Write>, _> = of.outcomes.into_iter().map(Write::new).collect();
            writes_of.push((namespace, writes?));
        }
        Ok((writes_of, refetched))
    }

    /// Documents that should be there, as the master has them now.
    async fn anew(&self, namespace: &Namespace, missing: Vec<Bson>) -> Result<Vec<Outcome>> {
        let Some(first) = missing.first() else { return Ok(Vec::new()) };
        tracing::warn!(%namespace, count = missing.len(), "documents that are updated are not there: they are fetched");
        let Some(refetch) = &self.refetch else {
            return Err(Error::Broken(format!(
                "{namespace}, _id {first}: it is updated, the target doesn't have it, and the master can't be asked"
            )));
        };
        let mut there = by_key(refetch.fetch(namespace, &missing).await?);
        let outcome = |id: Bson| match there.remove(&batch::key(&id)) {
            Some(document) => Outcome::Put { id, document },
            None => Outcome::Remove { id },
        };
        Ok(missing.into_iter().map(outcome).collect())
    }

    /// Removals first, as they may make room under a unique index.
    async fn write_all(&self, writes: Vec<Writes>) -> Result<()> {
        let (target, lanes) = (self.target(), self.lanes.count());
        let (mut puts, mut removals) = (Vec::new(), Vec::new());
        for (namespace, writes) in writes {
            let (put, removed): (Vec<_>, Vec<_>) = writes.into_iter().partition(Write::is_put);
            puts.push((namespace.clone(), put));
            removals.push((namespace, removed));
        }
        write_pages(target, lanes, removals).await?;
        let mut waiting = write_pages(target, lanes, puts).await?;
        loop {
            let before = count(&waiting);
            if before == 0 {
                return Ok(());
            }
            let left = write_pages(target, lanes, waiting).await?;
            if count(&left) == before {
                waiting = left;
                break;
            }
            waiting = left;
        }
        for (namespace, writes) in waiting {
            replace(target, &namespace, &writes).await?;
        }
        Ok(())
    }
}

fn count(writes: &[Writes]) -> usize {
    writes.iter().map(|(_, writes)| writes.len()).sum()
}

/// Writes at the same time, in no order; answers with those that other documents of a unique index are in the way of.
async fn write_pages(target: &Target, lanes: usize, writes: Vec<Writes>) -> Result<Vec<Writes>> {
    let most = count(&writes).div_ceil(lanes).clamp(FEWEST, WRITES);
    let pages = writes.into_iter().flat_map(|(namespace, writes)| {
        let pages = batch::pages(writes, most).into_iter();
        pages.map(move |page| (namespace.clone(), page))
    });
    let written = pages.map(|(namespace, page)| async move {
        let waiting = write_page(target, &namespace, page).await?;
        Ok::<_, Error>((namespace, waiting))
    });
    Ok(merged(all(lanes, written).await?))
}

/// Does some at a time. After an error nothing is begun any more, and what was begun is waited for: when this is over,
/// nothing is under way.
async fn all<T>(lanes: usize, work: impl Iterator<Item = impl Future<Output = Result<T>>>) -> Result<Vec<T>> {
    let (mut work, mut running) = (work.fuse(), FuturesUnordered::new());
    let (mut done, mut failed) = (Vec::new(), None);
    loop {
        while failed.is_none() && running.len() < lanes {
            match work.next() {
                Some(next) => running.push(next),
                None => break,
            }
        }
        match running.next().await {
            Some(Ok(one)) => done.push(one),
            Some(Err(error)) => failed = failed.or(Some(error)),
            None => break,
        }
    }
    failed.map_or(Ok(done), Err)
}

fn merged(writes: Vec<Writes>) -> Vec<Writes> {
    let mut all: std::collections::BTreeMap<Namespace, Vec<Write>> = std::collections::BTreeMap::new();
    for (namespace, writes) in writes.into_iter().filter(|(_, writes)| !writes.is_empty()) {
        all.entry(namespace).or_default().extend(writes);
    }
    all.into_iter().collect()
}

async fn write_page(target: &Target, namespace: &Namespace, page: Vec<Write>) -> Result<Vec<Write>> {
    let command = batch::command(&namespace.collection, &page, false, &limits())?;
    let answer = target.send(&namespace.database, command, &format!("writing to {namespace}")).await?;
    let mut waiting = Vec::new();
    for error in errors(&answer) {
        let write = error.write(&page);
        match write {
            Some(write) if error.code == DUPLICATE && write.is_put() => waiting.push(write.clone()),
            write => return Err(error.refused(namespace, write)),
        }
    }
    Ok(waiting)
}

/// Writes in order, each command's in one; the first that isn't taken is an error.
pub(super) async fn write_ordered(target: &Target, namespace: &Namespace, page: &[Write]) -> Result<()> {
    let command = batch::command(&namespace.collection, page, true, &limits())?;
    let answer = target.send(&namespace.database, command, &format!("writing to {namespace}")).await?;
    taken(&answer, namespace, page)
}

fn taken(answer: &Document, namespace: &Namespace, page: &[Write]) -> Result<()> {
    match errors(answer).next() {
        Some(error) => Err(error.refused(namespace, error.write(page))),
        None => Ok(()),
    }
}

/// Replaces documents that are in one another's way: all of them, or none.
async fn replace(target: &Target, namespace: &Namespace, writes: &[Write]) -> Result<()> {
    let failed =
        || failed(Side::Target, format!("replacing documents of {namespace} that wait for one another"));
    let mut session = target.client().start_session().await.map_err(failed())?;
    let majority = mongodb::options::WriteConcern::majority();
    session.start_transaction().write_concern(majority).await.map_err(failed())?;
    let database = target.client().database(&namespace.database);
    let removals: Vec<Write> = writes.iter().map(|write| Write::removal(write.id.clone())).collect();
    for page in batch::pages(removals, WRITES).into_iter().chain(batch::pages(writes.to_vec(), WRITES)) {
        target.lease().check()?;
        let command = batch::command(&namespace.collection, &page, true, &doc! {})?;
        let sent = within(COMMAND, database.run_raw_command(command).session(&mut session)).await;
        let answer = sent.map_err(failed())?;
        // Without a commit nothing of it is done.
        taken(&answer, namespace, &page)?;
    }
    target.lease().check()?;
    within(COMMAND, session.commit_transaction()).await.map_err(failed())
}

/// Why one document was not written.
struct Refusal {
    index: Option<usize>,
    code: i32,
    message: String,
}

fn errors(answer: &Document) -> impl Iterator<Item = Refusal> {
    let errors = answer.get_array("writeErrors").ok().into_iter().flatten();
    errors.filter_map(Bson::as_document).map(|error| Refusal {
        index: error.get_i32("index").ok().and_then(|index| usize::try_from(index).ok()),
        code: error.get_i32("code").unwrap_or_default(),
        message: error.get_str("errmsg").unwrap_or("no reason is told").to_owned(),
    })
}

impl Refusal {
    fn write<'a>(&self, page: &'a [Write]) -> Option<&'a Write> {
        page.get(self.index?)
    }

    fn refused(&self, namespace: &Namespace, write: Option<&Write>) -> Error {
        let id = write.map_or_else(|| "unknown".to_owned(), |write| write.id.to_string());
        let message = format!(
            "the target doesn't take a document of {namespace}, _id {id}: {} (code {})",
            self.message, self.code
        );
        if PERMANENT.contains(&self.code) {
            let message = format!(
                "{message}; if something else writes to the target, stop it and have the copy made anew"
            );
            Error::Refused { side: Some(Side::Target), reason: "WriteRefused", message }
        } else {
            Error::Broken(message)
        }
    }
}
