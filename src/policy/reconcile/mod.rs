//! What is to be done about a workload: which generated objects to write, which of ours to remove, and what its owner
//! should know. The controller carries it out; `audit --diff` prints it.
//!
//! ```text
//! label + annotations -> render -> may it be written? -> as it is there already? -> Plan
//! ```

mod names;
mod rollout;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use super::configuration::{BackendKind, Configuration};
use super::facts::{Context, Stage};
use super::objects::{Key, Object, TypeMeta, WorkloadKind};
use super::render::{self, Withheld};
use super::settings::{self, PAUSED, Settings, Wish};
use super::view::{ClusterView, Entry};
use super::workload::Workload;

const HPA: &str = "HorizontalPodAutoscaler";

/// What is to be done about one workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The workload.
    pub workload: Key,
    /// Its UID.
    pub uid: String,
    /// Whether its label asks for autoscaling.
    pub labelled: bool,
    /// Nothing is done for now, because news of these kinds is missing; a change of the view follows.
    pub waits_for: Vec<String>,
    /// What of ours goes, before anything is written: no workload has two autoscalers for a moment.
    pub prune: Vec<Prune>,
    /// What is written.
    pub write: Vec<Write>,
    /// What the owner should know, in order.
    pub says: Vec<Say>,
}

/// An object to be as it is here.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Its place.
    pub key: Key,
    /// The whole of it, with the owner.
    pub object: Value,
    /// Of its spec, as the API server stores it.
    pub fingerprint: u64,
    /// The object that is there; without one it is created, and whatever has come there meanwhile is looked at first.
    pub live: Option<Live>,
}

/// An object that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its UID: no other object may be written.
    pub uid: String,
    /// Of its spec as it stands; none where that is not known.
    pub fingerprint: Option<u64>,
    /// It is somebody's, who gives it away.
    pub adopted: bool,
}

/// An object of ours to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prune {
    /// Its place.
    pub key: Key,
    /// Its UID.
    pub uid: String,
    /// Why, as a clause.
    pub why: String,
}

/// Something that the owner should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Say {
    /// One word in camel case, as the reason of an Event.
    pub reason: &'static str,
    /// Whether something is wrong.
    pub warning: bool,
    /// A sentence without its full stop.
    pub note: String,
}

// === impl Say ===

impl Say {
    fn warning(reason: &'static str, note: impl Into<String>) -> Self {
        Self { reason, warning: true, note: note.into() }
    }

    fn note(reason: &'static str, note: impl Into<String>) -> Self {
        Self { reason, warning: false, note: note.into() }
    }
}

/// The plans for all workloads of a namespace that have that name, of whatever kind. Those about which nothing is to be done
/// or said are among them.
pub fn plans(namespace: &str, name: &str, view: &ClusterView, configuration: &Configuration) -> Vec<Plan> {
    let kinds = [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::LeaderWorkerSet];
    let found = kinds.into_iter().filter_map(|kind| view.workload(kind, Some(namespace), name));
    found.map(|workload| plan(workload, view, configuration)).collect()
}

/// The plan for one workload of a live cluster.
pub fn plan(workload: &Workload, view: &ClusterView, configuration: &Configuration) -> Plan {
    let metadata = &workload.metadata;
    let mut plan = Plan { workload: workload.key(), ..Plan::default() };
    // Without a UID nothing can be owned. What is being deleted takes what it owns with it.
    let Some(uid) = metadata.uid.clone().filter(|_| metadata.deletion_timestamp.is_none()) else { return plan };
    plan.uid = uid;
    if view.behind.contains(workload.kind.name()) {
        plan.waits_for.push(workload.kind.name().to_owned());
        return plan;
    }
    match settings::read(metadata, configuration).wish {
        Err(findings) => {
            plan.labelled = true;
            let wrong: Vec<String> = findings.iter().map(super::finding::Finding::sentence).collect();
            plan.says.push(Say::warning(
                "InvalidSetting",
                format!("nothing changes until it is valid: {}", wrong.join("; ")),
            ));
        }
        Ok(Wish::Unlabelled | Wish::Disabled) => {
            let why = format!("the label {} is gone or says {:?}", settings::LABEL, settings::profiles::DISABLED);
            plan.prune = ours(workload, view)
                .filter(|(_, entry)| !is_paused(entry))
                .map(|(key, entry)| prune(key, entry, &why))
                .collect();
        }
        Ok(Wish::Enabled(settings)) => {
            plan.labelled = true;
            if !settings.paused && settings.generate {
                let context = Context { view, configuration, stage: Stage::Admission, update: false };
                Enabled { workload, settings: &settings, context, plan: &mut plan }.fill();
            }
        }
    }
    plan
}

/// What was generated for a workload and is there.
pub fn ours<'a>(workload: &'a Workload, view: &'a ClusterView) -> impl Iterator<Item = (&'a Key, &'a Entry)> {
    let uid = workload.metadata.uid.as_deref().unwrap_or_default();
    view.managed(uid).filter(move |(key, entry)| {
        let metadata = entry.object.metadata();
        key.namespace == workload.metadata.namespace
            && metadata.deletion_timestamp.is_none()
            && render::is_ours(metadata, workload)
    })
}

