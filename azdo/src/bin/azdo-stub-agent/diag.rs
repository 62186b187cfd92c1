//! The log under `_diag`: one file per process, `Agent_…-utc.log` or `Worker_…-utc.log`. Nothing secret is
//! ever handed to it, so it has nothing to mask.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;

use jiff::Timestamp;

use crate::environment::Environment;
use crate::layout::Layout;

/// A log file; without one (read-only root) the lines are dropped.
#[derive(Debug)]
pub(crate) struct Diag(Option<Mutex<File>>);

impl Diag {
    /// `kind` is `Agent` or `Worker`; `AGENT_DIAGLOGPATH` and `WORKER_DIAGLOGPATH` move the file.
    pub(crate) fn open(layout: &Layout, environment: &Environment, kind: &str) -> Self {
        let moved = environment.get(&format!("{}_DIAGLOGPATH", kind.to_ascii_uppercase()));
        let folder = moved.map_or_else(|| layout.file("_diag"), PathBuf::from);
        let name = format!("{kind}_{}-utc.log", Timestamp::now().strftime("%Y%m%d-%H%M%S"));
        let open = || -> std::io::Result<File> {
            std::fs::create_dir_all(&folder)?;
            File::options().create(true).append(true).open(folder.join(name))
        };
        Self(open().ok().map(Mutex::new))
    }

    pub(crate) fn log(&self, text: &str) {
        let Some(Ok(mut file)) = self.0.as_ref().map(Mutex::lock) else { return };
        let _ = writeln!(file, "[{} INFO] {text}", Timestamp::now().strftime("%Y-%m-%d %H:%M:%SZ"));
    }

    /// Where a step's own output goes.
    pub(crate) fn stdio(&self) -> std::process::Stdio {
        self.0
            .as_ref()
            .and_then(|file| file.lock().ok()?.try_clone().ok())
            .map_or_else(std::process::Stdio::null, std::process::Stdio::from)
    }
}
