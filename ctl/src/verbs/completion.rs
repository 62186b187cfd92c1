//! `agentctl completion SHELL`: the script that makes a shell complete verbs, options and names.

use std::env;

use clap::{Args, ValueEnum};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use crate::{complete::VARIABLE, error::Failure, help, output};

/// Prints a completion script. Pools, hosts and agents are completed by their present names.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "source <(agentctl completion bash)",
    "For this shell; put the line into ~/.bashrc for all",
    help::LOCAL,
))]
pub(crate) struct Completion {
    /// Shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completion {
    /// Prints the script.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let shell: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Zsh => &Zsh,
            Shell::Fish => &Fish,
        };
        // The script calls this very program, wherever it was started from.
        let program = env::current_exe()
            .ok()
            .and_then(|path| path.to_str().map(str::to_owned))
            .unwrap_or_else(|| "agentctl".to_owned());
        let mut script = Vec::new();
        shell.write_registration(VARIABLE, "agentctl", "agentctl", &program, &mut script)?;
        output::print(&String::from_utf8_lossy(&script))
    }
}
