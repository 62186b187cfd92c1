//! Disks that fill and empty, and what becomes of the agents on them.

use std::{collections::BTreeSet, time::Duration};

use fleet_model::{
    AgentName, AgentOrder, AgentVerb, Assignment, AzureTarget, ConditionKind, CredentialRef, Disk,
    GroupAssignment, HostName, Mode, Order, Phase, PoolAssignment, PoolName, Room, RowState,
    RuntimeKind, Template, Wanted,
    numbers::{DISK_CLEAN_EVERY, DISK_STALE, SETTLE},
};
use proptest::prelude::*;

use super::*;
use crate::{
    AzureFailure, DiskMarks, Event, Heard, Known, Ledger, Outcome, Plan, RowRead, RunListed,
    Worker, plan,
};

const VAR: &str = "/var";

fn row(number: u16) -> RowId {
    RowId { pool_id: 1, agent_id: number.into() }
}

fn pool() -> PoolName {
    "nightly".parse().expect("pool")
}

fn agent(number: u16) -> AgentName {
    format!("nightly-h-{number:02}").parse().expect("agent")
}

fn credential() -> CredentialRef {
    CredentialRef { name: "pat".parse().expect("credential"), fingerprint: "0123456789ab".into() }
}

fn assignment(generation: u64, replicas: u32) -> Assignment {
    let image = "img:1".parse().expect("image");
    let template = Template::docker(image, Mode::Once).into();
    let group = GroupAssignment { template, replicas, placeholder: false };
    let part = PoolAssignment {
        azure: AzureTarget { url: "https://dev.example/f".into(), pool: "nightly".into() },
        prefix: "nightly".parse().expect("prefix"),
        settle: SETTLE,
        credential: credential(),
        wanted: Wanted::Groups([("default".parse().expect("group"), group)].into()),
        gone_groups: BTreeSet::new(),
        forced: None,
        paused: None,
    };
    let order = Order::new(1, generation);
    Assignment { order, pools: [(pool(), part)].into(), ..Default::default() }
}

/// A disk of a thousand GiB with so many thousandths free.
fn disk(permille: u64) -> Disk {
    Disk {
        place: VAR.into(),
        bytes: Room { total: 1000 << 30, free: permille << 30 },
        inodes: Room { total: 1000, free: 900 },
        runtimes: [RuntimeKind::Docker].into(),
    }
}

/// A host, its clock, and nothing that is not told.
struct Host {
    known: Known,
    now: At,
}

impl Host {
    fn with(ledger: Ledger, now: At) -> Self {
        let name: HostName = "h".parse().expect("host");
        let mut host = Self { known: Known::new(name, [RuntimeKind::Docker].into(), ledger), now };
        host.tell(Event::Credentials(vec![credential()]));
        host
    }

    /// With `count` agents that wait for jobs, and enough room.
    fn idle(count: u16) -> Self {
        let mut host = Self::with(Ledger::default(), At(1_000_000));
        host.tell(Event::Listed { kind: RuntimeKind::Docker, runs: vec![] });
        host.tell(Event::Assigned(assignment(1, count.into())));
        host.all_done();
        for number in 1..=count {
            host.hear(number, Heard::Registered(row(number)));
            host.hear(number, Heard::Listening);
        }
        host.wait(Duration::from_secs(60));
        host.measure(900);
        assert_eq!(host.all_done(), [Action::Clean { place: VAR.into(), urgent: false }]);
        host
    }

    fn tell(&mut self, event: Event) {
        self.known.apply(event, self.now);
        self.known.refresh(self.now);
    }

    fn measure(&mut self, permille: u64) {
        self.tell(Event::Disks(vec![disk(permille)]));
    }

    fn hear(&mut self, number: u16, heard: Heard) {
        let attempt = self.slot(number).attempt;
        self.tell(Event::Heard { agent: agent(number), attempt, heard });
    }

    fn end(&mut self, number: u16, code: i32) {
        let attempt = self.slot(number).attempt;
        self.tell(Event::RunEnded { agent: agent(number), attempt, code: Some(code) });
    }

