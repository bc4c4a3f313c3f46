//! The log: lines for people or for machines, on standard error.

use std::io::{self, IsTerminal as _};
use std::panic;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Which environment variable holds the filter when no flag does.
const FILTER_VARIABLE: &str = "RUST_LOG";
/// What is logged when nobody says anything.
const DEFAULT_FILTER: &str = "info";

/// What libraries may say when no filter names them. Each failed request is a line of theirs, some with the whole Status
/// object that the API server sent; whoever made the request says once what failed and what that means.
const QUIET: [(&str, &str); 3] = [("kube_client", "off"), ("kube_runtime", "error"), ("kube_lease_manager", "off")];

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people, in colour on a terminal.
    #[default]
    Text,
    /// One JSON object a line, the event's fields beside `timestamp`, `level`, `target` and `message`.
    Json,
}

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Neither a level nor a filter.
    #[error(
        "{source_of}: {filter:?} is neither a level (error, warn, info, debug, trace) nor a filter like info,kube=warn"
    )]
    Filter {
        /// The flag or variable.
        source_of: &'static str,
        /// What it holds.
        filter: String,
    },
    /// There is a log already.
    #[error("a log is set up already")]
    Twice,
}

/// Logs to standard error from now on. `level` is a level or a filter; without it `RUST_LOG` counts, then `info`. Panics are
/// logged too, by their place alone: their messages may quote what a user wrote.
///
/// # Errors
/// When the filter does not read, or there is a log already.
pub fn init(format: Format, level: Option<&str>, colour: bool) -> Result<(), LogError> {
    let (source_of, filter) = match level {
        Some(level) => ("--log-level", level.to_owned()),
        None => (FILTER_VARIABLE, std::env::var(FILTER_VARIABLE).unwrap_or_default()),
    };
    let filter = read_filter(source_of, &filter)?;
    let colour = colour && io::stderr().is_terminal();
    tracing::subscriber::set_global_default(subscriber(format, filter, colour, io::stderr))
        .map_err(|_| LogError::Twice)?;
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panicked; this is a bug in scalegate");
    }));
    Ok(())
}

fn read_filter(source_of: &'static str, filter: &str) -> Result<EnvFilter, LogError> {
    let text = if filter.trim().is_empty() { DEFAULT_FILTER } else { filter };
    let wrong = || LogError::Filter { source_of, filter: filter.to_owned() };
    // A lone word that is no level would be taken for a target's name, and everything else would fall silent.
    let lone = !text.contains(['=', ',']);
    if lone && text.parse::<tracing::level_filters::LevelFilter>().is_err() {
        return Err(wrong());
    }
    let named = |target: &str| text.split(',').any(|directive| names(directive, target));
    let quiet = QUIET.iter().filter(|(target, _)| !named(target));
    let quiet: Vec<String> = quiet.map(|(target, level)| format!("{target}={level}")).collect();
    let all = [&[text.to_owned()], &quiet[..]].concat().join(",");
    // What the user wrote is read alone first, so that a mistake is told as theirs.
    EnvFilter::try_new(text).and_then(|_| EnvFilter::try_new(all)).map_err(|_| wrong())
}

/// Whether a directive of a filter is about a target or a part of it: `kube_client=debug`, `kube_client::client`.
fn names(directive: &str, target: &str) -> bool {
    directive.trim().strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with(['=', ':', '[']))
}

fn subscriber<W>(
    format: Format,
    filter: EnvFilter,
    colour: bool,
    writer: W,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colour);
    match format {
        Format::Text => Box::new(builder.with_target(false).finish()),
        Format::Json => Box::new(
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).with_ansi(false).finish(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: &str, events: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let filter = read_filter("--log-level", filter).unwrap();
        let subscriber = subscriber(format, filter, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, events);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_json_line_is_one_object_whatever_a_field_holds() {
        let text = logged(Format::Json, "info", || {
            tracing::info!(uid = "u\"\n\u{1b}[31m", rule = "metric-exists", "denied");
            tracing::debug!("not this");
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1);
        let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(line["message"], "denied");
        assert_eq!(line["uid"], "u\"\n\u{1b}[31m");
        assert_eq!((&line["rule"], &line["level"]), (&"metric-exists".into(), &"INFO".into()));
        assert!(line["timestamp"].is_string());
    }

    #[test]
    fn a_text_line_stays_one_line() {
        let text = logged(Format::Text, "", || tracing::info!(name = "a\nb\u{1b}[31m", "denied"));
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("denied name=\"a\\nb") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn libraries_are_quiet_until_a_filter_names_them() {
        let noise = || tracing::error!(target: "kube_client::client", "a whole Status");
        for filter in ["", "debug", "info,scalegate=debug", "info,kube_clientele=debug"] {
            assert_eq!(logged(Format::Text, filter, noise), "", "{filter}");
        }
        for filter in ["info,kube_client=warn", "kube_client::client=error,info"] {
            assert!(logged(Format::Text, filter, noise).contains("a whole Status"), "{filter}");
        }
    }

    #[test]
    fn the_filter_takes_levels_and_targets_and_names_what_it_cannot_read() {
        assert!(logged(Format::Text, "warn", || tracing::info!("quiet")).is_empty());
        assert!(logged(Format::Text, "info,scalegate=debug", || tracing::debug!("loud")).contains("loud"));
        for wrong in ["loud", "info,=", "scalegate=loud"] {
            let error = read_filter("--log-level", wrong).unwrap_err().to_string();
            assert!(error.contains("--log-level") && error.contains(wrong), "{error}");
        }
    }
}
