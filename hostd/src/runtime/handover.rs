//! The directory through which hostd and the entry of a run hand each other things.
//!
//! ```text
//!   <runs>/                 0700, in memory (/run): a reboot ends runs and secrets together
//!     <agent>-<attempt>/    0700, hostd only
//!       token-run           there when the run began with a token
//!       taken/              the registration, once fetched
//!       fleet/              the only part that the run sees, as its FLEET_HANDOVER
//!         entry.sh  env     our entry, and the listener's environment, NAME=VALUE lines
//!         token             until the entry read it (it unlinks it; hostd does so again)
//!         in/   out/        a registration to install, a registration that was made
//! ```
//!
//! A directory is handed in, never a file: a file that is mounted by itself stays readable after it
//! was unlinked. What comes out of `out/` was written by whoever lives in the run, so it is read
//! without following links, bounded, and only once.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, openat},
    sys::stat::Mode as FileMode,
};
use secrecy::ExposeSecret;

use super::{RunId, StartWith};
use crate::disk::{absent_is_fine, blocking};

/// Our entry; see its head for the contract.
const ENTRY: &str = include_str!("../../entry/entry.sh");
/// Name of the part that the run sees.
const SHARED: &str = "fleet";
/// Files that make a registration.
const REGISTRATION: [&str; 3] = [AGENT, ".credentials", ".credentials_rsaparams"];
/// The one that says which row of which pool it is, and how the listener behaves.
const AGENT: &str = ".agent";
/// In there: where the listener announces its jobs.
const NOTIFY: &str = "notificationSocketAddress";
/// Tells the entry the same, for a configuration.
pub(super) const NOTIFY_VARIABLE: &str = "FLEET_NOTIFY";
/// The agent writes its JSON with a byte order mark.
const BOM: &[u8] = b"\xEF\xBB\xBF";
/// They have about 2 KiB; what is larger is no registration.
const FILE_MAX: u64 = 64 * 1024;

/// Name → content.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// Who must be able to read and unlink what is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// hostd's own user, root as a rule.
    Me,
    /// This user.
    Uid(u32),
    /// A user known to the image by name only. The parent directory keeps everyone else out.
    Anyone,
}

impl Holder {
    /// Under which number of the host's users a container of it runs, where that is known. (An image
    /// without a user runs as root, and so does one that names root.)
    pub(super) const fn uid(self) -> Option<u32> {
        match self {
            Self::Me => Some(0),
            Self::Uid(uid) => Some(uid),
            Self::Anyone => None,
        }
    }

    /// Modes of a directory, a file, and a file that is executed.
    const fn modes(self) -> (u32, u32, u32) {
        match self {
            Self::Me | Self::Uid(_) => (0o700, 0o600, 0o500),
            Self::Anyone => (0o777, 0o644, 0o555),
        }
    }

    /// Gives `path` to the holder.
    pub(super) fn own(self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        match self {
            Self::Uid(uid) => std::os::unix::fs::chown(path, Some(uid), Some(uid)),
            Self::Me | Self::Anyone => Ok(()),
        }
    }

    /// Makes a directory for the holder; it may be there already.
    pub(super) fn make_dir(self, path: &Path) -> io::Result<()> {
        private_dirs(path)?;
        self.own(path, self.modes().0)
    }
}

/// All hand-over directories of this host.
#[derive(Debug, Clone)]
pub(super) struct Handover {
    runs: PathBuf,
}

impl Handover {
    pub(super) fn new(runs: PathBuf) -> Self {
        Self { runs }
    }

    fn of(&self, run: &RunId) -> PathBuf {
        self.runs.join(run.to_string())
    }

    /// The part that the run sees.
    pub(super) fn shared(&self, run: &RunId) -> PathBuf {
        self.of(run).join(SHARED)
    }

    /// Was something handed over to this run already?
    pub(super) fn exists(&self, run: &RunId) -> bool {
        self.of(run).exists()
    }

    /// Writes everything for a new run, and returns the part that the run sees.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when there is one: whether it may be replaced depends on
    /// whether the run exists, which the caller knows.
    pub(super) fn prepare(
        &self,
        run: &RunId,
        start: &StartWith,
        env: &BTreeMap<String, String>,
        holder: Holder,
    ) -> io::Result<PathBuf> {
        private_dirs(&self.runs)?;
        let own = self.of(run);
        DirBuilder::new().mode(0o700).create(&own)?;
        let shared = own.join(SHARED);
        let written = self.fill(&own, &shared, start, env, holder);
        if written.is_err() {
            // Half a hand-over would be taken for a whole one by the next try.
            self.remove(run)?;
        }
        written.map(|()| shared)
    }

    fn fill(
        &self,
        own: &Path,
        shared: &Path,
        start: &StartWith,
        env: &BTreeMap<String, String>,
        holder: Holder,
    ) -> io::Result<()> {
        let (_, file_mode, program_mode) = holder.modes();
        holder.make_dir(shared)?;
        for name in ["in", "out"] {
            holder.make_dir(&shared.join(name))?;
        }
        let put = |name: &str, content: &[u8], mode: u32| {
            let path = shared.join(name);
            write_new(&path, content)?;
            holder.own(&path, mode)
        };
        put("entry.sh", ENTRY.as_bytes(), program_mode)?;
        let lines: String = env.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        put("env", lines.as_bytes(), file_mode)?;
        match start {
            StartWith::Token(token) => {
                write_new(&own.join("token-run"), b"")?;
                put("token", token.expose_secret().trim().as_bytes(), file_mode)
            }
            StartWith::Registration(files) => REGISTRATION
                .iter()
                .filter_map(|name| files.get(*name).map(|content| (name, content)))
                .try_for_each(|(name, content)| put(&format!("in/{name}"), content, file_mode)),
        }
    }

