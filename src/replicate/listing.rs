//! One side of a comparison: keys under a prefix, page by page, in order, whole or failed.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::{sync::mpsc, task::JoinSet};

use super::range::KeyRange;
use crate::store::{self, Context, ListPage, ListRequest, Listed, ObjectStore};

/// Where pages come from: a store, or something made up for a test.
#[async_trait]
pub trait Pages: Send + Sync + 'static {
    /// One page of keys in bytewise order. Whole or an error.
    async fn page(&self, request: &ListRequest) -> store::Result<ListPage>;
}

#[async_trait]
impl Pages for dyn ObjectStore {
    async fn page(&self, request: &ListRequest) -> store::Result<ListPage> {
        self.list(request).await
    }
}

/// Keys under a prefix. Keys are spoken of without the prefix.
#[derive(Debug)]
pub struct Listing<P: ?Sized = dyn ObjectStore> {
    pub pages: Arc<P>,
    pub prefix: String,
}

impl<P: ?Sized> Clone for Listing<P> {
    fn clone(&self) -> Self {
        Self { pages: Arc::clone(&self.pages), prefix: self.prefix.clone() }
    }
}

impl<P: Pages + ?Sized> Listing<P> {
    /// The first key after `after`, if any: one request for one key.
    pub(super) async fn first_after(&self, after: Option<&str>) -> store::Result<Option<String>> {
        let request = ListRequest { max_keys: Some(1), ..self.request(after) };
        let page = self.pages.page(&request).await?;
        Ok(page.objects.first().and_then(|o| o.key.strip_prefix(&self.prefix)).map(str::to_owned))
    }

    /// True if one page holds all of it: one request.
    pub(super) async fn is_short(&self) -> store::Result<bool> {
        Ok(self.pages.page(&self.request(None)).await?.next.is_none())
    }

    /// True if a key is listed by the very name: one request.
    pub(super) async fn lists(&self, key: &str) -> store::Result<bool> {
        let prefix = format!("{}{key}", self.prefix);
        let request = ListRequest { prefix: prefix.clone(), max_keys: Some(1), ..ListRequest::default() };
        Ok(self.pages.page(&request).await?.objects.first().is_some_and(|object| object.key == prefix))
    }

    fn request(&self, after: Option<&str>) -> ListRequest {
        let start_after = after.map(|after| format!("{}{after}", self.prefix));
        ListRequest { prefix: self.prefix.clone(), start_after, ..ListRequest::default() }
    }

    /// Begins to list a range, one page ahead of who reads.
    pub(super) fn read(self, range: KeyRange) -> Reader {
        let (sender, batches) = mpsc::channel(1);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let end = self.send_pages(&range, &sender).await;
            // Nobody reads any more: nobody needs the end.
            sender.send(end).await.ok();
        });
        Reader { batches, _task: task, page: Vec::new().into_iter(), next: None, end: None }
    }

    /// Holds a place in the channel before it asks for a page: at most one page waits.
    async fn send_pages(&self, range: &KeyRange, sender: &mpsc::Sender<Batch>) -> Batch {
        let mut request = self.request(range.after.as_deref());
        let mut last: Option<String> = range.after.clone();
        loop {
            let Ok(place) = sender.reserve().await else { return Batch::Complete };
            let page = match self.pages.page(&request).await {
                Ok(page) => page,
                Err(error) => return Batch::Failed(error),
            };
            let mut objects = Vec::with_capacity(page.objects.len());
            for mut object in page.objects {
                let Some(key) = object.key.strip_prefix(&self.prefix).map(str::to_owned) else {
                    return self.garbled(&format!("{:?} is not under the prefix", object.key));
                };
                if last.as_deref().is_some_and(|last| *key <= *last) {
                    return self.garbled(&format!("{key:?} comes after {last:?}"));
                }
                last = Some(key.clone());
                if range.until.as_ref().is_some_and(|until| key > *until) {
                    place.send(Batch::Page(objects));
                    return Batch::Complete;
                }
                object.key = key;
                objects.push(object);
            }
            place.send(Batch::Page(objects));
            match page.next {
                None => return Batch::Complete,
                Some(token) if request.token.as_ref() == Some(&token) => {
                    return self.garbled("the page points to itself");
                }
                token => request.token = token,
            }
        }
    }

    fn garbled(&self, cause: &str) -> Batch {
        let context = Context { key: Some(self.prefix.clone()), ..Context::default() };
        Batch::Failed(store::Error::Protocol { cause: format!("listing: {cause}"), context })
    }
}

enum Batch {
    Page(Vec<Listed>),
    Complete,
    Failed(store::Error),
}

/// Reads a listing key by key. Dropping it ends the listing.
pub(super) struct Reader {
    batches: mpsc::Receiver<Batch>,
    _task: JoinSet<()>,
    page: std::vec::IntoIter<Listed>,
    next: Option<Listed>,
    end: Option<()>,
}

impl Reader {
    /// The next object, without taking it. `None`: the listing is complete.
    ///
    /// # Errors
    /// The listing failed: nothing may be concluded from what didn't come.
    pub(super) async fn peek(&mut self) -> store::Result<Option<&Listed>> {
        while self.next.is_none() && self.end.is_none() {
            self.next = self.page.next();
            if self.next.is_some() {
                break;
            }
            match self.batches.recv().await {
                Some(Batch::Page(page)) => self.page = page.into_iter(),
                Some(Batch::Complete) => self.end = Some(()),
                Some(Batch::Failed(error)) => return Err(error),
                // Not an end: the task that lists is gone without a word.
                None => {
                    let cause = "the listing broke off".to_owned();
                    return Err(store::Error::Protocol { cause, context: Context::default() });
                }
            }
        }
        Ok(self.next.as_ref())
    }

    pub(super) fn take(&mut self) -> Option<Listed> {
        self.next.take()
    }
}
