//! Cordon, pause, drain and their ends: ordered, waited for, taken back, shown.

use std::time::Duration;

use fleet_proto::v1::{self, Phase, RestrainVerb, RestraintKind, restrain_request::Target};
use tonic::Status;

use crate::{
    fake::{Act, State},
    samples::{MINUTE, SVC, ago, fleet},
    world::{World, shown},
};

const ONE: &str = "nightly-svc-svcstr-server-2-01";
const TWO: &str = "nightly-svc-svcstr-server-2-02";
const THREE: &str = "nightly-svc-svcstr-server-2-03";

impl State {
    /// As the coordinator does it, but that nothing follows from it.
    pub(crate) fn restrain(
        &mut self,
        request: &v1::RestrainRequest,
    ) -> Result<Vec<v1::Restrained>, Status> {
        let seconds = |wire: Option<prost_types::Duration>| wire.map(|wire| wire.seconds);
        self.log.push(format!(
            "{} {:?}, reason {:?}, for {:?}, deadline {:?} {}, dry run {}",
            request.verb().as_str_name(),
            request.target,
            request.reason,
            seconds(request.lasts),
            seconds(request.deadline),
            request.at_deadline().as_str_name(),
            request.dry_run,
        ));
        let kind = match request.verb() {
            RestrainVerb::Cordon => Some(RestraintKind::Cordon),
            RestrainVerb::Pause => Some(RestraintKind::Pause),
            RestrainVerb::Drain => Some(RestraintKind::Drain),
            _ => None,
        };
        let after = kind.map(|kind| v1::Restraint {
            kind: kind.into(),
            by: "ann".into(),
            reason: request.reason.clone(),
            since: ago(Duration::ZERO),
            ..v1::Restraint::default()
        });
        match request.target.clone().unwrap() {
            Target::Name(name) | Target::Host(name) if name == SVC => {
                Ok(vec![self.put(SVC, after, request.dry_run)])
            }
            Target::Lab(lab) if lab == "svc" => Ok(vec![self.put(SVC, after, request.dry_run)]),
            Target::Name(name) | Target::Pool(name) if name == "nightly-svc" => {
                let (mut before, pool) = (None, name.clone());
                self.change_pool(&name, |pool| {
                    let spec = pool.spec.as_mut().unwrap();
                    before = spec.restraint.clone();
                    spec.restraint = after.clone();
                });
                Ok(vec![v1::Restrained { host: String::new(), pool, before, after }])
            }
            _ => Err(Status::not_found("there is no such thing")),
        }
    }

    fn put(&mut self, host: &str, after: Option<v1::Restraint>, dry_run: bool) -> v1::Restrained {
        let mut before = None;
        self.change_host(host, |host| {
            before = host.restraint.clone();
            if !dry_run {
                host.restraint = after.clone();
            }
        });
        v1::Restrained { host: host.into(), pool: String::new(), before, after }
    }
}

fn done(host: &mut v1::Host) {
    host.restraint.as_mut().unwrap().done = ago(Duration::ZERO);
}

fn late(host: &mut v1::Host) {
    let at = ago(MINUTE);
    let then = v1::AtDeadline::Wait.into();
    host.restraint.as_mut().unwrap().deadline = Some(v1::Deadline { at, then, passed: true });
}

#[tokio::test]
async fn a_drain_waits_for_the_hosts_word() {
    let world = World::start(fleet()).await;
    world.state().scripts.push_back(vec![
        Act::Leaves(ONE),
        Act::Gone(ONE),
        Act::Gone(THREE),
        Act::Gone(TWO),
        Act::Host(SVC, done),
    ]);
    let drained = world.run(&["drain", SVC, "--reason", "new disks"]).await;
    let again = world.run(&["drain", SVC, "--detach"]).await;
    let log = world.state().log.join("\n");
    shown!(format!("{drained}{again}{log}\n"));
}

