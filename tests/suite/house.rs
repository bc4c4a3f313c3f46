//! The rules of the house that no compiler checks: `src/policy/` is pure, and files stay short.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::support::{none, repository};

/// Lines of the longest file.
const LINES_MOST: usize = 600;

/// What must not stand in `src/policy/`, and an example that the scan must catch.
const FORBIDDEN: &[(&str, &str)] = &[
    (r"\btokio\b", "use tokio::sync::Mutex;"),
    (r"\bhyper\b", "let _ = hyper::Error;"),
    (r"\baxum\b", "use axum::Router;"),
    (r"\brustls\b", "use rustls::ServerConfig;"),
    (r"\bkube::", "use kube::Client;"),
    (r"\bstd::(env|fs|net|process|thread)\b", "let x = std::env::var(name);"),
    (r"\bstd::(env|fs|net|process|thread)\b", "use std::fs;"),
    (r"\bstd::(env|fs|net|process|thread)\b", "fn f(s: std::net::TcpStream) {}"),
    (r"\bstd::(env|fs|net|process|thread)\b", "std::process::exit(1);"),
    (r"\bstd::(env|fs|net|process|thread)\b", "std::thread::sleep(d);"),
    (r"\bstd::\{[^;]*\b(env|fs|net|process|thread)\b", "use std::{\n    collections::BTreeMap,\n    fs,\n};"),
    (r"::now\(", "let now = SystemTime::now();"),
    (r"\basync\b", "async fn f() {}"),
    (r"\basync\b", "let f = async move { 1 };"),
    (r"\.await\b", "f().await;"),
    (r"\bcrate::(admission|cli|cluster|manifest|tls)\b", "use crate::admission::Phase;"),
    (r"\bcrate::(admission|cli|cluster|manifest|tls)\b", "crate::cli::run();"),
    (r"\bcrate::(admission|cli|cluster|manifest|tls)\b", "use crate::cluster::snapshot;"),
    (r"\bcrate::(admission|cli|cluster|manifest|tls)\b", "use crate::manifest::Span;"),
    (r"\bcrate::(admission|cli|cluster|manifest|tls)\b", "use crate::tls::Pair;"),
    (r"\bcrate::\{[^;]*\b(admission|cli|cluster|manifest|tls)\b", "use crate::{manifest::Span, policy};"),
    (r"\be?println!", "println!(\"x\");"),
    (r"\bHash(Map|Set)\b", "use std::collections::HashMap;"),
];

/// The code without comments and literals, line by line as before.
fn code(text: &str) -> String {
    let raw = r###"(?s)r##".*?"##|r#".*?"#"###;
    let rest = r#"|'(?:\\.|[^\\'])'|"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/"#;
    let skipped = Regex::new(&format!("{raw}{rest}")).unwrap();
    let lines = |found: &regex::Captures<'_>| "\n".repeat(found[0].matches('\n').count()) + " ";
    skipped.replace_all(text, lines).into_owned()
}

/// Line and pattern of everything forbidden in a text.
fn impurities(text: &str) -> Vec<(usize, &'static str)> {
    let code = code(text);
    let mut found = Vec::new();
    for (pattern, _) in FORBIDDEN {
        let regex = Regex::new(pattern).unwrap();
        found.extend(regex.find_iter(&code).map(|hit| (code[..hit.start()].matches('\n').count() + 1, *pattern)));
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn all_sources(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    sources(&repository(folder), &mut files);
    files.sort();
    files
}

#[test]
fn the_decision_core_is_pure() {
    let mut problems = Vec::new();
    let mut files = all_sources("src/policy");
    // Tests may do as they like; a core that is tested by a thread with a small stack is still pure.
    let core = repository("src/policy");
    files.retain(|path| {
        let inside = path.strip_prefix(&core).unwrap();
        !inside.iter().any(|part| part == "tests" || part.to_string_lossy().ends_with("tests.rs"))
    });
    assert!(files.len() > 100, "only {} files were scanned", files.len());
    for path in files {
        let found = impurities(&fs::read_to_string(&path).unwrap());
        problems.extend(found.into_iter().map(|(line, what)| format!("{}:{line}: {what}", path.display())));
    }
    none(&problems, "impurities in src/policy/");
}

#[test]
fn the_scan_for_impurities_catches_each() {
    for (pattern, example) in FORBIDDEN {
        let text = format!("//! Text.\nconst QUOTE: char = '\"';\n{example}\n");
        let found = impurities(&text);
        assert!(found.iter().any(|(line, what)| (3..=5).contains(line) && what == pattern), "{example}: {found:?}");
    }
    let innocent = "// no tokio\n/// std::fs\nconst A: &str = \"std::env \\\" axum\";\nconst B: &str = r#\"a \" kube::\"#;\n\
                    fn know(x: &str) { x.now(); hypervisor(); environment(); }\n/* f().await */\n";
    assert_eq!(impurities(innocent), []);
}

#[test]
fn no_source_file_is_longer_than_a_newcomer_reads() {
    let mut files = all_sources("src");
    files.extend(all_sources("tests/suite"));
    let mut problems = Vec::new();
    for path in files {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        if lines > LINES_MOST {
            problems.push(format!("{}: {lines} lines, {LINES_MOST} at most", path.display()));
        }
    }
    none(&problems, "files are too long");
}
