//! vLLM's arguments, read as its argparse reads them: joined and split values, underscores, unambiguous abbreviations, the
//! last of several, and the YAML file of `--config` before what the command line says.

use std::collections::{BTreeMap, BTreeSet};

use super::environment::is_unknown;

/// What follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// Nothing.
    Nothing,
    /// One value.
    One,
    /// Values up to the next flag.
    Many,
}

use Takes::{Many, Nothing, One};

/// Flags that scalegate reads, with their short spelling.
///
/// Source of this and of the next table: `vllm/entrypoints/openai/cli_args.py`, `vllm/engine/arg_utils.py` and the
/// documentation pages "vllm serve" of 0.12 to 0.31.
const READ: [(&str, &str, Takes); 17] = [
    ("port", "", One),
    ("max-num-seqs", "", One),
    ("tensor-parallel-size", "tp", One),
    ("pipeline-parallel-size", "pp", One),
    ("data-parallel-size", "dp", One),
    ("data-parallel-size-local", "dpl", One),
    ("data-parallel-rank", "dpn", One),
    ("nnodes", "n", One),
    ("model", "", One),
    ("served-model-name", "", Many),
    ("config", "", One),
    ("device", "", One),
    ("disable-log-stats", "", Nothing),
    ("show-hidden-metrics-for-version", "", One),
    ("shutdown-timeout", "", One),
    ("headless", "", Nothing),
    ("uds", "", One),
];

/// Flags that begin like one of [`READ`], so that an abbreviation may mean them; and those whose number of values matters,
/// because a model's name may stand behind them.
const NEIGHBOURS: [(&str, Takes); 66] = [
    ("pooler-config", One),
    ("max-num-batched-tokens", One),
    ("max-num-partial-prefills", One),
    ("max-num-scheduled-tokens", One),
    ("max-model-len", One),
    ("max-logprobs", One),
    ("max-loras", One),
    ("max-lora-rank", One),
    ("max-long-partial-prefills", One),
    ("max-parallel-loading-workers", One),
    ("max-seq-len-to-capture", One),
    ("max-cpu-loras", One),
    ("max-log-len", One),
    ("model-impl", One),
    ("model-loader-extra-config", One),
    ("data-parallel-start-rank", One),
    ("data-parallel-address", One),
    ("data-parallel-rpc-port", One),
    ("data-parallel-backend", One),
    ("data-parallel-hybrid-lb", Nothing),
    ("data-parallel-external-lb", Nothing),
    ("data-parallel-multi-port-external-lb", Nothing),
    ("data-parallel-supervisor-port", One),
    ("node-rank", One),
    ("config-format", One),
    ("device-ids", One),
    ("disable-log-requests", Nothing),
    ("disable-logprobs-during-spec-decoding", Nothing),
    ("disable-fastapi-docs", Nothing),
    ("disable-frontend-multiprocessing", Nothing),
    ("disable-uvicorn-access-log", Nothing),
    ("disable-access-log-for-endpoints", One),
    ("disable-custom-all-reduce", Nothing),
    ("disable-sliding-window", Nothing),
    ("disable-cascade-attn", Nothing),
    ("disable-async-output-proc", Nothing),
    ("disable-mm-preprocessor-cache", Nothing),
    ("disable-hybrid-kv-cache-manager", Nothing),
    ("api-server-count", One),
    ("api-key", Many),
    ("trust-remote-code", Nothing),
    ("enforce-eager", Nothing),
    ("skip-tokenizer-init", Nothing),
    ("enable-prefix-caching", Nothing),
    ("enable-chunked-prefill", Nothing),
    ("enable-lora", Nothing),
    ("enable-auto-tool-choice", Nothing),
    ("enable-expert-parallel", Nothing),
    ("enable-eplb", Nothing),
    ("enable-reasoning", Nothing),
    ("enable-log-requests", Nothing),
    ("enable-sleep-mode", Nothing),
    ("enable-request-id-headers", Nothing),
    ("enable-server-load-tracking", Nothing),
    ("enable-prompt-tokens-details", Nothing),
    ("enable-dbo", Nothing),
    ("enable-mfu-metrics", Nothing),
    ("kv-cache-metrics", Nothing),
    ("async-scheduling", Nothing),
    ("calculate-kv-scales", Nothing),
    ("use-v2-block-manager", Nothing),
    ("return-tokens-as-token-ids", Nothing),
    ("allow-credentials", Nothing),
    ("grpc", Nothing),
    ("lora-modules", Many),
    ("allowed-origins", One),
];

/// Arguments of one server invocation.
#[derive(Debug, Default)]
pub(super) struct Flags {
    given: BTreeMap<&'static str, Given>,
    /// The positional argument of `vllm serve MODEL`, when it can be told.
    pub positional: Option<String>,
    /// Nothing among the arguments hides further ones.
    pub complete: bool,
    /// Flags that an ambiguous abbreviation may have meant.
    ambiguous: BTreeSet<&'static str>,
}

/// A flag's last value.
#[derive(Debug)]
struct Given {
    value: Option<String>,
    at: usize,
}

/// The value of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag<'a> {
    /// Not given.
    Absent,
    /// Given; the index is that of the argument.
    Value(&'a str, usize),
    /// Given, but the value cannot be read: a variable, an abbreviation of several flags, or nothing at all.
    Unreadable,
}

// === impl Flags ===

