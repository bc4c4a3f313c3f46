//! The variables that a container sees, and what `$(NAME)` in its arguments becomes.

use std::collections::{BTreeMap, BTreeSet};

use super::super::objects::{ConfigMap, Container, EnvVar};

/// Stands in a text for a part that cannot be known. A Unicode noncharacter: a text that holds it by itself is taken as
/// unknown too, which proves nothing and so does no harm.
pub(super) const UNKNOWN: char = '\u{FDD0}';

/// Bytes that all expansions of one container may produce together. A pod template of a few kilobytes can otherwise grow
/// to gigabytes by variables that name each other.
pub(super) const BUDGET: usize = 256 * 1024;

/// A longer text between `$(` and `)` is no variable's name. Without a limit the search for the bracket is quadratic.
const LONGEST_NAME: usize = 256;

/// More sources than any pod has; beyond them nothing is known.
const MOST_SOURCES: usize = 64;

/// Variable names that hold one of these are never expanded, so that their values reach no message.
const SECRET_WORDS: [&str; 4] = ["KEY", "TOKEN", "PASSWORD", "SECRET"];

/// What a container's variable holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable<'a> {
    /// Its value, parts of which may be [`UNKNOWN`].
    Known(&'a str),
    /// It may exist, but its value cannot be seen.
    Unknown,
    /// The pod template does not define it. The image still may.
    Absent,
}

/// The variables of one container, expanded in the order in which the kubelet does it.
#[derive(Debug, Default)]
pub(super) struct Environment {
    values: BTreeMap<String, String>,
    /// A Secret or a ConfigMap that cannot be seen may define more.
    open: bool,
}

// === impl Environment ===

impl Environment {
    /// Reads a container's variables. Every ConfigMap that they depend on is added to `used`, seen or not.
    pub fn of<'a>(
        container: &Container,
        config_map: &dyn Fn(&str) -> Option<&'a ConfigMap>,
        used: &mut BTreeSet<String>,
    ) -> Self {
        let mut this = Self::default();
        let mut budget = BUDGET;
        // envFrom comes first, whatever the order in the manifest; a later source wins over an earlier one.
        let sources = if container.env_from.len() > MOST_SOURCES { &[] } else { container.env_from.as_slice() };
        this.open = container.env_from.len() > MOST_SOURCES;
        for source in sources {
            let seen = source.config_map_ref.as_ref().and_then(|reference| {
                used.insert(reference.name.clone());
                config_map(&reference.name)
            });
            if let Some(seen) = seen {
                for (key, value) in &seen.data {
                    this.define(format!("{}{key}", source.prefix), value.clone(), &mut budget);
                }
            } else {
                this.open = true;
                for (name, value) in &mut this.values {
                    if name.starts_with(&source.prefix) {
                        *value = UNKNOWN.to_string();
                    }
                }
            }
        }
        for variable in &container.env {
            let value = this.value_of(variable, config_map, used);
            this.define(variable.name.clone(), value, &mut budget);
        }
        this
    }

    /// The variable of that name.
    pub fn get(&self, name: &str) -> Variable<'_> {
        match self.values.get(name) {
            Some(value) => Variable::Known(value),
            None if self.open => Variable::Unknown,
            None => Variable::Absent,
        }
    }

    /// Expands `$(NAME)` as the kubelet does: `$$` is a literal dollar sign, and a name that nothing defines stays as it is
    /// written (a shell then runs it as a command). What may be defined out of sight becomes [`UNKNOWN`].
    pub fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let limit = text.len().saturating_add(BUDGET);
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, dollar) = rest.split_at(at);
            out.push_str(before);
            let after = dollar.get(1..).unwrap_or("");
            if let Some(next) = after.strip_prefix('$') {
                out.push('$');
                rest = next;
                continue;
            }
            let reference = after.strip_prefix('(').and_then(|inner| {
                let end = inner.bytes().take(LONGEST_NAME).position(|byte| byte == b')')?;
                Some((inner.get(..end)?, inner.get(end + 1..)?))
            });
            let Some((name, next)) = reference else {
                out.push('$');
                rest = after;
                continue;
            };
            match self.get(name) {
                Variable::Known(value) if out.len().saturating_add(value.len()) <= limit => out.push_str(value),
                Variable::Known(_) => out.push(UNKNOWN),
                Variable::Unknown if is_name(name) => out.push(UNKNOWN),
                Variable::Unknown | Variable::Absent => {
                    // The rest of the reference is looked at again, for a shell's `$(cat $(FILE))` nests.
                    out.push_str("$(");
                    rest = after.get(1..).unwrap_or("");
                    continue;
                }
            }
            rest = next;
        }
        out.push_str(rest);
        out
    }

    fn value_of<'a>(
        &self,
        variable: &EnvVar,
        config_map: &dyn Fn(&str) -> Option<&'a ConfigMap>,
        used: &mut BTreeSet<String>,
    ) -> String {
        if let Some(from) = &variable.value_from {
            // A Secret, a field of the pod or a resource of the container leaves the reference empty.
            let Some(reference) = &from.config_map_key_ref else { return UNKNOWN.to_string() };
            used.insert(reference.name.clone());
            let value = config_map(&reference.name).and_then(|seen| seen.data.get(&reference.key));
            return value.cloned().unwrap_or_else(|| UNKNOWN.to_string());
        }
        self.expand(variable.value.as_deref().unwrap_or(""))
    }

    fn define(&mut self, name: String, value: String, budget: &mut usize) {
        let hidden = is_secret_name(&name) || value.len() > *budget;
        let value = if hidden { UNKNOWN.to_string() } else { value };
        *budget = budget.saturating_sub(value.len());
        self.values.insert(name, value);
    }
}

/// Whether a text has a part that cannot be known: [`UNKNOWN`], or a reference that nothing in sight defines.
pub(super) fn is_unknown(text: &str) -> bool {
    text.contains(UNKNOWN) || text.contains("$(")
}

/// Whether a name holds a word that says its value must not be shown.
pub(super) fn is_secret_name(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    SECRET_WORDS.iter().any(|word| upper.contains(word))
}

/// Whether a text can be a shell variable's name.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
