//! Who else is there: other autoscalers of the workload, and objects that have the names of ours.

use super::{HPA, Say, ours};
use crate::policy::objects::{Key, Object, TypeMeta, WorkloadKind};
use crate::policy::render;
use crate::policy::rules::autoscalers::Autoscaler;
use crate::policy::settings::ADOPT;
use crate::policy::view::{ClusterView, Entry};
use crate::policy::workload::Workload;

/// The HPA on a workload that its owner gives away, or gave away before.
pub(super) fn given_away<'a>(workload: &Workload, view: &'a ClusterView) -> Option<(Key, &'a Entry)> {
    let given = view.scaling(&workload.metadata.name).filter(|entry| {
        let Object::Hpa(hpa) = &entry.object else { return false };
        let metadata = &hpa.metadata;
        Autoscaler::hpa(hpa).scales(workload)
            && metadata.annotations.get(ADOPT).is_some_and(|value| value == "true")
            && metadata.deletion_timestamp.is_none()
            && (metadata.controller().is_none() || render::is_ours(metadata, workload))
    });
    // Of several the one that is ours, so that a second consent does not move it.
    let entry = given.min_by_key(|entry| !render::is_ours(entry.object.metadata(), workload))?;
    Some((entry.object.key(&entry.of), entry))
}

/// Our HPAs of a workload.
pub(super) fn own_autoscalers<'a>(
    workload: &'a Workload,
    view: &'a ClusterView,
) -> impl Iterator<Item = (&'a Key, &'a Entry)> {
    ours(workload, view).filter(|(key, _)| key.kind == HPA)
}

/// Another autoscaler of a workload than ours, in words. It does not matter what the rules are set to: two autoscalers
/// stop each other whatever the administrator lets pass.
pub(super) fn rival(workload: &Workload, view: &ClusterView) -> Option<String> {
    let others = Autoscaler::on(view, &workload.metadata.name);
    let rival = others.iter().find(|other| {
        other.scales(workload)
            && other.metadata.deletion_timestamp.is_none()
            && !render::is_ours(other.metadata, workload)
            && !(other.consents() && other.metadata.controller().is_none())
    });
    rival.map(Autoscaler::title)
}

/// Another workload of the namespace whose selector covers these pods, or whose pods this selector covers, and that an HPA
/// scales. The HPA controller scales neither then (condition `AmbiguousSelector`).
pub(super) fn overlapping(workload: &Workload, view: &ClusterView) -> Option<String> {
    let namespace = workload.metadata.namespace.as_deref();
    let key = workload.key();
    view.of_namespace("autoscaling", HPA, namespace).find_map(|(_, entry)| {
        let Object::Hpa(hpa) = &entry.object else { return None };
        let target = &hpa.spec.scale_target_ref;
        let of = TypeMeta { api_version: target.api_version.clone(), kind: target.kind.clone() };
        let other = view.workload(WorkloadKind::find(of.group(), &of.kind)?, namespace, &target.name)?;
        let covers = |one: &Workload, other: &Workload| {
            let selects = !one.selector.match_labels.is_empty() || !one.selector.match_expressions.is_empty();
            selects && one.selector.matches(&other.pod_labels)
        };
        let met = other.key() != key && (covers(other, workload) || covers(workload, other));
        met.then(|| format!("{} {}", other.kind, other.metadata.name))
    })
}

/// What is to be said about an object that has the name of one of ours. Nothing about one that goes away by itself: of a
/// workload of the same name that is gone, or of another one that gives way.
pub(super) fn taken(of: &TypeMeta, entry: &Entry, workload: &Workload, view: &ClusterView) -> Option<Say> {
    let metadata = entry.object.metadata();
    if let Some(owner) = metadata.controller()
        && metadata.written.is_some_and(|written| written.by_us)
    {
        let of = TypeMeta { api_version: owner.api_version.clone(), kind: owner.kind.clone() };
        let kind = WorkloadKind::find(of.group(), &of.kind);
        let namespace = workload.metadata.namespace.as_deref();
        let owned = kind.and_then(|kind| view.workload(kind, namespace, &owner.name));
        if owned.is_none_or(|other| other.metadata.uid.as_deref() != Some(&owner.uid) || other.key() != workload.key())
        {
            return None;
        }
    }
    let consent =
        if of.kind == HPA { format!(", or annotate it {ADOPT}: \"true\" to hand it over") } else { String::new() };
    let note = format!(
        "no {} is written: {} {} is there already, and is not ours; delete or rename it{consent}",
        of.kind, of.kind, metadata.name
    );
    Some(Say::warning("NameTaken", note))
}
