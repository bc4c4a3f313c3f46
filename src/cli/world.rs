//! Files -> views and subjects: what `review`, `try` and `render` start from.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::InputArgs;
use super::report::{Located, Place};
use crate::cluster::snapshot;
use crate::config_file;
use crate::manifest::load::{self, Loaded};
use crate::manifest::{self, Document, Problem, ProblemSeverity, schema};
use crate::policy::configuration::{self, Configuration};
use crate::policy::facts::DocumentFacts;
use crate::policy::finding::{Finding, ObjectRef, Severity};
use crate::policy::objects::{Key, Object, Quantity, QuantityError, TypeMeta};
use crate::policy::rules;
use crate::policy::view::ClusterView;

/// Every document that is an object of the cluster, by file and document; `Err` holds field and reason.
type Read = BTreeMap<(usize, usize), (TypeMeta, Result<Object, (String, String)>)>;

/// How files become a world.
#[derive(Debug, Clone, Default)]
pub struct WorldOptions {
    /// Namespace of objects that name none.
    pub namespace: Option<String>,
    /// Every document that makes metrics is there.
    pub complete: bool,
    /// A configuration that counts everywhere, whatever the folders say.
    pub configuration: Option<Configuration>,
    /// The cluster that the files are put over.
    pub cluster: ClusterView,
    /// Whether such a cluster was given.
    pub has_cluster: bool,
}

/// What was read, ready to be judged.
pub struct World {
    /// The files.
    pub loaded: Loaded,
    /// One view for each of [`Loaded::views`].
    pub views: Vec<ClusterView>,
    /// The documents to judge, in file order.
    pub subjects: Vec<Subject>,
    /// What is wrong with files as files.
    pub file_findings: Vec<Located>,
}

/// A document to judge.
pub struct Subject {
    /// Index into [`Loaded::files`].
    pub file: usize,
    /// Index into that file's documents.
    pub document: usize,
    /// Index into [`World::views`].
    pub view: usize,
    /// Type.
    pub of: TypeMeta,
    /// The object; `None` when the document cannot be read as its kind.
    pub object: Option<Object>,
    /// What the rules on files look at.
    pub facts: DocumentFacts,
    /// The configuration of its folder.
    pub configuration: Rc<Configuration>,
    /// Its place among the view's objects.
    pub order: Option<u64>,
}

// === impl WorldOptions ===

impl WorldOptions {
    /// Reads the files that the arguments name.
    ///
    /// # Errors
    /// When one of them cannot be read, or is not what it should be.
    pub fn from_args(args: &InputArgs) -> anyhow::Result<Self> {
        let mut options = Self { namespace: args.namespace.clone(), ..Self::default() };
        if let Some(path) = &args.config {
            options.configuration = Some(read_configuration(path)?);
        }
        if let Some(path) = &args.cluster {
            options.cluster = read_cluster(path)?;
            options.has_cluster = true;
        }
        Ok(options)
    }
}

/// Reads a file that holds one Configuration.
///
/// # Errors
/// When it cannot be read, or any key or value is wrong; every problem is listed with its line.
pub fn read_configuration(path: &Path) -> anyhow::Result<Configuration> {
    Ok(config_file::read(path)?)
}

/// Reads a snapshot, or the objects that kubectl printed, into a view.
///
/// # Errors
/// When the file cannot be read, or a document in it cannot be used.
pub fn read_cluster(path: &Path) -> anyhow::Result<ClusterView> {
    let file = read_file(path)?;
    let mut view = ClusterView::default();
    for document in &file.documents {
        let result = if snapshot::is_snapshot(&document.value) {
            snapshot::fill(&mut view, &document.value).map_err(|error| (error.field.clone(), error.message))
        } else {
            snapshot::apply(&mut view, &document.value).map_err(|error| (error.field.clone(), error.message))
        };
        if let Err((field, message)) = result {
            let (line, column) = document.at(&field).map_or((1, 1), |span| document.line_column(span.start));
            bail!("{}:{line}:{column}: {field}: {message}", path.display());
        }
    }
    Ok(view)
}

