//! The two anonymous pipes between a listener and its worker, and what is said on them. The worker learns the
//! descriptors from its command line (`spawnclient IN OUT`), so nothing of the job is in argv or environment.
//! A pipe that ends tells each side that the other is dead.

use std::io::PipeReader;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;

use crate::job::Job;

/// Longest message; a job is far smaller.
const LONGEST: u32 = 4 * 1024 * 1024;

/// What the listener says.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(crate) enum ToWorker {
    /// Run this.
    Run(Box<Order>),
    /// Stop it.
    Cancel,
}

/// What the worker says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(crate) enum ToListener {
    /// The job is understood.
    Started,
}

/// A job with what the worker needs around it. Not `Debug`: it holds a token.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Order {
    /// The job.
    pub(crate) job: Job,
    /// Organization URL.
    pub(crate) base: String,
    /// Token for the job record.
    pub(crate) token: String,
    /// Name of the agent.
    pub(crate) agent: String,
    /// Absolute work folder.
    pub(crate) work: std::path::PathBuf,
}

/// One side's pair of pipes.
pub(crate) struct Channel {
    input: pipe::Receiver,
    output: pipe::Sender,
}

impl Channel {
    /// Makes both pipes: the listener's side and the two descriptors to hand to the child. They stay inheritable
    /// only while the caller holds them, which is until the child is started.
    pub(crate) fn pair() -> anyhow::Result<(Self, [OwnedFd; 2])> {
        let (child_in, output) = std::io::pipe()?;
        let (input, child_out) = std::io::pipe()?;
        let child: [OwnedFd; 2] = [child_in.into(), child_out.into()];
        for end in &child {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        let input = pipe::Receiver::from_owned_fd(PipeReader::into(input))?;
        let output = pipe::Sender::from_owned_fd(output.into())?;
        Ok((Self { input, output }, child))
    }

    /// The arguments that tell a child its descriptors.
    pub(crate) fn arguments(child: &[OwnedFd; 2]) -> [String; 3] {
        [
            "spawnclient".to_owned(),
            child[0].as_raw_fd().to_string(),
            child[1].as_raw_fd().to_string(),
        ]
    }

    /// The worker's side, from its command line. The inherited descriptors are opened anew by way of `/proc` and
    /// closed, so that the job's processes do not inherit them and hold the pipe open.
    pub(crate) fn from_arguments(args: &[String]) -> anyhow::Result<Self> {
        let [verb, read, write] = args else { bail!("usage: Agent.Worker spawnclient IN OUT") };
        if verb != "spawnclient" {
            bail!("usage: Agent.Worker spawnclient IN OUT");
        }
        let number = |text: &String| {
            text.parse::<i32>().with_context(|| format!("'{text}' is no descriptor"))
        };
        let (read, write) = (number(read)?, number(write)?);
        let options = pipe::OpenOptions::new();
        let channel = Self {
            input: options.open_receiver(format!("/proc/self/fd/{read}"))?,
            output: options.open_sender(format!("/proc/self/fd/{write}"))?,
        };
        nix::unistd::close(read)?;
        nix::unistd::close(write)?;
        Ok(channel)
    }

    /// Sends one message; an error means that the other side is gone.
    pub(crate) async fn send(&mut self, message: &impl Serialize) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        self.output.write_u32_le(u32::try_from(bytes.len())?).await?;
        Ok(self.output.write_all(&bytes).await?)
    }

    /// Waits for one message; an error means that the other side is gone. Not cancel safe: a receive that is
    /// dropped half-way may lose a message, so the worker listens in a task of its own.
    pub(crate) async fn receive<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let length = self.input.read_u32_le().await?;
        if length > LONGEST {
            bail!("a message of {length} bytes is too long");
        }
        let mut bytes = vec![0; usize::try_from(length)?];
        self.input.read_exact(&mut bytes).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}
