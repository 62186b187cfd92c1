//! The rules under random orders, in virtual time: what must hold after every single step.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use proptest::prelude::*;

use super::*;
use crate::sim::BusyDelete;

const POOL: i64 = 3;

#[derive(Debug, Clone)]
enum Step {
    Register(u8),
    Replace(u8),
    Switch(u8, bool),
    Delete(u8),
    Open(u8),
    Close(u8),
    Kill(u8),
    Queue,
    Renew(u8),
    Finish(u8, bool),
    Cancel(u8),
    Update(u8),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let agent = 0..6u8;
    prop_oneof![
        2 => agent.clone().prop_map(Step::Register),
        1 => agent.clone().prop_map(Step::Replace),
        3 => (agent.clone(), any::<bool>()).prop_map(|(a, on)| Step::Switch(a, on)),
        1 => agent.clone().prop_map(Step::Delete),
        4 => agent.clone().prop_map(Step::Open),
        2 => agent.clone().prop_map(Step::Close),
        1 => agent.clone().prop_map(Step::Kill),
        6 => Just(Step::Queue),
        4 => agent.clone().prop_map(Step::Renew),
        4 => (agent.clone(), any::<bool>()).prop_map(|(a, last)| Step::Finish(a, last)),
        1 => agent.clone().prop_map(Step::Cancel),
        1 => agent.prop_map(Step::Update),
        4 => (0..700u16).prop_map(Step::Wait),
    ]
}

/// A state, a clock, and what was true before the last step.
struct World {
    state: State,
    now: Timestamp,
}

