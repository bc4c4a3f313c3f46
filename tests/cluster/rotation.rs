//! Certificates rotate, replicas restart and die, the chart is applied again, the API server goes and comes back: under a
//! steady load of admissions, of which none may fail.
//!
//! By default a short form runs. With `SCALEGATE_TEST_SOAK` set (`make soak`) there are three rotations a mode and twenty
//! rolling restarts.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scalegate::tls::DevCa;
use serde_json::{Value, json};

use crate::harness::assets::{Binary, have};
use crate::harness::chart::{RELEASE, helm_in, project};
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::installation::{Installation, NAMESPACE, merge, wait_until_called};
use crate::harness::load::{Load, Tally, WORKERS};
use crate::harness::process::{folder, note, until};
use crate::harness::scalegate::Scalegate;
use crate::harness::{repository, values};

/// Set, the full form runs.
const SOAK: &str = "SCALEGATE_TEST_SOAK";

/// A deadline that only a hang reaches.
const PATIENCE: Duration = Duration::from_secs(180);

/// Both webhook configurations.
const CONFIGURATIONS: [&str; 2] = ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"];

/// A leaf holds for 20 s and is renewed after 6 s; an authority holds for 40 s and is replaced after 20 s. So there are
/// always 14 s left for a machine that is busy.
const VALIDITIES: [&str; 4] = ["--ca-validity=40s", "--leaf-validity=20s", "--renew-before=14s", "--settle=2s"];

/// Only what our own accounts ask for.
const AUDIT: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    userGroups: ["system:serviceaccounts:scalegate-system"]
  - level: None
"#;

/// Requests of one process that nobody can call a hot loop: a start lists and watches every kind, and discovers a few
/// times; a hot loop makes thousands in the seconds that a recovery takes.
const REQUESTS: usize = 600;

/// How much is done.
struct Form {
    rotations: u32,
    restarts: usize,
}

fn form() -> Form {
    let soak = std::env::var_os(SOAK).is_some_and(|value| !value.is_empty());
    if soak { Form { rotations: 3, restarts: 20 } } else { Form { rotations: 1, restarts: 1 } }
}

fn control_plane() -> Option<ControlPlane> {
    if !have(&[Binary::Helm]) {
        return None;
    }
    ControlPlane::start(Options { audit_policy: Some(AUDIT.to_owned()), ..Options::default() })
}

/// Asserts that no call failed since the API server started, but for so many.
#[track_caller]
fn assert_failed(what: &str, installed: &Installation<'_>, at_most: f64) -> f64 {
    let failed = installed.cluster.metrics().failed_webhook_calls();
    assert!(failed <= at_most, "{what}: {failed} calls failed\n{}\n{}", failures(installed), installed.logs());
    failed
}

/// What the API server says of calls that failed.
fn failures(installed: &Installation<'_>) -> String {
    let log = installed.cluster.apiserver_log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("failed calling webhook")).take(10).collect();
    lines.join("\n")
}

/// Asserts that every answer of a load was right.
fn assert_right(what: &str, tally: &Tally, at_most: u64) {
    note(&format!("{what}: {tally}"));
    assert!(tally.unexpected <= at_most, "{what}: {tally}");
    assert!(tally.annotated > 0 && tally.admitted > 0 && tally.refused > 0, "{what}: {tally}");
}

/// A copy of the chart whose Service leads to the balancer; all else is genuine.
fn chart_to(port: u16) -> PathBuf {
    let copy = folder("chart").join("chart");
    let status = Command::new("cp").arg("-r").arg(repository("deploy/chart")).arg(&copy).status().unwrap();
    assert!(status.success());
    let service = copy.join("templates/service.yaml");
    let text = fs::read_to_string(&service).unwrap();
    let (head, _) = text.split_once("spec:").expect("a Service has a spec");
    let spec = format!("spec:\n  type: ExternalName\n  externalName: localhost\n  ports:\n    - port: {port}\n");
    fs::write(&service, format!("{head}{spec}")).unwrap();
    copy
}

/// `helm upgrade` by the real helm, which also takes over what the harness applied before.
fn helm_upgrade(installed: &Installation<'_>, more: &Value) {
    let port = installed.balancer.port();
    let mut chart_values = json!({"service": {"port": port}, "webhook": {"quietPeriodSeconds": 1}});
    merge(&mut chart_values, more);
    let file = folder("values").join("values.json");
    fs::write(&file, chart_values.to_string()).unwrap();
    let chart = chart_to(port);
    let take = ["upgrade", "--install", "--take-ownership", "--force-conflicts", "--namespace", NAMESPACE, RELEASE];
    let from = [chart.to_str().unwrap(), "--values", file.to_str().unwrap()];
    helm_in(installed.cluster, &[&take[..], &from].concat()).ok();
    let live = installed.cluster.kubectl(&["get", CONFIGURATIONS[1], RELEASE, "-o", "json"]).json();
    assert_eq!(live["webhooks"][0]["timeoutSeconds"], more["admission"]["timeoutSeconds"], "the upgrade arrived");
}

