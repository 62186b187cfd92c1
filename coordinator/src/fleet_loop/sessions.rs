//! Sessions of hosts: one per host, the newest instance wins, a second live one is refused.
//!
//! ```text
//!             Hello                       no session, or the same instance
//!   (none) ───────────► checked ─────────────────────────────────► live ──closed──► (none)
//!                          │ another instance is in session          ▲
//!                          └────► contested ──old one silent/closed──┘
//!                                     └──old one speaks──► refused
//! ```
//!
//! A restarted hostd has a new instance id and its old stream breaks at once; a copy of the machine
//! has one too, but the original goes on speaking. Waiting for the next sign of life tells the two
//! apart, without trusting either.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use coordinator_plan::{Fleet, FleetEvent};
use fleet_model::{
    AgentName, AgentOrder, AgentStatus, Assignment, At, CredentialName, CredentialRef, HostName,
    HostReport,
};
use fleet_proto::{
    convert::{Hello, Row, RowChange},
    v1,
};
use tonic::Status;

use super::{
    denied::Denied,
    event::{Grant, Reply, SessionEvent},
    outbox::Outbox,
    state::{SELF, State},
    turn::Turn,
    watchers::Watched,
};
use crate::{mailbox::Mailbox, store::NewEvent};

/// All sessions.
#[derive(Default)]
pub(crate) struct Sessions {
    live: BTreeMap<HostName, Live>,
    last: u64,
}

struct Live {
    session: u64,
    instance: String,
    outbox: Mailbox<Outbox>,
    /// Secrets handed over in this session, by fingerprint.
    sent: BTreeMap<CredentialName, String>,
    contest: Option<Contest>,
}

/// Another instance wants the place.
struct Contest {
    hello: Box<Hello>,
    reply: Reply<Grant>,
    since: At,
}

impl State {
    pub(crate) fn take_session(&mut self, event: SessionEvent, turn: &mut Turn) {
        match event {
            SessionEvent::Open { hello, key, reply } => self.open(hello, &key, reply, turn),
            SessionEvent::Heard { host, session, applied } => {
                if self.alive(&host, session, turn) {
                    let before = self.fleet.host(&host).map(|entry| entry.applied);
                    self.fleet.apply(FleetEvent::Heard { host: host.clone(), applied }, turn.now);
                    if before.is_some_and(|before| before < applied) {
                        // A tombstone may have been waiting for exactly this.
                        turn.decide = true;
                        self.watchers.touch(Watched::Host(host), turn.now);
                    }
                }
            }
            SessionEvent::Reported { host, session, report } => {
                if self.alive(&host, session, turn) {
                    self.reported(host, *report, turn);
                }
            }
            SessionEvent::Note { host, session, event } => {
                if self.alive(&host, session, turn) {
                    turn.event(event);
                }
            }
            SessionEvent::Ordered { host, session, id, refused } => {
                if self.alive(&host, session, turn) {
                    self.agent_ordered(&host, id, refused, turn);
                }
            }
            SessionEvent::Refused { host, why } => {
                let event = NewEvent::new(turn.now, "host.refused", SELF).host(&host).says(why);
                self.refusals.note(event, turn);
            }
            SessionEvent::Closed { host, session, why } => self.closed(&host, session, &why, turn),
        }
    }

    fn open(&mut self, hello: Box<Hello>, key: &str, reply: Reply<Grant>, turn: &mut Turn) {
        let host = hello.host.clone();
        if let Err(denied) = self.admit(&hello, key, turn) {
            self.refuse_session(&host, &denied, reply, turn);
            return;
        }
        let Some(live) = self.sessions.live.get_mut(&host) else {
            if self.sessions.live.len() >= self.settings.max_sessions {
                let denied = Denied::Away("in session with as many hosts as it takes");
                self.refuse_session(&host, &denied, reply, turn);
                return;
            }
            return self.grant(*hello, reply, turn);
        };
        if live.instance == hello.instance_id {
            return self.grant(*hello, reply, turn);
        }
        if live.contest.is_some() {
            let denied = Denied::SecondInstance(host.clone());
            self.refuse_session(&host, &denied, reply, turn);
            return;
        }
        live.contest = Some(Contest { hello, reply, since: turn.now });
    }

    /// Begins a session; an older one of the host ends.
    fn grant(&mut self, hello: Hello, reply: Reply<Grant>, turn: &mut Turn) {
        let host = hello.host.clone();
        self.sessions.last += 1;
        let session = self.sessions.last;
        let outbox = Mailbox::<Outbox>::default();
        let live = Live {
            session,
            instance: hello.instance_id,
            outbox: outbox.clone(),
            sent: BTreeMap::new(),
            contest: None,
        };
        if let Some(older) = self.sessions.live.insert(host.clone(), live) {
            older.end(Status::aborted("a newer session of this host took over"));
            self.orders_end_with(&host);
        }
        let opened = FleetEvent::SessionOpened {
            host: host.clone(),
            facts: hello.facts,
            highest: hello.highest,
        };
        self.apply(opened, turn);
        turn.hosts.insert(host.clone());
        turn.begun.insert(host);
        turn.reply(reply, move |_| Grant { session, outbox });
    }

