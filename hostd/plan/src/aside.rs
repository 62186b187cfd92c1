//! Quarantine: an agent that keeps failing is kept aside with its evidence, and another takes its
//! place.
//!
//! Only failures that may be an agent's own fault count, and only few agents of a group on a host go
//! aside by themselves: when more fail alike, the template, the credential or the host is at fault,
//! and then those that could run again must not be locked away for a day. Nor while Azure is known to
//! be in trouble: it would neither take it out of work nor register another.

use fleet_model::{
    Assignment, At, GroupName, PoolName, Quarantine, Template,
    numbers::{QUARANTINE_FAILURES, QUARANTINE_SHARE_PERCENT, QUARANTINE_TIME, QUARANTINE_WINDOW},
};

use crate::{
    known::Known,
    ledger::{Ledger, Role, Slot},
};

/// Most of `wanted` agents of a group that go aside by themselves, and that are replaced.
pub(crate) fn most(wanted: u32) -> usize {
    let share = u64::from(wanted) * u64::from(QUARANTINE_SHARE_PERCENT) / 100;
    usize::try_from(share).unwrap_or(usize::MAX).max(1)
}

/// The quarantine that `slot` has earned, if it has and there is room.
pub(crate) fn earned(slot: &Slot, aside: usize, wanted: u32, now: At) -> Option<Quarantine> {
    // The oldest may have been kept from counting, as long as Azure was in trouble.
    let lately = slot.failed_at.iter().filter(|at| now.since(**at) < QUARANTINE_WINDOW);
    let (count, minutes) = (lately.count(), QUARANTINE_WINDOW.as_secs() / 60);
    let often = count >= QUARANTINE_FAILURES as usize;
    if slot.role != Role::Run || !often || aside >= most(wanted) {
        return None;
    }
    Some(Quarantine {
        since: now,
        until: now + QUARANTINE_TIME,
        why: format!("{count} failures within {minutes} min, the last: {}", slot.failed_why),
        by: None,
        evidence: None,
    })
}

impl Slot {
    /// It is in quarantine, or on its way there.
    pub(crate) fn is_aside(&self, now: At) -> bool {
        self.quarantine.as_ref().is_some_and(|quarantine| quarantine.until > now)
    }

    /// A failure that may be its own fault.
    pub(crate) fn failed_by_itself(&mut self, now: At) {
        self.failed_at.retain(|at| now.since(*at) < QUARANTINE_WINDOW);
        self.failed_at.push(now);
    }
}

impl Known {
    /// Slots of a group that are aside.
    pub(crate) fn aside(&self, pool: &PoolName, group: &GroupName, now: At) -> usize {
        let of_group = |slot: &Slot| slot.group == *group && slot.is_aside(now);
        self.slots_of(pool).filter(|(_, slot)| of_group(slot)).count()
    }
}

fn template_of<'a>(assignment: &'a Assignment, slot: &Slot) -> Option<&'a Template> {
    Some(&assignment.pools.get(&slot.pool)?.group(&slot.group)?.template)
}

impl Ledger {
    /// Groups whose template is another one than in `before` start afresh: what failed, failed as it
    /// was built then.
    pub(crate) fn retry_changed(&mut self, before: &Assignment) {
        let Some(assignment) = &self.assignment else { return };
        for slot in self.slots.values_mut() {
            match (template_of(before, slot), template_of(assignment, slot)) {
                (Some(old), Some(new)) if old != new => {}
                _ => continue,
            }
            slot.starts_afresh();
            // What an operator put there, an operator takes out.
            if slot.quarantine.as_ref().is_some_and(|quarantine| quarantine.by.is_none()) {
                slot.quarantine = None;
            }
        }
    }
}
