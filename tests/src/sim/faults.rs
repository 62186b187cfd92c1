//! What goes wrong.

use fleet_model::{At, HostName};
use hostd_plan::RunState;

use super::{Due, RunKey, World};

impl World {
    pub(super) fn fault(&mut self) {
        let hosts: Vec<HostName> = self.hosts.keys().cloned().collect();
        let pick = usize::try_from(self.between(0, hosts.len() as u64)).unwrap_or(0);
        let Some(host) = hosts.get(pick).cloned() else { return };
        match self.between(0, 7) {
            0 => self.coordinator_dies(),
            1 | 2 => self.host_dies(&host),
            3 => self.cut_off(&host),
            4 => self.azure_away(),
            5 => self.kill_an_idle_agent(&host),
            _ => self.power_cut(&host),
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
    fn kill_an_idle_agent(&mut self, name: &HostName) {
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
    fn power_cut(&mut self, name: &HostName) {
        self.host_dies(name);
        let Some(host) = self.hosts.get(name) else { return };
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
    }
}
