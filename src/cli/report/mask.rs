//! Masks what may be secret in a line that is about to be printed.
//!
//! It works on the text, not on the document: a line is also shown where the document does not parse. In doubt it hides.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// Lines above that are looked at for what a line belongs to.
const MOST_LINES: usize = 2000;

/// Words that make a flag, key or variable secret.
const WORDS: &str = "(?:key|token|passw(?:or)?d|passphrase|secret|credential|authorization)";

type Expression = LazyLock<Option<Regex>>;

/// `hf-token: X`, `--api-key=X`, `"password": "X"`: name, value.
static NAMED: Expression =
    LazyLock::new(|| Regex::new(&format!(r#"(?i)([\w.-]*{WORDS}[\w.-]*)\\?["']?\s*[:=]\s*(.+)$"#)).ok());
/// `--api-key X`, `"--api-key", "X"`.
static FLAG: Expression =
    LazyLock::new(|| Regex::new(&format!(r#"(?i)--?[\w-]*{WORDS}[\w-]*\\?["']?\s*[,\s]\s*(.+)$"#)).ok());
/// A line that ends with such a flag, whose value is on the next one.
static FLAG_ALONE: Expression =
    LazyLock::new(|| Regex::new(&format!(r#"(?i)--?[\w-]*{WORDS}[\w-]*["']?\s*[,\\]?\s*$"#)).ok());
/// Name and password in a URL, and what follows `Bearer`.
static IN_TEXT: Expression = LazyLock::new(|| Regex::new(r"(?i)(?:://([^/\s@]+)@|\bbearer\s+(\S+))").ok());
/// A pair inside one line of flow style or JSON: key, value.
static FLOW_PAIR: Expression = LazyLock::new(|| {
    Regex::new(r#"["']?([\w./-]+)["']?\s*:\s*("(?:[^"\\]|\\.)*"?|'[^']*'?|\[[^\]]*\]?|[^\s,{}\[\]"'][^,}\]]*)"#).ok()
});
/// Key and value of a line in block style; a line without a key is a value.
static PAIR: Expression =
    LazyLock::new(|| Regex::new(r#"^[\s\-{\[]*(?:["']?([\w./-]+)["']?\s*:(?:\s+|$))?(.*)$"#).ok());
static ENV: Expression = LazyLock::new(|| Regex::new(r#"(?:^|[\s,{\-])["']?env["']?\s*:"#).ok());
static ENV_KEY: Expression = LazyLock::new(|| Regex::new(r#"^[\s\-{]*["']?env["']?\s*:"#).ok());
static SECRET_KIND: Expression =
    LazyLock::new(|| Regex::new(r#"(?m)(?:^|[\s,{\-])["']?kind["']?\s*:\s*["']?Secret\b"#).ok());
/// A label's key, as selectors and tolerations have it after `key:`.
static LABEL_KEY: Expression = LazyLock::new(|| Regex::new(r#"^["']?[a-z0-9.-]+\.[a-z]+/[\w.-]+["']?\s*$"#).ok());

/// What stands below `env` and is no value.
const PLAIN_IN_ENV: [&str; 12] = [
    "env",
    "name",
    "valueFrom",
    "secretKeyRef",
    "configMapKeyRef",
    "fieldRef",
    "fieldPath",
    "resourceFieldRef",
    "resource",
    "optional",
    "containerName",
    "divisor",
];

/// Whether a document is a Secret, as far as its text tells.
pub(super) fn holds_secret(document: &str) -> bool {
    SECRET_KIND.as_ref().is_some_and(|kind| kind.is_match(document))
}

/// The line with what may be secret replaced by asterisks, as many as it has bytes, so that columns stay. `secret` says
/// that it is of a Secret.
pub(super) fn line(text: &str, line_start: usize, line: &str, secret: bool) -> String {
    let mut hide: Vec<Range<usize>> = Vec::new();
    let above = text.get(..line_start).unwrap_or_default();
    if let Some(found) = NAMED.as_ref().and_then(|regex| regex.captures(line)) {
        let name = found.get(1).map_or("", |name| name.as_str());
        let label = LABEL_KEY.as_ref().zip(found.get(2)).is_some_and(|(label, value)| label.is_match(value.as_str()));
        if !(name == "key" && label) {
            hide.extend(found.get(2).map(|value| value.range()));
        }
    }
    if let Some(found) = FLAG.as_ref().and_then(|regex| regex.captures(line)) {
        hide.extend(found.get(1).map(|value| value.range()));
    }
    for found in IN_TEXT.as_ref().into_iter().flat_map(|regex| regex.captures_iter(line)) {
        hide.extend(found.get(1).or_else(|| found.get(2)).map(|value| value.range()));
    }
    let in_env = in_env(above, line);
    // Behind an `env` in flow style everything may be of it: where it ends is not looked for.
    let env = if in_env { Some(0) } else { ENV.as_ref().and_then(|env| Some(env.find(line)?.end())) };
    if let Some((pair, start)) = FLOW_PAIR.as_ref().zip(env) {
        let behind = line.get(start..).unwrap_or_default();
        let pairs = pair.captures_iter(behind).filter_map(|found| found.get(1).zip(found.get(2)));
        let values = pairs.filter(|(key, _)| !PLAIN_IN_ENV.contains(&key.as_str()) && key.as_str() != "key");
        hide.extend(values.map(|(_, value)| start + value.start()..start + value.end()));
    }
    if let Some(found) = PAIR.as_ref().and_then(|regex| regex.captures(line)) {
        let key = found.get(1).map(|key| key.as_str());
        let plain = key.is_some_and(|key| PLAIN_IN_ENV.contains(&key));
        let harmless = matches!(key, Some("kind" | "apiVersion" | "metadata" | "name" | "namespace" | "type"));
        let several = found.get(2).is_some_and(|rest| rest.as_str().contains([':', ',', '{']));
        if secret && (!harmless || several) || in_env && !plain {
            hide.extend(found.get(2).map(|value| value.range()));
        }
    }
    let before = above.trim_end().rsplit('\n').next().unwrap_or_default();
    if FLAG_ALONE.as_ref().is_some_and(|flag| flag.is_match(before)) {
        hide.extend(PAIR.as_ref().and_then(|regex| regex.captures(line)).and_then(|f| f.get(2)).map(|v| v.range()));
    }
    let mut masked = line.as_bytes().to_vec();
    for range in hide {
        if let Some(bytes) = masked.get_mut(range) {
            bytes.fill(b'*');
        }
    }
    String::from_utf8(masked).unwrap_or_default()
}

/// Whether a line stands below a key `env`, told by indentation.
fn in_env(above: &str, line: &str) -> bool {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let item = |line: &str| line.trim_start().starts_with('-');
    let (mut least, mut is_item) = (indent(line), item(line));
    for line in above.rsplit('\n').take(MOST_LINES) {
        let trimmed = line.trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if trimmed.starts_with("---") {
            return false;
        }
        let here = indent(line);
        // The items of a list may stand as far left as its key.
        if here < least || (here == least && is_item && !item(line)) {
            // In `- env:` the key stands further right than the line begins.
            let key = line.len() - line.trim_start_matches([' ', '-']).len();
            if (key < least || (key == least && is_item)) && ENV_KEY.as_ref().is_some_and(|env| env.is_match(line)) {
                return true;
            }
            (least, is_item) = (here, item(line));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line that holds `at`, masked.
    fn masked(text: &str, at: &str) -> String {
        let position = text.find(at).unwrap();
        let start = text[..position].rfind('\n').map_or(0, |at| at + 1);
        line(text, start, text[start..].lines().next().unwrap(), holds_secret(text))
    }

    #[test]
    fn values_of_the_environment_are_hidden_however_they_are_written() {
        for text in [
            "env:\n- name: X\n  value: hunter2\n",
            "env:\n- value: hunter2\n  name: X\n",
            "env:\n  - name: X\n    # why\n    value: hunter2\n",
            "env:\n  - name: X\n    vaule: hunter2\n",
            "env:\n  - name: X\n    value: |\n      first\n      hunter2\n",
            "env:\n  - {name: X, value: hunter2}\n",
            "env: [{name: X, value: 'hunter2'}]\n",
            "env: [{name: X, value: a, vaule: hunter2}]\n",
            "env: {X: hunter2}\n",
            "env: [{name: X, value: [a, hunter2]}]\n",
            "\"env\": [\n  {\n    \"name\": \"X\",\n    \"value\": \"hunter2\"\n  }\n]\n",
            "{\"containers\":[{\"env\":[{\"name\":\"X\",\"value\":\"hun\\\"ter hunter2\"}]}]}\n",
            "containers:\n- env:\n  - name: X\n    value: hunter2\n",
        ] {
            let line = masked(text, "hunter2");
            assert!(!line.contains("hunter2") && line.contains('*'), "{text}: {line}");
        }
    }

    #[test]
    fn secret_flags_hide_their_values_also_on_the_next_line() {
        for text in [
            "args: [--api-key=hunter2]\n",
            "args: [\"--api-key\", \"hunter2\"]\n",
            "args:\n- --api-key\n- hunter2\n",
            "args: [\n  \"--api-key\",\n  \"hunter2\"\n]\n",
            "- vllm serve --hf-token hunter2 --port 1\n",
            "command:\n- |\n  vllm serve --api_key \\\n    hunter2\n",
            "HF_TOKEN: hunter2\n",
            "  \"apiKey\": \"hunter2\"\n",
            "query: http://bob:hunter2@example.com/\n",
            "- \"Authorization: Bearer hunter2\"\n",
            "- Bearer hunter2\n",
        ] {
            let line = masked(text, "hunter2");
            assert!(!line.contains("hunter2") && line.contains('*'), "{text}: {line}");
        }
    }

    #[test]
    fn the_data_of_a_secret_is_hidden() {
        for text in [
            "kind: Secret\nstringData:\n  x: hunter2\n",
            "kind: Secret\nstringData:\n  x: |\n    hunter2\n",
            "{\"kind\": \"Secret\", \"data\": {\"x\": \"hunter2\"}}\n",
        ] {
            assert!(!masked(text, "hunter2").contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn what_is_not_secret_stays_readable() {
        for text in [
            "  - type: Percent\n    value: 100\n",
            "env:\n- name: X\n  valueFrom: {fieldRef: {fieldPath: status.podIP}}\n",
            "tolerations:\n- key: nvidia.com/gpu\n  operator: Exists\n",
            "env:\n- name: X\nimage: vllm/vllm-openai:v0.11.0\n",
            "containers:\n- env:\n  - name: X\n    value: x\n  image: vllm/vllm-openai:v0.11.0\n",
            "args: [--max-num-seqs=4]\n",
        ] {
            let last = text.lines().last().unwrap();
            assert_eq!(masked(text, last), last);
        }
        assert_eq!(masked("- key: nvidia.com/gpu\n", "key"), "- key: nvidia.com/gpu");
    }
}
