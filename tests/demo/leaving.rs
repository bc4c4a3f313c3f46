//! The scenes at the end: the cluster audited, live and from a picture of it; and scalegate taken away from it.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::api::{Api, list};
use crate::harness::chart::Installed;
use crate::harness::installation::NAMESPACE as INSTALLED_IN;
use crate::harness::process::{Ran, folder};
use crate::scenes::{LABEL, autoscaler, names_of_autoscalers, names_of_monitorings};
use crate::script::{Expectations, until};
use crate::timeline::{NAMESPACE, Strategy};
use crate::world::World;

/// For what the controller does after a change, and for the HPA controller, which looks every 2 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// A minute that an HPA lives without us, in looks of the HPA controller; enough for a condition to turn.
const ALONE: Duration = Duration::from_secs(20);

/// An audit of the cluster says what an audit of its snapshot says.
pub fn audited(world: &World, expected: &mut Expectations<'_>) {
    let file = folder("snapshot").join("cluster.json");
    let file = file.to_str().unwrap_or_default();
    let same = until(PATIENCE, || {
        let audit = |more: &[&str]| scalegate(world, &[&["audit", "--output=json"], more].concat());
        let (before, taken, after) = (audit(&[]), scalegate(world, &["snapshot", "-o", file]), audit(&[]));
        // Something may have moved while it was asked.
        taken.code == 0 && before.stdout == after.stdout && audit(&["--cluster", file]).stdout == after.stdout
    });
    expected.check(same, "`scalegate audit` says of the cluster what it says of its snapshot");
}

/// Without us the autoscaler goes on; `scalegate uninstall --purge` leaves nothing of ours.
pub fn uninstalled(world: &mut World, api: &Api, strategy: &Strategy, expected: &mut Expectations<'_>) {
    let label = format!("{LABEL}={}", strategy.profile);
    world.cluster.kubectl(&["label", "-n", NAMESPACE, "deployment", strategy.name, &label]).ok();
    let scales = |api: &Api| {
        let status = autoscaler(api, NAMESPACE, strategy.name).unwrap_or_default()["status"].clone();
        list(&status["conditions"]).iter().any(|of| of["type"] == "ScalingActive" && of["status"] == "True")
    };
    expected.until("labelled once more, it is scaled", PATIENCE, || scales(api));
    let Some(installation) = world.installation.take() else { return };
    remove(world, &installation.chart);
    drop(installation);
    let stopped = until(ALONE, || !scales(api));
    expected.check(!stopped, "scalegate is uninstalled, and the autoscaler scales on (condition ScalingActive)");
    let ran = scalegate(world, &["uninstall", "--purge", "--namespace", INSTALLED_IN]);
    let said = if ran.code == 0 { String::new() } else { format!(": {}{}", ran.stdout, ran.stderr) };
    expected.check(ran.code == 0, &format!("`scalegate uninstall --purge` ends well{said}"));
    expected.until("and leaves no autoscaler and no PodMonitoring of ours", PATIENCE, || {
        names_of_autoscalers(api).is_empty() && names_of_monitorings(api).is_empty()
    });
}

/// What `helm uninstall` does.
fn remove(world: &World, chart: &Installed<'_>) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": chart.objects});
    world.cluster.kubectl_stdin(&["delete", "--ignore-not-found", "-f", "-"], &list.to_string()).ok();
}

fn scalegate(world: &World, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scalegate"));
    command.args(arguments).env("KUBECONFIG", world.cluster.kubeconfig_path());
    Ran::of(command, "")
}
