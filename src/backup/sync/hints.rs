//! Files that their tool rewrites in place: indexes, caches, "last uploaded" marks.
//!
//! They are read before the listing and written after everything else, so that they never name what the
//! copy lacks; and each content is kept as a generation, since the source may lose or spoil them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::engine::Engine;
use crate::{
    backup::{
        Error, Result,
        catalog::Object,
        reader::collect,
        records::{Fact, Stored, generation},
        survey::Survey,
    },
    store::{self, Attributes, ETag, GetOptions, PutOptions, Side},
};

/// Larger ones are not hints.
const MAX_ONE: u64 = 2 << 20;
const MAX_ALL: u64 = 8 << 20;
/// Generations of one file that are kept.
const GENERATIONS: usize = 16;

/// One file as it was before the listing.
pub(super) struct Snapshot {
    object: Object,
    attributes: Attributes,
    body: Bytes,
}

/// Reads files that were seen in an earlier look. What is gone or too large is left out.
///
/// # Errors
/// [`Error::Store`] when the source fails.
pub(super) async fn snapshot(engine: &Engine, known: &[Object]) -> Result<Vec<Snapshot>> {
    let mut room = MAX_ALL;
    let mut snapshots = Vec::new();
    for object in known {
        let key = format!("{}{}", engine.logs.source.prefix, object.key);
        let reply = match engine.logs.source.store.get(&key, &GetOptions::default()).await {
            Ok(reply) => reply,
            Err(store::Error::NotFound(_)) => continue,
            Err(source) => return Err(Error::Store { side: Side::Source, source }),
        };
        if reply.length > MAX_ONE || reply.length > room {
            continue;
        }
        room -= reply.length;
        let (info, body) = (reply.info, collect(reply.body).await);
        let body = body.map_err(|source| Error::Store { side: Side::Source, source })?;
        let object = Object { size: info.size, etag: info.etag, modified: info.modified, ..object.clone() };
        snapshots.push(Snapshot { object, attributes: info.attributes, body });
    }
    Ok(snapshots)
}

/// Writes what changed: as a generation, then under its own name.
///
/// # Errors
/// [`Error::Store`] when the target fails. The next cycle tries again.
pub(super) async fn write(engine: &Engine, snapshots: &[Snapshot], survey: &Survey) -> Result<()> {
    for snapshot in snapshots {
        let object = &snapshot.object;
        let last = survey.rewritten.iter().find(|(key, _)| *key == object.key).map(|(_, etag)| etag);
        if last == Some(&object.etag.0) || survey.foreign_keys.contains(&object.key) {
            continue;
        }
        let kept = generation(&object.key, &object.etag);
        engine.announce(&[(object, &kept, None), (object, &object.key, None)]).await?;
        for destination in [&kept, &object.key] {
            let key = format!("{}{destination}", engine.logs.target.prefix);
            let options = PutOptions { attributes: snapshot.attributes.clone(), ..PutOptions::default() };
            let put = engine.logs.target.store.put(&key, snapshot.body.clone(), &options).await;
            let put = put.map_err(|source| Error::Store { side: Side::Target, source })?;
            note_tag(engine, object, destination, &put.etag).await?;
            engine.counts.wrote(object.size);
        }
    }
    Ok(())
}

/// Large files may get another tag at the target than they had at the source.
async fn note_tag(engine: &Engine, object: &Object, destination: &str, etag: &ETag) -> Result<()> {
    if *etag == object.etag {
        return Ok(());
    }
    let mut stored = Stored::of(object, None);
    stored.etag = Some(etag.0.clone());
    stored.source_key = (*destination != object.key).then(|| object.key.clone());
    engine.manifest.append(engine.now(), vec![(destination.to_owned(), Fact::Stored(stored))]).await
}

/// Where generations lie that are more than enough: the oldest of each file.
pub(super) fn surplus(generations: &[Object]) -> Vec<String> {
    let mut by_file: BTreeMap<&str, Vec<&Object>> = BTreeMap::new();
    for object in generations {
        by_file.entry(&object.key).or_default().push(object);
    }
    let mut surplus = Vec::new();
    for files in by_file.values_mut() {
        files.sort_by_key(|object| std::cmp::Reverse(object.modified));
        surplus.extend(files.iter().skip(GENERATIONS).map(|object| object.location().to_owned()));
    }
    surplus
}
