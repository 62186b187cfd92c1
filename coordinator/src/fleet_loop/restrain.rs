//! Operators hold hosts and pools back. What follows from it for placement, and when it is done, is
//! decided in the plan; here it is stored and told.

use coordinator_plan::{FleetEvent, Target};
use fleet_model::{
    At, AtDeadline, Availability, Deadline, HostName, PoolName, Restraint, RestraintKind,
    RestraintStep,
};
use fleet_proto::{convert::timestamp, v1};

use super::{
    denied::Denied,
    event::{Restrain, RestrainVerb, Whom},
    state::{SELF, State},
    turn::Turn,
    watchers::Watched,
};
use crate::{
    records::{HOST, POOL},
    store::NewEvent,
};

/// A target with how it is held back before and after.
type Change = (Target, Option<Restraint>, Option<Restraint>);

impl State {
    pub(crate) fn restrain(
        &mut self,
        ask: Restrain,
        by: &str,
        turn: &mut Turn,
    ) -> Result<impl FnOnce(&mut State) -> v1::RestrainResponse + use<>, Denied> {
        self.writable()?;
        let mut changes: Vec<Change> = Vec::new();
        for target in self.targets_of(&ask.whom)? {
            let before = self.fleet.restraint(&target).cloned();
            let after = asked(&ask, &target, before.as_ref(), by, turn)?;
            changes.push((target, before, after));
        }
        if !ask.dry_run {
            for (target, before, after) in &changes {
                if before != after {
                    let (word, said) = told(&ask, before.as_ref(), after.as_ref());
                    self.put_restraint(target, after.clone(), by, word, said, turn);
                }
            }
        }
        Ok(move |state: &mut State| v1::RestrainResponse {
            order: Some(state.fleet.order().into()),
            restrained: changes.into_iter().map(restrained).collect(),
        })
    }

    /// Notes what time and the hosts' reports make of restraints.
    pub(crate) fn take_restraint_steps(&mut self, turn: &mut Turn) {
        if self.writable().is_err() {
            return;
        }
        for (target, step) in self.fleet.restraint_steps(turn.now) {
            let Some(restraint) = self.fleet.restraint(&target).cloned() else { continue };
            let (word, said) = stepped(&restraint, step);
            let after = restraint.after(step, turn.now);
            self.put_restraint(&target, after, SELF, word, said, turn);
        }
    }

    fn put_restraint(
        &mut self,
        target: &Target,
        restraint: Option<Restraint>,
        by: &str,
        word: &str,
        said: String,
        turn: &mut Turn,
    ) {
        match target {
            Target::Host(name) => {
                let Some(entry) = self.fleet.host(name) else { return };
                let mut record = entry.record.clone();
                record.restraint = restraint;
                turn.changes.put(HOST, name, &record);
                let event = NewEvent::new(turn.now, format!("host.{word}"), by).host(name);
                turn.event(event.says(said));
                self.watchers.touch(Watched::Host(name.clone()), turn.now);
                self.apply(FleetEvent::HostPut(record), turn);
            }
            Target::Pool(name) => {
                let Some(view) = self.fleet.pool_view(name) else { return };
                let mut spec = view.spec.clone();
                spec.restraint = restraint;
                turn.changes.put(POOL, name, &spec);
                let event = NewEvent::new(turn.now, format!("pool.{word}"), by).pool(name);
                turn.event(event.says(said));
                self.watchers.touch(Watched::Pool(name.clone()), turn.now);
                self.apply(FleetEvent::PoolPut(spec), turn);
            }
        }
    }

    fn targets_of(&self, whom: &Whom) -> Result<Vec<Target>, Denied> {
        match whom {
            Whom::Lab(lab) => self.hosts_of(lab),
            Whom::Host(name) => Ok(vec![Target::Host(self.known_host(name)?)]),
            Whom::Pool(name) => self.pool_target(&self.known_pool(name)?),
            Whom::Named(name) => {
                let host = self.fleet.hosts().map(|(host, _)| host).find(|h| h.as_str() == name);
                let pool = self.fleet.pool_names().find(|pool| pool.as_str() == name);
                match (host, pool) {
                    (Some(_), Some(_)) => Err(Denied::Invalid(format!(
                        "{name:?} is a host and a pool; say which with --host or --pool"
                    ))),
                    (Some(host), None) => Ok(vec![Target::Host(host.clone())]),
                    (None, Some(pool)) => self.pool_target(pool),
                    (None, None) => Err(self.nobody(name)),
                }
            }
        }
    }

    fn pool_target(&self, pool: &PoolName) -> Result<Vec<Target>, Denied> {
        self.kept_spec(pool).map(|_| vec![Target::Pool(pool.clone())])
    }

    fn hosts_of(&self, lab: &str) -> Result<Vec<Target>, Denied> {
        let hosts: Vec<Target> = self
            .fleet
            .hosts()
            .filter(|(_, entry)| entry.labels.get("lab").is_some_and(|its| its == lab))
            .map(|(name, _)| Target::Host(name.clone()))
            .collect();
        if !hosts.is_empty() {
            return Ok(hosts);
        }
        let mut known: Vec<String> =
            self.fleet.hosts().filter_map(|(_, entry)| entry.labels.get("lab").cloned()).collect();
        known.sort();
        known.dedup();
        Err(Denied::UnknownLab { lab: lab.to_owned(), known })
    }

