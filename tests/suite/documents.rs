//! What is written for operators is true of the code, as far as a test can tell: metrics, alerts and links.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{none, repository, run, scalegate};

/// Ends the process when the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server with its admin port on a free port; the port's address.
fn start(arguments: &[&str], kubeconfig: &Path) -> (Running, String) {
    let child = scalegate(arguments)
        .args(["--admin-listen", "127.0.0.1:0", "--log-format", "json"])
        .env("KUBECONFIG", kubeconfig)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let mut log = BufReader::new(running.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = log.find(|line| line.contains("admin port open")).expect("the admin port opens");
    let address = serde_json::from_str::<Value>(&line).unwrap()["address"].as_str().unwrap().to_owned();
    // Nobody else reads the pipe, and a full one would stop the process.
    thread::spawn(move || log.count());
    (running, address)
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// What the server exports once it exports that family.
fn scrape_with(family: &str, (server, admin): &mut (Running, String)) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let scrape = get(admin, "/metrics");
        if scrape.contains(family) {
            return scrape;
        }
        assert_eq!(server.0.try_wait().unwrap(), None, "it runs");
        assert!(Instant::now() < deadline, "{family} does not appear:\n{scrape}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// An API server that serves Namespaces, of which there are none, and nothing else; and a kubeconfig that names it.
fn api_server(folder: &Path) -> PathBuf {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer_as_api_server(stream));
        }
    });
    let file = folder.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n\
         users: [{{name: a, user: {{}}}}]\nclusters: [{{name: a, cluster: {{server: \"http://{address}\"}}}}]\n"
    );
    fs::write(&file, text).unwrap();
    file
}

fn answer_as_api_server(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match target.split('?').next().unwrap_or_default() {
        "/apis" => ("200 OK", r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[]}"#),
        "/api/v1" => (
            "200 OK",
            r#"{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"namespaces","singularName":"namespace",
               "namespaced":false,"kind":"Namespace","verbs":["get","list","watch"]}]}"#,
        ),
        "/api/v1/namespaces" if target.contains("watch=") => {
            let bookmark = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"1"}}}"#;
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{bookmark}\n");
            // The watch lasts until the client has enough of it.
            let _ = stream.read(&mut byte);
            return;
        }
        "/api/v1/namespaces" => {
            ("200 OK", r#"{"kind":"NamespaceList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}"#)
        }
        _ => (
            "404 Not Found",
            r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"not here","reason":"NotFound","code":404}"#,
        ),
    };
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

/// Type and labels of a family; no labels where it has no row.
type Family = (String, Option<BTreeSet<String>>);

/// The families of a scrape by the name that is queried.
fn scraped(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::new();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for (name, kind) in types.filter_map(|rest| rest.split_once(' ')) {
        let queried = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        let sample = if kind == "histogram" { format!("{name}_count") } else { queried.clone() };
        let row = text.lines().find_map(|line| {
            let rest = line.strip_prefix(&sample)?;
            rest.starts_with([' ', '{']).then_some(rest)
        });
        let labels = row.map(|row| match row.strip_prefix('{').and_then(|row| row.split_once('}')) {
            Some((labels, _)) => {
                labels.split("\",").filter_map(|label| Some(label.split_once("=\"")?.0.to_owned())).collect()
            }
            None => BTreeSet::new(),
        });
        families.insert(queried, (kind.to_owned(), labels));
    }
    families
}

/// The families that docs/metrics.md lists for a process.
fn described(process: &str) -> BTreeMap<String, Family> {
    let text = fs::read_to_string(repository("docs/metrics.md")).unwrap();
    let (_, table) = text.split_once(&format!("<!-- metrics: {process} -->")).expect("the table is marked");
    let (table, _) = table.split_once("<!-- /metrics -->").expect("the table's end is marked");
    let ticked = |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), Some(ticked(cells[3]))))
    })
    .collect()
}

/// Where the document and the scrape differ.
fn differences(process: &str, scrape: &str) -> Vec<String> {
    let (exported, described) = (scraped(scrape), described(process));
    let mut problems = Vec::new();
    for (name, (kind, labels)) in &exported {
        match described.get(name) {
            None => {
                problems.push(format!("{process} exports `{name}` ({kind}), which docs/metrics.md does not describe"));
            }
            Some((said, _)) if said != kind => {
                problems.push(format!("`{name}` is a {kind}, docs/metrics.md says {said}"));
            }
            Some((_, said)) if labels.is_some() && said != labels => {
                problems.push(format!("`{name}` has the labels {labels:?}, docs/metrics.md says {said:?}"));
            }
            Some(_) => {}
        }
    }
    let gone = described.keys().filter(|name| !exported.contains_key(*name));
    problems.extend(gone.map(|name| format!("docs/metrics.md describes `{name}`, which {process} does not export")));
    problems
}

