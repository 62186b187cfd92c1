//! `agentctl janitor`: what is left over at Azure, and its way out.

use clap::Args;
use clap_complete::ArgValueCandidates;
use fleet_proto::v1;
use serde::Serialize;

use crate::{
    cli::Global,
    complete,
    error::Failure,
    help,
    names::{Kind, ask_about},
    output::{self, Format},
    view::{Leftover, TidyPool},
    words::count,
};

/// Finds rows of this fleet at Azure that no host has an agent for, and deletes those that may go.
///
/// Ours is a row by the mark that its agent gave it, never by its name. Rows of others, rows with a job
/// or a session, and rows of hosts that are away are not touched. A row goes when it has been offline
/// for a day: it is disabled, looked at again, and deleted. The coordinator looks by itself once an
/// hour; agents whose row is gone are shown, too, and replaced by their hosts.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl janitor --dry-run",
    "What would be deleted, what is kept, and why",
    help::ASKING,
))]
pub(crate) struct Janitor {
    /// Only this pool
    #[arg(add = ArgValueCandidates::new(complete::pools))]
    pool: Option<String>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Leave out the titles of a table
    #[arg(long)]
    no_headers: bool,
}

/// The whole answer, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    dry_run: bool,
    leftovers: &'a [Leftover],
    tidied: &'a [TidyPool],
}

impl Janitor {
    /// Looks, and says what was found.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let session = global.session()?;
        let pool = self.pool.clone().unwrap_or_default();
        let request = v1::TidyRequest { pool: pool.clone(), dry_run: self.dry_run };
        let mut client = session.client();
        let call = client.tidy(request);
        let answer = ask_about(&session, (Kind::Pool, &pool), "look for leftovers", call).await?;
        let (mut leftovers, mut tidied) = (Vec::new(), Vec::new());
        for mut pool in answer.pools {
            leftovers.extend(std::mem::take(&mut pool.leftovers).into_iter().map(Leftover::from));
            tidied.push(TidyPool::from(pool));
        }
        self.show(&leftovers, &tidied)?;
        troubles(&tidied)
    }

    fn show(&self, leftovers: &[Leftover], tidied: &[TidyPool]) -> Result<(), Failure> {
        let answer = || Answer { dry_run: self.dry_run, leftovers, tidied };
        match self.output {
            Format::Json => return output::print(&output::json_pretty(&answer())?),
            Format::Yaml => return output::print(&output::yaml(&answer())?),
            Format::Table | Format::Wide | Format::Name => {}
        }
        if !leftovers.is_empty() {
            output::print(&output::list(leftovers, self.output, !self.no_headers)?)?;
        }
        for pool in tidied.iter().filter(|pool| pool.trouble.is_none()) {
            let (pools, in_use, foreign) = (pool.pools.join(", "), pool.in_use, pool.foreign);
            output::say(&format!("{pools}: {in_use} rows with their agent, {foreign} not ours"));
        }
        let goes = leftovers.iter().filter(|leftover| leftover.verdict == "delete").count();
        let goes = count(u64::try_from(goes).unwrap_or(u64::MAX), "row");
        output::say(&match (self.dry_run, goes.starts_with("0 ")) {
            (_, true) => "nothing to delete".to_owned(),
            (true, false) => format!("{goes} to delete; nothing was done"),
            (false, false) => {
                format!("{goes} on the way out; `agentctl events` tells when they are gone")
            }
        });
        Ok(())
    }
}

/// A pool that could not be looked at is an error; what was found of the others stands.
fn troubles(tidied: &[TidyPool]) -> Result<(), Failure> {
    let mut failure = None;
    for pool in tidied {
        if let Some(trouble) = &pool.trouble {
            let first = || Failure::error("cannot look for leftovers everywhere");
            let why = format!("{}: {trouble}", pool.pools.join(", "));
            failure = Some(failure.unwrap_or_else(first).because(why));
        }
    }
    match failure {
        Some(failure) => {
            Err(failure.next("try again; `agentctl status` shows the pools' troubles"))
        }
        None => Ok(()),
    }
}
