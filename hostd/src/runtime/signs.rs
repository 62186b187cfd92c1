//! What a listener says on its console, line by line → [`Sign`]. Pure: no clock, no files.
//!
//! The texts are those of the agent under `LANG=C` (`strings.json`) and of our own entry, which
//! prefixes its lines with `fleet-entry: `. A job shares a machine with its listener and can forge
//! every line here; whoever uses a sign must let it raise "busy" only.

use super::Sign;
use crate::scrub::without_long_runs;

/// Longest text kept of a line: it ends up in events and on consoles.
const TEXT_MAX: usize = 300;

/// One line understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It says all there is to know.
    Sign(Sign),
    /// Our entry put the registration's files into the hand-over directory: somebody has to fetch
    /// them, then it is [`Sign::Registered`].
    Registered,
}

/// Understands one line; most lines mean nothing.
pub fn hear(line: &str) -> Option<Heard> {
    let line = line.trim_end_matches(['\r', '\n']);
    if let Some(own) = line.strip_prefix("fleet-entry: ") {
        return hear_entry(own);
    }
    hear_listener(without_time(line)).map(Heard::Sign)
}

fn hear_entry(text: &str) -> Option<Heard> {
    match text {
        "registering" => Some(Heard::Sign(Sign::Registering)),
        "registered" => Some(Heard::Registered),
        _ => text.strip_prefix("failed: ").map(|why| Heard::Sign(Sign::Complaint(shown(why)))),
    }
}

fn hear_listener(text: &str) -> Option<Sign> {
    if let Some(name) = text.strip_prefix("Running job: ") {
        return Some(Sign::JobStarted(shown(name)));
    }
    if let Some((name, result)) =
        text.strip_prefix("Job ").and_then(|rest| rest.rsplit_once(" completed with result: "))
    {
        return Some(Sign::JobFinished { name: shown(name), result: shown(result) });
    }
    if let Some(why) = text.strip_prefix("Agent connect error: ") {
        let why = why.strip_suffix(" Retrying until reconnected.").unwrap_or(why);
        return Some(Sign::ConnectError(shown(why)));
    }
    match text {
        "Listening for Jobs" => Some(Sign::Listening),
        "Agent reconnected." => Some(Sign::Reconnected),
        "A session for this agent already exists." => Some(Sign::SessionConflict),
        _ if is_complaint(text) => Some(Sign::Complaint(shown(text))),
        _ => None,
    }
}

/// Reasons for which a configuration run or a listener ends.
fn is_complaint(text: &str) -> bool {
    const BEGINNINGS: [&str; 7] = [
        "Failed to create session.",
        "The agent no longer exists on the server.",
        "Must not run ",
        "Agent pool not found: ",
        "Cannot configure the agent because ",
        "Invalid configuration provided for ",
        "Failed: ",
    ];
    BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)) || is_name_taken(text)
}

/// "Pool 3 already contains an agent with name x."
fn is_name_taken(text: &str) -> bool {
    text.starts_with("Pool ") && text.contains(" already contains an agent with name ")
}

/// Drops `2026-11-21 10:44:05Z: ` when the line begins with it.
fn without_time(line: &str) -> &str {
    const SHAPE: &[u8] = b"0000-00-00 00:00:00Z: ";
    let fits = line.len() > SHAPE.len()
        && line.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            other => byte == *other,
        });
    // All of it is ASCII when it fits, so this is a character boundary.
    if fits { &line[SHAPE.len()..] } else { line }
}

/// A text as it may be shown: one line, without what looks like a credential, not endless.
fn shown(text: &str) -> String {
    let out = without_long_runs(text.trim());
    // Cut last: half a credential would be too short to be noticed.
    out.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_MAX).collect()
}

/// The newest state in a log that was written before anybody listened: an adopted run is told by
/// what it does now, not by its history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Registering, Listening, JobStarted or JobFinished, whichever came last.
    state: Option<Sign>,
    /// What went wrong since then.
    trouble: Option<Sign>,
    /// The entry said that it registered, or a later line shows that it must have.
    registered: bool,
}

impl Standing {
    /// Takes the next line of the log.
    pub fn take(&mut self, heard: Heard) {
        let Heard::Sign(sign) = heard else {
            self.registered = true;
            return;
        };
        match sign {
            Sign::ConnectError(_) | Sign::SessionConflict | Sign::Complaint(_) => {
                self.trouble = Some(sign);
            }
            Sign::Reconnected => self.trouble = None,
            // It stands in no log, and after a restart of hostd it means nothing any more.
            Sign::JobAnnounced | Sign::JobAnnouncedOver => {}
            Sign::Registered(_) => self.registered = true,
            Sign::Registering => {
                self.state = Some(sign);
                self.trouble = None;
            }
            Sign::Listening | Sign::JobStarted(_) | Sign::JobFinished { .. } => {
                self.registered = true;
                self.state = Some(sign);
                self.trouble = None;
            }
        }
    }

    /// A registration exists: its files may be fetched.
    pub fn registered(&self) -> bool {
        self.registered
    }

    /// The listener was seen listening or working.
    pub fn listened(&self) -> bool {
        matches!(self.state, Some(Sign::Listening | Sign::JobStarted(_) | Sign::JobFinished { .. }))
    }

