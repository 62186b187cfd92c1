//! Orders: which assignment is the newer one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Position of an assignment in the history of the fleet: compared by term first, then by
/// generation. A coordinator that adopts a fleet raises the term, so that its first order is newer
/// than anything a lost store ever gave out.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Order {
    /// Raised by `coordinator recover` and by each new leader.
    pub term: u64,
    /// Raised with every change of any host's assignment.
    pub generation: u64,
}

impl Order {
    /// The order of given term and generation.
    pub const fn new(term: u64, generation: u64) -> Self {
        Self { term, generation }
    }

    /// The next order within the same term.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { term: self.term, generation: self.generation + 1 }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_term_wins_over_any_generation() {
        assert!(Order::new(2, 0) > Order::new(1, u64::MAX));
        assert!(Order::new(1, 2) > Order::new(1, 1));
        assert_eq!(Order::new(3, 4).next(), Order::new(3, 5));
    }
}
