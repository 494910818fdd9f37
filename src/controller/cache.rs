//! The watch caches: what the API server told us, and what we have written since.
//!
//! Every read of the operator comes from here, so a reconcile at rest costs the API server nothing.
//! A cache lags behind our own writes; until the watch has caught up, the object that the server
//! returned for our write stands in for the older one, so that one decision is not taken twice.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Resource, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;

/// Namespace and name.
pub type Place = (String, String);

/// How long an object that we created may be missing from the watch before we believe that it is
/// gone again.
const UNSEEN_LIMIT: Duration = Duration::from_secs(5);

/// What the server returned for a write of ours.
struct Written<K> {
    object: Arc<K>,
    at: Instant,
}

impl<K> Written<K> {
    fn may_be_unseen(&self) -> bool {
        self.at.elapsed() < UNSEEN_LIMIT
    }
}

/// One kind's cache.
pub struct Cache<K: Resource<DynamicType = ()> + Clone + 'static> {
    store: Store<K>,
    written: Arc<Mutex<BTreeMap<Place, Written<K>>>>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            written: Arc::clone(&self.written),
        }
    }
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Debug for Cache<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("kind", &K::kind(&()))
            .finish_non_exhaustive()
    }
}

/// What a watch saw.
#[derive(Debug)]
pub enum Touched<K> {
    /// The watch began anew: anything may have changed or be gone.
    Anything,
    /// This object is new or changed.
    Changed(K),
    /// This object is gone.
    Gone(K),
}

impl<K> Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// A cache and the stream that fills it; the stream must be polled for ever.
    pub fn watch(
        api: Api<K>,
        config: watcher::Config,
    ) -> (Self, impl Stream<Item = Touched<K>> + Send) {
        Self::watch_some(api, config, Some)
    }

    /// A cache of what `keep` leaves of the objects that are watched.
    pub fn watch_some(
        api: Api<K>,
        config: watcher::Config,
        keep: fn(K) -> Option<K>,
    ) -> (Self, impl Stream<Item = Touched<K>> + Send) {
        let (store, mut writer) = reflector::store();
        let cache = Self {
            store,
            written: Arc::default(),
        };
        let watched = cache.clone();
        let stream = watcher(api, config)
            .default_backoff()
            .filter_map(move |event| {
                let touched = match event {
                    Ok(event) => kept(event, keep).and_then(|event| {
                        writer.apply_watcher_event(&event);
                        watched.see(event)
                    }),
                    Err(error) => {
                        tracing::warn!(kind = %K::kind(&()), %error, "lost a watch");
                        None
                    }
                };
                std::future::ready(touched)
            });
        (cache, stream)
    }

    fn see(&self, event: watcher::Event<K>) -> Option<Touched<K>> {
        match event {
            watcher::Event::Apply(object) => {
                let place = place(&object);
                let mut written = self.written();
                if written
                    .get(&place)
                    .is_some_and(|ours| !is_newer(ours.object.as_ref(), &object))
                {
                    written.remove(&place);
                }
                Some(Touched::Changed(object))
            }
            watcher::Event::Delete(object) => {
                let place = place(&object);
                let mut written = self.written();
                if written
                    .get(&place)
                    .is_some_and(|ours| ours.object.uid() == object.uid())
                {
                    written.remove(&place);
                }
                Some(Touched::Gone(object))
            }
            watcher::Event::Init | watcher::Event::InitApply(_) => None,
            watcher::Event::InitDone => {
                self.written().clear();
                Some(Touched::Anything)
            }
        }
    }
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Cache<K> {
    /// A cache that nothing fills, for tests and for what we write ourselves.
    #[cfg(test)]
    #[must_use]
    pub fn of(objects: Vec<K>) -> Self {
        let (store, mut writer) = reflector::store();
        writer.apply_watcher_event(&watcher::Event::Init);
        for object in objects {
            writer.apply_watcher_event(&watcher::Event::InitApply(object));
        }
        writer.apply_watcher_event(&watcher::Event::InitDone);
        Self {
            store,
            written: Arc::default(),
        }
    }

    /// Waits for the first complete list.
    ///
    /// # Errors
    /// When the stream that fills the cache is gone.
    pub async fn ready(&self) -> Result<(), reflector::store::WriterDropped> {
        self.store.wait_until_ready().await
    }

    /// The newest version of an object that we know of.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let seen = self.store.get(&ObjectRef::new(name).within(namespace));
        let written = self.written();
        let Some(ours) = written.get(&(namespace.to_owned(), name.to_owned())) else {
            return seen;
        };
        match seen {
            Some(seen) if !is_newer(ours.object.as_ref(), &seen) => Some(seen),
            None if !ours.may_be_unseen() => None,
            Some(_) | None => Some(Arc::clone(&ours.object)),
        }
    }

    /// The newest versions of all objects that `wanted` names, in order of their names.
    pub fn select(&self, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let mut found: BTreeMap<Place, Arc<K>> = self
            .store
            .state_filter(|object| wanted(object))
            .into_iter()
            .map(|object| (place(object.as_ref()), object))
            .collect();
        for (place, ours) in self.written().iter() {
            let newer = match found.get(place) {
                Some(seen) => is_newer(ours.object.as_ref(), seen),
                None => ours.may_be_unseen(),
            };
            if newer && wanted(&ours.object) {
                found.insert(place.clone(), Arc::clone(&ours.object));
            }
        }
        found.into_values().collect()
    }

    /// References to all objects.
    #[must_use]
    pub fn references(&self) -> Vec<ObjectRef<K>> {
        self.select(|_| true)
            .iter()
            .map(|object| ObjectRef::from_obj(object.as_ref()))
            .collect()
    }

    /// The store that the watch fills, for a controller to read from.
    #[must_use]
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// Keeps what the server returned for a change of ours until the watch has caught up.
    ///
    /// An object that the watch has lost meanwhile was deleted by somebody: it stays gone.
    pub fn remember_changed(&self, object: K) {
        let reference = ObjectRef::from_obj(&object);
        if self.store.get(&reference).is_some() {
            self.remember(object);
        }
    }

    /// Keeps what the server returned for an object that we made until the watch tells of it.
    pub fn remember_created(&self, object: K) {
        self.remember(object);
    }

    fn remember(&self, object: K) {
        let written = Written {
            object: Arc::new(object),
            at: Instant::now(),
        };
        self.written()
            .insert(place(written.object.as_ref()), written);
    }

    /// Forgets what we wrote, after the object was deleted by us.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.written()
            .remove(&(namespace.to_owned(), name.to_owned()));
    }

    fn written(&self) -> MutexGuard<'_, BTreeMap<Place, Written<K>>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `keep` leaves of an event.
