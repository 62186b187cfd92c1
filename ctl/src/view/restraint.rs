//! How a host or a pool is held back.

use fleet_proto::v1;
use jiff::Timestamp;
use serde::Serialize;

use super::some;
use crate::{when, words};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Restraint {
    /// `cordon`, `pause` or `drain`.
    pub(crate) kind: String,
    pub(crate) by: String,
    pub(crate) reason: Option<String>,
    pub(crate) since: Option<Timestamp>,
    /// It ends by itself then.
    pub(crate) until: Option<Timestamp>,
    pub(crate) deadline: Option<Deadline>,
    /// When everything it asks for was seen to be so; null while it is not.
    pub(crate) done: Option<Timestamp>,
}

/// By when it should be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deadline {
    pub(crate) at: Option<Timestamp>,
    /// `wait` or `give-up`.
    pub(crate) then: String,
    pub(crate) passed: bool,
}

impl Restraint {
    /// `Draining for 3m (ann: rack moves), its deadline has passed`.
    pub(crate) fn sentence(&self, availability: &str, now: Timestamp) -> String {
        let who = match &self.reason {
            Some(reason) => format!("{}: {reason}", self.by),
            None => self.by.clone(),
        };
        let mut text = format!("{availability} for {} ({who})", when::age(self.since, now));
        if self.kind != "cordon" {
            text += if self.done.is_some() { ", done" } else { ", not done yet" };
        }
        if self.deadline.as_ref().is_some_and(|deadline| deadline.passed) {
            text += ", its deadline has passed";
        }
        if let Some(until) = self.until {
            text += &format!(", ends in {}", when::short(until.duration_since(now)));
        }
        text
    }
}

impl From<v1::Restraint> for Restraint {
    fn from(wire: v1::Restraint) -> Self {
        Self {
            kind: words::restraint(wire.kind),
            by: wire.by,
            reason: some(wire.reason),
            since: when::at(wire.since.as_ref()),
            until: when::at(wire.until.as_ref()),
            deadline: wire.deadline.map(Deadline::from),
            done: when::at(wire.done.as_ref()),
        }
    }
}

impl From<v1::Deadline> for Deadline {
    fn from(wire: v1::Deadline) -> Self {
        Self {
            at: when::at(wire.at.as_ref()),
            then: words::at_deadline(wire.then),
            passed: wire.passed,
        }
    }
}
