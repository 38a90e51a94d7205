//! Caches: one watch a kind and namespace, one store a kind, and word of what changed.

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    hash::Hash,
};

use futures::{StreamExt, future::BoxFuture, stream::select_all};
use kube::{
    Api, Resource,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

/// What a watch can hold.
pub trait Watched:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
}

/// Something that a watch saw.
pub enum Seen<K: Watched> {
    /// It is there, new or changed.
    There(K),
    /// It is gone.
    Gone(K),
    /// It can't be read: the last version that could be stays in the cache.
    Malformed { object: ObjectRef<K>, uid: String, error: String },
}

/// Keeps a store current for as long as it is polled, and tells of every change.
///
/// Nothing is told, and the store is not ready, before every namespace was listed once.
pub async fn watch<K, F>(
    apis: Vec<Api<DeserializeGuard<K>>>,
    config: watcher::Config,
    writer: Writer<K>,
    mut tell: F,
) where
    K: Watched,
    ObjectRef<K>: Hash + Eq,
    F: FnMut(Seen<K>) -> BoxFuture<'static, ()> + Send,
{
    let streams = apis.into_iter().enumerate().map(|(index, api)| {
        watcher(api, config.clone()).default_backoff().map(move |event| (index, event)).boxed()
    });
    let mut streams = select_all(streams);
    let mut merge = Merge::new(writer, streams.len());
    while let Some((index, event)) = streams.next().await {
        match event {
            Ok(event) => {
                for seen in merge.take(index, event) {
                    tell(seen).await;
                }
            }
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, "watch was interrupted; it is taken up again");
            }
        }
    }
}

/// Several listings as one: a store is replaced as a whole, so only the first round may be one.
struct Merge<K: Watched> {
    writer: Writer<K>,
    store: Store<K>,
    /// What is listed before all namespaces were.
    early: Option<HashMap<ObjectRef<K>, K>>,
    parts: Vec<Part<K>>,
}

struct Part<K: Watched> {
    known: HashSet<ObjectRef<K>>,
    listing: HashSet<ObjectRef<K>>,
    listed: bool,
}

impl<K: Watched> Merge<K> {
    fn new(writer: Writer<K>, parts: usize) -> Self {
        let part = || Part { known: HashSet::new(), listing: HashSet::new(), listed: false };
        let parts = std::iter::repeat_with(part).take(parts).collect();
        Self { store: writer.as_reader(), writer, early: Some(HashMap::new()), parts }
    }

    fn take(&mut self, index: usize, event: Event<DeserializeGuard<K>>) -> Vec<Seen<K>> {
        match event {
            Event::Init => {
                self.parts[index].listing.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                let key = key_of(&object);
                self.parts[index].listing.insert(key);
                self.there(object)
            }
            Event::Apply(object) => {
                self.parts[index].known.insert(key_of(&object));
                self.there(object)
            }
            Event::Delete(object) => {
                let key = key_of(&object);
                self.parts[index].known.remove(&key);
                self.gone(&key)
            }
            Event::InitDone => self.listed(index),
        }
    }

    fn there(&mut self, object: DeserializeGuard<K>) -> Vec<Seen<K>> {
        let key = key_of(&object);
        match object.0 {
            Ok(mut object) => {
                object.meta_mut().managed_fields = None;
                if let Some(early) = self.early.as_mut() {
                    early.insert(key, object);
                    Vec::new()
                } else {
                    self.writer.apply_watcher_event(&Event::Apply(object.clone()));
                    vec![Seen::There(object)]
                }
            }
            Err(invalid) => {
                let uid = invalid.metadata.uid.unwrap_or_default();
                vec![Seen::Malformed { object: key, uid, error: invalid.error }]
            }
        }
    }

    fn gone(&mut self, key: &ObjectRef<K>) -> Vec<Seen<K>> {
        if let Some(early) = self.early.as_mut() {
            early.remove(key);
            return Vec::new();
        }
        let Some(object) = self.store.get(key) else { return Vec::new() };
        let object = (*object).clone();
        self.writer.apply_watcher_event(&Event::Delete(object.clone()));
        vec![Seen::Gone(object)]
    }