#[tokio::test]
async fn a_drain_that_takes_too_long_names_the_jobs_that_are_awaited() {
    let world = World::start(fleet()).await;
    world.state().change_agent(TWO, |agent| {
        agent.run_url = "https://dev.example/fabrikam/_build/results?buildId=7".into();
    });
    world.state().scripts.push_back(vec![Act::Gone(ONE), Act::Gone(THREE), Act::Host(SVC, late)]);
    let args = ["drain", "--lab", "svc", "--deadline", "4h", "--timeout", "1s"];
    shown!(world.run(&args).await);
}

#[tokio::test]
async fn a_drain_that_is_taken_back_meanwhile_says_so() {
    let world = World::start(fleet()).await;
    let back = Act::Host(SVC, |host| host.restraint = None);
    world.state().scripts.push_back(vec![Act::Leaves(ONE), back]);
    let args = ["drain", SVC, "--deadline", "1h", "--at-deadline", "give-up"];
    shown!(world.run(&args).await);
}

#[tokio::test]
async fn a_paused_pool_is_at_rest_when_its_jobs_are_over() {
    let world = World::start(fleet()).await;
    let mut paused = crate::samples::agent("nightly-svc", SVC, 2, Phase::Paused);
    paused.status.as_mut().unwrap().job = None;
    world.state().scripts.push_back(vec![
        Act::agent(paused),
        Act::Pool("nightly-svc", |pool| {
            let spec = pool.spec.as_mut().unwrap();
            spec.restraint.as_mut().unwrap().done = ago(Duration::ZERO);
        }),
    ]);
    let done = world.run(&["pause", "nightly-svc", "--for", "2h", "--wait"]).await;
    let log = world.state().log.join("\n");
    shown!(format!("{done}{log}\n"));
}

#[tokio::test]
async fn what_is_held_back_is_shown_with_who_and_why() {
    let world = World::start(fleet()).await;
    let hold = |kind: RestraintKind, done: bool| v1::Restraint {
        kind: kind.into(),
        by: "ann".into(),
        reason: "new disks".into(),
        since: ago(5 * MINUTE + MINUTE / 2),
        done: done.then(|| ago(MINUTE)).flatten(),
        ..v1::Restraint::default()
    };
    {
        let mut state = world.state();
        state.change_host(SVC, |host| {
            host.availability = v1::Availability::Draining.into();
            host.restraint = Some(hold(RestraintKind::Drain, true));
        });
        state.change_pool("nightly", |pool| {
            pool.spec.as_mut().unwrap().restraint = Some(hold(RestraintKind::Cordon, true));
        });
    }
    let hosts = world.run(&["get", "hosts", SVC]).await;
    let status = world.run(&["status"]).await;
    let (_, attention) = status.split_once("needs attention").unwrap();
    let pool = world.run(&["get", "pools", "nightly", "-o", "yaml"]).await;
    let (_, restraint) = pool.split_once("availability").unwrap();
    let restraint: Vec<&str> = restraint
        .lines()
        .filter(|line| !line.contains("since") && !line.contains("done"))
        .collect();
    shown!(format!("{hosts}{attention}{}\n", restraint.join("\n")));
}

#[tokio::test]
async fn taking_back_and_trying_out() {
    let world = World::start(fleet()).await;
    let mut all = String::new();
    for args in [
        &["cordon", SVC, "--for", "2d", "--dry-run"][..],
        &["cordon", SVC, "--reason", "new kernel on trial"],
        &["uncordon", SVC],
        &["resume", "--lab", "svc"],
        &["cordon", "nightly-svc"],
        &["uncordon", "--pool", "nightly-svc", "--reason", "well again"],
    ] {
        all += &world.run(args).await;
    }
    let log = world.state().log.join("\n");
    shown!(format!("{all}{log}\n"));
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_the_next_step() {
    let world = World::start(fleet()).await;
    let mut all = String::new();
    for args in [
        &["drain"][..],
        &["drain", "svcstr-server-3"],
        &["drain", "--lab", "svk"],
        &["drain", SVC, "--lab", "svc"],
        &["pause", SVC, "--for", "91d"],
        &["cordon", SVC, "--deadline", "1h"],
        &["drain", SVC, "--at-deadline", "give-up"],
        &["drain", SVC, "--reason", " "],
    ] {
        all += &world.run(args).await;
    }
    shown!(all);
}
