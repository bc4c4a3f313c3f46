//! Nodes and pods without machines: KWOK plays every kubelet.

use std::process::Command;

use serde_json::{Value, json};

use super::assets::Binary;
use super::control_plane::{ControlPlane, command};
use super::repository;

/// Pods get addresses of this range of loopback, so that one process can answer for all of them.
const POD_RANGE: &str = "127.64.0.1/16";

/// The annotation that gives a pod a loading time: how long it runs before it is ready, such as `20s`.
pub const READY_AFTER: &str = "kwok.test/ready-after";

impl ControlPlane {
    /// Starts KWOK, which makes every node and every pod on it ready; `tests/cluster/kwok/` says how.
    pub fn kwok(&self) {
        let mut command: Command = command(Binary::Kwok);
        command.arg("--kubeconfig").arg(self.kubeconfig_path());
        for stages in ["nodes.yaml", "pods.yaml"] {
            command.arg("--config").arg(repository("tests/cluster/kwok").join(stages));
        }
        command.args(["--manage-all-nodes", "--cidr", POD_RANGE, "--node-ip", "127.0.0.1"]);
        command.args(["--node-lease-duration-seconds", "40"]).env("HOME", self.folder());
        self.add_worker("kwok", command);
    }

    /// Adds a node without an accelerator, labelled as GKE labels the nodes of that pool.
    pub fn cpu_node(&self, name: &str, pool: &str) {
        self.node(name, &json!({"cloud.google.com/gke-nodepool": pool}), &json!([]), &json!({}));
    }

    /// Adds a node with that many L4 GPUs, labelled and tainted as GKE does it.
    pub fn gpu_node(&self, name: &str, pool: &str, gpus: u32) {
        let labels = json!({
            "cloud.google.com/gke-nodepool": pool,
            "cloud.google.com/gke-accelerator": "nvidia-l4",
            "cloud.google.com/gke-accelerator-count": gpus.to_string(),
            "cloud.google.com/gke-gpu-driver-version": "latest",
        });
        let taints = json!([{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]);
        self.node(name, &labels, &taints, &json!({"nvidia.com/gpu": gpus.to_string()}));
    }

    /// Adds a node; `resources` come on top of what every node has.
    pub fn node(&self, name: &str, labels: &Value, taints: &Value, resources: &Value) {
        let mut all = json!({"cpu": "16", "memory": "64Gi", "ephemeral-storage": "200Gi", "pods": "110"});
        merge(&mut all, resources);
        let mut all_labels = json!({
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        });
        merge(&mut all_labels, labels);
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": all_labels},
            "spec": {"taints": taints},
        });
        self.kubectl_stdin(&["create", "-f", "-"], &node.to_string()).ok();
        // A kubelet reports these, and the API server takes them on the subresource alone.
        let status = json!({"status": {"capacity": all, "allocatable": all}}).to_string();
        self.kubectl(&["patch", "node", name, "--subresource=status", "--type=merge", "-p", &status]).ok();
    }
}

/// Adds the members of one object to another.
fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
}
