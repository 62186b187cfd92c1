//! Room on this host's disks: when to clean, when to take no new jobs, when to go on.
//!
//! ```text
//!          below clean                    below pause
//!   Fine ──────────────► Low: clean ───────────────────► Full: clean, and pause who lives there
//!     ▲                    │  ▲                             │
//!     └── a third above ───┘  └── at twice the pause mark ──┘
//! ```
//! Bytes and inodes are judged apart, and the worse one counts. Only what was measured is a reason:
//! a disk of which nothing is known, or nothing new for [`DISK_STALE`], holds nobody up.

use std::collections::BTreeMap;

use fleet_model::{
    At, Condition, ConditionKind, Disk, Room, RuntimeKind,
    numbers::{
        DISK_CLEAN_EVERY, DISK_CLEAN_PERCENT, DISK_PAUSE_MIB, DISK_PAUSE_PERCENT,
        DISK_PAUSE_SHARE_MAX, DISK_STALE,
    },
    readable,
};

use crate::{actions::Action, clock::Moments, known::Known, pause::PauseCause};

/// Below which free room what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskMarks {
    /// Per cent below which what is not used is removed; 0: nothing ever is.
    pub clean_percent: u8,
    /// Per cent below which agents are paused; 0: never.
    pub pause_percent: u8,
    /// Bytes below which they are, as long as they are no more than [`DISK_PAUSE_SHARE_MAX`].
    pub pause_bytes: u64,
}

impl Default for DiskMarks {
    fn default() -> Self {
        Self {
            clean_percent: DISK_CLEAN_PERCENT,
            pause_percent: DISK_PAUSE_PERCENT,
            pause_bytes: u64::from(DISK_PAUSE_MIB) << 20,
        }
    }
}

impl DiskMarks {
    fn pause_below(self, room: Room, least: u64) -> u64 {
        match self.pause_percent {
            0 => 0,
            percent => room.percent(percent).max(least.min(room.percent(DISK_PAUSE_SHARE_MAX))),
        }
    }

    /// `least`: what is little however large the disk is.
    fn judge(self, before: Level, room: Room, least: u64) -> Level {
        if room.total == 0 {
            return Level::Fine;
        }
        let pause = self.pause_below(room, least);
        let clean = room.percent(self.clean_percent);
        match before {
            _ if room.free < pause => Level::Full,
            Level::Full if room.free < pause.saturating_mul(2) => Level::Full,
            _ if room.free < clean => Level::Low,
            Level::Low | Level::Full if room.free < clean.saturating_add(clean / 3) => Level::Low,
            _ => Level::Fine,
        }
    }
}

/// How a disk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Fine,
    Low,
    Full,
}

/// A disk with what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskState {
    /// As it is shown: it follows what is measured in steps, so that a report is not due each time.
    shown: Disk,
    free: u64,
    /// When it was measured.
    at: At,
    bytes: Level,
    inodes: Level,
    cleaned: Option<Cleaned>,
}

/// The last cleaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cleaned {
    at: At,
    level: Level,
    /// Free bytes then.
    free: u64,
}

impl Moments for DiskState {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        let Self { shown: _, free: _, at, bytes: _, inodes: _, cleaned } = self;
        see(at);
        cleaned.each_moment(see);
    }
}

impl Moments for Cleaned {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        let Self { at, level: _, free: _ } = self;
        see(at);
    }
}

impl DiskState {
    fn level(&self) -> Level {
        self.bytes.max(self.inodes)
    }

    fn counts(&self, now: At) -> bool {
        now.since(self.at) < DISK_STALE
    }

    /// It is due: regularly, and at once when it got worse.
    fn clean_at(&self) -> At {
        match self.cleaned {
            None => self.at,
            Some(last) if self.level() > last.level => self.at,
            Some(last) if self.level() > Level::Fine && self.free < last.free / 2 => self.at,
            Some(last) => last.at + DISK_CLEAN_EVERY,
        }
    }

    /// `3.1 % of /var is free (1.2 GiB)`.
    fn told(&self) -> String {
        let Disk { place, bytes, inodes, .. } = &self.shown;
        let scarce = |room: &Room| room.permille().unwrap_or(1000);
        match self.inodes > self.bytes
            || (self.inodes == self.bytes && scarce(inodes) < scarce(bytes))
        {
            true => format!("{inodes} of the inodes of {place} are free"),
            false => format!("{bytes} of {place} is free ({})", readable(bytes.free)),
        }
    }
}

/// What a file system says about agents of a runtime.
pub(crate) enum Space {
    /// There is room, or nothing that counts says otherwise.
    Enough,
    /// Not measured since hostd started, which it is at once: nothing changes until then.
    Unmeasured,
    /// There is none.
    Full { place: String, why: String },
}

