//! The table: what was measured, against what, and whether the goal was met. Pure.

use std::fmt::Write as _;

use crate::{
    machine::Machine,
    results::{Goal, Results, Row, Section},
    stats::{Spread, percentile, ratios, spread},
};

/// Sections in the order in which they are read.
const ORDER: [&str; 4] = ["engine", "once", "fanout", "memory"];

/// The page.
pub(crate) fn page(results: &Results) -> String {
    let mut page = String::from(
        "# Benchmarks\n\nWritten by `make bench` (`fleet-bench report`); not edited by hand. Every \
         comparison is a ratio inside one run: the candidates take turns, round by round, on the \
         same machine. A figure is the median of its rounds with (smallest – largest); a ratio is \
         the median of the ratios of the rounds. In rows that say p50 or p99 it is that percentile of \
         all samples, and a ratio is one of such percentiles.\n\n",
    );
    machine(&mut page, &results.machine);
    let known = ORDER.iter().filter_map(|name| results.sections.get(*name));
    let others = results.sections.iter().filter(|(name, _)| !ORDER.contains(&name.as_str()));
    for section in known.chain(others.map(|(_, section)| section)) {
        self::section(&mut page, section);
    }
    let (met, all) = tally(results);
    let _ = writeln!(page, "## Goals\n\n{met} of {all} goals met on this machine in this run.");
    page
}

/// Goals met, and all goals.
pub(crate) fn tally(results: &Results) -> (usize, usize) {
    let rows = results.sections.values().flat_map(|section| &section.rows);
    let judged: Vec<bool> =
        rows.flat_map(|row| row.goals.iter().map(|goal| is_met(row, *goal))).collect();
    (judged.iter().filter(|met| **met).count(), judged.len())
}

fn machine(page: &mut String, machine: &Machine) {
    let _ = writeln!(page, "## Machine\n");
    let memory = format!("{:.1} GiB", machine.memory_mib as f64 / 1024.0);
    for (what, value) in [
        ("cores", machine.cores.to_string()),
        ("processor", machine.processor.clone()),
        ("memory", memory),
        ("system", machine.system.clone()),
        ("kernel", machine.kernel.clone()),
        ("engine", machine.engine.clone()),
        ("programs", format!("{} profile", machine.profile)),
        ("date", machine.date.clone()),
        ("load average before", machine.load_before.clone()),
    ] {
        let _ = writeln!(page, "* {what}: {value}");
    }
    if machine.profile != "release" {
        let _ = writeln!(
            page,
            "\n**These programs were not built for release: the figures try the harness and say \
             little about the product.**"
        );
    }
    page.push('\n');
}

fn section(page: &mut String, section: &Section) {
    let _ = writeln!(page, "## {}\n", section.title);
    for note in &section.notes {
        let _ = writeln!(page, "* {note}");
    }
    page.push_str("\n| figure | ours | floor | Swarm | ÷ floor | ÷ Swarm | goal | met |\n");
    page.push_str("|---|---|---|---|---|---|---|---|\n");
    for row in &section.rows {
        let samples = |s: &[f64]| {
            figure(row, s).map_or("–".into(), |s| format!("{} {}", range(s), row.unit))
        };
        let ratio = |theirs: &[f64]| ratio(row, theirs).map_or("–".into(), range);
        let goals: Vec<_> = row.goals.iter().map(|goal| words(row, *goal)).collect();
        let met: Vec<_> = row.goals.iter().map(|goal| verdict(is_met(row, *goal))).collect();
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            row.what,
            samples(&row.ours),
            samples(&row.floor),
            samples(&row.swarm),
            ratio(&row.floor),
            ratio(&row.swarm),
            or_dash(goals.join(", ")),
            or_dash(met.join(", ")),
        );
    }
    page.push('\n');
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "–".into() } else { text }
}

const fn verdict(met: bool) -> &'static str {
    if met { "yes" } else { "**missed**" }
}

/// What a row says of some of its samples.
fn figure(row: &Row, samples: &[f64]) -> Option<Spread> {
    row.percentile.map_or_else(|| spread(samples), |percent| percentile(samples, percent))
}

/// Cycles are no rounds: the tenth of ours has nothing to do with the tenth of the floor, so only the
/// percentiles are compared.
fn ratio(row: &Row, theirs: &[f64]) -> Option<Spread> {
    if row.percentile.is_none() {
        return ratios(&row.ours, theirs);
    }
    let ratio = figure(row, &row.ours)?.point / figure(row, theirs)?.point;
    spread(&[ratio])
}

fn words(row: &Row, goal: Goal) -> String {
    match goal {
        Goal::TimesFloor(times) => format!("≤ {times} × floor"),
        Goal::TimesSwarm(times) => format!("≤ {times} × Swarm"),
        Goal::AtMost(value) => format!("≤ {value} {}", row.unit),
        Goal::BeyondFloor(value) => format!("≤ floor + {value} {}", row.unit),
        Goal::Below(value) => format!("< {value} {}", row.unit),
    }
}

