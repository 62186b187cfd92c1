//! agentctl, the command line of the fleet; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    agentctl::main()
}
