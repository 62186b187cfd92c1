//! Whose a row at Azure is.

use std::{fmt, str::FromStr};

use crate::HostName;

/// `<fleet>/<host>/<slot>`: every listener of a fleet has it as a capability, so that a row is known
/// as ours without its agent, and never by its name alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnerMark {
    /// The fleet's name.
    pub fleet: String,
    /// The host that keeps the agent.
    pub host: HostName,
    /// The agent's number on it.
    pub slot: u16,
}

impl OwnerMark {
    /// The capability's name.
    pub const CAPABILITY: &'static str = "FLEET_OWNER";
}

impl fmt::Display for OwnerMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.fleet, self.host, self.slot)
    }
}

/// The text is the mark of no fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMark;

impl FromStr for OwnerMark {
    type Err = NoMark;

    fn from_str(text: &str) -> Result<Self, NoMark> {
        // From the end: a fleet's name is free text, host and number are not.
        let mut parts = text.rsplitn(3, '/');
        let (slot, host, fleet) = (parts.next(), parts.next(), parts.next());
        let fleet = fleet.filter(|fleet| !fleet.is_empty()).ok_or(NoMark)?;
        Ok(Self {
            fleet: fleet.to_owned(),
            host: host.and_then(|host| host.parse().ok()).ok_or(NoMark)?,
            slot: slot.and_then(|slot| slot.parse().ok()).ok_or(NoMark)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_is_written() {
        for text in ["labs/str-17/3", "a/b/svc1/999"] {
            let mark: OwnerMark = text.parse().expect("a mark");
            assert_eq!(mark.to_string(), text);
        }
    }

    #[test]
    fn what_is_not_whole_is_no_mark() {
        for text in ["", "labs", "labs/str-17", "/str-17/3", "labs//3", "labs/str-17/x", "labs/h/"]
        {
            assert_eq!(text.parse::<OwnerMark>(), Err(NoMark), "{text:?}");
        }
    }
}
