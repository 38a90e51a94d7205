//! Takes a copy away: exactly what the manifest names, commit files first, every version.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use serde::Serialize;

use super::{
    Error, Result,
    catalog::Part,
    join::{Join, Root, Row},
    records::{FOLDER, Manifest, verify},
    sync::Place,
};
use crate::store::{ListVersionsRequest, ObjectStore, ObjectVersion, Side, UploadId};

/// What a purge deleted, or would delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Purged {
    /// Objects that were there, whatever their number of versions.
    pub objects: u64,
    /// Versions and delete markers, those of objects deleted earlier among them.
    pub versions: u64,
    /// Bytes of all versions.
    pub bytes: u64,
    /// Uploads left open. A store that tells of uploads by their key only may have more of them than a
    /// preview counts.
    pub uploads: u64,
    /// Objects under the prefix that are not ours: they stay.
    pub foreign: u64,
}

/// Counts what [`purge`] would delete, and writes nothing. `None`: no copy lies there.
///
/// Costs a listing of the prefix and one of its versions. Memory does not grow with the copy.
///
/// # Errors
/// As [`purge`]'s.
pub async fn preview(store: Arc<dyn ObjectStore>, source: &Place, target: &Place) -> Result<Option<Purged>> {
    if verify(&*store, target, source).await?.is_none() {
        return Ok(None);
    }
    let root = Root { store: Arc::clone(&store), prefix: target.prefix.clone(), side: Side::Target };
    let mut join = Join::open(None, &root, &Manifest::new(store, &target.prefix, true), "").await?;
    let mut versions = Versions::of(&root);
    let mut uploads = HashSet::new();
    let mut count = Purged::default();
    while let Some(row) = join.next().await? {
        if !named(&row) {
            count.foreign += u64::from(row.target.is_some());
            continue;
        }
        let key = format!("{}{}", root.prefix, row.key);
        count.objects += u64::from(row.target.is_some());
        versions.count(&key, &mut count).await?;
        if row.target.is_none() && row.stored().is_some() {
            uploads.extend(open_uploads(&root, &key).await?);
        }
    }
    uploads.extend(open_uploads(&root, &root.prefix).await?);
    count.uploads = uploads.len() as u64;
    Ok(Some(count))
}

async fn open_uploads(root: &Root, prefix: &str) -> Result<impl Iterator<Item = (String, UploadId)>> {
    let uploads = root.store.list_uploads(prefix).await.map_err(at_target)?;
    Ok(uploads.into_iter().map(|upload| (upload.key, upload.id)))
}

/// All versions under a prefix, read along with its keys.
struct Versions {
    store: Arc<dyn ObjectStore>,
    request: ListVersionsRequest,
    page: VecDeque<ObjectVersion>,
    done: bool,
}

impl Versions {
    fn of(root: &Root) -> Self {
        let request = ListVersionsRequest { prefix: root.prefix.clone(), marker: None, max_keys: None };
        Self { store: Arc::clone(&root.store), request, page: VecDeque::new(), done: false }
    }

    /// Counts those of one key; keys come in bytewise order.
    async fn count(&mut self, key: &str, count: &mut Purged) -> Result<()> {
        loop {
            while self.page.front().is_some_and(|version| version.key.as_str() <= key) {
                let version = self.page.pop_front().filter(|version| version.key == key);
                count.versions += u64::from(version.is_some());
                count.bytes += version.map_or(0, |version| version.size);
            }
            if self.done || !self.page.is_empty() {
                return Ok(());
            }
            self.next_page().await?;
        }
    }

    async fn next_page(&mut self) -> Result<()> {
        let mut page = self.store.list_versions(&self.request).await.map_err(at_target)?;
        // Within a page, delete markers come after all versions.
        page.versions.sort_by(|a, b| a.key.cmp(&b.key));
        (self.page, self.done) = (page.versions.into(), page.next.is_none());
        self.request.marker = page.next;
        Ok(())
    }
}

