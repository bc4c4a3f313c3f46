//! Documents of other projects that tests compare with. They are not part of this repository: they are looked for beside
//! it, and a test without them is skipped loudly, or fails where the environment variable `CI` is set.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A path in the reference folder, or `None` when there is no such folder.
pub fn path(path: &str) -> Option<PathBuf> {
    let Some(folder) = folder() else {
        assert!(std::env::var_os("CI").is_none(), "{path} is required in CI, and no reference folder was found");
        eprintln!("SKIPPED: no folder shared/manifests beside the repository, so {path} cannot be compared with");
        return None;
    };
    Some(folder.join(path))
}

/// The documents of a file in the reference folder (`crds/gmp.yaml`), or `None` when there is no such folder.
pub fn documents(file: &str) -> Option<Vec<Value>> {
    let file = path(file)?;
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Some(serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
}

/// The documents of a file in a Go module, which `go` downloads once; `None` without `go` or without the network.
pub fn of_go_module(module: &str, file: &str) -> Option<Vec<Value>> {
    let ran = std::process::Command::new("go").args(["mod", "download", "-json", module]).output();
    let told: Option<Value> = ran.ok().and_then(|ran| serde_json::from_slice(&ran.stdout).ok());
    let Some(folder) = told.as_ref().and_then(|told| told["Dir"].as_str()) else {
        eprintln!("SKIPPED: `go mod download {module}` gives no folder, so {file} cannot be compared with");
        return None;
    };
    let file = Path::new(folder).join(file);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Some(serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
}

/// `shared` beside the repository, or beside one of the folders that it stands in.
fn folder() -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    repository
        .ancestors()
        .skip(1)
        .take(4)
        .map(|parent| parent.join("shared"))
        .find(|found| found.join("manifests").is_dir())
}

/// The only document of a file.
pub fn document(path: &str) -> Option<Value> {
    let mut documents = documents(path)?;
    assert_eq!(documents.len(), 1, "{path}");
    documents.pop()
}