fn read_file(path: &Path) -> anyhow::Result<manifest::File> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = manifest::read(&path.to_string_lossy(), &bytes);
    if let Some(problem) = file.problems.iter().find(|problem| problem.severity == ProblemSeverity::Deny) {
        let (line, column) = problem.line_column().unwrap_or((1, 1));
        bail!("{}:{line}:{column}: {}", path.display(), problem.message);
    }
    Ok(file)
}

// === impl World ===

impl World {
    /// Reads paths and fills the views.
    ///
    /// # Errors
    /// When a path is missing or cannot be read; `review` then ends with exit status 2.
    pub fn load(paths: &[PathBuf], options: &WorldOptions) -> anyhow::Result<Self> {
        let loaded = load::load(paths, Some(&mut io::stdin().lock()))?;
        Ok(Self::new(loaded, options))
    }

    /// Fills the views from files that were read already.
    pub fn new(loaded: Loaded, options: &WorldOptions) -> Self {
        let mut world = Self { views: Vec::new(), subjects: Vec::new(), file_findings: Vec::new(), loaded };
        world.problems();
        let configurations = world.configurations(options);
        let read = world.read(options);
        world.fill(&read, options);
        world.subjects(read, &configurations, options);
        world
    }

    fn problems(&mut self) {
        let files = self.loaded.files.iter().filter(|file| file.judged).flat_map(|file| &file.problems);
        self.file_findings = files.chain(&self.loaded.notes).map(of_problem).collect();
    }

    /// The Configuration documents by folder; an invalid one is reported, and the defaults count.
    fn configurations(&mut self, options: &WorldOptions) -> Vec<(Option<PathBuf>, Rc<Configuration>)> {
        let mut found = Vec::new();
        let mut problems = Vec::new();
        for file in &self.loaded.files {
            for document in file.documents.iter().filter(|document| is_configuration(document)) {
                match configuration::read_with(&document.value, &rules::ids()) {
                    Ok(configuration) => found.push((file.folder.clone(), Rc::new(configuration))),
                    Err(wrong) => problems.extend(wrong.into_iter().map(|problem| {
                        let mut finding = Finding::deny(problem.field.clone(), problem.field.clone(), problem.message);
                        finding.hint = problem.hint;
                        "invalid-document".clone_into(&mut finding.rule);
                        finding.object = reference(document);
                        Located::new(finding, Some(document))
                    })),
                }
            }
        }
        self.file_findings.extend(problems);
        if options.configuration.is_some() {
            found.clear();
        }
        found
    }

    /// Every object, by file and document; `Err` holds why it cannot be read.
    fn read(&self, options: &WorldOptions) -> Read {
        let mut read = BTreeMap::new();
        for (file_index, file) in self.loaded.files.iter().enumerate() {
            for (index, document) in file.documents.iter().enumerate() {
                if is_configuration(document) || snapshot::is_snapshot(&document.value) || document.kind().is_empty() {
                    continue;
                }
                let of = TypeMeta { api_version: document.api_version().to_owned(), kind: document.kind().to_owned() };
                let object = Object::read(&of, &document.value).map_err(|error| (error.field, error.message));
                let object = object.map(|mut object| {
                    let metadata = object.metadata_mut();
                    // An empty one is an absent one, as for kubectl.
                    metadata.namespace = metadata.namespace.take().filter(|namespace| !namespace.is_empty());
                    if metadata.namespace.is_none() && !Object::cluster_scoped(&of) {
                        metadata.namespace.clone_from(&options.namespace);
                    }
                    object
                });
                read.insert((file_index, index), (of, object));
            }
        }
        read
    }