fn prune(key: &Key, entry: &Entry, why: &str) -> Prune {
    let uid = entry.object.metadata().uid.clone().unwrap_or_default();
    Prune { key: key.clone(), uid, why: why.to_owned() }
}

/// Whether the owner of an object wants it left as it is.
fn is_paused(entry: &Entry) -> bool {
    entry.object.metadata().annotations.get(PAUSED).is_some_and(|value| value == "true")
}

/// A workload whose label asks for autoscaling.
struct Enabled<'a, 'p> {
    workload: &'a Workload,
    settings: &'a Settings,
    context: Context<'a>,
    plan: &'p mut Plan,
}

// === impl Enabled ===

impl Enabled<'_, '_> {
    fn fill(mut self) {
        let Context { view, configuration, .. } = self.context;
        let namespace = self.workload.metadata.namespace.as_deref();
        let taken = render::taken_in(view, self.workload.kind, namespace);
        let rendered = match render::render(self.workload, self.settings, configuration, &taken) {
            Ok(rendered) => rendered,
            // It may be readable again with the next image; what is there goes on working as before, or not worse.
            Err(reason) => {
                if names::own_autoscalers(self.workload, view).next().is_some() {
                    self.may_scale(true);
                }
                self.plan.says.push(Say::warning("NothingGenerated", format!("nothing is generated: {reason}")));
                return;
            }
        };
        // A verdict over what may have changed meanwhile is no ground for a write. The news wakes us.
        self.plan.waits_for = watched(configuration.backend.kind)
            .iter()
            .filter(|kind| view.behind.contains(**kind))
            .map(|kind| (*kind).to_owned())
            .collect();
        if !self.plan.waits_for.is_empty() {
            return;
        }
        self.plan.says.extend(rendered.notes.into_iter().map(|note| Say::note("Rendered", note)));
        let mut kept = Vec::new();
        for value in rendered.objects {
            kept.extend(self.object(value));
        }
        for (key, entry) in ours(self.workload, view) {
            let goes = self.plan.prune.iter().any(|prune| prune.key == *key);
            if !goes && !kept.contains(key) && !is_paused(entry) {
                self.plan.prune.push(prune(key, entry, "the settings no longer ask for it"));
            }
        }
    }

    /// Decides about one rendered object, and returns the keys of those that stay or come.
    fn object(&mut self, mut value: Value) -> Vec<Key> {
        let view = self.context.view;
        let Ok((of, object)) = Object::from_value(&value) else { return Vec::new() };
        let is_hpa = matches!(object, Object::Hpa(_));
        let mut key = object.key(&of);
        let mut adopted = None;
        if is_hpa && let Some((place, entry)) = names::given_away(self.workload, view) {
            // It keeps its name, so that the workload is never without an autoscaler, nor with two.
            value["metadata"]["name"] = json!(place.name);
            key = place;
            adopted = (!render::is_ours(entry.object.metadata(), self.workload)).then_some(entry);
        }
        let there = view.get(&key);
        let ours = there.filter(|entry| render::is_ours(entry.object.metadata(), self.workload));
        if view.absent.contains(&of.kind) {
            let note = format!("no {} is written: the cluster does not serve {}", of.kind, of.api_version);
            self.plan.says.push(Say::warning("KindNotServed", note));
            return vec![key];
        }
        if ours.is_some_and(is_paused) {
            return vec![key];
        }
        if let Some(entry) = there
            && ours.is_none()
            && adopted.is_none()
        {
            self.plan.says.extend(names::taken(&of, entry, self.workload, view));
            return Vec::new();
        }
        if is_hpa && !self.may_scale(ours.is_some()) {
            return ours.map(|_| key).into_iter().collect();
        }
        if rollout::is_under_way(self.workload) {
            if let Some(entry) = there {
                rollout::follow(&mut value, entry, self.settings);
            } else {
                let note =
                    format!("no {} is written until the rollout is complete: it follows the pods that serve", of.kind);
                self.plan.says.push(Say::note("WaitsForRollout", note));
                return vec![key];
            }
        }
        if let Some(why) = render::withheld(&value, self.workload, &self.context) {
            return self.withhold(&of, ours.map(|entry| (&key, entry)), &why);
        }
        if is_hpa && !self.fits(&value, there) {
            return vec![key];
        }
        self.write(&key, value, ours.or(adopted), adopted.is_some());
        vec![key]
    }