    fn refuse_session(
        &mut self,
        host: &HostName,
        denied: &Denied,
        reply: Reply<Grant>,
        turn: &mut Turn,
    ) {
        tracing::warn!(%host, reason = %denied, "session refused");
        let kind = match denied {
            Denied::SecondInstance(_) => "host.second-instance",
            _ => "host.refused",
        };
        let event = NewEvent::new(turn.now, kind, SELF).host(host).says(denied.to_string());
        self.refusals.note(event, turn);
        let _ = reply.send(Err(denied.clone()));
    }

    /// Only the newest session of a host counts. Its word settles a contest: the place is taken.
    fn alive(&mut self, host: &HostName, session: u64, turn: &mut Turn) -> bool {
        let Some(live) = self.sessions.live.get_mut(host) else { return false };
        if live.session != session {
            return false;
        }
        // What was on its way when the other one came proves nothing yet.
        let in_flight = self.settings.heartbeat / 4;
        let proven = |c: &mut Contest| turn.now.since(c.since) >= in_flight;
        if let Some(contest) = live.contest.take_if(proven) {
            let denied = Denied::SecondInstance(host.clone());
            self.refuse_session(host, &denied, contest.reply, turn);
        }
        true
    }

    fn closed(&mut self, host: &HostName, session: u64, why: &str, turn: &mut Turn) {
        if self.sessions.live.get(host).is_none_or(|live| live.session != session) {
            return;
        }
        let contest = self.sessions.live.remove(host).and_then(|live| live.contest);
        tracing::info!(%host, why, "session ended");
        self.orders_end_with(host);
        turn.hosts.insert(host.clone());
        self.apply(FleetEvent::SessionClosed { host: host.clone() }, turn);
        if let Some(contest) = contest {
            self.grant(*contest.hello, contest.reply, turn);
        }
    }

    /// Contests whose older side kept silent: the newer one gets the place.
    pub(crate) fn settle_contests(&mut self, turn: &mut Turn) {
        let patience = self.contest_patience();
        let settled = |live: &mut Live| {
            live.contest.take_if(|contest| turn.now.since(contest.since) >= patience)
        };
        let won: Vec<Contest> = self.sessions.live.values_mut().filter_map(settled).collect();
        for contest in won {
            tracing::info!(host = %contest.hello.host, "the older session is silent");
            self.grant(*contest.hello, contest.reply, turn);
        }
    }

    /// A live host is heard at least once in this time.
    fn contest_patience(&self) -> Duration {
        self.settings.heartbeat * 3 / 2
    }

    pub(crate) fn next_contest(&self, now: At) -> Option<Duration> {
        let patience = self.contest_patience();
        let contests = self.sessions.live.values().filter_map(|live| live.contest.as_ref());
        contests.map(|contest| (contest.since + patience).since(now)).min()
    }

    fn reported(&mut self, host: HostName, report: HostReport, turn: &mut Turn) {
        self.note_agents(&host, &report, turn);
        self.watchers.touch(Watched::Host(host.clone()), turn.now);
        let full = report.full;
        self.apply(FleetEvent::Reported { host: host.clone(), report }, turn);
        self.claim_rows_of(&host, turn);
        if full {
            self.send_known_rows(&host);
        }
    }

    /// Phases that changed, for the history, the log and the watchers.
    fn note_agents(&mut self, host: &HostName, report: &HostReport, turn: &mut Turn) {
        let Some(entry) = self.fleet.host(host) else { return };
        for agent in &report.agents {
            let old = entry.agents.get(&agent.agent);
            if old == Some(agent) {
                continue;
            }
            let touched = Watched::Agent(host.clone(), agent.agent.clone());
            self.watchers.touch(touched, turn.now);
            self.watchers.touch(Watched::Pool(agent.pool.clone()), turn.now);
            // A full report repeats what was told before; only what changed is news.
            if old.map(|old| old.phase) != Some(agent.phase) && !(report.full && old.is_none()) {
                turn.event(phase_change(host, old, agent, turn.now));
            }
        }
        let said: BTreeSet<&AgentName> = report.agents.iter().map(|said| &said.agent).collect();
        let gone_by_silence = |agent: &&AgentStatus| report.full && !said.contains(&agent.agent);
        let silent = entry.agents.values().filter(gone_by_silence);
        let gone = report.removed.iter().filter_map(|name| entry.agents.get(name));
        for agent in gone.chain(silent) {
            let touched = Watched::Agent(host.clone(), agent.agent.clone());
            self.watchers.touch(touched, turn.now);
            self.watchers.touch(Watched::Pool(agent.pool.clone()), turn.now);
            let event = NewEvent::new(turn.now, "agent.removed", format!("host {host}"));
            turn.event(event.host(host).pool(&agent.pool).agent(&agent.agent).says(&*agent.why));
        }
        // Conditions show as troubles of pools.
        for condition in entry.conditions.iter().chain(&report.conditions) {
            if let Some(pool) = &condition.pool {
                self.watchers.touch(Watched::Pool(pool.clone()), turn.now);
            }
        }
    }

