//! A running program of the package: its console, its signals, its end. Everything it started is in its process
//! group and ends with the test.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// No wait takes longer; a machine under load is no reason to fail.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Process {
    child: Child,
    group: Pid,
    lines: watch::Receiver<Vec<String>>,
    seen: usize,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let (sender, lines) = watch::channel(Vec::new());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        tokio::spawn(collect(child.stdout.take().unwrap(), sender.clone()));
        tokio::spawn(collect(child.stderr.take().unwrap(), sender));
        let group = Pid::from_raw(child.id().unwrap().cast_signed());
        Self { child, group, lines, seen: 0 }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.group
    }

    /// The next line that contains `text`, after the last one asked for.
    pub(crate) async fn line(&mut self, text: &str) -> String {
        let (seen, mut lines) = (self.seen, self.lines.clone());
        let find = |lines: &Vec<String>| lines[seen..].iter().position(|line| line.contains(text));
        let found = lines.wait_for(|lines| find(lines).is_some());
        let Ok(Ok(lines)) = tokio::time::timeout(LIMIT, found).await else {
            panic!("no '{text}' on the console:\n{}", self.console())
        };
        let at = seen + find(&lines).unwrap();
        let line = lines[at].clone();
        drop(lines);
        self.seen = at + 1;
        line
    }

    /// Everything said so far.
    pub(crate) fn console(&self) -> String {
        self.lines.borrow().join("\n")
    }

    pub(crate) fn count(&self, text: &str) -> usize {
        self.lines.borrow().iter().filter(|line| line.contains(text)).count()
    }

    /// Waits until `text` was said so often.
    pub(crate) async fn said(&mut self, text: &str, times: usize) {
        let enough =
            |lines: &Vec<String>| lines.iter().filter(|line| line.contains(text)).count() >= times;
        let waited =
            tokio::time::timeout(LIMIT, self.lines.wait_for(enough)).await.map(|r| r.map(drop));
        assert!(
            matches!(waited, Ok(Ok(()))),
            "'{text}' was not said {times} times:\n{}",
            self.console()
        );
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.group, signal).unwrap();
    }

    pub(crate) fn signal_group(&self, signal: Signal) {
        killpg(self.group, signal).unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Exit code; 128 + signal when a signal ended it. Output that comes with the end is still collected.
    pub(crate) async fn code(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt as _;
        let Ok(status) = tokio::time::timeout(LIMIT, self.child.wait()).await else {
            panic!("it does not end:\n{}", self.console())
        };
        let status = status.unwrap();
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
    }

    /// Waits for the end and for all output; only where nothing is left behind that holds the console open.
    pub(crate) async fn end(mut self) -> (i32, String) {
        let code = self.code().await;
        let closed = async { while self.lines.changed().await.is_ok() {} };
        tokio::time::timeout(LIMIT, closed)
            .await
            .unwrap_or_else(|_| panic!("something holds the console open"));
        (code, self.console())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A whole group: what run.sh or an update left behind is in it.
        let _ = killpg(self.group, Signal::SIGKILL);
    }
}

async fn collect(stream: impl AsyncRead + Unpin, lines: watch::Sender<Vec<String>>) {
    let mut stream = BufReader::new(stream).lines();
    while let Ok(Some(line)) = stream.next_line().await {
        lines.send_modify(|all| all.push(line));
    }
}

/// Waits until `what` is so; looks again as soon as the kernel lets us. For facts that nothing announces.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let tried = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, tried)
        .await
        .unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

/// What `/proc` says about a process.
pub(crate) struct Seen {
    pub(crate) pid: Pid,
    pub(crate) parent: Pid,
    pub(crate) comm: String,
    pub(crate) arguments: Vec<String>,
}

/// All processes of this machine that are not zombies.
pub(crate) fn processes() -> Vec<Seen> {
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter_map(look).collect()
}

fn look(pid: i32) -> Option<Seen> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(") ")?;
    let mut fields = tail.split(' ');
    if ["Z", "X"].contains(&fields.next()?) {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments = line.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned());
    Some(Seen {
        pid: Pid::from_raw(pid),
        parent: Pid::from_raw(parent),
        comm: head.split_once('(')?.1.to_owned(),
        arguments: arguments.filter(|a| !a.is_empty()).collect(),
    })
}

/// The one child of `parent` with this name, when there is one.
pub(crate) fn child(parent: Pid, comm: &str) -> Option<Seen> {
    processes().into_iter().find(|p| p.parent == parent && p.comm == comm)
}

pub(crate) fn is_alive(pid: Pid) -> bool {
    look(pid.as_raw()).is_some()
}
