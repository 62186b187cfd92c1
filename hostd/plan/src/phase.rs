//! What is shown of each agent, derived from what is known; and the host's conditions.

use std::collections::BTreeSet;

use fleet_model::{
    AgentName, AgentStatus, At, Condition, ConditionKind, Intent, Job, Mode, Phase,
    numbers::START_UP_GRACE,
};

use crate::{
    known::{EngineState, Known, PhaseChange},
    ledger::{Removal, Role, Slot},
    pause::Pause,
    runs::{Listener, Run},
    starts::ImageState,
};

/// Why a run that starts is not online yet.
fn starting(run: &Run, now: At) -> String {
    let late = now.since(run.started) >= START_UP_GRACE;
    let grace = START_UP_GRACE.as_secs();
    match (late, run.complaint.as_str()) {
        (false, "") => "its listener starts".to_owned(),
        (false, complaint) => complaint.to_owned(),
        (true, "") => format!("its listener is not online {grace} s after its start"),
        (true, complaint) => {
            format!("its listener is not online {grace} s after its start: {complaint}")
        }
    }
}

impl Known {
    /// Derives what is shown anew, and says which agents changed their phase. `since` moves only
    /// with the phase.
    pub fn refresh(&mut self, now: At) -> Vec<PhaseChange> {
        let mut changes = Vec::new();
        let mut fresh = std::collections::BTreeMap::new();
        for (agent, slot) in &self.ledger.slots {
            let mut status = self.status(agent, slot, now);
            let before = self.statuses.get(agent);
            match before.filter(|old| old.phase == status.phase) {
                Some(old) => status.since = old.since,
                None => changes.push(PhaseChange {
                    agent: agent.clone(),
                    pool: slot.pool.clone(),
                    from: before.map(|old| old.phase),
                    to: Some(status.phase),
                    why: status.why.clone(),
                }),
            }
            fresh.insert(agent.clone(), status);
        }
        for (agent, old) in &self.statuses {
            if !fresh.contains_key(agent) {
                changes.push(PhaseChange {
                    agent: agent.clone(),
                    pool: old.pool.clone(),
                    from: Some(old.phase),
                    to: None,
                    why: "its slot is removed".into(),
                });
            }
        }
        self.statuses = fresh;
        changes
    }

    fn status(&self, agent: &AgentName, slot: &Slot, now: At) -> AgentStatus {
        let run = self.live(agent);
        let job = self.job(agent, run, now);
        let (phase, why) = self.phase(agent, slot, run, job.is_some(), now);
        AgentStatus {
            agent: agent.clone(),
            pool: slot.pool.clone(),
            group: slot.group.clone(),
            slot: slot.number,
            runtime: slot.runtime,
            attempt: slot.attempt,
            phase,
            since: now,
            intent: match slot.role {
                Role::Run | Role::Renew => Intent::Keep,
                Role::Hold | Role::Quarantine => Intent::Drain,
                Role::Remove => Intent::Remove,
            },
            job,
            why,
            agent_id: slot.row.map(|row| row.agent_id),
            placeholder: slot.is_placeholder(),
            quarantine: slot.quarantine.clone(),
            disk_bytes: None,
        }
    }

    /// The job as the listener said it, or as Azure sees it: whichever was first.
    fn job(&self, agent: &AgentName, run: Option<&Run>, now: At) -> Option<Job> {
        let run = run?;
        let assigned = self.rows.get(agent).and_then(|row| row.assigned.as_ref());
        match (&run.job, assigned) {
            (Some(job), assigned) => {
                Some(Job { request_id: assigned.map(|held| held.request_id), ..job.clone() })
            }
            (None, Some(held)) if run.listener != Listener::Finished => {
                let known = self.statuses.get(agent).and_then(|status| status.job.as_ref());
                let since = known
                    .filter(|job| job.request_id == Some(held.request_id))
                    .map_or(now, |j| j.since);
                Some(Job { name: held.job.clone(), request_id: Some(held.request_id), since })
            }
            _ => None,
        }
    }