    /// The signs that stand for the whole history, oldest first.
    pub fn signs(self) -> impl Iterator<Item = Sign> {
        self.state.into_iter().chain(self.trouble)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sign(line: &str) -> Option<Sign> {
        match hear(line) {
            Some(Heard::Sign(sign)) => Some(sign),
            _ => None,
        }
    }

    #[test]
    fn every_line_of_run_sh_is_understood_or_means_nothing() {
        let ts = "2026-11-21 10:44:05Z: ";
        let table = [
            ("Scanning for tool capabilities.".to_owned(), None),
            ("Connecting to the server.".to_owned(), None),
            (format!("{ts}Listening for Jobs"), Some(Sign::Listening)),
            (format!("{ts}Running job: build x86"), Some(Sign::JobStarted("build x86".into()))),
            (
                format!("{ts}Agent connect error: timed out. Retrying until reconnected."),
                Some(Sign::ConnectError("timed out.".into())),
            ),
            (format!("{ts}Agent reconnected."), Some(Sign::Reconnected)),
            ("A session for this agent already exists.".to_owned(), Some(Sign::SessionConflict)),
            (
                "Failed to create session. no".to_owned(),
                Some(Sign::Complaint("Failed to create session. no".into())),
            ),
            ("Exiting...".to_owned(), None),
        ];
        for (line, expected) in table {
            assert_eq!(sign(&line), expected, "{line}");
            assert_eq!(sign(&format!("{line}\r\n")), expected, "{line} with its line end");
        }
    }

    #[test]
    fn every_result_of_a_job_is_understood() {
        for result in
            ["Succeeded", "SucceededWithIssues", "Failed", "Canceled", "Skipped", "Abandoned"]
        {
            let line = format!("2026-11-21 10:44:05Z: Job a b completed with result: {result}");
            assert_eq!(
                sign(&line),
                Some(Sign::JobFinished { name: "a b".into(), result: result.into() })
            );
        }
    }

    #[test]
    fn a_job_named_like_a_result_keeps_its_name() {
        let line = "Job x completed with result: y completed with result: Failed";
        assert_eq!(
            sign(line),
            Some(Sign::JobFinished {
                name: "x completed with result: y".into(),
                result: "Failed".into()
            })
        );
    }

    #[test]
    fn our_entry_is_understood() {
        assert_eq!(sign("fleet-entry: registering"), Some(Sign::Registering));
        assert_eq!(hear("fleet-entry: registered\n"), Some(Heard::Registered));
        assert_eq!(
            sign("fleet-entry: failed: Access denied."),
            Some(Sign::Complaint("Access denied.".into()))
        );
        assert_eq!(hear("fleet-entry: something else"), None);
    }

    #[test]
    fn complaints_of_the_configuration_are_understood() {
        for line in [
            "Pool 3 already contains an agent with name a-01.",
            "Agent pool not found: 'x'",
            "The agent no longer exists on the server. Please reconfigure the agent.",
            "Must not run interactively with sudo",
            "Must not run with sudo",
        ] {
            assert_eq!(sign(line), Some(Sign::Complaint(line.into())));
        }
    }

    #[test]
    fn what_looks_like_a_credential_is_not_shown() {
        let secret = "a1".repeat(26);
        let text = shown(&format!("token {secret}, guid 00000000-0000-0000-0000-000000000000"));
        assert_eq!(text, "token ***, guid 00000000-0000-0000-0000-000000000000");
    }

    fn standing(lines: &[&str]) -> Vec<Sign> {
        let mut standing = Standing::default();
        lines.iter().filter_map(|line| hear(line)).for_each(|heard| standing.take(heard));
        standing.signs().collect()
    }

    #[test]
    fn the_newest_state_stands_for_the_history() {
        let busy = Sign::JobStarted("b".into());
        assert_eq!(
            standing(&[
                "fleet-entry: registering",
                "fleet-entry: registered",
                "Listening for Jobs",
                "Running job: a",
                "Job a completed with result: Failed",
                "Running job: b",
            ]),
            vec![busy.clone()]
        );
        let trouble = Sign::ConnectError("x".into());
        let cut = ["Running job: b", "Agent connect error: x"];
        assert_eq!(standing(&cut), vec![busy.clone(), trouble]);
        let back = ["Running job: b", "Agent connect error: x", "Agent reconnected."];
        assert_eq!(standing(&back), vec![busy]);
        assert_eq!(standing(&["nothing known"]), vec![]);
    }

    proptest! {
        #[test]
        fn no_line_makes_it_fail_and_no_text_is_endless(line in "\\PC{0,600}") {
            let text = match hear(&line) {
                Some(Heard::Sign(Sign::JobStarted(text) | Sign::Complaint(text))) => text,
                _ => String::new(),
            };
            prop_assert!(text.chars().count() <= TEXT_MAX);
        }

        #[test]
        fn a_job_name_comes_back_as_it_was(name in "[A-Za-z][A-Za-z0-9 ._-]{0,30}[a-z]") {
            let line = format!("2026-11-21 10:44:05Z: Running job: {name}");
            prop_assert_eq!(sign(&line), Some(Sign::JobStarted(name)));
        }

        #[test]
        fn a_credential_never_comes_through(
            before in "[ -/:-@]{0,9}", secret in "[A-Za-z0-9]{52,84}", after in "[ -/:-@]{0,9}"
        ) {
            let text = shown(&format!("{before}{secret}{after}"));
            prop_assert!(!text.contains(&secret));
        }
    }
}
