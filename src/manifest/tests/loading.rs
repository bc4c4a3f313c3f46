//! What stands on a command line becomes files in order, with their views.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::manifest::load::{LoadError, Loaded, load};

/// A folder with these files.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn object(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

fn load_all(paths: &[&Path]) -> Result<Loaded, LoadError> {
    load(&paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>(), None)
}

/// Names of the files, relative to `folder`.
fn names<'l>(loaded: &'l Loaded, folder: &Path) -> Vec<&'l str> {
    let prefix = format!("{}/", folder.display());
    loaded.files.iter().map(|file| file.name.strip_prefix(&prefix).unwrap_or(&file.name)).collect()
}

/// The objects that the file of that name is judged among.
fn view(loaded: &Loaded, name: &str) -> Vec<String> {
    let file = loaded.files.iter().find(|file| file.name.ends_with(name)).unwrap();
    loaded.view(file).filter_map(|d| d.value["metadata"]["name"].as_str()).map(str::to_owned).collect()
}

#[test]
fn folders_are_read_in_order_and_only_manifests_in_them() {
    let (a, b, c) = (object("a"), object("b"), object("c"));
    let folder = tree(&[
        ("z.yaml", &a),
        ("b/one.yml", &b),
        ("b/two.json", "{\"apiVersion\": \"v1\", \"kind\": \"A\"}"),
        ("a.YAML", &c),
        ("README.md", "text"),
        (".git/x.yaml", "a: ["),
        (".hidden.yaml", "a: ["),
        ("notes.txt", "a: ["),
    ]);
    let loaded = load_all(&[folder.path()]).unwrap();
    assert_eq!(names(&loaded, folder.path()), ["a.YAML", "b/one.yml", "b/two.json", "z.yaml"]);
    assert_eq!(view(&loaded, "z.yaml"), ["c", "b", "a"]);
    let canonical = folder.path().canonicalize().unwrap();
    assert_eq!(loaded.files[1].folder.as_deref(), Some(canonical.join("b").as_path()));
    assert!(loaded.files.iter().all(|file| file.judged && file.problems.is_empty()));
}

#[test]
fn a_named_file_is_read_whatever_its_name_and_once() {
    let folder = tree(&[("manifest.txt", &object("a")), ("b.yaml", &object("b"))]);
    let (text, yaml) = (folder.path().join("manifest.txt"), folder.path().join("b.yaml"));
    let loaded = load_all(&[&text, &yaml, folder.path(), &text]).unwrap();
    assert_eq!(names(&loaded, folder.path()), ["manifest.txt", "b.yaml"]);
}

#[test]
fn standard_input_is_a_file_without_folder() {
    let text = object("a");
    let mut input = text.as_bytes();
    let loaded = load(&[PathBuf::from("-"), PathBuf::from("-")], Some(&mut input)).unwrap();
    assert_eq!(names(&loaded, Path::new("")), ["<stdin>"]);
    assert_eq!(loaded.files[0].folder, None);
    assert_eq!(view(&loaded, "<stdin>"), ["a"]);
    assert!(load(&[PathBuf::from("-")], None).unwrap_err().message.contains("standard input"));
}

