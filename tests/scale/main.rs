//! `make scale`: thousands of labelled Deployments on etcd and the API server, in numbers. What is measured, and what ends
//! it with exit code 1, is in [`run`]; the numbers of objects are in [`Size`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement that cannot go on ends")]
#![allow(missing_docs, unreachable_pub, reason = "nobody reads these as an interface")]

#[path = "../cluster/harness/mod.rs"]
mod harness;

mod api;
mod calls;
mod objects;
mod report;

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use scalegate::tls::DevCa;

use api::Api;
use calls::Calls;
use harness::assets::{self, Binary};
use harness::control_plane::{ControlPlane, Options};
use harness::metrics::Metrics;
use harness::scalegate::{Launch, Scalegate};
use harness::{http, process};
use objects::{DEPLOYMENTS, Objects, PER_WORKLOAD, Size, WRITTEN};
use report::Report;

/// Requests at a time: as many as the controller writes at a time, so that the loop beside it is its equal.
const EQUAL: usize = 8;
/// Requests at a time where only the result counts.
const FAST: usize = 16;
/// How often the controller's numbers are looked at. Its page has some lines for each workload, so that it is work of its own.
const LOOK: Duration = Duration::from_secs(1);
/// Nothing written for this long is rest: longer than the pause between two passes of the controller.
const REST: Duration = Duration::from_secs(12);
/// After this an admin port that does not answer hangs.
const ANSWERS: Duration = Duration::from_secs(60);
/// As whom the controller and the webhook ask, and as whom the loop does.
const CONTROLLER: &str = "scale-controller";
const WEBHOOK: &str = "scale-webhook";
const LOOP: &str = "scale-loop";

