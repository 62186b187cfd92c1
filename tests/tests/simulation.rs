//! A fleet of twenty hosts through bad days, seed by seed.
//!
//! `FLEET_SIM_SEEDS=N` runs N seeds (default 60), `FLEET_SIM_SEED=S` just that one, with its log.

use fleet_tests::sim::{Options, run};

fn seeds() -> u64 {
    std::env::var("FLEET_SIM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60)
}

#[test]
fn bad_days_end_with_right_counts_and_no_job_lost_by_the_fleet() {
    if let Some(seed) = std::env::var("FLEET_SIM_SEED").ok().and_then(|s| s.parse().ok()) {
        let verdict = run(seed, Options::default());
        for line in &verdict.log {
            println!("{line}");
        }
        assert!(verdict.violations.is_empty(), "seed {seed}: {:#?}", verdict.violations);
        return;
    }
    let (mut finished, mut rested) = (0, 0);
    for seed in 0..seeds() {
        let verdict = run(seed, Options::default());
        assert!(
            verdict.violations.is_empty(),
            "seed {seed} (replay: FLEET_SIM_SEED={seed}): {:#?}",
            verdict.violations
        );
        finished += verdict.finished;
        rested += verdict.rested;
    }
    assert!(finished > 0, "a simulation in which no job ever ran shows nothing");
    assert!(rested > 0, "no drain or pause was ever done");
}

#[test]
fn a_calm_fleet_meets_no_session_conflict_and_needs_few_actions() {
    let options = Options { faults: false, rough_ms: 600_000, ..Options::default() };
    let verdict = run(7, options);
    assert_eq!(verdict.violations, Vec::<String>::new());
    assert_eq!(verdict.conflicts, 0);
    assert!(verdict.finished > 100, "{} jobs", verdict.finished);
    // A loop that spins would show here: a few actions per job and per scaled agent.
    assert!(verdict.actions < 20_000, "{} actions", verdict.actions);
}

#[test]
fn the_same_seed_gives_the_same_log() {
    let options = Options { rough_ms: 300_000, calm_ms: 300_000, ..Options::default() };
    assert_eq!(run(3, options).log, run(3, options).log);
}

#[test]
fn the_simulation_sees_a_job_killed_when_the_guard_is_broken() {
    let options = Options { broken_guard: true, ..Options::default() };
    let caught =
        (0..40).any(|seed| run(seed, options).violations.iter().any(|v| v.contains("with a job")));
    assert!(caught, "rows and process lists were falsely free and nobody noticed");
}