#[test]
fn a_missing_path_is_an_error_that_names_it() {
    let folder = tree(&[]);
    let path = folder.path().join("nothing.yaml");
    let error = load_all(&[&path]).unwrap_err();
    assert_eq!(error, LoadError { path: path.clone(), message: "no such file or folder".to_owned() });
    assert!(error.to_string().contains("nothing.yaml: no such"));
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_a_loop_of_them_is_an_error() {
    use std::os::unix::fs::symlink;
    let folder = tree(&[("real/a.yaml", &object("a")), ("in/b.yaml", &object("b"))]);
    symlink(folder.path().join("real"), folder.path().join("in/link")).unwrap();
    symlink(folder.path().join("nowhere"), folder.path().join("in/dangling")).unwrap();
    let loaded = load_all(&[&folder.path().join("in")]).unwrap();
    assert_eq!(names(&loaded, &folder.path().join("in")), ["b.yaml", "link/a.yaml"]);
    symlink(folder.path().join("in"), folder.path().join("in/back")).unwrap();
    let error = load_all(&[&folder.path().join("in")]).unwrap_err();
    assert!(error.message.contains("leads back"), "{error}");
    fs::remove_file(folder.path().join("in/back")).unwrap();
    symlink(folder.path().join("nowhere"), folder.path().join("in/dangling.yaml")).unwrap();
    assert!(load_all(&[&folder.path().join("in")]).unwrap_err().to_string().contains("dangling.yaml"));
}

#[cfg(unix)]
#[test]
fn the_pipe_of_a_process_substitution_is_read() {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(object("piped").as_bytes()).unwrap();
    drop(writer);
    let path = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
    let loaded = load_all(&[&path]).unwrap();
    assert_eq!(loaded.files[0].documents.len(), 1);
}

#[test]
fn a_kustomization_makes_a_view_of_its_resources() {
    let folder = tree(&[
        (
            "app/kustomization.yaml",
            "resources: [one.yaml, two.yaml, https://example.com/x.yaml]\npatches: [{path: p.yaml}]\n",
        ),
        ("app/one.yaml", &object("one")),
        ("app/two.yaml", &object("two")),
        ("app/other.yaml", &object("other")),
        ("app/p.yaml", "- op: remove\n  path: /x\n"),
        ("plain.yaml", &object("plain")),
        ("second.yaml", &object("second")),
    ]);
    let loaded = load_all(&[folder.path()]).unwrap();
    assert_eq!(view(&loaded, "one.yaml"), ["one", "two"]);
    assert_eq!(view(&loaded, "two.yaml"), ["one", "two"]);
    assert_eq!(view(&loaded, "other.yaml"), ["other"]);
    assert_eq!(view(&loaded, "plain.yaml"), ["plain", "second"]);
    let patch = loaded.files.iter().find(|file| file.name.ends_with("p.yaml")).unwrap();
    assert!(patch.documents.is_empty() && patch.problems[0].message.contains("ingredient"));
}

#[test]
fn an_overlay_sees_its_base_and_the_base_is_judged_in_itself() {
    let folder = tree(&[
        ("base/kustomization.yaml", "resources: [a.yaml]\n"),
        ("base/a.yaml", &object("a")),
        ("over/kustomization.yaml", "resources: [../base, b.yaml]\n"),
        ("over/b.yaml", &object("b")),
    ]);
    let both = load_all(&[folder.path()]).unwrap();
    assert_eq!(view(&both, "a.yaml"), ["a"]);
    assert_eq!(view(&both, "b.yaml"), ["a", "b"]);
    // Given the overlay alone, the base is read for the view and not judged.
    let overlay = load_all(&[&folder.path().join("over")]).unwrap();
    let judged: Vec<_> =
        overlay.files.iter().filter(|f| f.judged).map(|f| f.name.rsplit('/').next().unwrap()).collect();
    assert_eq!(judged, ["b.yaml", "kustomization.yaml"]);
    let mut seen = view(&overlay, "over/b.yaml");
    seen.sort();
    assert_eq!(seen, ["a", "b"]);
}

#[test]
fn kustomizations_that_name_each_other_are_read_once() {
    let folder = tree(&[
        ("a/kustomization.yaml", "resources: [../b]\n"),
        ("b/kustomization.yaml", "resources: [../a, x.yaml]\n"),
        ("b/x.yaml", &object("x")),
    ]);
    let loaded = load_all(&[folder.path()]).unwrap();
    assert_eq!(loaded.files.len(), 3);
    assert_eq!(view(&loaded, "x.yaml"), ["x"]);
}

#[test]
fn files_of_a_chart_are_one_note_and_rendered_files_are_read() {
    let folder = tree(&[
        ("chart/Chart.yaml", "apiVersion: v2\nname: c\n"),
        ("chart/values.yaml", "a: 1\n"),
        ("chart/templates/a.yaml", "a: {{ .Values.a }}\n"),
        ("chart/templates/sub/b.yaml", "apiVersion: v1\nkind: A\nmetadata: {name: \"{{ .Release.Name }}\"}\n"),
        ("chart/templates/plain.yaml", &object("plain")),
        ("values.yaml", "a: 1\n"),
    ]);
    let loaded = load_all(&[folder.path()]).unwrap();
    assert_eq!(loaded.notes.len(), 1);
    assert!(loaded.notes[0].message.contains("Helm chart"));
    let given: Vec<_> =
        loaded.files.iter().filter(|f| !f.documents.is_empty()).map(|f| f.name.rsplit('/').next().unwrap()).collect();
    assert_eq!(given, ["plain.yaml", "values.yaml"]);
}