fn main() -> ExitCode {
    let size = match Size::from_environment() {
        Ok(size) => size,
        Err(error) => return give_up(&error),
    };
    for binary in [Binary::Etcd, Binary::ApiServer, Binary::Kubectl] {
        if let Err(error) = assets::find(binary) {
            return give_up(&error);
        }
    }
    let options = Options { audit_policy: Some(calls::policy(&[CONTROLLER, WEBHOOK, LOOP])), ..Options::default() };
    let Some(cluster) = ControlPlane::start(options) else { return give_up("the control plane did not start") };
    if run(&cluster, size) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn give_up(error: &str) -> ExitCode {
    eprintln!("scale: {error}");
    ExitCode::FAILURE
}

/// Measures, and says whether all that has to hold does: a restart writes nothing, and the labels taken away nothing of ours
/// is left and nothing else was touched.
fn run(cluster: &ControlPlane, size: Size) -> bool {
    let mut report = Report::new(size);
    let objects = Objects::new(size);
    let api = Api::new(cluster.client());
    let calls = Calls::of(cluster);

    report.part("The cluster");
    objects::define(cluster);
    let mut there = objects.fill(&api, &mut report);

    report.part("The loop: bare server-side applies of the same objects");
    let loop_took = bare_applies(cluster, &objects, &api, &mut report);

    report.part("The controller");
    let patience = size.patience();
    let identity = cluster.user(CONTROLLER, &["system:masters"]);
    let began = Instant::now();
    let mark = calls.mark();
    let launch = Launch::new("controller")
        .args(["--namespace=scalegate-system", "--no-certificates"])
        .kubeconfig(&cluster.kubeconfig_of(&identity))
        .with_admin();
    let mut controller = launch.start();
    report.line(&format!("ready after {:.1} s", began.elapsed().as_secs_f64()));
    let ready = Instant::now();
    let wanted = f64::from(size.workloads) * f64::from(PER_WORKLOAD);
    let mut first = None;
    report.until("objects written", patience, wanted, || {
        let written = applied(&controller, &["created", "applied"]);
        if written > 0.0 {
            first.get_or_insert_with(Instant::now);
        }
        written
    });
    let took = ready.elapsed();
    let ours = objects::count_ours(&api);
    report.must(
        ours == size.written(),
        &format!("{ours} of {} objects are there, each owned by its workload", size.written()),
    );
    report.line(&format!(
        "all of them {:.1} s after it was ready, {:.1} s after the first",
        took.as_secs_f64(),
        first.map_or(0.0, |first| first.elapsed().as_secs_f64())
    ));
    report.goal("time beside the loop's", took.as_secs_f64() / loop_took.as_secs_f64(), 1.3, "x");
    report.processor("the controller", controller.process().id());
    rest(&controller, &calls, CONTROLLER, patience);
    report.processor("the controller at rest", controller.process().id());
    report.line(&format!("at rest {:.1} s after it was ready", ready.elapsed().saturating_sub(REST).as_secs_f64()));
    report.calls("until rest", &calls.since(mark, CONTROLLER));
    report.numbers("its numbers", &numbers(&controller), &NUMBERS);
    report.memory("the controller at rest", controller.process().id(), 64.0);
    there.must_be(&objects::list(&api, DEPLOYMENTS), "the controller left all Deployments as they were", &mut report);

    report.part("The webhook over the same cluster");
    let mut webhook = webhook(cluster);
    std::thread::sleep(REST);
    report.memory("the webhook at rest", webhook.process().id(), 24.0);
    report.line(&format!("webhook: {:.0} requests to the API server", calls.since(mark, WEBHOOK).total()));
    webhook.stop();

    report.part("The controller again, over what is there");
    let mark = calls.mark();
    controller.stop();
    let began = Instant::now();
    controller.start_again();
    report.line(&format!("ready after {:.1} s", began.elapsed().as_secs_f64()));
    let workloads = f64::from(size.workloads);
    report.until("workloads looked at", patience, workloads, || looks(&controller).min(workloads));
    process::until("the queue is empty", patience, || (queued(&controller) == 0.0).then_some(()));
    report.processor("the controller", controller.process().id());
    report.line(&format!("all looked at {:.1} s after its start", began.elapsed().as_secs_f64()));
    rest(&controller, &calls, CONTROLLER, patience);
    let asked = calls.since(mark, CONTROLLER);
    report.calls("after the restart", &asked);
    let writes = asked.writes(&WRITTEN.map(|of| of.resource));
    report.must(writes == 0, &format!("{writes} writes of generated objects"));
    report.memory("the controller at rest, restarted", controller.process().id(), 64.0);

    report.part("The labels are taken away");
    let mark = calls.mark();
    let began = Instant::now();
    there.changed(objects.unlabel(&api, &mut report));
    report.line(&format!("all labels are gone after {:.1} s", began.elapsed().as_secs_f64()));
    report.until("objects removed", patience, wanted, || applied(&controller, &["pruned"]));
    report.line(&format!("all objects are gone {:.1} s after the first label", began.elapsed().as_secs_f64()));
    rest(&controller, &calls, CONTROLLER, patience);
    report.calls("from the first label until rest", &calls.since(mark, CONTROLLER));
    let mut left = BTreeMap::new();
    for of in WRITTEN {
        left.extend(objects::list(&api, of));
    }
    there.foreign_must_be(&left, "nothing of ours is left, and what others wrote is as it was", &mut report);
    there.must_be(&objects::list(&api, DEPLOYMENTS), "all Deployments are there and as they were", &mut report);
    report.must(
        calls.of_others(CONTROLLER, &["horizontalpodautoscalers", "podmonitorings", "events"]).is_empty(),
        "the controller wrote nothing but HorizontalPodAutoscalers, PodMonitorings and Events",
    );
    report.memory("the controller at rest, nothing labelled", controller.process().id(), 64.0);
    controller.stop();
    report.end()
}

/// The controller's numbers that say whether it does needless work.
const NUMBERS: [&str; 3] =
    ["scalegate_apply_total", "scalegate_reconcile_looks_total", "scalegate_events_failed_total"];

/// Writes the same objects without an owner, in namespaces of their own and before anything of ours runs; then removes them.
fn bare_applies(cluster: &ControlPlane, objects: &Objects, api: &Api, report: &mut Report) -> Duration {
    let client = Api::new(cluster.client_for(LOOP, &["system:masters"]));
    let began = Instant::now();
    objects.apply_bare(&client, EQUAL, report);
    let took = began.elapsed();
    let each = f64::from(objects.size.written()) / took.as_secs_f64();
    report.line(&format!("{:.1} s, {each:.0} a second", took.as_secs_f64()));
    objects.remove_bare(api, report);
    took
}

/// A webhook that watches the cluster; nothing calls it.
fn webhook(cluster: &ControlPlane) -> Scalegate {
    let ca = DevCa::generate("scale", Duration::from_secs(86_400)).unwrap();
    let issued = ca.issue(&["scalegate.scalegate-system.svc"]).unwrap();
    let folder = process::folder("scale");
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (certificate, key) = (write("tls.crt", &issued.chain_pem), write("tls.key", &issued.key_pem));
    let identity = cluster.user(WEBHOOK, &["system:masters"]);
    let launch = Launch::new("webhook").args(["--tls-cert", &certificate, "--tls-key", &key]);
    launch.kubeconfig(&cluster.kubeconfig_of(&identity)).listening().with_admin().start()
}

/// Waits until nothing is queued and no generated object was written for [`REST`].
fn rest(controller: &Scalegate, calls: &Calls, user: &str, within: Duration) {
    let resources = WRITTEN.map(|of| of.resource);
    let mark = calls.mark();
    let mut last = (Instant::now(), u64::MAX);
    process::until("the controller comes to rest", within, || {
        let writes = calls.since(mark, user).writes(&resources);
        if writes != last.1 || queued(controller) > 0.0 {
            last = (Instant::now(), writes);
        }
        (last.0.elapsed() >= REST).then_some(())
    });
}

fn applied(controller: &Scalegate, results: &[&str]) -> f64 {
    let metrics = numbers(controller);
    results.iter().map(|result| metrics.sum("scalegate_apply_total", &[("result", result)])).sum()
}

fn looks(controller: &Scalegate) -> f64 {
    numbers(controller).sum("scalegate_reconcile_looks_total", &[])
}

fn queued(controller: &Scalegate) -> f64 {
    numbers(controller).sum("scalegate_reconcile_queue", &[])
}

/// The controller's numbers, a moment later: to ask all the time would be a load of its own. On a busy machine an answer may
/// not come in time.
fn numbers(controller: &Scalegate) -> Metrics {
    std::thread::sleep(LOOK);
    let page = process::until("the admin port answers", ANSWERS, || {
        let (status, page) = http::get(controller.admin(), "/metrics").ok()?;
        (status == 200).then_some(page)
    });
    Metrics::new(page)
}
