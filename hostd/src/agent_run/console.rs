//! What the listener writes: into the run's log when it means something, into the journal always.

use std::io;

use hostd_plan::ListenerEnd;
use nix::{sys::stat::Mode, unistd::mkfifo};
use tokio::net::unix::pipe::{OpenOptions, Receiver};

use super::record::RunDir;
use crate::runtime::{
    Sign,
    signs::{Heard, hear},
};

/// A line longer than this is cut: nothing that means something is.
const LINE_MAX: usize = 4096;

pub(super) struct Console {
    dir: RunDir,
    pipe: Receiver,
    line: Vec<u8>,
    /// Signs that were read and not handed on yet.
    signs: std::collections::VecDeque<Sign>,
    /// The line before, when it meant something: the same again is no news.
    last: String,
    /// A job was taken since the listener began.
    pub(super) had_job: bool,
    conflict: bool,
}

impl Console {
    /// Opens the named pipe, which is made when it is not there. Opened for both ways, so that it
    /// never ends, whoever else comes and goes.
    pub(super) fn open(dir: &RunDir) -> io::Result<Self> {
        let path = dir.console();
        match mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let pipe = OpenOptions::new().read_write(true).open_receiver(&path)?;
        Ok(Self {
            dir: dir.clone(),
            pipe,
            line: Vec::new(),
            signs: std::collections::VecDeque::new(),
            last: String::new(),
            had_job: false,
            conflict: false,
        })
    }

    /// A new listener begins.
    pub(super) fn begin(&mut self) {
        self.had_job = false;
        self.conflict = false;
        self.last.clear();
    }

    /// The next thing that means something.
    pub(super) async fn next(&mut self) -> io::Result<Sign> {
        loop {
            if let Some(sign) = self.signs.pop_front() {
                return Ok(sign);
            }
            self.pipe.readable().await?;
            self.drain()?;
        }
    }

    /// Reads everything that is there.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        let mut bytes = [0; LINE_MAX];
        loop {
            match self.pipe.try_read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(count) => bytes[..count].iter().try_for_each(|byte| self.take(*byte))?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, byte: u8) -> io::Result<()> {
        if byte != b'\n' {
            if self.line.len() < LINE_MAX {
                self.line.push(byte);
            }
            return Ok(());
        }
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        // The journal is where people look.
        println!("{line}");
        let Some(heard) = hear(line) else { return Ok(()) };
        if self.last == line {
            return Ok(());
        }
        line.clone_into(&mut self.last);
        self.dir.say_line(line)?;
        if let Heard::Sign(sign) = heard {
            self.had_job |= matches!(sign, Sign::JobStarted(_));
            self.conflict |= sign == Sign::SessionConflict;
            self.signs.push_back(sign);
        }
        Ok(())
    }

    /// What is known of an end that nobody saw.
    pub(super) fn end_unseen(&self) -> ListenerEnd {
        ListenerEnd { code: None, had_job: self.had_job, conflict: self.conflict }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{fs, io::Write};

    use super::*;

    #[tokio::test]
    async fn what_means_something_goes_into_the_log_once() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        let mut console = Console::open(&run).unwrap();
        let mut listener =
            fs::OpenOptions::new().read(true).write(true).open(run.console()).unwrap();
        let error = "Agent connect error: x. Retrying until reconnected.";
        let text = format!("Listening for Jobs\nwhatever\n{error}\n{error}\nRunning job: a\r\nhal");
        listener.write_all(text.as_bytes()).unwrap();
        assert_eq!(console.next().await.unwrap(), Sign::Listening);
        assert_eq!(console.next().await.unwrap(), Sign::ConnectError("x.".into()));
        assert_eq!(console.next().await.unwrap(), Sign::JobStarted("a".into()));
        let log = fs::read_to_string(run.log()).unwrap();
        assert_eq!(log, format!("> Listening for Jobs\n> {error}\n> Running job: a\n"));
        assert!(console.end_unseen().had_job);
        console.begin();
        assert!(!console.end_unseen().had_job);
    }

    #[tokio::test]
    async fn a_line_without_end_does_not_grow() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        let mut console = Console::open(&run).unwrap();
        (0..10 * LINE_MAX).try_for_each(|_| console.take(b'x')).unwrap();
        assert_eq!(console.line.len(), LINE_MAX);
    }
}
