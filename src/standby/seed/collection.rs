//! One collection: made, filled range by range, and given its indexes.

use futures::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Document, doc};

use super::{
    Later, Seed, indexes,
    ledger::{Ledger, Plan},
    list::{Listed, list_one},
    range,
};
use crate::{
    mongo::Namespace,
    standby::{
        Error, Result, Side,
        servers::{code, code_of},
        target::Target,
    },
};

/// Copies what is missing of a collection; answers with the indexes that wait, unless it was stopped.
///
/// # Errors
/// As [`Seed::copy`].
pub(super) async fn copy_collection(seed: &Seed, ledger: &Ledger, listed: &Listed) -> Result<Option<Later>> {
    let namespace = &listed.namespace;
    let plan = begin(seed, ledger, listed).await?;
    seed.progress.send_modify(|progress| {
        progress.documents_done += u64::try_from(plan.documents).unwrap_or_default();
        progress.bytes_done += u64::try_from(plan.bytes).unwrap_or_default();
    });
    if let Some(indexes) = plan.later {
        return Ok(later(namespace, indexes));
    }
    let missing = plan.missing();
    let copying = missing.into_iter().map(|number| one_range(seed, ledger, listed, (&plan.bounds, number)));
    let copied: Vec<bool> = match stream::iter(copying).buffer_unordered(super::PARALLEL).try_collect().await
    {
        Ok(copied) => copied,
        Err(error) if is_gone(seed, listed, &error).await? => {
            tracing::info!(%namespace, %error, "is not there any more: its changes say what became of it");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if copied.contains(&false) {
        return Ok(None);
    }
    let waiting = indexes::build(seed, listed).await?;
    ledger.finish(&namespace.to_string(), &waiting).await?;
    tracing::info!(%namespace, waiting = waiting.len(), "is copied");
    Ok(later(namespace, waiting))
}

fn later(namespace: &Namespace, indexes: Vec<Document>) -> Option<Later> {
    (!indexes.is_empty()).then(|| Later { namespace: namespace.clone(), indexes })
}

/// The plan of a collection, which is made if there is none.
async fn begin(seed: &Seed, ledger: &Ledger, listed: &Listed) -> Result<Plan> {
    if let Some(plan) = ledger.plan(&listed.namespace) {
        let same = plan.uuid.is_none() || listed.uuid.is_none() || plan.uuid == listed.uuid;
        // What is capped keeps its order: it is copied in one go.
        if same && (!listed.capped || plan.missing().is_empty()) {
            return Ok(plan);
        }
        forget(&seed.target, ledger, &listed.namespace).await?;
    }
    let plan = Plan::new(listed, range::bounds(seed, listed).await?);
    // Before anything is there: a collection that is there and not planned is not ours.
    ledger.begin(&plan).await?;
    create(&seed.target, &listed.namespace, &listed.options).await?;
    Ok(plan)
}

/// Copies a range when it is its turn; false where it was stopped.
async fn one_range(
    seed: &Seed,
    ledger: &Ledger,
    listed: &Listed,
    (bounds, number): (&[mongodb::bson::Bson], usize),
) -> Result<bool> {
    let turn = seed.turns.acquire().await.map_err(|error| Error::Broken(error.to_string()))?;
    if seed.stop.is_cancelled() {
        return Ok(false);
    }
    let name = listed.namespace.to_string();
    seed.progress.send_modify(|progress| progress.current = Some(name.clone()));
    let Some(counts) = range::copy(seed, listed, (bounds, number)).await? else { return Ok(false) };
    ledger.done((&name, number), counts).await?;
    drop(turn);
    Ok(true)
}

/// Whether an error comes of a collection that was dropped or renamed while it was read.
async fn is_gone(seed: &Seed, listed: &Listed, error: &Error) -> Result<bool> {
    let known = [code::NAMESPACE_NOT_FOUND, code::CURSOR_NOT_FOUND, code::PLAN_KILLED];
    if error.side() != Some(Side::Master) || !code_of(error).is_some_and(|code| known.contains(&code)) {
        return Ok(false);
    }
    let now = list_one(&seed.master, &listed.namespace).await?;
    Ok(now.is_none_or(|now| now.uuid != listed.uuid))
}

/// Makes a collection, as it is at the master. One that is there already was made by us.
async fn create(target: &Target, namespace: &Namespace, options: &Document) -> Result<()> {
    let mut command = doc! {"create": &namespace.collection};
    command.extend(options.clone());
    let what = format!("making {namespace}");
    match target.write(&namespace.database, command, &what).await {
        Err(error) if code_of(&error) != Some(code::NAMESPACE_EXISTS) => Err(error),
        _ => Ok(()),
    }
}

/// Makes a view.
///
/// # Errors
/// As [`Seed::copy`].
pub(super) async fn make_view(target: &Target, namespace: &Namespace, options: &Document) -> Result<()> {
    create(target, namespace, options).await
}

/// Drops what is there of a collection.
///
/// # Errors
/// As [`Seed::copy`].
pub(super) async fn forget(target: &Target, ledger: &Ledger, namespace: &Namespace) -> Result<()> {
    let what = format!("dropping {namespace}, to copy it again");
    match target.write(&namespace.database, doc! {"drop": &namespace.collection}, &what).await {
        Err(error) if code_of(&error) != Some(code::NAMESPACE_NOT_FOUND) => return Err(error),
        _ => {}
    }
    ledger.forget(namespace).await
}
