//! How far a log was shown, so that it can be gone on with after a break: nothing twice, and nothing
//! left out that its host still has.
//!
//! A host is asked for lines from a moment on. The lines of that very moment come again, and there
//! may be more of them than before: each that was shown is dropped once.

use fleet_proto::v1::{self, log_line::What};
use jiff::Timestamp;

use crate::when;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// Of the newest line.
    newest: Option<Timestamp>,
    /// The lines of that moment.
    shown: Vec<v1::LogLine>,
    /// Those of them that are to come again.
    again: Vec<v1::LogLine>,
    /// The run that was said last to begin.
    run: Option<u32>,
}

impl Place {
    /// From which moment on to ask; none: no line with a time was shown.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.newest
    }

    /// The log broke off, and is asked for from [`Self::since`] on.
    pub(crate) fn broke_off(&mut self) {
        self.again = self.shown.clone();
    }

    /// Those that were not shown yet.
    pub(crate) fn take(&mut self, lines: Vec<v1::LogLine>) -> Vec<v1::LogLine> {
        lines.into_iter().filter(|line| self.is_new(line)).collect()
    }

    fn is_new(&mut self, line: &v1::LogLine) -> bool {
        if let Some(at) = self.again.iter().position(|known| known == line) {
            self.again.swap_remove(at);
            return false;
        }
        if let Some(What::Run(run)) = line.what
            && self.run.replace(run) == Some(run)
        {
            return false;
        }
        let Some(at) = when::at(line.at.as_ref()) else { return true };
        if self.newest.is_none_or(|newest| at > newest) {
            self.newest = Some(at);
            self.shown.clear();
            self.again.clear();
        }
        if self.newest == Some(at) {
            self.shown.push(line.clone());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(second: i64, text: &str) -> v1::LogLine {
        let at = Some(prost_types::Timestamp { seconds: second, nanos: 0 });
        v1::LogLine { at, what: Some(What::Text(text.into())), left_out: 0 }
    }

    fn told(place: &mut Place, lines: &[v1::LogLine]) -> Vec<String> {
        let text = |line: v1::LogLine| match line.what {
            Some(What::Text(text)) => text,
            other => format!("{other:?}"),
        };
        place.take(lines.to_vec()).into_iter().map(text).collect()
    }

    #[test]
    fn after_a_break_it_goes_on_where_it_stood() {
        let log = [line(1, "a"), line(2, "b"), line(2, "b"), line(2, "c"), line(3, "d")];
        for stop in 1..log.len() {
            let mut place = Place::default();
            let mut all = told(&mut place, &log[..stop]);
            place.broke_off();
            let since = place.since().expect("a time").as_second();
            let rest: Vec<_> =
                log.iter().filter(|line| line.at.expect("one").seconds >= since).cloned().collect();
            all.extend(told(&mut place, &rest[..1]));
            // Once more, before it came further.
            place.broke_off();
            let since = place.since().expect("a time").as_second();
            let rest: Vec<_> =
                log.iter().filter(|line| line.at.expect("one").seconds >= since).cloned().collect();
            all.extend(told(&mut place, &rest));
            assert_eq!(all, ["a", "b", "b", "c", "d"], "cut off after {stop}");
        }
    }

    #[test]
    fn the_same_words_later_are_new_and_a_run_begins_once() {
        let mut place = Place::default();
        let run = v1::LogLine { what: Some(What::Run(7)), ..v1::LogLine::default() };
        assert_eq!(told(&mut place, &[run.clone(), line(1, "x")]), ["Some(Run(7))", "x"]);
        place.broke_off();
        assert_eq!(told(&mut place, &[run, line(1, "x"), line(1, "x"), line(2, "x")]), ["x", "x"]);
    }

    #[test]
    fn without_a_time_there_is_no_place() {
        let mut place = Place::default();
        let none = v1::LogLine { at: None, ..line(1, "x") };
        assert_eq!(told(&mut place, &[none]), ["x"]);
        assert_eq!(place.since(), None);
    }
}