/// Without a measurement no goal is met.
fn is_met(row: &Row, goal: Goal) -> bool {
    let within = |spread: Option<Spread>, most: f64| spread.is_some_and(|s| s.point <= most);
    let ours = figure(row, &row.ours);
    match goal {
        Goal::TimesFloor(times) => within(ratio(row, &row.floor), times),
        Goal::TimesSwarm(times) => within(ratio(row, &row.swarm), times),
        Goal::AtMost(value) => within(ours, value),
        Goal::BeyondFloor(value) => {
            figure(row, &row.floor).is_some_and(|floor| within(ours, floor.point + value))
        }
        Goal::Below(value) => ours.is_some_and(|s| s.point < value),
    }
}

fn range(spread: Spread) -> String {
    if spread.min == spread.max {
        return digits(spread.point);
    }
    format!("{} ({} – {})", digits(spread.point), digits(spread.min), digits(spread.max))
}

/// Three digits are all that such a measurement has.
fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(row: Row) -> Results {
        let mut section = Section::new("One engine");
        section.note("a note");
        section.rows.push(row);
        let machine = Machine { profile: "release".into(), ..Machine::default() };
        Results { machine, sections: [("engine".to_owned(), section)].into() }
    }

    #[test]
    fn a_goal_that_was_missed_is_said_to_be() {
        let row = Row::new("0 → 30", "s", vec![12.0, 14.0, 13.0])
            .floor(vec![10.0, 10.0, 10.0])
            .swarm(vec![20.0, 20.0, 20.0])
            .goal(Goal::TimesFloor(1.25))
            .goal(Goal::TimesSwarm(0.65));
        let results = results(row);
        assert_eq!(tally(&results), (1, 2));
        let page = page(&results);
        let line = page.lines().find(|line| line.starts_with("| 0 → 30")).expect("the row");
        assert_eq!(
            line,
            "| 0 → 30 | 13.0 (12.0 – 14.0) s | 10.0 s | 20.0 s | 1.30 (1.20 – 1.40) | 0.65 (0.60 – \
             0.70) | ≤ 1.25 × floor, ≤ 0.65 × Swarm | **missed**, yes |"
        );
        assert!(page.contains("1 of 2 goals met") && !page.contains("not built for release"));
    }

    #[test]
    fn nothing_measured_meets_nothing() {
        let comparisons = [Goal::TimesFloor(2.0), Goal::TimesSwarm(2.0), Goal::BeyondFloor(9.0)];
        for goal in comparisons.into_iter().chain([Goal::AtMost(9.0)]) {
            assert_eq!(tally(&results(Row::new("x", "s", vec![]).goal(goal))), (0, 1));
        }
        // A figure alone meets no goal that is a comparison.
        for goal in comparisons {
            assert_eq!(tally(&results(Row::new("x", "s", vec![1.0]).goal(goal))).0, 0);
        }
    }

    #[test]
    fn a_percentile_is_judged_against_the_floors_same_percentile() {
        // 98 quick ones, two slow ones: p99 is 300, however good the median is.
        let ours = [vec![100.0; 98], vec![300.0, 400.0]].concat();
        let floor = [vec![60.0; 98], vec![80.0, 500.0]].concat();
        let row = |percent| Row::new("cycle", "ms", ours.clone()).floor(floor.clone()).at(percent);
        let met = |row: Row, goal| tally(&results(row.goal(goal))).0 == 1;
        assert!(met(row(99), Goal::BeyondFloor(220.0)) && !met(row(99), Goal::BeyondFloor(219.0)));
        assert!(met(row(50), Goal::BeyondFloor(40.0)) && !met(row(50), Goal::BeyondFloor(39.0)));
        assert!(met(row(99), Goal::AtMost(300.0)) && !met(row(99), Goal::AtMost(299.0)));
        let page = page(&results(row(99).goal(Goal::BeyondFloor(250.0))));
        let line = page.lines().find(|line| line.starts_with("| cycle")).expect("the row");
        assert_eq!(
            line,
            "| cycle | 300 (100 – 400) ms | 80.0 (60.0 – 500) ms | – | 3.75 | – | ≤ floor + 250 ms | \
             yes |"
        );
    }

    #[test]
    fn less_than_is_less_than() {
        let met = |goal| tally(&results(Row::new("x", "%", vec![0.5]).goal(goal))).0;
        assert_eq!((met(Goal::AtMost(0.5)), met(Goal::Below(0.5))), (1, 0));
    }

    #[test]
    fn three_digits() {
        for (value, text) in [(0.0, "0.00"), (0.456, "0.46"), (12.34, "12.3"), (1234.5, "1234")] {
            assert_eq!(digits(value), text);
        }
    }
}
