//! What a job leaves behind, and what is found of it by the next one: nothing.

use std::{fs, os::unix::fs::MetadataExt, process::Command, time::Duration};

use azdo::sim::JobForm;
use fleet_model::Mode;
use hostd::runtime::{RunSpec, Runtime, Sign, StartWith};

use crate::{
    azure::{NEW_VERSION, TOKEN},
    bench::{Bench, next},
    systemd::{Case, Units},
    watching::{LIMIT, Watching},
};

pub(crate) const CASES: &[Case] = &[
    ("nothing_of_a_job_is_there_for_the_next_one", |b| Box::pin(nothing_is_left(b))),
    ("a_job_cannot_send_the_cleaning_to_its_neighbour", |b| Box::pin(misled(b))),
    ("an_update_brings_the_new_version", |b| Box::pin(update(b))),
    ("a_token_is_nowhere_once_the_agent_is_registered", |b| Box::pin(no_token(b))),
    ("a_listener_has_only_the_environment_that_was_meant", |b| Box::pin(environment(b))),
    ("two_agents_share_the_files_of_one_package", |b| Box::pin(shared_files(b))),
    ("a_jobs_containers_end_with_it_and_others_do_not", |b| Box::pin(containers(b))),
    ("another_package_than_the_one_meant_starts_nothing", |b| Box::pin(wrong_package(b))),
];

/// Output of a shell on this server, as root.
pub(crate) fn shell(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {words}");
    String::from_utf8(output.stdout).unwrap()
}

/// Queues a job that runs this script, for this agent only.
pub(crate) fn give_script(bench: &Units, spec: &RunSpec, script: &str) -> i64 {
    let demands = vec![format!("Agent.Name -equals {}", spec.run.agent)];
    let script = Some(script.to_owned());
    let job = JobForm { name: "nasty".into(), script, demands, ..JobForm::default() };
    bench.azure.sim.queue("nightly", job).unwrap()
}

/// Waits for a job's end.
pub(crate) async fn finished(bench: &Units, job: i64) -> azdo::sim::JobView {
    let sim = &bench.azure.sim;
    let is_over = || sim.job(job).is_some_and(|job| job.result.is_some());
    let waited = sim.wait_for(LIMIT, |_| is_over()).await;
    assert!(waited.is_ok(), "job {job} does not end: {:?}", sim.job(job));
    sim.job(job).unwrap()
}

/// Starts an agent with a token, and returns the registration that it made.
pub(crate) async fn registered(
    watching: &mut Watching,
    bench: &Units,
    spec: &RunSpec,
) -> StartWith {
    bench.runtime.ensure_started(spec).await.unwrap();
    let sign = watching.sign(&spec.run, "Registered", |s| matches!(s, Sign::Registered(_))).await;
    let Sign::Registered(files) = sign else { panic!("{sign:?}") };
    watching.listening(&spec.run).await;
    StartWith::Registration(files)
}

