//! The newest ledger is damaged, and the one before it is used.

use std::{fs, time::Duration};

use fleet_model::{ConditionKind, Order, Phase};

use crate::world::{HOUR, MINUTE, World, assignment, condition, phases};

impl World {
    /// The newest ledger was not written to its end, or the disk lost some of it.
    fn tear_ledger(&self) {
        let path = self.data().join("ledger/ledger.json");
        let whole = fs::read(&path).expect("there");
        fs::write(&path, &whole[..whole.len() / 2]).expect("torn");
    }

    /// Rows at Azure that nobody deleted.
    fn rows(&self) -> usize {
        self.fake.calls().registrations as usize - self.azure.deleted().len()
    }
}

#[tokio::test(start_paused = true)]
async fn torn_at_any_moment_of_scaling_it_converges_and_leaks_no_row() {
    for step in 0..40 {
        let world = World::new();
        world.fake.script(|script| {
            script.start = Duration::from_millis(300);
            script.register = Duration::from_millis(200);
            script.listen = Duration::from_millis(100);
        });
        let mut host = world.start();
        host.want(1, 2).await;
        host.until_idle(2).await;
        let (up, moment) = (step % 2 == 0, Duration::from_millis(60 * step));
        host.want(2, if up { 5 } else { 1 }).await;
        // Up is a matter of a second, down of a minute.
        tokio::time::sleep(if up { moment } else { moment * 25 }).await;
        host.kill().await;
        world.tear_ledger();
        let mut host = world.start();
        assert!(condition(&host.view.borrow(), ConditionKind::LedgerTrouble).is_some());
        host.want(2, if up { 5 } else { 1 }).await;
        let left = if up { 5 } else { 1 };
        host.until(10 * MINUTE, "as wanted", |view| {
            view.agents.len() == left && phases(view, Phase::Idle) == left
        })
        .await;
        assert_eq!((world.running().await.len(), world.rows()), (left, left), "after {moment:?}");
        host.want(3, 0).await;
        host.until(10 * MINUTE, "none", |view| view.agents.is_empty()).await;
        assert_eq!((world.running().await.len(), world.rows()), (0, 0), "after {moment:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn torn_while_jobs_run_no_job_is_touched_and_agents_cycle_on() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 3).await;
    host.until_idle(3).await;
    for round in 0..12_u64 {
        let agent = host.agents().remove(0);
        let run = host.run(&agent);
        world.fake.job_starts(&run, "job");
        tokio::time::sleep(Duration::from_millis(40 * round)).await;
        host.kill().await;
        world.tear_ledger();
        // Its job ends now or later, with or without hostd.
        if round % 3 == 0 {
            world.fake.job_ends(&run, "Succeeded");
        }
        host = world.start();
        host.until(2 * MINUTE, "all there", |view| {
            view.agents.len() == 3 && phases(view, Phase::Idle) + phases(view, Phase::Busy) == 3
        })
        .await;
        world.fake.job_ends(&run, "Succeeded");
        host.until(2 * MINUTE, "three idle", |view| phases(view, Phase::Idle) == 3).await;
    }
    let touched = ["interrupt", "end", "disable", "delete"].map(|verb| world.journal.count(verb));
    assert_eq!(touched, [0; 4]);
    assert_eq!(world.fake.calls().registrations, 3);
}

#[tokio::test(start_paused = true)]
async fn a_newer_order_and_a_disable_outlive_damage_to_the_newest_ledger() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 2).await;
    host.until_idle(2).await;
    host.want(7, 2).await;
    let stored = |view: &hostd::view::View| view.applied == Order::new(1, 7);
    host.until(MINUTE, "stored", stored).await;
    host.kill().await;
    world.tear_ledger();
    let host = world.start();
    assert_eq!(host.view.borrow().applied, Order::new(1, 7));
    host.tell(hostd::host_loop::Input::Assignment(assignment(6, 0))).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(host.view.borrow().agents.len(), 2, "an older order was taken");

    // One is disabled, and hostd ends at once. What the fleet disabled, it enables again.
    host.want(8, 1).await;
    while world.journal.count("disable") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    host.kill().await;
    world.tear_ledger();
    let mut host = world.start();
    host.want(9, 2).await;
    host.until_idle(2).await;
    assert_eq!(world.journal.count("enable"), 1);
}
