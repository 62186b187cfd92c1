//! What was measured, as it is kept between the measuring and the table.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// Everything of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// By the name of the subcommand that measured it.
    pub(crate) sections: BTreeMap<String, Section>,
}

/// What one subcommand measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Section {
    pub(crate) title: String,
    /// What a reader must know to judge the figures, one sentence each.
    pub(crate) notes: Vec<String>,
    pub(crate) rows: Vec<Row>,
}

/// One figure, and the same figure of others in the same rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    /// "s", "ms", "MiB", "%", "1/s".
    pub(crate) unit: String,
    pub(crate) ours: Vec<f64>,
    #[serde(default)]
    pub(crate) floor: Vec<f64>,
    #[serde(default)]
    pub(crate) swarm: Vec<f64>,
    /// The row's figures are this percentile of their samples; without one, the median of rounds.
    #[serde(default)]
    pub(crate) percentile: Option<u8>,
    #[serde(default)]
    pub(crate) goals: Vec<Goal>,
}

/// What has to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Goal {
    /// At most this many times the floor.
    TimesFloor(f64),
    /// At most this many times Docker Swarm.
    TimesSwarm(f64),
    /// At most this, in the row's unit.
    AtMost(f64),
    /// At most this more than the floor, in the row's unit; in a row of a percentile, than the floor's
    /// same percentile: what the engine itself needs once in a hundred times is not ours to undo.
    BeyondFloor(f64),
    /// Less than this, in the row's unit.
    Below(f64),
}

impl Section {
    pub(crate) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), ..Self::default() }
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, unit: &str, ours: Vec<f64>) -> Self {
        Self { what: what.into(), unit: unit.to_owned(), ours, ..Self::default() }
    }

    pub(crate) fn floor(mut self, samples: Vec<f64>) -> Self {
        self.floor = samples;
        self
    }

    pub(crate) fn swarm(mut self, samples: Vec<f64>) -> Self {
        self.swarm = samples;
        self
    }

    pub(crate) fn at(mut self, percentile: u8) -> Self {
        self.percentile = Some(percentile);
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }
}

impl Results {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("no results at {}; measure something first", path.display())
        })?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not a file of results", path.display()))
    }

    /// Puts a section beside those that are there already, if they were measured on this machine
    /// with these programs; figures of another one are not mixed in.
    pub(crate) fn merge(
        path: &Path,
        machine: Machine,
        name: &str,
        section: Section,
    ) -> anyhow::Result<()> {
        let sections = match Self::read(path) {
            Ok(older) if older.machine.is_like(&machine) => older.sections,
            _ => BTreeMap::new(),
        };
        let mut results = Self { machine, sections };
        results.sections.insert(name.to_owned(), section);
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let text = serde_json::to_string_pretty(&results)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_kept_together_and_other_machines_apart() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deeper").join("results.json");
        let merge = |machine: Machine, name: &str| {
            let mut section = Section::new(name);
            section.rows.push(Row::new("x", "s", vec![1.0]).goal(Goal::AtMost(2.0)));
            Results::merge(&path, machine, name, section).expect("written");
            Results::read(&path).expect("readable").sections.len()
        };
        let here = Machine { cores: 2, ..Machine::default() };
        assert_eq!(merge(here.clone(), "engine"), 1);
        assert_eq!(merge(here.clone(), "fanout"), 2);
        assert_eq!(merge(here, "fanout"), 2);
        assert_eq!(merge(Machine { cores: 4, ..Machine::default() }, "fanout"), 1);
    }
}