/// Deletes the copy of `source` that lies at `target`, its records last. Safe to repeat.
///
/// Costs a listing of the prefix for each part of a base (commit files, metadata, payload), a listing of
/// versions for each object, and a delete for each version. Memory does not grow with the copy.
///
/// # Errors
/// [`Error::PrefixTaken`] when the records name another source: nothing is deleted then.
/// [`Error::Store`] ends the purge in the middle; the next one goes on.
pub async fn purge(store: Arc<dyn ObjectStore>, source: &Place, target: &Place) -> Result<Purged> {
    if verify(&*store, target, source).await?.is_none() {
        return Ok(Purged::default());
    }
    let root = Root { store: Arc::clone(&store), prefix: target.prefix.clone(), side: Side::Target };
    let manifest = Manifest::new(store, &target.prefix, true);
    let mut purge = Purge { root, manifest, done: Purged::default() };
    for part in [Some(Part::Commit), Some(Part::Metadata), None] {
        purge.delete_part(part).await?;
    }
    purge.abort_uploads().await?;
    purge.delete_records().await?;
    Ok(purge.done)
}

struct Purge {
    root: Root,
    manifest: Manifest,
    done: Purged,
}

impl Purge {
    /// Deletes objects of one part; `None`: whatever is left.
    async fn delete_part(&mut self, part: Option<Part>) -> Result<()> {
        let mut join = Join::open(None, &self.root, &self.manifest, "").await?;
        while let Some(row) = join.next().await? {
            if part.is_none() && row.target.is_some() && !named(&row) {
                self.done.foreign += 1;
            }
            let wanted = part.is_none() || row.stored().is_some_and(|stored| stored.part == part);
            if wanted && named(&row) {
                self.delete(&row).await?;
            }
        }
        Ok(())
    }

    /// Deletes an object with all its versions and delete markers.
    async fn delete(&mut self, row: &Row) -> Result<()> {
        let key = format!("{}{}", self.root.prefix, row.key);
        let before = self.done.versions;
        self.delete_versions(&key, |version| version.key == key).await?;
        self.done.objects += u64::from(row.target.is_some() && self.done.versions > before);
        if row.target.is_none() {
            // What never became an object may have left its parts; some stores tell by the key only.
            self.abort_uploads_of(&key).await?;
        }
        Ok(())
    }

    async fn delete_versions(&mut self, prefix: &str, wanted: impl Fn(&ObjectVersion) -> bool) -> Result<()> {
        let mut request = ListVersionsRequest { prefix: prefix.to_owned(), marker: None, max_keys: None };
        loop {
            let page = self.root.store.list_versions(&request).await.map_err(at_target)?;
            let reached_other = page.versions.iter().any(|version| !wanted(version));
            for version in page.versions.iter().filter(|version| wanted(version)) {
                self.root.store.delete(&version.key, Some(&version.version)).await.map_err(at_target)?;
                self.done.versions += 1;
                self.done.bytes += version.size;
            }
            // In key order: what comes after another key is not ours.
            if page.next.is_none() || reached_other {
                return Ok(());
            }
            request.marker = page.next;
        }
    }

    async fn abort_uploads(&mut self) -> Result<()> {
        let prefix = self.root.prefix.clone();
        self.abort_uploads_of(&prefix).await
    }

    async fn abort_uploads_of(&mut self, prefix: &str) -> Result<()> {
        for upload in self.root.store.list_uploads(prefix).await.map_err(at_target)? {
            self.root.store.abort_upload(&upload.key, &upload.id).await.map_err(at_target)?;
            self.done.uploads += 1;
        }
        Ok(())
    }

    /// The manifest goes first, `service.json` last: until it is gone, the next purge knows whose it is.
    async fn delete_records(&mut self) -> Result<()> {
        let counted = self.done;
        let folder = format!("{}{FOLDER}", self.root.prefix);
        let service = format!("{folder}service.json");
        // Kept generations are copies; one that is still there was not named, and so is not ours.
        let generations = format!("{folder}generations/");
        let records =
            |version: &ObjectVersion| !version.key.starts_with(&generations) && version.key != service;
        let mut request = ListVersionsRequest { prefix: folder.clone(), marker: None, max_keys: None };
        loop {
            let page = self.root.store.list_versions(&request).await.map_err(at_target)?;
            for version in page.versions.iter().filter(|version| records(version)) {
                self.root.store.delete(&version.key, Some(&version.version)).await.map_err(at_target)?;
            }
            request.marker = page.next;
            if request.marker.is_none() {
                break;
            }
        }
        self.delete_versions(&service, |version| version.key == service).await?;
        self.done = counted;
        Ok(())
    }
}

/// The manifest names this key, now or earlier.
fn named(row: &Row) -> bool {
    row.stored().is_some() || (row.target.is_none() && row.record.as_ref().is_some_and(|record| record.gone))
}

fn at_target(source: crate::store::Error) -> Error {
    Error::Store { side: Side::Target, source }
}
