//! Where a personal access token comes from: a file, standard input or a variable of our own
//! environment. Never from the command line, which every user of the machine can read.

use std::{
    env, fs, io,
    io::Read,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::error::Failure;

/// Longer than any token; a whole log file is none.
const MAX_BYTES: u64 = 4096;

/// Where to read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    StandardInput,
    Variable(String),
}

/// A secret, and whether its file should be closed to others.
#[derive(Debug)]
pub(crate) struct Secret {
    pub(crate) value: SecretString,
    pub(crate) warning: Option<String>,
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// It cannot be read.
    #[error("{from} cannot be read: {error}")]
    Read { from: String, error: io::Error },
    /// The variable is not set.
    #[error("the variable {0} is not set")]
    NotSet(String),
    /// Nothing but white space.
    #[error("{0} is empty")]
    Empty(String),
    /// More than a token.
    #[error("{0} is longer than {MAX_BYTES} bytes")]
    TooLong(String),
    /// Several lines, or bytes that are no text.
    #[error("{0} holds more than one line of plain text")]
    NotOneLine(String),
}

impl Source {
    /// Reads the secret.
    ///
    /// # Errors
    /// When there is none or it cannot be one.
    pub(crate) fn read(&self) -> Result<Secret, SecretError> {
        let name = self.to_string();
        let (bytes, warning) = match self {
            Self::File(path) => read_file(path).map_err(|error| read_error(&name, error))?,
            Self::StandardInput => {
                let bytes = read_some(io::stdin().lock()).map_err(|e| read_error(&name, e))?;
                (bytes, None)
            }
            Self::Variable(variable) => {
                let value =
                    env::var(variable).map_err(|_| SecretError::NotSet(variable.clone()))?;
                (Zeroizing::new(value.into_bytes()), None)
            }
        };
        Ok(Secret { value: one_line(&name, &bytes)?, warning })
    }
}

fn read_error(from: &str, error: io::Error) -> SecretError {
    SecretError::Read { from: from.to_owned(), error }
}

fn read_file(path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, Option<String>)> {
    let file = fs::File::open(path)?;
    // Secrets that systems mount are often symbolic links to files of mode 644 in a closed
    // directory: worth a word, no reason to refuse.
    let open = file.metadata()?.permissions().mode() & 0o004 != 0;
    let warning = format!("every user may read {}; `chmod 600` closes it", path.display());
    Ok((read_some(file)?, open.then_some(warning)))
}

fn read_some(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // With its full size from the start: growing would leave copies behind in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * MAX_BYTES as usize));
    from.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn one_line(from: &str, bytes: &[u8]) -> Result<SecretString, SecretError> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(SecretError::TooLong(from.to_owned()));
    }
    let text = std::str::from_utf8(bytes).map(str::trim);
    match text {
        Ok("") => Err(SecretError::Empty(from.to_owned())),
        Ok(text) if text.chars().all(|c| c.is_ascii_graphic()) => Ok(text.into()),
        _ => Err(SecretError::NotOneLine(from.to_owned())),
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::StandardInput => f.write_str("standard input"),
            Self::Variable(name) => write!(f, "the variable {name}"),
        }
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        Failure::error("no usable personal access token")
            .because(error.to_string())
            .next("give the token alone, in one line: --pat-file FILE, --pat-file - or --pat-env VARIABLE")
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn white_space_around_a_token_is_no_part_of_it() {
        for text in ["pat", "pat\n", "  pat\r\n\n"] {
            let secret = one_line("x", text.as_bytes()).expect("a token");
            assert_eq!(secret.expose_secret(), "pat");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let long = "x".repeat(4097);
        for (bytes, part) in [
            (&b""[..], "empty"),
            (b" \n", "empty"),
            (b"a\nb", "more than one line"),
            (b"a b", "more than one line"),
            (b"\xff\xfe", "more than one line"),
            (long.as_bytes(), "longer than"),
        ] {
            let error = one_line("x", bytes).expect_err("must be refused").to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_link_is_followed_and_an_open_file_is_worth_a_word() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, link) = (dir.path().join("pat"), dir.path().join("link"));
        fs::write(&file, "secret\n").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        for (mode, warned) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("changed");
            let secret = Source::File(link.clone()).read().expect("read");
            assert_eq!(secret.warning.is_some(), warned, "{mode:o}");
            assert!(!format!("{secret:?}").contains("secret\""));
        }
    }
}
