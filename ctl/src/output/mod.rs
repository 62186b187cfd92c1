//! How things look: tables for people, JSON and YAML for programs, names for shells.
//!
//! Data goes to standard output, everything said about it to standard error. Colour only on a
//! terminal and not with `NO_COLOR` (anstream sees to both).

mod agents;
mod hosts;
mod leftovers;
mod pools;
mod table;

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::{Serialize, ser::SerializeMap as _};
pub(crate) use table::{Column, Line, Table, Tone};

use crate::error::Failure;

/// The formats of `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    #[default]
    Table,
    /// More columns
    Wide,
    /// One JSON object; with -w one object per line
    Json,
    /// The same as YAML
    Yaml,
    /// Names only, one a line
    Name,
}

/// Something that `get` lists.
pub(crate) trait Listed: Serialize + Sized + 'static {
    /// The field that holds the list in JSON.
    const MANY: &'static str;
    /// The field that holds one of them in a change.
    const ONE: &'static str;
    /// How a table shows it.
    const COLUMNS: &'static [Column<Self>];
    /// Its name.
    fn name(&self) -> &str;
}

/// The whole list in `format`, ready to be printed. `headers` is about tables only.
///
/// # Errors
/// When it cannot be serialized, which would be a mistake in this program.
pub(crate) fn list<T: Listed>(
    items: &[T],
    format: Format,
    headers: bool,
) -> Result<String, Failure> {
    Ok(match format {
        Format::Table | Format::Wide => {
            let mut table = Table::new(T::COLUMNS, format == Format::Wide);
            table.render(items, headers, jiff::Timestamp::now())
        }
        Format::Json => json_pretty(&object(T::MANY, items))?,
        Format::Yaml => yaml(&object(T::MANY, items))?,
        Format::Name => lines(items.iter().map(Listed::name)),
    })
}

/// `value` as a field of an object that has room for fields to come; written in this order.
pub(crate) struct Object<'a, T: ?Sized> {
    /// What happened to it, in a stream of changes.
    pub(crate) change: Option<&'a str>,
    pub(crate) field: &'a str,
    pub(crate) value: &'a T,
}

impl<T: Serialize + ?Sized> Serialize for Object<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(change) = self.change {
            map.serialize_entry("change", change)?;
        }
        map.serialize_entry(self.field, self.value)?;
        map.end()
    }
}

fn object<'a, T: ?Sized>(field: &'a str, value: &'a T) -> Object<'a, T> {
    Object { change: None, field, value }
}

/// JSON over several lines.
pub(crate) fn json_pretty(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|e| mistake(&e))
}

/// JSON in one line.
pub(crate) fn json_line(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map(|text| text + "\n").map_err(|e| mistake(&e))
}

/// YAML.
pub(crate) fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(|e| mistake(&e))
}

fn mistake(error: &dyn std::error::Error) -> Failure {
    Failure::error("cannot write this answer").because(error.to_string())
}

fn lines<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.fold(String::new(), |text, name| text + name + "\n")
}

/// Prints data.
///
/// # Errors
/// When nobody takes it.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Says something about the data, on standard error.
pub(crate) fn say(text: &str) {
    // Losing a remark must not fail the verb.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Shows an error.
pub(crate) fn complain(failure: &Failure) {
    let text = failure.to_string();
    let (word, rest) = text.split_once(':').unwrap_or(("error", &text));
    let red = tone_style(Tone::Bad).bold();
    say(&format!("{red}{word}:{red:#}{}", plain_lines(rest)));
}

/// Standard error is a terminal, so that progress may move.
pub(crate) fn is_interactive() -> bool {
    io::IsTerminal::is_terminal(&io::stderr())
}

/// `text` in the colour of `tone`.
pub(crate) fn toned(text: &str, tone: Tone) -> String {
    let style = tone_style(tone);
    format!("{style}{text}{style:#}")
}

fn tone_style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Warn => AnsiColor::Yellow.on_default(),
        Tone::Bad => AnsiColor::Red.on_default(),
        Tone::Dim => Style::new().dimmed(),
    }
}

/// Text from afar (job names, messages of engines) without the characters that steer a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

/// As [`plain`], for what a program wrote in columns.
pub(crate) fn plain_but_tabs(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '·' } else { c }).collect()
}

/// As [`plain`], for our own texts over several lines.
fn plain_lines(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '·' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_name_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\r\nc"), "a·[2Jb··c");
    }
}
