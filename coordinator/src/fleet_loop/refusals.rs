//! Refusals in the history: all of them are logged, but only so many are stored. Everybody can ask
//! for admission, and nobody shall fill the store by it.

use std::time::Duration;

use fleet_model::At;

use super::turn::Turn;
use crate::store::NewEvent;

/// Stored at once.
const BURST: u32 = 60;
/// Time after which one more is stored.
const REFILL: Duration = Duration::from_secs(10);

/// How many refusals may still be stored.
#[derive(Debug)]
pub(crate) struct Refusals {
    left: u32,
    since: At,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { left: BURST, since: At(0) }
    }
}

impl Refusals {
    /// Stores the refusal unless there were too many of late.
    pub(crate) fn note(&mut self, event: NewEvent, turn: &mut Turn) {
        let given_back = turn.now.since(self.since).as_millis() / REFILL.as_millis();
        if given_back > 0 {
            let given_back = u32::try_from(given_back).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(given_back).min(BURST);
            self.since = turn.now;
        }
        if self.left > 0 {
            self.left -= 1;
            turn.event(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_does_not_fill_the_store() {
        let mut refusals = Refusals::default();
        let mut stored = |at: u64| {
            let mut turn = Turn::new(At(at));
            for _ in 0..1000 {
                refusals.note(NewEvent::new(turn.now, "host.join-refused", "test"), &mut turn);
            }
            turn.changes.events.len()
        };
        assert_eq!(stored(1_000_000), 60);
        assert_eq!(stored(1_000_000), 0);
        assert_eq!(stored(1_030_000), 3);
        assert_eq!(stored(9_000_000), 60);
    }
}
