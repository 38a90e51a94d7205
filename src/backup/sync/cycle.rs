//! One look at everything: copy the logs, prune, measure.

use std::{collections::HashSet, time::Duration};

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    LogPosition, Report,
    bases::Orders,
    deletion,
    engine::{BASES, Done, Engine, LOGS, PARALLEL},
    findings, hints,
    plan::{self, LogCopy, Plan, Prune},
};
use crate::backup::{
    Error, Result,
    catalog::{Answers, BaseKind, Catalog, Mark, Object, gtid::Gtids},
    records::{Fact, earliest_held, usage_key},
    survey::{Survey, Surveyor, learned_facts, scan_source},
    window::{Timeline, horizon, timeline},
};

/// Logs that are announced together.
const PAGE: usize = 64;
/// Plans of one cycle; what is still missing then comes with the next.
const ROUNDS: u32 = 4;
/// How long an engine may take to tell its position.
const PATIENCE: Duration = Duration::from_secs(30);

/// What lasts from one cycle to the next.
#[derive(Default)]
pub(super) struct Memory {
    answers: Answers,
    /// Files that their tool rewrites in place.
    rewritten: Option<Vec<Object>>,
    /// Bytes of this run that the manifest knows of.
    counted: u64,
    version: u64,
    /// Copied by the base lane since the last report.
    pub base_objects: u64,
    pub base_bytes: u64,
    /// Bases that nothing needs any more, and that only their tool may delete.
    pub outlived: usize,
    /// Bases that could not be copied, and why, since the last report.
    pub refused: Vec<(String, String)>,
}

impl Memory {
    fn learned(&self, log: &Object) -> Option<(String, Fact)> {
        let answers = self.answers.lasting(&log.key, &log.etag);
        let fact = || Fact::Learned { etag: log.etag.0.clone(), answers: answers.clone() };
        (!answers.is_empty()).then(|| (log.key.clone(), fact()))
    }
}

/// Runs one cycle. The base lane gets its orders before the logs are copied.
///
/// # Errors
/// The first failure of a store. What was done stays done.
pub(super) async fn run(
    engine: &Engine,
    memory: &mut Memory,
    orders: &watch::Sender<Orders>,
    position: Option<&dyn LogPosition>,
    stop: &CancellationToken,
) -> Result<Report> {
    let started_at = engine.now();
    let snapshots = hints::snapshot(engine, &known_hints(engine, memory).await?).await?;
    let surveyor = surveyor(engine);
    let mut survey = surveyor.look(Some(&engine.logs.source), &mut memory.answers).await?;
    let Some(mut source) = survey.source.take() else { return Err(Error::Stuck(Duration::ZERO)) };
    let (mut copied, mut rounds) = (Copied::default(), 0);
    // Logs that have arrived can be read to their end here: they may show that more is needed.
    let plan = loop {
        rounds += 1;
        let plan = plan::plan(&source, &survey, engine.now(), engine.config.retention);
        order_bases(engine, memory, orders, &plan);
        let sum = copy_logs(engine, &plan.logs, stop).await?;
        copied = Copied { objects: copied.objects + sum.objects, bytes: copied.bytes + sum.bytes };
        let settled = sum.objects == 0 || rounds == ROUNDS || stop.is_cancelled();
        if sum.objects > 0 || memory.base_objects > 0 {
            survey = look_again(&surveyor, memory, survey).await?;
        }
        if settled {
            break plan;
        }
        source.catalog =
            scan_source(&engine.logs.source, source.adapter.as_mut(), &mut memory.answers).await?;
    };
    hints::write(engine, &snapshots, &survey).await?;
    let pruned = prune(engine, memory, &survey, &plan).await?;
    if pruned > 0 {
        survey = look_again(&surveyor, memory, survey).await?;
    }
    source.catalog = scan_source(&engine.logs.source, source.adapter.as_mut(), &mut memory.answers).await?;
    let line = timeline(&survey.target);
    let covered_until = covered(engine, position, &line).await;
    let findings = findings::of(engine, &source, &survey, &line, memory);
    let written = save(engine, memory, &survey, &source.catalog).await?;
    memory.rewritten = Some(std::mem::take(&mut source.rewritten));
    let pending = engine.progress();
    let kind = |kind| survey.target.bases.iter().filter(|b| b.complete && b.kind == kind).count() as u64;
    Ok(Report {
        started_at,
        completed_at: engine.now(),
        latest: line.latest,
        basis: survey.target.basis,
        source_latest: timeline(&source.catalog).latest,
        covered_until,
        full: kind(BaseKind::Full),
        incremental: kind(BaseKind::Incremental),
        logs: survey.target.segments.len() as u64,
        stored_bytes: survey.stored_bytes,
        transferred_bytes: written,
        pending_objects: pending.pending_objects,
        pending_bytes: pending.pending_bytes,
        copied_objects: copied.objects + std::mem::take(&mut memory.base_objects),
        copied_bytes: copied.bytes + std::mem::take(&mut memory.base_bytes),
        pruned_objects: pruned,
        windows: line.windows,
        gaps: line.gaps,
        findings,
    })
}

