//! What nobody may read in a log: environment values, Secret data, and the values of flags that name a key, a token, a
//! password or a secret.

use super::{at, folder, hpa};
use crate::support::{none, run};

const CANARY: &str = "c4n4ry";

/// Every place that a secret stands in, each with something wrong beside it so that the line is printed.
fn documents() -> Vec<(&'static str, String)> {
    let server = |environment: &str, args: &str, more: &str| {
        format!(
            "apiVersion: apps/v1
kind: Deployment
metadata:
  name: llm
  labels: {{scalegate.dev/autoscale: throughput}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: llm}}}}
  template:
    metadata: {{labels: {{app: llm}}}}
    spec:
      containers:
      - name: server
        image: vllm/vllm-openai:v0.12.0
        args: {args}
        {more}
        ports: [{{containerPort: 9999}}]
        env: {environment}
        resources: {{limits: {{nvidia.com/gpu: 8}}}}
---
{}",
            hpa("vllm:num_request_running")
        )
    };
    let plain = "[--model=m, --tensor-parallel-size=2]";
    vec![
        ("env", server("[{name: SOMETHING, value: c4n4ry}]", plain, "")),
        ("env-unknown-field", server("[{name: SOMETHING, value: c4n4ry, valeuFrom: c4n4ry}]", plain, "")),
        ("env-not-text", server("[{name: TOKEN, value: [c4n4ry]}]", plain, "")),
        ("env-no-list", server("{TOKEN: c4n4ry}", plain, "")),
        ("api-key", server("[]", "[--model=m, --api-key=c4n4ry, --tensor-parallel-size=2]", "")),
        ("api-key-apart", server("[]", "[--model=m, --api-key, c4n4ry, --tensor-parallel-size=2]", "")),
        ("api-key-in-shell", server("[]", "[]", "command: [sh, -c, 'vllm serve m --api-key c4n4ry --port 1']")),
        ("port-of-a-secret", server("[{name: TOKEN, value: c4n4ry}]", "[--model=m, --port=$(TOKEN)]", "")),
        ("ceiling-of-a-secret", server("[{name: A, value: c4n4ry}]", "[--model=m, --max-num-seqs=$(A)]", "")),
        (
            "ray-in-shell",
            server("[{name: A, value: c4n4ry}]", "[]", "command: [sh, -c, 'X=$A vllm serve m --port $A']"),
        ),
        (
            "secret",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndta: {token: c4n4ry}\nstringData: {token: c4n4ry}\n"
                .into(),
        ),
        (
            "secret-wrong",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: [c4n4ry]\nstringData: c4n4ry\n".into(),
        ),
        ("secret-broken", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {token: c4n4ry\n".into()),
        (
            "secret-twice",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {token: c4n4ry, token: c4n4ry}\n".into(),
        ),
        (
            "keda-authentication",
            "apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: s}
spec:
  scaleTargetRef: {name: llm}
  triggers:
  - type: prometheus
    metadata: {query: 'sum(vllm:num_request_running)', password: c4n4ry, serverAddress: 'http://x', threshold: '1'}
"
            .into(),
        ),
    ]
}

#[test]
fn no_command_prints_a_secret() {
    let mut problems = Vec::new();
    let mut spoke = 0;
    for (name, text) in documents() {
        let folder = folder(&[("input.yaml", &text)]);
        let path = at(&folder, "input.yaml");
        for arguments in [
            &["review", path.as_str()][..],
            &["review", "--output", "json", &path],
            &["review", "--complete", &path],
            &["render", &path],
            &["try", &path],
            &["review", "--cluster", &path, &path],
            &["review", "--config", &path, &path],
        ] {
            let ran = run(arguments);
            spoke += usize::from(ran.code == 1);
            for said in [&ran.stdout, &ran.stderr] {
                if said.contains(CANARY) {
                    problems.push(format!("{name}, {arguments:?}:\n{said}"));
                }
            }
        }
    }
    none(&problems, "secrets are printed");
    assert!(spoke > 20, "only {spoke} runs had anything to refuse");
}
