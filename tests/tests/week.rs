//! A week without the coordinator, in virtual time, seed by seed.
//!
//! `FLEET_SIM_WEEKS=N` runs N weeks (default 2), `FLEET_SIM_WEEK=S` just that one, with its log.

use fleet_tests::sim::{Kept, Options, Verdict, run};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Per thousand.
fn share(part: u64, whole: u64) -> u64 {
    part * 1000 / whole.max(1)
}

fn was_well(seed: u64, verdict: &Verdict) {
    let Kept { looks, online, all_looks, all_online, refused, attempts, .. } = verdict.kept;
    println!(
        "week {seed}: online {}‰ outside trouble, {}‰ of the whole week; {} jobs, {attempts} runs, \
         {refused} older orders refused",
        share(online, looks),
        share(all_online, all_looks),
        verdict.finished,
    );
    let replay = format!("week {seed} (replay: FLEET_SIM_WEEK={seed})");
    assert!(verdict.violations.is_empty(), "{replay}: {:#?}", verdict.violations);
    assert!(looks > all_looks / 4, "{replay}: trouble all the time shows nothing");
    assert!(share(online, looks) >= 985, "{replay}: agents were not kept: {:?}", verdict.kept);
    assert!(share(all_online, all_looks) >= 850, "{replay}: nor on the whole: {:?}", verdict.kept);
    assert!(verdict.finished > 4_000, "{replay}: {} jobs", verdict.finished);
    assert!(refused >= 4, "{replay}: an older order was taken, or never came");
    // Nothing grows: neither what is known, nor runs beyond one a job and some for each fault.
    let (first, last) = (verdict.kept.known_first, verdict.kept.known_last);
    assert!(last < first * 3 / 2, "{replay}: known grew from {first} to {last} letters");
    let most = verdict.finished as u64 * 12 / 10 + 2_000;
    assert!(attempts < most, "{replay}: {attempts} runs for {} jobs", verdict.finished);
}

#[test]
fn a_week_alone_keeps_its_agents() {
    if let Some(seed) = number("FLEET_SIM_WEEK") {
        let verdict = run(seed, Options { log: true, ..Options::week() });
        verdict.log.iter().for_each(|line| println!("{line}"));
        return was_well(seed, &verdict);
    }
    for seed in 0..number("FLEET_SIM_WEEKS").unwrap_or(2) {
        was_well(seed, &run(seed, Options::week()));
    }
}

/// Whatever the clocks of hosts are set to, and whether hostd runs at that time or not, exactly the
/// same is done at the same times. (A machine that is off cannot measure how long it was: no power
/// cuts here.)
#[test]
fn clocks_that_are_set_change_nothing_at_all() {
    let options = Options {
        rough_ms: 24 * 3_600_000,
        calm_ms: 10 * 60_000,
        power: false,
        log: true,
        ..Options::week()
    };
    for seed in 0..number("FLEET_SIM_WEEKS").unwrap_or(2) {
        let log = |clocks| {
            let log = run(seed, Options { clocks, ..options }).log;
            let set = log.iter().filter(|line| line.contains("CLOCK")).count();
            let rest = log.into_iter().filter(|line| !line.contains("CLOCK"));
            (set, rest.collect::<Vec<_>>())
        };
        let ((set, with), (none, without)) = (log(true), log(false));
        assert!(set > 100 && none == 0, "{set} times");
        let differs = with.iter().zip(&without).position(|(one, other)| one != other);
        if let Some(at) = differs {
            panic!(
                "seed {seed}: {:#?}\n instead of {:#?}",
                &with[at..at + 3],
                &without[at..at + 3]
            );
        }
        assert_eq!(with.len(), without.len(), "seed {seed}");
    }
}