/// The published `install.yaml`, its Service and port those of the balancer, applied once more.
fn apply_install_yaml(installed: &Installation<'_>, more: &[&str]) {
    let port = installed.balancer.port();
    let mut objects = values(&fs::read_to_string(repository("deploy/install.yaml")).unwrap());
    for object in &mut objects {
        if object["kind"] == "Service" {
            object["spec"] = json!({"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]});
        }
        let webhooks = object.get_mut("webhooks").and_then(Value::as_array_mut);
        for webhook in webhooks.into_iter().flatten() {
            webhook["clientConfig"]["service"]["port"] = json!(port);
        }
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    installed.cluster.kubectl_stdin(&[&["apply", "-f", "-"], more].concat(), &list).ok();
}

/// Each replica in turn, the other one serving meanwhile.
fn rolling_restart(installed: &mut Installation<'_>) {
    let count = installed.replicas.len();
    for at in 0..count {
        installed.replicas[at].restart();
        installed.balancer.wait_ready(count, PATIENCE);
    }
}

/// Takes the API server and etcd away without a warning, and brings them back. Meanwhile the replicas stay ready, and
/// idle. Gives the time it took.
fn lose_the_control_plane(installed: &mut Installation<'_>) -> Duration {
    let cluster = installed.cluster;
    let mut idle: Vec<u32> = installed.replicas.iter_mut().map(|replica| replica.process().id()).collect();
    idle.extend(installed.controller.as_mut().map(|controller| controller.process().id()));
    let before: Vec<f64> = idle.iter().map(|id| cpu_seconds(*id)).collect();
    let start = Instant::now();
    cluster.stop_apiserver("KILL");
    cluster.stop_etcd("KILL");
    cluster.start_etcd();
    for replica in &installed.replicas {
        assert!(replica.is_ready(), "a replica without an API server serves on: {}", replica.log());
    }
    cluster.start_apiserver();
    let gone = start.elapsed();
    for (id, before) in idle.iter().zip(before) {
        let spent = cpu_seconds(*id) - before;
        assert!(
            spent < 1.0 + gone.as_secs_f64() / 4.0,
            "process {id} ran for {spent} s of {gone:?} without API server"
        );
    }
    gone
}

/// The processor time that a process took so far.
fn cpu_seconds(id: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
    let (_, fields) = text.rsplit_once(')').expect("a name in brackets");
    // utime and stime are the 14th and 15th field, in hundredths of a second on every Linux that Rust runs on.
    let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().expect("a number"));
    ticks.sum::<f64>() / 100.0
}

/// Requests of each of our accounts since the audit log had that many events.
fn requests_since(cluster: &ControlPlane, events: usize) -> [usize; 2] {
    let log = cluster.audit_log();
    ["webhook", "controller"].map(|account| {
        let name = format!("system:serviceaccount:{NAMESPACE}:{RELEASE}-{account}");
        let of_account = log.iter().skip(events).filter(|event| event["user"]["username"] == name.as_str());
        // A watch is counted when it begins, and everything else at its end.
        let counted = |event: &&Value| {
            let stage = if event["verb"] == "watch" { "ResponseStarted" } else { "ResponseComplete" };
            event["stage"] == stage
        };
        of_account.filter(counted).count()
    })
}

/// Waits until each replica's watches bring news again: an autoscaler that is made now.
fn wait_for_news(installed: &Installation<'_>) {
    let known =
        |replica: &Scalegate| replica.metrics().sum("scalegate_cache_objects", &[("kind", "HorizontalPodAutoscaler")]);
    let before: Vec<f64> = installed.replicas.iter().map(known).collect();
    let namespace = installed.cluster.namespace("news");
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "news", "namespace": namespace},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 2},
    });
    installed.cluster.kubectl_stdin(&["create", "-f", "-"], &autoscaler.to_string()).ok();
    until("each replica hears of a new autoscaler", PATIENCE, || {
        let all = installed.replicas.iter().zip(&before).all(|(replica, before)| known(replica) > *before);
        all.then_some(())
    });
    // Until the last watch stands, what other objects say denies nothing.
    let current = |replica: &Scalegate| !replica.metrics().series("scalegate_cache_current", &[]).contains(&0.0);
    until("each watch of each replica stands", PATIENCE, || installed.replicas.iter().all(current).then_some(()));
}

