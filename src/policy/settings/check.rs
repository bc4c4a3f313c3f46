//! What of the settings can be judged only with the workload in hand.

use crate::policy::configuration::{BackendKind, Signal};
use crate::policy::finding::Finding;
use crate::policy::workload::Workload;

use super::annotations::target_key;
use super::keys::{annotation_field, label_field};
use super::{LABEL, PREFIX, Settings};

/// Judges valid settings against the workload they stand on. Every finding denies (rule `invalid-setting`).
pub fn check(settings: &Settings, workload: &Workload) -> Vec<Finding> {
    let mut findings = Vec::new();
    if settings.min_replicas < 1 {
        let key = format!("{PREFIX}min-replicas");
        let value = settings.min_replicas.to_string();
        let message = format!(
            "annotation {key}: {value} needs a metric that exists without pods, and every metric of profile {} comes from \
             the pods: nothing would wake the workload",
            settings.profile
        );
        let hint = "write 1 or more; to scale to zero, use KEDA or an HPA with an Object or External metric";
        findings.push(Finding::deny(annotation_field(&key), value, message).hint(hint));
    }
    findings.extend(ranks(settings, workload));
    findings
}

/// On several data-parallel ranks, each exports its own share of its own KV cache. The Stackdriver adapter adds up all
/// series of a pod, so the sum is a share of nothing. prometheus-adapter computes what its rule says, and the rule that
/// `render` prints takes the mean.
fn ranks(settings: &Settings, workload: &Workload) -> Option<Finding> {
    let ranks = workload.server()?.data_parallel;
    let uses_kv = settings.metrics.iter().any(|(signal, _)| *signal == Signal::KvCacheUsage);
    if ranks < 2 || !uses_kv || settings.backend != BackendKind::Gmp {
        return None;
    }
    let (field, value) = if settings.explicit_targets.contains(&Signal::KvCacheUsage) {
        let key = format!("{PREFIX}{}", target_key(Signal::KvCacheUsage));
        let value = workload.metadata.annotations.get(&key).cloned().unwrap_or_default();
        (annotation_field(&key), value)
    } else {
        (label_field(LABEL), settings.profile.clone())
    };
    let message = format!(
        "a target for KV-cache usage cannot be met: the server runs {ranks} data-parallel ranks, and the adapter adds up \
         their shares, so the value lies between 0 and {ranks}"
    );
    let hint = format!(
        "use {PREFIX}target-requests-waiting, or average the ranks by a recording rule and write an HPA on its metric"
    );
    Some(Finding::deny(field, value, message).hint(hint))
}
