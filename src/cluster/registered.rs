//! Our two webhook configurations as they stand in the cluster, and how they differ from what they should be.
//!
//! The objects stay raw JSON: a field that this release does not know is a difference too. Needs `get`, `list` and `watch`
//! on `mutatingwebhookconfigurations` and `validatingwebhookconfigurations` of `admissionregistration.k8s.io`, which may be
//! limited by `resourceNames` to the one name.

use futures::StreamExt as _;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::secret::Pauses;

mod drift;

pub use drift::drift;

/// Both configurations. `None` where there is none of that name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configurations {
    /// The MutatingWebhookConfiguration.
    pub mutating: Option<Value>,
    /// The ValidatingWebhookConfiguration.
    pub validating: Option<Value>,
    /// Whether each was looked at once: before, `None` says nothing.
    pub seen: [bool; 2],
}

impl Configurations {
    /// Whether both were looked at.
    pub fn is_known(&self) -> bool {
        self.seen == [true, true]
    }

    /// Whether there is either of them.
    pub fn is_registered(&self) -> bool {
        self.mutating.is_some() || self.validating.is_some()
    }

    /// Every distinct `caBundle` that is not empty, base64 as it stands there.
    pub fn ca_bundles(&self) -> Vec<String> {
        let configurations = [&self.mutating, &self.validating].into_iter().flatten();
        let webhooks = configurations.filter_map(|value| value.get("webhooks")?.as_array()).flatten();
        let mut bundles: Vec<String> = webhooks
            .filter_map(|webhook| webhook.get("clientConfig")?.get("caBundle")?.as_str())
            .filter(|bundle| !bundle.is_empty())
            .map(str::to_owned)
            .collect();
        bundles.sort_unstable();
        bundles.dedup();
        bundles
    }
}

#[derive(Clone, Copy)]
enum Of {
    Mutating,
    Validating,
}

/// Watches the two configurations called `name` until `cancel`.
pub fn start(client: &Client, name: &str, cancel: &CancellationToken) -> watch::Receiver<Configurations> {
    let (sender, receiver) = watch::channel(Configurations::default());
    for (of, kind) in
        [(Of::Mutating, "MutatingWebhookConfiguration"), (Of::Validating, "ValidatingWebhookConfiguration")]
    {
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
        let api = Api::<DynamicObject>::all_with(client.clone(), &ApiResource::from_gvk(&kind));
        let (name, sender, cancel) = (name.to_owned(), sender.clone(), cancel.clone());
        tokio::spawn(async move {
            tokio::select! { () = cancel.cancelled() => {}, () = follow(of, api, &name, &sender) => {} }
        });
    }
    receiver
}

async fn follow(of: Of, api: Api<DynamicObject>, name: &str, sender: &watch::Sender<Configurations>) {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(api, only).backoff(Pauses::default()));
    // What a new list has held so far. It counts when the list is through.
    let mut listed = None;
    let mut last = String::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed = None,
            Ok(watcher::Event::InitApply(object)) => listed = serde_json::to_value(object).ok(),
            Ok(watcher::Event::InitDone) => {
                last.clear();
                set(of, sender, listed.take());
            }
            Ok(watcher::Event::Apply(object)) => set(of, sender, serde_json::to_value(object).ok()),
            Ok(watcher::Event::Delete(_)) => set(of, sender, None),
            // The watcher tries again by itself, as soon as [`Pauses`] says: readiness is judged by what is known here, and
            // a replica that knows an old bundle alone would take its new certificate for a wrong one.
            Err(error) => {
                let error = error.to_string();
                if error != last {
                    tracing::warn!(error, name, "cannot watch the webhook configuration; trying again");
                    last = error;
                }
            }
        }
    }
}

fn set(of: Of, sender: &watch::Sender<Configurations>, value: Option<Value>) {
    sender.send_if_modified(|now| {
        let (place, seen) = match of {
            Of::Mutating => (&mut now.mutating, 0),
            Of::Validating => (&mut now.validating, 1),
        };
        let first = now.seen.get_mut(seen).is_some_and(|seen| !std::mem::replace(seen, true));
        let changed = first || *place != value;
        *place = value;
        changed
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_configuration_is_known_once_both_were_looked_at_and_its_bundles_count_once() {
        let (sender, receiver) = watch::channel(Configurations::default());
        set(Of::Mutating, &sender, None);
        assert!(!receiver.borrow().is_known());
        let bundle = |text: &str| json!({"clientConfig": {"caBundle": text}});
        set(Of::Validating, &sender, Some(json!({"webhooks": [bundle("b"), bundle(""), json!({}), bundle("a")]})));
        assert!(receiver.borrow().is_known() && receiver.borrow().is_registered());
        set(Of::Mutating, &sender, Some(json!({"webhooks": [bundle("a")]})));
        assert_eq!(receiver.borrow().ca_bundles(), ["a", "b"]);
        set(Of::Mutating, &sender, Some(json!({"webhooks": "nonsense"})));
        assert_eq!(receiver.borrow().ca_bundles(), ["a", "b"]);
    }
}
