//! Which files a `kustomization.yaml` puts together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The names that kustomize looks for, in its order.
const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// True when the last part of `name` is one that kustomize looks for.
pub(super) fn is_kustomization_name(name: &str) -> bool {
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    NAMES.contains(&last)
}

/// The kustomization of a folder, if it has one.
fn of_folder(folder: &Path) -> Option<PathBuf> {
    NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// What a kustomization names. All paths are canonical; what is not on this disk (a URL) is left out.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Files among `resources`.
    pub resources: BTreeSet<PathBuf>,
    /// Kustomizations of the folders among `resources`, `bases` and `components`.
    pub kustomizations: BTreeSet<PathBuf>,
    /// Files that change objects and are none: patches, values, what generators read.
    pub ingredients: BTreeSet<PathBuf>,
}

/// Reads what the kustomization `value` in `folder` names.
pub(super) fn named(folder: &Path, value: &Value) -> Named {
    let mut named = Named::default();
    for path in ["resources", "bases", "components"].iter().flat_map(|key| strings(value.get(key))) {
        let Ok(path) = folder.join(path).canonicalize() else { continue };
        if path.is_dir() {
            named.kustomizations.extend(of_folder(&path));
        } else {
            named.resources.insert(path);
        }
    }
    let lists = ["patchesStrategicMerge", "configurations", "transformers", "generators", "openapi"];
    let mut ingredients: Vec<&str> = lists.iter().flat_map(|key| strings(value.get(key))).collect();
    for key in ["patches", "patchesJson6902", "replacements", "helmCharts"] {
        for item in value.get(key).and_then(Value::as_array).into_iter().flatten() {
            ingredients.extend(["path", "valuesFile"].iter().filter_map(|key| item.get(key)?.as_str()));
        }
    }
    for key in ["configMapGenerator", "secretGenerator"] {
        for item in value.get(key).and_then(Value::as_array).into_iter().flatten() {
            for file in strings(item.get("files")) {
                ingredients.push(file.split_once('=').map_or(file, |(_, file)| file));
            }
        }
    }
    // An inline patch is text, not a path: it does not name a file that exists.
    let files = ingredients.into_iter().filter(|path| !path.contains('\n'));
    named.ingredients.extend(files.filter_map(|path| folder.join(path).canonicalize().ok()));
    named
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
