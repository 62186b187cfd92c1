//! `agentctl logs AGENT`: what an agent wrote, and what it goes on to write.

use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::ArgValueCandidates;
use fleet_proto::v1;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status, Streaming};

use crate::{
    cli::Global,
    complete,
    connect::Session,
    error::Failure,
    feed::is_final,
    help,
    names::{Kind, unknown},
    output::{self, Tone},
    place::Place,
    view::{Line, LineKind},
    when,
};

/// Before a log that broke off is asked for again; doubled from try to try.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A host that does not begin to tell is given up by the coordinator before that.
const HEARD_OUT: Duration = Duration::from_secs(15);
/// So often a host may say that it cannot tell it, before that is believed: about ten seconds.
const REFUSED_MAX: u32 = 6;

/// Shows what an agent wrote, from its container or its unit alike.
///
/// Secrets that its host knows, and what looks like one, are shown as `***`. With -f it goes on with
/// the agent's next runs, and after its host or the coordinator was away, until the agent is gone or
/// somebody stops it.
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
    /// Shows lines until there are no more; with `-f` until the agent is gone.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let session = global.session()?;
        let what = format!("read the log of {}", self.agent);
        let request = self.request(Timestamp::now());
        let mut reading = Reading {
            logs: &self,
            session,
            what,
            request,
            place: Place::default(),
            begun: false,
            lost: false,
            refused: 0,
            pause: FIRST_PAUSE,
        };
        Box::pin(reading.go_through()).await
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

/// A log that is read, with `-f` through breaks.
struct Reading<'a> {
    logs: &'a Logs,
    session: Session,
    what: String,
    /// What was asked for at first.
    request: v1::LogsRequest,
    place: Place,
    /// The host told something, or was heard out: a break is a break and no refusal.
    begun: bool,
    /// That it broke off was said.
    lost: bool,
    /// Answers in a row that say that it cannot be told as things are.
    refused: u32,
    pause: Duration,
}

impl Reading<'_> {
    async fn go_through(&mut self) -> Result<(), Failure> {
        loop {
            let opened = Instant::now();
            let mut client = self.session.client();
            let call = client.logs(self.next_request());
            let status = match self.session.within_limit(call).await {
                Ok(stream) => match self.read(stream).await? {
                    None => return Ok(()),
                    Some(status) => status,
                },
                Err(status) => status,
            };
            self.begun |= opened.elapsed() > HEARD_OUT;
            self.lose(status).await?;
        }
    }

    fn next_request(&self) -> v1::LogsRequest {
        match self.place.since() {
            Some(since) if self.lost => v1::LogsRequest {
                tail: None,
                since: Some(when::wire(since)),
                ..self.request.clone()
            },
            _ => self.request.clone(),
        }
    }

    /// Until it ends; with what, if that is not its end.
    async fn read(
        &mut self,
        mut stream: Streaming<v1::LogsResponse>,
    ) -> Result<Option<Status>, Failure> {
        loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    (self.begun, self.refused, self.pause) = (true, 0, FIRST_PAUSE);
                    if std::mem::take(&mut self.lost) {
                        output::say("the log goes on");
                    }
                    let lines = self.place.take(message.lines);
                    output::print(&self.logs.lines(lines)?)?;
                }
                Ok(None) => return Ok(None),
                Err(status) => return Ok(Some(status)),
            }
        }
    }

    /// It broke off: waits, unless asking again is of no use.
    async fn lose(&mut self, status: Status) -> Result<(), Failure> {
        if status.code() == Code::NotFound {
            let what = format!("cannot {}", self.what);
            return Err(unknown(&self.session, Kind::Agent, &self.logs.agent, &what).await);
        }
        // Its host may not know it yet when it is just back.
        let as_things_are = status.code() == Code::FailedPrecondition;
        self.refused += u32::from(as_things_are);
        let in_vain = !self.logs.follow || !self.begun || self.refused > REFUSED_MAX;
        let failure = self.session.explain(&self.what, status.clone()).await;
        if in_vain || is_final(&status) {
            return Err(failure);
        }
        if !std::mem::replace(&mut self.lost, true) {
            output::say(&format!("the log broke off ({}); trying again", failure.brief()));
        }
        self.place.broke_off();
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
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
