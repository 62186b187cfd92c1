//! What is told when settings cannot be read.

use std::{io, path::PathBuf};

/// Settings that cannot be used. The text is complete: place, cause, next step.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file or directory.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of a file.
    #[error(
        "{}:{line}:{column}: {why} (in `{text}`); correct the line, or remove it to use the default",
        path.display()
    )]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// The line itself, without blanks at its ends.
        text: String,
        /// What is wrong and what is allowed.
        why: String,
    },
    /// A variable of the environment.
    #[error("environment variable {variable}: {why}; correct it, or unset it to use the default")]
    Variable {
        /// Its name.
        variable: String,
        /// What is wrong and what is allowed.
        why: String,
    },
    /// All sources together.
    #[error("the settings do not fit together: {0}; see what the files and the environment set")]
    Merge(#[source] config::ConfigError),
}
