//! The console, line by line as the real agent writes it: others follow these lines. A console that is gone
//! (an orphan of a killed `run.sh`) is no reason to end, so write errors are dropped.

use std::io::Write as _;

use jiff::Timestamp;

/// One line as it is.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// One line with the time in front: `2026-01-10 12:21:51Z: text`.
pub(crate) fn stamped(text: &str) {
    line(&format!("{}: {text}", Timestamp::now().strftime("%Y-%m-%d %H:%M:%SZ")));
}

/// One line on standard error.
pub(crate) fn error(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{text}");
}

/// A heading of the configuration: `>> Connect:` with blank lines around it.
pub(crate) fn section(name: &str) {
    line(&format!("\n>> {name}:\n"));
}
