//! What several suites need: the cases on disk, worlds from text, the webhook in process and the command.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use http_body_util::BodyExt as _;
use scalegate::admission::oracle::{self, Accepted, Rejected};
use scalegate::admission::service::Service;
use scalegate::admission::{Limits, Phase, router};
use scalegate::cli::{InputArgs, World, WorldOptions, review_world};
use scalegate::cluster::State;
use scalegate::policy::configuration::Configuration;
use scalegate::policy::finding::{Finding, Severity};
use scalegate::policy::objects::Object;
use scalegate::policy::view::ClusterView;
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};
use tower::ServiceExt as _;

/// Whether golden files are rewritten instead of compared.
pub fn blessing() -> bool {
    std::env::var_os("BLESS").is_some_and(|value| !value.is_empty() && value != "0")
}

/// A path inside the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The folders in a folder, sorted.
pub fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// The last part of a path.
pub fn base_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// A folder of `tests/cases/<topic>/<name>/`.
pub struct Case {
    /// `topic/name`.
    pub name: String,
    /// The rule that it is about, or another word.
    pub topic: String,
    pub folder: PathBuf,
}

impl Case {
    /// All cases, sorted.
    pub fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for topic in folders(&repository("tests/cases")) {
            for folder in folders(&topic) {
                let topic = base_name(&topic).to_owned();
                cases.push(Self { name: format!("{topic}/{}", base_name(&folder)), topic, folder });
            }
        }
        assert!(cases.len() > 100, "only {} cases were found", cases.len());
        cases
    }

    pub fn input(&self) -> PathBuf {
        self.folder.join("input.yaml")
    }

    /// A file beside the input, when it is there.
    pub fn beside(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.join(name)).filter(|path| path.exists())
    }

    /// As the command line reads `--config`, `--cluster` and `--complete`; the last one is a file `complete`.
    pub fn options(&self) -> Result<WorldOptions, String> {
        let input = InputArgs {
            config: self.beside("config.yaml"),
            cluster: self.beside("cluster.yaml"),
            ..InputArgs::default()
        };
        let options = WorldOptions::from_args(&input).map_err(|error| format!("{error:#}"))?;
        Ok(WorldOptions { complete: self.beside("complete").is_some(), ..options })
    }

    pub fn world(&self) -> Result<World, String> {
        World::load(&[self.input()], &self.options()?).map_err(|error| format!("{error:#}"))
    }

    /// The findings of a review.
    pub fn findings(&self) -> Result<Vec<Finding>, String> {
        self.world().map(|world| findings(&world))
    }
}

/// The findings of a review of a world.
pub fn findings(world: &World) -> Vec<Finding> {
    review_world(world).into_iter().map(|found| found.finding).collect()
}

/// A world of paths, under the defaults.
pub fn world_of(paths: &[PathBuf]) -> World {
    World::load(paths, &WorldOptions::default()).unwrap_or_else(|error| panic!("{error:#}"))
}

/// A world of one file with that text; the file is gone afterwards.
pub fn world_of_text(text: &str) -> World {
    world_over(text, None)
}

/// The same over a cluster whose objects are that text.
pub fn world_over(text: &str, cluster: Option<&str>) -> World {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let input = InputArgs { cluster: cluster.map(|text| write("cluster.yaml", text)), ..InputArgs::default() };
    let options = WorldOptions::from_args(&input).unwrap_or_else(|error| panic!("{error:#}"));
    World::load(&[write("input.yaml", text)], &options).unwrap_or_else(|error| panic!("{error:#}"))
}

/// The rules that deny.
pub fn denying(findings: &[Finding]) -> BTreeSet<&str> {
    let denying = findings.iter().filter(|finding| finding.severity == Severity::Deny);
    denying.map(|finding| finding.rule.as_str()).collect()
}

/// A finding in one line, for messages of failed tests.
pub fn brief(finding: &Finding) -> String {
    let Finding { rule, severity, field, message, object, .. } = finding;
    format!("{severity:?} [{rule}] {} {} {field}: {message}", object.kind, object.name)
}

