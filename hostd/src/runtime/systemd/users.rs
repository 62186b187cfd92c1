//! Users of agents: `az-<n>`, one per agent, made and removed with the system's own tools, which
//! have no other interface. A number is never used twice, because files of an old user may still lie
//! somewhere, and would belong to the new one.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use fleet_model::AgentName;
use fleet_proto::files;
use nix::unistd::{Group, Uid, User};
use serde::{Deserialize, Serialize};
use tokio::{process::Command, sync::Mutex};

/// A user's name is at most 32 characters long; an agent's is longer.
const PREFIX: &str = "az-";
/// Those that already have what was asked for.
const GROUP_EXISTS: i32 = 9;
const NO_USER: i32 = 6;
const NO_GROUP: i32 = 6;

/// An agent's user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AgentUser {
    pub(super) name: String,
    /// Also the number of its group.
    pub(super) uid: u32,
    pub(super) home: PathBuf,
}

/// Which agent has which number.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Book {
    /// Never goes back.
    next: u32,
    agents: BTreeMap<AgentName, u32>,
}

/// The users of this host's agents.
pub(super) struct Users {
    file: PathBuf,
    homes: PathBuf,
    first_uid: u32,
    /// The tools lock the same files, so one at a time.
    turn: Mutex<()>,
}

impl Users {
    pub(super) fn new(file: PathBuf, homes: PathBuf, first_uid: u32) -> Self {
        Self { file, homes, first_uid, turn: Mutex::default() }
    }

    fn book(&self) -> io::Result<Book> {
        match files::read_private(&self.file) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.is_not_found() => Ok(Book { next: 1, ..Book::default() }),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn store(&self, book: &Book) -> io::Result<()> {
        files::write_private(&self.file, &serde_json::to_vec(book)?).map_err(io::Error::other)
    }

    fn user(&self, number: u32) -> AgentUser {
        let name = format!("{PREFIX}{number}");
        let home = self.homes.join(&name);
        AgentUser { uid: self.first_uid.saturating_add(number), name, home }
    }

    /// The agent's user, if it ever had one.
    ///
    /// # Errors
    /// A book that cannot be read.
    pub(super) fn find(&self, agent: &AgentName) -> io::Result<Option<AgentUser>> {
        Ok(self.book()?.agents.get(agent).map(|number| self.user(*number)))
    }

    /// All agents that have a user.
    ///
    /// # Errors
    /// A book that cannot be read.
    pub(super) fn all(&self) -> io::Result<Vec<(AgentName, AgentUser)>> {
        let agents = self.book()?.agents.into_iter();
        Ok(agents.map(|(agent, number)| (agent, self.user(number))).collect())
    }

    /// Makes sure that the agent has its user, with a home, and in `docker` exactly when asked for.
    ///
    /// # Errors
    /// A tool's own words, or files that cannot be written.
    pub(super) async fn ensure(&self, agent: &AgentName, docker: bool) -> io::Result<AgentUser> {
        let _turn = self.turn.lock().await;
        let user = self.numbered(agent)?;
        let uid = user.uid.to_string();
        if Group::from_name(&user.name)?.is_none() {
            run("groupadd", &["--system", "--gid", &uid, &user.name], &[GROUP_EXISTS]).await?;
        }
        if User::from_name(&user.name)?.is_none() {
            let (home, comment) = (path(&user.home)?, format!("Azure Pipelines agent {agent}"));
            let options = ["--system", "--uid", &uid, "--gid", &uid, "--no-create-home"];
            let place = ["--home-dir", home, "--shell", "/bin/bash", "--comment", &comment];
            run("useradd", &[&options[..], &place, &[&user.name]].concat(), &[]).await?;
        }
        member(&user.name, docker).await?;
        make_home(&user)?;
        Ok(user)
    }

    /// The number is written down before anything is made under it.
    fn numbered(&self, agent: &AgentName) -> io::Result<AgentUser> {
        let mut book = self.book()?;
        if let Some(number) = book.agents.get(agent) {
            let user = self.user(*number);
            return match User::from_name(&user.name)? {
                Some(found) if found.uid.as_raw() != user.uid => Err(io::Error::other(format!(
                    "user {} has the number {}, not {}: it is not ours; rename it",
                    user.name, found.uid, user.uid
                ))),
                _ => Ok(user),
            };
        }
        // A name or number that somebody else has is left out.
        let is_free = |user: &AgentUser| -> io::Result<bool> {
            Ok(User::from_name(&user.name)?.is_none()
                && User::from_uid(Uid::from_raw(user.uid))?.is_none()
                && !user.home.exists())
        };
        let mut user = self.user(book.next);
        while !is_free(&user)? {
            book.next += 1;
            user = self.user(book.next);
        }
        book.agents.insert(agent.clone(), book.next);
        book.next += 1;
        self.store(&book)?;
        Ok(user)
    }

    /// Removes the agent's user and group. Its processes and its home went before.
    ///
    /// # Errors
    /// A tool's own words.
    pub(super) async fn remove(&self, agent: &AgentName) -> io::Result<()> {
        let _turn = self.turn.lock().await;
        let mut book = self.book()?;
        let Some(number) = book.agents.get(agent) else { return Ok(()) };
        let name = self.user(*number).name;
        if User::from_name(&name)?.is_some() {
            run("userdel", &[&name], &[NO_USER]).await?;
        }
        if Group::from_name(&name)?.is_some() {
            run("groupdel", &[&name], &[NO_GROUP]).await?;
        }
        book.agents.remove(agent);
        self.store(&book)
    }
}

async fn member(user: &str, docker: bool) -> io::Result<()> {
    const DOCKER: &str = "docker";
    let group = Group::from_name(DOCKER)?;
    let is_member = group.as_ref().is_some_and(|group| group.mem.iter().any(|m| m == user));
    match (docker, is_member) {
        (true, false) if group.is_none() => Err(io::Error::other(
            "the template wants the group docker and this host has none: install Docker",
        )),
        (true, false) => run("gpasswd", &["--add", user, DOCKER], &[]).await,
        (false, true) => run("gpasswd", &["--delete", user, DOCKER], &[]).await,
        _ => Ok(()),
    }
}

fn make_home(user: &AgentUser) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
    match std::fs::DirBuilder::new().recursive(false).mode(0o700).create(&user.home) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    std::fs::set_permissions(&user.home, std::fs::Permissions::from_mode(0o750))?;
    chown(&user.home, Some(user.uid), Some(user.uid))
}

fn path(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::other("the home's path is not UTF-8"))
}

/// Runs a tool; `fine` are exit codes that say that there is nothing to do.
async fn run(tool: &str, arguments: &[&str], fine: &[i32]) -> io::Result<()> {
    let output = Command::new(tool).args(arguments).kill_on_drop(true).output().await;
    let output = output.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("{tool} cannot be run ({error}); is passwd installed?"),
        )
    })?;
    if output.status.success() || output.status.code().is_some_and(|code| fine.contains(&code)) {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words = words.trim().lines().last().unwrap_or_default().to_owned();
    Err(io::Error::other(format!("{tool} {}: {words} ({})", arguments.join(" "), output.status)))
}
