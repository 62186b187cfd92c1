//! When something that nothing uses is removed. It must have been seen so at one look, at every look
//! since, and for long enough: what is in use at one of them begins anew.

use std::{collections::BTreeMap, time::Duration};

use fleet_model::{
    At,
    numbers::{CACHE_KEPT, EVIDENCE_KEPT, LEFT_OVER_KEPT},
};

/// Since when each thing has been seen unused.
pub type UnusedBook = BTreeMap<String, At>;

/// What kind of thing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unused {
    /// It can be had again: a package, an image. Where room is short it goes at once.
    Cache,
    /// Half of something that broke off, and nothing is at it: of no use to anybody.
    Scrap,
    /// What an agent left behind: in doubt somebody still wants it.
    LeftOver,
    /// Evidence of a run that nobody keeps aside any more.
    Evidence,
}

impl Unused {
    /// How long it stays when it is seen unused.
    pub fn stays(self, urgent: bool) -> Duration {
        match self {
            Self::Scrap => Duration::ZERO,
            Self::Cache if urgent => Duration::ZERO,
            Self::Cache => CACHE_KEPT,
            Self::LeftOver => LEFT_OVER_KEPT,
            Self::Evidence => EVIDENCE_KEPT,
        }
    }
}

/// The book after a look: what is not unused any more is not in it.
pub fn look<'a>(
    book: &UnusedBook,
    unused: impl IntoIterator<Item = &'a str>,
    now: At,
) -> UnusedBook {
    let since = |name: &str| book.get(name).copied().unwrap_or(now).min(now);
    unused.into_iter().map(|name| (name.to_owned(), since(name))).collect()
}

/// Whether a thing of the book is removed now.
pub fn is_due(book: &UnusedBook, name: &str, kind: Unused, urgent: bool, now: At) -> bool {
    book.get(name).is_some_and(|since| now.since(*since) >= kind.stays(urgent))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn what_is_used_for_a_moment_begins_anew() {
        let at = |days: u32| At(0) + DAY * days;
        let book = look(&UnusedBook::new(), ["a", "b"], at(0));
        let book = look(&book, ["b"], at(4));
        let book = look(&book, ["a", "b"], at(7));
        assert!(!is_due(&book, "a", Unused::Cache, false, at(7)));
        assert!(is_due(&book, "b", Unused::Cache, false, at(7)));
        assert!(is_due(&book, "a", Unused::Cache, true, at(7)), "room is short");
        assert!(!is_due(&book, "a", Unused::LeftOver, true, at(7)), "never in a hurry");
        assert!(!is_due(&book, "c", Unused::Scrap, true, at(7)), "never seen");
        // A clock that was set back makes nothing old.
        let back = look(&book, ["b"], At(5));
        assert_eq!(back["b"], At(0));
        assert_eq!(look(&look(&UnusedBook::new(), ["x"], at(9)), ["x"], at(1))["x"], at(1));
    }

    proptest! {
        /// Nothing goes that was in use at a look within the time that it stays.
        #[test]
        fn only_what_was_unused_at_every_look_goes(
            looks in prop::collection::vec((0..40_u64, any::<bool>()), 1..60),
            urgent in any::<bool>(),
        ) {
            let (mut book, mut now, mut since) = (UnusedBook::new(), At(0), None);
            for (hours, is_unused) in looks {
                now = now + Duration::from_secs(hours * 3600);
                book = look(&book, is_unused.then_some("x"), now);
                since = is_unused.then(|| since.unwrap_or(now));
                for kind in [Unused::Cache, Unused::Scrap, Unused::LeftOver, Unused::Evidence] {
                    let long = since.is_some_and(|since| now.since(since) >= kind.stays(urgent));
                    prop_assert_eq!(is_due(&book, "x", kind, urgent, now), long);
                }
            }
        }
    }
}