#[test]
fn every_metric_of_the_webhook_is_described_and_every_described_one_exported() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("config.yaml"), "apiVersion: scalegate.dev/v1alpha1\nkind: Configuration\n").unwrap();
    assert_eq!(run(&["certs", "--dir", &at("certs")]).code, 0);
    let (certificate, key, config) = (at("certs/tls.crt"), at("certs/tls.key"), at("config.yaml"));
    let arguments =
        ["webhook", "--listen", "127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key, "--config", &config];
    let mut started = start(&arguments, &api_server(folder.path()));
    // The last of them appears when it serves.
    let scrape = scrape_with("scalegate_webhook_configuration_drift", &mut started);
    none(&differences("webhook", &scrape), "differences between docs/metrics.md and a scrape of the webhook");
}

#[test]
fn every_metric_of_the_controller_is_described_and_every_described_one_exported() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml").display().to_string();
    fs::write(&config, "apiVersion: scalegate.dev/v1alpha1\nkind: Configuration\n").unwrap();
    let arguments = ["controller", "--namespace", "scalegate-system", "--config", &config];
    let mut started = start(&arguments, &api_server(folder.path()));
    let scrape = scrape_with("scalegate_rotation_not_after", &mut started);
    none(&differences("controller", &scrape), "differences between docs/metrics.md and a scrape of the controller");
}

#[test]
fn a_metric_that_one_side_lacks_or_names_otherwise_is_noticed() {
    let build = "# TYPE scalegate_build info\nscalegate_build_info{version=\"1\"} 1\n";
    let problems = differences("controller", &format!("{build}# TYPE scalegate_new counter\nscalegate_new_total 0\n"));
    assert!(problems.iter().any(|problem| problem.contains("exports `scalegate_new_total`")), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.contains("describes `scalegate_leader`")), "{problems:?}");
    let labels = "# TYPE scalegate_build info\nscalegate_build_info{commit=\"1\"} 1\n";
    let problems = differences("controller", labels);
    assert!(problems.iter().any(|problem| problem.contains("commit") && problem.contains("version")), "{problems:?}");
}

#[test]
fn the_charts_alerts_and_panels_ask_for_metrics_that_are_described_and_each_alert_is() {
    let text = fs::read_to_string(repository("docs/metrics.md")).unwrap();
    let alerts = fs::read_to_string(repository("deploy/chart/files/alerts.yaml")).unwrap();
    let dashboard = fs::read_to_string(repository("deploy/chart/files/dashboard.json")).unwrap();
    let named = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words
            .filter(|word| word.starts_with("scalegate_"))
            .map(|word| word.trim_end_matches("_bucket").to_owned())
            .collect()
    };
    let known: BTreeSet<String> = described("webhook").into_keys().chain(described("controller").into_keys()).collect();
    let mut problems: Vec<String> = named(&alerts).union(&named(&dashboard)).cloned().collect();
    assert!(problems.len() > 5, "{problems:?}");
    problems.retain(|metric| !known.contains(metric));
    none(&problems, "metrics of the chart's alerts and dashboard do not exist");
    let of_chart: BTreeSet<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `Scalegate")?.split_once('`'));
    let listed: BTreeSet<String> = rows.map(|(name, _)| format!("Scalegate{name}")).collect();
    assert_eq!(listed, of_chart.into_iter().map(str::to_owned).collect());
}

/// The documents of the repository that people read.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["", "certs", "deploy", "docs", "tests"] {
        collect(&repository(folder), !folder.is_empty(), &mut found);
    }
    found.sort();
    found
}

fn collect(folder: &Path, deep: bool, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() && deep {
            collect(&path, true, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// Headings as a link names them: lower case, spaces as `-`, and of the rest only letters, digits, `-` and `_`.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if let Some(heading) = line.strip_prefix('#').filter(|_| !fenced) {
            let heading = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            anchors.insert(heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect());
        }
    }
    anchors
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let mut problems = Vec::new();
    let mut links = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            links += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            let problem = if !target.exists() {
                "no such file"
            } else if !anchor.is_empty() && !anchors(&fs::read_to_string(&target).unwrap_or_default()).contains(anchor)
            {
                "no such heading"
            } else {
                continue;
            };
            problems.push(format!("{}: ({link}): {problem}", document.display()));
        }
    }
    assert!(links > 20, "{links}");
    none(&problems, "links lead nowhere");
}
