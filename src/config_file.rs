//! The administrator's Configuration as a file: read strictly, and followed while the process runs.

#[cfg(feature = "serve")]
mod follow;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::manifest::{self, ProblemSeverity};
use crate::policy::configuration::{self, Configuration};
use crate::policy::rules;

#[cfg(feature = "serve")]
pub use follow::{Follower, Reloads};

/// The largest file that is read, bytes: what a ConfigMap may hold at most (kubernetes/kubernetes
/// `pkg/apis/core/validation`, MaxSecretSize).
const LARGEST: u64 = 1 << 20;

/// One thing that is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1; 1 when the problem is the whole file's.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// The field, as kubectl writes it; empty when the problem is none of a field.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Why a file gives no Configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// It cannot be read.
    Unreadable(PathBuf, io::Error),
    /// It is not one valid Configuration.
    Invalid(PathBuf, Vec<Problem>),
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(path, _) => write!(f, "cannot read {}", path.display()),
            Self::Invalid(path, problems) => {
                for (index, problem) in problems.iter().enumerate() {
                    let end = if index == 0 { "" } else { "\n" };
                    let field = if problem.field.is_empty() { String::new() } else { format!("{}: ", problem.field) };
                    let hint = problem.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
                    let Problem { line, column, message, .. } = problem;
                    write!(f, "{end}{}:{line}:{column}: {field}{message}{hint}", path.display())?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(_, error) => Some(error),
            Self::Invalid(..) => None,
        }
    }
}

/// The bytes of a file of usual size.
///
/// # Errors
/// When it cannot be read, or is larger than a ConfigMap can be.
pub fn bytes(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let mut bytes = Vec::new();
    let unreadable = |error| ConfigError::Unreadable(path.to_owned(), error);
    let file = File::open(path).map_err(unreadable)?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LARGEST {
        let error = io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {LARGEST} bytes"));
        return Err(unreadable(error));
    }
    Ok(bytes)
}

/// Reads the one Configuration that `bytes`, read from `path`, must be.
///
/// # Errors
/// Every problem with its line.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Configuration, ConfigError> {
    let file = manifest::read(&path.to_string_lossy(), bytes);
    let invalid = |problems| ConfigError::Invalid(path.to_owned(), problems);
    let broken: Vec<Problem> = file
        .problems
        .iter()
        .filter(|problem| problem.severity == ProblemSeverity::Deny)
        .map(|problem| {
            let (line, column) = problem.line_column().unwrap_or((1, 1));
            let (message, hint) = (problem.message.clone(), problem.hint.clone());
            Problem { line, column, field: String::new(), message, hint }
        })
        .collect();
    if !broken.is_empty() {
        return Err(invalid(broken));
    }
    let [document] = file.documents.as_slice() else {
        let message = format!("must hold exactly one Configuration document, has {}", file.documents.len());
        return Err(invalid(vec![Problem { line: 1, column: 1, field: String::new(), message, hint: None }]));
    };
    configuration::read_with(&document.value, &rules::ids()).map_err(|problems| {
        let located = problems.into_iter().map(|problem| {
            let (line, column) = document.at(&problem.field).map_or((1, 1), |span| document.line_column(span.start));
            Problem { line, column, field: problem.field, message: problem.message, hint: problem.hint }
        });
        invalid(located.collect())
    })
}

/// Reads a file that holds one Configuration.
///
/// # Errors
/// When it cannot be read, or any key or value is wrong.
pub fn read(path: &Path) -> Result<Configuration, ConfigError> {
    parse(path, &bytes(path)?)
}
