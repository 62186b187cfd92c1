//! Tables for [`super::look`].

use fleet_proto::v1::{self, Intent, Phase, watch_response::Change};

use super::*;

/// A pool of `wanted` with the given agents; counts follow from them, as the coordinator's do.
fn live(wanted: u32, agents: &[(Intent, Phase)]) -> Live {
    let mut live = Live::default();
    let count = |test: &dyn Fn(&(Intent, Phase)) -> bool| {
        u32::try_from(agents.iter().filter(|a| test(a)).count()).expect("few")
    };
    let online = |p: Phase| matches!(p, Phase::Idle | Phase::Busy);
    let pool = v1::Pool {
        spec: Some(v1::PoolSpec { name: "p".into(), replicas: wanted, ..Default::default() }),
        counts: Some(v1::PoolCounts {
            desired: wanted,
            ready: count(&|a| a.0 == Intent::Keep && online(a.1)),
            leaving: count(&|a| a.0 != Intent::Keep),
            ..Default::default()
        }),
        ..Default::default()
    };
    tell(&mut live, Change::Pool(pool));
    for (at, (intent, phase)) in agents.iter().enumerate() {
        tell(&mut live, Change::Agent(agent(at, *intent, *phase)));
    }
    tell(&mut live, Change::Synced(v1::Synced {}));
    live
}

fn agent(at: usize, intent: Intent, phase: Phase) -> v1::Agent {
    let status = v1::AgentStatus {
        agent: format!("p-h-{at:02}"),
        pool: "p".into(),
        phase: phase.into(),
        intent: intent.into(),
        why: "pull access denied".into(),
        job: (phase == Phase::Busy).then(v1::Job::default),
        ..Default::default()
    };
    v1::Agent { status: Some(status), host: "h".into(), ..Default::default() }
}

fn tell(live: &mut Live, change: Change) {
    live.take(v1::WatchResponse { change: Some(change) });
}

fn change_pool(live: &mut Live, change: impl FnOnce(&mut v1::Pool)) {
    change(live.pools.get_mut("p").expect("the pool"));
}

fn seen(goal: Goal, live: &Live) -> Standing {
    look(&goal, "p", live, Timestamp::UNIX_EPOCH)
}

const IDLE: (Intent, Phase) = (Intent::Keep, Phase::Idle);
const BUSY: (Intent, Phase) = (Intent::Keep, Phase::Busy);

#[test]
fn reached_means_all_online_and_nobody_else() {
    for (wanted, agents, reached, remaining) in [
        (0, vec![], true, 0),
        (2, vec![IDLE, BUSY], true, 0),
        (3, vec![IDLE, BUSY], false, 1),
        (1, vec![IDLE, IDLE], false, 1),
        (2, vec![IDLE, (Intent::Keep, Phase::Starting)], false, 1),
        (1, vec![IDLE, (Intent::Remove, Phase::Busy)], false, 1),
        (1, vec![(Intent::Drain, Phase::Idle)], false, 2),
    ] {
        let standing = seen(Goal::Scaled(wanted), &live(wanted, &agents));
        let expected = if reached { State::Reached } else { State::Waiting };
        assert_eq!((standing.state, standing.remaining), (expected, remaining), "{agents:?}");
    }
}

#[test]
fn counts_alone_are_not_enough() {
    let mut live = live(2, &[IDLE, IDLE]);
    live.agents.remove("p-h-01");
    let standing = seen(Goal::Scaled(2), &live);
    assert_eq!((standing.state, standing.remaining), (State::Waiting, 1));
}

#[test]
fn a_placeholder_is_in_no_count_until_the_pool_goes() {
    let mut live = live(0, &[]);
    let mut placeholder = agent(0, Intent::Keep, Phase::Stopped);
    placeholder.status.as_mut().expect("status").placeholder = true;
    tell(&mut live, Change::Agent(placeholder));
    assert_eq!(seen(Goal::Scaled(0), &live).state, State::Reached);
    live.pools.clear();
    assert_eq!(seen(Goal::Gone, &live).line, "1 agent left");
    live.agents.clear();
    assert_eq!(seen(Goal::Gone, &live).state, State::Reached);
}

#[test]
fn another_order_is_told_apart_from_waiting() {
    let mut live = live(5, &[]);
    let State::Different(why) = seen(Goal::Scaled(3), &live).state else { panic!("not different") };
    assert_eq!(why, "pool p is now meant to have 5");
    change_pool(&mut live, |pool| pool.spec.as_mut().expect("spec").deleted = true);
    let State::Different(why) = seen(Goal::Scaled(5), &live).state else { panic!("not different") };
    assert_eq!(why, "pool p is being deleted");
}

#[test]
fn the_line_says_who_is_where() {
    let agents = [
        IDLE,
        (Intent::Keep, Phase::Starting),
        (Intent::Keep, Phase::Registering),
        (Intent::Keep, Phase::Starting),
        (Intent::Remove, Phase::Busy),
        (Intent::Remove, Phase::Draining),
    ];
    let mut live = live(6, &agents);
    change_pool(&mut live, |pool| pool.unplaced = 2);
    assert_eq!(
        seen(Goal::Scaled(6), &live).line,
        "1 of 6 ready, 1 Registering, 2 Starting, 2 without a host, 2 leaving (1 at their job's end)"
    );
}

#[test]
fn what_is_in_the_way_is_told_once_per_cause() {
    let failed = (Intent::Keep, Phase::Failed);
    let mut live = live(4, &[failed, failed, failed, IDLE]);
    change_pool(&mut live, |pool| {
        pool.unplaced = 1;
        pool.unplaced_reasons = vec!["1 host full".into()];
        pool.troubles = vec![v1::PoolTrouble {
            host: "h".into(),
            condition: Some(v1::Condition {
                kind: v1::ConditionKind::ImageMissing.into(),
                message: "no such image x:1".into(),
                ..Default::default()
            }),
        }];
        pool.placement =
            vec![v1::PlacedCount { host: "far".into(), replicas: 1, ..Default::default() }];
    });
    let host =
        v1::Host { name: "far".into(), state: v1::HostState::Down.into(), ..Default::default() };
    tell(&mut live, Change::Host(host));
    assert_eq!(
        seen(Goal::Scaled(4), &live).reasons,
        [
            "h: ImageMissing: no such image x:1",
            "1 agent without a host: 1 host full",
            "far is Down; what it was told last stays",
            "h: 3 agents Failed: pull access denied",
        ]
    );
}

#[test]
fn long_lists_are_cut() {
    let starting = [(Intent::Keep, Phase::Starting); 8];
    let missing = seen(Goal::Scaled(8), &live(8, &starting)).missing;
    assert_eq!((missing.len(), missing[5].as_str()), (6, "and 3 more"));
}

/// Every phase under every intent: an agent is ready only when it stays and is Idle or Busy.
#[test]
fn no_other_state_counts_as_reached() {
    for phase in (1..=13).filter_map(|n| Phase::try_from(n).ok()) {
        for intent in [Intent::Keep, Intent::Drain, Intent::Remove] {
            let standing = seen(Goal::Scaled(1), &live(1, &[(intent, phase)]));
            let ready = intent == Intent::Keep && matches!(phase, Phase::Idle | Phase::Busy);
            assert_eq!(standing.state == State::Reached, ready, "{phase:?} {intent:?}");
            assert_eq!(standing.remaining == 0, ready, "{phase:?} {intent:?}");
        }
    }
}