impl Known {
    /// All disks were measured; one that is not named could not be.
    pub(crate) fn measured(&mut self, disks: Vec<Disk>, now: At) {
        let mut before = self.disks.take().unwrap_or_default();
        let judged = disks.into_iter().map(|disk| {
            let old = before.remove(&disk.place);
            (disk.place.clone(), self.judged(disk, old, now))
        });
        self.disks = Some(judged.collect::<BTreeMap<_, _>>());
    }

    fn judged(&self, disk: Disk, old: Option<DiskState>, now: At) -> DiskState {
        // Whoever is paused since before hostd started again is so for good reason.
        let paused = || {
            self.ledger.slots.values().any(|slot| {
                let cause = slot.pause.as_ref().map(|pause| &pause.cause);
                matches!(cause, Some(PauseCause::Disk(place)) if *place == disk.place)
            })
        };
        let (bytes, inodes) = match &old {
            Some(old) => (old.bytes, old.inodes),
            None if paused() => (Level::Full, Level::Full),
            None => (Level::Fine, Level::Fine),
        };
        let marks = self.disk_marks;
        let bytes = marks.judge(bytes, disk.bytes, marks.pause_bytes);
        let inodes = marks.judge(inodes, disk.inodes, 0);
        let free = disk.bytes.free;
        let shown = match &old {
            Some(old) if (old.bytes, old.inodes) == (bytes, inodes) && alike(&old.shown, &disk) => {
                old.shown.clone()
            }
            _ => disk,
        };
        DiskState { shown, free, at: now, bytes, inodes, cleaned: old.and_then(|old| old.cleaned) }
    }

    /// Whether there is room for new jobs of this runtime's agents.
    pub(crate) fn space(&self, kind: RuntimeKind, now: At) -> Space {
        let Some(disks) = &self.disks else { return Space::Unmeasured };
        let holds = |disk: &&DiskState| disk.shown.runtimes.contains(&kind) && disk.counts(now);
        match disks.values().filter(holds).find(|disk| disk.level() == Level::Full) {
            Some(disk) => Space::Full { place: disk.shown.place.clone(), why: disk.told() },
            None => Space::Enough,
        }
    }

    /// What is to be cleaned now, and when something follows from the disks next.
    pub(crate) fn cleanings(&self, now: At) -> (Vec<Action>, Vec<At>) {
        let disks = || self.disks.iter().flatten().filter(|(_, disk)| disk.counts(now));
        let cleans = self.disk_marks.clean_percent > 0;
        let due = disks().filter(|_| cleans).filter(|(_, disk)| disk.clean_at() <= now);
        let clean = due.map(|(place, disk)| Action::Clean {
            place: place.clone(),
            urgent: disk.level() > Level::Fine,
        });
        let full = disks().filter(|(_, disk)| disk.level() == Level::Full);
        let stale = full.map(|(_, disk)| disk.at + DISK_STALE);
        let later = disks().filter(|_| cleans).map(|(_, disk)| disk.clean_at());
        (clean.collect(), later.chain(stale).collect())
    }

    /// It is being cleaned.
    pub(crate) fn cleaning(&mut self, place: &str, now: At) {
        if let Some(disk) = self.disks.as_mut().and_then(|disks| disks.get_mut(place)) {
            disk.cleaned = Some(Cleaned { at: now, level: disk.level(), free: disk.free });
        }
    }

    /// The disks as they are shown.
    pub fn disks(&self) -> Vec<Disk> {
        self.disks.iter().flatten().map(|(_, disk)| disk.shown.clone()).collect()
    }

    /// What an operator should know of them.
    pub(crate) fn disk_conditions(&self, now: At) -> impl Iterator<Item = Condition> {
        let disks = self.disks.iter().flatten().filter(move |(_, disk)| disk.counts(now));
        disks.filter_map(|(_, disk)| {
            let (kind, what) = match disk.level() {
                Level::Fine => return None,
                Level::Low => (ConditionKind::DiskLow, "what is not used is removed"),
                Level::Full => (
                    ConditionKind::DiskFull,
                    "its agents are paused until twice that mark is; what runs goes on",
                ),
            };
            Some(Condition { kind, pool: None, message: format!("{}: {what}", disk.told()) })
        })
    }
}

/// They differ by less than a hundredth of all.
fn alike(one: &Disk, other: &Disk) -> bool {
    let near = |one: Room, other: Room| {
        one.total == other.total && one.free.abs_diff(other.free) <= one.total / 100
    };
    one.runtimes == other.runtimes && near(one.bytes, other.bytes) && near(one.inodes, other.inodes)
}
