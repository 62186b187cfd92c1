//! A host's disk: the newest ledger and the one before it, and the slots' registrations. It may be
//! full, and the newest ledger may be damaged.

use std::collections::BTreeMap;

use fleet_model::{AgentName, At};
use hostd_plan::{Ledger, Moment, RowId};

#[derive(Debug, Default)]
pub(super) struct Disk {
    /// The ledger as it was last stored.
    pub(super) ledger: Ledger,
    stored: Option<Moment>,
    before: (Ledger, Option<Moment>),
    /// Of slots that have a registration on disk: its row.
    pub(super) files: BTreeMap<AgentName, RowId>,
    /// Nothing can be written until then.
    pub(super) full_until: At,
    /// The newest ledger cannot be read any more.
    pub(super) torn: bool,
}

impl Disk {
    pub(super) fn has_room(&self, now: At) -> bool {
        self.full_until <= now
    }

    /// As hostd stores its ledger; false: there is no room. A registration that is worth nothing
    /// goes first, and for that there is always room.
    pub(super) fn store(&mut self, next: &Ledger, moment: Moment, now: At) -> bool {
        for (agent, slot) in &self.ledger.slots {
            let kept = next.slots.get(agent).is_some_and(|slot| slot.registered);
            if slot.registered && !kept {
                self.files.remove(agent);
            }
        }
        if !self.has_room(now) {
            return false;
        }
        let last = (std::mem::replace(&mut self.ledger, next.clone()), self.stored.take());
        self.before = match next.must_outlive_damage(&last.0) {
            true => (next.clone(), Some(moment.clone())),
            false => last,
        };
        self.stored = Some(moment);
        true
    }

    /// As hostd takes up its ledger when it starts.
    pub(super) fn load(&mut self, moment: &Moment, now: At) -> Ledger {
        let torn = std::mem::take(&mut self.torn);
        if torn {
            (self.ledger, self.stored) = self.before.clone();
        }
        let mut ledger = self.ledger.clone();
        ledger.take_up(self.stored.as_ref(), moment);
        for (agent, slot) in &mut ledger.slots {
            slot.holds(self.files.get(agent).copied());
        }
        if torn {
            ledger.is_behind(moment.at);
            self.store(&ledger, moment.clone(), now);
        }
        ledger
    }
}
