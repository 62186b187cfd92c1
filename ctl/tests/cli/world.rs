//! A coordinator that listens, a credential for it, and agentctl to be run.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use fleet_proto::{
    pki::{Ca, Life},
    tls::{self, Identity},
    v1::fleet_service_server::FleetServiceServer,
};
use secrecy::ExposeSecret as _;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpListener,
    process::{Child, Command},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::fake::{Fake, State};

/// No run takes longer, unless something hangs.
const LIMIT: Duration = Duration::from_secs(40);

pub(crate) struct World {
    pub(crate) fake: Fake,
    pub(crate) ca: Ca,
    pub(crate) endpoint: String,
    pub(crate) dir: tempfile::TempDir,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    /// A coordinator that knows `state`, and a credential of operator ann in the usual place.
    pub(crate) async fn start(state: State) -> Self {
        let ca = Ca::create("labs").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let fake = Fake::default();
        *fake.state() = state;
        let stop = CancellationToken::new();
        serve(listener, &ca, &fake, &stop);
        let world = Self { fake, ca, endpoint, dir: tempfile::tempdir().unwrap(), stop };
        let ann = world.ca.operator("ann", Life::of(Duration::from_secs(3600))).unwrap();
        world.write_config(&ann);
        world
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.fake.state()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join(".config/agentctl/config.toml")
    }

    /// Makes `identity` the one that agentctl uses.
    pub(crate) fn write_config(&self, identity: &Identity) {
        let pem = |text: &str| format!("\"\"\"\n{text}\"\"\"");
        let text = format!(
            "endpoint = \"{}\"\nserver_name = \"coordinator\"\nfleet = \"labs\"\noperator = \"ann\"\n\
             ca = {}\ncertificate = {}\nkey = {}\n",
            self.endpoint,
            pem(self.ca.certificate_pem()),
            pem(identity.chain_pem()),
            pem(identity.key_pem().expose_secret()),
        );
        write_file(&self.config(), &text, 0o600);
    }

    /// agentctl, with nothing of this machine's environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentctl"));
        command.args(args).env_clear().env("HOME", self.dir.path()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) async fn run(&self, args: &[&str]) -> String {
        self.finish(self.command(args).spawn().unwrap()).await
    }

    pub(crate) async fn run_with_input(&self, args: &[&str], input: &str) -> String {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        self.finish(child).await
    }

    /// Exit code and both outputs, with what differs from run to run taken out.
    pub(crate) async fn finish(&self, child: Child) -> String {
        let output = timeout(LIMIT, child.wait_with_output()).await.expect("it hangs").unwrap();
        let mut shown = format!("exit: {:?}\n", output.status.code());
        for (name, bytes) in [("out", output.stdout), ("err", output.stderr)] {
            let text = String::from_utf8(bytes).unwrap();
            if !text.is_empty() {
                write!(shown, "--- {name}\n{text}").unwrap();
            }
        }
        shown
            .replace(&self.endpoint, "127.0.0.1:PORT")
            .replace(&self.dir.path().display().to_string(), "[HOME]")
    }
}

fn serve(listener: TcpListener, ca: &Ca, fake: &Fake, stop: &CancellationToken) {
    let life = Life::of(Duration::from_secs(3600));
    let identity = ca.server_certificate(&["coordinator".into()], life).unwrap();
    let config = tls::server_config_mutual(&identity, ca.certificate_pem()).unwrap();
    let incoming = tls::accept(listener, Arc::new(ArcSwap::from(config)), stop.clone());
    let server = tls::server()
        .add_service(FleetServiceServer::new(fake.clone()))
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    tokio::spawn(server);
}

pub(crate) fn write_file(path: &Path, text: &str, mode: u32) {
    use std::io::Write as _;
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
    // The mode above is for new files only, and less what the umask takes.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Compares with the snapshot, after taking out times and moments.
macro_rules! shown {
    ($text:expr) => {{
        let text = $text;
        let mut settings = insta::Settings::clone_current();
        settings.set_omit_expression(true);
        settings.add_filter(r"after \d+s", "after [TIME]");
        settings.add_filter(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "[MOMENT]");
        settings.bind(|| insta::assert_snapshot!(text));
    }};
}
pub(crate) use shown;
