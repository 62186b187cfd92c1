//! Log lines: where they go, and errors with all their causes.

use std::{error::Error, fmt, io::IsTerminal, os::unix::fs::MetadataExt, str::FromStr};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt,
};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The journal when standard error leads there, text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// The journal, with fields.
    Journal,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "journal" => Ok(Self::Journal),
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(format!("{text:?} is not a log format; use auto, journal, json or text")),
        }
    }
}

/// Logging that could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// See the text.
    #[error("{filter:?} is not a log filter; write a level, or target=level separated by commas")]
    Filter {
        /// The text as given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// See the text.
    #[error("cannot reach the journal; use the log format json or text")]
    Journal(#[source] std::io::Error),
    /// See the text.
    #[error("logging was set up before")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Sets up logging for the process. `filter` is as in `info,hostd=debug`.
///
/// # Errors
/// When the filter is malformed, the journal is asked for and cannot be reached, or logging was
/// set up before.
pub fn init(format: Format, filter: &str) -> Result<(), LoggingError> {
    let levels = EnvFilter::try_new(filter)
        .map_err(|source| LoggingError::Filter { filter: filter.to_owned(), source })?;
    let lines = match resolve(format, leads_to_journal(), std::io::stderr().is_terminal()) {
        Format::Journal => tracing_journald::layer().map_err(LoggingError::Journal)?.boxed(),
        Format::Text => text().with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json | Format::Auto => text().json().flatten_event(true).boxed(),
    };
    let registry = Registry::default().with(lines.with_filter(levels));
    registry.try_init().map_err(LoggingError::Twice)
}

/// Standard output belongs to what a program has to say; log lines go to standard error.
fn text<S>() -> tracing_subscriber::fmt::Layer<
    S,
    tracing_subscriber::fmt::format::DefaultFields,
    tracing_subscriber::fmt::format::Format,
    fn() -> std::io::Stderr,
> {
    tracing_subscriber::fmt::Layer::default().with_writer(std::io::stderr as fn() -> _)
}

const fn resolve(format: Format, journal: bool, terminal: bool) -> Format {
    match format {
        Format::Auto if journal => Format::Journal,
        Format::Auto if terminal => Format::Text,
        Format::Auto => Format::Json,
        chosen => chosen,
    }
}

/// systemd says by device and inode which stream it made; a redirected standard error is another.
fn leads_to_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", stderr.dev(), stderr.ino())
}

/// An error with all its causes in one line: `cannot read a: b: c`.
#[derive(Clone, Copy)]
pub struct Report<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = text_of(self.0);
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = text_of(error);
            // Some libraries repeat the cause in their own text.
            if !said.contains(&text) {
                said = format!("{said}: {text}");
            }
            cause = error.source();
        }
        f.write_str(&said)
    }
}

/// A status of a call shows itself with code and source; people want the message.
fn text_of(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref::<tonic::Status>() {
        Some(status) if status.message().is_empty() => status.code().to_string(),
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    }
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layered {
        text: &'static str,
        source: Option<Box<Layered>>,
    }

    fn layered(texts: &[&'static str]) -> Option<Box<Layered>> {
        let (text, rest) = texts.split_first()?;
        Some(Box::new(Layered { text, source: layered(rest) }))
    }

    #[test]
    fn a_report_names_every_cause_once() {
        let report = |texts: &[&'static str]| {
            let error = layered(texts).expect("at least one");
            Report(error.as_ref()).to_string()
        };
        assert_eq!(report(&["cannot start"]), "cannot start");
        assert_eq!(
            report(&["cannot start", "no image", "timed out"]),
            "cannot start: no image: timed out"
        );
        assert_eq!(report(&["no image: timed out", "timed out"]), "no image: timed out");
        assert_eq!(Report(&tonic::Status::not_found("no pool x")).to_string(), "no pool x");
    }

    #[test]
    fn the_format_follows_where_standard_error_leads_unless_chosen() {
        assert_eq!(resolve(Format::Auto, true, false), Format::Journal);
        assert_eq!(resolve(Format::Auto, false, true), Format::Text);
        assert_eq!(resolve(Format::Auto, false, false), Format::Json);
        assert_eq!(resolve(Format::Json, true, true), Format::Json);
    }

    #[test]
    fn a_broken_filter_is_refused_by_name() {
        let error = init(Format::Json, "hostd=loud").expect_err("no such level").to_string();
        assert!(error.contains("hostd=loud"), "{error}");
    }

    #[test]
    fn each_format_is_made_by_its_name() {
        for (text, format) in [
            ("auto", Format::Auto),
            ("journal", Format::Journal),
            ("json", Format::Json),
            ("text", Format::Text),
        ] {
            assert_eq!(text.parse(), Ok(format));
        }
        assert!("xml".parse::<Format>().is_err());
    }
}
