//! Labels of hosts and the selectors that choose among them.

use std::{collections::BTreeMap, collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::LabelKey;

/// Labels of a host. `lab` is one of them.
pub type Labels = BTreeMap<LabelKey, String>;

/// One requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Requirement {
    /// `key in (a, b)`; `key=a` is the same with one value.
    In(LabelKey, BTreeSet<String>),
    /// `key notin (a, b)`; `key!=a` is the same with one value. A host without the label matches.
    NotIn(LabelKey, BTreeSet<String>),
    /// `key`: the label is there.
    Exists(LabelKey),
}

/// Requirements on a host's labels, all of which must hold. The empty selector takes every host.
///
/// Written as `lab=svc`, `lab in (str,str3), gpu`, `lab!=tk5`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector(pub Vec<Requirement>);

/// Why a text is not a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{part:?} is not a requirement; write key=value, key!=value, key in (a,b), key notin (a,b) or key, separated by commas"
)]
pub struct SelectorError {
    /// The part that could not be read.
    pub part: String,
}

impl Selector {
    /// The first requirement that these labels do not meet, or none when they meet all.
    pub fn unmet(&self, labels: &Labels) -> Option<&Requirement> {
        self.0.iter().find(|requirement| !requirement.met(labels))
    }
}

impl Requirement {
    fn met(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|v| !values.contains(v)),
            Self::Exists(key) => labels.contains_key(key),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &BTreeSet<String>| {
            values.iter().map(String::as_str).collect::<Vec<_>>().join(",")
        };
        match self {
            Self::In(key, v) if v.len() == 1 => write!(f, "{key}={}", list(v)),
            Self::In(key, v) => write!(f, "{key} in ({})", list(v)),
            Self::NotIn(key, v) if v.len() == 1 => write!(f, "{key}!={}", list(v)),
            Self::NotIn(key, v) => write!(f, "{key} notin ({})", list(v)),
            Self::Exists(key) => write!(f, "{key}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&parts.join(", "))
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        split_outside_parentheses(text)
            .into_iter()
            .map(requirement)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;
    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> String {
        selector.to_string()
    }
}

/// Commas separate requirements, but inside parentheses they separate values.
fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[from..].trim());
    parts
}

fn requirement(part: &str) -> Result<Requirement, SelectorError> {
    let error = || SelectorError { part: part.to_owned() };
    let key = |text: &str| text.trim().parse::<LabelKey>().map_err(|_| error());
    if let Some((name, list)) = part.strip_suffix(')').and_then(|p| p.split_once('(')) {
        let values =
            list.split(',').map(value).collect::<Option<BTreeSet<_>>>().ok_or_else(error)?;
        let words: Vec<&str> = name.split_whitespace().collect();
        return match words.as_slice() {
            [name, "in"] => Ok(Requirement::In(key(name)?, values)),
            [name, "notin"] => Ok(Requirement::NotIn(key(name)?, values)),
            _ => Err(error()),
        };
    }
    let one = |text: &str| value(text).map(|v| BTreeSet::from([v])).ok_or_else(error);
    if let Some((name, text)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(key(name)?, one(text)?));
    }
    if let Some((name, text)) = part.split_once('=') {
        return Ok(Requirement::In(key(name)?, one(text.strip_prefix('=').unwrap_or(text))?));
    }
    Ok(Requirement::Exists(key(part)?))
}

/// A label's value: not empty, and free of the characters that selectors are written with.
fn value(text: &str) -> Option<String> {
    let text = text.trim();
    let bad = |c: char| c.is_control() || c.is_whitespace() || "(),=!".contains(c);
    (!text.is_empty() && text.len() <= 63 && !text.contains(bad)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| (k.parse().expect("key"), (*v).to_owned())).collect()
    }

    #[test]
    fn selectors_choose_by_label() {
        let svc = labels(&[("lab", "svc"), ("gpu", "h200")]);
        let tk5 = labels(&[("lab", "tk5")]);
        for (text, on_svc, on_tk5) in [
            ("", true, true),
            ("lab=svc", true, false),
            ("lab==svc", true, false),
            ("lab in (str, tk5)", false, true),
            ("lab notin (svc),lab", false, true),
            ("lab!=svc", false, true),
            ("gpu", true, false),
            ("gpu!=h200", false, true),
            ("lab=svc, gpu=h200", true, false),
        ] {
            let selector: Selector = text.parse().expect(text);
            assert_eq!(selector.unmet(&svc).is_none(), on_svc, "{text} on svc");
            assert_eq!(selector.unmet(&tk5).is_none(), on_tk5, "{text} on tk5");
        }
    }

    #[test]
    fn broken_selectors_name_the_broken_part() {
        for text in ["lab=", "=svc", "lab in svc", "lab in ()", "lab=svc,,", "lab in (a", "a b"] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            parts in prop::collection::vec(
                (0..3_u8, "[a-z][a-z0-9]{0,5}", prop::collection::btree_set("[a-z0-9.]{1,4}", 1..4)),
                0..4,
            )
        ) {
            let selector = Selector(parts.into_iter().map(|(kind, key, values)| {
                let key = key.parse().expect("a key");
                match kind {
                    0 => Requirement::In(key, values),
                    1 => Requirement::NotIn(key, values),
                    _ => Requirement::Exists(key),
                }
            }).collect());
            prop_assert_eq!(selector.to_string().parse::<Selector>(), Ok(selector));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
            let _ = text.parse::<Selector>();
        }
    }
}
