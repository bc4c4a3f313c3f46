//! Machine types by name: which have accelerators, which cannot have any.

/// What a machine type is known to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    /// Comes with accelerators.
    Accelerated,
    /// Has none and can get none.
    Plain,
    /// Not known by name.
    Unknown,
}

/// EC2 families with GPUs, Gaudi, Inferentia, Trainium or video accelerators: the letters before the generation.
const AWS_ACCELERATED: &[&str] = &["g", "gr", "p", "dl", "inf", "trn", "vt"];
/// EC2 families without accelerators.
const AWS_PLAIN: &[&str] = &["a", "c", "d", "h", "hpc", "i", "im", "is", "m", "r", "t", "u", "x", "z"];
/// Compute Engine series with accelerators built in. `n1` is in neither list: GPUs can be attached to it.
const GCP_ACCELERATED: &[&str] = &["a2", "a3", "a4", "a4x", "g2", "g4"];
/// Compute Engine series to which no accelerator can be attached.
const GCP_PLAIN: &[&str] = &[
    "c2", "c2d", "c3", "c3d", "c4", "c4a", "c4d", "e2", "h3", "m1", "m2", "m3", "m4", "n2", "n2d", "n4", "t2a", "t2d",
    "x4", "z3",
];
/// Azure families without accelerators; every family with one starts with `N`.
const AZURE_PLAIN: &[&str] = &["A", "B", "D", "E", "F", "L", "M"];

/// A machine type as the label `node.kubernetes.io/instance-type` has it, of any provider.
pub(super) fn kind(machine_type: &str) -> Machine {
    if let Some(azure) = machine_type.strip_prefix("Standard_") {
        let letters = azure.find(|c: char| !c.is_ascii_uppercase()).unwrap_or(azure.len());
        return match azure.get(..letters) {
            Some(family) if family.starts_with('N') => Machine::Accelerated,
            // DC, EC and the like are variants of their first letter.
            Some(family) => family.get(..1).map_or(Machine::Unknown, azure_family),
            None => Machine::Unknown,
        };
    }
    if let Some((family, _)) = machine_type.split_once('.') {
        return aws_family(family);
    }
    machine_type.split_once('-').map_or(Machine::Unknown, |(series, _)| gcp_series(series))
}

/// An EC2 category as Karpenter names it: `m`, `g`, `trn`.
pub(super) fn aws_category(category: &str) -> Machine {
    listed(category, AWS_ACCELERATED, AWS_PLAIN)
}

/// An EC2 family: `m5`, `g6e`, `u-6tb1`.
pub(super) fn aws_family(family: &str) -> Machine {
    let letters = family.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(0);
    family.get(..letters).map_or(Machine::Unknown, aws_category)
}

/// A Compute Engine series: `n2`, `a3`, `ct5lp`.
pub(super) fn gcp_series(series: &str) -> Machine {
    // TPU machines: ct4p, ct5lp, ct6e and later ones.
    if series.strip_prefix("ct").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
        return Machine::Accelerated;
    }
    listed(series, GCP_ACCELERATED, GCP_PLAIN)
}

/// An Azure family as Karpenter names it: `D`, `N`.
pub(super) fn azure_family(family: &str) -> Machine {
    listed(family, &["N"], AZURE_PLAIN)
}

fn listed(name: &str, accelerated: &[&str], plain: &[&str]) -> Machine {
    if accelerated.contains(&name) {
        Machine::Accelerated
    } else if plain.contains(&name) {
        Machine::Plain
    } else {
        Machine::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_types_of_three_providers() {
        for (machine, expected) in [
            ("m5.large", Machine::Plain),
            ("u-6tb1.metal", Machine::Plain),
            ("g5.xlarge", Machine::Accelerated),
            ("gr6.4xlarge", Machine::Accelerated),
            ("p4d.24xlarge", Machine::Accelerated),
            ("p6-b200.48xlarge", Machine::Accelerated),
            ("inf2.xlarge", Machine::Accelerated),
            ("f1.2xlarge", Machine::Unknown),
            ("mac2.metal", Machine::Unknown),
            ("n2-standard-4", Machine::Plain),
            ("e2-medium", Machine::Plain),
            ("n1-standard-4", Machine::Unknown),
            ("g2-standard-4", Machine::Accelerated),
            ("a3-highgpu-8g", Machine::Accelerated),
            ("ct5lp-hightpu-4t", Machine::Accelerated),
            ("custom-4-8192", Machine::Unknown),
            ("Standard_D4s_v5", Machine::Plain),
            ("Standard_DC4as_v5", Machine::Plain),
            ("Standard_NC6s_v3", Machine::Accelerated),
            ("Standard_", Machine::Unknown),
            ("", Machine::Unknown),
            (".", Machine::Unknown),
            ("é.é", Machine::Unknown),
        ] {
            assert_eq!(kind(machine), expected, "{machine}");
        }
    }
}
