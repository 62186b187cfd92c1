//! Jobs as a console and a process list show them.

use azdo::sim::JobForm;
use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, UnixListener};

use crate::bench::{Bench, output};
use crate::configure::is_stamped;
use crate::process::{LIMIT, Process, child, is_alive, until};

#[tokio::test]
async fn run_sh_says_the_real_one_s_lines_in_order() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    bench.queue("Build all", 0);
    let (code, text) = output(agent.run(&["--once"])).await;
    assert_eq!(code, 0, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["Scanning for tool capabilities.", "Connecting to the server."]);
    let stamped = [
        "Listening for Jobs",
        "Running job: Build all",
        "Job Build all completed with result: Succeeded",
    ];
    assert_eq!(lines.len(), 5, "{text}");
    for (line, wanted) in lines[2..].iter().zip(stamped) {
        assert!(is_stamped(line, wanted), "{line}");
    }
}

#[tokio::test]
async fn process_names_and_parentage() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let form = JobForm { script: Some("exec sleep 600".to_owned()), ..JobForm::default() };
    let job = bench.queue_form(form);
    let shell = Process::start(agent.run(&[]));
    let listener = until("a listener under run.sh", || child(shell.pid(), "Agent.Listener")).await;
    let worker = until("a worker under the listener", || child(listener.pid, "Agent.Worker")).await;
    let step = until("the step under the worker", || child(worker.pid, "sleep")).await;

    let bin = agent.root.join("bin");
    assert_eq!(
        listener.arguments,
        [bin.join("Agent.Listener").display().to_string(), "run".to_owned()]
    );
    assert_eq!(
        worker.arguments[..2],
        [bin.join("Agent.Worker").display().to_string(), "spawnclient".to_owned()]
    );
    let descriptors: Result<Vec<i32>, _> =
        worker.arguments[2..].iter().map(|a| a.parse()).collect();
    assert_eq!(
        descriptors.map(|d| d.len()),
        Ok(2),
        "two descriptors, nothing of the job: {:?}",
        worker.arguments
    );
    assert_eq!(bench.running(job).await.agent.as_deref(), Some("a"));

    let environ = std::fs::read(format!("/proc/{}/environ", step.pid)).unwrap();
    let has = |start: &str| environ.split(|b| *b == 0).any(|v| v.starts_with(start.as_bytes()));
    assert!(has("TF_BUILD=True") && has("VSTS_PROCESS_LOOKUP_ID=vsts_"));
}

#[tokio::test]
async fn once_mode_exits_0_whatever_the_result() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    for (result, shown) in [
        ("failed", "Failed"),
        ("succeededWithIssues", "SucceededWithIssues"),
        ("skipped", "Skipped"),
        ("canceled", "Canceled"),
        ("abandoned", "Abandoned"),
    ] {
        let form = JobForm { result: result.to_owned(), duration_ms: 0, ..JobForm::default() };
        let job = bench.queue_form(form);
        let (code, text) = output(agent.run(&["--once"])).await;
        assert_eq!(code, 0, "{text}");
        assert!(text.contains(&format!("completed with result: {shown}")), "{text}");
        assert_eq!(bench.result(job).await, result);
    }
    // Same directory, same registration, run again and again: the row is there, offline.
    assert!(!bench.is_online("a"));
}

#[tokio::test]
async fn once_mode_takes_one_job_only() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let (first, second) = (bench.queue("first", 0), bench.queue("second", 0));
    assert_eq!(output(agent.run(&["--once"])).await.0, 0);
    assert_eq!(bench.result(first).await, "succeeded");
    assert!(bench.peek(second).result.is_none(), "it waits for the next agent");
    assert_eq!(bench.requeued(), 0, "and was never given to the one that was about to leave");
    assert_eq!(output(agent.run(&["--once"])).await.0, 0);
    assert_eq!(bench.result(second).await, "succeeded");
}

#[tokio::test]
async fn a_long_lived_listener_runs_one_job_after_another() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let mut listener = Process::start(agent.run(&[]));
    for name in ["one", "two", "three"] {
        let job = bench.queue(name, 0);
        listener.line(&format!("Job {name} completed")).await;
        assert_eq!(bench.result(job).await, "succeeded");
    }
    assert!(listener.is_running());
}

#[tokio::test]
async fn a_script_decides_and_its_output_is_logged() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let script = |text: &str| JobForm { script: Some(text.to_owned()), ..JobForm::default() };
    let bad = bench.queue_form(script("echo to the log; exit 3"));
    assert_eq!(output(agent.run(&["--once"])).await.0, 0);
    assert_eq!(bench.result(bad).await, "failed");
    let logs = agent.diag("Worker_");
    assert!(logs.contains("to the log") && logs.contains("exit status: 3"), "{logs}");

    let good =
        bench.queue_form(script("test \"$(pwd)\" = \"$BUILD_SOURCESDIRECTORY\" && touch made"));
    assert_eq!(output(agent.run(&["--once"])).await.0, 0);
    assert_eq!(bench.result(good).await, "succeeded");
    assert!(agent.root.join("_work/1/s/made").exists());
}

