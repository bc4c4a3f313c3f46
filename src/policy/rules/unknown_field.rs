//! `unknown-field`: a field that no supported API server knows.

use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, DocumentFacts};
use crate::policy::finding::Finding;

pub(super) static RULE: Rule = Rule {
    id: "unknown-field",
    default: Level::Warn,
    at_admission: false,
    summary: "A field that no supported API server knows, and that is dropped",
    explain: "\
The API server drops fields that it does not know, with a warning at best. What was meant by them does not happen: with
args:: in the place of args the server starts without its flags, listens on its default port and loads its default model, and
nothing says that the manifest was the reason.

Correct the field's name (the nearest known one is given) or its place, or remove it.

The rule speaks about files only, since the webhook sees the object after the field is gone. It knows the fields of the newest
supported Kubernetes release, and says nothing about kinds whose fields it does not know.",
    failing: "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm
  namespace: inference
spec:
  selector:
    matchLabels:
      app: vllm
  template:
    metadata:
      labels:
        app: vllm
    spec:
      containers:
        - name: server
          image: vllm/vllm-openai:v0.11.0
          args:: [--model=google/gemma-3-1b-it, --port=8000, --max-num-seqs=64]
          resources:
            limits:
              cpu: 4
              memory: 16Gi
              nvidia.com/gpu: 1
",
    passing: "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm
  namespace: inference
spec:
  selector:
    matchLabels:
      app: vllm
  template:
    metadata:
      labels:
        app: vllm
    spec:
      containers:
        - name: server
          image: vllm/vllm-openai:v0.11.0
          args: [--model=google/gemma-3-1b-it, --port=8000, --max-num-seqs=64]
          resources:
            limits:
              cpu: 4
              memory: 16Gi
              nvidia.com/gpu: 1
",
    checks: Checks { document: Some(check), ..Checks::NONE },
};

fn check(facts: &DocumentFacts, _context: &Context<'_>) -> Vec<Finding> {
    facts.unknown_fields.iter().map(|(path, nearest)| against(path, nearest.as_deref(), facts)).collect()
}

fn against(path: &str, nearest: Option<&str>, facts: &DocumentFacts) -> Finding {
    let name = last(path);
    let kind = if facts.object.kind.is_empty() { "this kind" } else { &facts.object.kind };
    let message = format!("{kind} has no field {name:?} here, so the API server drops it");
    let hint = match nearest {
        Some(nearest) => format!("write {nearest}"),
        None => "correct its name or its place, or remove it".to_owned(),
    };
    Finding::warn(path, path, message).hint(hint)
}

/// The last key of a path: `args:` of `spec.template.spec.containers[0].args:`.
fn last(path: &str) -> &str {
    if let Some((_, key)) = path.strip_suffix(']').and_then(|path| path.rsplit_once('[')) {
        return key;
    }
    path.rsplit('.').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::last;
    use crate::policy::configuration::Configuration;
    use crate::policy::facts::{Context, DocumentFacts, Stage};
    use crate::policy::finding::{Finding, ObjectRef};
    use crate::policy::judge::judge_document;
    use crate::policy::rules::testing::brief;
    use crate::policy::view::ClusterView;

    fn said(unknown: &[(&str, Option<&str>)]) -> Vec<Finding> {
        let view = ClusterView::default();
        let configuration = Configuration::default();
        let context = Context { view: &view, configuration: &configuration, stage: Stage::Review, update: false };
        let fields = unknown.iter().map(|(path, nearest)| ((*path).to_owned(), nearest.map(str::to_owned)));
        let facts = DocumentFacts {
            object: ObjectRef { kind: "Deployment".to_owned(), ..ObjectRef::default() },
            unknown_fields: fields.collect(),
            ..DocumentFacts::default()
        };
        judge_document(&facts, &context).findings
    }

    #[test]
    fn the_field_and_the_nearest_known_one_are_named() {
        let findings = said(&[("spec.template.spec.containers[0].args:", Some("args"))]);
        assert_eq!(brief(&findings), ["unknown-field warn spec.template.spec.containers[0].args:"]);
        assert_eq!(findings[0].message, "Deployment has no field \"args:\" here, so the API server drops it");
        assert_eq!(findings[0].hint.as_deref(), Some("write args"));
    }

    #[test]
    fn each_field_is_a_finding_and_none_is_none() {
        assert_eq!(said(&[("spec.replica", Some("replicas")), ("spec.autoscale", None)]).len(), 2);
        assert!(said(&[]).is_empty());
    }

    #[test]
    fn the_last_key_of_a_path_is_found() {
        assert_eq!(last("spec.template.spec.containers[0].args:"), "args:");
        assert_eq!(last("spec[a.b/c]"), "a.b/c");
        assert_eq!(last("spec"), "spec");
        assert_eq!(last(""), "");
    }
}
