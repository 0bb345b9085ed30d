//! What the watches have shown: the last known object for each key, and what changed by each watch event.
//!
//! Pure bookkeeping: it neither watches nor reconciles. An object may be newer here than its watch has shown, because
//! the answer to our own write is learnt too ([`Cache::learn`]); it never goes back to an older one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use kube::api::DynamicObject;
use kube::runtime::watcher::Event;

use super::expiry;
use super::key::{Key, Kind};
use super::lenient::Lenient;

/// The objects of one kind.
pub(crate) struct Cache {
    kind: Kind,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    objects: HashMap<Key, Arc<DynamicObject>>,
    /// UIDs of `objects`.
    uids: HashSet<String>,
    /// Scopes that have not completed their first LIST.
    unlisted: usize,
}

/// A LIST in progress: what it has shown so far. One for each watch.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    shown: HashSet<Key>,
    completed_before: bool,
}

/// What a watch event means for the reconcile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The object is new, or its spec or its deletion changed.
    Look(Key),
    /// The object was deleted: a Delete event said so.
    Deleted {
        /// Its UID.
        uid: String,
    },
}

impl Cache {
    /// An empty cache, filled by `scopes` watches.
    pub(crate) fn new(kind: Kind, scopes: usize) -> Self {
        Self {
            kind,
            state: RwLock::new(State {
                unlisted: scopes,
                ..State::default()
            }),
        }
    }

