//! One look at a prefix: a tool's own, or a copy of ours.

use std::sync::Arc;

use super::{
    Result,
    catalog::{Adapter, Answers, Catalog, Format, Role, Unknown},
    join::{Join, Root, Row},
    reader::{Depth, Reader},
    records::{Manifest, Service, read_service},
    sync::Place,
};
use crate::store::{ObjectStore, Side};

/// What was seen.
pub struct Look {
    /// Set where the prefix is a copy of ours.
    pub copy_of: Option<Service>,
    pub catalog: Catalog,
}

/// Reads what a prefix holds. A copy's objects are seen through its manifest: their times are the source's, and
/// what was learned of them before is not read again.
///
/// # Errors
/// [`Error::Store`](super::Error::Store), and [`Error::BadRecord`](super::Error::BadRecord) where our own
/// records can't be read.
pub async fn look(store: Arc<dyn ObjectStore>, prefix: &str, format: &Format, depth: Depth) -> Result<Look> {
    let bucket = store.bucket().to_owned();
    let place = Place { endpoint: String::new(), bucket, prefix: prefix.to_owned() };
    let copy_of = read_service(&*store, &place).await?;
    let side = if copy_of.is_some() { Side::Target } else { Side::Source };
    let root = Root { store: Arc::clone(&store), prefix: prefix.to_owned(), side };
    let manifest = Manifest::new(Arc::clone(&store), prefix, true);
    let (mut adapter, mut answers) = (format.adapter()?, Answers::default());
    let mut foreign = Unknown::default();
    let mut join = Join::open(None, &root, &manifest, "").await?;
    while let Some(row) = join.next().await? {
        for (etag, learned) in row.record.iter().flat_map(|record| &record.learned) {
            for (what, answer) in learned {
                answers.recall(&row.key, etag, *what, answer.clone());
            }
        }
        match (&row.target, row.stored()) {
            (Some(object), _) if copy_of.is_none() => adapter.see(object),
            // Another content than the one that was copied is worth as little as none.
            (Some(_), Some(stored)) if row.held() || is_rewritten(adapter.as_ref(), &row) => {
                adapter.see(&stored.object(&row.key));
            }
            (Some(object), None) => foreign.add(&row.key, object.size),
            (_, Some(stored)) => adapter.lost(&stored.object(&row.key).key),
            (None, None) => {}
        }
    }
    let reader = Reader { store, prefix: prefix.to_owned(), side, depth };
    let mut catalog = reader.scan(adapter.as_mut(), &mut answers).await?;
    if foreign.objects > 0 {
        catalog.unknown = foreign;
    }
    Ok(Look { copy_of, catalog })
}

/// A file that its tool writes again and again, which may be between two contents.
fn is_rewritten(adapter: &dyn Adapter, row: &Row) -> bool {
    let key = row.stored().and_then(|stored| stored.source_key.as_deref()).unwrap_or(&row.key);
    adapter.role(key) == Role::Rewritten
}
