//! What agents do by themselves: register, connect, take a job, end.

use fleet_model::HostName;
use hostd_plan::{Event, Heard, RowId, RunState};

use super::{Due, RunKey, Step, World, azure::Registered};

impl World {
    /// What was made begins, unless it began before or is gone.
    pub(super) fn begin_run(&mut self, host: &HostName, key: RunKey) -> bool {
        let made = self.hosts.get_mut(host).and_then(|host| host.engine.runs.get_mut(&key));
        let Some(run) = made.filter(|run| run.state == RunState::Created) else { return false };
        run.state = RunState::Running;
        let first = if run.registered { Step::Connect } else { Step::Register };
        let wait = self.between(200, 1_500);
        self.after(wait, Due::Agent(host.clone(), key, first));
        true
    }

    pub(super) fn agent_step(&mut self, host: &HostName, key: RunKey, step: Step) {
        if let Step::Begin = step {
            let (agent, attempt) = key.clone();
            if self.begin_run(host, key) {
                self.tell(host, Event::RunStarted { agent, attempt });
            }
            return;
        }
        let Some(run) = self.hosts.get_mut(host).and_then(|host| host.engine.live(&key)) else {
            return;
        };
        match step {
            Step::Register => {
                let pool = run.pool.clone();
                self.register(host, key, &pool);
            }
            Step::Registered => {
                run.files_ready = true;
                self.hand_over(host, &key);
                let wait = self.between(100, 1_000);
                self.after(wait, Due::Agent(host.clone(), key, Step::Connect));
            }
            Step::Begin => {}
            Step::HandOver => self.hand_over(host, &key),
            Step::Connect => self.connect(host, key),
            Step::TakeJob(job) => self.take_job(host, key, job),
            Step::FinishJob => self.finish_job(host, key),
            Step::End(code) => self.end_run(host, &key, code),
        }
    }