#[tokio::test]
async fn the_record_shows_what_an_earlier_job_left() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let mut found = Vec::new();
    for name in ["one", "two"] {
        let form = JobForm {
            name: name.to_owned(),
            script: Some(format!("touch {name}")),
            ..JobForm::default()
        };
        let job = bench.queue_form(form);
        assert_eq!(output(agent.run(&["--once"])).await.0, 0);
        found.push(bench.job(job).await.record.unwrap().work_folder);
    }
    assert_eq!(found[0], Vec::<String>::new());
    assert!(found[1].contains(&"1/s/one".to_owned()), "{:?}", found[1]);
}

#[tokio::test]
async fn what_a_job_leaves_running_is_ended_with_it() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let script = "setsid sleep 600 >/dev/null 2>&1 & echo $! > left; cat left";
    bench.queue_form(JobForm { script: Some(script.to_owned()), ..JobForm::default() });
    assert_eq!(output(agent.run(&["--once"])).await.0, 0);
    let left = std::fs::read_to_string(agent.root.join("_work/1/s/left")).unwrap();
    let left = nix::unistd::Pid::from_raw(left.trim().parse().unwrap());
    until("the sleeper is gone", || (!is_alive(left)).then_some(())).await;
}

#[tokio::test]
async fn a_person_cancels_and_the_agent_goes_on() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let form = JobForm {
        name: "long".to_owned(),
        script: Some("sleep 600".to_owned()),
        ..JobForm::default()
    };
    let job = bench.queue_form(form);
    let mut listener = Process::start(agent.run(&[]));
    listener.line("Running job: long").await;
    bench.running(job).await;
    bench.cancel(job);
    listener.line("Job long completed with result: Canceled").await;
    assert_eq!(bench.result(job).await, "canceled");
    let next = bench.queue("next", 0);
    assert_eq!(bench.result(next).await, "succeeded");
}

#[tokio::test]
async fn a_lock_is_kept_while_the_job_runs() {
    let bench =
        Bench::start_with(|settings| settings.lock_time = std::time::Duration::from_secs(2)).await;
    let agent = bench.install();
    agent.configured("a").await;
    // Longer than the lock's time: only renewals bring it to its end.
    let job = bench.queue("long", 5_000);
    assert_eq!(output(agent.run(&["--once"])).await.0, 0);
    assert_eq!(bench.result(job).await, "succeeded");
}

#[tokio::test]
async fn hang_after_job() {
    let bench = Bench::start().await;
    let agent = bench.install_with(|settings| settings["unloadMs"] = 1.into());
    agent.configured("a").await;
    let form = JobForm { duration_ms: 0, hang_after_job: true, ..JobForm::default() };
    let job = bench.queue_form(form);
    let mut listener = Process::start(agent.listener(&["--once"]));
    listener.line("completed with result: Succeeded").await;
    assert_eq!(bench.result(job).await, "succeeded");
    bench.offline("a").await;
    until("the log's last word", || {
        agent.diag("Agent_").contains("DELETE session 204").then_some(())
    })
    .await;
    assert!(listener.is_running());
    // A clean end would be 0: the SIGINT before it has done nothing, the SIGTERM limit ends it.
    listener.signal(Signal::SIGINT);
    listener.signal(Signal::SIGTERM);
    assert_eq!(listener.code().await, 143);
}

#[tokio::test]
async fn notification_socket() {
    let bench = Bench::start().await;
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let agent = bench.install();
    let mut config = agent.config("a");
    config.args(["--notificationsocketaddress", &socket.local_addr().unwrap().to_string()]);
    assert_eq!(output(config).await.0, 0);
    let job = bench.queue("j", 0);
    let run = Process::start(agent.run(&["--once"]));
    let (mut stream, _) = tokio::time::timeout(LIMIT, socket.accept()).await.unwrap().unwrap();
    let mut heard = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut heard)).await.unwrap().unwrap();
    assert_eq!(run.end().await.0, 0);
    assert_eq!(bench.result(job).await, "succeeded");
    let id = bench.row("a").await.unwrap().last_completed_request.unwrap().job_id.unwrap();
    assert_eq!(heard, format!("Starting job: {id}Finished job: {id}"));
}

#[tokio::test]
async fn notification_pipe() {
    let bench = Bench::start().await;
    let agent = bench.install();
    let path = agent.root.with_file_name("pipe");
    let mut config = agent.config("a");
    config.arg("--notificationpipename").arg(&path);
    assert_eq!(output(config).await.0, 0);
    let (code, text) = output(agent.run(&["--once"])).await;
    assert_eq!(code, 2, "unlike a socket, a pipe must be there: {text}");

    let pipe = UnixListener::bind(&path).unwrap();
    let job = bench.queue("j", 0);
    let run = Process::start(agent.run(&["--once"]));
    let (mut stream, _) = tokio::time::timeout(LIMIT, pipe.accept()).await.unwrap().unwrap();
    let mut heard = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut heard)).await.unwrap().unwrap();
    assert_eq!(run.end().await.0, 0);
    assert_eq!(bench.result(job).await, "succeeded");
    assert!(heard.starts_with("Starting job: ") && heard.contains("Finished job: "), "{heard}");
}
