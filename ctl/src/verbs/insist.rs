//! `--force` and `--reason`: what an operator says when Azure does not answer.

use clap::Args;
use fleet_model::Reason;

use crate::error::Failure;

/// See the module.
#[derive(Debug, Args)]
pub(crate) struct Insist {
    /// While Azure does not answer, remove agents on their host's word alone; needs --reason
    ///
    /// Without Azure nothing running is removed. With this, for an hour, an agent goes when Azure does
    /// not answer its host and two looks at its processes, one settle time apart, show no job. A job
    /// that shows is finished first, always. What is given up: a job that Azure gives an agent in
    /// the last moment, and of which nothing shows on the host yet, is lost. Rows at Azure go when it
    /// answers again. The next scale without --force takes it back.
    #[arg(long, help_heading = "Azure away")]
    force: bool,
    /// Why, for the fleet's history: one line, at most 300 characters
    #[arg(long, value_name = "TEXT", help_heading = "Azure away")]
    reason: Option<String>,
}

impl Insist {
    /// Both, as the coordinator is told: the empty text stands for no reason. `what` is what is
    /// to be done with them.
    ///
    /// # Errors
    /// A force without a reason, or a reason that says nothing.
    pub(crate) fn checked(&self, what: &str) -> Result<(bool, String), Failure> {
        let refused = |cause: String| {
            Failure::error(format!("cannot {what}"))
                .because(cause)
                .next("say why with --reason \"TEXT\"; nothing was changed")
        };
        match &self.reason {
            None if self.force => Err(refused(
                "--force needs a reason: whoever misses these agents reads it in the history"
                    .into(),
            )),
            None => Ok((false, String::new())),
            Some(text) => {
                let reason: Reason =
                    text.parse().map_err(|e: fleet_model::ReasonError| refused(e.to_string()))?;
                Ok((self.force, reason.into()))
            }
        }
    }
}
