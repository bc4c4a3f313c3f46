//! `scalegate try PATH...`: the real webhook on a loopback port, asked about every object as the API server would ask.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::client::{Client, Question, SERVER_NAME};
use super::render::{self, Brought};
use super::report::text::plural;
use super::{Colour, EXIT_DENIED, EXIT_OK, InputArgs, Subject, World, WorldOptions};
use crate::admission::oracle::Denial;
use crate::admission::registration::{self, MUTATING_NAME, VALIDATING_NAME};
use crate::admission::service::Service;
use crate::admission::{Limits, Phase, router};
use crate::cluster::State;
use crate::policy::configuration::Configuration;
use crate::policy::objects::Object;
use crate::policy::view::ClusterView;
use crate::tls::{DevCa, LiveCertificate, Pair, ServeSettings, serve, server_config};

/// The throw-away certificate outlives any run.
const VALIDITY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 nothing is refused, 1 something is, 2 wrong arguments, an
unreadable path, or nothing there to judge.

Examples:
  scalegate try deploy/walkthrough
  scalegate try --expect-denied deploy/broken
      each folder there is named after the rule that must refuse it")]
pub(super) struct TryArgs {
    #[command(flatten)]
    input: InputArgs,
    /// PATH holds folders named after rules; succeed only when each is refused by that rule and no other.
    #[arg(long)]
    expect_denied: bool,
    /// When to use colour.
    #[arg(long, value_enum, default_value = "auto")]
    color: Colour,
}

/// What the webhook said about one object.
#[derive(Debug, Default)]
pub struct Answer {
    /// Index of the subject in its world.
    pub subject: usize,
    /// Annotations that came with the patch: key, old and new value.
    pub annotations: Vec<(String, Option<String>, Option<String>)>,
    /// Warnings, as kubectl prints them.
    pub warnings: Vec<String>,
    /// The refusal: its reason and the message as kubectl prints it.
    pub denied: Option<(String, String)>,
}

struct Style {
    colour: bool,
}

/// Sends every object of the paths and prints what comes back.
pub(super) fn run(args: &TryArgs) -> anyhow::Result<u8> {
    let options = WorldOptions::from_args(&args.input)?;
    let style = Style { colour: args.color.enabled(io::stdout().is_terminal()) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut bench = Bench::start().await?;
        let code = if args.expect_denied {
            expect_denied(&mut bench, &args.input.paths, &options, &style).await
        } else {
            try_paths(&mut bench, &args.input.paths, &options, &style).await
        };
        bench.stop().await;
        code
    })
}

async fn try_paths(bench: &mut Bench, paths: &[PathBuf], options: &WorldOptions, style: &Style) -> anyhow::Result<u8> {
    let world = World::load(paths, options)?;
    let answers = bench.ask(&world).await?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    for finding in &world.file_findings {
        writeln!(out, "{}\n", super::report::text::one(finding, style.colour))?;
    }
    for answer in &answers {
        print(&mut out, &world, answer, style)?;
    }
    shared(&mut out, &world, style)?;
    let denied = answers.iter().filter(|answer| answer.denied.is_some()).count();
    let warned: usize = answers.iter().map(|answer| answer.warnings.len()).sum();
    writeln!(
        out,
        "{} sent over HTTPS: {denied} denied, {}",
        plural(answers.len(), "object", "objects"),
        plural(warned, "warning", "warnings")
    )?;
    out.flush()?;
    world.something_to_judge()?;
    Ok(if denied > 0 { EXIT_DENIED } else { EXIT_OK })
}

/// Every folder below the paths is a world of its own that its rule, and no other, refuses.
async fn expect_denied(
    bench: &mut Bench,
    paths: &[PathBuf],
    options: &WorldOptions,
    style: &Style,
) -> anyhow::Result<u8> {
    let mut folders = Vec::new();
    for path in paths {
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot read the folder {}", path.display()))?;
        for entry in entries {
            let entry = entry?.path();
            if entry.is_dir() {
                folders.push(entry);
            }
        }
    }
    folders.sort();
    if folders.is_empty() {
        bail!("there is no folder named after a rule in the given paths");
    }
    let mut out = io::stdout().lock();
    let mut as_expected = 0;
    for folder in &folders {
        let rule = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if crate::policy::rules::find(&rule).is_none() {
            bail!("{}: there is no rule {rule:?} (`scalegate explain` lists them)", folder.display());
        }
        let world = World::load(std::slice::from_ref(folder), options)?;
        let answers = bench.ask(&world).await?;
        let spoke: BTreeSet<&str> = answers
            .iter()
            .filter_map(|answer| answer.denied.as_ref())
            .flat_map(|(_, message)| rules_in(message))
            .collect();
        for answer in answers.iter().filter(|answer| answer.denied.is_some()) {
            print(&mut out, &world, answer, style)?;
        }
        if spoke.iter().eq([rule.as_str()].iter()) {
            as_expected += 1;
        } else {
            let spoke: Vec<&str> = spoke.into_iter().collect();
            let by = if spoke.is_empty() { "nothing refused it".to_owned() } else { spoke.join(", ") };
            writeln!(out, "{}: expected a refusal by {rule} alone, but: {by}\n", folder.display())?;
        }
    }
    writeln!(out, "{as_expected} of {} folders refused by their rule", folders.len())?;
    Ok(if as_expected == folders.len() { EXIT_OK } else { EXIT_DENIED })
}

