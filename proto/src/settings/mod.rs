//! Settings of a daemon: files, then the environment, the later winning over the earlier.
//!
//! ```text
//! defaults of the type ─▶ main file ─▶ conf.d/*.toml by name ─▶ PREFIX_KEY=value
//! ```
//!
//! Every source is first read alone and strictly, so that a mistake is told with its file, line
//! and key; the layering behind it turns 3.7 into 4 and `true` into 1 without a word. The type must
//! therefore be readable from an empty file, and say no to what it does not know:
//!
//! ```
//! #[derive(Debug, Default, serde::Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Settings {
//!     capacity: Option<u32>,
//!     #[serde(with = "fleet_proto::settings::duration")]
//!     heartbeat: std::time::Duration,
//! }
//! ```
//!
//! What must be set, and what does not fit together, is the business of the type's own check.

pub mod duration;
mod error;
mod strict;

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use config::{Config, File, FileFormat};
use serde::de::DeserializeOwned;

pub use error::SettingsError;

/// Where settings come from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The main file, when one was named: it must be there.
    pub file: Option<&'a Path>,
    /// The main file otherwise: it may be absent.
    pub default_file: &'a Path,
    /// Directory of fragments, `*.toml`, read in the order of their names. It may be absent.
    pub fragments: &'a Path,
    /// First part of variables, with the underscore: `HOSTD_`. Only settings at the top that are
    /// no table or list can be set by them.
    pub env_prefix: &'a str,
    /// Variables with that prefix that are not settings (those the command line reads).
    pub not_settings: &'a [&'a str],
}

/// Reads the settings of this process.
///
/// # Errors
/// The first source that cannot be read, with the place in it and the next step.
pub fn load<T: DeserializeOwned>(sources: &Sources<'_>) -> Result<T, SettingsError> {
    load_with(sources, env::vars_os())
}

/// The same with a given environment.
///
/// # Errors
/// As [`load`].
pub fn load_with<T: DeserializeOwned>(
    sources: &Sources<'_>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<T, SettingsError> {
    let mut layers = Vec::new();
    for path in files(sources)? {
        if let Some(text) = read(&path, sources.file == Some(&path))? {
            strict::file::<T>(&path, &text)?;
            layers.push(text);
        }
    }
    for (variable, value) in variables(sources, environment)? {
        layers.push(strict::variable::<T>(&variable, sources.env_prefix, &value)?);
    }
    merge(&layers)
}

/// The files in their order.
fn files(sources: &Sources<'_>) -> Result<Vec<PathBuf>, SettingsError> {
    let main = sources.file.unwrap_or(sources.default_file).to_owned();
    let fail = |source| SettingsError::Read { path: sources.fragments.to_owned(), source };
    let mut fragments = match fs::read_dir(sources.fragments) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(fail(error)),
        Ok(entries) => entries
            .map(|entry| entry.map(|e| e.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(fail)?,
    };
    fragments.retain(|path| path.extension().is_some_and(|e| e == "toml") && !is_hidden(path));
    fragments.sort();
    Ok([vec![main], fragments].concat())
}

/// Editors leave such files behind.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn read(path: &Path, required: bool) -> Result<Option<String>, SettingsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => Ok(None),
        Err(source) => Err(SettingsError::Read { path: path.to_owned(), source }),
    }
}

/// Variables that are settings, by name, so that errors come in the same order every time.
fn variables(
    sources: &Sources<'_>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, SettingsError> {
    let mut found = Vec::new();
    for (variable, value) in environment {
        let Ok(variable) = variable.into_string() else { continue };
        let ours = variable.starts_with(sources.env_prefix);
        if ours && !sources.not_settings.contains(&variable.as_str()) {
            let why = || "its value is not UTF-8".to_owned();
            let value = value
                .into_string()
                .map_err(|_| SettingsError::Variable { variable: variable.clone(), why: why() })?;
            found.push((variable, value));
        }
    }
    found.sort();
    Ok(found)
}

/// Each layer alone was good, so a refusal here means that the type is not as this module asks.
fn merge<T: DeserializeOwned>(layers: &[String]) -> Result<T, SettingsError> {
    let builder = layers.iter().fold(Config::builder(), |builder, text| {
        builder.add_source(File::from_str(text, FileFormat::Toml))
    });
    builder.build().and_then(Config::try_deserialize).map_err(SettingsError::Merge)
}

#[cfg(test)]
mod tests;
