//! What stands on the command line to files, in a stable order, with the documents that each is judged among.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use walkdir::WalkDir;

use super::{Document, File, MAX_FILE_BYTES, Problem, ProblemSeverity, Source, helm, kustomize};

/// A path that cannot be read. The command line ends with exit status 2.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {message}", path.display())]
pub struct LoadError {
    /// The path, as the user typed it or as it follows from that.
    pub path: PathBuf,
    /// What is wrong with it.
    pub message: String,
}

/// A file and its place among the others.
#[derive(Debug)]
pub struct LoadedFile {
    /// The path as the user typed it, continued into folders; `<stdin>` for standard input.
    pub name: String,
    /// The canonical path of the folder that the file stands in, so that "this folder and below" can be asked with
    /// [`Path::starts_with`]. `None` for standard input.
    pub folder: Option<PathBuf>,
    /// See [`File::documents`].
    pub documents: Vec<Document>,
    /// See [`File::problems`].
    pub problems: Vec<Problem>,
    /// Index into [`Loaded::views`].
    pub view: usize,
    /// False for a file that only a kustomization of the given paths names: it is seen but not judged.
    pub judged: bool,
}

/// Everything that was read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// In the order of the command line, inside folders sorted by name.
    pub files: Vec<LoadedFile>,
    /// The indices of the files that are seen together, sorted. A file belongs to the view that it is judged in, and
    /// may also be part of the views of kustomizations that build on it.
    pub views: Vec<Vec<usize>>,
    /// Remarks about more than one file: charts.
    pub notes: Vec<Problem>,
}

impl Loaded {
    /// The documents that `file` is judged among, its own included, in file order.
    pub fn view(&self, file: &LoadedFile) -> impl Iterator<Item = &Document> {
        let indices = self.views.get(file.view).map(Vec::as_slice).unwrap_or_default();
        indices.iter().filter_map(|index| self.files.get(*index)).flat_map(|file| &file.documents)
    }
}

/// Reads files, folders with all that is below them, and standard input for `-`.
///
/// A file is read whatever its name; in folders `.yaml`, `.yml` and `.json` are read, and hidden files and folders are
/// skipped. A file that is named twice is read once.
///
/// # Errors
/// A path is missing or unreadable, symbolic links form a loop, or `-` is given without standard input.
pub fn load(paths: &[PathBuf], mut stdin: Option<&mut dyn Read>) -> Result<Loaded, LoadError> {
    let mut loader = Loader::default();
    for path in paths {
        if path.as_os_str() == "-" {
            if let Some(reader) = stdin.take() {
                let bytes = read_limited(reader).map_err(|error| failure(path, &error))?;
                loader.add("<stdin>".to_owned(), None, super::read("<stdin>", &bytes), true);
            } else if !loader.files.iter().any(|file| file.name == "<stdin>") {
                return Err(LoadError { path: path.clone(), message: "there is no standard input".to_owned() });
            }
        } else if fs::metadata(path).map_err(|error| failure(path, &error))?.is_dir() {
            loader.folder(path)?;
        } else {
            loader.path(path, true)?;
        }
    }
    loader.kustomizations()?;
    Ok(loader.finish())
}

fn failure(path: &Path, error: &io::Error) -> LoadError {
    let message = match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    LoadError { path: path.to_owned(), message }
}

/// At most one byte more than a file may have, which [`super::read`] then refuses.
fn read_limited(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn has_manifest_name(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known)))
        || path.file_name().is_some_and(|name| name == "Kustomization")
}

#[derive(Default)]
struct Loader {
    files: Vec<LoadedFile>,
    /// Canonical path to index in `files`.
    index: BTreeMap<PathBuf, usize>,
    notes: Vec<Problem>,
    charts: BTreeSet<PathBuf>,
    views: Vec<Vec<usize>>,
}

impl Loader {
    fn add(&mut self, name: String, canonical: Option<&Path>, file: File, judged: bool) -> usize {
        let folder = canonical.and_then(Path::parent).map(Path::to_owned);
        let File { documents, problems } = file;
        self.files.push(LoadedFile { name, folder, documents, problems, view: 0, judged });
        let index = self.files.len() - 1;
        if let Some(path) = canonical {
            self.index.insert(path.to_owned(), index);
        }
        index
    }

    fn path(&mut self, path: &Path, judged: bool) -> Result<(), LoadError> {
        // The pipe behind the shell's `<(command)` has no canonical path; a missing file fails to open below.
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if self.index.contains_key(&canonical) {
            return Ok(());
        }
        let bytes = fs::File::open(path).and_then(read_limited).map_err(|error| failure(path, &error))?;
        let name = path.to_string_lossy().into_owned();
        let mut file = super::read(&name, &bytes);
        if let Some(chart) = helm::chart_of(&canonical, &String::from_utf8_lossy(&bytes)) {
            file = File { documents: Vec::new(), problems: Vec::new() };
            if self.charts.insert(chart) && judged {
                let source = Arc::new(Source { name: name.clone(), text: String::new() });
                self.notes.push(helm::note(&source));
            }
        }
        self.add(name, Some(&canonical), file, judged);
        Ok(())
    }

