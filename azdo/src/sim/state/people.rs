//! Who asks: personal access tokens with role and expiry, and the tokens of listeners.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::State;

/// What the owner of a token may do with pools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Signed in, no role on any pool: 403 everywhere.
    None,
    /// May look.
    Reader,
    /// May register, change and delete.
    #[default]
    Manager,
}

/// A token to be known to the simulator. The token itself is kept only as a digest.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatForm {
    /// The token.
    pub token: String,
    /// What its owner may do.
    #[serde(default)]
    pub role: Role,
    /// Name shown in refusals.
    #[serde(default = "owner")]
    pub name: String,
    /// From then on "expired".
    #[serde(default)]
    pub expires: Option<Timestamp>,
}

fn owner() -> String {
    "fabrikam user".to_owned()
}

impl PatForm {
    /// A token of a pool administrator that does not expire.
    pub fn manager(token: &str) -> Self {
        Self { token: token.to_owned(), role: Role::Manager, name: owner(), expires: None }
    }

    /// Reads one line of a token file: `TOKEN [role=manager|reader|none] [expires=TIME] [name=N]`.
    /// Empty lines and comments give `None`.
    ///
    /// # Errors
    /// What is wrong, without the token.
    pub fn parse_line(line: &str) -> Result<Option<Self>, String> {
        let mut words = line.split_whitespace();
        let Some(token) = words.next().filter(|t| !t.starts_with('#')) else { return Ok(None) };
        let mut pat = Self::manager(token);
        for word in words {
            match word.split_once('=') {
                Some(("role", "manager")) => pat.role = Role::Manager,
                Some(("role", "reader")) => pat.role = Role::Reader,
                Some(("role", "none")) => pat.role = Role::None,
                Some(("name", name)) => name.clone_into(&mut pat.name),
                Some(("expires", at)) => {
                    pat.expires = Some(at.parse().map_err(|_| format!("expires={at} is no time"))?);
                }
                _ => return Err(format!("unknown word {word:?} after the token")),
            }
        }
        Ok(Some(pat))
    }
}

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A person or service with a personal access token.
    Person {
        /// Shown in refusals.
        name: String,
        /// What it may do.
        role: Role,
    },
    /// A listener with its own token.
    Listener {
        /// Its pool.
        pool: i64,
        /// Its row.
        agent: i64,
    },
}

/// Why nobody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthFailure {
    /// No `Authorization` header.
    Missing,
    /// A token nobody knows, or one that cannot be read.
    Unknown,
    /// A personal access token past its time.
    ExpiredPat,
    /// A bearer token that is unknown or past its time.
    BadBearer,
}

#[derive(Debug, Default)]
pub(super) struct People {
    pats: Vec<Pat>,
}

#[derive(Debug)]
struct Pat {
    digest: [u8; 32],
    name: String,
    role: Role,
    expires: Option<Timestamp>,
}

impl State {
    /// Adds a token, or changes role and expiry of a known one.
    pub fn add_pat(&mut self, form: &PatForm) {
        let digest = sha256(form.token.trim());
        self.people.pats.retain(|p| p.digest != digest);
        let pat = Pat { digest, name: form.name.clone(), role: form.role, expires: form.expires };
        self.people.pats.push(pat);
    }

    /// Forgets a token; false when it was not known.
    pub fn revoke_pat(&mut self, token: &str) -> bool {
        let (digest, before) = (sha256(token.trim()), self.people.pats.len());
        self.people.pats.retain(|p| p.digest != digest);
        self.people.pats.len() < before
    }

    /// Who is it?
    ///
    /// # Errors
    /// Nobody we know.
    pub fn authenticate(
        &self,
        header: Option<&str>,
        now: Timestamp,
    ) -> Result<Caller, AuthFailure> {
        let (scheme, value) =
            header.and_then(|h| h.trim().split_once(' ')).ok_or(AuthFailure::Missing)?;
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => self.person(value.trim(), now),
            "bearer" => self.listener(value.trim(), now).ok_or(AuthFailure::BadBearer),
            _ => Err(AuthFailure::Unknown),
        }
    }

    fn person(&self, encoded: &str, now: Timestamp) -> Result<Caller, AuthFailure> {
        let plain = STANDARD.decode(encoded).map_err(|_| AuthFailure::Unknown)?;
        let plain = String::from_utf8(plain).map_err(|_| AuthFailure::Unknown)?;
        // The user part is ignored. The token is compared as it came: a newline at its end is its death.
        let (_, token) = plain.split_once(':').ok_or(AuthFailure::Unknown)?;
        let digest = sha256(token);
        let pat =
            self.people.pats.iter().find(|p| p.digest == digest).ok_or(AuthFailure::Unknown)?;
        if pat.expires.is_some_and(|at| at <= now) {
            return Err(AuthFailure::ExpiredPat);
        }
        Ok(Caller::Person { name: pat.name.clone(), role: pat.role })
    }
}

fn sha256(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    out
}
