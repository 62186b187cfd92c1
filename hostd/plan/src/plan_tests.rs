//! A host's plans, told as short stories: what happens, and what is done about it.

use std::collections::{BTreeMap, BTreeSet};

use fleet_model::{
    AgentName, Assigned, Assignment, AzureTarget, CredentialRef, GroupAssignment, GroupName,
    HostName, Mode, Order, Phase, PoolAssignment, PoolName, RowState, Template, Wanted,
    numbers::{AZURE_STALE, HANG_WATCHDOG, OFFLINE_GRACE, SETTLE},
};

use super::*;
use crate::{
    AzureFailure, Event, Heard, Ledger, Outcome, Removal, RowId, RowRead, RunListed, RunState,
    Worker,
};

const ROW: RowId = RowId { pool_id: 1, agent_id: 1 };

/// A host, its clock, and the actions that are under way.
struct Story {
    known: Known,
    now: At,
    generation: u64,
}

fn pool() -> PoolName {
    "nightly".parse().expect("pool")
}

fn agent(number: u16) -> AgentName {
    format!("nightly-h-{number:02}").parse().expect("agent")
}

fn part(replicas: u32, placeholder: bool) -> PoolAssignment {
    let image = "img:1".parse().expect("image");
    let template = Template::docker(image, Mode::Once).into();
    let group = GroupAssignment { template, replicas, placeholder };
    PoolAssignment {
        azure: AzureTarget { url: "https://dev.example/f".into(), pool: "nightly".into() },
        prefix: "nightly".parse().expect("prefix"),
        settle: SETTLE,
        credential: credential(),
        wanted: Wanted::Groups([("default".parse().expect("group"), group)].into()),
        gone_groups: BTreeSet::new(),
        forced: None,
        paused: None,
    }
}

fn credential() -> CredentialRef {
    CredentialRef { name: "pat".parse().expect("credential"), fingerprint: "0123456789ab".into() }
}

impl Story {
    fn new() -> Self {
        let host: HostName = "h".parse().expect("host");
        let served = BTreeSet::from([RuntimeKind::Docker]);
        let mut story = Self {
            known: Known::new(host, served, Ledger::default()),
            now: At(1_000_000),
            generation: 0,
        };
        story.tell(Event::Credentials(vec![credential()]));
        story.tell(Event::Listed { kind: RuntimeKind::Docker, runs: vec![] });
        story
    }

    /// With `count` agents waiting for jobs.
    fn idle(count: u16) -> Self {
        let mut story = Self::new();
        story.assign(count.into(), false);
        story.answer(&Outcome::Done);
        story.answer(&Outcome::Done);
        for number in 1..=count {
            story.hear(number, Heard::Registered(RowId { pool_id: 1, agent_id: number.into() }));
            story.hear(number, Heard::Listening);
        }
        // Long enough for every answer of Azure to be newer than the registration.
        story.wait(AZURE_STALE);
        assert_eq!(story.act(), Vec::<Action>::new());
        story
    }

    fn tell(&mut self, event: Event) {
        self.known.apply(event, self.now);
        self.known.refresh(self.now);
    }

    fn assign(&mut self, replicas: u32, placeholder: bool) {
        self.order([(pool(), part(replicas, placeholder))].into());
    }

    fn order(&mut self, pools: BTreeMap<PoolName, PoolAssignment>) {
        self.generation += 1;
        let order = Order::new(1, self.generation);
        self.tell(Event::Assigned(Assignment { order, pools, ..Default::default() }));
    }

    fn hear(&mut self, number: u16, heard: Heard) {
        let attempt = self.known.ledger.slots[&agent(number)].attempt;
        self.tell(Event::Heard { agent: agent(number), attempt, heard });
    }

    fn end(&mut self, number: u16, code: i32) {
        let attempt = self.known.ledger.slots[&agent(number)].attempt;
        self.tell(Event::RunEnded { agent: agent(number), attempt, code: Some(code) });
    }

    /// Plans and begins; the actions are then under way.
    fn act(&mut self) -> Vec<Action> {
        let plan = plan(&self.known, self.now);
        self.would_be_the_same(&plan);
        self.known.begin(&plan, self.now);
        self.known.refresh(self.now);
        plan.actions
    }

