//! `hostd check`: looks at everything that hostd needs, says what is wrong and what to do next.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use fleet_model::RuntimeKind;
use fleet_proto::{logging::Report, pki};

use crate::{
    daemon::Daemon, engine_facts, ledger_file::LedgerFile, runtime::Runtime, settings::Settings,
};

/// Certificates live a day; a clock that is off by more than their slack makes them worthless.
const CLOCK_SLACK: Duration = Duration::from_secs(5 * 60);

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: String,
    /// How it is.
    pub is: Verdict,
}

/// How a thing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Good, with what was seen.
    Good(String),
    /// hostd works, but something may go wrong; with what to do.
    Doubtful(String),
    /// hostd does not work; with what to do.
    Bad(String),
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (word, text) = match &self.is {
            Verdict::Good(text) => ("ok", text),
            Verdict::Doubtful(text) => ("warning", text),
            Verdict::Bad(text) => ("error", text),
        };
        write!(f, "{word:<8} {:<12} {text}", self.what)
    }
}

/// Looks at everything; settings were read already.
pub async fn check(settings: &Settings) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut found = |what: &str, is| all.push(Finding { what: what.to_owned(), is });
    found("data", private_directory(&settings.data));
    found("ledger", ledger(&settings.data));
    match Daemon::new(settings.clone()) {
        Ok(daemon) => {
            let identity = daemon.identity.current();
            let place = &identity.place;
            let text = format!("{} of fleet {}, {}", place.host, place.fleet, place.endpoint);
            found("identity", Verdict::Good(text));
            found("certificate", certificate(&identity.certificate_pem, SystemTime::now()));
            for runtime in daemon.runtimes.values() {
                found(runtime.kind().as_str(), engine(runtime.as_ref(), settings).await);
            }
        }
        Err(error) => found("identity", Verdict::Bad(Report(&error).to_string())),
    }
    if settings.runtimes.contains(&RuntimeKind::Docker) {
        found("live-restore", live_restore(settings).await);
    }
    found("clock", clock());
    all
}

fn private_directory(path: &Path) -> Verdict {
    let advice = format!("make it with: install -d -m 700 {}", path.display());
    match fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => {
            Verdict::Bad(format!("{} is not a directory; {advice}", path.display()))
        }
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => Verdict::Doubtful(format!(
            "{} can be entered by others; chmod 700 {}",
            path.display(),
            path.display()
        )),
        Ok(_) => Verdict::Good(path.display().to_string()),
        Err(error) => Verdict::Bad(format!("{}: {error}; {advice}", path.display())),
    }
}

/// Reads only: a damaged ledger is set aside by `hostd run`, not by a look.
fn ledger(data: &Path) -> Verdict {
    match LedgerFile::within(data).look() {
        Ok(found) => match found.warning {
            Some(warning) => Verdict::Doubtful(warning),
            None => {
                let slots = found.ledger.slots.len();
                Verdict::Good(format!("order {}, {slots} slots", found.ledger.highest))
            }
        },
        Err(error) => Verdict::Bad(Report(&error).to_string()),
    }
}

fn certificate(pem: &str, now: SystemTime) -> Verdict {
    let facts = match pki::facts(pem) {
        Ok(facts) => facts,
        Err(error) => return Verdict::Bad(Report(&error).to_string()),
    };
    if now < facts.not_before {
        return Verdict::Bad("it is not valid yet: this host's clock is behind; set it".into());
    }
    match facts.not_after.duration_since(now) {
        Ok(left) => Verdict::Good(format!("good for {}", hours(left))),
        Err(since) => Verdict::Doubtful(format!(
            "expired {} ago; hostd asks to be readmitted when it runs",
            hours(since.duration())
        )),
    }
}

fn hours(span: Duration) -> String {
    format!("{} h {} min", span.as_secs() / 3600, span.as_secs() % 3600 / 60)
}

async fn engine(runtime: &dyn Runtime, settings: &Settings) -> Verdict {
    match runtime.describe().await {
        Ok(text) => Verdict::Good(text),
        Err(error) => {
            let advice = match runtime.kind() {
                RuntimeKind::Docker => format!(
                    "is the engine running, and {} its socket? systemctl status docker",
                    settings.docker.socket.display()
                ),
                RuntimeKind::Systemd => {
                    "is this host run by systemd? systemctl is-system-running".to_owned()
                }
                _ => "see the setting process.package".to_owned(),
            };
            Verdict::Bad(format!("{}; {advice}", Report(&error)))
        }
    }
}

async fn live_restore(settings: &Settings) -> Verdict {
    match engine_facts::live_restore(&settings.docker.socket).await {
        Ok(true) => Verdict::Good("agents outlive a restart of the engine".into()),
        Ok(false) => Verdict::Doubtful(engine_facts::NO_LIVE_RESTORE.into()),
        Err(why) => Verdict::Bad(format!("the engine does not say: {why}")),
    }
}

/// Whether something keeps the clock right. The kernel knows; see adjtimex(2).
fn clock() -> Verdict {
    let slack = CLOCK_SLACK.as_secs() / 60;
    // Touched by systemd-timesyncd whenever it is in step; chrony and ntpd have their own.
    let synchronized = Path::new("/run/systemd/timesync/synchronized").exists();
    let others = ["/run/chrony", "/var/run/chrony", "/run/ntpd.pid", "/run/openntpd.sock"];
    if synchronized || others.iter().any(|path| Path::new(path).exists()) {
        Verdict::Good("a time service keeps it right".into())
    } else {
        Verdict::Doubtful(format!(
            "no time service was found; more than {slack} min off, and certificates are refused: \
             timedatectl set-ntp true"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bare_host_is_told_what_to_do_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut settings = Settings { data: dir.path().join("data"), ..Settings::default() };
        settings.docker.socket = dir.path().join("none.sock");
        let found = check(&settings).await;
        let of = |what: &str| {
            let one = found.iter().find(|one| one.what == what);
            one.map(ToString::to_string).unwrap_or_default()
        };
        assert!(of("data").contains("install -d -m 700"), "{}", of("data"));
        assert!(of("identity").contains("agentctl host invite"), "{}", of("identity"));
        assert!(of("live-restore").starts_with("error"), "{}", of("live-restore"));
        assert!(of("ledger").starts_with("ok"), "{}", of("ledger"));
    }

    #[test]
    fn a_certificate_is_judged_by_the_clock() {
        let ca = pki::Ca::create("f").expect("a CA");
        let host = "h".parse().expect("a name");
        let (_, csr) = pki::key_and_csr(&host).expect("a key");
        let now = SystemTime::now();
        let life = pki::Life::starting(now, Duration::from_secs(3600));
        let pem = ca.sign_host(&csr, &host, life).expect("signed");
        assert!(matches!(certificate(&pem, now), Verdict::Good(_)));
        let before = now - Duration::from_secs(3600);
        assert!(matches!(certificate(&pem, before), Verdict::Bad(_)));
        let after = now + Duration::from_secs(7200);
        assert!(matches!(certificate(&pem, after), Verdict::Doubtful(_)));
    }
}
