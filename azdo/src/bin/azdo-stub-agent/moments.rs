//! When a listener began and ended, for those who measure what lies between two of them: one line each,
//! `NANOS began VERB` and `NANOS ends VERB`, appended to the file that `STUB_MOMENTS` names (a relative path
//! counts from the agent's root). Nanoseconds since 1970.
//!
//! Said by the process itself, first thing and last thing, because whoever looks from outside adds the time
//! that looking takes. What is left out: the loader before `main`, the kernel's clearing up after it.

use std::fs::File;
use std::io::Write as _;

use jiff::Timestamp;

use crate::layout::Layout;

/// Names the file.
const VARIABLE: &str = "STUB_MOMENTS";

/// Where this process says them; without a file nothing is said.
pub(crate) struct Moments {
    file: Option<File>,
    verb: String,
}

impl Moments {
    /// For a listener with this verb; a worker inherits the variable and says nothing.
    pub(crate) fn of(called_as: &str, verb: Option<&String>) -> Self {
        let began = Timestamp::now();
        let is_listener = called_as.ends_with("Agent.Listener");
        let named = std::env::var_os(VARIABLE).filter(|_| is_listener);
        let file = named.and_then(|name| {
            let path = Layout::of_this_process().ok()?.root().join(name);
            File::options().create(true).append(true).open(path).ok()
        });
        let moments = Self { file, verb: verb.cloned().unwrap_or_default() };
        moments.say("began", began);
        moments
    }

    /// The last thing that the process does.
    pub(crate) fn ends(self) {
        self.say("ends", Timestamp::now());
    }

    /// One write, so that two lines never mix.
    fn say(&self, word: &str, at: Timestamp) {
        let Some(mut file) = self.file.as_ref() else { return };
        let line = format!("{} {word} {}\n", at.as_nanosecond(), self.verb);
        // Measuring never stands in the way of what is measured.
        let _ = file.write_all(line.as_bytes());
    }
}