    /// A host that begins is told what Azure last said about its agents; of rows that are not there
    /// with the next look.
    fn send_known_rows(&mut self, host: &HostName) {
        let Some(entry) = self.fleet.host(host) else { return };
        self.told_gone.retain(|agent, _| !entry.agents.contains_key(agent));
        let known = entry.agents.values().filter_map(|agent| {
            let row = self.fleet.pool_view(&agent.pool)?.rows.get(&agent.agent)?;
            let change = RowChange::Seen(row.clone());
            Some(Row { pool: agent.pool.clone(), agent: agent.agent.clone(), change })
        });
        self.sessions.send_rows(host, known.collect());
    }
}

impl Sessions {
    /// Puts an assignment, with the secrets it needs, into the host's outbox.
    pub(crate) fn assign(&mut self, host: &HostName, assignment: &Arc<Assignment>, fleet: &Fleet) {
        let Some(live) = self.live.get_mut(host) else { return };
        // Before its first report nothing is known of what it holds.
        let held: &[CredentialRef] = fleet
            .host(host)
            .filter(|entry| entry.reported)
            .map_or(&[], |entry| entry.credentials.as_slice());
        let needed = live.not_yet_sent(assignment, held);
        live.outbox.change(|outbox| {
            outbox.credentials.extend(needed);
            outbox.newest = Some(assignment.order);
            outbox.assignment = Some(Arc::clone(assignment));
        });
    }

    /// Puts rows that changed at Azure into the host's outbox.
    pub(crate) fn send_rows(&self, host: &HostName, rows: Vec<Row>) {
        let Some(live) = self.live.get(host) else { return };
        if rows.is_empty() {
            return;
        }
        live.outbox.change(|outbox| {
            outbox.rows.extend(rows.into_iter().map(|r| ((r.pool.clone(), r.agent.clone()), r)));
        });
    }

    /// Puts an order for one agent into the host's outbox.
    pub(crate) fn order_agent(&self, host: &HostName, id: u64, order: &AgentOrder) {
        if let Some(live) = self.live.get(host) {
            live.outbox.change(|outbox| outbox.agent_orders.push((id, order.clone())));
        }
    }

    /// The number of a host's session.
    pub(crate) fn number(&self, host: &HostName) -> Option<u64> {
        self.live.get(host).map(|live| live.session)
    }

    /// Asks for a log in that session; false: it is over.
    pub(crate) fn open_log(&self, host: &HostName, session: u64, open: v1::OpenLogs) -> bool {
        let live = self.live.get(host).filter(|live| live.session == session);
        live.map(|live| live.outbox.change(|outbox| outbox.logs.push(open))).is_some()
    }

    /// Ends the session of a host that may no longer have one.
    pub(crate) fn end(&mut self, host: &HostName, why: &str) {
        if let Some(live) = self.live.remove(host) {
            live.end(Status::permission_denied(why));
        }
    }

    /// Ends all of them; hosts come again by themselves.
    pub(crate) fn end_all(&mut self, why: &str) {
        for live in std::mem::take(&mut self.live).into_values() {
            live.end(Status::unavailable(why));
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.live.len() as u64
    }

    pub(crate) fn has(&self, host: &HostName) -> bool {
        self.live.contains_key(host)
    }
}

impl Live {
    fn end(self, status: Status) {
        self.outbox.change(|outbox| outbox.end = Some(status));
        if let Some(contest) = self.contest {
            let _ = contest.reply.send(Err(Denied::Away("busy")));
        }
    }

    fn not_yet_sent(
        &mut self,
        assignment: &Assignment,
        held: &[CredentialRef],
    ) -> BTreeMap<CredentialName, CredentialRef> {
        let mut needed = BTreeMap::new();
        for credential in assignment.pools.values().map(|pool| &pool.credential) {
            let known = self.sent.get(&credential.name) == Some(&credential.fingerprint)
                || held.contains(credential);
            if !known {
                self.sent.insert(credential.name.clone(), credential.fingerprint.clone());
                needed.insert(credential.name.clone(), credential.clone());
            }
        }
        needed
    }
}

fn phase_change(
    host: &HostName,
    old: Option<&AgentStatus>,
    agent: &AgentStatus,
    now: At,
) -> NewEvent {
    let from = old.map_or("none", |old| old.phase.as_str());
    let because = if agent.why.is_empty() { String::new() } else { format!(": {}", agent.why) };
    NewEvent::new(now, "agent.phase", format!("host {host}"))
        .pool(&agent.pool)
        .host(host)
        .agent(&agent.agent)
        .says(format!("{from} → {}{because}", agent.phase))
}
