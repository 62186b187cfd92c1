//! Exit codes 0, 1 and 2, and what leads to them. 3 and 4 belong to updates, see there.

use tokio::io::AsyncBufReadExt as _;

use crate::bench::{Bench, output};
use crate::process::{LIMIT, Process};

#[tokio::test]
async fn exit_1_when_not_configured() {
    let bench = Bench::start().await;
    let (code, text) = output(bench.install().run(&[])).await;
    assert_eq!(code, 1);
    assert!(text.contains("not configured"), "{text}");
}

#[tokio::test]
async fn session_conflict_is_retried_eight_times_then_exit_1() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let mut first = Process::start(agent.run(&[]));
    first.line("Listening for Jobs").await;
    let (code, text) = output(agent.run(&[])).await;
    assert_eq!(code, 1);
    let times = text.lines().filter(|l| *l == "A session for this agent already exists.").count();
    assert_eq!(times, 8, "{text}");
    assert!(text.contains("already has an active session for owner"), "{text}");
    assert!(first.is_running());
}

#[tokio::test]
async fn a_conflict_that_ends_in_time_is_waited_out() {
    let bench = Bench::start().await;
    let agent = bench.install_with(|settings| settings["sessionConflicts"] = 1_000_000.into());
    agent.configured("a").await;
    let mut first = Process::start(agent.run(&[]));
    first.line("Listening for Jobs").await;
    let mut second = Process::start(agent.run(&[]));
    second.said("A session for this agent already exists.", 2).await;
    first.signal_group(nix::sys::signal::Signal::SIGINT);
    second.line("Listening for Jobs").await;
}

#[tokio::test]
async fn exit_2_when_deleted_while_polling_and_exit_1_when_deleted_before_the_session() {
    let bench = Bench::start().await;
    let agent = bench.install_with(|settings| settings["sessionConflicts"] = 1_000_000.into());
    agent.configured("a").await;
    let mut first = Process::start(agent.run(&[]));
    first.line("Listening for Jobs").await;
    // The second has its token already when the row goes: that is the difference to a later start.
    let mut second = Process::start(agent.run(&[]));
    second.line("A session for this agent already exists.").await;
    bench.delete("a").await;
    assert_eq!(first.code().await, 2);
    second.line("The agent no longer exists on the server. Please reconfigure the agent.").await;
    assert_eq!(second.code().await, 1);
}

#[tokio::test]
async fn exit_0_when_the_registration_was_revoked() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let mut config = bench.install().config("a");
    config.arg("--replace");
    assert_eq!(output(config).await.0, 0);
    let (code, text) = output(agent.run(&[])).await;
    assert_eq!(code, 0, "the old key is refused, which looks like a clean end: {text}");
    assert!(!text.contains("Listening for Jobs"), "{text}");
}

#[tokio::test]
async fn a_lost_session_is_made_anew() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let mut listener = Process::start(agent.run(&[]));
    listener.line("Listening for Jobs").await;
    assert!(bench.kill_session("a"));
    bench.online("a").await;
    let job = bench.queue("j", 0);
    assert_eq!(bench.result(job).await, "succeeded");
}

#[tokio::test]
async fn a_server_out_of_order_is_waited_for() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    bench.sessions_answer(503);
    let mut listener = Process::start(agent.run(&[]));
    listener.line("Agent connect error:").await;
    bench.all_well();
    listener.line("Agent reconnected.").await;
    listener.line("Listening for Jobs").await;
}

#[tokio::test]
async fn exit_1_without_permission_to_execute() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    // The names are links to one file, so the mode of one would be the mode of all.
    let worker = agent.root.join("bin/Agent.Worker");
    std::fs::remove_file(&worker).unwrap();
    std::fs::write(&worker, "").unwrap();
    std::fs::set_permissions(&worker, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, text) = output(agent.run(&[])).await;
    assert_eq!(code, 1);
    assert!(text.contains("no permission to execute"), "{text}");
}

#[tokio::test]
async fn a_proxy_is_used_except_for_whom_it_is_not_meant() {
    let bench = Bench::start().await;
    let agent = bench.install();
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let mut config = agent.config("a");
    config.env("http_proxy", &address).env("no_proxy", "127.0.0.1");
    let (code, text) = output(config).await;
    assert_eq!(code, 0, "no_proxy names the server: {text}");

    let mut run = agent.run(&[]);
    run.env("VSTS_HTTP_PROXY", &address);
    let _listener = Process::start(run);
    let (stream, _) = tokio::time::timeout(LIMIT, proxy.accept()).await.unwrap().unwrap();
    let mut line = String::new();
    let mut stream = tokio::io::BufReader::new(stream);
    tokio::time::timeout(LIMIT, stream.read_line(&mut line)).await.unwrap().unwrap();
    assert_eq!(line, format!("POST {}/_apis/oauth2/token HTTP/1.1\r\n", bench.url()));
}