impl Flags {
    /// Reads the arguments that stand behind the server's program. Those of a `--config` file belong before them:
    /// [`from_config`]. `positional` says that a model may stand among them (`vllm serve MODEL`).
    pub fn read(arguments: &[String], positional: bool) -> Self {
        let mut this = Self { complete: true, ..Self::default() };
        let mut at = 0;
        while let Some(argument) = arguments.get(at) {
            let index = at;
            at += 1;
            let (spelling, joined) = match argument.split_once('=') {
                Some((spelling, value)) => (spelling, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            if is_unknown(spelling) {
                // `$EXTRA_ARGS`: anything may be in it. Text before an unknown part tells that it is no flag.
                let hides =
                    spelling.starts_with("--") || is_unknown(spelling.get(..spelling.len().min(3)).unwrap_or(spelling));
                if positional && index == 0 {
                    this.positional = Some(argument.clone());
                } else if hides {
                    this.complete = false;
                }
                continue;
            }
            // `args: ["--port 9000"]`: argparse takes no flag with a blank in it, but somebody meant something.
            this.complete &= !(spelling.starts_with('-') && spelling.contains(char::is_whitespace));
            let found = this.find(spelling);
            let takes = match found {
                Found::Flag(_, takes) => takes,
                Found::Other => One,
                Found::Not => {
                    if positional {
                        this.positional.get_or_insert_with(|| argument.clone());
                    }
                    continue;
                }
            };
            let follows = |at: usize| arguments.get(at).is_some_and(|next| !starts_like_flag(next));
            let value = match takes {
                _ if joined.is_some() => joined,
                One | Many if follows(at) => {
                    let value = arguments.get(at).cloned();
                    at += 1;
                    value
                }
                Nothing | One | Many => None,
            };
            // `--new-switch $EXTRA_ARGS`: a variable may hold more than the value of a flag that is not in the tables.
            let hides = |text: &String| is_unknown(text) && !text.contains(['/', ':', '.']);
            if matches!(found, Found::Other) && value.as_ref().is_some_and(hides) {
                this.complete = false;
            }
            if takes == Many {
                while follows(at) {
                    this.complete &= !arguments.get(at).is_some_and(hides);
                    at += 1;
                }
            }
            if let Found::Flag(name, _) = found {
                this.given.insert(name, Given { value, at: index });
            } else if spelling == "--no-disable-log-stats" {
                this.given.remove("disable-log-stats");
            }
        }
        this
    }

    /// A flag by its full name, without dashes.
    pub fn get(&self, name: &str) -> Flag<'_> {
        match self.given.get(name) {
            Some(Given { value: Some(value), at }) if !is_unknown(value) => Flag::Value(value, *at),
            Some(_) => Flag::Unreadable,
            None if self.ambiguous.contains(name) => Flag::Unreadable,
            None => Flag::Absent,
        }
    }

    /// Whether a flag without a value is given.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// A number of at least `least`; an error when it is given but cannot be read.
    pub fn number(&self, name: &str, least: u64) -> Result<Option<u64>, ()> {
        match self.get(name) {
            Flag::Absent => Ok(None),
            Flag::Value(text, _) => text.trim().parse().ok().filter(|number| *number >= least).map(Some).ok_or(()),
            Flag::Unreadable => Err(()),
        }
    }

    /// What an argument that may be a flag means. Remembers what an ambiguous abbreviation may have meant.
    fn find(&mut self, spelling: &str) -> Found {
        let Some(long) = spelling.strip_prefix("--") else {
            let Some(short) = spelling.strip_prefix('-').filter(|short| !short.is_empty()) else { return Found::Not };
            let known = READ.iter().find(|row| row.1 == short);
            return known.map_or(Found::Other, |row| Found::Flag(row.0, row.2));
        };
        let name = long.replace('_', "-");
        if let Some(row) = READ.iter().find(|row| row.0 == name) {
            return Found::Flag(row.0, row.2);
        }
        if let Some(row) = NEIGHBOURS.iter().find(|row| row.0 == name) {
            return Found::Flag(row.0, row.1);
        }
        // `--no-enable-prefix-caching`
        if let Some(positive) = name.strip_prefix("no-") {
            let boolean = |known: &str| known == positive;
            if NEIGHBOURS.iter().any(|row| boolean(row.0)) {
                return Found::Flag("no", Nothing);
            }
            return Found::Other;
        }
        // An empty name is `--`, behind which argparse takes everything as positional; vLLM has no use for it.
        if name.is_empty() {
            return Found::Other;
        }
        let all = READ.iter().map(|row| (row.0, row.2)).chain(NEIGHBOURS);
        let meant: Vec<_> = all.filter(|row| row.0.starts_with(&name)).collect();
        match meant.as_slice() {
            // vLLM looks for the literal `--config` before argparse sees it.
            [] | [("config", _)] => Found::Other,
            [(name, takes)] => Found::Flag(name, *takes),
            several => {
                self.ambiguous.extend(several.iter().map(|row| row.0));
                Found::Other
            }
        }
    }
}

/// What an argument is.
#[derive(Clone, Copy)]
enum Found {
    /// A flag of the tables.
    Flag(&'static str, Takes),
    /// A flag that is not in the tables, taken to have one value.
    Other,
    /// No flag.
    Not,
}

/// Whether argparse would not take the text as the value of the flag before it.
fn starts_like_flag(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()) && !rest.is_empty())
}

/// The arguments that the YAML file of `--config` stands for; an error when it is no map of plain values.
pub(super) fn from_config(text: &str) -> Result<Vec<String>, ()> {
    let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|_| ())?;
    let serde_json::Value::Object(map) = value else { return Err(()) };
    let mut arguments = Vec::new();
    for (key, value) in map {
        let plain = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match value {
            serde_json::Value::Bool(true) => arguments.push(format!("--{key}")),
            serde_json::Value::Bool(false) | serde_json::Value::Null => {}
            serde_json::Value::Array(items) => {
                arguments.push(format!("--{key}"));
                arguments.extend(items.iter().map(plain));
            }
            other => arguments.push(format!("--{key}={}", plain(&other))),
        }
    }
    Ok(arguments)
}