impl World {
    fn new(parallel_jobs: usize, busy_delete: BusyDelete) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        let settings = Settings { parallel_jobs, busy_delete, ..Settings::default() };
        let mut state = State::new(settings, now);
        assert_eq!(state.add_pool("nightly", now), POOL);
        Self { state, now }
    }

    fn row(&self, n: u8) -> Option<&Agent> {
        self.state.world.pools[&POOL].agent_named(&format!("a{n}"))
    }

    /// Refusals are part of the game: only the state afterwards counts.
    fn take(&mut self, step: &Step) {
        let now = self.now;
        self.state.advance(now);
        let named = |n: &u8| AgentForm {
            name: Some(format!("a{n}")),
            version: Some("4.0.0".into()),
            ..AgentForm::default()
        };
        let row = |world: &Self, n: &u8| world.row(*n).map(|a| (a.id, a.session, a.assigned));
        match step {
            Step::Register(n) => drop(self.state.add_agent(POOL, &named(n), now)),
            Step::Wait(secs) => self.now += Duration::from_secs((*secs).into()),
            Step::Queue => drop(self.state.queue_job(POOL, JobForm::default(), now)),
            Step::Replace(n)
            | Step::Switch(n, _)
            | Step::Delete(n)
            | Step::Open(n)
            | Step::Close(n)
            | Step::Kill(n)
            | Step::Renew(n)
            | Step::Finish(n, _)
            | Step::Cancel(n)
            | Step::Update(n) => {
                if let Some((id, session, job)) = row(self, n) {
                    self.act_on_row(step, *n, (id, session, job));
                }
            }
        }
        self.state.advance(self.now);
    }

    fn act_on_row(
        &mut self,
        step: &Step,
        n: u8,
        (id, session, job): (i64, Option<Uuid>, Option<i64>),
    ) {
        let (state, now) = (&mut self.state, self.now);
        match step {
            Step::Replace(_) => drop(state.replace_agent(POOL, id, &AgentForm::default(), now)),
            Step::Switch(_, on) => {
                let form = AgentForm { id: Some(id), enabled: Some(*on), ..AgentForm::default() };
                state.patch_agent(POOL, id, &form, now).unwrap();
            }
            Step::Delete(_) => drop(state.delete_agent(POOL, id, now)),
            Step::Open(_) => {
                let mut form = SessionForm::default();
                form.agent.id = id;
                form.agent.version =
                    Some(if n.is_multiple_of(2) { "4.0.0" } else { "5.0.0" }.into());
                drop(state.create_session(POOL, &form, now));
            }
            Step::Close(_) => drop(session.map(|s| state.delete_session(s, now))),
            Step::Kill(_) => drop(state.kill_session(POOL, id, now)),
            Step::Renew(_) => drop(job.map(|j| state.renew(j, now))),
            Step::Finish(_, last) => drop(job.map(|j| state.finish(j, "succeeded", *last, now))),
            Step::Cancel(_) => drop(job.map(|j| state.cancel(j, now))),
            Step::Update(_) => drop(state.request_update(POOL, id, "5.0.0", now)),
            _ => {}
        }
    }

    fn check(&self) {
        let state = &self.state;
        let agents = || state.world.pools[&POOL].agents.values();
        let held: Vec<&Job> = state.world.open_jobs().filter(|j| j.is_held()).collect();
        assert!(held.len() <= state.settings.parallel_jobs, "the licence holds");
        for job in &held {
            let holder = job.reserved.as_ref().unwrap().0;
            let row = state.world.agent(POOL, holder).expect("a held job has its row");
            assert_eq!(row.assigned, Some(job.id), "job and row agree");
            assert!(job.locked_until.is_some_and(|until| until > self.now), "no lock is overdue");
        }
        assert_eq!(
            agents().filter(|a| a.assigned.is_some()).count(),
            held.len(),
            "row and job agree"
        );
        for job in state.world.jobs.values() {
            assert_eq!(job.result.is_some(), job.finish_time.is_some());
            assert_eq!(job.result.is_none(), state.world.open.contains(&job.id));
            let times = [Some(job.queue_time), job.assign_time, job.receive_time, job.finish_time];
            let known: Vec<_> = times.into_iter().flatten().collect();
            assert!(known.is_sorted(), "a job's times are in order: {job:?}");
        }
        for agent in agents().filter(|a| a.is_online()) {
            assert!(
                state.sessions.contains_key(&agent.session.unwrap()),
                "online means a live session"
            );
        }
        assert_eq!(
            state.sessions.len(),
            agents().filter(|a| a.is_online()).count(),
            "and the other way round"
        );
        let idle = agents().any(|a| state.can_take(a));
        let waiting = state.world.open_jobs().any(|j| j.assign_time.is_none());
        assert!(
            !(idle && waiting && held.len() < state.settings.parallel_jobs),
            "no job waits beside an agent for it"
        );
    }

    /// A job given in this step went to an agent that was allowed to have it.
    fn check_given(&self, before: u64) {
        for entry in self.state.journal.since(before) {
            if entry.kind == Kind::JobAssigned
                && let Some(row) =
                    entry.about.agent_id.and_then(|id| self.state.world.agent(POOL, id).ok())
            {
                assert!(row.enabled && row.pending_update.is_none(), "given to {row:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]
    #[test]
    fn the_rules_hold_in_every_order(
        steps in prop::collection::vec(step(), 1..120),
        parallel in 1..5usize,
        obey in any::<bool>(),
    ) {
        let mut world = World::new(parallel, if obey { BusyDelete::Obey } else { BusyDelete::Refuse });
        for step in &steps {
            let before = world.state.journal.last_seq();
            world.take(step);
            world.check();
            world.check_given(before);
        }
        // Whoever waits for the next due moment always gets somewhere.
        for _ in 0..steps.len() {
            let Some(due) = world.state.next_due() else { break };
            prop_assert!(due > world.now, "nothing due is left undone");
            world.now = due;
            world.state.advance(due);
            world.check();
        }
        prop_assert!(world.state.next_due().is_none(), "with nobody acting the organisation comes to rest");
    }
}

#[test]
fn equal_seeds_give_equal_histories() {
    let run = || {
        let mut world = World::new(10, BusyDelete::Refuse);
        let steps = (0..4)
            .flat_map(|n| [Step::Register(n), Step::Open(n)])
            .chain((0..6).map(|_| Step::Queue));
        steps.for_each(|step| world.take(&step));
        serde_json::to_string(world.state.journal.since(0)).unwrap()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_week_passes_in_a_moment() {
    let mut world = World::new(10, BusyDelete::Refuse);
    world.take(&Step::Register(0));
    for _ in 0..7 * 24 {
        world.take(&Step::Open(0));
        world.take(&Step::Queue);
        world.take(&Step::Renew(0));
        world.take(&Step::Finish(0, false));
        world.take(&Step::Close(0));
        world.now += Duration::from_secs(3600);
    }
    assert_eq!(world.state.summary().jobs.succeeded, 7 * 24);
    assert_eq!(world.state.summary().sessions_expired, 0);
}
