//! Logs, from a scripted host's upload to an operator who reads, or does not.

use fleet_model::{
    Phase,
    numbers::{LOG_CHUNK_MAX, LOGS_PER_HOST},
};
use fleet_proto::v1::{
    self, command::Command, log_line::What, session_response, upload_logs_request::Message,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::{
    host::{Host, Session, keeps},
    support::{Bench, LIMIT, NO_AZURE, operator_of},
};

const AGENT: &str = "nightly-h1-01";

/// A host in session with one agent, and another host beside it.
async fn fleet() -> (Bench, Host, Session) {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let mut session = host.open_empty(&bench).await;
    bench.wait_host("h1", |host| host.state == v1::HostState::Ready as i32).await;
    bench.scale("nightly", 1).await.expect("scaled");
    let assignment = session.assigned("nightly", 1).await;
    session.report(&keeps(&host.name, &assignment, Phase::Idle)).await;
    bench.wait_host("h1", |host| host.agents == 1).await;
    (bench, host, session)
}

fn request(follow: bool) -> v1::LogsRequest {
    v1::LogsRequest { agent: AGENT.into(), follow, tail: Some(200), since: None }
}

async fn read(bench: &mut Bench, follow: bool) -> Streaming<v1::LogsResponse> {
    bench.operator.logs(request(follow)).await.expect("a stream").into_inner()
}

/// What the host is asked for.
async fn asked(session: &mut Session) -> v1::OpenLogs {
    loop {
        let message = timeout(LIMIT, session.next()).await.expect("in time").expect("a message");
        if let session_response::Message::Command(command) = message
            && let Some(Command::OpenLogs(open)) = command.command
        {
            return open;
        }
    }
}

/// The host's end.
struct Upload {
    to: mpsc::Sender<v1::UploadLogsRequest>,
    answer: Streaming<v1::UploadLogsResponse>,
}

impl Upload {
    /// On the connection of the session.
    async fn offer(session: &Session, id: Vec<u8>) -> Self {
        let (to, messages) = mpsc::channel(1);
        to.send(upload(Message::Id(id))).await.expect("room");
        let answer = session.client.clone().upload_logs(ReceiverStream::new(messages)).await;
        Self { to, answer: answer.expect("a stream").into_inner() }
    }

    async fn say(&self, text: &str) {
        self.to.send(upload(lines(text))).await.expect("it is read");
    }

    async fn end(&self, trouble: &str) {
        let end = v1::LogsEnd { trouble: trouble.into() };
        self.to.send(upload(Message::End(end))).await.expect("it is read");
    }

    /// How the coordinator ends it.
    async fn ended(mut self) -> Option<Status> {
        timeout(LIMIT, self.answer.message()).await.expect("in time").err()
    }
}

fn upload(message: Message) -> v1::UploadLogsRequest {
    v1::UploadLogsRequest { message: Some(message) }
}

fn lines(text: &str) -> Message {
    let line = v1::LogLine { what: Some(What::Text(text.into())), ..v1::LogLine::default() };
    Message::Lines(v1::LogLines { lines: vec![line] })
}

/// The next line that an operator reads, or why there is none.
async fn next(log: &mut Streaming<v1::LogsResponse>) -> Result<Option<String>, Status> {
    let message = timeout(LIMIT, log.message()).await.expect("in time")?;
    Ok(message.map(|message| match message.lines[0].what.clone() {
        Some(What::Text(text)) => text,
        other => format!("{other:?}"),
    }))
}

#[tokio::test]
async fn an_operator_reads_what_the_host_tells_to_its_end() {
    let (mut bench, _, mut session) = fleet().await;
    let mut log = read(&mut bench, false).await;
    let open = asked(&mut session).await;
    assert_eq!((open.agent.as_str(), open.follow, open.tail), (AGENT, false, Some(200)));
    assert_eq!(open.id.len(), 16);
    let upload = Upload::offer(&session, open.id).await;
    upload.say("one").await;
    upload.say("two").await;
    upload.end("").await;
    for expected in [Some("one"), Some("two"), None] {
        assert_eq!(next(&mut log).await.expect("told").as_deref(), expected);
    }
    let mut other = read(&mut bench, true).await;
    let open = asked(&mut session).await;
    assert!(open.follow);
    let upload = Upload::offer(&session, open.id).await;
    upload.say("while it happens").await;
    assert_eq!(next(&mut other).await.expect("told").as_deref(), Some("while it happens"));
    upload.end("the engine does not answer").await;
    let trouble = next(&mut other).await.expect_err("trouble");
    assert!(trouble.message().contains("host h1: the engine does not answer"), "{trouble}");
}

#[tokio::test]
async fn an_operator_who_goes_away_ends_the_upload_at_once() {
    let (mut bench, _, mut session) = fleet().await;
    let mut log = read(&mut bench, true).await;
    let id = asked(&mut session).await.id;
    let upload = Upload::offer(&session, id.clone()).await;
    upload.say("one").await;
    next(&mut log).await.expect("told");
    drop(log);
    let to = upload.to.clone();
    assert_eq!(upload.ended().await.expect("told why").code(), Code::Cancelled);
    timeout(LIMIT, to.closed()).await.expect("nothing is taken any more");
    let late = Upload::offer(&session, id).await.ended().await.expect("refused");
    assert_eq!(late.code(), Code::NotFound, "an id is good once");
}

#[tokio::test]
async fn another_host_cannot_tell_this_hosts_log() {
    let (mut bench, _, mut session) = fleet().await;
    let other = Host::join(&mut bench, "h2", "str").await;
    let others = other.open_empty(&bench).await;
    let mut log = read(&mut bench, false).await;
    let id = asked(&mut session).await.id;
    let refused = Upload::offer(&others, id.clone()).await.ended().await.expect("refused");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    // Its own host is still waited for.
    let upload = Upload::offer(&session, id).await;
    upload.say("the true one").await;
    assert_eq!(next(&mut log).await.expect("told").as_deref(), Some("the true one"));
    let guessed = Upload::offer(&session, vec![7; 16]).await.ended().await.expect("refused");
    assert_eq!(guessed.code(), Code::NotFound);
    // Nor may an operator.
    let mut operator = v1::host_service_client::HostServiceClient::new(crate::support::channel(
        bench.running(),
        &bench.credential.identity(),
        &bench.credential.ca,
    ));
    let refused = operator.upload_logs(tokio_stream::empty()).await.expect_err("not a host");
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn logs_that_nobody_reads_hold_the_host_back_and_not_its_heartbeats() {
    let (mut bench, _, mut session) = fleet().await;
    let text = "x".repeat(LOG_CHUNK_MAX as usize - 100);
    // Somebody else, with a connection of their own.
    let mut reader = operator_of(bench.running(), &bench.credential);
    let mut slow = Vec::new();
    let mut taken = Vec::new();
    for _ in 0..LOGS_PER_HOST {
        slow.push(reader.logs(request(true)).await.expect("a stream").into_inner());
        let id = asked(&mut session).await.id;
        let upload = Upload::offer(&session, id).await;
        // Until nothing more is taken: the windows of both connections are full. On a machine that
        // has other things to do a moment is not enough to tell.
        let moment = std::time::Duration::from_millis(50);
        let (mut sent, mut idle) = (0, 0);
        while idle < 4 {
            match timeout(moment, upload.to.send(self::upload(lines(&text)))).await {
                Ok(_) => (sent, idle) = (sent + 1, 0),
                Err(_) => idle += 1,
            }
            assert!(sent < 200, "nothing holds the host back");
        }
        taken.push(sent);
        // Kept open.
        tokio::spawn(async move {
            let _ = upload.ended().await;
        });
    }
    let full = bench.operator.logs(request(true)).await.expect_err("too many");
    assert_eq!(full.code(), Code::ResourceExhausted);
    // What the host says on its session is heard all the same.
    for generation in 1..4 {
        let order = fleet_model::Order::new(7, generation);
        session.beat(order).await;
        let heard = |host: &v1::Host| host.applied == Some(order.into());
        bench.wait_host("h1", heard).await;
    }
    // One that reads again gets all of it, in order, while the others stay stuck.
    assert!(taken[0] > 0, "nothing was taken at all");
    for _ in 0..taken[0].min(8) {
        assert_eq!(
            next(&mut slow[0]).await.expect("told").map(|text| text.len()),
            Some(text.len())
        );
    }
}

#[tokio::test]
async fn a_host_that_is_lost_is_told_with_its_cause() {
    let (mut bench, _, mut session) = fleet().await;
    let (mut told, mut waiting) = (read(&mut bench, true).await, read(&mut bench, true).await);
    let id = asked(&mut session).await.id;
    let upload = Upload::offer(&session, id).await;
    asked(&mut session).await;
    upload.say("one").await;
    next(&mut told).await.expect("told");
    drop((session, upload));
    for log in [&mut told, &mut waiting] {
        let lost = next(log).await.expect_err("lost");
        assert_eq!(lost.code(), Code::Unavailable);
        assert!(lost.message().starts_with("host h1 "), "{lost}");
    }
    bench.wait_host("h1", |host| host.state == v1::HostState::Disconnected as i32).await;
    let away = bench.operator.logs(request(false)).await.expect_err("nobody to ask");
    assert_eq!(away.code(), Code::Unavailable);
    let said = away.message();
    assert!(said.contains("last heard of at 20"), "{said}");
    assert!(said.ends_with("; read the log there: `docker logs nightly-h1-01-1`"), "{said}");
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_at_once() {
    let (mut bench, _, mut session) = fleet().await;
    let unknown = v1::LogsRequest { agent: "nightly-h1-77".into(), ..request(false) };
    let unknown = bench.operator.logs(unknown).await.expect_err("no such agent");
    assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
    let since = Some(prost_types::Timestamp { seconds: -5, nanos: 0 });
    let odd = v1::LogsRequest { since, ..request(false) };
    let odd = bench.operator.logs(odd).await.expect_err("no such moment");
    assert_eq!(odd.code(), Code::InvalidArgument, "{odd}");
    // A host that breaks the rules is cut off, and the operator is told.
    for message in [lines(&"x".repeat(LOG_CHUNK_MAX as usize + 1)), Message::Id(vec![1])] {
        let mut log = read(&mut bench, false).await;
        let open = asked(&mut session).await;
        let broken = Upload::offer(&session, open.id).await;
        broken.to.send(upload(message)).await.expect("room");
        let cut = next(&mut log).await.expect_err("cut off");
        assert!(cut.message().contains("broke the log off"), "{cut}");
        assert!(!cut.message().contains("h2"), "{cut}");
        broken.ended().await.expect("told why");
    }
    // One that hangs up without an end has not told everything.
    let mut log = read(&mut bench, false).await;
    let id = asked(&mut session).await.id;
    let half = Upload::offer(&session, id).await;
    half.say("one").await;
    drop(half.to);
    assert_eq!(next(&mut log).await.expect("told").as_deref(), Some("one"));
    let cut = next(&mut log).await.expect_err("cut off");
    assert!(cut.message().contains("it ended without an end"), "{cut}");
}
