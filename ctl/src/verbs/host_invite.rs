//! `agentctl host invite NAME --lab LAB`: one line to paste on the new server.

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use fleet_model::{HostName, LabelKey, numbers::JOIN_TOKEN_LIFE};
use fleet_proto::{convert::wire_duration, v1};
use jiff::Timestamp;

use crate::{cli::Global, error::Failure, help, output, when};

/// Invites a host: prints the line to run on it.
///
/// The line works once, for this host only, for ten minutes at most. It brings the token on
/// standard input, where no other user of the server can read it, and the fingerprint by which the
/// server knows the coordinator.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl host invite svcstr-server-2 --lab svc --label rack=7",
    "A new server in lab svc",
    help::ASKING,
))]
pub(crate) struct Invite {
    /// Host name, as the server calls itself
    name: HostName,
    /// Lab it stands in
    #[arg(long, value_parser = label_value)]
    lab: String,
    /// Another label, for selectors; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(LabelKey, String)>,
    /// How long the line works, 10m at most
    #[arg(long, value_name = "TIME", value_parser = validity)]
    valid_for: Option<Duration>,
    /// Print only the line, without sudo, for a script that is root there
    #[arg(short, long)]
    quiet: bool,
}

impl Invite {
    /// Asks for a token and prints the line.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let session = global.session()?;
        let request = v1::InviteHostRequest {
            host: self.name.to_string(),
            lab: self.lab.clone(),
            labels: self.labels()?,
            valid_for: self.valid_for.map(wire_duration),
        };
        let mut client = session.client();
        let what = format!("invite host {}", self.name);
        let invitation = session.ask(&what, client.invite_host(request)).await?;
        if !self.quiet {
            output::say(&self.explanation(&invitation));
        }
        output::print(&format!("{}\n", self.line(&invitation)))
    }

    fn labels(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut labels = BTreeMap::new();
        for (key, value) in &self.labels {
            let twice = labels.insert(key.to_string(), value.clone()).is_some();
            if twice || key.as_str() == "lab" {
                return Err(Failure::error(format!("cannot invite host {}", self.name))
                    .because(format!("label {key} is given twice"))
                    .next("give each label once; the lab is given by --lab"));
            }
        }
        Ok(labels)
    }

    /// `printf` is a builtin of every shell: the token appears in no process's arguments.
    fn line(&self, invitation: &v1::InviteHostResponse) -> String {
        let v1::InviteHostResponse { token, enroll_endpoint, ca_pin, .. } = invitation;
        let pin = ca_pin.strip_prefix("sha256:").unwrap_or(ca_pin);
        format!(
            "printf '%s' {} | {}hostd join --coordinator {} --name {} --ca-pin sha256:{}",
            quoted(token),
            if self.quiet { "" } else { "sudo " },
            word(enroll_endpoint),
            self.name,
            word(pin),
        )
    }

    fn explanation(&self, invitation: &v1::InviteHostResponse) -> String {
        let left = when::at(invitation.expires.as_ref())
            .map(|at| when::short(at.duration_since(Timestamp::now()) + ROUNDING))
            .map(|left| format!("within {left}, "))
            .unwrap_or_default();
        format!(
            "Run this line on {}, {left}once. It holds the one-time token: treat it as a password.",
            self.name
        )
    }
}

/// The answer took a moment; ten minutes should still read as ten minutes.
const ROUNDING: jiff::SignedDuration = jiff::SignedDuration::from_secs(5);

/// A text in single quotes, which a shell takes as it is.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A text that needs no quotes as it is, any other in quotes.
fn word(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
    // Brackets (IPv6) are a pattern for a shell; it is harmless only without them.
    if !text.is_empty() && text.chars().all(harmless) && !text.contains(['[', ']']) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Also read by selectors, so it must be writable in one.
fn label_value(text: &str) -> Result<String, String> {
    let bad = |c: char| c.is_control() || c.is_whitespace() || "(),=!".contains(c);
    if text.is_empty() || text.len() > 63 || text.contains(bad) {
        return Err(format!(
            "{text:?} is not a label's value: 1 to 63 characters, no white space and none of ( ) , = !"
        ));
    }
    Ok(text.to_owned())
}

fn label(text: &str) -> Result<(LabelKey, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.parse().map_err(|e: fleet_model::NameError| e.to_string())?, label_value(value)?))
}

fn validity(text: &str) -> Result<Duration, String> {
    let length = when::parse(text)?;
    let allowed = Duration::from_secs(1)..=JOIN_TOKEN_LIFE;
    if allowed.contains(&length) {
        return Ok(length);
    }
    Err(format!("{text} is not between 1s and {} minutes", JOIN_TOKEN_LIFE.as_secs() / 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_read_differently_is_quoted() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(word("coordinator.example:7444"), "coordinator.example:7444");
        assert_eq!(word("[::1]:7444"), "'[::1]:7444'");
        assert_eq!(word("a; rm -rf /"), "'a; rm -rf /'");
    }

    #[test]
    fn labels_and_lengths_are_checked_before_anything_is_asked() {
        assert!(label("rack=7").is_ok());
        for bad in ["rack", "=7", "rack=", "rack=a b", "ra ck=7", "rack=a=b"] {
            assert!(label(bad).is_err(), "{bad}");
        }
        assert_eq!(validity("10m"), Ok(JOIN_TOKEN_LIFE));
        assert!(validity("11m").is_err() && validity("0s").is_err());
    }
}
