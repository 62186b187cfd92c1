//! How a host or a pool is held back.

use fleet_model::{AtDeadline, Deadline, Restraint, RestraintKind};

use super::{
    WireError,
    read::{optional, parsed_or_none, word},
    time::{at, timestamp},
};
use crate::v1;

impl From<Restraint> for v1::Restraint {
    fn from(restraint: Restraint) -> Self {
        Self {
            kind: v1::RestraintKind::from(restraint.kind).into(),
            by: restraint.by,
            reason: restraint.reason.map(String::from).unwrap_or_default(),
            since: Some(timestamp(restraint.since)),
            until: restraint.until.map(timestamp),
            deadline: restraint.deadline.map(Into::into),
            done: restraint.done.map(timestamp),
        }
    }
}

impl TryFrom<v1::Restraint> for Restraint {
    type Error = WireError;
    fn try_from(wire: v1::Restraint) -> Result<Self, WireError> {
        if wire.by.is_empty() {
            return Err(WireError::new("by", "is missing"));
        }
        let moment = |field, wire: Option<_>| wire.map(|wire| at(field, Some(wire))).transpose();
        Ok(Self {
            kind: word::<v1::RestraintKind, RestraintKind>("kind", wire.kind)?,
            by: wire.by,
            reason: parsed_or_none("reason", &wire.reason)?,
            since: at("since", wire.since)?,
            until: moment("until", wire.until)?,
            deadline: optional("deadline", wire.deadline)?,
            done: moment("done", wire.done)?,
        })
    }
}

impl From<Deadline> for v1::Deadline {
    fn from(deadline: Deadline) -> Self {
        let Deadline { at, then, passed } = deadline;
        Self { at: Some(timestamp(at)), then: v1::AtDeadline::from(then).into(), passed }
    }
}

impl TryFrom<v1::Deadline> for Deadline {
    type Error = WireError;
    fn try_from(wire: v1::Deadline) -> Result<Self, WireError> {
        let then = word::<v1::AtDeadline, AtDeadline>("then", wire.then)?;
        Ok(Self { at: at("at", wire.at)?, then, passed: wire.passed })
    }
}