    fn phase(
        &self,
        agent: &AgentName,
        slot: &Slot,
        run: Option<&Run>,
        has_job: bool,
        now: At,
    ) -> (Phase, String) {
        if let Some(step) = slot.removal {
            return self.leaving(slot, step, run, has_job, now);
        }
        if let Some(pause) = &slot.pause {
            return self.paused(agent, slot, pause, run, has_job);
        }
        let Some(run) = run else { return self.waiting(slot, now) };
        let row = self.rows.get(agent);
        let once = self.group_of(slot).is_none_or(|group| group.template.mode == Mode::Once);
        match run.listener {
            _ if has_job => (Phase::Busy, "a job runs".into()),
            _ if let Some(announced) = &run.announced => match announced.proven {
                true => (Phase::Busy, "a job runs".into()),
                false => (Phase::Busy, "its listener announced a job".into()),
            },
            _ if slot.disabled_by_us => (Phase::Starting, "being enabled again".into()),
            _ if row.is_some_and(|row| !row.enabled) => {
                (Phase::DisabledElsewhere, "disabled at Azure, not by the fleet".into())
            }
            Listener::Unknown => (Phase::Unknown, "adopted; nothing heard of it yet".into()),
            Listener::Registering => (Phase::Registering, "registering at Azure".into()),
            Listener::Starting => (Phase::Starting, starting(run, now)),
            Listener::Finished if once => (Phase::Busy, "its job ended, its listener ends".into()),
            Listener::Listening | Listener::Finished if run.complaint.is_empty() => {
                (Phase::Idle, "waiting for a job".into())
            }
            Listener::Listening | Listener::Finished => (Phase::Idle, run.complaint.clone()),
            Listener::Working => (Phase::Busy, "a job runs".into()),
        }
    }

    /// It is kept, and takes no jobs.
    fn paused(
        &self,
        agent: &AgentName,
        slot: &Slot,
        pause: &Pause,
        run: Option<&Run>,
        has_job: bool,
    ) -> (Phase, String) {
        let why = pause.words();
        let works = run.is_some_and(|run| run.listener == Listener::Working);
        if has_job || works {
            return (Phase::Busy, format!("a job runs; then {why}"));
        }
        let Some(run) = run else {
            return (Phase::Paused, format!("{why}; its next run waits"));
        };
        let told = slot.row.is_some() && pause.disabled == slot.row;
        if told || slot.row_disabled_elsewhere(self.rows.get(agent)) {
            return (Phase::Paused, why);
        }
        // Until Azure has taken the disable it may give it a job.
        let phase = match run.listener {
            Listener::Listening | Listener::Finished => Phase::Idle,
            Listener::Registering => Phase::Registering,
            _ => Phase::Starting,
        };
        let azure = match self.azure.get(&slot.pool) {
            Some(trouble) => format!("for Azure was not told: {}", trouble.why),
            None => "until Azure has taken its disable".to_owned(),
        };
        (phase, format!("{why}; it may still be given a job, {azure}"))
    }

    fn leaving(
        &self,
        slot: &Slot,
        step: Removal,
        run: Option<&Run>,
        has_job: bool,
        now: At,
    ) -> (Phase, String) {
        let runs = run.is_some();
        if let (Role::Quarantine, false, Some(quarantine)) = (slot.role, runs, &slot.quarantine) {
            return (Phase::Quarantined, quarantine.why.clone());
        }
        let trouble = self.azure.get(&slot.pool).map(|trouble| trouble.why.as_str());
        let whither = slot.whither().map(|why| format!("{why}: ")).unwrap_or_default();
        let said = |phase, why: &str| match trouble {
            Some(trouble) => (phase, format!("{whither}{why}; {trouble}")),
            None => (phase, format!("{whither}{why}")),
        };
        let forced = slot
            .forced_why
            .as_ref()
            .map(|why| format!("{why}; Azure does not answer: removed on this host's word alone"));
        match (step, forced) {
            (Removal::Unheard { .. }, Some(why)) if !has_job => return (Phase::Draining, why),
            (Removal::Stopping { .. } | Removal::Releasing, Some(why)) => {
                return (Phase::Drained, why);
            }
            _ => {}
        }
        match step {
            _ if has_job => said(Phase::Draining, "its job runs to its end first"),
            Removal::Disabling => said(Phase::Draining, "being disabled at Azure"),
            Removal::Watching if slot.reads_count_from > now => said(
                Phase::Draining,
                "disabled; an answer of Azure may still be older than its row",
            ),
            Removal::Watching if run.is_some_and(|run| run.announced.is_some()) => {
                said(Phase::Draining, "disabled; its listener announced a job")
            }
            Removal::Watching => said(Phase::Draining, "disabled; its row or worker shows a job"),
            Removal::Settling { .. } => {
                said(Phase::Draining, "disabled and free; settling before the second look")
            }
            Removal::Unheard { .. } => {
                said(Phase::Draining, "without a worker, on its host's word")
            }
            Removal::Checking => said(Phase::Draining, "looking for a worker"),
            Removal::Stopping { .. } if runs => said(Phase::Drained, "its listener is stopping"),
            Removal::Stopping { .. } | Removal::Releasing => {
                said(Phase::Drained, "stopped; its row is released")
            }
            Removal::Released if slot.role == Role::Hold => {
                (Phase::Stopped, "holds the pool's last registration".into())
            }
            Removal::Released => said(Phase::Drained, "being removed"),
        }
    }

