//! What an operator asks of one agent.

use std::{fmt, time::Duration};

use crate::{AgentName, Reason};

/// An order for one agent, carried out by its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentOrder {
    /// Which agent.
    pub agent: AgentName,
    /// What is asked.
    pub verb: AgentVerb,
    /// Who asks.
    pub by: String,
    /// Why, if that was said.
    pub reason: Option<Reason>,
}

/// What can be asked of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentVerb {
    /// Its run is replaced by a new one, at its job's end.
    Restart,
    /// It is kept aside for so long, from its job's end on.
    Quarantine(Duration),
    /// It is kept aside no longer.
    Release,
}

/// For the history: `ann: the rack moves`, or the name alone.
impl fmt::Display for AgentOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{}: {reason}", self.by),
            None => f.write_str(&self.by),
        }
    }
}
