//! Demands: what a job asks of an agent.
//!
//! On the wire mostly a string: `docker`, `lab -equals svc`, `Agent.Version -gtVersion 2.182.1`;
//! the specification's object form `{name, value}` is read too.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One demand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// Name of the capability; compares without case.
    pub name: String,
    /// What the capability's value must be.
    pub test: DemandTest,
}

/// What is asked of a capability's value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DemandTest {
    /// It is there, whatever its value.
    Exists,
    /// Its value is this one, compared without case.
    Equals(String),
    /// Its value is this version or a newer one.
    AtLeastVersion(String),
}

impl Demand {
    /// Reads the string form. Never fails: what is not one of the known operators is a name.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let split = |operator: &str| -> Option<(String, String)> {
            let at = text.to_ascii_lowercase().find(operator)?;
            let (name, rest) = (text.get(..at)?, text.get(at + operator.len()..)?);
            Some((name.trim().to_owned(), rest.trim().to_owned()))
        };
        if let Some((name, value)) = split(" -equals ") {
            return Self { name, test: DemandTest::Equals(value) };
        }
        if let Some((name, value)) = split(" -gtversion ") {
            return Self { name, test: DemandTest::AtLeastVersion(value) };
        }
        Self { name: text.to_owned(), test: DemandTest::Exists }
    }

    /// Does a capability value (`None`: the capability is absent) satisfy the demand?
    pub fn is_met_by(&self, value: Option<&str>) -> bool {
        let Some(value) = value else { return false };
        match &self.test {
            DemandTest::Exists => true,
            DemandTest::Equals(wanted) => value.eq_ignore_ascii_case(wanted),
            // Named "gt" but inclusive: an agent of exactly the minimum version is taken.
            DemandTest::AtLeastVersion(least) => compare_versions(value, least) != Ordering::Less,
        }
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.test {
            DemandTest::Exists => f.write_str(&self.name),
            DemandTest::Equals(value) => write!(f, "{} -equals {value}", self.name),
            DemandTest::AtLeastVersion(least) => write!(f, "{} -gtVersion {least}", self.name),
        }
    }
}

/// Compares dotted versions number by number; missing parts are 0, what is no number is 0.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let parts = |v: &str| -> Vec<u64> {
        let mut parts: Vec<u64> = v.trim().split('.').map(|p| p.parse().unwrap_or(0)).collect();
        while parts.last() == Some(&0) {
            parts.pop();
        }
        parts
    };
    parts(a).cmp(&parts(b))
}

impl<'de> Deserialize<'de> for Demand {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wire {
            Text(String),
            Object {
                name: String,
                #[serde(default)]
                value: Option<String>,
            },
        }
        Ok(match Wire::deserialize(d)? {
            Wire::Text(text) => Self::parse(&text),
            Wire::Object { name, value: None } => Self::parse(&name),
            Wire::Object { name, value: Some(value) } => {
                Self { name, test: DemandTest::Equals(value) }
            }
        })
    }
}

impl Serialize for Demand {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn the_three_forms_are_read_and_written_back() {
        for text in ["docker", "lab -equals svc", "Agent.Version -gtVersion 2.182.1"] {
            assert_eq!(Demand::parse(text).to_string(), text);
        }
        assert_eq!(Demand::parse("a -EQUALS b c").test, DemandTest::Equals("b c".into()));
    }

    #[test]
    fn objects_and_strings_mix_in_one_list() {
        let text = r#"["docker", {"name":"lab","value":"svc"}, {"name":"java"}]"#;
        let demands: Vec<Demand> = serde_json::from_str(text).unwrap();
        let shown: Vec<String> = demands.iter().map(Demand::to_string).collect();
        assert_eq!(shown, ["docker", "lab -equals svc", "java"]);
    }

    #[test]
    fn a_demand_needs_the_capability_and_its_value() {
        let check = |demand: &str, value: Option<&str>| Demand::parse(demand).is_met_by(value);
        assert!(check("docker", Some("/usr/bin/docker")) && !check("docker", None));
        assert!(check("lab -equals SVC", Some("svc")) && !check("lab -equals svc", Some("str")));
        assert!(check("Agent.Version -gtVersion 4.10", Some("4.10.0")));
        assert!(!check("Agent.Version -gtVersion 4.10", Some("4.9.9")));
        assert!(!check("Agent.Version -gtVersion 1", None));
    }
}
