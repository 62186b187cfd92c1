//! What the exit codes mean to those who supervise the agent.

/// How `Agent.Listener` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Clean stop, `--once` after its job whatever the result, or the registration was revoked.
    Success,
    /// Not configured, a configuration verb failed, or the session was refused for good.
    Terminated,
    /// Something broke that a restart may mend.
    Retryable,
    /// A self-update is pending (not in once mode).
    Updating,
    /// A self-update is pending in once mode; no job was run.
    RunOnceUpdating,
    /// Told to end by SIGTERM and not done within its limit: 128 + 15, as the runtime of the real agent reports.
    Unloaded,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Terminated => 1,
            Self::Retryable => 2,
            Self::Updating => 3,
            Self::RunOnceUpdating => 4,
            Self::Unloaded => 143,
        }
    }
}
