//! Names of generated objects.

use crate::policy::objects::WorkloadKind;
use crate::policy::view::ClusterView;

/// The longest name of an object, in bytes (a DNS subdomain).
const LONGEST: usize = 253;

/// The name of a workload's objects: the workload's own, or `<name>-<kind>` when a Deployment of that name has it
/// (`taken`). A name that would be too long keeps its beginning and gets a checksum of the whole, so that two of them
/// stay apart.
pub fn object_name(kind: WorkloadKind, name: &str, taken: &dyn Fn(&str) -> bool) -> String {
    if kind == WorkloadKind::Deployment || !taken(name) {
        return fitted(name, "");
    }
    fitted(name, &format!("-{}", kind.name().to_ascii_lowercase()))
}

/// Whether a Deployment in view has a name that a workload of that kind and namespace would use: what [`object_name`],
/// [`super::render`] and [`crate::policy::inject::inject_named`] ask.
pub fn taken_in<'a>(
    view: &'a ClusterView,
    kind: WorkloadKind,
    namespace: Option<&'a str>,
) -> impl Fn(&str) -> bool + use<'a> {
    move |name| kind != WorkloadKind::Deployment && view.workload(WorkloadKind::Deployment, namespace, name).is_some()
}

fn fitted(name: &str, suffix: &str) -> String {
    if name.len() + suffix.len() <= LONGEST {
        return format!("{name}{suffix}");
    }
    let checksum = format!("-{:08x}", fnv(name.as_bytes()));
    let room = LONGEST.saturating_sub(suffix.len() + checksum.len());
    let mut kept = String::new();
    for c in name.chars() {
        if kept.len() + c.len_utf8() > room {
            break;
        }
        kept.push(c);
    }
    format!("{}{checksum}{suffix}", kept.trim_end_matches(['-', '.']))
}

/// FNV-1a over 32 bits: stable between builds, which names must be.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deployment_keeps_the_name_and_others_give_way() {
        let taken = |_: &str| true;
        let free = |_: &str| false;
        assert_eq!(object_name(WorkloadKind::Deployment, "vllm", &taken), "vllm");
        assert_eq!(object_name(WorkloadKind::StatefulSet, "vllm", &free), "vllm");
        assert_eq!(object_name(WorkloadKind::StatefulSet, "vllm", &taken), "vllm-statefulset");
        assert_eq!(object_name(WorkloadKind::LeaderWorkerSet, "vllm", &taken), "vllm-leaderworkerset");
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let taken = |_: &str| true;
        let one = format!("{}a", "x".repeat(250));
        let two = format!("{}b", "x".repeat(250));
        let names = [&one, &two].map(|name| object_name(WorkloadKind::LeaderWorkerSet, name, &taken));
        assert_ne!(names[0], names[1]);
        for name in names {
            assert!(name.len() <= LONGEST && name.ends_with("-leaderworkerset"), "{name}");
        }
        assert!(object_name(WorkloadKind::Deployment, &"é".repeat(300), &taken).len() <= LONGEST);
    }
}
