//! The ledger on disk. It is stored before anything is done, so what it says was at least begun.
//!
//! ```text
//!   ledger.json      {"version":1,"stored":{…},"ledger":{…}} and, on a line of its own,
//!                    sha256:<hex of the first>
//!   ledger.json.1    the one before it; after a store that must not be lost, the same
//!   ledger.json.bad  a damaged one, for whoever wants to know what happened
//! ```
//! A torn or damaged file is noticed by its checksum, and the one before is used. When neither is
//! good hostd does not start: an empty ledger would forget which rows at Azure are ours.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use fleet_proto::{
    files::{self, FileError},
    logging::Report,
    sha256_hex,
};
use hostd_plan::{Ledger, Moment};
use serde::{Deserialize, Serialize};

use crate::disk::absent_is_fine;

const VERSION: u32 = 1;

/// Where the ledger lives.
#[derive(Debug, Clone)]
pub struct LedgerFile {
    path: PathBuf,
}

/// The ledger as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The ledger.
    pub ledger: Ledger,
    /// When it was stored; none: there was none, or an older hostd stored it.
    pub stored: Option<Moment>,
    /// What an operator should know about how it was found; none when all is well.
    pub warning: Option<String>,
}

/// A ledger that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Neither file is good.
    #[error(
        "the ledger {} is not usable ({why}), nor is the one before it ({why_before}); restore one \
         of them from a backup, or move both away: running agents are then adopted by their \
         labels, and rows of agents that do not run are found by `agentctl janitor`",
        path.display()
    )]
    Lost {
        /// The newer of the two.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What is wrong with the older one.
        why_before: String,
    },
    /// Written by a later hostd.
    #[error(
        "the ledger {} has version {found}, this hostd knows {VERSION}; install the newer hostd again",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// It could not be written.
    #[error("the ledger cannot be stored")]
    Store(#[from] FileError),
    /// It could not be turned into text.
    #[error("the ledger cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// Why one of the two files is not good.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error("it is not there")]
    Absent,
    #[error("it cannot be read")]
    Unreadable(#[source] FileError),
    #[error("its checksum is wrong: it is torn or damaged")]
    Checksum,
    #[error("its content is not a ledger")]
    Content(#[source] serde_json::Error),
    #[error("it has version {0}")]
    Newer(u32),
}

#[derive(Serialize)]
struct Stored<'a> {
    version: u32,
    stored: &'a Moment,
    ledger: &'a Ledger,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Deserialize)]
struct Body {
    /// Not in the ledger of an older hostd.
    stored: Option<Moment>,
    ledger: Ledger,
}

impl LedgerFile {
    /// The ledger of a state directory.
    pub fn within(data: &Path) -> Self {
        Self { path: data.join("ledger.json") }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn before(&self) -> PathBuf {
        self.path.with_extension("json.1")
    }

    /// Stores it and keeps the one before. Blocks on the disk.
    ///
    /// # Errors
    /// What the disk says; the stored one is then still the old one.
    pub fn store(&self, ledger: &Ledger, now: &Moment) -> Result<(), LedgerError> {
        let mut text = serde_json::to_string(&Stored { version: VERSION, stored: now, ledger })?;
        let sum = sha256_hex(text.as_bytes());
        text.push_str(&format!("\nsha256:{sum}\n"));
        self.keep_before()?;
        Ok(files::write_private(&self.path, text.as_bytes())?)
    }

    /// Stores it in both places, so that damage to one of them loses none of it.
    ///
    /// # Errors
    /// As [`LedgerFile::store`].
    pub fn store_twice(&self, ledger: &Ledger, now: &Moment) -> Result<(), LedgerError> {
        self.store(ledger, now)?;
        self.store(ledger, now)
    }

    /// A second name for the present file: it costs no copy, and no moment is without a ledger.
    /// Where there is no present file, the one before stays the one before.
    fn keep_before(&self) -> Result<(), FileError> {
        let before = self.before();
        let beside = self.path.with_extension("json.1.new");
        let fail = |source| FileError::Io { doing: "keep the last", path: before.clone(), source };
        absent_is_fine(fs::remove_file(&beside)).map_err(fail)?;
        match fs::hard_link(&self.path, &beside) {
            Ok(()) => fs::rename(&beside, &before).map_err(fail),
            other => absent_is_fine(other).map_err(fail),
        }
    }

    /// Out of the way, for whoever wants to know what happened; so the next store does not make
    /// it the one before.
    fn set_aside(&self) {
        let bad = self.path.with_extension("json.bad");
        if let Err(error) = absent_is_fine(fs::rename(&self.path, bad)) {
            tracing::error!(path = %self.path.display(), %error, "a damaged ledger stays in place");
        }
    }

    /// Reads it; the first start of a host finds none and begins with an empty one. A damaged one
    /// is set aside.
    ///
    /// # Errors
    /// When there is one but neither it nor the one before can be used.
    pub fn load(&self) -> Result<Found, LedgerError> {
        let found = self.look()?;
        if found.warning.is_some() {
            self.set_aside();
        }
        Ok(found)
    }

    /// The same, and changes nothing.
    ///
    /// # Errors
    /// As [`LedgerFile::load`].
    pub fn look(&self) -> Result<Found, LedgerError> {
        let why = match read(&self.path) {
            Ok(body) => return Ok(body.found(None)),
            Err(Bad::Newer(found)) => {
                return Err(LedgerError::Newer { path: self.path.clone(), found });
            }
            Err(why) => why,
        };
        match (why, read(&self.before())) {
            (Bad::Absent, Err(Bad::Absent)) => {
                Ok(Body { stored: None, ledger: Ledger::default() }.found(None))
            }
            (why, Ok(body)) => {
                let warning = format!(
                    "the ledger {} is not usable ({}); going on from the one before it, {}; look \
                     whether the disk is sound, the damaged one is kept beside it as ledger.json.bad",
                    self.path.display(),
                    Report(&why),
                    self.before().display()
                );
                Ok(body.found(Some(warning)))
            }
            (why, Err(before)) => Err(LedgerError::Lost {
                path: self.path.clone(),
                why: Report(&why).to_string(),
                why_before: Report(&before).to_string(),
            }),
        }
    }
}

impl Body {
    fn found(self, warning: Option<String>) -> Found {
        Found { ledger: self.ledger, stored: self.stored, warning }
    }
}

fn read(path: &Path) -> Result<Body, Bad> {
    let bytes = fs::read(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Bad::Absent,
        _ => Bad::Unreadable(FileError::Io { doing: "read", path: path.to_owned(), source }),
    })?;
    let split = bytes.iter().position(|byte| *byte == b'\n').ok_or(Bad::Checksum)?;
    let (text, rest) = bytes.split_at(split);
    if rest != format!("\nsha256:{}\n", sha256_hex(text)).as_bytes() {
        return Err(Bad::Checksum);
    }
    // The version first: of a later one nothing else is known.
    let head: Head = serde_json::from_slice(text).map_err(Bad::Content)?;
    if head.version > VERSION {
        return Err(Bad::Newer(head.version));
    }
    serde_json::from_slice(text).map_err(Bad::Content)
}

#[cfg(test)]
mod tests {
    use fleet_model::{At, Order, RuntimeKind};
    use hostd_plan::Slot;

    use super::*;

    fn ledger(generation: u64) -> Ledger {
        let mut ledger = Ledger { highest: Order::new(1, generation), ..Ledger::default() };
        let slot = Slot::new(
            "nightly".parse().expect("a pool"),
            "default".parse().expect("a group"),
            1,
            RuntimeKind::Docker,
        );
        ledger.slots.insert("nightly-h-01".parse().expect("an agent"), slot);
        ledger
    }

    fn now() -> Moment {
        Moment { at: At(1_000_000), boot: "b1".into(), up_ms: 1_000 }
    }

    fn two_stored() -> (tempfile::TempDir, LedgerFile) {
        let dir = tempfile::tempdir().expect("a directory");
        let file = LedgerFile::within(dir.path());
        file.store(&ledger(1), &now()).expect("stored");
        file.store(&ledger(2), &now()).expect("stored");
        (dir, file)
    }

    #[test]
    fn the_first_start_finds_none_and_later_ones_the_last() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = LedgerFile::within(dir.path());
        assert_eq!(file.load().expect("empty").ledger, Ledger::default());
        let (_dir, file) = two_stored();
        let found = file.load().expect("good");
        assert_eq!((found.ledger, found.warning), (ledger(2), None));
        assert_eq!(found.stored, Some(now()));
    }

    #[test]
    fn a_torn_or_changed_ledger_is_told_and_the_one_before_is_used() {
        let good = {
            let (_dir, file) = two_stored();
            fs::read(file.path()).expect("there")
        };
        let mut changed = good.clone();
        changed[20] ^= 1;
        for bytes in [&good[..good.len() / 2], &good[..good.len() - 1], &changed, b""] {
            let (_dir, file) = two_stored();
            fs::write(file.path(), bytes).expect("damaged");
            let found = file.load().expect("the one before is good");
            assert_eq!(found.ledger, ledger(1));
            assert!(found.warning.expect("told").contains("ledger.json.1"));
            // The damaged one never becomes the one before.
            file.store(&ledger(5), &now()).expect("stored");
            assert_eq!(read(&file.before()).expect("still good").ledger, ledger(1));
        }
    }

    #[test]
    fn without_any_good_one_it_does_not_begin_empty() {
        let (_dir, file) = two_stored();
        fs::write(file.path(), "x").expect("damaged");
        fs::write(file.before(), "{}\nsha256:00\n").expect("damaged");
        let error = file.load().expect_err("both are bad").to_string();
        assert!(error.contains("backup") && error.contains("adopted"), "{error}");
        fs::remove_file(file.before()).expect("gone");
        file.load().expect_err("the only one is bad");
    }

    #[test]
    fn a_later_version_is_left_alone() {
        let (_dir, file) = two_stored();
        let text = r#"{"version":2,"ledger":{"other":1}}"#;
        let sum = sha256_hex(text.as_bytes());
        fs::write(file.path(), format!("{text}\nsha256:{sum}\n")).expect("written");
        assert!(matches!(file.load(), Err(LedgerError::Newer { found: 2, .. })));
    }

    #[test]
    fn what_cannot_be_stored_leaves_the_old_one() {
        let (dir, file) = two_stored();
        let elsewhere = LedgerFile::within(&dir.path().join("ledger.json"));
        elsewhere.store(&ledger(3), &now()).expect_err("a file is no directory");
        assert_eq!(file.load().expect("good").ledger, ledger(2));
    }

    #[test]
    fn a_ledger_of_an_older_hostd_is_read() {
        let (_dir, file) = two_stored();
        let added =
            ["attempts_used", "start_unheard", "row_unsure", "reads_count_from", "stop_begun"];
        let mut body =
            serde_json::to_value(Stored { version: VERSION, stored: &now(), ledger: &ledger(3) })
                .expect("JSON");
        let slot = body["ledger"]["slots"]["nightly-h-01"].as_object_mut().expect("a slot");
        slot.retain(|name, _| !added.contains(&name.as_str()));
        body["ledger"].as_object_mut().expect("a ledger").remove("attempts_used");
        body.as_object_mut().expect("an object").remove("stored");
        let text = body.to_string();
        let sum = sha256_hex(text.as_bytes());
        fs::write(file.path(), format!("{text}\nsha256:{sum}\n")).expect("written");
        let found = file.load().expect("read");
        assert_eq!((found.ledger, found.stored), (ledger(3), None));
    }

    #[test]
    fn what_was_stored_twice_outlives_damage_to_either_file() {
        for damaged in ["ledger.json", "ledger.json.1"] {
            let (dir, file) = two_stored();
            file.store_twice(&ledger(7), &now()).expect("stored");
            fs::write(dir.path().join(damaged), "torn").expect("damaged");
            assert_eq!(file.load().expect("the other is good").ledger, ledger(7), "{damaged}");
        }
    }
}