/// A unified diff of two texts, nothing when they are equal.
pub fn diff(expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let mut text = String::new();
    for group in TextDiff::from_lines(expected, found).grouped_ops(3) {
        text.push_str("  @@\n");
        for op in group {
            for change in TextDiff::from_lines(expected, found).iter_changes(&op) {
                let sign = match change.tag() {
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                    ChangeTag::Equal => ' ',
                };
                writeln!(text, "  {sign} {}", change.value().trim_end_matches('\n')).unwrap();
            }
        }
    }
    Some(text)
}

/// Fails with all problems in one message.
pub fn none(problems: &[String], of: &str) {
    assert!(problems.is_empty(), "{} {of}:\n\n{}\n", problems.len(), problems.join("\n\n"));
}

/// The command, as it was built for this test.
pub fn scalegate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scalegate"));
    command.args(arguments).env_remove("NO_COLOR").env_remove("RUST_LOG");
    command
}

/// What a run of the command left.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the command to its end.
pub fn run(arguments: &[&str]) -> Ran {
    ran(&scalegate(arguments).output().unwrap())
}

/// What an output holds. A command that a signal ended has no exit status, and fails here.
pub fn ran(output: &Output) -> Ran {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let code = output.status.code().unwrap_or_else(|| panic!("ended by a signal: {stderr}"));
    assert!(!stderr.contains("panicked"), "{stderr}");
    Ran { code, stdout, stderr }
}

/// An `AdmissionReview` of that operation.
pub fn envelope(uid: &str, operation: &str, object: &Value, old: &Value) -> Value {
    let api_version = object["apiVersion"].as_str().or(old["apiVersion"].as_str()).unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = object["kind"].as_str().or(old["kind"].as_str()).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": {"group": group, "version": version, "kind": kind},
            "resource": {"group": group, "version": version, "resource": format!("{}s", kind.to_lowercase())},
            "name": text(&object["metadata"]["name"]),
            "namespace": text(&object["metadata"]["namespace"]),
            "operation": operation,
            "userInfo": {"username": "alice"},
            "object": object, "oldObject": old, "dryRun": false,
        },
    })
}

/// The webhook without a connection: the same routes over a view and a configuration.
pub struct Webhook {
    router: axum::Router,
    runtime: tokio::runtime::Runtime,
}

impl Webhook {
    pub fn over(view: ClusterView, configuration: Configuration) -> Self {
        let service = Service::new(State::new(view, configuration));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { router: router(Arc::new(service), Limits::default()), runtime }
    }

    /// The HTTP status and body that a route answers with.
    pub fn post(&self, phase: Phase, body: String) -> (u16, Vec<u8>) {
        let path = match phase {
            Phase::Mutating => "/mutate",
            Phase::Validating => "/validate",
        };
        let request = http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json");
        let request = request.body(axum::body::Body::from(body)).unwrap();
        self.runtime.block_on(async {
            let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
            (head.status.as_u16(), body.collect().await.unwrap().to_bytes().to_vec())
        })
    }

    /// Asks as the API server does, and takes the answer as it does.
    pub fn ask(&self, phase: Phase, operation: &str, object: &Value, old: &Value) -> Result<Accepted, Rejected> {
        let uid = "6a2b3c4d-0000-4000-8000-000000000001";
        let (status, body) = self.post(phase, envelope(uid, operation, object, old).to_string());
        oracle::judge(phase, uid, object, status, &body)
    }
}

/// Multi-document YAML as values.
pub fn values(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

/// One YAML document as a value.
pub fn value(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap()
}

/// A view of multi-document YAML.
pub fn view_of(yaml: &str) -> ClusterView {
    let mut view = ClusterView::default();
    for value in values(yaml) {
        let (of, object) = Object::from_value(&value).unwrap();
        view.apply(&of, object);
    }
    view
}
