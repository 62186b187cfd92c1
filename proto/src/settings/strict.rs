//! One source alone, read strictly.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::SettingsError;

/// A line is shown up to here.
const SHOWN: usize = 80;

/// Refuses a file with a mistake in it.
pub(super) fn file<T: DeserializeOwned>(path: &Path, text: &str) -> Result<(), SettingsError> {
    let Err(error) = toml::from_str::<T>(text) else { return Ok(()) };
    let place = Place::of(text, error.span().map_or(0, |span| span.start));
    Err(SettingsError::Line {
        path: path.to_owned(),
        line: place.line,
        column: place.column,
        text: place.text,
        why: one_line(error.message()),
    })
}

/// The layer that a variable stands for: `HOSTD_CAPACITY=3` is `capacity = 3`.
///
/// The value is taken as text where the setting is a text, otherwise as a number or truth value;
/// what fits neither is refused, never bent into shape.
pub(super) fn variable<T: DeserializeOwned>(
    variable: &str,
    prefix: &str,
    value: &str,
) -> Result<String, SettingsError> {
    let refused =
        |why: &str| SettingsError::Variable { variable: variable.to_owned(), why: one_line(why) };
    let key = variable.strip_prefix(prefix).unwrap_or(variable).to_ascii_lowercase();
    let layer = |value: toml::Value| toml::Table::from_iter([(key.clone(), value)]).to_string();
    let as_text = layer(toml::Value::String(value.to_owned()));
    let Err(error) = toml::from_str::<T>(&as_text) else { return Ok(as_text) };
    let Some(scalar) = scalar(value) else { return Err(refused(error.message())) };
    let as_scalar = layer(scalar);
    match toml::from_str::<T>(&as_scalar) {
        Ok(_) => Ok(as_scalar),
        Err(error) => Err(refused(error.message())),
    }
}

/// A number or truth value; tables and lists belong into files.
fn scalar(value: &str) -> Option<toml::Value> {
    let value = value.trim();
    let boolean = value.parse().map(toml::Value::Boolean);
    boolean
        .or_else(|_| value.parse().map(toml::Value::Integer))
        .or_else(|_| value.parse().map(toml::Value::Float))
        .ok()
}

struct Place {
    line: usize,
    column: usize,
    text: String,
}

impl Place {
    /// Of the byte `at`; the end of the text counts to its last line.
    fn of(text: &str, at: usize) -> Self {
        let before = text.get(..at.min(text.len())).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let whole = text[start..].lines().next().unwrap_or_default().trim();
        Self {
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
            text: whole.chars().filter(|c| !c.is_control()).take(SHOWN).collect(),
        }
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
