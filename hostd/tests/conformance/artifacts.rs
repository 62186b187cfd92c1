//! The stub agent's package and container image, made once for all tests of this file.
//!
//! Each test is a process of its own, so a lock file decides who makes them. The image is named
//! after its content and stays for the next time; older ones go.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use crate::azure::NEW_VERSION;

/// Short waits for the stub; everything else is the real agent's.
const STUB_SETTINGS: &str = r#"{"pollSleepMs":50,"keepaliveMs":5000,"renewMs":2000,
"requestRetryMs":500,"sessionRetryMs":500,"cancelGraceMs":2000,"logFlushMs":1000,"stepIntMs":500,
"stepTermMs":500,"rerunWaitS":1,"pollBackoffMs":500}"#;
const IMAGE: &str = "fleet-test-agent";
pub(crate) const VERSION: &str = "4.260.0";

/// What the benches need.
pub(crate) struct Artifacts {
    /// An unpacked package.
    pub(crate) package: PathBuf,
    /// The same, packed.
    pub(crate) tarball: PathBuf,
    /// Its successor, as the simulator serves it.
    pub(crate) update: PathBuf,
    dir: PathBuf,
    name: String,
    /// Held until dropped.
    lock: File,
}

impl Artifacts {
    /// Makes them, or finds them made.
    pub(crate) fn get() -> Self {
        let target = workspace().join("target");
        let dir = target.join("conformance");
        fs::create_dir_all(&dir).unwrap();
        let lock = File::create(dir.join("lock")).unwrap();
        lock.lock().unwrap();
        let binary = Self::program("azdo-stub-agent");
        let name = format!("{:016x}", fingerprint(&binary));
        let made = dir.join(&name);
        if !made.join("done").exists() {
            make(&made, &binary);
        }
        lock.unlock().unwrap();
        let update = made.join(tarball_name(NEW_VERSION));
        let tarball = made.join(tarball_name(VERSION));
        Self { package: made.join("package"), tarball, update, dir: made, name, lock }
    }

    /// A program of this source.
    pub(crate) fn program(name: &str) -> PathBuf {
        run(Command::new(env!("CARGO"))
            .current_dir(workspace())
            .args(["build", "--quiet", "--bin", name]));
        workspace().join("target/debug").join(name)
    }

    /// The image's name, on the engine when this returns.
    pub(crate) fn image(&self) -> String {
        let image = format!("{IMAGE}:{}", self.name);
        self.lock.lock().unwrap();
        let found = Command::new("docker").args(["image", "inspect", &image]).output();
        let found = found.expect("these tests need docker: apt-get install docker.io");
        if !found.status.success() {
            forget_older();
            run(Command::new(workspace().join("deploy/lab/agent-image.sh"))
                .arg(self.dir.join("image.tar"))
                .args(["--settings".as_ref(), self.dir.join("stub.json").as_os_str()])
                .args(["--import", &image]));
            fs::remove_file(self.dir.join("image.tar")).unwrap();
        }
        self.lock.unlock().unwrap();
        image
    }
}

/// As the agent's packages are named.
pub(crate) fn tarball_name(version: &str) -> String {
    format!("vsts-agent-linux-x64-{version}.tar.gz")
}

pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn make(made: &Path, binary: &Path) {
    let _ = fs::remove_dir_all(made);
    fs::create_dir_all(made.join("package")).unwrap();
    fs::write(made.join("stub.json"), STUB_SETTINGS).unwrap();
    let script = workspace().join("azdo/stub/package.sh");
    for version in [VERSION, NEW_VERSION] {
        run(Command::new(&script)
            .arg(made.join(tarball_name(version)))
            .args(["--version", version, "--settings"])
            .arg(made.join("stub.json"))
            .arg("--binary")
            .arg(binary));
    }
    run(Command::new("tar")
        .arg("-xzf")
        .arg(made.join(tarball_name(VERSION)))
        .arg("-C")
        .arg(made.join("package")));
    fs::write(made.join("done"), "").unwrap();
}

/// Of everything that goes into the package and the image.
fn fingerprint(binary: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    fs::read(binary).unwrap().hash(&mut hasher);
    STUB_SETTINGS.hash(&mut hasher);
    let stub = workspace().join("azdo/stub");
    for dir in [stub.clone(), stub.join("bin"), workspace().join("deploy/lab")] {
        let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        for file in files.iter().filter(|f| f.is_file()) {
            fs::read(file).unwrap().hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn forget_older() {
    let list = Command::new("docker").args(["images", "-q", IMAGE]).output().unwrap();
    for id in String::from_utf8_lossy(&list.stdout).lines() {
        // One that is in use stays.
        let _ = Command::new("docker").args(["rmi", "-f", id]).output();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}: {words}", output.status);
}