fn surveyor(engine: &Engine) -> Surveyor<'_> {
    Surveyor {
        format: &engine.config.format,
        target: &engine.logs.target,
        target_reader: &engine.near,
        manifest: &engine.manifest,
        now: engine.now(),
    }
}

/// Looks at the target alone; what was found at the source stays as it was.
async fn look_again(surveyor: &Surveyor<'_>, memory: &mut Memory, before: Survey) -> Result<Survey> {
    let mut survey = surveyor.look(None, &mut memory.answers).await?;
    let held = &survey.held_logs;
    survey.changed = before.changed;
    survey.changed.retain(|object| !held.contains(&(object.key.clone(), object.etag.clone())));
    survey.foreign_keys = before.foreign_keys;
    survey.leftover = before.leftover;
    Ok(survey)
}

/// Files rewritten in place must be read before the listing; on the first cycle that takes a listing.
async fn known_hints(engine: &Engine, memory: &Memory) -> Result<Vec<Object>> {
    if let Some(known) = &memory.rewritten {
        return Ok(known.clone());
    }
    let adapter = engine.config.format.adapter()?;
    let mut known = Vec::new();
    let mut request =
        crate::store::ListRequest { prefix: engine.logs.source.prefix.clone(), ..Default::default() };
    loop {
        let page = engine.logs.source.store.list(&request).await;
        let page = page.map_err(|source| Error::Store { side: crate::store::Side::Source, source })?;
        let objects = page.objects.iter().map(|listed| Object::listed(listed, &engine.logs.source.prefix));
        known.extend(objects.filter(|o| adapter.role(&o.key) == crate::backup::catalog::Role::Rewritten));
        request.token = page.next;
        if request.token.is_none() {
            return Ok(known);
        }
    }
}

fn order_bases(engine: &Engine, memory: &mut Memory, orders: &watch::Sender<Orders>, plan: &Plan) {
    let (objects, bytes) =
        plan.bases.iter().fold((0, 0), |(o, b), order| (o + order.base.objects, b + order.base.bytes));
    engine.counts.set_pending(BASES, objects, bytes);
    memory.version += 1;
    orders.send_replace(Orders { version: memory.version, bases: plan.bases.clone() });
}

#[derive(Default)]
struct Copied {
    objects: u64,
    bytes: u64,
}

/// Oldest first; one after another where the tool's own restore goes by the time of writing.
async fn copy_logs(engine: &Engine, logs: &[LogCopy], stop: &CancellationToken) -> Result<Copied> {
    let bytes = logs.iter().map(|log| log.object.size).sum();
    engine.counts.set_pending(LOGS, logs.len() as u64, bytes);
    let parallel = if engine.config.format.logs_in_order() { 1 } else { PARALLEL };
    let mut sum = Copied::default();
    for page in logs.chunks(PAGE) {
        if stop.is_cancelled() {
            break;
        }
        let announced: Vec<_> =
            page.iter().map(|log| (&log.object, log.destination.as_str(), None)).collect();
        engine.announce(&announced).await?;
        let copies: Vec<_> = page.iter().map(|log| copy_log(engine, log).boxed()).collect();
        let mut copies = stream::iter(copies).buffered(parallel);
        loop {
            let done = tokio::select! {
                biased;
                // Parts that have arrived stay for the next worker.
                () = stop.cancelled() => break,
                done = copies.try_next() => done?,
            };
            match done {
                Some(Done::Copied { bytes }) => {
                    sum.objects += 1;
                    sum.bytes += bytes;
                }
                Some(Done::OutOfDate) => {}
                None => break,
            }
        }
    }
    engine.counts.set_pending(LOGS, 0, 0);
    engine.counts.idle();
    Ok(sum)
}

