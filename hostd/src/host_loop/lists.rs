//! When each runtime is listed: at the start, when its engine came back, and now and then. A list
//! is worth something only when nothing was done between the question and the answer.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fleet_model::RuntimeKind;
use tokio::time::Instant;

use super::{HostLoop, Input};
use crate::{clock::jittered, runtime::RuntimeError};

/// After an engine did not answer, the next question comes after this, then after longer.
const FIRST: Duration = Duration::from_secs(1);
/// Longest wait for an engine that is down.
const LONGEST: Duration = Duration::from_secs(30);
/// A list that was overtaken by an action is asked for again after this.
const OVERTAKEN: Duration = Duration::from_millis(250);
/// An engine that answered for this long is well: its next trouble is a new one.
const WELL: Duration = Duration::from_secs(60);
/// See [`Lists::half_made`].
const HALF_MADE: Duration = Duration::from_secs(1);
const HALF_MADE_TRIES: u32 = 5;
/// Limit of one question.
const LIMIT: Duration = Duration::from_secs(90);

#[derive(Debug, Default)]
pub(super) struct Lists(BTreeMap<RuntimeKind, One>);

#[derive(Debug, Default)]
struct One {
    /// Raised with every action begun or ended.
    mark: u64,
    asked: bool,
    due: Option<Instant>,
    failures: u32,
    /// Lists since the start that showed a run made and not started.
    half_made: u32,
    good_since: Option<Instant>,
}

impl Lists {
    /// All of them are due.
    pub(super) fn new(kinds: impl Iterator<Item = RuntimeKind>, now: Instant) -> Self {
        Self(kinds.map(|kind| (kind, One { due: Some(now), ..One::default() })).collect())
    }

    fn one(&mut self, kind: RuntimeKind) -> &mut One {
        self.0.entry(kind).or_default()
    }

    /// An action on this runtime began or ended.
    pub(super) fn touched(&mut self, kind: RuntimeKind) {
        self.one(kind).mark += 1;
    }

    /// It is to be listed.
    pub(super) fn need(&mut self, kind: RuntimeKind, now: Instant) {
        self.due_at(kind, now);
    }

    fn due_at(&mut self, kind: RuntimeKind, at: Instant) {
        let one = self.one(kind);
        one.due = Some(one.due.map_or(at, |due| due.min(at)));
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().filter(|one| !one.asked).filter_map(|one| one.due).min()
    }

    /// What is to be asked now, with the mark of this moment.
    fn take_due(&mut self, now: Instant) -> Vec<(RuntimeKind, u64)> {
        let mut due = Vec::new();
        for (kind, one) in &mut self.0 {
            if !one.asked && one.due.is_some_and(|at| at <= now) {
                one.asked = true;
                one.due = None;
                due.push((*kind, one.mark));
            }
        }
        due
    }

    /// Nothing was done since `mark`.
    pub(super) fn is_current(&self, kind: RuntimeKind, mark: u64) -> bool {
        self.0.get(&kind).is_some_and(|one| one.mark == mark)
    }

    /// The answer was overtaken.
    pub(super) fn stale(&mut self, kind: RuntimeKind, now: Instant) {
        self.one(kind).asked = false;
        self.due_at(kind, now + jittered(OVERTAKEN));
    }

    /// The answer shows a run that was made and not started: at first the engine may still be at
    /// what the hostd before us asked for, and the answer is as good as overtaken.
    pub(super) fn half_made(&mut self, kind: RuntimeKind, now: Instant) -> bool {
        let one = self.one(kind);
        if one.half_made >= HALF_MADE_TRIES {
            return false;
        }
        one.half_made += 1;
        one.asked = false;
        self.due_at(kind, now + HALF_MADE);
        true
    }

    /// The answer is good.
    pub(super) fn good(&mut self, kind: RuntimeKind, now: Instant) {
        let one = self.one(kind);
        one.asked = false;
        one.good_since = one.good_since.or(Some(now));
        one.half_made = HALF_MADE_TRIES;
    }

    /// The engine did not answer, to this question or to another.
    pub(super) fn failed(&mut self, kind: RuntimeKind, now: Instant) {
        let one = self.one(kind);
        one.asked = false;
        if one.good_since.take().is_some_and(|since| now.duration_since(since) >= WELL) {
            one.failures = 0;
        }
        let wait = FIRST.saturating_mul(1 << one.failures.min(5)).min(LONGEST);
        // Many actions may fail of one trouble: it counts once.
        if one.due.is_none() {
            one.failures += 1;
            one.due = Some(now + jittered(wait));
        }
    }
}

impl HostLoop {
    /// Asks the runtimes whose turn it is; the answers come through the inbox.
    pub(super) fn list_what_is_due(&mut self) {
        for (kind, mark) in self.lists.take_due(Instant::now()) {
            let Some(runtime) = self.parts.runtimes.get(&kind) else { continue };
            let (runtime, inbox) = (Arc::clone(runtime), self.parts.inbox.0.clone());
            self.tasks.spawn(async move {
                let listed = tokio::time::timeout(LIMIT, runtime.list()).await;
                let listed = listed.unwrap_or_else(|_| {
                    let why = format!("no list within {} s", LIMIT.as_secs());
                    Err(RuntimeError::EngineDown { engine: kind.as_str(), why })
                });
                let _ = inbox.send(Input::Listed(kind, mark, listed)).await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: RuntimeKind = RuntimeKind::Docker;

    #[tokio::test(start_paused = true)]
    async fn one_question_at_a_time_and_only_when_due() {
        let now = Instant::now();
        let mut lists = Lists::new([KIND].into_iter(), now);
        assert_eq!(lists.take_due(now), [(KIND, 0)]);
        lists.need(KIND, now);
        assert_eq!((lists.take_due(now).len(), lists.next()), (0, None));
        lists.good(KIND, now);
        assert_eq!(lists.take_due(now), [(KIND, 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_done_meanwhile_makes_an_answer_worthless() {
        let now = Instant::now();
        let mut lists = Lists::new([KIND].into_iter(), now);
        let asked = lists.take_due(now);
        assert!(lists.is_current(KIND, asked[0].1));
        lists.touched(KIND);
        assert!(!lists.is_current(KIND, asked[0].1));
        lists.stale(KIND, now);
        assert!(lists.next().is_some_and(|at| at > now && at <= now + OVERTAKEN * 2));
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_stays_down_is_asked_less_and_less() {
        let mut now = Instant::now();
        let mut lists = Lists::new([KIND].into_iter(), now);
        let end = now + Duration::from_secs(3600);
        let mut questions = 0;
        while now < end {
            assert_eq!(lists.take_due(now).len(), 1);
            questions += 1;
            // Twenty actions fail with it.
            for _ in 0..20 {
                lists.failed(KIND, now);
            }
            now = lists.next().expect("asked again");
        }
        assert!((100..200).contains(&questions), "{questions} questions in an hour");
    }
}
