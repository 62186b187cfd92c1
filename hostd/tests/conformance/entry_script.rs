//! Our entry under every shell that images have, with a package that is a few lines of shell.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

const ENTRY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/entry/entry.sh");
const SHELLS: [&[&str]; 3] = [&["dash"], &["bash", "--posix"], &["busybox", "ash"]];

/// Registers, and keeps what it was told and by which way.
const CONFIG: &str = r#"#!/bin/sh
[ -n "$VSTS_AGENT_INPUT_TOKEN" ] || exit 1
printf '%s' "$VSTS_AGENT_INPUT_TOKEN" >got-token
printf '%s\n' "$@" >got-arguments
env | sort >got-environment
printf '{"agentName":"a"}' >.agent
echo c >.credentials
echo r >.credentials_rsaparams
"#;
const LISTENER: &str = r#"#!/bin/sh
printf '%s\n' "$@" >listener-arguments
env | sort >listener-environment
umask >listener-umask
exit 17
"#;

struct Place {
    dir: TempDir,
}

impl Place {
    fn new(config: &str) -> Self {
        let place = Self { dir: TempDir::with_prefix("fleet-test-").unwrap() };
        for dir in ["root/bin", "fleet/in", "fleet/out"] {
            fs::create_dir_all(place.path(dir)).unwrap();
        }
        place.program("root/config.sh", config);
        place.program("root/bin/Agent.Listener", LISTENER);
        fs::write(place.path("fleet/env"), "LABEL=a b\ndotted.name=1\n").unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn program(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn token(&self) {
        fs::write(self.path("fleet/token"), "secret").unwrap();
    }

    fn run(&self, shell: &[&str], more: &[(&str, &str)]) -> Output {
        Command::new(shell[0])
            .args(&shell[1..])
            .arg(ENTRY)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.dir.path())
            .env("FLEET_HANDOVER", self.path("fleet"))
            .env("FLEET_AGENT_ROOT", self.path("root"))
            .env("VSTS_AGENT_INPUT_URL", "http://127.0.0.1:1/x")
            .env("VSTS_AGENT_INPUT_POOL", "nightly")
            .env("VSTS_AGENT_INPUT_AGENT", "a")
            .envs(more.iter().copied())
            .output()
            .unwrap_or_else(|error| {
                panic!("{shell:?} is needed: apt-get install dash busybox: {error}")
            })
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn it_registers_hands_out_the_files_and_becomes_the_listener() {
    for shell in SHELLS {
        let place = Place::new(CONFIG);
        place.token();
        let output = place.run(shell, &[("FLEET_MODE", "once"), ("IMAGE_SAYS", "x")]);
        assert_eq!(output.status.code(), Some(17), "{shell:?}: {output:?}");
        assert_eq!(said(&output), "fleet-entry: registering\nfleet-entry: registered\n");
        assert_eq!(place.read("root/got-token"), "secret");
        assert_eq!(place.read("root/got-arguments"), "\n", "nothing is an argument");
        assert_eq!(place.read("fleet/out/.agent"), "{\"agentName\":\"a\"}");
        assert_eq!(place.read("root/listener-arguments"), "run\n--once\n");
        assert!(!place.path("fleet/token").exists());
        for name in [".credentials", ".credentials_rsaparams"] {
            let mode = fs::metadata(place.path("fleet/out").join(name)).unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
        }
    }
}

#[test]
fn only_the_configuration_hears_where_jobs_are_announced() {
    for shell in SHELLS {
        for (given, expected) in [(Some("127.0.0.1:7"), 1), (None, 0)] {
            let place = Place::new(CONFIG);
            place.token();
            let more: Vec<_> = given.map(|address| ("FLEET_NOTIFY", address)).into_iter().collect();
            place.run(shell, &more);
            let line = "VSTS_AGENT_INPUT_NOTIFICATIONSOCKETADDRESS=127.0.0.1:7";
            let environment = place.read("root/got-environment");
            let told = environment.lines().filter(|told| *told == line).count();
            assert_eq!(told, expected, "{shell:?}: {environment}");
            assert!(!environment.contains("FLEET_NOTIFY"), "{environment}");
            let environment = place.read("root/listener-environment");
            assert!(!environment.contains("127.0.0.1:7"), "{environment}");
        }
    }
}

#[test]
fn environments_are_made_from_nothing() {
    for shell in SHELLS {
        let place = Place::new(CONFIG);
        place.token();
        place.run(shell, &[("FLEET_MODE", "long-lived"), ("IMAGE_SAYS", "x")]);
        let environment = place.read("root/listener-environment");
        for line in ["LABEL=a b", "dotted.name=1", "LANG=C"] {
            // A shell as listener cannot hand on a name with a dot; the file it is read from can.
            let known = environment.lines().any(|l| l == line) || line.starts_with("dotted");
            assert!(known, "{shell:?} {line}: {environment}");
        }
        for name in ["IMAGE_SAYS", "VSTS_AGENT_INPUT", "FLEET_HANDOVER", "FLEET_MODE", "secret"] {
            assert!(!environment.contains(name), "{shell:?} {name}: {environment}");
        }
        assert_eq!(place.read("root/listener-arguments"), "run\n--startuptype\nservice\n");
        assert_ne!(place.read("root/listener-umask").trim(), "0077", "jobs have the usual modes");
    }
}

#[test]
fn a_registration_that_is_handed_over_is_installed_and_not_made() {
    for shell in SHELLS {
        let place = Place::new("#!/bin/sh\nexit 1\n");
        for name in [".agent", ".credentials", ".credentials_rsaparams"] {
            fs::write(place.path("fleet/in").join(name), name).unwrap();
        }
        let output = place.run(shell, &[]);
        assert_eq!(output.status.code(), Some(17), "{shell:?}: {output:?}");
        assert_eq!(said(&output), "");
        let file = place.path("root/.credentials_rsaparams");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(file).unwrap(), ".credentials_rsaparams");
        assert_eq!(fs::read_dir(place.path("fleet/in")).unwrap().count(), 0);
    }
}

#[test]
fn a_refusal_is_said_and_has_its_code() {
    let taken =
        "#!/bin/sh\necho first\necho 'Pool 3 already contains an agent with name a.'\nexit 1\n";
    let denied = "#!/bin/sh\necho 'Access denied. a needs Manage permissions.'\nexit 1\n";
    for shell in SHELLS {
        for (config, code, words) in
            [(taken, 71, "already contains"), (denied, 70, "Access denied")]
        {
            let place = Place::new(config);
            place.token();
            let output = place.run(shell, &[]);
            assert_eq!(output.status.code(), Some(code), "{shell:?}: {output:?}");
            let failed = said(&output)
                .lines()
                .any(|l| l.starts_with("fleet-entry: failed: ") && l.contains(words));
            assert!(failed, "{shell:?}: {output:?}");
            assert!(!place.path("fleet/token").exists());
            assert!(!place.path("root/listener-arguments").exists(), "nothing listens");
        }
    }
}

#[test]
fn an_endless_configuration_is_ended_with_all_its_children() {
    for shell in SHELLS {
        let place = Place::new("#!/bin/sh\necho $$ >pids\nsleep 300 &\necho $! >>pids\nwait\n");
        place.token();
        let output = place.run(shell, &[("FLEET_LIMIT", "1")]);
        assert_eq!(output.status.code(), Some(70), "{shell:?}: {output:?}");
        assert!(said(&output).contains("did not end within 1 s"), "{output:?}");
        for pid in place.read("root/pids").lines() {
            // Killed; who reaps it is somebody else's business.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            assert!(stat.is_empty() || stat.contains(") Z "), "{shell:?}: {stat}");
        }
    }
}

#[test]
fn without_package_token_or_registration_it_says_what_is_missing() {
    for shell in SHELLS {
        let place = Place::new(CONFIG);
        let output = place.run(shell, &[]);
        assert_eq!(output.status.code(), Some(70), "{shell:?}: {output:?}");
        assert!(said(&output).contains("neither a registration nor a token"), "{output:?}");

        let empty = place.path("empty");
        let output = place.run(shell, &[("FLEET_AGENT_ROOT", empty.to_str().unwrap())]);
        // This machine may have an agent of its own in one of the usual places.
        if !["/azp", "/agent", "/opt/agent"].iter().any(|dir| Path::new(dir).exists()) {
            assert_eq!(output.status.code(), Some(78), "{shell:?}: {output:?}");
            assert!(said(&output).contains("no agent package"), "{output:?}");
        }
    }
}

#[test]
fn a_root_of_its_own_is_a_copy_without_the_registration_of_others() {
    for shell in SHELLS {
        let place = Place::new(CONFIG);
        fs::rename(place.path("root"), place.path("package")).unwrap();
        fs::write(place.path("package/.agent"), "somebody's").unwrap();
        place.token();
        let package = place.path("package");
        let output = place.run(shell, &[("FLEET_AGENT_PACKAGE", package.to_str().unwrap())]);
        assert_eq!(output.status.code(), Some(17), "{shell:?}: {output:?}");
        assert_eq!(place.read("root/got-token"), "secret", "it registered there");
        assert_eq!(place.read("package/.agent"), "somebody's");
    }
}

#[test]
fn an_update_that_was_prepared_is_finished() {
    for shell in SHELLS {
        let place = Place::new(CONFIG);
        place.token();
        for dir in ["root/externals", "root/bin.4.9.0", "root/bin.4.10.0", "root/_work"] {
            fs::create_dir_all(place.path(dir)).unwrap();
        }
        for version in ["4.9.0", "4.10.0"] {
            fs::create_dir_all(place.path(&format!("root/externals.{version}"))).unwrap();
            place.program(&format!("root/bin.{version}/Agent.Listener"), LISTENER);
        }
        fs::write(place.path("root/_work/_update.sh"), "").unwrap();
        let output = place.run(shell, &[]);
        assert_eq!(output.status.code(), Some(17), "{shell:?}: {output:?}");
        assert_eq!(fs::read_link(place.path("root/bin")).unwrap(), Path::new("bin.4.10.0"));
        assert_eq!(
            fs::read_link(place.path("root/externals")).unwrap(),
            Path::new("externals.4.10.0")
        );
        assert!(!place.path("root/_work/_update.sh").exists());
    }
}

/// The script that swaps is killed with its listener: it may have moved `bin` away, and no more.
#[test]
fn an_update_that_was_cut_off_in_its_swap_is_finished() {
    for shell in SHELLS {
        let place = Place::new(CONFIG);
        place.token();
        for dir in ["root/externals", "root/externals.4.9.0", "root/externals.4.10.0"] {
            fs::create_dir_all(place.path(dir)).unwrap();
        }
        fs::rename(place.path("root/bin"), place.path("root/bin.4.9.0")).unwrap();
        fs::create_dir(place.path("root/bin.4.10.0")).unwrap();
        place.program("root/bin.4.10.0/Agent.Listener", LISTENER);
        let output = place.run(shell, &[]);
        assert_eq!(output.status.code(), Some(17), "{shell:?}: {output:?}");
        assert_eq!(fs::read_link(place.path("root/bin")).unwrap(), Path::new("bin.4.10.0"));
    }
}

#[test]
fn shellcheck_has_nothing_to_say() {
    let output = Command::new("shellcheck").arg(ENTRY).output();
    let output = output.expect("these tests need shellcheck: apt-get install shellcheck");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