async fn copy_log(engine: &Engine, log: &LogCopy) -> Result<Done> {
    let done = engine.copy(&engine.logs, &log.object, &log.destination, None).await?;
    engine.counts.done(LOGS, log.object.size);
    Ok(done)
}

async fn prune(engine: &Engine, memory: &mut Memory, survey: &Survey, plan: &Plan) -> Result<u64> {
    let line = timeline(&survey.target);
    let horizon = horizon(engine.now(), line.latest, engine.config.retention);
    let mut prune = plan::prune(survey, &line, plan, horizon);
    memory.outlived = 0;
    if !engine.config.format.prunable() {
        memory.outlived = prune.bases.len();
        prune = Prune::default();
    }
    if !prune.is_empty() {
        // What a restore reads stays until it is over.
        let target = &engine.logs.target;
        let held = earliest_held(&*target.store, &target.prefix, engine.now()).await?;
        if let Some(held) = held.filter(|held| horizon.is_some_and(|horizon| *held < horizon)) {
            prune = plan::prune(survey, &line, plan, Some(held));
        }
    }
    let mut deleted = deletion::delete_page(engine, &hints::surplus(&survey.generations)).await?;
    // Named by the manifest, and nobody has it any more: forgotten.
    let leftover: HashSet<&str> = survey.leftover.iter().map(String::as_str).collect();
    if !leftover.is_empty() {
        let facts = leftover.iter().map(|key| ((*key).to_owned(), Fact::Gone)).collect();
        engine.manifest.append(engine.now(), facts).await?;
    }
    if !prune.is_empty() {
        deleted += deletion::delete(engine, &prune).await?;
        // What was learned of them outlives them: while the source has them, it says that they are not needed.
        let learned = prune.logs.iter().filter_map(|log| memory.learned(log));
        engine.manifest.append(engine.now(), learned.collect()).await?;
    }
    Ok(deleted)
}

/// Asks the engine where its log stands. If the target ends there, it is covered until the question.
async fn covered(
    engine: &Engine,
    position: Option<&dyn LogPosition>,
    line: &Timeline,
) -> Option<Result<Timestamp, String>> {
    let asked_at = engine.now();
    let answer = tokio::time::timeout(PATIENCE, position?.current()).await;
    let current = match answer.unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}"))) {
        Ok(current) => current,
        Err(cause) => return Some(Err(cause)),
    };
    let Some(current) = Gtids::parse(&current) else {
        return Some(Err(format!("the engine's position {current:?} is no GTID set")));
    };
    let covers = |mark: &Mark| matches!(mark, Mark::Gtids(end) if end.covers(&current));
    (!line.ends.is_empty() && line.ends.iter().all(covers)).then_some(Ok(asked_at))
}

/// Writes down what was learned and what was written. Answers the bytes ever written.
async fn save(engine: &Engine, memory: &mut Memory, survey: &Survey, source: &Catalog) -> Result<u64> {
    let mut facts = learned_facts(&mut memory.answers);
    let sent = engine.counts.sent();
    let total = survey.written_bytes.saturating_sub(memory.counted) + sent;
    if sent > memory.counted {
        facts.push((usage_key(&engine.run), Fact::Written { bytes: sent }));
    }
    if !facts.is_empty() {
        engine.manifest.append(engine.now(), facts).await?;
        memory.counted = sent;
    }
    engine.manifest.compact(engine.now()).await?;
    let known: HashSet<(String, String)> = survey
        .target
        .segments
        .iter()
        .chain(&source.segments)
        .map(|segment| (segment.object.key.clone(), segment.object.etag.0.clone()))
        .collect();
    // What is recorded is recalled by the next look.
    memory.answers.retain(|key, etag| known.contains(&(key.to_owned(), etag.0.clone())));
    Ok(total)
}
