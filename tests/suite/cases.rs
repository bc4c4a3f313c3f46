//! Every folder of `tests/cases/` is judged as `review` judges it and compared with its golden files.

use std::fs;

use crate::support::{Case, blessing, diff, none, run};

#[test]
fn every_case_yields_its_findings() {
    let mut problems = Vec::new();
    for case in Case::all() {
        match findings(&case) {
            Ok(found) => problems.extend(compare(&case, "findings.json", &found)),
            Err(error) => problems.push(format!("{}: {error}", case.name)),
        }
    }
    none(&problems, "cases differ (`make bless` rewrites them)");
}

#[test]
fn every_case_with_rendered_objects_renders_them() {
    let mut problems = Vec::new();
    let mut compared = 0;
    for case in Case::all().into_iter().filter(|case| case.beside("rendered.yaml").is_some()) {
        compared += 1;
        let input = case.input();
        let mut arguments = vec!["render", input.to_str().unwrap()];
        let (config, cluster) = (case.beside("config.yaml"), case.beside("cluster.yaml"));
        for (flag, path) in [("--config", &config), ("--cluster", &cluster)] {
            if let Some(path) = path {
                arguments.extend([flag, path.to_str().unwrap()]);
            }
        }
        let ran = run(&arguments);
        if ran.code == 2 {
            problems.push(format!("{}: {}", case.name, ran.stderr));
        } else {
            problems.extend(compare(&case, "rendered.yaml", &ran.stdout));
        }
    }
    none(&problems, "cases differ (`make bless` rewrites them)");
    assert!(compared > 0, "no case has a rendered.yaml");
}

/// The findings as JSON, with the names of files reduced to what does not depend on where the repository stands.
fn findings(case: &Case) -> Result<String, String> {
    let findings = case.findings()?;
    let text = serde_json::to_string_pretty(&findings).unwrap() + "\n";
    Ok(text.replace(&format!("{}/", case.folder.display()), ""))
}

/// Compares with a golden file, or rewrites it.
fn compare(case: &Case, name: &str, found: &str) -> Option<String> {
    let path = case.folder.join(name);
    if blessing() {
        fs::write(&path, found).unwrap();
        return None;
    }
    let Ok(expected) = fs::read_to_string(&path) else {
        return Some(format!("{}: there is no {name}; found\n{found}", case.name));
    };
    diff(&expected, found).map(|diff| format!("{}/{name}:\n{diff}", case.name))
}
