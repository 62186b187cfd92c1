//! What the stub agent's listeners say of themselves, and what follows from it. Pure.
//!
//! One agent's listeners never run at the same time, so in its file an end is followed by the
//! beginning of the next one: `… began run`, `… ends run`, `… began run`.

use std::collections::BTreeMap;

use azdo::sim::{Entry, Kind};

use crate::engine::events::{Moment, seconds};

/// Between two listeners of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// The last act of the first one.
    pub(super) ended: Moment,
    /// The first act of the next one.
    pub(super) began: Moment,
}

impl Gap {
    pub(super) fn milliseconds(self) -> f64 {
        milliseconds(self.ended, self.began)
    }
}

pub(super) fn milliseconds(from: Moment, to: Moment) -> f64 {
    seconds(from, to) * 1e3
}

/// The gaps of one agent, between the end of a process with the verb `ends` and the beginning of the
/// next one with the verb `begins`. A half-written last line is not there yet.
pub(super) fn gaps(text: &str, ends: &str, begins: &str) -> Vec<Gap> {
    let (mut gaps, mut open) = (Vec::new(), None);
    for (at, word, verb) in text.lines().filter_map(line) {
        match word {
            "ends" if verb == ends => open = Some(at),
            "began" if verb == begins => {
                gaps.extend(open.take().map(|ended| Gap { ended, began: at }));
            }
            _ => {}
        }
    }
    gaps
}

/// When processes with this verb began.
pub(super) fn beginnings(text: &str, verb: &str) -> Vec<Moment> {
    let began = text.lines().filter_map(line).filter(|line| (line.1, line.2) == ("began", verb));
    began.map(|(at, ..)| at).collect()
}

fn line(line: &str) -> Option<(Moment, &str, &str)> {
    let mut words = line.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?, words.next()?))
}

/// The first of some moments that lies after each gap's end and is not later than `until` says.
pub(super) fn first_within(
    gaps: &[Gap],
    moments: &[Moment],
    until: impl Fn(Gap) -> Moment,
) -> Vec<(Gap, Moment)> {
    let within = |gap: Gap| {
        let first = moments.iter().filter(|at| (gap.ended..=until(gap)).contains(at)).min();
        first.map(|at| (gap, *at))
    };
    gaps.iter().filter_map(|gap| within(*gap)).collect()
}

/// When the agents of a pool came online, by name.
pub(super) fn sessions(journal: &[Entry], pool: &str) -> BTreeMap<String, Vec<Moment>> {
    let mut all: BTreeMap<String, Vec<Moment>> = BTreeMap::new();
    for entry in journal.iter().filter(|entry| entry.kind == Kind::SessionCreated) {
        let of_pool = entry.about.pool.as_deref() == Some(pool);
        if let (true, Some(agent)) = (of_pool, &entry.about.agent)
            && let Ok(at) = Moment::try_from(entry.at.as_nanosecond())
        {
            all.entry(agent.clone()).or_default().push(at);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_lies_between_an_end_and_the_next_beginning() {
        let text = "5 began configure\n6 ends configure\n10 began run\n20 ends run\n30 began run\n\
                    40 ends run\n50 began run\n60 ends";
        let expected = [Gap { ended: 20, began: 30 }, Gap { ended: 40, began: 50 }];
        assert_eq!(gaps(text, "run", "run"), expected);
        assert_eq!(beginnings(text, "run"), [10, 30, 50]);
        assert_eq!(gaps("", "run", "run"), []);
    }

    #[test]
    fn one_that_was_killed_ends_nothing() {
        // Without its last word its successor follows nothing, and the one before is not far off.
        let text = "1 began run\n2 ends run\n3 began run\n9 began run\n10 ends run\n12 began run\n";
        let expected = [Gap { ended: 2, began: 3 }, Gap { ended: 10, began: 12 }];
        assert_eq!(gaps(text, "run", "run"), expected);
    }

    #[test]
    fn the_floors_two_words_frame_its_life() {
        let text = "1 began --version\n2 ends --version\n5 began --commit\n6 ends --commit\n\
                    9 began --version\n";
        assert_eq!(gaps(text, "--commit", "--version"), [Gap { ended: 6, began: 9 }]);
    }

    #[test]
    fn an_event_belongs_to_the_gap_it_lies_in() {
        let gaps = [Gap { ended: 20, began: 30 }, Gap { ended: 40, began: 50 }];
        let found = first_within(&gaps, &[10, 22, 24, 55], |gap| gap.began);
        assert_eq!(found, [(gaps[0], 22)]);
        let found = first_within(&gaps, &[33, 55], |_| Moment::MAX);
        assert_eq!(found, [(gaps[0], 33), (gaps[1], 55)]);
    }
}
