//! `agentctl events`: the fleet's history, and what is being added to it.

use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::ArgValueCandidates;
use fleet_proto::{exit::Exit, v1};
use jiff::Timestamp;
use tonic::{Code, Status, Streaming};

use crate::{
    cli::Global,
    complete,
    connect::Session,
    error::Failure,
    help,
    output::{self, Tone},
    view::Event,
    when,
};

/// Between two tries to reach a coordinator that was lost while following.
const PAUSE: Duration = Duration::from_secs(1);

/// Shows what happened, oldest first.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl events -f --pool nightly-svc",
    "The newest events of a pool, then those to come",
    help::ASKING,
))]
pub(crate) struct Events {
    /// Go on with every new event until stopped
    #[arg(short, long)]
    follow: bool,
    /// Only events that are not older than this
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<Duration>,
    /// At most so many, the newest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Only events of this pool
    #[arg(long, add = ArgValueCandidates::new(complete::pools))]
    pool: Option<String>,
    /// Only events of this host
    #[arg(long, add = ArgValueCandidates::new(complete::hosts))]
    host: Option<String>,
    /// Only events of this agent
    #[arg(long, add = ArgValueCandidates::new(complete::agents))]
    agent: Option<String>,
    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// One line per event
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

impl Events {
    /// Shows events until there are no more, or for ever with `-f`.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let session = global.session()?;
        let mut request = self.request(Timestamp::now());
        let mut reached = false;
        let mut told = false;
        loop {
            let ended = self.show_all(&session, &mut request, &mut reached, &mut told).await?;
            let Err(status) = ended else { return Ok(()) };
            // Without -f an answer cut short is an error; with it, the coordinator may be back
            // soon, and nothing is lost because the request goes on where it stood.
            if !self.follow || !reached || is_final(&status) {
                return Err(session.explain("read the events", status).await);
            }
            if !told {
                let why = session.explain("read the events", status).await.brief();
                output::say(&format!("lost the coordinator ({why}); trying again"));
                told = true;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn request(&self, now: Timestamp) -> v1::ListEventsRequest {
        let since = self.since.and_then(|age| now.checked_sub(age).ok());
        v1::ListEventsRequest {
            after_seq: 0,
            since: since.map(when::wire),
            limit: self.limit,
            follow: self.follow,
            pool: self.pool.clone().unwrap_or_default(),
            host: self.host.clone().unwrap_or_default(),
            agent: self.agent.clone().unwrap_or_default(),
        }
    }

    /// One stream, to its end. The outer error is ours (nobody reads any more).
    async fn show_all(
        &self,
        session: &Session,
        request: &mut v1::ListEventsRequest,
        reached: &mut bool,
        told: &mut bool,
    ) -> Result<Result<(), Status>, Failure> {
        let mut client = session.client();
        let opened = session.within_limit(client.list_events(request.clone())).await;
        let mut stream: Streaming<v1::ListEventsResponse> = match opened {
            Ok(stream) => stream,
            Err(status) => return Ok(Err(status)),
        };
        (*reached, *told) = (true, false);
        loop {
            let event = match stream.message().await {
                Ok(Some(message)) => message.event,
                Ok(None) if self.follow => {
                    return Ok(Err(Status::unavailable("the coordinator ended the stream")));
                }
                Ok(None) => return Ok(Ok(())),
                Err(status) => return Ok(Err(status)),
            };
            let Some(event) = event.map(Event::from) else { continue };
            request.after_seq = event.seq;
            // From here on the place is known exactly; the first limits were for the past only.
            (request.since, request.limit) = (None, 0);
            output::print(&self.line(&event)?)?;
        }
    }

    fn line(&self, event: &Event) -> Result<String, Failure> {
        match self.output {
            Format::Json => output::json_line(event),
            Format::Text => Ok(text(event)),
        }
    }
}

fn is_final(status: &Status) -> bool {
    Exit::of(status) == Exit::Refused || status.code() == Code::InvalidArgument
}

/// Time, kind, about what, what, and who.
pub(crate) fn text(event: &Event) -> String {
    let at = event.at.map_or_else(|| "-".to_owned(), |at| format!("{at:.0}"));
    let about = output::plain(event.about());
    let message = output::plain(&event.message);
    let actor = output::toned(&format!("({})", output::plain(&event.actor)), Tone::Dim);
    format!("{at}  {:<16}  {about:<28}  {message}  {actor}\n", output::plain(&event.kind))
}
