//! `agentctl scale POOL N`: the main job.

use clap::Args;
use clap_complete::ArgValueCandidates;
use fleet_model::numbers::REPLICAS_MAX;
use fleet_proto::v1;

use super::insist::Insist;
use crate::{
    cli::Global,
    complete,
    error::Failure,
    goal::Goal,
    help,
    names::{Kind, ask_about},
    output, view, wait,
    wait::{Scope, Waiting},
    when,
};

/// Sets how many agents a pool has, and waits until it has them.
///
/// Idle agents that are too many are removed first; a busy one goes when its job ends. The fleet
/// goes on when the time is over or the waiting is stopped (Ctrl-C).
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl scale nightly-svc 10 --timeout 10m",
    "Ten agents, spread over the pool's hosts",
    help::WAITING,
))]
pub(crate) struct Scale {
    /// Pool
    #[arg(add = ArgValueCandidates::new(complete::pools))]
    pool: String,
    /// Agents wanted, all hosts together
    // Read as text: the parser would take -3 for an option and say little about 1e99.
    #[arg(value_name = "N", allow_hyphen_values = true)]
    replicas: String,
    #[command(flatten)]
    insist: Insist,
    #[command(flatten)]
    waiting: Waiting,
}

impl Scale {
    /// Orders the count and waits for it.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let wanted = replicas(&self.replicas)?;
        let what = format!("scale {}", self.pool);
        let (force, reason) = self.insist.checked(&what)?;
        let session = global.session()?;
        let (pool, replicas) = (self.pool.clone(), wanted.into());
        let request = v1::ScaleRequest { pool, replicas, force, reason };
        let mut client = session.client();
        let about = (Kind::Pool, self.pool.as_str());
        let answer = ask_about(&session, about, &what, client.scale(request)).await?;
        let step = match answer.before {
            before if before == wanted => format!("{} stays at {wanted}", self.pool),
            before => format!("{}: {before} → {wanted}", self.pool),
        };
        if self.waiting.detach {
            let order = answer.order.map(|o| format!(" (order {})", view::Order::from(o)));
            return output::print(&format!("{step}, accepted{}\n", order.unwrap_or_default()));
        }
        let goal = Goal::Scaled(wanted);
        let (scope, limit) = (Scope::Pool(self.pool), Some(self.waiting.timeout));
        let (took, standing) = wait::until(&session, scope, goal, limit).await?;
        let took = when::short(took.try_into().unwrap_or_default());
        output::print(&format!("{step}, {} after {took}\n", standing.line))
    }
}

/// The count, or in the coordinator's own words why it is none: a typing error should not need a
/// connection to be found.
fn replicas(text: &str) -> Result<u32, Failure> {
    match text.parse::<i64>() {
        Ok(number) if (0..=i64::from(REPLICAS_MAX)).contains(&number) => {
            Ok(u32::try_from(number).unwrap_or(REPLICAS_MAX))
        }
        // Digits that cannot be read are too many of them.
        Err(_) if !is_digits(text) => {
            Err(refused(text, format!("{text:?} is not a whole number"), "write it like 10".into()))
        }
        _ => Err(refused(
            text,
            format!("{text} is not a number of agents that a pool can have"),
            format!("give one from 0 to {REPLICAS_MAX}; nothing was changed"),
        )),
    }
}

fn refused(text: &str, cause: String, step: String) -> Failure {
    Failure::error(format!("cannot scale to {text}")).because(cause).next(step)
}

fn is_digits(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_whole_number_within_reason() {
        for (text, number) in [("0", 0), ("10", 10), ("500000", 500_000)] {
            assert_eq!(replicas(text), Ok(number), "{text}");
        }
        for (text, part) in [
            ("-3", "is not a number of agents"),
            ("-99999999999999999999", "is not a number of agents"),
            ("500001", "is not a number of agents"),
            ("99999999999999999999", "is not a number of agents"),
            ("ten", "not a whole number"),
            ("1e3", "not a whole number"),
            ("", "not a whole number"),
            ("-", "not a whole number"),
        ] {
            let error = replicas(text).expect_err("must be refused").to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
