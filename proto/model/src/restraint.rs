//! Holding back a host or a pool: cordon, pause and drain, who ordered it, why and how long.
//!
//! | | new agents | running agents | idle agents |
//! |---|---|---|---|
//! | cordon | none | take jobs | stay |
//! | pause | none | end their job | stay, disabled at Azure |
//! | drain | none | end their job, then go | go |

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{At, Availability, Reason};

/// What is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestraintKind {
    /// No new agents.
    Cordon,
    /// No new agents and no new jobs.
    Pause,
    /// No agents: what is there goes at its job's end.
    Drain,
}

/// An operator holds a host or a pool back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restraint {
    /// How.
    pub kind: RestraintKind,
    /// Who ordered it.
    pub by: String,
    /// Why, if that was said.
    pub reason: Option<Reason>,
    /// Since when.
    pub since: At,
    /// It ends by itself then.
    pub until: Option<At>,
    /// By when its last job should have ended.
    pub deadline: Option<Deadline>,
    /// When everything it asks for was seen to be so; none while it is not.
    pub done: Option<At>,
}

/// By when a pause or drain should be done, and what happens if it is not. No job is ended by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// The moment.
    pub at: At,
    /// Chosen beforehand.
    pub then: AtDeadline,
    /// It has passed, and that was said.
    pub passed: bool,
}

/// What happens when a deadline passes while jobs still run.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum AtDeadline {
    /// It goes on, and is shown as late.
    #[default]
    Wait,
    /// It is given up: host or pool take agents and jobs again.
    GiveUp,
}

/// What is seen of what a restraint asks for. Ordered: of several the least counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// Something is evidently not so yet.
    Open,
    /// Nobody says that it is so, or that it is not: who could is away.
    Unknown,
    /// All of it is so.
    Done,
}

/// What time or evidence makes of a restraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestraintStep {
    /// Everything it asks for is so.
    Done,
    /// It was, and is no longer.
    Undone,
    /// Its deadline has passed, and it goes on.
    Late,
    /// Its deadline has passed, and it is given up.
    GivenUp,
    /// Its time is over.
    Over,
}

impl Restraint {
    /// What has to be noted at `now`, by what is seen of it. An end comes before everything else. What
    /// was done stays so while nothing speaks against it: a drained host is switched off next.
    pub fn step(&self, seen: Seen, now: At) -> Option<RestraintStep> {
        if self.until.is_some_and(|until| until <= now) {
            return Some(RestraintStep::Over);
        }
        match (self.done, seen) {
            (None, Seen::Done) => return Some(RestraintStep::Done),
            (Some(_), Seen::Open) => return Some(RestraintStep::Undone),
            (Some(_), Seen::Done | Seen::Unknown) => return None,
            (None, Seen::Open | Seen::Unknown) => {}
        }
        let passed = self.deadline.filter(|d| !d.passed && d.at <= now)?;
        Some(match passed.then {
            AtDeadline::Wait => RestraintStep::Late,
            AtDeadline::GiveUp => RestraintStep::GivenUp,
        })
    }

    /// It as it stands after `step`; none: it is over.
    pub fn after(mut self, step: RestraintStep, now: At) -> Option<Self> {
        match step {
            RestraintStep::Over | RestraintStep::GivenUp => return None,
            RestraintStep::Done => self.done = Some(now),
            RestraintStep::Undone => self.done = None,
            RestraintStep::Late => {
                self.deadline = self.deadline.map(|d| Deadline { passed: true, ..d })
            }
        }
        Some(self)
    }

    /// How long until time alone makes something of it.
    pub fn due_in(&self, now: At) -> Option<Duration> {
        let deadline = self.deadline.filter(|d| !d.passed && self.done.is_none()).map(|d| d.at);
        self.until.into_iter().chain(deadline).min().map(|at| at.since(now))
    }

    /// Who and why, for the history and beside what is held back: `ann: the rack moves`.
    pub fn who(&self) -> String {
        match &self.reason {
            Some(reason) => format!("{}: {reason}", self.by),
            None => self.by.clone(),
        }
    }
}

impl RestraintKind {
    /// What somebody under it is.
    pub const fn availability(self) -> Availability {
        match self {
            Self::Cordon => Availability::Cordoned,
            Self::Pause => Availability::Paused,
            Self::Drain => Availability::Draining,
        }
    }
}