/// Loses the control plane, and sees that everything comes back, without asking more than is sensible.
fn survive_a_lost_control_plane(installed: &mut Installation<'_>) {
    let events = installed.cluster.audit_log().len();
    let gone = lose_the_control_plane(installed);
    let back = Instant::now();
    wait_until_called(installed.cluster);
    let called = back.elapsed();
    wait_for_news(installed);
    let heard = back.elapsed();
    let [webhook, controller] = requests_since(installed.cluster, events);
    note(&format!(
        "API server gone for {gone:.1?}; called again {called:.1?} later, watches back after {heard:.1?}; requests \
         meanwhile: {webhook} of {} replicas, {controller} of the controller",
        installed.replicas.len()
    ));
    let most = REQUESTS + 20 * usize::try_from(heard.as_secs()).unwrap();
    assert!(webhook < most * installed.replicas.len() && controller < most, "{webhook}, {controller}");
}

#[test]
fn self_managed_certificates_rotate_and_replicas_come_and_go_without_a_failed_call() {
    let Some(cluster) = control_plane() else { return };
    let form = form();
    let extra = json!({"controller": {"extraArgs": VALIDITIES}});
    let mut installed = Installation::start_self_managed(&cluster, &extra, 2);
    let steps = |installed: &Installation<'_>, step: &str| {
        let controller = installed.controller.as_ref().expect("a controller");
        controller.metrics().sum("scalegate_rotation_steps_total", &[("step", step)])
    };

    let load = Load::start(&cluster);
    let wanted = f64::from(form.rotations);
    let mut upgrades = 0;
    loop {
        let mut other = extra.clone();
        merge(&mut other, &json!({"admission": {"timeoutSeconds": 6 + upgrades % 3, "excludeNamespaces": ["legacy"]}}));
        helm_upgrade(&installed, &other);
        apply_install_yaml(&installed, &[]);
        apply_install_yaml(&installed, &["--server-side", "--force-conflicts"]);
        upgrades += 1;
        if steps(&installed, "retire") >= wanted {
            break;
        }
        if form.rotations == 1 {
            until("a rotation", PATIENCE, || (steps(&installed, "retire") >= wanted).then_some(()));
            break;
        }
    }
    let (authorities, leaves) = (steps(&installed, "authority"), steps(&installed, "leaf"));
    assert!(authorities > wanted && leaves > authorities, "{authorities} authorities, {leaves} leaves");
    assert_failed("rotations", &installed, 0.0);

    for _ in 0..form.restarts {
        rolling_restart(&mut installed);
    }
    assert_failed("rolling restarts", &installed, 0.0);
    let tally = load.stop();
    assert_right(
        &format!(
            "self-managed, {authorities} authorities, {leaves} leaves, {upgrades} times helm upgrade and twice \
             install.yaml, {} rolling restarts",
            form.restarts
        ),
        &tally,
        0,
    );
    assert_failed("the load's end", &installed, 0.0);

    let load = Load::start(&cluster);
    until("the load runs", PATIENCE, || (load.sent() > 50).then_some(()));
    installed.replicas[0].kill();
    installed.balancer.wait_ready(1, PATIENCE);
    let sent = load.sent();
    until("the other one serves", PATIENCE, || (load.sent() > sent + 50).then_some(()));
    installed.replicas[0].start_again();
    installed.balancer.wait_ready(2, PATIENCE);
    let tally = load.stop();
    // A write makes two calls, one after the other.
    let failed = assert_failed("a killed replica", &installed, 2.0 * f64::from(WORKERS));
    assert_right(&format!("a killed replica, {failed} calls failed"), &tally, u64::from(WORKERS));

    // A second controller is ready without leading; once the first one has given the Lease back, it leads.
    let standby = installed.launch_controller().start();
    assert!(standby.metrics().sum("scalegate_leader", &[]) < 0.5, "{}", standby.log());
    let mut first = installed.controller.replace(standby).expect("a controller");
    assert!(first.stop().success());
    assert!(first.log().contains("the Lease is released"), "{}", first.log());
    until("the second controller rotates", PATIENCE, || (steps(&installed, "leaf") > 0.5).then_some(()));
    // Whoever waits for the Lease looks at it when it would have ended, half a minute after it was taken: longer than
    // these certificates hold.
    installed.balancer.wait_ready(2, PATIENCE);

    survive_a_lost_control_plane(&mut installed);
    let authorities = steps(&installed, "authority");
    until("rotation goes on", PATIENCE, || (steps(&installed, "authority") > authorities).then_some(()));
    // What ended while nobody could renew it has been replaced by now.
    let before = cluster.metrics().failed_webhook_calls();
    let load = Load::start(&cluster);
    until("the load runs", PATIENCE, || (load.sent() > 100).then_some(()));
    assert_right("self-managed, after the API server was lost", &load.stop(), 0);
    assert_failed("after the API server was lost", &installed, before);
}