/// The rules that a message names, each line as `[rule] field: text`.
fn rules_in(message: &str) -> impl Iterator<Item = &str> {
    message
        .split('[')
        .skip(1)
        .filter_map(|rest| rest.split(']').next())
        .filter(|id| crate::policy::rules::find(id).is_some())
}

/// The webhook and a connection to it.
pub struct Bench {
    state: Arc<State>,
    client: Client,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
}

// === impl Bench ===

impl Bench {
    /// Starts the webhook on a loopback port with a throw-away authority, and connects.
    ///
    /// # Errors
    /// When no port or certificate can be had.
    pub async fn start() -> anyhow::Result<Self> {
        let ca = DevCa::generate("scalegate try", VALIDITY)?;
        let issued = ca.issue(&[SERVER_NAME])?;
        let pair = Pair::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes())?;
        let tls = server_config(LiveCertificate::new(pair), None)?;
        let state = State::new(ClusterView::default(), Configuration::default());
        let router = router(Arc::new(Service::new(Arc::clone(&state))), Limits::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on a loopback port")?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let settings = ServeSettings { quiet_period: Duration::ZERO, ..ServeSettings::default() };
        let served = tokio::spawn(async move {
            // Cannot fail: the settings are ours, with the one protocol that is served.
            let _ = serve(listener, tls, router, settings, stopped).await;
        });
        let client = Client::connect(address, ca.certificate_der()).await?;
        Ok(Self { state, client, stop, served })
    }

    /// Ends the webhook.
    pub async fn stop(self) {
        let Self { client, stop, served, .. } = self;
        drop(client);
        let _ = stop.send(());
        let _ = served.await;
    }

    /// Sends every object of a world that the webhooks are registered for, in file order, with only earlier autoscalers in
    /// view.
    ///
    /// # Errors
    /// When the connection fails, or an answer is one that the API server would not take.
    pub async fn ask(&mut self, world: &World) -> anyhow::Result<Vec<Answer>> {
        let mut answers = Vec::new();
        // Files of several views may alternate, so each keeps the autoscalers that came.
        let mut views: BTreeMap<usize, ClusterView> = BTreeMap::new();
        for (index, subject) in world.subjects.iter().enumerate() {
            let Some(object) = subject.object.as_ref().filter(|object| registration::validates(object)) else {
                continue;
            };
            let view =
                views.entry(subject.view).or_insert_with(|| world.view(subject).map(before_files).unwrap_or_default());
            self.state.update(|served| std::mem::swap(served, view));
            self.state.configure(Configuration::clone(&subject.configuration));
            let answer = self.ask_one(world, index, subject, object).await;
            self.state.update(|served| std::mem::swap(served, view));
            answers.push(answer?);
            if is_autoscaler(object) {
                view.apply(&subject.of, object.clone());
            }
        }
        Ok(answers)
    }

    async fn ask_one(
        &mut self,
        world: &World,
        index: usize,
        subject: &Subject,
        object: &Object,
    ) -> anyhow::Result<Answer> {
        let mut answer = Answer { subject: index, ..Answer::default() };
        let Some(document) = world.document(subject) else { return Ok(answer) };
        let namespace = object.metadata().namespace.clone().unwrap_or_else(|| usual_namespace(world, subject));
        let mut value = document.value.clone();
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("namespace".to_owned(), Value::String(namespace.clone()));
        }
        let file = document.source.name.as_str();
        if registration::mutates(object) {
            let question = Question { of: &subject.of, namespace: Some(&namespace), object: &value };
            let accepted =
                self.client.review(Phase::Mutating, &question).await.with_context(|| place(file, subject))?;
            if let Some(denial) = accepted.denial {
                answer.denied = Some(refusal(file, MUTATING_NAME, &denial));
                return Ok(answer);
            }
            answer.warnings.extend(accepted.warnings);
            if let Some(patched) = accepted.patched {
                answer.annotations = changed(&value, &patched);
                value = patched;
            }
        }
        let question = Question { of: &subject.of, namespace: Some(&namespace), object: &value };
        let accepted = self.client.review(Phase::Validating, &question).await.with_context(|| place(file, subject))?;
        answer.warnings.extend(accepted.warnings);
        answer.denied = accepted.denial.map(|denial| refusal(file, VALIDATING_NAME, &denial));
        Ok(answer)
    }
}