    fn listed(&mut self, index: usize) -> Vec<Seen<K>> {
        let part = &mut self.parts[index];
        let listing = std::mem::take(&mut part.listing);
        let lost: Vec<_> = part.known.difference(&listing).cloned().collect();
        part.known = listing;
        part.listed = true;
        let mut seen: Vec<_> = lost.iter().flat_map(|key| self.gone(key)).collect();
        if self.parts.iter().all(|part| part.listed)
            && let Some(early) = self.early.take()
        {
            self.writer.apply_watcher_event(&Event::Init);
            for object in early.values() {
                self.writer.apply_watcher_event(&Event::InitApply(object.clone()));
            }
            self.writer.apply_watcher_event(&Event::InitDone);
            seen.extend(early.into_values().map(Seen::There));
        }
        seen
    }
}

fn key_of<K: Watched>(object: &DeserializeGuard<K>) -> ObjectRef<K> {
    let meta = object.meta();
    let key = ObjectRef::new(meta.name.as_deref().unwrap_or_default());
    match &meta.namespace {
        Some(namespace) => key.within(namespace),
        None => key,
    }
}

#[cfg(test)]
mod tests {
    use kube::{core::error_boundary::InvalidObject, runtime::reflector};

    use super::*;
    use crate::api::DatabaseInstance;

    fn instance(namespace: &str, name: &str) -> DatabaseInstance {
        let yaml = format!(
            "metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{engine: MySQL, region: north}}\napiVersion: farshore.dev/v1alpha1\nkind: DatabaseInstance\n"
        );
        serde_yaml_ng::from_str(&yaml).unwrap()
    }

    fn good(namespace: &str, name: &str) -> DeserializeGuard<DatabaseInstance> {
        DeserializeGuard(Ok(instance(namespace, name)))
    }

    fn bad(namespace: &str, name: &str) -> DeserializeGuard<DatabaseInstance> {
        let metadata = instance(namespace, name).metadata;
        DeserializeGuard(Err(InvalidObject { error: "missing field".to_owned(), metadata }))
    }

    fn names(store: &Store<DatabaseInstance>) -> Vec<String> {
        let mut names: Vec<_> = store.state().iter().filter_map(|i| i.metadata.name.clone()).collect();
        names.sort();
        names
    }

    #[test]
    fn namespaces_are_listed_into_one_store_and_relisted_apart() {
        let (store, writer) = reflector::store();
        let mut merge = Merge::new(writer, 2);
        for event in [Event::Init, Event::InitApply(good("a", "one")), Event::InitDone] {
            assert!(merge.take(0, event).is_empty(), "nothing is told before all is listed");
        }
        merge.take(1, Event::Init);
        merge.take(1, Event::InitApply(good("b", "two")));
        assert_eq!(merge.take(1, Event::InitDone).len(), 2);
        assert_eq!(names(&store), ["one", "two"]);
        merge.take(0, Event::Init);
        let told = merge.take(0, Event::InitDone);
        assert!(matches!(told.as_slice(), [Seen::Gone(_)]));
        assert_eq!(names(&store), ["two"]);
    }

    #[test]
    fn one_malformed_object_stops_nothing_and_keeps_its_last_good_version() {
        let (store, writer) = reflector::store();
        let mut merge = Merge::new(writer, 1);
        merge.take(0, Event::Init);
        merge.take(0, Event::InitApply(good("a", "one")));
        merge.take(0, Event::InitApply(bad("a", "broken")));
        merge.take(0, Event::InitDone);
        assert_eq!(names(&store), ["one"]);
        assert!(matches!(merge.take(0, Event::Apply(bad("a", "one"))).as_slice(), [Seen::Malformed { .. }]));
        merge.take(0, Event::Init);
        merge.take(0, Event::InitApply(bad("a", "one")));
        merge.take(0, Event::InitDone);
        assert_eq!(names(&store), ["one"], "malformed is not gone");
    }
}