    fn nobody(&self, name: &str) -> Denied {
        let hosts = self.fleet.hosts().map(|(host, _): (&HostName, _)| host.to_string());
        let pools = self.fleet.pool_names().map(ToString::to_string);
        Denied::NeitherHostNorPool { name: name.to_owned(), known: hosts.chain(pools).collect() }
    }
}

/// How `target` is held back afterwards.
fn asked(
    ask: &Restrain,
    target: &Target,
    before: Option<&Restraint>,
    by: &str,
    turn: &Turn,
) -> Result<Option<Restraint>, Denied> {
    let name = match target {
        Target::Host(host) => host.as_str(),
        Target::Pool(pool) => pool.as_str(),
    };
    let kind = match (ask.verb, before.map(|restraint| restraint.kind)) {
        (RestrainVerb::Begin(kind), _) => kind,
        (RestrainVerb::Uncordon, Some(RestraintKind::Pause)) => {
            return Err(Denied::NotNow(format!(
                "{name} is paused, not cordoned; `agentctl resume {name}` lets it go on"
            )));
        }
        (RestrainVerb::Resume, Some(RestraintKind::Cordon | RestraintKind::Drain)) => {
            return Err(Denied::NotNow(format!(
                "{name} is cordoned or draining, not paused; `agentctl uncordon {name}` lets it go on"
            )));
        }
        (RestrainVerb::Uncordon | RestrainVerb::Resume, _) => return Ok(None),
    };
    let same = before.filter(|before| before.kind == kind);
    // Asked for again, with nothing new.
    if let Some(same) = same
        && ask.reason.is_none()
        && ask.lasts.is_none()
        && ask.deadline.is_none()
    {
        return Ok(Some(same.clone()));
    }
    Ok(Some(Restraint {
        kind,
        by: by.to_owned(),
        reason: ask.reason.clone(),
        since: same.map_or(turn.now, |same| same.since),
        until: ask.lasts.map(|lasts| turn.now + lasts),
        deadline: ask.deadline.map(|(wait, then)| Deadline {
            at: turn.now + wait,
            then,
            passed: false,
        }),
        // Whom the coordinator gives no agents has none new: there is nothing to wait for.
        done: match kind {
            RestraintKind::Cordon => Some(turn.now),
            RestraintKind::Pause | RestraintKind::Drain => same.and_then(|same| same.done),
        },
    }))
}

fn restrained((target, before, after): Change) -> v1::Restrained {
    let (host, pool) = match target {
        Target::Host(host) => (host.to_string(), String::new()),
        Target::Pool(pool) => (String::new(), pool.to_string()),
    };
    let wire = |restraint: Option<Restraint>| restraint.map(Into::into);
    v1::Restrained { host, pool, before: wire(before), after: wire(after) }
}

/// What an operator did, for the history: the kind's last word, and what changed and why.
fn told(
    ask: &Restrain,
    before: Option<&Restraint>,
    after: Option<&Restraint>,
) -> (&'static str, String) {
    let word = match (ask.verb, after.map(|after| after.kind)) {
        (_, Some(RestraintKind::Cordon)) => "cordoned",
        (_, Some(RestraintKind::Pause)) => "paused",
        (_, Some(RestraintKind::Drain)) => "draining",
        (RestrainVerb::Resume, None) => "resumed",
        (_, None) => "uncordoned",
    };
    let name = |restraint: Option<&Restraint>| Availability::under(restraint);
    let mut said = format!("{} → {}", name(before), name(after));
    if let Some(reason) = &ask.reason {
        said.push_str(&format!(": {reason}"));
    }
    if let Some(until) = after.and_then(|after| after.until) {
        said.push_str(&format!("; until {}", moment(until)));
    }
    if let Some(deadline) = after.and_then(|after| after.deadline) {
        let then = match deadline.then {
            AtDeadline::Wait => "it waits on then",
            AtDeadline::GiveUp => "it is given up then",
        };
        said.push_str(&format!("; to be done by {}, {then}", moment(deadline.at)));
    }
    (word, said)
}

/// What time or evidence did, for the history.
fn stepped(restraint: &Restraint, step: RestraintStep) -> (&'static str, String) {
    let kind = restraint.kind;
    let ended = match kind {
        RestraintKind::Pause => "resumed",
        RestraintKind::Cordon | RestraintKind::Drain => "uncordoned",
    };
    let who = restraint.who();
    match step {
        RestraintStep::Done if kind == RestraintKind::Drain => {
            ("drained", format!("nothing of it runs any more (drained by {who})"))
        }
        RestraintStep::Done => ("at-rest", format!("as asked for ({kind} by {who})")),
        RestraintStep::Undone => {
            ("not-at-rest", format!("its hosts say that it is no longer so ({kind} by {who})"))
        }
        RestraintStep::Late => {
            ("late", format!("the deadline has passed, the {kind} waits on ({who})"))
        }
        RestraintStep::GivenUp => {
            (ended, format!("the deadline has passed, the {kind} is given up ({who})"))
        }
        RestraintStep::Over => (ended, format!("the time of the {kind} is over ({who})")),
    }
}

/// RFC 3339, as people and programs read it.
fn moment(at: At) -> String {
    timestamp(at).to_string()
}