    /// Why no run is there.
    fn waiting(&self, slot: &Slot, now: At) -> (Phase, String) {
        let failed = |why: &str| match slot.failures {
            0 => (Phase::Pending, why.to_owned()),
            _ => (Phase::Failed, why.to_owned()),
        };
        if let Some(EngineState::Down(why)) = self.engines.get(&slot.runtime) {
            return (Phase::Unknown, format!("the {} engine does not answer: {why}", slot.runtime));
        }
        if !self.engines.contains_key(&slot.runtime) {
            return (Phase::Unknown, format!("the {} engine was not looked at yet", slot.runtime));
        }
        if let Some(ImageState::Missing { why, .. }) = self.image_of(slot) {
            return (Phase::Pending, format!("its image is missing: {why}"));
        }
        if slot.unclean_since.is_some() {
            let trouble = self.azure.get(&slot.pool).map(|trouble| format!("; {}", trouble.why));
            let trouble = trouble.unwrap_or_default();
            return failed(&format!("{}; its row is looked at first{trouble}", slot.failed_why));
        }
        if slot.updates > 0 {
            return (Phase::Updating, slot.failed_why.clone());
        }
        if slot.failures > 0 {
            return failed(&slot.failed_why);
        }
        if !slot.registered && !self.holds_credential(slot) {
            return (Phase::Pending, "no credential to register with has arrived".into());
        }
        if self.capped(slot, now).is_some() {
            return (Phase::Pending, "held back by the pool's start cap".into());
        }
        (Phase::Pending, "about to start".into())
    }

    fn image_of(&self, slot: &Slot) -> Option<&ImageState> {
        let image = self.group_of(slot)?.template.image.clone()?;
        self.images.get(&(slot.runtime, image))
    }

    /// Everything an operator should know of this host now, ordered.
    pub fn conditions(&self, now: At) -> Vec<Condition> {
        let mut all: BTreeSet<Condition> = self.disk_conditions(now).collect();
        let mut add = |kind, pool: Option<&fleet_model::PoolName>, message: String| {
            all.insert(Condition { kind, pool: pool.cloned(), message });
        };
        for (kind, state) in &self.engines {
            if let EngineState::Down(why) = state {
                let message = format!("the {kind} engine does not answer: {why}");
                add(ConditionKind::EngineDown, None, message);
            }
        }
        for (pool, trouble) in &self.azure {
            add(ConditionKind::AzureTrouble, Some(pool), trouble.why.clone());
        }
        for pool in &self.ledger.orphaned {
            let message = "the coordinator does not know this pool; its agents stay as they are";
            add(ConditionKind::PoolUnknown, Some(pool), message.into());
        }
        for (pool, groups) in &self.ledger.orphaned_groups {
            for group in groups {
                let message = format!(
                    "the coordinator does not know group {group} of this pool; its agents stay as they are"
                );
                add(ConditionKind::PoolUnknown, Some(pool), message);
            }
        }
        for slot in self.ledger.slots.values() {
            if let Some(ImageState::Missing { why, .. }) = self.image_of(slot) {
                add(ConditionKind::ImageMissing, Some(&slot.pool), why.clone());
            }
            let waits = slot.role == Role::Run && slot.removal.is_none();
            if waits && !slot.registered && !self.holds_credential(slot) {
                let message = "no credential to register with has arrived";
                add(ConditionKind::NoCredential, Some(&slot.pool), message.into());
            }
            if waits && slot.failures > 0 && self.capped(slot, now).is_some() {
                let message = format!("too many starts came to nothing: {}", slot.failed_why);
                add(ConditionKind::StartsCapped, Some(&slot.pool), message);
            }
            let fits = self.group_of(slot).is_none_or(|g| g.template.runtime == slot.runtime);
            if !fits || (waits && !self.served.contains(&slot.runtime)) {
                let message = format!("this host serves no {} runtime", slot.runtime);
                add(ConditionKind::Unsupported, Some(&slot.pool), message);
            }
        }
        all.into_iter().collect()
    }
}