    fn plan(&mut self) -> Plan {
        let plan = plan(&self.known, self.now);
        self.known.begin(&plan, self.now);
        self.known.refresh(self.now);
        plan
    }

    /// Lets everything that is planned, and what follows from it, be done.
    fn all_done(&mut self) -> Vec<Action> {
        let mut all = Vec::new();
        loop {
            let actions = self.plan().actions;
            if actions.is_empty() {
                return all;
            }
            for action in actions {
                all.push(action.clone());
                self.tell(Event::Done { action, outcome: Outcome::Done });
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn slot(&self, number: u16) -> &Slot {
        &self.known.ledger.slots[&agent(number)]
    }

    fn phase(&self, number: u16) -> (Phase, &str) {
        let status = &self.known.statuses()[&agent(number)];
        (status.phase, &status.why)
    }

    fn conditions(&self) -> Vec<(ConditionKind, String)> {
        let all = self.known.conditions(self.now).into_iter();
        all.map(|condition| (condition.kind, condition.message)).collect()
    }
}

fn disable(number: u16) -> Action {
    Action::Disable { agent: agent(number), row: row(number) }
}

fn enable(number: u16) -> Action {
    Action::Enable { agent: agent(number), row: row(number) }
}

fn without_cleaning(actions: Vec<Action>) -> Vec<Action> {
    actions.into_iter().filter(|action| !matches!(action, Action::Clean { .. })).collect()
}

#[test]
fn a_full_disk_disables_its_agents_and_stops_nothing() {
    let mut host = Host::idle(2);
    host.hear(2, Heard::JobStarted("build".into()));
    host.measure(31);
    let actions = host.all_done();
    let clean = Action::Clean { place: VAR.into(), urgent: true };
    assert_eq!(actions, [clean, disable(1), disable(2)]);
    assert!(host.slot(1).disabled_by_us);
    assert_eq!(host.phase(1), (Phase::Paused, "paused: 3.1 % of /var is free (31.0 GiB)"));
    assert_eq!(host.phase(2).0, Phase::Busy);
    assert_eq!(host.conditions()[0].0, ConditionKind::DiskFull);
    // The job ends: what is left of it goes, and nothing begins.
    host.hear(2, Heard::JobFinished);
    host.end(2, 0);
    assert_eq!(host.all_done(), [Action::RemoveRun { agent: agent(2), attempt: 1 }]);
    assert_eq!(host.phase(2).0, Phase::Paused);
    assert!(host.phase(2).1.contains("its next run waits"), "{}", host.phase(2).1);
    // Between the marks nothing changes; above the upper one all goes on.
    host.measure(95);
    assert_eq!(host.all_done(), []);
    host.measure(101);
    let actions = host.all_done();
    let start = Action::Start { agent: agent(2), attempt: 2, registered: true };
    assert_eq!(actions[..3], [enable(1), enable(2), start]);
    assert!(!host.slot(1).disabled_by_us && host.slot(1).pause.is_none());
    assert_eq!(host.phase(1).0, Phase::Idle);
}

#[test]
fn what_is_not_known_pauses_nobody_and_holds_nobody() {
    let mut host = Host::idle(1);
    host.measure(31);
    host.all_done();
    // It cannot be measured any more.
    host.tell(Event::Disks(vec![]));
    assert_eq!(host.all_done(), [enable(1)]);
    host.tell(Event::Disks(vec![Disk { bytes: Room::default(), ..disk(0) }]));
    assert_eq!(without_cleaning(host.all_done()), []);
    // Nobody measures any more: hostd wakes by itself.
    host.measure(31);
    assert_eq!(without_cleaning(host.all_done()), [disable(1)]);
    let wake = host.plan().wake_after.expect("it wakes");
    assert!(wake <= DISK_STALE, "{wake:?}");
    host.wait(DISK_STALE);
    assert_eq!(without_cleaning(host.all_done()), [enable(1)]);
    // Another disk's fullness is another's.
    host.tell(Event::Disks(vec![Disk { runtimes: [RuntimeKind::Systemd].into(), ..disk(1) }]));
    assert_eq!(without_cleaning(host.all_done()), []);
}

#[test]
fn a_pause_outlives_hostd_and_its_mark_does_too() {
    let mut host = Host::idle(2);
    host.measure(31);
    host.all_done();
    host.end(1, 0);
    host.all_done();
    let mut after = Host::with(host.known.ledger.clone(), host.now);
    let listed = RunListed {
        agent: agent(2),
        attempt: 1,
        pool: pool(),
        group: "default".parse().expect("group"),
        number: 2,
        state: RunState::Running,
    };
    after.tell(Event::Listed { kind: RuntimeKind::Docker, runs: vec![listed] });
    assert_eq!(after.all_done(), [], "not measured yet: as it was");
    after.measure(70);
    assert_eq!(without_cleaning(after.all_done()), [], "above the mark and below twice of it");
    after.measure(200);
    let actions = after.all_done();
    assert!(actions.contains(&enable(1)) && actions.contains(&enable(2)), "{actions:?}");
}

#[test]
fn while_azure_does_not_answer_starts_are_held_back_all_the_same() {
    let mut host = Host::idle(2);
    host.hear(2, Heard::JobStarted("build".into()));
    host.measure(31);
    let failed =
        || Outcome::Azure(AzureFailure::Unavailable { why: "no route".into(), retry_after: None });
    for action in host.plan().actions {
        let outcome = if action.asks_azure() { failed() } else { Outcome::Done };
        host.tell(Event::Done { action, outcome });
    }
    host.hear(2, Heard::JobFinished);
    host.end(2, 0);
    let next = host.plan();
    assert_eq!(next.actions, [Action::RemoveRun { agent: agent(2), attempt: 1 }]);
    assert!(next.wake_after.is_some_and(|wake| wake < Duration::from_secs(60)));
    let (phase, why) = host.phase(1);
    assert!(phase == Phase::Idle && why.contains("Azure was not told: no route"), "{why}");
    host.wait(Duration::from_secs(60));
    assert_eq!(host.plan().actions, [disable(1)], "one asks for all");
}

#[test]
fn what_else_is_wanted_of_a_paused_agent_goes_on() {
    let mut host = Host::idle(3);
    host.measure(31);
    host.all_done();
    let order =
        |number, verb| AgentOrder { agent: agent(number), verb, by: "a".into(), reason: None };
    host.known.order_agent(&order(2, AgentVerb::Restart), host.now).expect("fits");
    let time = Duration::from_secs(3600);
    host.known.order_agent(&order(3, AgentVerb::Quarantine(time)), host.now).expect("fits");
    host.tell(Event::Assigned(assignment(2, 2)));
    let mut gone = BTreeSet::new();
    for _ in 0..100 {
        let plan = host.plan();
        for action in plan.actions {
            let outcome = match &action {
                Action::ReadRow { row: Some(id), .. } => {
                    let number = u16::try_from(id.agent_id).expect("small");
                    let enabled = !host.slot(number).disabled_by_us;
                    let state =
                        RowState { agent_id: id.agent_id, enabled, online: false, assigned: None };
                    Outcome::Row(RowRead::There(*id, state))
                }
                Action::CheckWorker { .. } => Outcome::Worker(Worker::None),
                Action::KeepEvidence { .. } => Outcome::Evidence("/e".into()),
                Action::Start { .. } => panic!("{action} on a full disk"),
                _ => Outcome::Done,
            };
            let asked = matches!(action, Action::Interrupt { .. });
            let of = match action.subject() {
                crate::Subject::Agent(agent) => Some(agent),
                _ => None,
            };
            host.tell(Event::Done { action, outcome });
            if let Some(of) = of.filter(|_| asked) {
                let attempt = host.known.ledger.slots[&of].attempt;
                host.tell(Event::RunEnded { agent: of.clone(), attempt, code: Some(0) });
                gone.insert(of);
            }
        }
        host.wait(Duration::from_secs(5));
        host.measure(31);
    }
    // Agent 2 is the restarted one, 3 is aside; which of the others went is the plan's choice.
    assert!(gone.contains(&agent(2)) && gone.contains(&agent(3)), "{gone:?}");
    assert_eq!(host.phase(2).0, Phase::Paused, "{}", host.phase(2).1);
    assert_eq!(host.phase(3).0, Phase::Quarantined);
    assert!(host.slot(3).pause.is_none());
}

#[test]
fn what_somebody_else_disabled_stays_his() {
    let mut host = Host::idle(1);
    let state = RowState { agent_id: 1, enabled: false, online: true, assigned: None };
    host.tell(Event::Rows([(agent(1), Some(state))].into()));
    host.measure(31);
    assert_eq!(without_cleaning(host.all_done()), []);
    host.measure(500);
    assert_eq!(without_cleaning(host.all_done()), []);
    assert_eq!(host.phase(1).0, Phase::DisabledElsewhere);
}

#[test]
fn cleaning_comes_at_once_when_it_gets_worse_and_else_now_and_then() {
    let mut host = Host::idle(1);
    let clean = |urgent| Action::Clean { place: VAR.into(), urgent };
    host.measure(160);
    assert_eq!(host.all_done(), []);
    host.measure(140);
    assert_eq!(host.all_done(), [clean(true)]);
    assert_eq!(host.conditions()[0].0, ConditionKind::DiskLow);
    for permille in [139, 160, 140, 80] {
        host.measure(permille);
        assert_eq!(host.all_done(), [], "{permille}");
    }
    host.measure(69);
    assert_eq!(host.all_done(), [clean(true)], "half of what was free");
    host.measure(45);
    assert_eq!(host.all_done(), [clean(true), disable(1)], "now it is full");
    host.measure(44);
    assert_eq!(host.all_done(), []);
    host.measure(900);
    host.all_done();
    assert!(host.conditions().is_empty(), "{:?}", host.conditions());
    host.wait(DISK_CLEAN_EVERY);
    host.measure(900);
    assert_eq!(host.all_done(), [clean(false)]);
}

#[test]
fn small_and_large_disks_inodes_and_disks_that_do_not_count_them() {
    let marks = DiskMarks::default();
    let gib = |gib: u64| gib << 30;
    let full = |total, free, inodes: Room| {
        let mut host = Host::with(Ledger::default(), At(0));
        assert_eq!(host.known.disk_marks, marks);
        let bytes = Room { total, free };
        host.tell(Event::Disks(vec![Disk { bytes, inodes, ..disk(0) }]));
        matches!(host.known.space(RuntimeKind::Docker, host.now), Space::Full { .. })
    };
    let none = Room::default();
    for (total, free, is_full) in [
        (gib(1000), gib(49), true),
        (gib(1000), gib(51), false),
        (gib(30), gib(2) - 1, true),
        (gib(30), gib(2), false),
        (gib(4), gib(4) / 10 - 1, true),
        (gib(4), gib(1), false),
    ] {
        assert_eq!(full(total, free, none), is_full, "{total} {free}");
    }
    let inodes = |free| Room { total: 1000, free };
    assert!(full(gib(1000), gib(900), inodes(49)));
    assert!(!full(gib(1000), gib(900), inodes(50)));
}

/// What may happen to a host with a disk.
#[derive(Debug, Clone)]
enum Turn {
    Measure(u64),
    Unknown,
    Wait(u64),
    Want(u32),
    Job(u16),
    End(u16, i32),
    AzureAnswers(bool),
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => (0..300_u64).prop_map(Turn::Measure),
        1 => Just(Turn::Unknown),
        3 => (1..400_u64).prop_map(Turn::Wait),
        1 => (0..4_u32).prop_map(Turn::Want),
        2 => (1..4_u16).prop_map(Turn::Job),
        2 => (1..4_u16, prop_oneof![Just(0), Just(1)]).prop_map(|(n, code)| Turn::End(n, code)),
        1 => any::<bool>().prop_map(Turn::AzureAnswers),
    ]
}

proptest! {
    /// Whatever happens: only a measured want of room pauses, nothing begins in a pause, nothing of a
    /// kept agent is ended, and with room again everybody goes on.
    #[test]
    fn a_disk_pauses_only_by_what_was_measured(turns in prop::collection::vec(turn(), 1..60)) {
        let mut host = Host::idle(3);
        let (mut answers, mut wanted, mut short) = (true, 3, false);
        let (mut generation, mut measured) = (1, host.now);
        for turn in turns {
            match turn {
                Turn::Measure(permille) => {
                    short = permille < 50 || (short && permille < 100);
                    measured = host.now;
                    host.measure(permille);
                }
                Turn::Unknown => {
                    short = false;
                    host.tell(Event::Disks(vec![]));
                }
                Turn::Wait(secs) => host.wait(Duration::from_secs(secs)),
                Turn::Want(count) => {
                    (generation, wanted) = (generation + 1, count);
                    host.tell(Event::Assigned(assignment(generation, count)));
                }
                Turn::Job(number) if host.known.live(&agent(number)).is_some() => {
                    host.hear(number, Heard::JobStarted("build".into()));
                }
                Turn::End(number, code) if host.known.live(&agent(number)).is_some() => {
                    host.end(number, code);
                }
                Turn::Job(_) | Turn::End(..) => {}
                Turn::AzureAnswers(yes) => answers = yes,
            }
            let holds = short && host.now.since(measured) < DISK_STALE;
            for action in host.plan().actions {
                let slot = match action.subject() {
                    crate::Subject::Agent(agent) => host.known.ledger.slots.get(&agent).cloned(),
                    _ => None,
                };
                if let Some(slot) = slot.filter(|slot| slot.role == Role::Run) {
                    let begins = matches!(action, Action::Start { .. });
                    prop_assert!(!(begins && slot.pause.is_some()), "{action}");
                    let ends = matches!(action, Action::Interrupt { .. } | Action::EndRun { .. });
                    prop_assert!(!ends, "{action}");
                }
                let outcome = kind_answer(&host, &action, answers);
                host.tell(Event::Done { action, outcome });
            }
            for slot in host.known.ledger.slots.values().filter(|slot| slot.may_pause()) {
                prop_assert_eq!(slot.pause.is_some(), holds);
            }
        }
        // Room, an answering Azure, and time.
        for _ in 0..400 {
            host.measure(900);
            host.tell(Event::Assigned(assignment(generation + 1, wanted)));
            for action in host.plan().actions {
                let outcome = kind_answer(&host, &action, true);
                host.tell(Event::Done { action, outcome });
            }
            host.wait(Duration::from_secs(10));
        }
        for (agent, slot) in host.known.ledger.slots.iter().filter(|(_, s)| s.role == Role::Run) {
            prop_assert!(slot.pause.is_none() && !slot.disabled_by_us, "{agent}");
        }
    }
}

fn kind_answer(host: &Host, action: &Action, answers: bool) -> Outcome {
    if action.asks_azure() && !answers {
        let why = "no route".into();
        return Outcome::Azure(AzureFailure::Unavailable { why, retry_after: None });
    }
    match action {
        Action::ReadRow { row: Some(id), agent } => {
            let enabled = !host.known.ledger.slots[agent].disabled_by_us;
            let state = RowState { agent_id: id.agent_id, enabled, online: false, assigned: None };
            Outcome::Row(RowRead::There(*id, state))
        }
        Action::ReadRow { row: None, .. } => Outcome::Row(RowRead::Gone),
        Action::CheckWorker { .. } => Outcome::Worker(Worker::Present),
        Action::KeepEvidence { .. } => Outcome::Evidence("/e".into()),
        _ => Outcome::Done,
    }
}

#[path = "plan_ordered_tests.rs"]
mod ordered;