/// A certificate of somebody else's making, with its authority.
struct Issued {
    ca: String,
    files: [(String, Vec<u8>); 2],
}

fn issue() -> Issued {
    let ca = DevCa::generate("scalegate test CA", Duration::from_secs(3_600)).unwrap();
    let issued = ca.issue(&[&format!("{RELEASE}.{NAMESPACE}.svc")]).unwrap();
    let file = |name: &str, text: String| (name.to_owned(), text.into_bytes());
    Issued { ca: ca.certificate_pem(), files: [file("tls.crt", issued.chain_pem), file("tls.key", issued.key_pem)] }
}

/// Writes both caBundles as cert-manager's cainjector does, one after the other, and waits until the API server calls by
/// each: another bundle is another client, which makes connections of its own.
fn inject(installed: &Installation<'_>, bundle: &str) {
    let opened = || installed.balancer.connections().iter().map(|(_, opened)| opened).sum::<usize>();
    let patch = json!([{
        "op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": STANDARD.encode(bundle),
    }])
    .to_string();
    for configuration in CONFIGURATIONS {
        let before = opened();
        installed.cluster.kubectl(&["patch", configuration, RELEASE, "--type=json", "-p", &patch]).ok();
        until("the API server calls by the new bundle", PATIENCE, || (opened() > before).then_some(()));
    }
}

/// Updates the Secret's files under each replica as a kubelet does, and waits until each serves the new certificate.
fn remount(installed: &Installation<'_>, files: &[(String, Vec<u8>)]) {
    let taken =
        |replica: &Scalegate| replica.metrics().sum("scalegate_certificate_reloads_total", &[("result", "applied")]);
    for replica in &installed.replicas {
        let before = taken(replica);
        let file = replica.flag("--tls-cert").expect("a certificate from a mount");
        project(PathBuf::from(file).parent().expect("a folder"), files);
        until("the replica takes the new certificate", PATIENCE, || (taken(replica) > before).then_some(()));
    }
}

#[test]
fn mounted_certificates_rotate_and_the_api_server_may_go_without_a_failed_call() {
    let Some(cluster) = control_plane() else { return };
    let form = form();
    let mut installed = Installation::start(&cluster, &json!({"webhook": {"extraArgs": ["--tls-poll=1s"]}}), 2);
    let live = cluster.kubectl(&["get", CONFIGURATIONS[0], RELEASE, "-o", "json"]).json();
    let bundle = live["webhooks"][0]["clientConfig"]["caBundle"].as_str().expect("a bundle");
    let mut old = String::from_utf8(STANDARD.decode(bundle).unwrap()).unwrap();

    let load = Load::start(&cluster);
    for rotation in 0..form.rotations {
        let new = issue();
        let both = format!("{old}\n{}", new.ca);
        inject(&installed, &both);
        // An upgrade in the middle of it, with the bundle that whoever rotates by hand has in the values then.
        helm_upgrade(
            &installed,
            &json!({
                "certificates": {"mode": "files", "secretName": "scalegate-serving", "caBundle": both},
                "webhook": {"extraArgs": ["--tls-poll=1s"]},
                "admission": {"timeoutSeconds": 6 + rotation % 3},
            }),
        );
        remount(&installed, &new.files);
        inject(&installed, &new.ca);
        old = new.ca;
    }
    assert_failed("rotations", &installed, 0.0);
    for _ in 0..form.restarts {
        rolling_restart(&mut installed);
    }
    let tally = load.stop();
    let what = format!("files, {} rotations under helm upgrade, {} rolling restarts", form.rotations, form.restarts);
    assert_right(&what, &tally, 0);
    assert_failed("the load's end", &installed, 0.0);

    survive_a_lost_control_plane(&mut installed);
    let load = Load::start(&cluster);
    until("the load runs", PATIENCE, || (load.sent() > 100).then_some(()));
    assert_right("files, after the API server was lost", &load.stop(), 0);
    assert_failed("after the API server was lost", &installed, 0.0);
}