    fn fill(&mut self, read: &Read, options: &WorldOptions) {
        let before = options.has_cluster.then(|| Arc::new(options.cluster.clone()));
        for files in &self.loaded.views {
            let mut view = options.cluster.clone();
            view.before.clone_from(&before);
            view.complete = options.complete;
            for file in files {
                let documents = self.loaded.files.get(*file).map_or(0, |file| file.documents.len());
                for document in 0..documents {
                    if let Some((of, Ok(object))) = read.get(&(*file, document)) {
                        view.apply(of, object.clone());
                    }
                }
            }
            self.views.push(view);
        }
    }

    fn subjects(
        &mut self,
        read: Read,
        configurations: &[(Option<PathBuf>, Rc<Configuration>)],
        options: &WorldOptions,
    ) {
        let default = Rc::new(options.configuration.clone().unwrap_or_default());
        // The last document of a key wins, as with kubectl.
        let mut last: BTreeMap<(usize, Key), (usize, usize)> = BTreeMap::new();
        for ((file, document), (of, object)) in &read {
            if let (Some(loaded), Ok(object)) = (self.loaded.files.get(*file), object)
                && !object.metadata().name.is_empty()
            {
                last.insert((loaded.view, object.key(of)), (*file, *document));
            }
        }
        for ((file_index, document_index), (of, object)) in read {
            let Some(file) = self.loaded.files.get(file_index).filter(|file| file.judged) else { continue };
            let Some(document) = file.documents.get(document_index) else { continue };
            let (unknown, shape) = schema::check_shape(&document.value);
            let mut facts = DocumentFacts {
                object: reference_in(document, &of, options),
                unknown_fields: unknown.into_iter().map(|field| (field.field, field.nearest)).collect(),
                ..DocumentFacts::default()
            };
            facts.invalid = shape.map(|shape| (shape.field, shape.message)).or_else(|| target_problem(&document.value));
            let object = match object {
                Ok(object) => Some(object),
                Err(error) => {
                    facts.invalid.get_or_insert(error);
                    None
                }
            };
            let mut order = None;
            if let Some(object) = &object {
                let key = object.key(&of);
                order = self.views.get(file.view).and_then(|view| view.get(&key)).map(|entry| entry.order);
                if let Some(at) = last.get(&(file.view, key)).filter(|at| **at != (file_index, document_index)) {
                    facts.repeated_at = self.place_of(*at);
                }
            }
            let configuration = nearest(configurations, file.folder.as_deref()).unwrap_or(&default);
            self.subjects.push(Subject {
                file: file_index,
                document: document_index,
                view: file.view,
                of,
                object,
                facts,
                configuration: Rc::clone(configuration),
                order,
            });
        }
    }

    fn place_of(&self, (file, document): (usize, usize)) -> Option<String> {
        let document = self.loaded.files.get(file)?.documents.get(document)?;
        let (line, _) = document.line_column(document.span.start);
        Some(format!("{}:{line}", document.source.name))
    }

    /// Says when the paths hold nothing to judge, so that an empty folder, a pipe whose other end failed or a chart that was
    /// not rendered does not pass for a clean bill.
    ///
    /// # Errors
    /// When no object and no Configuration was read, and nothing was denied for not being readable.
    pub fn something_to_judge(&self) -> anyhow::Result<()> {
        let configuration = self.loaded.files.iter().flat_map(|file| &file.documents).any(is_configuration);
        let denied = self.file_findings.iter().any(|found| found.finding.severity == Severity::Deny);
        if !self.subjects.is_empty() || configuration || denied {
            return Ok(());
        }
        let read = self.loaded.files.len();
        let why = match self.loaded.files.as_slice() {
            [] => "the given paths hold no .yaml, .yml or .json file".to_owned(),
            [one] => format!("{} holds no Kubernetes object", one.name),
            _ => format!("the {read} files that were read hold no Kubernetes object"),
        };
        bail!("nothing to judge: {why}")
    }

    /// The document of a subject.
    pub fn document(&self, subject: &Subject) -> Option<&Document> {
        self.loaded.files.get(subject.file)?.documents.get(subject.document)
    }