    /// hostd stores a registration before anybody hears of it; without room it tries until there is
    /// some. A hostd that is away finds it in the run when it is back.
    pub(super) fn hand_over(&mut self, name: &HostName, key: &RunKey) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(name).filter(|host| host.alive) else { return };
        let run = host.engine.runs.get(key).filter(|run| run.files_ready);
        let Some(agent_id) = run.and_then(|run| run.row) else { return };
        if !host.disk.has_room(now) {
            return self.after(5_000, Due::Agent(name.clone(), key.clone(), Step::HandOver));
        }
        let row = RowId { pool_id: 1, agent_id };
        host.disk.files.insert(key.0.clone(), row);
        self.hear(name, key, Heard::Registered(row));
    }

    fn register(&mut self, host: &HostName, key: RunKey, pool: &fleet_model::PoolName) {
        self.hear(host, &key, Heard::Registering);
        if !self.azure.answers(self.now) {
            self.hear(host, &key, Heard::Complaint("503, or 401".into()));
            return self.end_run(host, &key, 70);
        }
        match self.azure.register(pool, &key.0) {
            Registered::NameTaken => self.end_run(host, &key, 71),
            Registered::Row(id) => {
                if let Some(run) = self.hosts.get_mut(host).and_then(|h| h.engine.live(&key)) {
                    run.row = Some(id);
                }
                self.check_rows(host, pool);
                let wait = self.between(50, 800);
                self.after(wait, Due::Agent(host.clone(), key, Step::Registered));
            }
        }
    }

    /// The listener makes its session; a session of a dead run refuses it, every 30 s, eight times.
    fn connect(&mut self, host: &HostName, key: RunKey) {
        let Some(run) = self.hosts.get_mut(host).and_then(|host| host.engine.live(&key)) else {
            return;
        };
        let Some(row) = run.row else { return };
        if self.azure.down_until > self.now {
            self.hear(host, &key, Heard::ConnectError("503".into()));
            return self.after(30_000, Due::Agent(host.clone(), key, Step::Connect));
        }
        match self.azure.open_session(row, &key) {
            None => self.end_run(host, &key, 1),
            Some(true) => {
                run.listening = true;
                self.hear(host, &key, Heard::Listening);
            }
            Some(false) => {
                run.conflicts += 1;
                if run.conflicts >= 8 {
                    return self.end_run(host, &key, 1);
                }
                self.hear(host, &key, Heard::SessionConflict);
                self.after(30_000, Due::Agent(host.clone(), key, Step::Connect));
            }
        }
    }

    /// Azure gives out jobs; the listener gets each with its next poll.
    pub(super) fn azure_turn(&mut self) {
        for (key, job) in self.azure.turn(self.now) {
            let host = self
                .hosts
                .iter()
                .find(|(_, host)| host.engine.runs.contains_key(&key))
                .map(|(name, _)| name.clone());
            if let Some(host) = host {
                let lag = self.between(100, 15_000);
                self.after(lag, Due::Agent(host, key, Step::TakeJob(job)));
            }
        }
        self.after(if self.options.alone { 5_000 } else { 500 }, Due::AzureTurn);
    }

    fn take_job(&mut self, host: &HostName, key: RunKey, job: u64) {
        let Some(run) = self.hosts.get_mut(host).and_then(|host| host.engine.live(&key)) else {
            return;
        };
        // Ended meanwhile and its row given on: the message is not for this run any more.
        let row = run.row;
        let mine =
            row.and_then(|id| self.azure.rows.get(&id)).is_some_and(|r| r.assigned == Some(job));
        if !mine {
            return;
        }
        run.job = Some(job);
        let length = self.azure.jobs.get(&job).map_or(1_000, |job| job.length_ms);
        if let (Some(entry), Some(row)) = (self.azure.jobs.get_mut(&job), row) {
            entry.state = super::azure::JobState::Running(row);
        }
        // The line of the log is late or lost now and then; the process list is not.
        if !self.unlucky(10) {
            self.hear(host, &key, Heard::JobStarted(format!("job {job}")));
        }
        self.after(length, Due::Agent(host.clone(), key, Step::FinishJob));
    }

    fn finish_job(&mut self, host: &HostName, key: RunKey) {
        let Some(run) = self.hosts.get_mut(host).and_then(|host| host.engine.live(&key)) else {
            return;
        };
        let (Some(job), Some(row)) = (run.job.take(), run.row) else { return };
        let once = run.once;
        run.listening = !once;
        self.azure.finish(job, row);
        if !once {
            return self.hear(host, &key, Heard::JobFinished);
        }
        self.azure.close_session(row, &key);
        self.hear(host, &key, Heard::JobFinished);
        // Once mode: it ends after its job, now and then late.
        let wait = if self.unlucky(5) { 60_000 } else { self.between(50, 1_000) };
        self.after(wait, Due::Agent(host.clone(), key, Step::End(0)));
    }

    fn hear(&mut self, host: &HostName, key: &RunKey, heard: Heard) {
        let (agent, attempt) = key.clone();
        self.tell(host, Event::Heard { agent, attempt, heard });
    }

    /// A run ends by itself.
    pub(super) fn end_run(&mut self, host: &HostName, key: &RunKey, code: i32) {
        let Some(run) = self.hosts.get_mut(host).and_then(|host| host.engine.live(key)) else {
            return;
        };
        run.state = RunState::Ended(Some(code));
        run.listening = false;
        let (row, job) = (run.row, run.job.take());
        match (row, code) {
            (Some(row), 0) => self.azure.close_session(row, key),
            _ => self.azure.silence(key, self.now),
        }
        if let (Some(job), Some(row)) = (job, row) {
            self.azure.job_lost(job, row, self.now);
        }
        let (agent, attempt) = key.clone();
        self.tell(host, Event::RunEnded { agent, attempt, code: Some(code) });
    }

    /// The fleet ends a run. That it may is what everything here is about.
    pub(super) fn end_by_fleet(&mut self, host: &HostName, key: &RunKey, how: &str) {
        let Some(run) = self.hosts.get_mut(host).and_then(|host| host.engine.live(key)) else {
            return;
        };
        let assigned = run
            .row
            .and_then(|id| self.azure.rows.get(&id))
            .filter(|row| row.session.as_ref() == Some(key))
            .and_then(|row| row.assigned);
        let (job, stubborn) = (run.job, run.stubborn);
        if job.is_some() || assigned.is_some() {
            let what = format!("{} run {} was {how} with a job", key.0, key.1);
            return self.violation(what);
        }
        if stubborn && how == "interrupted" {
            return;
        }
        if how == "interrupted" {
            let wait = self.between(50, 3_000);
            self.after(wait, Due::Agent(host.clone(), key.clone(), Step::End(0)));
        } else {
            self.end_run(host, key, 137);
        }
    }
}