fn is_autoscaler(object: &Object) -> bool {
    matches!(object, Object::Hpa(_) | Object::ScaledObject(_) | Object::MultidimPodAutoscaler(_))
}

/// The view before any autoscaler of the files came: the cluster's own are there already, as they stand in the cluster.
fn before_files(view: &ClusterView) -> ClusterView {
    let mut before = view.clone();
    let entries = view.hpas().map(|(entry, _)| entry).chain(view.scaled_objects().map(|(entry, _)| entry));
    for entry in entries {
        let key = entry.object.key(&entry.of);
        match view.before.as_ref().and_then(|cluster| cluster.get(&key)) {
            Some(own) => before.apply(&own.of, own.object.clone()),
            None => before.delete(&key),
        }
    }
    before
}

/// The namespace of objects that name none: the only one that the other objects name, else the one that kubectl takes.
fn usual_namespace(world: &World, of: &Subject) -> String {
    let named: BTreeSet<&str> = world
        .subjects
        .iter()
        .filter(|subject| subject.view == of.view)
        .filter_map(|subject| subject.object.as_ref())
        .filter(|object| is_autoscaler(object) || matches!(object, Object::Workload(_)))
        .filter_map(|object| object.metadata().namespace.as_deref())
        .collect();
    match named.iter().collect::<Vec<_>>().as_slice() {
        [only] => (**only).to_owned(),
        _ => "default".to_owned(),
    }
}

fn place(file: &str, subject: &Subject) -> String {
    format!("{file}: {} {}", subject.facts.object.kind, subject.facts.object.name)
}

/// A refusal as kubectl prints it.
fn refusal(file: &str, webhook: &str, denial: &Denial) -> (String, String) {
    let reason = if denial.reason.is_empty() { "Forbidden" } else { denial.reason.as_str() };
    let message = denial.message(webhook);
    (reason.to_owned(), format!("Error from server ({reason}): error when creating {file:?}: {message}"))
}

/// The annotations that differ: key, old and new value.
fn changed(before: &Value, after: &Value) -> Vec<(String, Option<String>, Option<String>)> {
    let empty = serde_json::Map::new();
    let of = |value: &Value| value["metadata"]["annotations"].as_object().cloned().unwrap_or_else(|| empty.clone());
    let (before, after) = (of(before), of(after));
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .map(|key| (key.clone(), text(before.get(key)), text(after.get(key))))
        .filter(|(_, old, new)| old != new)
        .collect()
}

fn print(out: &mut dyn Write, world: &World, answer: &Answer, style: &Style) -> anyhow::Result<()> {
    let Some(subject) = world.subjects.get(answer.subject) else { return Ok(()) };
    let verdict = if answer.denied.is_some() { style.red("denied") } else { style.green("admitted") };
    writeln!(out, "{}: {verdict}", style.bold(&render::place(world, subject)))?;
    for (key, old, new) in &answer.annotations {
        if let Some(old) = old {
            writeln!(out, "  {}", style.red(&format!("- {key}: {old}")))?;
        }
        if let Some(new) = new {
            writeln!(out, "  {}", style.green(&format!("+ {key}: {new}")))?;
        }
    }
    for warning in &answer.warnings {
        writeln!(out, "  {} {warning}", style.yellow("Warning:"))?;
    }
    if let Some((_, message)) = &answer.denied {
        for line in message.lines() {
            writeln!(out, "  {line}")?;
        }
    } else if let Some(view) = world.view(subject) {
        match render::bring(subject, view) {
            Brought::Nothing => {}
            Brought::Not(reason) => writeln!(out, "  The controller would apply nothing: {reason}")?,
            Brought::Objects { applied: false, .. } => {
                writeln!(out, "  The controller would apply nothing: paused, or the objects come from Git.")?;
            }
            Brought::Objects { rendered, .. } => {
                writeln!(out, "  The controller would apply:")?;
                indented(out, &rendered.objects)?;
                for note in &rendered.notes {
                    writeln!(out, "  Note: {note}")?;
                }
            }
        }
    }
    writeln!(out)?;
    Ok(())
}

/// The shared objects that workloads of the world need and no tenant's label brings.
fn shared(out: &mut dyn Write, world: &World, style: &Style) -> anyhow::Result<()> {
    let needs = world.subjects.iter().find(|subject| render::uses_gpu(subject, &subject.configuration));
    if let Some(subject) = needs {
        writeln!(out, "{}", style.bold("Shared objects for GPU metrics, installed once by the administrator:"))?;
        indented(out, &render::shared(&subject.configuration))?;
        writeln!(out)?;
    }
    Ok(())
}

fn indented(out: &mut dyn Write, objects: &[Value]) -> anyhow::Result<()> {
    let mut text = Vec::new();
    for object in objects {
        render::print(&mut text, object)?;
    }
    for line in String::from_utf8_lossy(&text).lines() {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

// === impl Style ===

impl Style {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }

    fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    fn yellow(&self, text: &str) -> String {
        self.paint("33", text)
    }
}
