//! `agentctl logs AGENT`: what an agent wrote, and what it goes on to write.

use clap::{Args, ValueEnum};
use clap_complete::ArgValueCandidates;
use fleet_proto::v1;
use jiff::Timestamp;

use crate::{
    cli::Global,
    complete,
    error::Failure,
    help,
    names::{Kind, ask_about},
    output::{self, Tone},
    view::{Line, LineKind},
    when,
};

/// Shows what an agent wrote, from its container or its unit alike.
///
/// Secrets that its host knows, and what looks like one, are shown as `***`. With -f it goes on with
/// the agent's next runs, until the agent is gone or somebody stops it.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl logs nightly-svc-svcstr-server-2-01 -f --since 10m",
    "The lines of the last ten minutes, then those to come",
    help::ASKING,
))]
pub(crate) struct Logs {
    /// Agent
    #[arg(add = ArgValueCandidates::new(complete::agents))]
    agent: String,
    /// Go on with every new line until stopped
    #[arg(short, long)]
    follow: bool,
    /// At most so many lines, the newest; or all
    #[arg(short = 'n', long, value_name = "N", default_value = "200", value_parser = tail)]
    tail: Tail,
    /// Only lines that are not older than this, or from this moment on
    #[arg(long, value_name = "TIME", value_parser = when::since)]
    since: Option<when::Since>,
    /// Begin each line with its time
    #[arg(long)]
    timestamps: bool,
    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tail(Option<u32>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// As they were written
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// Reads `200` or `all`.
fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail(None)),
        number => match number.parse() {
            Ok(number) => Ok(Tail(Some(number))),
            Err(_) => Err(format!("{text:?} is not a number of lines; write it like 50, or all")),
        },
    }
}

impl Logs {
    /// Shows lines until there are no more, or for ever with `-f`.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let session = global.session()?;
        let what = format!("read the log of {}", self.agent);
        let about = (Kind::Agent, self.agent.as_str());
        let mut client = session.client();
        let call = client.logs(self.request(Timestamp::now()));
        let mut stream = ask_about(&session, about, &what, call).await?;
        loop {
            match stream.message().await {
                Ok(Some(message)) => output::print(&self.lines(message.lines)?)?,
                Ok(None) => return Ok(()),
                Err(status) => return Err(session.explain(&what, status).await),
            }
        }
    }

    fn request(&self, now: Timestamp) -> v1::LogsRequest {
        v1::LogsRequest {
            agent: self.agent.clone(),
            follow: self.follow,
            tail: self.tail.0,
            since: self.since.and_then(|since| since.moment(now)).map(when::wire),
        }
    }

    /// What came together is printed together.
    fn lines(&self, lines: Vec<v1::LogLine>) -> Result<String, Failure> {
        let mut text = String::new();
        // What a later version says in a way that is not known here is left out.
        for line in lines.into_iter().filter_map(Line::read) {
            match self.output {
                Format::Json => text += &output::json_line(&line)?,
                Format::Text => text += &self.text(&line),
            }
        }
        Ok(text)
    }

    fn text(&self, line: &Line) -> String {
        let at = match (self.timestamps, line.at) {
            (true, Some(at)) => output::toned(&format!("{at:.3}  "), Tone::Dim),
            // As wide as a time, so that the lines stay below each other.
            (true, None) => " ".repeat(26),
            (false, _) => String::new(),
        };
        let words = output::plain_but_tabs(&line.text);
        let cut = match line.left_out {
            0 => String::new(),
            bytes => output::toned(&format!(" ... {bytes} bytes left out"), Tone::Dim),
        };
        let shown = match line.kind {
            LineKind::Line => words,
            LineKind::Note => {
                let source = output::plain(line.source.as_deref().unwrap_or_default());
                output::toned(&format!("{source}: {words}"), Tone::Dim)
            }
            LineKind::Run => {
                let run = line.run.unwrap_or_default();
                output::toned(&format!("--- run {run} ---"), Tone::Dim)
            }
            LineKind::Skipped => {
                let count = line.skipped.unwrap_or_default();
                output::toned(
                    &format!("... {} skipped", crate::words::count(count, "line")),
                    Tone::Warn,
                )
            }
        };
        format!("{at}{shown}{cut}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_a_number_or_all() {
        assert_eq!(tail("0"), Ok(Tail(Some(0))));
        assert_eq!(tail("all"), Ok(Tail(None)));
        for text in ["", "-1", "ALL", "1e3", "99999999999"] {
            assert!(tail(text).expect_err("no number").contains("or all"), "{text}");
        }
    }
}
