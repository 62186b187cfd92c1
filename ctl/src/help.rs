//! The end of every help text: an example and the exit codes.

use fleet_proto::exit::Exit;

/// Codes of verbs that only ask.
pub(crate) const ASKING: &[Exit] = &[Exit::Done, Exit::Error, Exit::Refused, Exit::Unreachable];
/// Codes of verbs that wait for the fleet.
pub(crate) const WAITING: &[Exit] =
    &[Exit::Done, Exit::Error, Exit::NotConverged, Exit::Refused, Exit::Unreachable];
/// Codes of verbs that ask nobody.
pub(crate) const LOCAL: &[Exit] = &[Exit::Done, Exit::Error];
/// All of them.
pub(crate) const ALL: &[Exit] = &Exit::ALL;

/// `example` with its meaning, then the codes.
pub(crate) fn after(example: &str, meaning: &str, codes: &[Exit]) -> String {
    let codes: Vec<String> =
        codes.iter().map(|exit| format!("{} {}", exit.code(), exit.meaning())).collect();
    format!("Example:\n  # {meaning}\n  {example}\n\nExit codes: {}", codes.join(" · "))
}