    /// The view of a subject.
    pub fn view(&self, subject: &Subject) -> Option<&ClusterView> {
        self.views.get(subject.view)
    }
}

/// What the API server refuses in an HPA and no type forbids: a minimum above the maximum, a Pods metric without an average,
/// a target that is no quantity or is not positive. One beyond 2^63-1 is taken, as 2^63-1.
fn target_problem(value: &serde_json::Value) -> Option<(String, String)> {
    if value["kind"] != "HorizontalPodAutoscaler" {
        return None;
    }
    let spec = &value["spec"];
    if let (Some(min), Some(max)) = (spec["minReplicas"].as_i64(), spec["maxReplicas"].as_i64())
        && min > max
    {
        return Some(("spec.minReplicas".to_owned(), format!("minReplicas {min} is above maxReplicas {max}")));
    }
    let metrics = spec["metrics"].as_array()?;
    let v2 = value["apiVersion"] == "autoscaling/v2";
    for (index, metric) in metrics.iter().enumerate() {
        if v2
            && metric["type"] == "Pods"
            && metric["pods"]["target"].get("averageValue").is_none_or(serde_json::Value::is_null)
        {
            let message = "a metric of type Pods needs target.averageValue, with target.type AverageValue";
            return Some((format!("spec.metrics[{index}].pods.target"), message.to_owned()));
        }
        for source in ["pods", "object", "external", "resource", "containerResource"] {
            for key in ["value", "averageValue"] {
                let Some(written) = metric[source]["target"].get(key).filter(|written| !written.is_null()) else {
                    continue;
                };
                let Ok(quantity) = serde_json::from_value::<Quantity>(written.clone()) else { continue };
                let wrong = match quantity.nanos() {
                    Ok(nanos) if nanos <= 0 => "is not positive".to_owned(),
                    Err(error @ QuantityError::Syntax) => error.to_string(),
                    _ => continue,
                };
                let field = format!("spec.metrics[{index}].{source}.target.{key}");
                return Some((field, format!("{:?} {wrong}", quantity.text())));
            }
        }
    }
    None
}

fn of_problem(problem: &Problem) -> Located {
    let severity = match problem.severity {
        ProblemSeverity::Deny => Finding::deny("", "", problem.message.clone()),
        ProblemSeverity::Note => Finding::note("", "", problem.message.clone()),
    };
    let finding = Finding { rule: "invalid-document".to_owned(), hint: problem.hint.clone(), ..severity };
    Located::at(finding, Place { source: problem.source.clone(), span: problem.span })
}

fn is_configuration(document: &Document) -> bool {
    document.kind() == "Configuration" && document.api_version().starts_with("scalegate.dev/")
}

/// The Configuration of the nearest folder above a file (or its own).
fn nearest<'a>(
    configurations: &'a [(Option<PathBuf>, Rc<Configuration>)],
    folder: Option<&Path>,
) -> Option<&'a Rc<Configuration>> {
    let above = configurations.iter().filter(|(of, _)| match (of, folder) {
        (Some(of), Some(folder)) => folder.starts_with(of),
        (of, folder) => of.as_deref() == folder,
    });
    above.max_by_key(|(of, _)| of.as_ref().map(|of| of.components().count())).map(|(_, configuration)| configuration)
}

/// As [`reference`], with the namespace that the arguments fill in.
fn reference_in(document: &Document, of: &TypeMeta, options: &WorldOptions) -> ObjectRef {
    let mut reference = reference(document);
    reference.namespace = reference.namespace.filter(|namespace| !namespace.is_empty());
    if reference.namespace.is_none() && !Object::cluster_scoped(of) {
        reference.namespace.clone_from(&options.namespace);
    }
    reference
}

fn reference(document: &Document) -> ObjectRef {
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let metadata = &document.value["metadata"];
    ObjectRef {
        api_version: document.api_version().to_owned(),
        kind: document.kind().to_owned(),
        namespace: text(&metadata["namespace"]),
        name: text(&metadata["name"]).unwrap_or_default(),
    }
}
