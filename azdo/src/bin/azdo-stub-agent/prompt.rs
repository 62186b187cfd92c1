//! Values of the configuration: from the command, else asked for, else (unattended) the default or an error.

use std::io::BufRead as _;

use anyhow::bail;

use crate::args::Command;
use crate::term;

/// The value of `name`; without `default` it is required.
pub(crate) fn value(
    command: &Command,
    name: &str,
    question: &str,
    default: Option<&str>,
) -> anyhow::Result<String> {
    if let Some(given) = command.value(name) {
        return Ok(given.to_owned());
    }
    if !command.flag("unattended") {
        return ask(question, default);
    }
    match default {
        Some(default) => Ok(default.to_owned()),
        None => bail!(
            "Invalid configuration provided for {name}. Terminating unattended configuration."
        ),
    }
}

fn ask(question: &str, default: Option<&str>) -> anyhow::Result<String> {
    let hint = default.map(|d| format!(" (press enter for {d})")).unwrap_or_default();
    loop {
        term::line(&format!("Enter {question}{hint} > "));
        let mut answer = String::new();
        if std::io::stdin().lock().read_line(&mut answer)? == 0 {
            bail!(
                "no more input while asking for {question}; use --unattended with all values given"
            );
        }
        match (answer.trim(), default) {
            ("", Some(default)) => return Ok(default.to_owned()),
            ("", None) => {}
            (answer, _) => return Ok(answer.to_owned()),
        }
    }
}
