//! Source, target and manifest side by side, key by key, in memory that does not grow with them.

use std::{collections::VecDeque, sync::Arc};

use super::{
    Error, Result,
    catalog::Object,
    records::{self, Manifest, Record, Records},
};
use crate::store::{self, ListRequest, Listed, ObjectStore, Side};

/// A prefix of a bucket at one side.
#[derive(Clone, Debug)]
pub(super) struct Root {
    pub store: Arc<dyn ObjectStore>,
    /// Empty, or ends in `/`.
    pub prefix: String,
    pub side: Side,
}

/// What lies at one key.
#[derive(Debug)]
pub(super) struct Row {
    /// Relative to the prefixes.
    pub key: String,
    pub source: Option<Object>,
    pub target: Option<Object>,
    pub record: Option<Record>,
}

impl Row {
    /// The target holds our copy of what the manifest says.
    pub(super) fn held(&self) -> bool {
        match (&self.target, self.stored()) {
            (Some(target), Some(stored)) => {
                target.size == stored.size && target.etag.0 == stored.target_etag()
            }
            _ => false,
        }
    }

    /// What the manifest says lies here.
    pub(super) fn stored(&self) -> Option<&records::Stored> {
        self.record.as_ref()?.stored.as_ref()
    }

    /// The target holds something that the manifest does not name.
    pub(super) fn foreign(&self) -> bool {
        self.target.is_some() && self.stored().is_none()
    }

    /// The source holds what the manifest says.
    pub(super) fn unchanged(&self) -> bool {
        match (&self.source, self.stored()) {
            (Some(source), Some(stored)) => source.etag.0 == stored.source_etag,
            _ => false,
        }
    }
}

/// The three, merged.
pub(super) struct Join {
    source: Option<Cursor>,
    target: Cursor,
    records: Records,
    record: Option<Record>,
    under: String,
    after: Option<String>,
}

impl Join {
    /// Begins to read all keys under `under`. Without a source, its column stays empty.
    pub(super) async fn open(
        source: Option<&Root>,
        target: &Root,
        manifest: &Manifest,
        under: &str,
    ) -> Result<Self> {
        Self::open_after(source, target, manifest, (under, None)).await
    }

    /// The same, from the key after one on.
    pub(super) async fn open_after(
        source: Option<&Root>,
        target: &Root,
        manifest: &Manifest,
        (under, after): (&str, Option<&str>),
    ) -> Result<Self> {
        // The manifest first: whatever it names afterwards is found in the next look.
        let mut join = Self {
            source: source.map(|root| Cursor::new(root, under, after)),
            target: Cursor::new(target, under, after),
            records: manifest.read().await?,
            record: None,
            under: under.to_owned(),
            after: after.map(str::to_owned),
        };
        join.next_record().await?;
        Ok(join)
    }

    /// The next key. Records of our own are left out.
    ///
    /// # Errors
    /// A page that failed: nothing may be concluded from what did not come.
    pub(super) async fn next(&mut self) -> Result<Option<Row>> {
        loop {
            let source = match &mut self.source {
                Some(cursor) => cursor.peek().await?,
                None => None,
            };
            let target = self.target.peek().await?;
            let record = self.record.as_ref().map(|record| record.key.as_str());
            let Some(key) = [source, target, record].into_iter().flatten().min().map(str::to_owned) else {
                return Ok(None);
            };
            let source = self.source.as_mut().and_then(|cursor| cursor.take(&key));
            let target = self.target.take(&key);
            let record = if record == Some(key.as_str()) {
                let record = self.record.take();
                self.next_record().await?;
                record
            } else {
                None
            };
            // Only what the manifest says of itself is of use there.
            let counted = record.as_ref().is_some_and(|record| record.written > 0);
            if !records::is_record(&key) || counted {
                // A source that is itself a copy keeps its records to itself.
                let source = source.filter(|_| !key.starts_with(records::FOLDER));
                return Ok(Some(Row { key, source, target, record }));
            }
        }
    }

    async fn next_record(&mut self) -> Result<()> {
        self.record = loop {
            match self.records.next().await? {
                Some(record) if !record.key.starts_with(&self.under) => {}
                Some(record) if self.after.as_ref().is_some_and(|after| record.key <= *after) => {}
                other => break other,
            }
        };
        Ok(())
    }
}

/// A listing, key by key.
struct Cursor {
    root: Root,
    request: ListRequest,
    page: VecDeque<Listed>,
    done: bool,
    head: Option<Object>,
    last: Option<String>,
}

impl Cursor {
    fn new(root: &Root, under: &str, after: Option<&str>) -> Self {
        let request = ListRequest {
            prefix: format!("{}{under}", root.prefix),
            start_after: after.map(|after| format!("{}{after}", root.prefix)),
            ..ListRequest::default()
        };
        Self { root: root.clone(), request, page: VecDeque::new(), done: false, head: None, last: None }
    }

    async fn peek(&mut self) -> Result<Option<&str>> {
        while self.head.is_none() {
            if let Some(listed) = self.page.pop_front() {
                // Out of order, keys would look missing that are not.
                if self.last.as_ref().is_some_and(|last| listed.key <= *last) {
                    return Err(self.garbled(&listed.key));
                }
                self.head = Some(Object::listed(&listed, &self.root.prefix));
                self.last = Some(listed.key);
            } else if self.done {
                return Ok(None);
            } else {
                let page = self.root.store.list(&self.request).await;
                let page = page.map_err(|source| Error::Store { side: self.root.side, source })?;
                self.done = page.next.is_none();
                self.request.token = page.next;
                self.page = page.objects.into();
            }
        }
        Ok(self.head.as_ref().map(|object| object.key.as_str()))
    }

    fn garbled(&self, key: &str) -> Error {
        let last = self.last.as_deref().unwrap_or_default();
        let cause = format!("listing is not in bytewise order: {key:?} comes after {last:?}");
        let bucket = self.root.store.bucket().to_owned();
        let context = store::Context { bucket, ..store::Context::default() };
        Error::Store { side: self.root.side, source: store::Error::Protocol { cause, context } }
    }

    fn take(&mut self, key: &str) -> Option<Object> {
        self.head.take_if(|object| object.key == key)
    }
}
