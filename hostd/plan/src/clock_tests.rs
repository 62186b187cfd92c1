use fleet_model::{
    RuntimeKind,
    numbers::{QUARANTINE_MAX, QUARANTINE_TIME},
};
use proptest::prelude::*;

use super::*;
use crate::{Renewal, Role, RowId, pause::PauseCause};

const NOW: At = At(1_800_000_000_000);
const HOUR: u64 = 3_600_000;

/// A slot all of whose moments are `at`; a field that is added is added here too, or this does not
/// compile.
fn slot(at: At, removal: Removal) -> Slot {
    Slot {
        pool: "nightly".parse().expect("a pool"),
        group: "default".parse().expect("a group"),
        number: 1,
        runtime: RuntimeKind::Docker,
        attempt: 1,
        start_unheard: false,
        registered: true,
        row: Some(RowId { pool_id: 1, agent_id: 1 }),
        role: Role::Quarantine,
        row_unsure: false,
        reads_count_from: at,
        disabled_by_us: true,
        removal: Some(removal),
        stop_begun: false,
        forced_why: None,
        unclean_since: Some(at),
        failures: 1,
        retry_at: Some(at),
        failed_why: "it failed".into(),
        updates: 0,
        failed_at: vec![at, at],
        renewal: Some(Renewal::Ill("it is ill".into())),
        quarantine: Some(Quarantine {
            since: at,
            until: at + QUARANTINE_TIME,
            why: "it failed".into(),
            by: None,
            evidence: None,
        }),
        pause: Some(Pause {
            cause: PauseCause::Disk("/var".into()),
            why: "it is full".into(),
            since: at,
            disabled: None,
        }),
    }
}

fn ledger(at: At) -> Ledger {
    let steps = [
        Removal::Settling { clear_since: at },
        Removal::Unheard { free_since: at },
        Removal::Stopping { asked: Some(at) },
    ];
    let slots = steps.into_iter().zip(1..).map(|(step, number)| {
        let agent = format!("nightly-h-{number:02}").parse().expect("an agent");
        (agent, slot(at, step))
    });
    Ledger { slots: slots.collect(), ..Ledger::default() }
}

/// All moments of a ledger.
fn moments(ledger: &Ledger) -> Vec<At> {
    let mut all = Vec::new();
    ledger.clone().each_moment(&mut |at| all.push(*at));
    all
}

/// The longest numbers in what a value writes about itself: its moments, whoever names its fields.
fn written(value: &impl std::fmt::Debug) -> Vec<u64> {
    let text = format!("{value:?}");
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok());
    numbers.filter(|number| *number > 1_000_000_000_000).collect()
}

fn moment(at: At, boot: &str, up_ms: u64) -> Moment {
    Moment { at, boot: boot.into(), up_ms }
}

#[test]
fn every_moment_of_a_ledger_is_seen() {
    let ledger = ledger(NOW);
    let (seen, written) = (moments(&ledger), written(&ledger));
    assert_eq!(
        seen.iter().map(|at| at.0).collect::<std::collections::BTreeSet<_>>(),
        written.iter().copied().collect()
    );
    assert_eq!(seen.len(), written.len(), "a moment is written and not seen");
}

#[test]
fn while_the_machine_runs_a_set_clock_is_known_to_the_millisecond() {
    let then = moment(NOW, "b1", 5_000);
    for (now, by) in [
        (moment(NOW + std::time::Duration::from_secs(7), "b1", 12_000), 0),
        (moment(At(NOW.0 + 9 * HOUR), "b1", 5_000 + HOUR), 8 * HOUR.cast_signed()),
        (moment(At(NOW.0 - 9 * HOUR), "b1", 5_000 + HOUR), -10 * HOUR.cast_signed()),
        // Another boot: it began after that, so a minute has passed at least.
        (moment(At(NOW.0 - 9 * HOUR), "b2", 60_000), -9 * HOUR.cast_signed() - 60_000),
        (moment(At(NOW.0 + 9 * HOUR), "b2", 60_000), 0),
    ] {
        assert_eq!(now.clock_set_since(&then), by, "{now:?}");
    }
    assert_eq!(
        moment(At(u64::MAX), "b1", 0).clock_set_since(&moment(At(0), "b1", 0)),
        0,
        "no sense in it"
    );
}

#[test]
fn what_waited_when_hostd_ended_waits_as_long_whatever_the_clock_says_now() {
    let hour = HOUR.cast_signed();
    for by in [-1_000 * hour, -hour, 0, hour, 1_000 * hour] {
        let mut taken = ledger(NOW);
        // A minute without hostd.
        let now = moment(At(NOW.0 + 60_000).moved(by), "b1", 65_000);
        taken.take_up(Some(&moment(NOW, "b1", 5_000)), &now);
        assert_eq!(taken, ledger(NOW.moved(by)), "set by {by} ms");
    }
}

#[test]
fn after_a_boot_with_a_clock_that_is_behind_nothing_waits_longer_than_before() {
    let mut taken = ledger(NOW);
    taken.take_up(Some(&moment(NOW, "b1", 5_000)), &moment(At(1_000), "b2", 1_000));
    let slot = taken.slots.values().next().expect("one");
    assert_eq!(slot.retry_at, Some(At(1)));
    assert_eq!(slot.quarantine.as_ref().map(|q| q.until), Some(At(0) + QUARANTINE_TIME));
}

proptest! {
    /// Whatever is in it, also a ledger of which nobody knows when it was stored.
    #[test]
    fn nothing_waits_for_a_far_future(at in prop_oneof![Just(0), Just(u64::MAX), 0..2 * NOW.0], known: bool) {
        let stored = moment(At(at), "b1", 5_000);
        let mut taken = ledger(At(at));
        taken.take_up(Some(&stored).filter(|_| known), &moment(NOW, "b2", 5_000));
        let longest = NOW + QUARANTINE_MAX;
        let late: Vec<At> = moments(&taken).into_iter().filter(|at| *at > longest).collect();
        prop_assert_eq!(late, vec![]);
        for slot in taken.slots.values() {
            prop_assert!(slot.unclean_since <= Some(NOW) && slot.failed_at.iter().all(|at| *at <= NOW));
            prop_assert!(slot.retry_at <= Some(NOW + BACKOFF_MAX));
            prop_assert!(slot.reads_count_from <= NOW + AZURE_STALE);
        }
    }
}
