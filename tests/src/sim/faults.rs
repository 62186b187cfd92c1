//! What goes wrong.

use fleet_model::{At, HostName};
use hostd_plan::RunState;

use super::{Due, RunKey, World};

impl World {
    pub(super) fn fault(&mut self) {
        let hosts: Vec<HostName> = self.hosts.keys().cloned().collect();
        let pick = usize::try_from(self.between(0, hosts.len() as u64)).unwrap_or(0);
        let Some(host) = hosts.get(pick).cloned() else { return };
        match self.between(0, 10) {
            0 => self.coordinator_dies(),
            1 | 2 => drop(self.host_dies(&host, (300, 30_000))),
            3 => self.cut_off(&host),
            4 => self.azure_away(),
            5 => self.kill_an_idle_agent(&host),
            6 => self.no_room(&host),
            7 | 8 => {
                self.tear(&host);
                self.host_dies(&host, (300, 30_000));
            }
            _ => drop(self.power_cut(&host, (300, 30_000))),
        }
    }

    /// The newest ledger is damaged; hostd finds it when it starts.
    pub(super) fn tear(&mut self, name: &HostName) {
        if let Some(host) = self.hosts.get_mut(name).filter(|host| host.alive) {
            host.disk.torn = true;
            self.note(format!("{name} newest ledger is torn"));
        }
    }

    /// A disk that is full for a while.
    fn no_room(&mut self, name: &HostName) {
        let until = At(self.now.0 + self.between(5_000, 180_000));
        if let Some(host) = self.hosts.get_mut(name) {
            host.disk.full_until = until;
            self.note(format!("{name} disk is full"));
        }
    }

    /// A minute without the coordinator.
    fn cut_off(&mut self, name: &HostName) {
        let until = At(self.now.0 + self.between(10_000, 90_000));
        let Some(host) = self.hosts.get_mut(name) else { return };
        host.cut_until = until;
        let session = host.session;
        self.note(format!("{name} is cut off"));
        let noticed = self.between(1_000, 20_000);
        self.after(noticed, Due::Broken(name.clone(), session));
    }

    fn azure_away(&mut self) {
        self.azure.down_until = At(self.now.0 + self.between(5_000, 180_000));
        self.note("Azure is away".into());
    }

    /// Somebody, not the fleet, kills an agent that has no job.
    pub(super) fn kill_an_idle_agent(&mut self, name: &HostName) {
        let Some(host) = self.hosts.get(name) else { return };
        let idle: Option<RunKey> = host
            .engine
            .runs
            .iter()
            .find(|(_, run)| run.state == RunState::Running && run.job.is_none() && run.listening)
            .map(|(key, _)| key.clone());
        if let Some(key) = idle {
            self.note(format!("{} run {} is killed from outside", key.0, key.1));
            self.end_run(name, &key, 137);
        }
    }

    /// Everything on the host dies, jobs too: that is out of the fleet's reach.
    pub(super) fn power_cut(&mut self, name: &HostName, off: (u64, u64)) -> u64 {
        let long = self.host_dies(name, off);
        let now = self.now;
        let Some(host) = self.hosts.get_mut(name) else { return long };
        host.clocks.boot(now);
        let live: Vec<RunKey> = host
            .engine
            .runs
            .iter()
            .filter(|(_, run)| run.state == RunState::Running)
            .map(|(key, _)| key.clone())
            .collect();
        self.note(format!("{name} loses power with {} runs", live.len()));
        for key in live {
            self.end_run(name, &key, 137);
        }
        long
    }
}
