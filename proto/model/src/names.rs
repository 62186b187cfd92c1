//! Names, parsed once. Each type says which characters it takes and why.

use std::{borrow::Borrow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a text is not a name. `kind` is the word for the thing, `rule` what it may look like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}: {rule}")]
pub struct NameError {
    /// What the text was meant to name.
    pub kind: &'static str,
    /// The text as given.
    pub text: String,
    /// What such a name looks like.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                let ok: fn(&str) -> bool = $ok;
                if ok(&text) {
                    Ok(Self(text))
                } else {
                    Err(NameError { kind: $kind, text, rule: $rule })
                }
            }
        }
        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                text.to_owned().try_into()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

/// Letters, digits and `extra`, beginning and ending with a letter or digit, at most `max` bytes.
fn plain(text: &str, max: usize, extra: &[char]) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= max
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(&c))
}

name!(
    /// A pool of the fleet. It refers to a pool at Azure, whose own name may differ.
    PoolName, "pool name",
    "letters, digits, '-', '_' and '.', at most 63, beginning and ending with a letter or digit",
    |t| plain(t, 63, &['-', '_', '.'])
);
name!(
    /// Part of a pool: a host selector with a template.
    GroupName, "group name",
    "letters, digits, '-' and '_', at most 40, beginning and ending with a letter or digit",
    |t| plain(t, 40, &['-', '_'])
);
name!(
    /// A lab server, by its host name. Lower case, because DNS does not tell cases apart and two
    /// hosts that differ by case only would be one.
    HostName, "host name",
    "lower-case letters, digits, '-' and '.', at most 63, beginning and ending with a letter or digit",
    |t| plain(t, 63, &['-', '.']) && !t.chars().any(|c| c.is_ascii_uppercase())
);
name!(
    /// An agent's name at Azure: `<prefix>-<host>-<NN>`, unique per pool.
    AgentName, "agent name",
    "letters, digits, '-', '_' and '.', at most 140, beginning and ending with a letter or digit",
    |t| plain(t, 140, &['-', '_', '.'])
);
name!(
    /// The first part of the agent names of a pool.
    AgentPrefix, "agent prefix",
    "letters, digits, '-', '_' and '.', at most 63, beginning and ending with a letter or digit",
    |t| plain(t, 63, &['-', '_', '.'])
);
name!(
    /// A credential for Azure, by name; the secret itself never is part of the model.
    CredentialName, "credential name",
    "letters, digits, '-', '_' and '.', at most 80, beginning and ending with a letter or digit",
    |t| plain(t, 80, &['-', '_', '.'])
);
name!(
    /// Key of a host label, such as `lab`.
    LabelKey, "label key",
    "letters, digits, '-', '_', '.' and '/', at most 63, beginning and ending with a letter or digit",
    |t| plain(t, 63, &['-', '_', '.', '/'])
);
name!(
    /// A container image by tag or digest. The engine is the judge of the rest; what is refused
    /// here could not be an argument of the engine at all.
    ImageRef, "container image",
    "not empty, at most 512 bytes, no white space or control characters",
    |t| !t.is_empty() && t.len() <= 512 && !t.starts_with('-')
        && t.chars().all(|c| c.is_ascii_graphic())
);

impl AgentName {
    /// The stable name of slot `number` of a pool on a host.
    ///
    /// # Errors
    /// When prefix and host are together longer than an agent's name may be.
    pub fn for_slot(prefix: &AgentPrefix, host: &HostName, number: u16) -> Result<Self, NameError> {
        format!("{prefix}-{host}-{number:02}").try_into()
    }
}

impl ImageRef {
    /// Repository and tag, split at the last colon behind the last slash, so that a registry's
    /// port is never taken for a tag. A digest (`@sha256:…`) has no tag.
    pub fn repository_and_tag(&self) -> (&str, Option<&str>) {
        let text = self.as_str();
        if let Some((repository, _digest)) = text.split_once('@') {
            return (repository, None);
        }
        let name_at = text.rfind('/').map_or(0, |slash| slash + 1);
        match text[name_at..].rfind(':') {
            Some(colon) => (&text[..name_at + colon], Some(&text[name_at + colon + 1..])),
            None => (text, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok<T: FromStr<Err = NameError>>(text: &str) -> bool {
        text.parse::<T>().is_ok()
    }

    #[test]
    fn names_of_the_labs_are_names() {
        for host in ["str-acs-serv-15", "svcstr-server-2", "bjw-ca-serv-5", "strtk5-serv-02"] {
            assert!(ok::<HostName>(host), "{host}");
        }
        assert!(ok::<PoolName>("nightly-svc"));
    }

    #[test]
    fn what_is_not_a_name_is_refused_with_the_rule() {
        for bad in ["", "-a", "a-", "a b", "a/b", "ä", "a\n", &"x".repeat(64)] {
            assert!(!ok::<PoolName>(bad), "{bad:?}");
            assert!(!ok::<HostName>(bad), "{bad:?}");
        }
        assert!(!ok::<HostName>("Upper"));
        let error = "a b".parse::<PoolName>().expect_err("a blank is refused").to_string();
        assert!(error.contains("\"a b\" is not a pool name"), "{error}");
    }

    #[test]
    fn a_slot_has_a_stable_name() {
        let name = AgentName::for_slot(
            &"nightly-svc".parse().expect("prefix"),
            &"svcstr-server-2".parse().expect("host"),
            7,
        );
        assert_eq!(name.expect("fits").as_str(), "nightly-svc-svcstr-server-2-07");
    }

    #[test]
    fn a_registry_port_is_not_a_tag() {
        let split = |t: &str| {
            let image: ImageRef = t.parse().expect("an image");
            let (repository, tag) = image.repository_and_tag();
            (repository.to_owned(), tag.map(str::to_owned))
        };
        assert_eq!(split("reg.example:443/img"), ("reg.example:443/img".into(), None));
        assert_eq!(
            split("reg.example:443/a/img:7"),
            ("reg.example:443/a/img".into(), Some("7".into()))
        );
        assert_eq!(split("img@sha256:00"), ("img".into(), None));
    }
}
