//! Requests against what an empty node offers.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use super::super::super::objects::Quantity;
use super::super::super::workload::PodNeeds;

/// What a node has too little of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Resource.
    pub resource: String,
    /// What one pod asks for.
    pub asked: Quantity,
    /// What the node offers; `None` when it does not have the resource.
    pub allocatable: Option<Quantity>,
}

/// Whether an empty node with this allocatable could host one such pod. Requests of zero count as none, and a quantity
/// that cannot be read (the API server refuses it) proves nothing, so it counts as fitting.
///
/// # Errors
/// The first resource, by name, of which the node has too little.
pub fn fits(needs: &PodNeeds, allocatable: &BTreeMap<String, Quantity>) -> Result<(), Lack> {
    for (resource, asked) in &needs.requests {
        let Ok(nanos) = asked.nanos() else { continue };
        if nanos <= 0 {
            continue;
        }
        let lack = |offered: Option<&Quantity>| {
            Err(Lack { resource: resource.clone(), asked: asked.clone(), allocatable: offered.cloned() })
        };
        match allocatable.get(resource) {
            None => return lack(None),
            Some(offered) if asked.compare(offered) == Some(Ordering::Greater) => return lack(Some(offered)),
            Some(_) => {}
        }
    }
    // The pod itself takes one place.
    match allocatable.get("pods") {
        Some(places) if places.units().is_some_and(|places| places < 1) => {
            Err(Lack { resource: "pods".to_owned(), asked: Quantity::from(1), allocatable: Some(places.clone()) })
        }
        _ => Ok(()),
    }
}

// === impl Lack ===

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.allocatable {
            Some(offered) => {
                write!(f, "offers {} {offered} on a node, and one pod asks for {}", self.resource, self.asked)
            }
            None => write!(f, "has no {}, and one pod asks for {}", self.resource, self.asked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(pairs: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
        pairs.iter().map(|(name, amount)| ((*name).to_owned(), Quantity::new(*amount))).collect()
    }

    #[test]
    fn a_pod_fits_when_each_request_is_at_most_what_an_empty_node_offers() {
        let node = resources(&[("cpu", "3920m"), ("memory", "12Gi"), ("nvidia.com/gpu", "1"), ("pods", "110")]);
        for (requests, expected) in [
            (&[("cpu", "3920m"), ("memory", "12Gi"), ("nvidia.com/gpu", "1")] as &[(&str, &str)], None),
            (&[], None),
            (&[("cpu", "4")], Some("cpu")),
            (&[("nvidia.com/gpu", "2")], Some("nvidia.com/gpu")),
            (&[("amd.com/gpu", "1")], Some("amd.com/gpu")),
            (&[("amd.com/gpu", "0")], None),
            (&[("memory", "12884901888")], None),
            (&[("memory", "12884901889")], Some("memory")),
            (&[("nvidia.com/gpu", "one")], None),
            (&[("nvidia.com/gpu", "-1")], None),
        ] {
            let needs = PodNeeds { requests: resources(requests), ..PodNeeds::default() };
            let lack = fits(&needs, &node).err().map(|lack| lack.resource);
            assert_eq!(lack.as_deref(), expected, "{requests:?}");
        }
    }

    #[test]
    fn a_node_without_places_for_pods_hosts_none() {
        let lack = fits(&PodNeeds::default(), &resources(&[("pods", "0")])).unwrap_err();
        assert_eq!(lack.to_string(), "offers pods 0 on a node, and one pod asks for 1");
    }

    #[test]
    fn what_is_lacking_is_said_with_both_numbers() {
        let needs = PodNeeds { requests: resources(&[("nvidia.com/gpu", "8")]), ..PodNeeds::default() };
        let lack = fits(&needs, &resources(&[("nvidia.com/gpu", "1")])).unwrap_err();
        assert_eq!(lack.to_string(), "offers nvidia.com/gpu 1 on a node, and one pod asks for 8");
        let lack = fits(&needs, &resources(&[])).unwrap_err();
        assert_eq!(lack.to_string(), "has no nvidia.com/gpu, and one pod asks for 8");
    }
}
