//! Deletes what retention lets go: commit files first, so that nothing half deleted looks whole.

use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use super::{
    engine::{Engine, PARALLEL},
    plan::Prune,
};
use crate::{
    backup::{
        Error, Result,
        catalog::{Base, Span},
        join::Join,
        records::Fact,
    },
    store::Side,
};

/// Objects that are deleted before it is noted that they are gone.
const PAGE: usize = 500;

/// Deletes bases (children before parents), then logs (oldest first). Answers how many objects went.
///
/// # Errors
/// [`Error::Store`]. What was deleted by then is noted in the next cycle.
pub(super) async fn delete(engine: &Engine, prune: &Prune) -> Result<u64> {
    let mut deleted = 0;
    for base in &prune.bases {
        deleted += delete_base(engine, base).await?;
    }
    for page in prune.logs.chunks(PAGE) {
        let keys: Vec<String> = page.iter().map(|log| log.location().to_owned()).collect();
        deleted += delete_page(engine, &keys).await?;
    }
    Ok(deleted)
}

async fn delete_base(engine: &Engine, base: &Base) -> Result<u64> {
    let first: Vec<String> =
        base.keys.commit.iter().chain(base.keys.metadata.iter().rev()).cloned().collect();
    let mut deleted = 0;
    for key in first {
        deleted += delete_page(engine, &[key]).await?;
    }
    for span in base.keys.payload.iter().rev() {
        deleted += match span {
            Span::One(key) => delete_page(engine, std::slice::from_ref(key)).await?,
            Span::Under(prefix) => delete_under(engine, prefix).await?,
        };
    }
    Ok(deleted)
}

/// Only what the manifest names.
async fn delete_under(engine: &Engine, prefix: &str) -> Result<u64> {
    let mut join = Join::open(None, &engine.logs.target, &engine.manifest, prefix).await?;
    let (mut page, mut deleted) = (Vec::new(), 0);
    while let Some(row) = join.next().await? {
        if row.stored().is_some() {
            page.push(row.key);
        }
        if page.len() >= PAGE {
            deleted += delete_page(engine, &std::mem::take(&mut page)).await?;
        }
    }
    Ok(deleted + delete_page(engine, &page).await?)
}

/// Deletes objects, then notes that they are gone: the other way round, a crash would leave objects that
/// nobody knows to be ours.
pub(super) async fn delete_page(engine: &Engine, keys: &[String]) -> Result<u64> {
    if keys.is_empty() {
        return Ok(0);
    }
    let deletes: Vec<_> = keys.iter().map(|key| delete_one(engine, key).boxed()).collect();
    stream::iter(deletes).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;
    let facts = keys.iter().map(|key| (key.clone(), Fact::Gone)).collect();
    engine.manifest.append(engine.now(), facts).await?;
    Ok(keys.len() as u64)
}

async fn delete_one(engine: &Engine, key: &str) -> Result<()> {
    let target = &engine.logs.target;
    let key = format!("{}{key}", target.prefix);
    target.store.delete(&key, None).await.map_err(|source| Error::Store { side: Side::Target, source })
}