    /// Had the wall clock been set at this moment, the same would be done, and after the same wait.
    fn would_be_the_same(&self, planned: &Plan) {
        let parts = self.known.ledger.assignment.iter().flat_map(|told| told.pools.values());
        if parts.into_iter().any(|part| part.forced.is_some()) {
            // A leave is by the coordinator's clock.
            return;
        }
        let mut begun = self.known.clone();
        begun.begin(planned, self.now);
        for by in [3 * 3_600_000, -900_000] {
            let mut moved = self.known.clone();
            moved.clock_set(by);
            let plan = plan(&moved, self.now.moved(by));
            assert_eq!((&plan.actions, plan.wake_after), (&planned.actions, planned.wake_after));
            moved.begin(&plan, self.now.moved(by));
            begun.clock_set(by);
            assert_eq!(moved.ledger, begun.ledger, "the clock was set by {by} ms");
            begun.clock_set(-by);
        }
    }

    /// Plans, and lets everything planned end with `outcome`.
    fn answer(&mut self, outcome: &Outcome) -> Vec<Action> {
        let actions = self.act();
        for action in actions.clone() {
            self.tell(Event::Done { action, outcome: outcome.clone() });
        }
        actions
    }

    fn wait(&mut self, time: std::time::Duration) {
        self.now = self.now + time;
    }

    fn phase(&self, number: u16) -> Phase {
        self.known.statuses()[&agent(number)].phase
    }

    fn why(&self) -> &str {
        &self.known.statuses()[&agent(1)].why
    }

    fn removal(&self, number: u16) -> Option<Removal> {
        self.known.ledger.slots[&agent(number)].removal
    }
}

fn row(enabled: bool, online: bool, job: Option<i64>) -> Outcome {
    let assigned = job.map(|id| Assigned::new(id, format!("job {id}")));
    Outcome::Row(RowRead::There(ROW, RowState { agent_id: 1, enabled, online, assigned }))
}

#[test]
fn a_new_pool_asks_for_its_image_once_and_starts_all_its_agents() {
    let mut story = Story::new();
    story.assign(3, false);
    let first = story.answer(&Outcome::Done);
    assert!(matches!(first.as_slice(), [Action::EnsureImage { .. }]), "{first:?}");
    let starts = story.act();
    assert_eq!(starts.len(), 3);
    for (number, start) in (1..).zip(&starts) {
        assert_eq!(*start, Action::Start { agent: agent(number), attempt: 1, registered: false });
    }
    assert_eq!(story.act(), [], "what is under way is not begun again");
}

#[test]
fn nothing_is_done_with_an_engine_that_was_not_listed() {
    let host: HostName = "h".parse().expect("host");
    let mut known = Known::new(host, [RuntimeKind::Docker].into(), Ledger::default());
    known.apply(Event::Credentials(vec![credential()]), At(0));
    let pools = [(pool(), part(3, false))].into();
    known.apply(
        Event::Assigned(Assignment { order: Order::new(1, 1), pools, ..Default::default() }),
        At(0),
    );
    assert_eq!(plan(&known, At(0)).actions, []);
}

#[test]
fn after_its_job_the_next_run_starts_at_once_with_the_slots_registration() {
    let mut story = Story::idle(1);
    story.hear(1, Heard::JobStarted("nightly build".into()));
    assert_eq!(story.phase(1), Phase::Busy);
    story.hear(1, Heard::JobFinished);
    story.end(1, 0);
    let next = story.act();
    assert_eq!(next, [Action::Start { agent: agent(1), attempt: 2, registered: true }]);
}

#[test]
fn an_older_order_is_refused_and_an_unnamed_pool_left_alone() {
    let mut story = Story::idle(2);
    let old = Assignment { order: Order::new(0, 99), ..Default::default() };
    assert!(story.known.assign(old).is_err());
    story.order(BTreeMap::new());
    assert_eq!(story.act(), []);
    assert!(story.known.ledger.orphaned.contains(&pool()));
    // It goes on cycling: the pool is unknown to the coordinator, not unwanted.
    story.hear(1, Heard::JobStarted("job".into()));
    story.hear(1, Heard::JobFinished);
    story.end(1, 0);
    assert!(matches!(story.act()[..], [Action::Start { registered: true, .. }]));
}

