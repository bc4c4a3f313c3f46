//! What holds in any world.

use proptest::prelude::*;

use super::*;

fn arbitrary_world() -> impl Strategy<Value = World> {
    let resources = || {
        proptest::collection::vec(
            (
                prop::sample::select(vec!["cpu", GPU, "amd.com/gpu", "nvidia.com/mig-1g.5gb", "pods"]),
                "[0-9]{0,2}|1e3|[a-z]{2}",
            ),
            0..4,
        )
    };
    let labels = || {
        let keys = vec![
            POOL,
            "karpenter.sh/nodepool",
            "cloud.google.com/compute-class",
            "nvidia.com/gpu.replicas",
            "tier",
            "accelerator",
        ];
        proptest::collection::vec((prop::sample::select(keys), "[ab]|nvidia|[0-9]"), 0..3)
    };
    let taint = prop::sample::select(vec!["nvidia.com/gpu", "dedicated", "node.kubernetes.io/not-ready"]);
    let thing = (0..4u8, "[a-d]", labels(), resources(), proptest::collection::vec(taint, 0..2));
    (
        proptest::collection::vec(thing, 0..5),
        labels(),
        resources(),
        proptest::option::of(proptest::collection::vec(
            (prop::sample::select(vec![POOL, "tier"]), "In|NotIn|Exists|Gt|x", "[ab1]"),
            0..3,
        )),
        any::<(bool, bool)>(),
    )
        .prop_map(|(things, selector, requests, affinity, (complete, provisioning))| {
            let mut world = world();
            world.configuration.pools.complete = complete;
            world.configuration.pools.provisioning = provisioning && complete;
            for (key, value) in selector {
                world = world.selecting(key, &value);
            }
            for (name, amount) in requests {
                world = world.asks(name, &amount);
            }
            if let Some(terms) = affinity {
                let values: Vec<[&str; 1]> = terms.iter().map(|(_, _, value)| [value.as_str()]).collect();
                let terms: Vec<(&str, &str, &[&str])> = terms
                    .iter()
                    .zip(&values)
                    .map(|((key, operator, _), value)| (*key, operator.as_str(), &value[..]))
                    .collect();
                world = world.affinity(&terms);
            }
            for thing in things {
                world = with_thing(world, &thing);
            }
            world
        })
}

type Thing = (u8, String, Vec<(&'static str, String)>, Vec<(&'static str, String)>, Vec<&'static str>);

fn with_thing(world: World, (kind, name, labels, resources, taints): &Thing) -> World {
    let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let resources: Vec<(&str, &str)> = resources.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let taints: Vec<(&str, &str)> = taints.iter().map(|key| (*key, "NoSchedule")).collect();
    match kind {
        0 => world.pool_with(name, &labels, &taints, &resources),
        // A definition of the same name would replace the one that is there, so each kind of pool has one form a name.
        1 => world.karpenter(
            name,
            &json!([{"key": "karpenter.k8s.aws/instance-gpu-count", "operator": "Gt", "values": ["0"]}]),
        ),
        2 => world.class(name, &json!({"priorities": [{"gpu": {"count": 1}}]})),
        _ => {
            let unique = format!("{name}{}", world.view.node_shapes().count());
            world.node_with(&unique, &labels, &taints, &resources, &resources)
        }
    }
}

proptest! {
    #[test]
    fn another_pool_or_node_never_takes_a_place_away(
        world in arbitrary_world(),
        kind in 0..4u8, name in "[a-d]",
        labels in proptest::collection::vec((prop::sample::select(vec![POOL, "tier", "karpenter.sh/nodepool"]), "[ab]"), 0..3),
        resources in proptest::collection::vec((prop::sample::select(vec!["cpu", GPU]), "[0-9]"), 0..3),
    ) {
        let before = world.lands();
        let after = with_thing(world, &(kind, name, labels, resources, Vec::new())).lands();
        if matches!(before, Landing::Present { .. }) {
            prop_assert!(matches!(after, Landing::Present { .. }), "{after:?}");
        }
        if matches!(before, Landing::NotReady { .. }) {
            prop_assert!(!matches!(after, Landing::Absent { .. }), "{after:?}");
        }
    }

    #[test]
    fn no_text_makes_it_panic(
        key in ".*", value in ".*", operator in ".*", amount in ".*", resource in ".*", taint in ".*", machine in ".*",
    ) {
        let world = world()
            .complete()
            .selecting(&key, &value)
            .affinity(&[(&key, &operator, &[&value]), (POOL, "In", &[&value])])
            .asks(&resource, &amount)
            .tolerating(&taint)
            .asks(GPU, &amount)
            .node_with("n", &[(&key, &value), ("node.kubernetes.io/instance-type", &machine)], &[(&taint, "NoSchedule")], &[(&resource, &amount)], &[(GPU, &amount)])
            .pool_with(&value, &[(&key, &value)], &[(&taint, "NoExecute")], &[(&resource, &amount)])
            .karpenter(&value, &json!([{"key": key, "operator": operator, "values": [value, machine]}]))
            .class(&value, &json!({"priorities": [{"machineType": machine}, {"gpu": {"count": amount}}], "whenUnsatisfiable": "DoNotScaleUp"}));
        world.lands();
    }
}