async fn nothing_is_left(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let spec = bench.spec(1, Mode::Once);
    let registration = registered(&mut watching, bench, &spec).await;
    let root = bench.root_of(&spec);
    let user = bench.unit_json(&spec)["user"].as_str().unwrap().to_owned();
    // As its user: files, links out of the folder, a process that wants to stay.
    let script = "cd ~/agent/_work || exit 1
        mkdir -p a/b && echo x >a/b/file && chmod 000 a/b/file && chmod 555 a/b
        ln -s /etc/passwd a/link && ln -s /home a/homes
        echo x >/tmp/left-by-a-job; echo x >/dev/shm/left-by-a-job
        setsid sleep 3600 >/dev/null 2>&1 &
        sleep 2";
    let job = give_script(bench, &spec, script);
    watching.busy(&spec.run).await;
    // As root, as a job with the engine's socket could: files, marks, a full file system (in memory
    // where the kernel gives a container no loop devices).
    let work = root.join("_work");
    shell(&format!(
        "cd {w} && mkdir -p r/deep && echo x >r/deep/file && chattr +i r/deep/file && \
         echo x >r/append && chattr +a r/append && echo x >r/other && chmod 400 r/other && \
         dd if=/dev/zero of=r/image bs=1M count=8 status=none && mkfs.ext2 -q r/image && \
         mkdir r/mounted && \
         (mount -o loop r/image r/mounted 2>/dev/null || mount -t tmpfs -o size=1M x r/mounted) && \
         (cat /dev/zero >r/mounted/brim 2>/dev/null || true)",
        w = work.display()
    ));
    assert_eq!(finished(bench, job).await.result.as_deref(), Some("succeeded"));
    assert_eq!(watching.ended(&spec.run).await, Some(0));
    let processes = shell("ps -eo user:32,args");
    assert!(!processes.lines().any(|line| line.starts_with(&user)), "{processes}");

    let second = next(&spec, registration);
    bench.runtime.ensure_started(&second).await.unwrap();
    watching.listening(&second.run).await;
    let job = give_script(bench, &second, "true");
    let seen = finished(bench, job).await;
    assert_eq!(seen.record.as_ref().unwrap().work_folder, [""; 0], "the work folder is empty");
    assert_eq!(watching.ended(&second.run).await, Some(0));
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    assert!(passwd.contains("root:"), "links out of the folder are not followed");
    for place in ["/tmp/left-by-a-job", "/dev/shm/left-by-a-job"] {
        assert!(!std::path::Path::new(place).exists(), "{place}");
    }
    // What was put aside goes at leisure, and then it is gone too.
    let end = tokio::time::Instant::now() + LIMIT;
    while shell(&format!("ls -A {}", root.display())).contains(".fleet-old-") {
        assert!(tokio::time::Instant::now() < end, "what was put aside stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mounted = shell("grep /home /proc/self/mountinfo || :");
    assert!(!mounted.contains("mounted"), "{mounted}");
}

/// A job moves its agent's directory away and puts a link to the neighbour's in its place.
async fn misled(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let (bad, good) = (bench.spec(1, Mode::Once), bench.spec(2, Mode::Once));
    let registration = registered(&mut watching, bench, &bad).await;
    registered(&mut watching, bench, &good).await;
    let at_work = give_script(bench, &good, "echo x >mine; sleep 6; cat mine");
    watching.busy(&good.run).await;
    let neighbour = bench.root_of(&good);
    let script = format!("cd ~ && mv agent away && ln -s {} agent", neighbour.display());
    let job = give_script(bench, &bad, &script);
    assert_eq!(finished(bench, job).await.result.as_deref(), Some("succeeded"));
    watching.ended(&bad.run).await;
    // Its next run has a directory of its own again.
    let next = next(&bad, registration);
    bench.runtime.ensure_started(&next).await.unwrap();
    watching.listening(&next.run).await;
    assert!(!bench.root_of(&next).is_symlink());
    assert_eq!(finished(bench, at_work).await.result.as_deref(), Some("succeeded"));
    assert!(neighbour.join(".agent").exists(), "the neighbour is registered as before");
}

async fn update(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    for (number, mode, code) in [(1, Mode::Once, 4), (2, Mode::LongLived, 3)] {
        let spec = bench.spec(number, mode);
        registered(&mut watching, bench, &spec).await;
        bench.update(&spec.run).await;
        assert_eq!(watching.ended(&spec.run).await, Some(code));
        bench.runtime.ensure_started(&spec).await.unwrap();
        watching.listening(&spec.run).await;
        assert_eq!(bench.azure.version(&spec.run).as_deref(), Some(NEW_VERSION));
    }
}

async fn no_token(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let spec = bench.spec(1, Mode::Once);
    registered(&mut watching, bench, &spec).await;
    // The search has the token as two halves, so that it does not find itself.
    let (one, other) = TOKEN.split_at(20);
    let found = shell(&format!(
        "t={one}; t=${{t}}{other}; \
         grep -rlF \"$t\" /home /run/fleet-test /var/log /tmp /etc 2>/dev/null; \
         journalctl --no-pager -q 2>/dev/null | grep -F \"$t\"; \
         for p in /proc/[0-9]*; do \
             [ \"${{p#/proc/}}\" = $$ ] && continue; \
             tr '\\0' ' ' <$p/comm 2>/dev/null | grep -q conformance && continue; \
             grep -lF \"$t\" $p/environ $p/cmdline 2>/dev/null; done; :"
    ));
    assert_eq!(found.trim(), "");
}

async fn environment(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let mut spec = bench.spec(1, Mode::Once);
    let template = std::sync::Arc::make_mut(&mut spec.template);
    template.env.insert("LAB_GPU".into(), "h200 x 8".into());
    template.env.insert("dotted.name".into(), "1".into());
    template.mtu = Some(1450);
    template.proxy.no_proxy = Some("127.0.0.1".into());
    registered(&mut watching, bench, &spec).await;
    let unit = bench.unit_json(&spec);
    let user = unit["user"].as_str().unwrap();
    let script =
        format!("tr '\\0' '\\n' </proc/$(pgrep -u {user} -f Agent.Listener)/environ | sort");
    let lines = shell(&script);
    let mut expected = vec![
        "AGENT_DOCKER_MTU_VALUE=1450".to_owned(),
        format!("FLEET_OWNER={}", spec.owner),
        format!("HOME=/home/{user}"),
        "LAB_GPU=h200 x 8".to_owned(),
        "LANG=C".to_owned(),
        format!("LOGNAME={user}"),
        "NO_PROXY=127.0.0.1".to_owned(),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("USER={user}"),
        "VSO_AGENT_IGNORE=AGENT_ALLOW_RUNASROOT,NO_PROXY,no_proxy".to_owned(),
        "dotted.name=1".to_owned(),
        "no_proxy=127.0.0.1".to_owned(),
        "rack=r12".to_owned(),
    ];
    let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    lines.sort();
    expected.sort();
    assert_eq!(lines, expected);
    let status = shell(&format!(
        "grep -E '^(Uid|Groups)' /proc/$(pgrep -u {user} -f Agent.Listener)/status"
    ));
    assert!(status.contains(&unit["uid"].to_string()), "{status}");
}

async fn shared_files(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let specs = [bench.spec(1, Mode::Once), bench.spec(2, Mode::Once)];
    for spec in &specs {
        registered(&mut watching, bench, spec).await;
    }
    let file = |spec: &RunSpec| fs::metadata(bench.root_of(spec).join("bin/Agent.Worker")).unwrap();
    let [one, other] = specs.each_ref().map(file);
    assert_eq!(one.ino(), other.ino(), "one file on the disk");
    assert_eq!((one.uid(), one.mode() & 0o222), (0, 0), "root's, and nobody may write");
    let homes = specs.each_ref().map(|spec| bench.unit_json(spec)["home"].clone());
    let peek = format!("su -s /bin/sh -c 'ls {}' {}", homes[1].as_str().unwrap(), "nobody");
    let peeked = Command::new("sh").args(["-c", &peek]).output().unwrap();
    assert!(!peeked.status.success(), "nobody looks into another one's home");
}

async fn containers(bench: &Units) {
    // An image of one program: no registry can be reached.
    shell(
        "cd / && tar -cf - $(ldd /bin/sleep | grep -o '/[^ ]*') /bin/sleep 2>/dev/null \
         | docker import - fleet-test-sleep:1 >/dev/null",
    );
    shell("docker run -d --name foreign -v /home:/home fleet-test-sleep:1 /bin/sleep 600");
    let mut watching = Watching::begin(bench.runtime()).await;
    let mut spec = bench.spec(1, Mode::Once);
    std::sync::Arc::make_mut(&mut spec.template).docker_group = true;
    registered(&mut watching, bench, &spec).await;
    let script = "docker run -d --name left -v ~/agent/_work:/w fleet-test-sleep:1 /bin/sleep 600";
    let job = give_script(bench, &spec, script);
    assert_eq!(finished(bench, job).await.result.as_deref(), Some("succeeded"));
    assert_eq!(watching.ended(&spec.run).await, Some(0));
    let names = shell("docker ps -a --format '{{.Names}}'");
    shell("docker rm -f foreign left 2>/dev/null; docker rmi -f fleet-test-sleep:1");
    assert_eq!(names.trim(), "foreign");
}

async fn wrong_package(bench: &Units) {
    let mut settings = bench.settings.clone();
    let package = settings.package.as_mut().unwrap();
    package.sha256 = "0".repeat(64);
    let runtime = hostd::runtime::systemd::SystemdRuntime::new(settings);
    let spec = bench.spec(1, Mode::Once);
    let error = crate::bench::error(runtime.ensure_started(&spec).await).to_string();
    assert!(error.contains("not the one that was meant"), "{error}");
    assert!(runtime.list().await.unwrap().is_empty());
}
