//! Is it done, for orders to one agent. Pure, as [`crate::goal`].

use fleet_proto::v1;

use crate::{
    goal::{Standing, State},
    live::Live,
    words,
};

/// What is waited for of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AgentGoal {
    /// It is online with a newer run than that one.
    Restarted {
        /// The run that it had.
        attempt: u32,
    },
    /// It is in quarantine.
    SetAside,
    /// It is not in quarantine, and not on its way there.
    Released,
}

impl AgentGoal {
    /// What is not so yet.
    pub(crate) fn unfinished(self) -> &'static str {
        match self {
            Self::Restarted { .. } => "is not restarted yet",
            Self::SetAside => "is not in quarantine yet",
            Self::Released => "is not released yet",
        }
    }
}

/// Where the agent stands.
pub(crate) fn look(goal: AgentGoal, name: &str, live: &Live) -> Standing {
    let Some(status) = live.agents.get(name).and_then(|agent| agent.status.as_ref()) else {
        return match goal {
            AgentGoal::Released => standing(State::Reached, "released, and another has its place"),
            _ => standing(State::Different(format!("{name} is gone")), "gone"),
        };
    };
    let online = matches!(status.phase(), v1::Phase::Idle | v1::Phase::Busy);
    let phase = words::phase(status.phase);
    let line = match status.why.as_str() {
        "" => phase,
        why => format!("{phase}, {why}"),
    };
    match goal {
        AgentGoal::Restarted { attempt } if online && status.attempt > attempt => {
            standing(State::Reached, &format!("restarted, {line}"))
        }
        AgentGoal::SetAside if status.phase() == v1::Phase::Quarantined => {
            let evidence = status.quarantine.as_ref().map(|q| q.evidence.as_str());
            let place = match evidence.unwrap_or_default() {
                "" => String::new(),
                place => format!("; its evidence on its host: {place}"),
            };
            standing(State::Reached, &format!("in quarantine{place}"))
        }
        AgentGoal::SetAside if status.quarantine.is_none() => {
            standing(State::Different(format!("{name} is not to be kept aside")), &line)
        }
        AgentGoal::Released if status.quarantine.is_none() => standing(State::Reached, "released"),
        _ => standing(State::Waiting, &line),
    }
}

fn standing(state: State, line: &str) -> Standing {
    let remaining = u64::from(state != State::Reached);
    Standing {
        state,
        remaining,
        line: line.to_owned(),
        reasons: vec![],
        notes: vec![],
        missing: vec![],
    }
}

#[cfg(test)]
mod tests {
    use fleet_proto::v1::watch_response::Change;

    use super::*;

    fn live(attempt: u32, phase: v1::Phase, aside: bool) -> Live {
        let mut live = Live::default();
        let status = v1::AgentStatus {
            agent: "a".into(),
            attempt,
            phase: phase.into(),
            quarantine: aside.then(v1::Quarantine::default),
            ..Default::default()
        };
        let agent = v1::Agent { status: Some(status), ..Default::default() };
        live.take(v1::WatchResponse { change: Some(Change::Agent(agent)) });
        live
    }

    #[test]
    fn each_order_has_its_end() {
        use v1::Phase::{Busy, Draining, Idle, Quarantined, Starting};
        let restarted = AgentGoal::Restarted { attempt: 3 };
        for (goal, attempt, phase, aside, reached) in [
            (restarted, 3, Idle, false, false),
            (restarted, 4, Starting, false, false),
            (restarted, 4, Idle, false, true),
            (restarted, 4, Busy, false, true),
            (AgentGoal::SetAside, 3, Draining, true, false),
            (AgentGoal::SetAside, 3, Quarantined, true, true),
            (AgentGoal::Released, 3, Quarantined, true, false),
            (AgentGoal::Released, 3, Starting, false, true),
        ] {
            let seen = look(goal, "a", &live(attempt, phase, aside));
            assert_eq!(seen.state == State::Reached, reached, "{goal:?} {phase:?}: {seen:?}");
            assert_eq!(seen.remaining == 0, reached);
        }
        let gone = |goal| look(goal, "other", &live(1, Idle, false)).state;
        assert_eq!(gone(AgentGoal::Released), State::Reached);
        assert!(matches!(gone(restarted), State::Different(_)));
    }
}
