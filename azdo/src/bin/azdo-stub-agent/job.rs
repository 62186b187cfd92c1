//! A job as it comes in a message, and how it may end.

use serde::{Deserialize, Serialize};

/// Body of a `PipelineAgentJobRequest`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    /// Row of the queue.
    pub(crate) request_id: i64,
    /// The job's own id.
    pub(crate) job_id: String,
    /// Technical name.
    #[serde(default)]
    pub(crate) job_name: String,
    /// Name on the console.
    #[serde(default)]
    pub(crate) job_display_name: String,
    /// Needed to renew and finish.
    #[serde(default)]
    pub(crate) lock_token: String,
    /// What the stub is to play.
    #[serde(default)]
    pub(crate) sim: Play,
}

impl Job {
    /// Name for people.
    pub(crate) fn title(&self) -> &str {
        if self.job_display_name.is_empty() { &self.job_name } else { &self.job_display_name }
    }
}

/// The simulator's part of a job.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Play {
    /// How long the job takes when it has no script, in ms.
    pub(crate) duration_ms: u64,
    /// How it ends when nothing goes wrong.
    pub(crate) result: JobResult,
    /// Run by `sh` in the sources folder.
    pub(crate) script: Option<String>,
    /// Once mode: the listener never exits after this job.
    pub(crate) hang_after_job: bool,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum JobResult {
    /// All went well.
    #[default]
    Succeeded,
    /// Well, with warnings.
    SucceededWithIssues,
    /// A step failed.
    Failed,
    /// Stopped by somebody.
    Canceled,
    /// Nothing to do.
    Skipped,
    /// The agent lost it.
    Abandoned,
}

const ALL: [JobResult; 6] = [
    JobResult::Succeeded,
    JobResult::SucceededWithIssues,
    JobResult::Failed,
    JobResult::Canceled,
    JobResult::Skipped,
    JobResult::Abandoned,
];

impl JobResult {
    /// The worker's exit code: 100 plus the place in the list.
    pub(crate) fn exit_code(self) -> u8 {
        100 + self as u8
    }

    /// `None` = the worker crashed.
    pub(crate) fn from_exit_code(code: i32) -> Option<Self> {
        ALL.into_iter().find(|result| i32::from(result.exit_code()) == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_survives_the_worker_s_exit_code() {
        for result in ALL {
            assert_eq!(JobResult::from_exit_code(result.exit_code().into()), Some(result));
        }
        assert_eq!(ALL.map(JobResult::exit_code), [100, 101, 102, 103, 104, 105]);
        assert_eq!(JobResult::from_exit_code(1), None);
        assert_eq!(JobResult::from_exit_code(106), None);
    }
}
