//! Objects of one kind, as they come from the API server, into the view.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::value::RawValue;

use super::caches::Caches;
use super::kinds::Kind;
use super::wire::{Head, Page, PageMeta, Trouble};
use crate::policy::objects::{Key, Object, ObjectMeta, TypeMeta};
use crate::policy::render::written;

/// Objects applied under one lock of the view. Reading a workload takes some tens of microseconds, so a lock is held for a
/// few milliseconds at most, while admission waits.
const BATCH: usize = 50;
/// Written by kubectl: the whole object once more, which no rule reads.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// One change of the view.
pub(super) enum Change {
    /// The object is so now.
    Apply(Box<Object>),
    /// It is gone.
    Delete(Key),
    /// It is there, but does not read as its kind; what it was before is not what it is.
    Drop(Key),
}

/// Where objects of one kind go.
#[derive(Clone)]
pub(super) struct Feed {
    caches: Arc<Caches>,
    kind: &'static Kind,
    of: TypeMeta,
    /// Held while the view is changed; false once the feed is closed.
    open: Arc<Mutex<bool>>,
}

// === impl Feed ===

impl Feed {
    /// A feed for objects of a kind in the version that they are asked for in.
    pub fn new(caches: Arc<Caches>, kind: &'static Kind, version: &str) -> Self {
        let of = TypeMeta { api_version: kind.api_version(version), kind: kind.kind.to_owned() };
        Self { caches, kind, of, open: Arc::new(Mutex::new(true)) }
    }

    /// Takes everything of the kind out of the view, and lets nothing in any more: a page may still be being read.
    pub fn close(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.write(self.all_but(&BTreeSet::new()));
    }

    /// Reads an object that is there now: its change of the view, its key, and its resource version.
    pub fn read(&self, raw: &RawValue) -> Option<(Change, Key, Option<String>)> {
        let (key, resource_version) = self.head(raw)?;
        let change = match Object::read(&self.of, raw.get()) {
            Ok(mut object) => {
                slim(&mut object);
                object.metadata_mut().written = written(&self.of, &object, raw.get());
                Change::Apply(Box::new(object))
            }
            Err(error) => {
                self.caches.unreadable(self.kind, &key, &format!("{}: {error}", error.field));
                Change::Drop(key.clone())
            }
        };
        Some((change, key, resource_version))
    }

    /// Reads an object that was deleted.
    pub fn read_deleted(&self, raw: &RawValue) -> Option<(Change, Option<String>)> {
        let (key, resource_version) = self.head(raw)?;
        Some((Change::Delete(key), resource_version))
    }

    /// The key and the resource version of any object; `None` when it has no name, which no API server sends.
    fn head(&self, raw: &RawValue) -> Option<(Key, Option<String>)> {
        let Head { metadata } =
            serde_json::from_str(raw.get()).ok().filter(|head: &Head| !head.metadata.name.is_empty())?;
        let namespace = metadata.namespace.filter(|_| !Object::cluster_scoped(&self.of));
        let key =
            Key { group: self.kind.group.to_owned(), kind: self.kind.kind.to_owned(), namespace, name: metadata.name };
        Some((key, metadata.resource_version))
    }

    /// Puts a page of a list into the view, and its keys into `seen`.
    pub fn page(&self, body: &[u8], seen: &mut BTreeSet<Key>) -> Result<PageMeta, Trouble> {
        let page: Page<'_> = serde_json::from_slice(body)
            .map_err(|error| Trouble::Other(format!("the list cannot be read: {error}")))?;
        let mut changes = Vec::with_capacity(BATCH);
        for raw in page.items.unwrap_or_default() {
            let Some((change, key, _)) = self.read(raw) else { continue };
            seen.insert(key);
            changes.push(change);
            if changes.len() >= BATCH {
                self.apply(std::mem::take(&mut changes));
            }
        }
        self.apply(changes);
        Ok(page.metadata)
    }

    /// Takes out of the view what a complete list does not have.
    pub fn keep_only(&self, seen: &BTreeSet<Key>) {
        self.caches.readable_only(self.kind, seen);
        self.apply(self.all_but(seen));
    }

    fn all_but(&self, seen: &BTreeSet<Key>) -> Vec<Change> {
        self.caches.state().read(|view, _| {
            let known = view.keys_of(self.kind.group, self.kind.kind);
            known.filter(|key| !seen.contains(key)).map(Change::Delete).collect()
        })
    }

    /// Changes the view where it differs, so that a status update that no rule reads wakes nobody.
    pub fn apply(&self, changes: Vec<Change>) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if *open {
            // Only when they are in the view may the kind be closed again.
            let cured = self.cured(&changes);
            self.write(changes);
            self.caches.readable(self.kind, &cured);
        }
    }

    /// The objects that read as their kind after these changes, or are gone, of a kind in which some did not.
    fn cured(&self, changes: &[Change]) -> BTreeSet<Key> {
        let mut cured = BTreeSet::new();
        if self.caches.has_unreadable(self.kind) {
            for change in changes {
                match change {
                    Change::Apply(object) => cured.insert(object.key(&self.of)),
                    Change::Delete(key) => cured.insert(key.clone()),
                    Change::Drop(key) => cured.remove(key),
                };
            }
        }
        cured
    }

    fn write(&self, mut changes: Vec<Change>) {
        // A CRD has an APIService for each of its versions, which tells of it at once.
        let tells_of_kinds = self.kind.kind == "APIService";
        let state = self.caches.state();
        state.read(|view, _| {
            changes.retain(|change| match change {
                Change::Apply(object) => !view.holds(&self.of, object),
                Change::Delete(key) | Change::Drop(key) => view.has(key),
            });
        });
        if tells_of_kinds && !changes.is_empty() {
            self.caches.rediscover.notify_one();
        }
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            state.update_touching(|view, touched| {
                for change in changes.by_ref().take(BATCH) {
                    match change {
                        Change::Apply(object) => {
                            let key = object.key(&self.of);
                            touched.by(&key, view);
                            view.apply(&self.of, *object);
                            touched.by(&key, view);
                        }
                        Change::Delete(key) | Change::Drop(key) => {
                            touched.by(&key, view);
                            view.delete(&key);
                        }
                    }
                }
            });
        }
    }
}

/// Lets go of what no rule reads.
fn slim(object: &mut Object) {
    if let Object::Other(_, metadata) = object {
        let ObjectMeta { name, namespace, deletion_timestamp, .. } = std::mem::take(metadata);
        *metadata = ObjectMeta { name, namespace, deletion_timestamp, ..ObjectMeta::default() };
    }
    let metadata = object.metadata_mut();
    metadata.annotations.remove(LAST_APPLIED);
    // What is read grows by four at a time, and mostly holds one. A metric takes some hundred bytes.
    metadata.owner_references.shrink_to_fit();
    match object {
        Object::Hpa(hpa) => hpa.spec.metrics.shrink_to_fit(),
        Object::PodMonitoring(monitoring) => monitoring.spec.endpoints.shrink_to_fit(),
        Object::OperatorMonitor(monitor) => {
            monitor.spec.endpoints.shrink_to_fit();
            monitor.spec.pod_metrics_endpoints.shrink_to_fit();
        }
        _ => {}
    }
}
