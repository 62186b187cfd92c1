//! The environment as the agent sees it: what it was started with, plus `.env` and `.path` of its root. Inputs
//! (`VSTS_AGENT_INPUT_*`) leave it when they are read, so neither capabilities nor a worker ever show them.

use std::collections::BTreeMap;

use crate::layout::Layout;

const INPUT: &str = "VSTS_AGENT_INPUT_";

/// A copy of the environment that can be changed; children get exactly this copy.
#[derive(Clone)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    pub(crate) fn of_this_process(layout: &Layout) -> Self {
        let mut all: BTreeMap<String, String> = std::env::vars_os()
            .map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
            .collect();
        let dot_env = std::fs::read_to_string(layout.file(".env")).unwrap_or_default();
        all.extend(dot_env.lines().filter_map(assignment));
        if let Ok(path) = std::fs::read_to_string(layout.file(".path")) {
            all.insert("PATH".to_owned(), path.trim_end().to_owned());
        }
        Self(all)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }

    /// Takes all inputs out: flag name in lower case, value.
    pub(crate) fn take_inputs(&mut self) -> Vec<(String, String)> {
        let names: Vec<String> =
            self.0.keys().filter(|k| k.to_ascii_uppercase().starts_with(INPUT)).cloned().collect();
        names
            .into_iter()
            .filter_map(|name| {
                Some((name[INPUT.len()..].to_ascii_lowercase(), self.0.remove(&name)?))
            })
            .collect()
    }
}

/// One line of `.env`; comments and lines without a name are passed over.
fn assignment(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    (!name.is_empty() && !name.starts_with('#')).then(|| (name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_leave_the_environment_when_they_are_read() {
        let pairs = [("VSTS_AGENT_INPUT_TOKEN", "s3cret"), ("PATH", "/bin")];
        let mut environment = Environment(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!(environment.take_inputs(), [("token".to_owned(), "s3cret".to_owned())]);
        assert_eq!(environment.iter().count(), 1);
    }

    #[test]
    fn a_line_of_dot_env_keeps_everything_after_the_first_equals_sign() {
        assert_eq!(assignment("A=b=c"), Some(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(assignment("# A=b"), None);
        assert_eq!(assignment("=b"), None);
    }
}