#[test]
fn a_killed_agent_has_its_row_looked_at_before_it_starts_anew() {
    let killed = |answers: &[Outcome]| {
        let mut story = Story::idle(1);
        story.end(1, 137);
        for answer in answers {
            story.answer(answer);
        }
        story.act()
    };
    // Azure still holds its session: what is left of the run goes, then the row, and the next run
    // registers.
    let fresh = killed(&[row_of(true, None), Outcome::Done, Outcome::Done]);
    assert_eq!(fresh, [Action::Start { agent: agent(1), attempt: 2, registered: false }]);
    // Its session is gone: the registration is good.
    let same = killed(&[row_of(false, None)]);
    assert_eq!(same, [Action::Start { agent: agent(1), attempt: 2, registered: true }]);
    // It holds a request: wait.
    assert_eq!(killed(&[row_of(true, Some(5))]), []);
}

fn row_of(online: bool, job: Option<i64>) -> Outcome {
    let assigned = job.map(|id| Assigned::new(id, format!("job {id}")));
    let own = RowId { pool_id: 1, agent_id: 1 };
    Outcome::Row(RowRead::There(own, RowState { agent_id: 1, enabled: true, online, assigned }))
}

#[test]
fn alone_and_with_a_dead_credential_it_goes_on_when_the_session_has_died_out() {
    let mut story = Story::idle(1);
    story.tell(Event::Credentials(vec![]));
    story.end(1, 137);
    assert_eq!(story.act(), []);
    story.wait(OFFLINE_GRACE);
    assert!(matches!(story.act()[..], [Action::Start { registered: true, .. }]));
}

#[test]
fn starts_that_come_to_nothing_are_capped() {
    let mut story = Story::new();
    story.assign(3, false);
    story.answer(&Outcome::Done);
    let mut starts = 0;
    for _ in 0..600 {
        let failed = Outcome::Failed("the engine refused".into());
        let done = story.answer(&failed);
        starts += done.iter().filter(|action| matches!(action, Action::Start { .. })).count();
        story.wait(std::time::Duration::from_secs(1));
    }
    // Burst 2 × 3 and 10 a minute for ten minutes; the back-off of each agent keeps it far below.
    assert!((6..=106).contains(&starts), "{starts} starts");
}

#[test]
fn an_adopted_run_without_a_slot_is_kept_as_what_its_labels_say() {
    let mut story = Story::new();
    story.assign(1, false);
    let run = RunListed {
        agent: agent(1),
        attempt: 4,
        pool: pool(),
        group: "default".parse().expect("group"),
        number: 1,
        state: RunState::Running,
    };
    story.tell(Event::Listed { kind: RuntimeKind::Docker, runs: vec![run] });
    assert_eq!(story.act(), []);
    assert_eq!(story.phase(1), Phase::Unknown);
    assert_eq!(story.known.ledger.slots[&agent(1)].attempt, 4);
}

#[test]
fn an_update_restarts_the_same_run_once() {
    let mut story = Story::idle(1);
    story.end(1, 4);
    assert_eq!(story.phase(1), Phase::Updating);
    story.wait(std::time::Duration::from_secs(6));
    let again = story.answer(&Outcome::Done);
    assert_eq!(again, [Action::Start { agent: agent(1), attempt: 1, registered: true }]);
    story.end(1, 4);
    assert_eq!(story.phase(1), Phase::Failed);
    let why = &story.known.statuses()[&agent(1)].why;
    assert!(why.contains("too old"), "{why}");
}

#[test]
fn a_registration_that_finds_the_name_taken_looks_for_its_own_row() {
    let mut story = Story::new();
    story.assign(1, false);
    story.answer(&Outcome::Done);
    story.answer(&Outcome::Done);
    story.end(1, 71);
    story.wait(AZURE_STALE);
    assert_eq!(story.act(), [Action::ReadRow { agent: agent(1), row: None }]);
}

