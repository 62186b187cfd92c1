//! Exit codes. One type in the code, one table in the docs; scripts rely on them.

use std::{fmt, process::ExitCode};

use crate::tls::Trouble;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// It is done.
    Done = 0,
    /// An error: bad arguments, bad configuration, something broke.
    Error = 1,
    /// The order was taken, but the fleet did not get there in the given time.
    NotConverged = 2,
    /// A plan would change something.
    ChangesPending = 3,
    /// Refused or not authorised.
    Refused = 4,
    /// The coordinator cannot be reached.
    Unreachable = 5,
}

impl Exit {
    /// All of them, for the table in the docs.
    pub const ALL: [Self; 6] = [
        Self::Done,
        Self::Error,
        Self::NotConverged,
        Self::ChangesPending,
        Self::Refused,
        Self::Unreachable,
    ];

    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Its meaning, as in the docs.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Error => "error",
            Self::NotConverged => "not converged in time",
            Self::ChangesPending => "changes pending (plan)",
            Self::Refused => "refused or unauthorised",
            Self::Unreachable => "unreachable",
        }
    }

    /// What a call that failed means for the command.
    pub fn of(status: &tonic::Status) -> Self {
        match Trouble::of(status) {
            Trouble::Answered => Self::of_answer(status.code()),
            Trouble::Refused(_) | Trouble::Untrusted(_) => Self::Refused,
            Trouble::Unreachable(_) | Trouble::Lost(_) => Self::Unreachable,
        }
    }

    const fn of_answer(code: tonic::Code) -> Self {
        use tonic::Code;
        match code {
            Code::Ok => Self::Done,
            Code::Unauthenticated | Code::PermissionDenied => Self::Refused,
            Code::Unavailable => Self::Unreachable,
            _ => Self::Error,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.meaning())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts know the numbers: they are written out here a second time on purpose.
    #[test]
    fn the_numbers_stay() {
        let table: Vec<_> = Exit::ALL.iter().map(|e| (e.code(), e.meaning())).collect();
        let expected = [
            (0, "done"),
            (1, "error"),
            (2, "not converged in time"),
            (3, "changes pending (plan)"),
            (4, "refused or unauthorised"),
            (5, "unreachable"),
        ];
        assert_eq!(table, expected);
    }

    #[test]
    fn a_refused_call_is_told_from_an_unreachable_server() {
        let exit = |code| Exit::of(&tonic::Status::new(code, "said by the server"));
        assert_eq!(exit(tonic::Code::PermissionDenied), Exit::Refused);
        assert_eq!(exit(tonic::Code::Unavailable), Exit::Unreachable);
        assert_eq!(exit(tonic::Code::NotFound), Exit::Error);
    }
}