fn kept<K>(event: watcher::Event<K>, keep: fn(K) -> Option<K>) -> Option<watcher::Event<K>> {
    Some(match event {
        watcher::Event::Apply(object) => watcher::Event::Apply(keep(object)?),
        watcher::Event::Delete(object) => watcher::Event::Delete(keep(object)?),
        watcher::Event::InitApply(object) => watcher::Event::InitApply(keep(object)?),
        watcher::Event::Init | watcher::Event::InitDone => event,
    })
}

fn place<K: Resource>(object: &K) -> Place {
    (
        object.meta().namespace.clone().unwrap_or_default(),
        object.meta().name.clone().unwrap_or_default(),
    )
}

/// Whether `ours` is a later version than `seen`.
///
/// Versions of one resource are numbers that grow; where a server makes them otherwise, what was
/// seen wins as soon as it differs.
fn is_newer<K: Resource>(ours: &K, seen: &K) -> bool {
    let number = |object: &K| object.meta().resource_version.as_ref()?.parse::<u64>().ok();
    match (number(ours), number(seen)) {
        (Some(ours), Some(seen)) => ours > seen,
        (Some(_) | None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(name: &str, version: &str, uid: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.into());
        object.metadata.namespace = Some("tea".into());
        object.metadata.resource_version = Some(version.into());
        object.metadata.uid = Some(uid.into());
        object
    }

    fn version(cache: &Cache<ConfigMap>) -> Option<String> {
        cache
            .get("tea", "a")
            .and_then(|object| object.metadata.resource_version.clone())
    }

    #[test]
    fn our_write_stands_until_the_watch_has_caught_up() {
        let cache = Cache::of(vec![object("a", "5", "u")]);
        cache.remember_changed(object("a", "9", "u"));
        assert_eq!(version(&cache).as_deref(), Some("9"));
        cache.see(watcher::Event::Apply(object("a", "7", "u")));
        assert_eq!(version(&cache).as_deref(), Some("9"));
        cache.see(watcher::Event::Apply(object("a", "9", "u")));
        assert!(cache.written().is_empty());
    }

    #[test]
    fn an_object_is_seen_before_the_watch_tells_only_if_we_made_it() {
        let cache = Cache::of(vec![]);
        cache.remember_changed(object("a", "9", "u"));
        assert_eq!(cache.select(|_| true).len(), 0);
        cache.remember_created(object("a", "9", "u"));
        assert_eq!(cache.select(|_| true).len(), 1);
    }

    #[test]
    fn a_deletion_ends_what_we_wrote_only_if_it_was_the_same_object() {
        let cache = Cache::of(vec![]);
        cache.remember_created(object("a", "9", "new"));
        cache.see(watcher::Event::Delete(object("a", "8", "old")));
        assert_eq!(version(&cache).as_deref(), Some("9"));
        cache.see(watcher::Event::Delete(object("a", "12", "new")));
        assert_eq!(version(&cache), None);
    }
}
