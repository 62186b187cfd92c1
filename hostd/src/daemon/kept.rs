//! The ledger of the last time, made to agree with what is on disk beside it.

use fleet_proto::logging::Report;
use hostd_plan::{Ledger, Moment};

use crate::{
    ledger_file::{Found, LedgerError, LedgerFile},
    slots::SlotStore,
};

/// Reads it. What is odd is told in the log, and what an operator should know comes back.
///
/// # Errors
/// When there is one and it cannot be used.
pub fn ledger(file: &LedgerFile, slots: &SlotStore, now: &Moment) -> Result<Found, LedgerError> {
    let mut found = file.load()?;
    let ledger = &mut found.ledger;
    ledger.take_up(found.stored.as_ref(), now);
    agree(ledger, slots);
    if let Some(warning) = &found.warning {
        tracing::error!("{warning}");
        ledger.is_behind(now.at);
        // Two good files again, at once; where that fails, the loop says so with its first change.
        if let Err(error) = file.store(ledger, now) {
            tracing::error!(error = %Report(&error), "the ledger cannot be stored");
        }
    }
    tracing::info!(
        order = %ledger.highest, slots = ledger.slots.len(),
        "the ledger of the last time is read"
    );
    Ok(found)
}

/// hostd may have ended between a registration's file and the ledger's word for it: the file is
/// what a run can be started with, so it decides.
fn agree(ledger: &mut Ledger, slots: &SlotStore) {
    for (agent, slot) in &mut ledger.slots {
        match (slots.load(agent), slot.registered) {
            (Ok(Some(kept)), false) => {
                tracing::info!(%agent, row = kept.row.agent_id, "its registration was stored last");
                slot.holds(Some(kept.row));
            }
            (Ok(None), true) => {
                tracing::warn!(%agent, "its registration is not on disk; it registers anew");
                slot.holds(None);
            }
            (Err(error), registered) => {
                tracing::error!(%agent, error = %Report(&error), "its registration is of no use");
                slot.holds(None);
                if registered {
                    // It would be found again at each start.
                    let _ = slots.drop_registration(agent);
                }
            }
            (Ok(Some(_)), true) | (Ok(None), false) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fleet_model::{AgentName, At, RuntimeKind};
    use fleet_proto::seal::SealKey;
    use hostd_plan::{RowId, Slot};

    use super::*;
    use crate::slots::tests::registration;

    #[test]
    fn the_file_decides_whether_a_slot_is_registered() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = SealKey::load_or_create(&dir.path().join("seal.key")).expect("a key");
        let slots = SlotStore::within(dir.path(), Arc::new(key));
        let (with, without): (AgentName, AgentName) =
            ("p-h-01".parse().expect("a name"), "p-h-02".parse().expect("a name"));
        slots.store(&with, 1, &registration("p-h-01", 5)).expect("stored");
        let slot = |number, registered| Slot {
            registered,
            ..Slot::new(
                "p".parse().expect("a name"),
                "default".parse().expect("a name"),
                number,
                RuntimeKind::Docker,
            )
        };
        let mut ledger = Ledger::default();
        ledger.slots.insert(with.clone(), slot(1, false));
        ledger.slots.insert(without.clone(), slot(2, true));
        let file = LedgerFile::within(dir.path());
        let now = Moment { at: At(0), boot: "b1".into(), up_ms: 0 };
        file.store(&ledger, &now).expect("stored");
        let ledger = super::ledger(&file, &slots, &now).expect("read").ledger;
        assert!(ledger.slots[&with].registered);
        assert_eq!(ledger.slots[&with].row, Some(RowId { pool_id: 7, agent_id: 5 }));
        assert!(!ledger.slots[&without].registered);
    }
}