    fn folder(&mut self, folder: &Path) -> Result<(), LoadError> {
        let visible = |entry: &walkdir::DirEntry| {
            entry.depth() == 0 || !entry.file_name().to_str().is_some_and(|name| name.starts_with('.'))
        };
        let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name();
        for entry in walk.into_iter().filter_entry(visible) {
            match entry {
                Ok(entry) if entry.file_type().is_file() && has_manifest_name(entry.path()) => {
                    self.path(entry.path(), true)?;
                }
                Ok(_) => {}
                Err(error) => {
                    let path = error.path().unwrap_or(folder);
                    // A dangling link that no manifest hides behind is none of our business.
                    let dangling = error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
                    if dangling && !has_manifest_name(path) {
                        continue;
                    }
                    return Err(walk_failure(path, &error));
                }
            }
        }
        Ok(())
    }

    /// Reads the files that kustomizations name, and makes the views.
    fn kustomizations(&mut self) -> Result<(), LoadError> {
        let mut named: BTreeMap<usize, kustomize::Named> = BTreeMap::new();
        // Kustomizations that are read on the way join the end of the list and get their turn.
        let mut next = 0;
        while let Some(file) = self.files.get(next) {
            let index = next;
            next += 1;
            let Some(folder) = &file.folder else { continue };
            if !kustomize::is_kustomization_name(&file.name) {
                continue;
            }
            let Some(value) = file.documents.first().map(|document| &document.value) else { continue };
            let names = kustomize::named(folder, value);
            for path in names.resources.iter().chain(&names.kustomizations) {
                if has_manifest_name(path) {
                    self.path(path, false)?;
                }
            }
            named.insert(index, names);
        }
        self.set_ingredients_aside(&named);
        self.make_views(&named);
        Ok(())
    }

    fn set_ingredients_aside(&mut self, named: &BTreeMap<usize, kustomize::Named>) {
        for path in named.values().flat_map(|names| &names.ingredients) {
            let Some(file) = self.index.get(path).and_then(|index| self.files.get_mut(*index)) else { continue };
            let source = Arc::new(Source { name: file.name.clone(), text: String::new() });
            file.documents.clear();
            let message = "this file is an ingredient of a kustomization, not a manifest";
            let note = Problem::new(&source, None, ProblemSeverity::Note, message);
            file.problems = vec![note.hint("review what `kustomize build` prints")];
        }
    }

    fn make_views(&mut self, named: &BTreeMap<usize, kustomize::Named>) {
        // View 0 is for the files that no kustomization governs.
        let mut views: Vec<Vec<usize>> = vec![Vec::new()];
        let mut assigned: BTreeMap<usize, usize> = BTreeMap::new();
        // The innermost folder first, so that a base's files are judged in the base.
        let mut order: Vec<usize> = named.keys().copied().collect();
        order.sort_by_key(|index| std::cmp::Reverse(self.files.get(*index).and_then(|file| file.folder.clone())));
        order.sort_by_key(|index| self.reach(*index, named).len());
        for index in order {
            let reach: Vec<usize> = self.reach(index, named).into_iter().collect();
            for file in &reach {
                assigned.entry(*file).or_insert(views.len());
            }
            views.push(reach);
        }
        let governed: BTreeSet<PathBuf> =
            named.keys().filter_map(|index| self.files.get(*index)?.folder.clone()).collect();
        for (index, file) in self.files.iter_mut().enumerate() {
            file.view = if let Some(view) = assigned.get(&index) {
                *view
            } else if file
                .folder
                .as_ref()
                .is_some_and(|folder| folder.ancestors().any(|above| governed.contains(above)))
            {
                views.push(vec![index]);
                views.len() - 1
            } else {
                if let Some(open) = views.first_mut() {
                    open.push(index);
                }
                0
            };
        }
        self.views = views;
    }

    /// The files that a kustomization puts together, itself included, bases followed.
    fn reach(&self, from: usize, named: &BTreeMap<usize, kustomize::Named>) -> BTreeSet<usize> {
        let mut reached = BTreeSet::from([from]);
        let mut pending = vec![from];
        while let Some(index) = pending.pop() {
            let Some(names) = named.get(&index) else { continue };
            reached.extend(names.resources.iter().filter_map(|path| self.index.get(path)));
            let below = names.kustomizations.iter().filter_map(|path| self.index.get(path));
            pending.extend(below.filter(|index| reached.insert(**index)));
        }
        reached
    }

    fn finish(self) -> Loaded {
        Loaded { files: self.files, views: self.views, notes: self.notes }
    }
}

fn walk_failure(path: &Path, error: &walkdir::Error) -> LoadError {
    if let Some(ancestor) = error.loop_ancestor() {
        let message = format!("a symbolic link leads back to {}, so the folder has no end", ancestor.display());
        return LoadError { path: path.to_owned(), message };
    }
    match error.io_error() {
        Some(io) => failure(path, io),
        None => LoadError { path: path.to_owned(), message: error.to_string() },
    }
}