    /// Fetches the registration that the run made: once, and only from a run that began with a
    /// token. Later calls, and other runs, get none.
    ///
    /// # Errors
    /// Files that cannot be read, or are no registration of this agent.
    pub(super) fn take_registration(&self, run: &RunId) -> io::Result<Option<Files>> {
        let own = self.of(run);
        let (taken, marker) = (own.join("taken"), own.join("token-run"));
        if taken.exists() || !marker.exists() {
            return Ok(None);
        }
        let mut files = read_out(&self.shared(run))?;
        check_agent(&files, run)?;
        // Of this run only.
        announcing(&mut files, None);
        let half = own.join("taken.new");
        if half.exists() {
            fs::remove_dir_all(&half)?;
        }
        private_dirs(&half)?;
        for (name, content) in &files {
            write_new(&half.join(name), content)?;
        }
        // From here on, what stands in out/ means nothing any more.
        fs::rename(&half, &taken)?;
        self.drop_token(run)?;
        Ok(Some(files))
    }

    /// The registration that was fetched earlier, for the next life of hostd.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub(super) fn taken(&self, run: &RunId) -> io::Result<Option<Files>> {
        let taken = self.of(run).join("taken");
        if !taken.exists() {
            return Ok(None);
        }
        REGISTRATION
            .iter()
            .map(|name| Ok(((*name).to_owned(), fs::read(taken.join(name))?)))
            .collect::<io::Result<Files>>()
            .map(Some)
    }

    /// Makes sure that no token is left.
    ///
    /// # Errors
    /// A file that cannot be unlinked.
    pub(super) fn drop_token(&self, run: &RunId) -> io::Result<()> {
        absent_is_fine(fs::remove_file(self.shared(run).join("token")))
    }

    /// [`Self::take_registration`] beside everything else, and when asked for also what was
    /// [`Self::taken`] before.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn registration(
        &self,
        run: &RunId,
        also_taken_before: bool,
    ) -> io::Result<Option<Files>> {
        let (own, run) = (self.clone(), run.clone());
        blocking(move || match own.taken(&run)? {
            Some(files) => Ok(also_taken_before.then_some(files)),
            None => own.take_registration(&run),
        })
        .await
    }

    /// [`Self::drop_token`] beside everything else; a token that stays is told in the log.
    pub(super) async fn forget_token(&self, run: &RunId) {
        let (own, of) = (self.clone(), run.clone());
        if let Err(error) = blocking(move || own.drop_token(&of)).await {
            tracing::error!(%run, %error, "the token of a run cannot be unlinked");
        }
    }

    /// Removes everything of the run.
    ///
    /// # Errors
    /// Files that cannot be removed.
    pub(super) fn remove(&self, run: &RunId) -> io::Result<()> {
        absent_is_fine(fs::remove_dir_all(self.of(run)))
    }
}

/// With what a run starts whose listener announces its jobs there. One that registers itself is told
/// by its environment ([`NOTIFY_VARIABLE`]).
pub(super) fn announcing_at(start: &StartWith, address: Option<SocketAddr>) -> StartWith {
    let mut start = start.clone();
    if let StartWith::Registration(files) = &mut start {
        announcing(files, address);
    }
    start
}

/// Lets the listener announce its jobs there; none: nowhere, and an address of an earlier run goes.
/// What is no registration stays as it is.
fn announcing(files: &mut Files, address: Option<SocketAddr>) {
    let Some(file) = files.get_mut(AGENT) else { return };
    let text = file.strip_prefix(BOM).unwrap_or(file);
    let Ok(serde_json::Value::Object(mut agent)) = serde_json::from_slice(text) else { return };
    let before = agent.clone();
    match address {
        Some(address) => drop(agent.insert(NOTIFY.to_owned(), address.to_string().into())),
        None => drop(agent.remove(NOTIFY)),
    }
    if agent != before
        && let Ok(text) = serde_json::to_vec_pretty(&agent)
    {
        *file = [BOM, &text].concat();
    }
}

/// Makes a directory and its parents, open to nobody else; those that are there stay as they are.
pub(super) fn private_dirs(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)
}

/// Reads `out/` step by step from the directory that only hostd can replace, so that no link made
/// inside the run leads hostd, which is root, to a file of the host.
fn read_out(shared: &Path) -> io::Result<Files> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let base = File::open(shared)?;
    let out = openat(&base, "out", flags | OFlag::O_DIRECTORY, FileMode::empty())?;
    let mut files = Files::new();
    for name in REGISTRATION {
        // Not blocking: a named pipe in place of a file would keep hostd waiting for ever.
        let fd = openat(&out, name, flags | OFlag::O_NONBLOCK, FileMode::empty())?;
        let file = File::from(fd);
        let meta = file.metadata()?;
        if !meta.is_file() || meta.len() > FILE_MAX {
            return Err(io::Error::other(format!("{name} is no file of a registration")));
        }
        let mut content = Vec::new();
        file.take(FILE_MAX).read_to_end(&mut content)?;
        files.insert(name.to_owned(), content);
    }
    Ok(files)
}

/// A registration under another name would be somebody else's agent.
fn check_agent(files: &Files, run: &RunId) -> io::Result<()> {
    let text = files.get(AGENT).map(Vec::as_slice).unwrap_or_default();
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let value: serde_json::Value = serde_json::from_slice(text)?;
    let named = value.get("agentName").and_then(serde_json::Value::as_str);
    if named == Some(run.agent.as_str()) {
        return Ok(());
    }
    Err(io::Error::other(format!("the registration names {named:?}, not {}", run.agent)))
}

#[cfg(test)]
#[path = "handover_tests.rs"]
mod tests;
