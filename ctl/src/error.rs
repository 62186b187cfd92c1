//! The one error people see: what failed, why, what to do next, and the exit code.
//!
//! Every boundary keeps its own small error type; each is turned into a [`Failure`] exactly once,
//! so that nothing is said twice and nothing is said in two ways.

use std::{fmt, io};

use fleet_proto::exit::Exit;
use tonic::{Code, Status};

/// A verb that did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    exit: Exit,
    what: String,
    causes: Vec<String>,
    next: Vec<String>,
}

impl Failure {
    /// `what` could not be done; `exit` tells scripts of which kind that is.
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), causes: Vec::new(), next: Vec::new() }
    }

    /// A failure that is nobody's refusal and no lack of time.
    pub(crate) fn error(what: impl Into<String>) -> Self {
        Self::new(Exit::Error, what)
    }

    /// Adds a cause.
    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds something to do next.
    pub(crate) fn next(mut self, step: impl Into<String>) -> Self {
        self.next.push(step.into());
        self
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The reader of our output went away, as `| head` does: nothing to tell, and to nobody.
    pub(crate) fn is_silent(&self) -> bool {
        self.what.is_empty()
    }

    /// The same trouble in one line, for a message that is not the last word.
    pub(crate) fn brief(&self) -> String {
        self.causes.first().map_or_else(|| self.what.clone(), Clone::clone)
    }

    /// An answer of the coordinator that is not the one asked for.
    pub(crate) fn answered(what: &str, status: &Status) -> Self {
        let exit = match status.code() {
            // A coordinator that does not answer is as good as none.
            Code::DeadlineExceeded => Exit::Unreachable,
            _ => Exit::of(status),
        };
        let cause = match status.message() {
            "" => format!("the coordinator answered {:?} and no more", status.code()),
            words => words.to_owned(),
        };
        let failure = Self::new(exit, format!("cannot {what}"));
        // One that names somebody else who cannot be reached knows better what helps.
        let own = status.code() == Code::Unavailable;
        match (next_step(status.code()), cause.split_once("; ")) {
            (Some(_), Some((cause, advice))) if own => failure.because(cause).next(advice),
            (Some(step), _) => failure.because(cause).next(step),
            (None, Some((cause, advice))) => failure.because(cause).next(advice),
            (None, None) => failure.because(cause),
        }
    }
}

/// What usually helps. Answers that carry their own advice, after a semicolon (a bad argument, a
/// read-only coordinator), get none from here: two pieces of advice are one too many.
fn next_step(code: Code) -> Option<&'static str> {
    match code {
        Code::Unauthenticated | Code::PermissionDenied => {
            Some("use the credential of an operator; `coordinator operator` makes one")
        }
        Code::Unavailable => Some("try again; if it lasts, look at the coordinator's log"),
        Code::DeadlineExceeded => {
            Some("look whether it took effect with `agentctl status`, then try again")
        }
        Code::AlreadyExists => {
            Some("choose another name, or look at what there is with `agentctl get`")
        }
        Code::Unimplemented => Some("install the agentctl of the coordinator's version"),
        Code::Internal | Code::Unknown | Code::DataLoss => {
            Some("look at the coordinator's log: `journalctl -u coordinator -n 50`")
        }
        _ => None,
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Done, "");
        }
        Self::error("cannot write the output").because(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        self.causes.iter().try_for_each(|cause| write!(f, "\n  cause: {cause}"))?;
        self.next.iter().try_for_each(|step| write!(f, "\n  next: {step}"))
    }
}

impl std::error::Error for Failure {}

/// An error with its causes in one line, each said once: libraries like to repeat the inner text
/// in the outer one.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut inner = error.source();
    while let Some(cause) = inner {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        inner = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_answer_has_its_exit_code() {
        for (code, exit) in [
            (Code::Unauthenticated, Exit::Refused),
            (Code::PermissionDenied, Exit::Refused),
            (Code::Unavailable, Exit::Unreachable),
            (Code::DeadlineExceeded, Exit::Unreachable),
            (Code::NotFound, Exit::Error),
            (Code::FailedPrecondition, Exit::Error),
        ] {
            assert_eq!(Failure::answered("x", &Status::new(code, "y")).exit(), exit, "{code:?}");
        }
    }

    #[test]
    fn a_failure_reads_as_what_cause_next() {
        let failure = Failure::answered("scale x", &Status::already_exists("pool x is there"));
        let text = failure.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["error: cannot scale x", "  cause: pool x is there"]);
        assert!(lines[2].starts_with("  next: choose another name"), "{text}");
    }

    #[test]
    fn advice_that_comes_with_the_answer_is_the_next_step() {
        let status = Status::failed_precondition("the store is old; run `coordinator recover`");
        let text = Failure::answered("scale x", &status).to_string();
        let said = ["error: cannot scale x", "  cause: the store is old"];
        assert_eq!(text, format!("{}\n  next: run `coordinator recover`", said.join("\n")));
    }

    #[test]
    fn who_cannot_be_reached_may_know_better_what_helps() {
        let status = Status::unavailable("host h1 is away; read its journal");
        let text = Failure::answered("read", &status).to_string();
        assert_eq!(text, "error: cannot read\n  cause: host h1 is away\n  next: read its journal");
        let text = Failure::answered("read", &Status::unavailable("gone")).to_string();
        assert!(text.contains("next: try again"), "{text}");
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(failure.is_silent());
        assert_eq!(failure.exit(), Exit::Done);
    }

    #[test]
    fn a_chain_says_each_cause_once() {
        let inner = io::Error::other("no route");
        let outer = io::Error::new(io::ErrorKind::NotConnected, inner);
        assert_eq!(chain(&outer), "no route");
    }
}