    /// The last known object.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<DynamicObject>> {
        self.read().objects.get(key).cloned()
    }

    /// What `pick` makes of each object, where it makes something. It is called under the lock: no long work.
    pub(crate) fn pick<T>(&self, pick: impl Fn(&Key, &DynamicObject) -> Option<T>) -> Vec<T> {
        let state = self.read();
        state
            .objects
            .iter()
            .filter_map(|(key, object)| pick(key, object))
            .collect()
    }

    /// Whether every watch has completed a LIST: only then an object that is not here may be gone.
    pub(crate) fn is_complete(&self) -> bool {
        self.read().unlisted == 0
    }

    /// Whether an object with this UID is here.
    pub(crate) fn has_uid(&self, uid: &str) -> bool {
        self.read().uids.contains(uid)
    }

    /// Takes note of one event of the watch over `scope` (a namespace; all when none).
    pub(crate) fn apply(&self, event: Event<Lenient>, scope: Option<&str>, listing: &mut Listing) -> Option<Change> {
        match event {
            Event::Init => {
                listing.shown.clear();
                None
            }
            Event::InitApply(Lenient(object)) => {
                listing.shown.insert(Key::of(self.kind, &object));
                self.put(object).map(Change::Look)
            }
            Event::InitDone => {
                self.end_listing(scope, listing);
                None
            }
            Event::Apply(Lenient(object)) => self.put(object).map(Change::Look),
            Event::Delete(Lenient(object)) => self.delete(&object),
        }
    }

    /// Takes note of the answer to our own write, so that the next write does not wait for the watch.
    pub(crate) fn learn(&self, object: DynamicObject) {
        let key = Key::of(self.kind, &object);
        // Not there: deleted meanwhile, and the watch was faster than the answer.
        if self
            .get(&key)
            .is_some_and(|known| known.metadata.uid == object.metadata.uid)
        {
            self.put(object);
        }
    }

    /// Stores an object unless it is older than the one that is there; its key when there is something to look at.
    fn put(&self, mut object: DynamicObject) -> Option<Key> {
        // Of these we read only who keeps the object; the rest may be large.
        if let Some(annotations) = &mut object.metadata.annotations {
            annotations.retain(|name, _| expiry::is_tracking(name));
        }
        let key = Key::of(self.kind, &object);
        let mut state = self.write();
        let known = state.objects.get(&key).cloned();
        if let Some(known) = &known {
            if is_older(&object, known) {
                return None;
            }
            if known.metadata.uid != object.metadata.uid {
                state.forget_uid(known);
            }
        }
        let look = known.is_none_or(|known| wants_a_look(&known, &object));
        if let Some(uid) = &object.metadata.uid {
            state.uids.insert(uid.clone());
        }
        state.objects.insert(key.clone(), Arc::new(object));
        look.then_some(key)
    }

    fn delete(&self, object: &DynamicObject) -> Option<Change> {
        let key = Key::of(self.kind, object);
        let mut state = self.write();
        // The name may belong to another object by now.
        if state
            .objects
            .get(&key)
            .is_some_and(|known| known.metadata.uid == object.metadata.uid)
        {
            state.objects.remove(&key);
        }
        state.forget_uid(object);
        object.metadata.uid.clone().map(|uid| Change::Deleted { uid })
    }

    /// What a completed LIST did not show is not here any more. That is not a deletion: a LIST is no evidence.
    fn end_listing(&self, scope: Option<&str>, listing: &mut Listing) {
        let shown = std::mem::take(&mut listing.shown);
        let mut state = self.write();
        let missing: Vec<Key> = state
            .objects
            .keys()
            .filter(|key| scope.is_none_or(|scope| scope == &*key.namespace) && !shown.contains(*key))
            .cloned()
            .collect();
        for key in missing {
            if let Some(object) = state.objects.remove(&key) {
                state.forget_uid(&object);
            }
        }
        if !std::mem::replace(&mut listing.completed_before, true) {
            state.unlisted = state.unlisted.saturating_sub(1);
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_uid(&mut self, object: &DynamicObject) {
        if let Some(uid) = &object.metadata.uid {
            self.uids.remove(uid);
        }
    }
}

/// Resource versions of one kind are numbers that grow. Where they are none, the newcomer wins.
fn is_older(object: &DynamicObject, known: &DynamicObject) -> bool {
    let version = |of: &DynamicObject| {
        of.metadata
            .resource_version
            .as_deref()
            .and_then(|rv| rv.parse::<u64>().ok())
    };
    object.metadata.uid == known.metadata.uid
        && matches!((version(object), version(known)), (Some(new), Some(known)) if new < known)
}

/// Status is ours and labels are nobody's business: only intent and deletion are worth a reconcile. A status that
/// somebody else wrote is put right at the resync.
fn wants_a_look(known: &DynamicObject, object: &DynamicObject) -> bool {
    let of = |object: &DynamicObject| {
        let meta = &object.metadata;
        (meta.uid.clone(), meta.generation, meta.deletion_timestamp.is_some())
    };
    of(known) != of(object)
}

#[cfg(test)]
mod tests {
    use kube::api::{ApiResource, GroupVersionKind};

    use super::*;

    fn object(name: &str, uid: &str, generation: i64, version: u64) -> Lenient {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("everstep.dev", "v1alpha1", "Workflow"));
        let mut object = DynamicObject::new(name, &resource).within("shop");
        object.metadata.uid = Some(uid.into());
        object.metadata.generation = Some(generation);
        object.metadata.resource_version = Some(version.to_string());
        Lenient(object)
    }

    fn key(name: &str) -> Key {
        Key::new(Kind::Workflow, "shop", name)
    }

    fn cache() -> (Cache, Listing) {
        (Cache::new(Kind::Workflow, 1), Listing::default())
    }

    #[test]
    fn only_new_objects_and_new_generations_are_looked_at() {
        let (cache, mut listing) = cache();
        let mut apply = |object| cache.apply(Event::Apply(object), None, &mut listing);
        assert_eq!(apply(object("a", "1", 1, 10)), Some(Change::Look(key("a"))));
        assert_eq!(apply(object("a", "1", 1, 11)), None, "a status of ours");
        assert_eq!(apply(object("a", "1", 2, 12)), Some(Change::Look(key("a"))));
        assert_eq!(
            apply(object("a", "2", 2, 13)),
            Some(Change::Look(key("a"))),
            "another object of that name"
        );
        assert!(cache.has_uid("2") && !cache.has_uid("1"));
    }

    #[test]
    fn watch_does_not_bring_back_an_older_object_than_our_own_write() {
        let (cache, mut listing) = cache();
        cache.apply(Event::Apply(object("a", "1", 1, 10)), None, &mut listing);
        cache.learn(object("a", "1", 1, 20).0);
        cache.apply(Event::Apply(object("a", "1", 1, 15)), None, &mut listing);
        assert_eq!(
            cache.get(&key("a")).unwrap().metadata.resource_version.as_deref(),
            Some("20")
        );
    }

    #[test]
    fn answer_that_comes_after_the_deletion_does_not_bring_the_object_back() {
        let (cache, mut listing) = cache();
        cache.apply(Event::Apply(object("a", "1", 1, 10)), None, &mut listing);
        cache.apply(Event::Delete(object("a", "1", 1, 12)), None, &mut listing);
        cache.learn(object("a", "1", 1, 11).0);
        assert!(cache.get(&key("a")).is_none());
    }

    #[test]
    fn late_delete_event_names_its_object_and_spares_the_one_that_took_its_name() {
        let (cache, mut listing) = cache();
        cache.apply(Event::Apply(object("a", "2", 1, 20)), None, &mut listing);
        let change = cache.apply(Event::Delete(object("a", "1", 1, 19)), None, &mut listing);
        assert_eq!(change, Some(Change::Deleted { uid: "1".into() }));
        assert!(cache.get(&key("a")).is_some() && cache.has_uid("2"));
    }

    #[test]
    fn object_missing_from_a_new_list_is_forgotten_and_not_called_deleted() {
        let (cache, mut listing) = cache();
        assert!(!cache.is_complete());
        for name in ["a", "b"] {
            cache.apply(Event::InitApply(object(name, name, 1, 10)), None, &mut listing);
        }
        cache.apply(Event::InitDone, None, &mut listing);
        assert!(cache.is_complete());
        cache.apply(Event::Init, None, &mut listing);
        assert_eq!(
            cache.apply(Event::InitApply(object("b", "b", 1, 10)), None, &mut listing),
            None
        );
        assert!(cache.has_uid("a"), "until the list is complete, nothing is missing");
        assert_eq!(cache.apply(Event::InitDone, None, &mut listing), None);
        assert!(!cache.has_uid("a") && cache.has_uid("b"));
    }

    #[test]
    fn list_of_one_namespace_says_nothing_of_another() {
        let cache = Cache::new(Kind::Workflow, 2);
        let (mut shop, mut bank) = (Listing::default(), Listing::default());
        cache.apply(Event::InitApply(object("a", "a", 1, 10)), Some("shop"), &mut shop);
        cache.apply(Event::InitDone, Some("shop"), &mut shop);
        assert!(!cache.is_complete());
        cache.apply(Event::InitDone, Some("bank"), &mut bank);
        assert!(cache.is_complete() && cache.has_uid("a"));
    }
}
