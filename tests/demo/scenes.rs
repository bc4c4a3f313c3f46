//! The scenes beside the load: what a label brings, what is refused, what is left alone, and what goes with the label.

use std::time::Duration;

use serde_json::Value;

use crate::api::{Api, list, text};
use crate::harness::process::Ran;
use crate::screen::Screen;
use crate::script::{Expectations, Plan, until};
use crate::timeline::NAMESPACE;
use crate::world::{World, manifest};

/// For what the controller does after a change.
const PATIENCE: Duration = Duration::from_secs(30);

/// For a series to end in Prometheus after its target is gone.
const SCRAPE: Duration = Duration::from_secs(90);

/// Where the published walkthrough stands.
const PUBLISHED: &str = "published";

pub const LABEL: &str = "scalegate.dev/autoscale";

/// The label brings an autoscaler to each, and a scrape object to the one that scales on the server's metrics.
pub fn label_brings(api: &Api, plan: &Plan, expected: &mut Expectations<'_>) {
    for strategy in &plan.strategies {
        let what = format!("`{LABEL}: {}` brought {} an autoscaler", strategy.profile, strategy.name);
        expected.until(&what, PATIENCE, || names(api, HPAS, NAMESPACE).contains(&strategy.name.to_owned()));
    }
    let scraped: Vec<String> =
        plan.strategies.iter().filter(|s| s.profile == "server-metrics").map(|s| s.name.to_owned()).collect();
    let what = format!("and a PodMonitoring to {} alone", scraped.join(", "));
    expected.until(&what, PATIENCE, || names(api, MONITORINGS, NAMESPACE) == scraped);
}

/// Three autoscalers that could not work.
pub fn refusals(world: &World, expected: &mut Expectations<'_>, screen: &Screen) {
    world.cluster.kubectl(&["create", "namespace", "refused"]).ok();
    let cases = [
        ("wrong-hpa.yaml", "metric-unit", "an autoscaler that asks for 80 of a share of 1 is refused"),
        ("gpu-less-pool.yaml", "gpu-node-pool", "an autoscaler of a server bound to the pool without GPUs is refused"),
    ];
    for (file, rule, what) in cases {
        let ran = apply(world, "refused", &manifest(file));
        refused(&ran, rule, what, expected, screen);
    }
    world.cluster.kubectl(&["create", "namespace", PUBLISHED]).ok();
    let published = apply(world, PUBLISHED, &manifest("published.yaml"));
    expected.check(published.code == 0, "the published walkthrough, with its own autoscaler, is admitted");
    let ran = apply(world, PUBLISHED, &manifest("second-hpa.yaml"));
    refused(
        &ran,
        "autoscaler-conflict",
        "a second autoscaler for its Deployment, which has no label, is refused",
        expected,
        screen,
    );
}

fn refused(ran: &Ran, rule: &str, what: &str, expected: &mut Expectations<'_>, screen: &Screen) {
    expected.check(ran.code != 0 && ran.stderr.contains(&format!("[{rule}]")), what);
    screen.quote(ran.stderr.trim());
}

/// The autoscalers and the PodMonitorings of the published walkthrough, by name and spec.
pub type Published = [Vec<(String, Value)>; 2];

/// The published walkthrough is labelled: it has everything already, so nothing is added, and an Event says so. Gives what
/// was there before.
pub fn labelled_in_place(world: &World, api: &Api, expected: &mut Expectations<'_>, screen: &Screen) -> Published {
    let path = format!("/apis/apps/v1/namespaces/{PUBLISHED}/deployments/{DEPLOYMENT}");
    until(PATIENCE, || api.get(&path).is_some_and(|deployment| deployment["status"]["readyReplicas"] == 1));
    let before = published(api);
    world
        .cluster
        .kubectl(&["label", "-n", PUBLISHED, "deployment", DEPLOYMENT, &format!("{LABEL}=server-metrics")])
        .ok();
    let event = || {
        let events = api.get(&format!("/api/v1/namespaces/{PUBLISHED}/events")).unwrap_or_default();
        let of_ours = |event: &&Value| {
            event["involvedObject"]["name"] == DEPLOYMENT && text(&event["reportingComponent"]).contains("scalegate")
        };
        let texts: Vec<String> = list(&events["items"])
            .iter()
            .filter(of_ours)
            .map(|event| format!("{} {}: {}", text(&event["type"]), text(&event["reason"]), text(&event["message"])))
            .collect();
        texts
    };
    let mut said = Vec::new();
    let what = "the published Deployment is labelled in place: an Event says why it gets no autoscaler of ours";
    expected.until(what, PATIENCE, || {
        said = event();
        said.iter().any(|text| text.contains("gemma-server-hpa"))
    });
    screen.quote(&said.join("\n"));
    before
}

