//! The fleet at a glance.

use fleet_proto::v1::{self, HostState};

use crate::{
    fake::State,
    samples::{DAY, STR, SVC, ahead, fleet, host},
    world::{World, shown},
};

#[tokio::test]
async fn a_healthy_fleet_is_two_tables() {
    let world = World::start(fleet()).await;
    shown!(world.run(&["status"]).await);
}

#[tokio::test]
async fn what_needs_attention_is_said_in_words() {
    let mut state = fleet();
    state.read_only =
        "a host has seen a newer order than this store; run `coordinator recover`".into();
    state.put_host(host("str-acs-serv-65", "str3", HostState::Down));
    state.change_host(STR, |host| {
        host.conditions = vec![v1::Condition {
            kind: v1::ConditionKind::NoLiveRestore.into(),
            pool: String::new(),
            message: "an engine restart would end its agents".into(),
        }];
    });
    state.change_pool("nightly-svc", |pool| {
        pool.unplaced = 2;
        pool.unplaced_reasons = vec!["1 host full (20 agents)".into()];
        pool.credential.as_mut().unwrap().expires = ahead(DAY + DAY / 2);
        pool.troubles = vec![v1::PoolTrouble {
            host: SVC.into(),
            condition: Some(v1::Condition {
                kind: v1::ConditionKind::AzureTrouble.into(),
                pool: "nightly-svc".into(),
                // What an engine or server says may hold anything.
                message: "503 \u{1b}[31mService Unavailable".into(),
            }),
        }];
    });
    let world = World::start(state).await;
    shown!(world.run(&["status"]).await);
}

#[tokio::test]
async fn an_empty_fleet_says_how_to_begin() {
    let world = World::start(State::default()).await;
    shown!(world.run(&["status"]).await);
}

#[tokio::test]
async fn for_programs_there_is_one_object() {
    let world = World::start(fleet()).await;
    shown!(world.run(&["status", "-o", "json"]).await);
}