    /// Whether nobody else scales the workload. What is ours already withdraws before somebody else's.
    fn may_scale(&mut self, ours: bool) -> bool {
        let view = self.context.view;
        if let Some(rival) = names::rival(self.workload, view) {
            self.plan.prune.extend(
                names::own_autoscalers(self.workload, view)
                    .filter(|(_, entry)| !is_paused(entry))
                    .map(|(key, entry)| prune(key, entry, &format!("{rival} scales the workload"))),
            );
            let note = if ours {
                format!("our {HPA} is withdrawn: {rival} scales the workload")
            } else {
                format!("no {HPA} is written: {rival} scales the workload")
            };
            self.plan.says.push(Say::warning("AnotherAutoscaler", note));
            return false;
        }
        // Two that are there already stop each other; taking one away is for a person to decide.
        if !ours && let Some(other) = names::overlapping(self.workload, view) {
            let note = format!(
                "no {HPA} is written: the pods are also selected by {other}, which is scaled, and of two autoscalers over \
                 one pod neither scales; give the workloads selectors that differ"
            );
            self.plan.says.push(Say::warning("SelectorsOverlap", note));
            return false;
        }
        true
    }

    /// Says why an object is not written, and returns the key that stays.
    fn withhold(&mut self, of: &TypeMeta, ours: Option<(&Key, &Entry)>, why: &Withheld) -> Vec<Key> {
        let note = format!("no {} is written: {}", of.kind, why.sentence());
        match why {
            // Two scrapes of one pod double its values. What is ours goes, by not being kept.
            Withheld::Scraped(_) => {
                self.plan.says.push(Say::note("ScrapedAlready", note));
                Vec::new()
            }
            Withheld::NameTaken(_) => {
                self.plan.says.push(Say::warning("NameTaken", note));
                Vec::new()
            }
            Withheld::Refused(_) => {
                self.plan.says.push(Say::warning("Refused", note));
                ours.map(|(key, _)| key.clone()).into_iter().collect()
            }
        }
    }

    /// Whether the bounds leave the replicas that are there. Nothing is cut without somebody having named the number.
    fn fits(&mut self, value: &Value, there: Option<&Entry>) -> bool {
        let Some(max) = value["spec"]["maxReplicas"].as_i64() else { return true };
        let replicas = self.workload.replicas.unwrap_or(1);
        let stands = there.and_then(|entry| match &entry.object {
            Object::Hpa(hpa) => hpa.spec.max_replicas,
            _ => None,
        });
        if replicas <= max || stands.is_some_and(|stands| stands <= max) {
            return true;
        }
        let surplus = replicas.saturating_sub(max);
        let explicit = self.settings.max_explicit;
        let note = if explicit {
            format!("{replicas} replicas run and scalegate.dev/max-replicas is {max}: {surplus} go at once")
        } else {
            format!(
                "no {HPA} is written: {replicas} replicas run, and with maxReplicas {max} of profile {} {surplus} of them would \
                 go at once; set scalegate.dev/max-replicas, or scale down first",
                self.settings.profile
            )
        };
        self.plan.says.push(Say::warning("MaxBelowReplicas", note));
        explicit
    }

    /// Adds the write, where something differs.
    fn write(&mut self, key: &Key, mut value: Value, there: Option<&Entry>, adopted: bool) {
        let fingerprint = render::fingerprint(&key.kind, &value["spec"]);
        if let Some(entry) = there
            && !adopted
            && entry.object.metadata().written.is_some_and(|written| written.fingerprint == fingerprint)
            && carries(entry, &value["metadata"]["labels"])
        {
            return;
        }
        value["metadata"]["ownerReferences"] = json!([{
            "apiVersion": self.workload.kind.api_version(),
            "kind": self.workload.kind.name(),
            "name": self.workload.metadata.name,
            "uid": self.plan.uid,
            "controller": true,
            // A workload may go while what was generated for it is still there.
            "blockOwnerDeletion": false,
        }]);
        let live = there.map(|entry| {
            let metadata = entry.object.metadata();
            let fingerprint = metadata.written.map(|written| written.fingerprint);
            Live { uid: metadata.uid.clone().unwrap_or_default(), fingerprint, adopted }
        });
        if adopted {
            let note = format!("{HPA} {} is taken over, as its annotation {} asks", key.name, settings::ADOPT);
            self.plan.says.push(Say::note("Adopted", note));
        }
        self.plan.write.push(Write { key: key.clone(), object: value, fingerprint, live });
    }
}

/// The kinds of which news must not be missing when something is written.
fn watched(backend: BackendKind) -> &'static [&'static str] {
    match backend {
        BackendKind::PrometheusOperator => {
            &[HPA, "ScaledObject", "MultidimPodAutoscaler", "PodMonitor", "ServiceMonitor"]
        }
        _ => &[HPA, "ScaledObject", "MultidimPodAutoscaler", "PodMonitoring", "ClusterPodMonitoring"],
    }
}

/// Whether an object has all of these labels.
fn carries(entry: &Entry, labels: &Value) -> bool {
    let there = &entry.object.metadata().labels;
    let wanted = labels.as_object().into_iter().flatten();
    wanted.into_iter().all(|(key, value)| there.get(key).map(String::as_str) == value.as_str())
}
