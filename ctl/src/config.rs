//! The credential file: which coordinator, who is asking, and the proof. `coordinator init` writes
//! the first one.

use std::{
    env, fs, io,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use serde::Deserialize;

use crate::error::Failure;

/// Names the file when `--config` does not.
pub(crate) const CONFIG_VARIABLE: &str = "AGENTCTL_CONFIG";
const SYSTEM_WIDE: &str = "/etc/agentctl/config.toml";

/// What the file holds. Unknown keys are refused: a misspelt one would be silently without effect.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// HOST:PORT of the coordinator's mutually authenticated port.
    pub(crate) endpoint: String,
    /// The name that the coordinator's certificate carries.
    pub(crate) server_name: String,
    /// The fleet's name.
    pub(crate) fleet: String,
    /// Whom the certificate names.
    pub(crate) operator: String,
    /// The fleet's CA certificate, PEM.
    pub(crate) ca: String,
    /// The operator's certificate, PEM.
    pub(crate) certificate: String,
    /// Its key, PEM.
    pub(crate) key: SecretString,
    /// HTTP CONNECT proxy on the way to the coordinator; may hold a password.
    pub(crate) proxy: Option<SecretString>,
}

/// Why there is no usable credential.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// None of the usual places has the file.
    #[error("there is no credential in {}", list(.0))]
    NoneFound(Vec<PathBuf>),
    /// The file that was named is not there.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// Others could read the key.
    #[error("{} holds a private key and others may read it (mode {:03o})", .0.display(), .1)]
    TooOpen(PathBuf, u32),
    /// The file is there and cannot be read.
    #[error("{} cannot be read: {}", .0.display(), .1)]
    Read(PathBuf, io::Error),
    /// The file is no credential; the text names line and key.
    #[error("{}: {}", .0.display(), .1)]
    Parse(PathBuf, String),
}

impl Config {
    /// Reads the file `named` on the command line or by [`CONFIG_VARIABLE`], else the first that
    /// exists of the user's and the system's.
    ///
    /// # Errors
    /// When there is none, when others may read it, or when it is no credential.
    pub(crate) fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        if let Some(path) = named {
            return Self::read(path)?.ok_or_else(|| ConfigError::Missing(path.to_owned()));
        }
        let places = usual_places();
        for path in &places {
            if let Some(config) = Self::read(path)? {
                return Ok(config);
            }
        }
        Err(ConfigError::NoneFound(places))
    }

    fn read(path: &Path) -> Result<Option<Self>, ConfigError> {
        let unreadable = |error| ConfigError::Read(path.to_owned(), error);
        let mut file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        // Asked of the open file, so that what is checked is what is read.
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(ConfigError::TooOpen(path.to_owned(), mode));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unreadable)?;
        let config = toml::from_str(&text)
            .map_err(|error| ConfigError::Parse(path.to_owned(), locate(&text, &error)))?;
        Ok(Some(config))
    }
}

/// `line 3: unknown field …`. The library's own display would quote the line, and the line may be
/// part of the key.
fn locate(text: &str, error: &toml::de::Error) -> String {
    let words = error.message();
    match error.span() {
        Some(span) => {
            let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
            format!("line {line}: {words}")
        }
        None => words.to_owned(),
    }
}

fn usual_places() -> Vec<PathBuf> {
    let base = env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    let own = base.map(|base| base.join("agentctl/config.toml"));
    own.into_iter().chain([PathBuf::from(SYSTEM_WIDE)]).collect()
}

fn list(places: &[PathBuf]) -> String {
    places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" or ")
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let step = match &error {
            ConfigError::NoneFound(_) | ConfigError::Missing(_) => format!(
                "`coordinator init` writes the first credential on the coordinator's machine, \
                 `coordinator operator` another; copy one here with mode 0600, or name it with \
                 --config FILE or {CONFIG_VARIABLE}=FILE"
            ),
            ConfigError::TooOpen(path, _) => format!("chmod 600 {}", path.display()),
            ConfigError::Read(path, _) => {
                format!(
                    "make {} readable for the user who runs agentctl, mode 0600",
                    path.display()
                )
            }
            ConfigError::Parse(..) => {
                "put the line right, or copy the file that `coordinator init` wrote once more"
                    .into()
            }
        };
        Failure::error("no usable credential").because(error.to_string()).next(step)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    const GOOD: &str = "endpoint = \"c.example:7443\"\nserver_name = \"coordinator\"\n\
        fleet = \"labs\"\noperator = \"ann\"\nca = \"CA\"\ncertificate = \"CERT\"\nkey = \"SECRET\"\n";

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config.toml");
        let mut file =
            fs::OpenOptions::new().create(true).write(true).mode(mode).open(&path).expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        (dir, path)
    }

    fn refused(text: &str, mode: u32) -> String {
        let (_dir, path) = written(text, mode);
        Failure::from(Config::load(Some(&path)).expect_err("must be refused")).to_string()
    }

    #[test]
    fn a_credential_is_read_and_its_key_is_never_shown() {
        let (_dir, path) = written(GOOD, 0o600);
        let config = Config::load(Some(&path)).expect("a good file");
        assert_eq!(config.endpoint, "c.example:7443");
        assert!(!format!("{config:?}").contains("SECRET"));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let text = refused(GOOD, 0o640);
        assert!(text.contains("mode 640") && text.contains("chmod 600"), "{text}");
    }

    #[test]
    fn a_broken_line_is_named_without_quoting_it() {
        let text = refused(&GOOD.replace("key = ", "kee = "), 0o600);
        assert!(text.contains("line 7: unknown field `kee`"), "{text}");
        assert!(!text.contains("SECRET"), "{text}");
        let text = refused(&GOOD.replace("fleet = \"labs\"", "fleet = 7"), 0o600);
        assert!(text.contains("line 3: invalid type"), "{text}");
    }

    #[test]
    fn a_missing_file_says_how_to_get_one() {
        let error = Config::load(Some(Path::new("/nonexistent/x.toml"))).expect_err("not there");
        let text = Failure::from(error).to_string();
        assert!(text.contains("does not exist") && text.contains("coordinator init"), "{text}");
    }
}
