//! Nodes by name, where nodes that are alike share one shape.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::super::objects::Quantity;
use super::super::placement::NodeShape;

/// Which shape each node has.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    by_name: BTreeMap<String, u64>,
    /// By number, in the order in which they came first.
    shapes: BTreeMap<u64, NodeShape>,
    /// Numbers of the shapes that share a fingerprint.
    numbers: BTreeMap<u64, Vec<u64>>,
    next: u64,
}

// === impl Nodes ===

impl Nodes {
    /// Says what shape a node has now.
    pub fn insert(&mut self, name: &str, shape: NodeShape) {
        if self.holds(name, &shape) {
            return;
        }
        self.remove(name);
        let known = self.number(&shape);
        let number = known.unwrap_or(self.next);
        if let Some(known) = self.shapes.get_mut(&number) {
            known.count = known.count.saturating_add(1);
        } else {
            self.next += 1;
            self.numbers.entry(fingerprint(&shape)).or_default().push(number);
            self.shapes.insert(number, NodeShape { count: 1, ..shape });
        }
        self.by_name.insert(name.to_owned(), number);
    }

    /// Takes a node out, and its shape with the last node that has it.
    pub fn remove(&mut self, name: &str) {
        let Some(number) = self.by_name.remove(name) else { return };
        let Some(shape) = self.shapes.get_mut(&number) else { return };
        shape.count = shape.count.saturating_sub(1);
        if shape.count > 0 {
            return;
        }
        let fingerprint = fingerprint(shape);
        self.shapes.remove(&number);
        if let Some(numbers) = self.numbers.get_mut(&fingerprint) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.numbers.remove(&fingerprint);
            }
        }
    }

    /// The shape of a node.
    pub fn get(&self, name: &str) -> Option<&NodeShape> {
        self.shapes.get(self.by_name.get(name)?)
    }

    /// Whether a node is known to have that shape.
    pub fn holds(&self, name: &str, shape: &NodeShape) -> bool {
        self.get(name).is_some_and(|known| alike(known, shape))
    }

    /// Each shape once.
    pub fn shapes(&self) -> impl Iterator<Item = &NodeShape> {
        self.shapes.values()
    }

    /// The names of all nodes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    fn number(&self, shape: &NodeShape) -> Option<u64> {
        let numbers = self.numbers.get(&fingerprint(shape))?;
        numbers.iter().copied().find(|number| self.shapes.get(number).is_some_and(|known| alike(known, shape)))
    }
}

/// Equal but for the count.
fn alike(one: &NodeShape, other: &NodeShape) -> bool {
    one.labels == other.labels
        && one.taints == other.taints
        && one.capacity == other.capacity
        && one.allocatable == other.allocatable
}

fn fingerprint(shape: &NodeShape) -> u64 {
    let mut hasher = DefaultHasher::new();
    shape.labels.hash(&mut hasher);
    for taint in &shape.taints {
        (&taint.key, &taint.value, &taint.effect).hash(&mut hasher);
    }
    for resources in [&shape.capacity, &shape.allocatable] {
        resources.len().hash(&mut hasher);
        for (name, amount) in resources {
            (name, Quantity::text(amount)).hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(pool: &str, gpus: &str) -> NodeShape {
        NodeShape {
            count: 1,
            labels: BTreeMap::from([("pool".to_owned(), pool.to_owned())]),
            allocatable: BTreeMap::from([("nvidia.com/gpu".to_owned(), Quantity::new(gpus))]),
            ..NodeShape::default()
        }
    }

    #[test]
    fn nodes_alike_share_a_shape_until_the_last_of_them_goes() {
        let mut nodes = Nodes::default();
        for name in ["a", "b", "c"] {
            nodes.insert(name, shape("gpu", "8"));
        }
        nodes.insert("d", shape("cpu", "0"));
        let counts = |nodes: &Nodes| nodes.shapes().map(|shape| shape.count).collect::<Vec<_>>();
        assert_eq!(counts(&nodes), [3, 1]);
        nodes.insert("b", shape("cpu", "0"));
        nodes.insert("b", shape("cpu", "0"));
        assert_eq!(counts(&nodes), [2, 2]);
        assert!(nodes.holds("b", &shape("cpu", "0")) && !nodes.holds("b", &shape("gpu", "8")));
        for name in ["a", "c", "c", "unknown"] {
            nodes.remove(name);
        }
        assert_eq!(counts(&nodes), [2]);
        nodes.remove("b");
        nodes.remove("d");
        assert!(nodes.names().next().is_none() && nodes.shapes.is_empty() && nodes.numbers.is_empty());
    }
}