fn listed(attempt: u32, state: RunState) -> RunListed {
    let group = "default".parse().expect("group");
    RunListed { agent: agent(1), attempt, pool: pool(), group, number: 1, state }
}

#[test]
fn a_run_that_begins_late_is_left_alone_and_becomes_the_agents_run() {
    let mut story = Story::idle(1);
    story.end(1, 0);
    story.wait(std::time::Duration::from_secs(60));
    story.answer(&row_of(false, None));
    let late = story.answer(&Outcome::Failed("no answer in time".into()));
    assert!(matches!(late[..], [Action::Start { attempt: 2, .. }]), "{late:?}");
    story.wait(std::time::Duration::from_secs(60));
    let next = story.answer(&Outcome::Done);
    assert!(matches!(next[..], [Action::Start { attempt: 3, .. }]), "{next:?}");
    story.answer(&Outcome::Done);
    // The second, given up, runs after all: it is asked to go, not ended, and the engine refuses.
    assert_eq!(story.act(), [Action::RemoveRun { agent: agent(1), attempt: 2 }]);
    let action = Action::RemoveRun { agent: agent(1), attempt: 2 };
    story.tell(Event::Done { action, outcome: Outcome::StillRuns });
    assert_eq!(story.act(), [], "it may have the agent's session, and a job");
    story.end(1, 1);
    assert_eq!(story.act(), [], "no third run while one lives");
    assert_eq!(story.known.run(&agent(1)).map(|run| run.attempt), Some(2));
    story.assign(0, false);
    assert!(matches!(story.act()[..], [Action::Disable { .. }]), "it is drained like any other");
}

#[test]
fn an_older_run_that_lives_is_adopted_before_a_newer_one_that_ended() {
    let mut story = Story::new();
    story.assign(1, false);
    let ended = listed(5, RunState::Ended(Some(1)));
    let runs = vec![ended, listed(4, RunState::Running), listed(6, RunState::Created)];
    story.tell(Event::Listed { kind: RuntimeKind::Docker, runs });
    assert_eq!(story.known.live(&agent(1)).map(|run| run.attempt), Some(4));
    assert_eq!(story.act(), []);
}

#[test]
fn a_listener_that_hangs_after_its_job_is_ended_when_no_worker_lives() {
    let mut story = Story::idle(1);
    story.hear(1, Heard::JobStarted("nightly".into()));
    story.hear(1, Heard::JobFinished);
    assert_eq!(story.act(), [], "it may end by itself");
    story.wait(HANG_WATCHDOG);
    let check = Action::CheckWorker { agent: agent(1), attempt: 1 };
    // The line was a job's forgery, or its cleaning goes on: watched for another minute.
    assert_eq!(story.answer(&Outcome::Worker(Worker::Present)), std::slice::from_ref(&check));
    assert_eq!(story.act(), []);
    story.wait(HANG_WATCHDOG);
    assert_eq!(
        story.answer(&Outcome::Worker(Worker::Unknown("no answer".into()))),
        std::slice::from_ref(&check)
    );
    story.wait(HANG_WATCHDOG);
    assert_eq!(story.answer(&Outcome::Worker(Worker::None)), [check]);
    let ended = story.answer(&Outcome::Done);
    assert_eq!(ended, [Action::EndRun { agent: agent(1), attempt: 1 }]);
    // Its row is looked at, as after every end without a goodbye, and its registration used again.
    let read = Action::ReadRow { agent: agent(1), row: Some(ROW) };
    assert_eq!(story.answer(&row_of(false, None)), [read]);
    assert!(story.known.ledger.slots[&agent(1)].failed_why.contains("hung after its job"));
    assert!(matches!(story.act()[..], [Action::Start { attempt: 2, registered: true, .. }]));
}

#[path = "plan_groups_tests.rs"]
mod groups;

#[path = "plan_forced_tests.rs"]
mod forced;

#[path = "plan_health_tests.rs"]
mod health;

#[path = "plan_aside_tests.rs"]
mod aside;

#[path = "plan_leaving_tests.rs"]
mod leaving;

#[path = "plan_announced_tests.rs"]
mod announced;
