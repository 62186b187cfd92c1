//! What was measured, in rows, and what a reader must know to judge them.

use super::{Args, Cycles, work::LENGTHS_MS};
use crate::results::{Goal, Row, Section};

/// Beyond the floor, milliseconds.
const BEYOND: f64 = 250.0;
/// From a listener's end to the next one's session, seconds.
const ONLINE: f64 = 2.0;

/// The section.
pub(super) fn section(args: &Args, containers: Cycles, units: Cycles) -> Section {
    let mut section = Section::new("Once mode: from a job's end to the next listener");
    notes(args, &containers, &units).into_iter().for_each(|note| section.note(note));
    let heard = containers.since_heard.clone();
    let alone = units.alone.clone();
    section.rows = rows("containers", containers);
    let name = "containers: the engine's word of the exit → the next listener runs, p99";
    section.rows.push(Row::new(name, "ms", heard).at(99));
    section.rows.extend(rows("units", units));
    let name = "units, hostd away: a listener's exit → the next one runs, p50";
    section.rows.push(Row::new(name, "ms", alone).at(50));
    // A kind that was left out has nothing to show.
    section.rows.retain(|row| !row.ours.is_empty());
    section
}

fn rows(kind: &str, cycles: Cycles) -> Vec<Row> {
    let exec = |percentile: u8| {
        let what = format!("{kind}: a listener's exit → the next one runs, p{percentile}");
        Row::new(what, "ms", cycles.exec.clone()).floor(cycles.floor.clone()).at(percentile)
    };
    let online = |percentile: u8| {
        let what = format!("{kind}: a listener's exit → the next one online, p{percentile}");
        Row::new(what, "s", cycles.online.clone()).at(percentile)
    };
    vec![
        exec(50).goal(Goal::BeyondFloor(BEYOND)),
        exec(99).goal(Goal::BeyondFloor(BEYOND)),
        online(50).goal(Goal::AtMost(ONLINE)),
        online(99),
    ]
}

fn notes(args: &Args, containers: &Cycles, units: &Cycles) -> Vec<String> {
    let (n, longest) = (args.agents, LENGTHS_MS.iter().max().unwrap_or(&0));
    let shortest = LENGTHS_MS.iter().min().unwrap_or(&0);
    vec![
        format!(
            "{n} agents in once mode take jobs of {shortest} to {longest} ms that are queued at the \
             simulator, {} rounds of ours and floor in turn; every job ends a listener and brings the \
             next. {} cycles in containers ({} of the floor), {} of units ({} of the floor); of fewer \
             than 100 a p99 is simply the largest.",
            args.rounds,
            containers.exec.len(),
            containers.floor.len(),
            units.exec.len(),
            units.floor.len(),
        ),
        "The clock is the listeners' own: the stub agent's program writes down the time as its last \
         act before it exits, which starts the clock, and as its first act in `main`, which stops it. \
         So ours holds everything in between: the engine noticing the exit, hostd, its ledger on the \
         disk, the hand-over, the engine, our entry with the registration. Online: the simulator's \
         journal, session created."
            .into(),
        "Floor of containers: the bare API, as many places as ours has agents; a container of the same \
         shape whose shell runs the same program ends by itself, the engine's `die` event comes, the \
         next one is created and started, the old one removed afterwards. The same two acts start and \
         stop its clock. It runs no job and no entry."
            .into(),
        "Units run on a lab server, a container with systemd as its first process. Floor of units: \
         StartTransientUnit with the properties of an agent's unit and the listener's program in place \
         of `hostd agent-run`, from the call to that program's first act; without the end of the unit \
         before, the cleaning, and the change of user, which ours holds."
            .into(),
        format!(
            "Hostd away: {} jobs for each agent after hostd was stopped. The wait of 3 s in which a \
             hostd that is only restarted comes back is part of it.",
            args.alone
        ),
        format!(
            "The goal of {BEYOND} ms beyond the floor compares like with like, p99 with p99, and holds \
             for p50 too: the engine's own p99 can lie further than that above its own median."
        ),
    ]
}
