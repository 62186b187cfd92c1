//! Names and layout of the package, and the ways into it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::bench::{Bench, output};

/// The package of this build, made once per build by the script that makes the real one.
pub(crate) fn tarball(version: &str) -> PathBuf {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("stub");
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_azdo-stub-agent"));
    let newest = [&scripts, &scripts.join("bin")]
        .into_iter()
        .flat_map(|dir| dir.read_dir().unwrap())
        .map(|entry| entry.unwrap().path())
        .chain([binary.clone()])
        .map(|file| file.metadata().unwrap().modified().unwrap())
        .max()
        .unwrap();
    let stamp = newest.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let file =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stub-{version}-{stamp}.tar.gz"));
    if !file.exists() {
        // Other test processes may be at it too: each builds its own, the last rename wins.
        let own = file.with_extension(std::process::id().to_string());
        let status = std::process::Command::new(scripts.join("package.sh"))
            .arg(&own)
            .args(["--version", version, "--binary"])
            .arg(binary)
            .status()
            .unwrap();
        assert!(status.success(), "package.sh: {status}");
        std::fs::rename(own, &file).unwrap();
    }
    file
}

fn names(dir: &Path) -> BTreeSet<String> {
    dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn names_and_layout() {
    let bench = Bench::start().await;
    let agent = bench.install();
    let wanted = [
        "bin",
        "config.sh",
        "env.sh",
        "externals",
        "license.html",
        "reauth.sh",
        "run-docker.sh",
        "run.sh",
    ];
    let found = names(&agent.root);
    assert!(found.is_superset(&wanted.map(str::to_owned).into()), "{found:?}");
    assert!(
        names(&agent.root.join("bin"))
            .is_superset(&["Agent.Listener", "Agent.Worker"].map(str::to_owned).into())
    );
    assert!(!found.contains("svc.sh"), "svc.sh comes with the configuration");

    agent.configured("a").await;
    let added: BTreeSet<String> = names(&agent.root).difference(&found).cloned().collect();
    let files =
        [".agent", ".credentials", ".credentials_rsaparams", ".env", ".path", "_work", "svc.sh"];
    assert_eq!(added, files.map(str::to_owned).into());
}

#[tokio::test]
async fn config_sh_needs_license_html() {
    let bench = Bench::start().await;
    let agent = bench.install();
    std::fs::remove_file(agent.root.join("license.html")).unwrap();
    let (code, text) = output(agent.config("a")).await;
    assert_eq!(code, 1);
    assert!(text.contains("license.html"), "{text}");
}

#[tokio::test]
async fn the_scripts_run_under_busybox_too() {
    let bench = Bench::start().await;
    let agent = bench.install();
    // Without it the container image could not be built either: apt-get install busybox-static.
    let tools = agent.root.parent().unwrap().join("busybox");
    std::fs::create_dir(&tools).unwrap();
    for applet in ["sh", "id", "dirname", "grep", "sed", "sleep", "cat"] {
        std::os::unix::fs::symlink("/bin/busybox", tools.join(applet)).unwrap();
    }
    let mut config = agent.command(&tools.join("sh").display().to_string());
    config.env("PATH", &tools).arg("config.sh").args(agent.config_arguments("a"));
    let (code, text) = output(config).await;
    assert_eq!(code, 0, "busybox must be at /bin/busybox: {text}");

    let mut run = agent.command(&tools.join("sh").display().to_string());
    run.env("PATH", &tools).args(["run.sh", "--once"]);
    let job = bench.queue("j", 0);
    let (code, text) = output(run).await;
    assert_eq!(code, 0, "{text}");
    assert_eq!(bench.result(job).await, "succeeded");
}