/// The autoscalers and the PodMonitorings of the published walkthrough now.
pub fn published(api: &Api) -> Published {
    [HPAS, MONITORINGS].map(|kind| specs(api, kind))
}

const DEPLOYMENT: &str = "vllm-gemma-deployment";

/// With the label goes what it brought, and nothing else.
pub fn unlabelled(world: &World, api: &Api, plan: &Plan, expected: &mut Expectations<'_>) {
    let server = plan.strategies.iter().find(|strategy| strategy.profile == "server-metrics");
    let query = format!("vllm:num_requests_running{{namespace=\"{NAMESPACE}\"}}");
    expected.until("Prometheus scrapes the replica that is left, and no other", SCRAPE, || {
        world.collector.series(&query) == Some(1)
    });
    for strategy in &plan.strategies {
        world.cluster.kubectl(&["label", "-n", NAMESPACE, "deployment", strategy.name, &format!("{LABEL}-")]).ok();
    }
    expected.until("the labels are gone, and our autoscalers with them", PATIENCE, || {
        names(api, HPAS, NAMESPACE).is_empty()
    });
    expected.until("our PodMonitoring too", PATIENCE, || names(api, MONITORINGS, NAMESPACE).is_empty());
    if server.is_some() {
        let what = "without the PodMonitoring, Prometheus has the metric no more";
        expected.until(what, SCRAPE, || world.collector.series(&query) == Some(0));
    }
    let kept = until(PATIENCE, || {
        plan.strategies.iter().all(|strategy| {
            let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{}", strategy.name);
            let deployment = api.get(&path).unwrap_or_default();
            let annotations = deployment["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
            deployment["status"]["readyReplicas"] == 1
                && !annotations.keys().any(|key| key.starts_with("status.scalegate.dev/"))
        })
    });
    expected.check(kept, "the Deployments serve on, and carry no annotation of ours");
}

const HPAS: &str = "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers";
const MONITORINGS: &str = "/apis/monitoring.googleapis.com/v1/namespaces/{}/podmonitorings";

/// An autoscaler, when it is there.
pub fn autoscaler(api: &Api, namespace: &str, name: &str) -> Option<Value> {
    objects(api, HPAS, namespace).into_iter().find(|object| object["metadata"]["name"] == name)
}

/// The names of the autoscalers beside the walkthrough's Deployments.
pub fn names_of_autoscalers(api: &Api) -> Vec<String> {
    names(api, HPAS, NAMESPACE)
}

/// The names of the PodMonitorings there.
pub fn names_of_monitorings(api: &Api) -> Vec<String> {
    names(api, MONITORINGS, NAMESPACE)
}

fn objects(api: &Api, kind: &str, namespace: &str) -> Vec<Value> {
    // No answer does not mean that nothing is there.
    let mut answer = None;
    until(PATIENCE, || {
        answer = api.get(&kind.replace("{}", namespace));
        answer.is_some()
    });
    list(&answer.expect("the API server answers")["items"]).to_vec()
}

fn names(api: &Api, kind: &str, namespace: &str) -> Vec<String> {
    objects(api, kind, namespace).iter().map(|object| text(&object["metadata"]["name"]).to_owned()).collect()
}

/// Name and spec of each object of the published walkthrough.
fn specs(api: &Api, kind: &str) -> Vec<(String, Value)> {
    let name = |object: &Value| text(&object["metadata"]["name"]).to_owned();
    objects(api, kind, PUBLISHED).iter().map(|object| (name(object), object["spec"].clone())).collect()
}

fn apply(world: &World, namespace: &str, yaml: &str) -> Ran {
    world.cluster.kubectl_stdin(&["apply", "-n", namespace, "-f", "-"], yaml)
}