impl Availability {
    /// What `restraint` leaves.
    pub fn under(restraint: Option<&Restraint>) -> Self {
        restraint.map_or(Self::Active, |restraint| restraint.kind.availability())
    }
}

impl fmt::Display for RestraintKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cordon => "cordon",
            Self::Pause => "pause",
            Self::Drain => "drain",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain() -> Restraint {
        Restraint {
            kind: RestraintKind::Drain,
            by: "ann".into(),
            reason: "the rack moves".parse().ok(),
            since: At(0),
            until: None,
            deadline: None,
            done: None,
        }
    }

    fn with_deadline(then: AtDeadline) -> Restraint {
        Restraint { deadline: Some(Deadline { at: At(100), then, passed: false }), ..drain() }
    }

    #[test]
    fn a_deadline_ends_what_was_chosen_and_is_told_once() {
        let waits = with_deadline(AtDeadline::Wait);
        assert_eq!(
            (waits.step(Seen::Open, At(99)), waits.step(Seen::Open, At(100))),
            (None, Some(RestraintStep::Late))
        );
        let late = waits.after(RestraintStep::Late, At(100)).expect("it goes on");
        assert_eq!(late.step(Seen::Open, At(500)), None);
        assert_eq!(late.step(Seen::Done, At(500)), Some(RestraintStep::Done));
        let gives_up = with_deadline(AtDeadline::GiveUp);
        assert_eq!(gives_up.step(Seen::Open, At(100)), Some(RestraintStep::GivenUp));
        assert_eq!(gives_up.clone().after(RestraintStep::GivenUp, At(100)), None);
        // What is done in time stays, whatever was chosen.
        let done = gives_up.after(RestraintStep::Done, At(50)).expect("it goes on");
        assert_eq!((done.step(Seen::Done, At(100)), done.due_in(At(60))), (None, None));
        assert_eq!(done.step(Seen::Unknown, At(120)), None, "who is away takes nothing back");
        assert_eq!(done.step(Seen::Open, At(120)), Some(RestraintStep::Undone));
    }

    #[test]
    fn it_ends_by_itself_also_when_it_is_done() {
        let short = Restraint { until: Some(At(200)), ..with_deadline(AtDeadline::Wait) };
        assert_eq!(short.due_in(At(40)), Some(Duration::from_millis(60)));
        let done = short.after(RestraintStep::Done, At(50)).expect("it goes on");
        assert_eq!(done.due_in(At(50)), Some(Duration::from_millis(150)));
        assert_eq!(done.step(Seen::Done, At(200)), Some(RestraintStep::Over));
        assert_eq!(drain().due_in(At(50)), None);
        assert_eq!(drain().who(), "ann: the rack moves");
    }

    proptest! {
        /// Whatever comes, it settles: the same look twice says nothing the second time.
        #[test]
        fn a_look_that_was_noted_has_nothing_more_to_say(
            until in prop::option::of(0..300_u64),
            deadline in prop::option::of((0..300_u64, any::<bool>(), any::<bool>())),
            was_done in prop::option::of(0..300_u64),
            seen in prop::sample::select(vec![Seen::Open, Seen::Unknown, Seen::Done]),
            now in 0..400_u64,
        ) {
            let deadline = deadline.map(|(at, wait, passed)| Deadline {
                at: At(at),
                then: if wait { AtDeadline::Wait } else { AtDeadline::GiveUp },
                passed,
            });
            let mut restraint =
                Some(Restraint { until: until.map(At), deadline, done: was_done.map(At), ..drain() });
            for _ in 0..3 {
                let Some(now_is) = restraint.clone() else { break };
                let Some(step) = now_is.step(seen, At(now)) else { break };
                restraint = now_is.after(step, At(now));
            }
            if let Some(settled) = restraint {
                prop_assert_eq!(settled.step(seen, At(now)), None);
                let done = match seen {
                    Seen::Done => true,
                    Seen::Open => false,
                    Seen::Unknown => was_done.is_some(),
                };
                prop_assert_eq!(settled.done.is_some(), done);
                // And what time brings next lies ahead.
                prop_assert!(done || settled.due_in(At(now)).is_none_or(|wait| !wait.is_zero()));
            }
        }
    }
}
