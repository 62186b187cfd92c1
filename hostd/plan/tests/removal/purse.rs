//! What tricks cost.

/// What the adversary can still afford.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Purse {
    /// Jobs that Azure gives.
    pub(crate) jobs: u8,
    /// Changes of what the coordinator wants.
    pub(crate) flips: u8,
    /// Kills of hostd.
    pub(crate) crashes: u8,
    /// Answers that do not come, of Azure or the engine, whether or not it was done.
    pub(crate) lost: u8,
    /// Reads that show an older state, and reports of the coordinator's watcher.
    pub(crate) stale: u8,
    /// Process lists that cannot be read.
    pub(crate) unknown: u8,
    /// Ends of a run by somebody else.
    pub(crate) deaths: u8,
    /// Runs that begin after the engine said that it could not.
    pub(crate) late: u8,
    /// Lines that a job writes in the listener's name.
    pub(crate) forged: u8,
    /// Listeners that do not end when asked.
    pub(crate) stubborn: u8,
    /// Jobs that Azure gives up while their worker works on.
    pub(crate) lapses: u8,
    /// Enables of the row by somebody else.
    pub(crate) meddles: u8,
    /// Listeners that do not end after their job.
    pub(crate) hangs: u8,
    /// Half minutes in which nothing else happens.
    pub(crate) pauses: u8,
    /// Times in which Azure answers hostd nothing. It gives jobs all the same.
    pub(crate) outages: u8,
    /// Calls that such a time lasts at most.
    pub(crate) unanswered: u8,
    /// Leaves of an operator to remove without Azure's word.
    pub(crate) forces: u8,
    /// Orders of an operator to restart the agent.
    pub(crate) restarts: u8,
    /// Times that the agent's disk becomes full.
    pub(crate) fills: u8,
    /// Words on a run's notification socket, at any moment, true or not.
    pub(crate) announced: u8,
}
