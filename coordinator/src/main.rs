//! The command line of the coordinator.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use coordinator::{
    backup,
    config::Config,
    init::{self, NewFleet},
    recover,
    run::Running,
    systemd,
};
use fleet_proto::{
    exit::Exit,
    logging::{self, Report},
    tls,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Keeps a fleet of Azure Pipelines agents over many lab servers.
#[derive(Parser)]
#[command(name = "coordinator", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a new fleet: CA, seal key, empty store, first operator credential.
    Init(InitArgs),
    /// Run the daemon.
    Run(RunArgs),
    /// Make another operator credential.
    Operator(OperatorArgs),
    /// Copy store, CA and keys into a new directory, also while the coordinator runs.
    Backup(BackupArgs),
    /// Leave read-only mode after a lost or restored store (with the coordinator stopped).
    Recover(RecoverArgs),
}

#[derive(clap::Args)]
struct InitArgs {
    /// Directory of the coordinator.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/coordinator")]
    data: PathBuf,
    /// The fleet's name.
    #[arg(long, value_name = "FLEET")]
    name: String,
    /// Name or address that hosts and operators dial; repeat for more. They check the first.
    #[arg(long = "san", value_name = "NAME_OR_IP", required = true)]
    sans: Vec<String>,
    /// Where operators connect; by default the first name and port 7443.
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Option<String>,
    /// The first operator.
    #[arg(long, value_name = "NAME", default_value = "admin")]
    operator: String,
    /// Where its credential goes: the file that agentctl reads.
    #[arg(long, value_name = "FILE")]
    operator_out: PathBuf,
}

#[derive(clap::Args)]
struct RunArgs {
    /// Settings; by default /etc/coordinator/coordinator.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the addresses really listened on into this file, as JSON.
    #[arg(long, value_name = "FILE")]
    print_addresses: Option<PathBuf>,
}

#[derive(clap::Args)]
struct OperatorArgs {
    /// Directory of the coordinator.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/coordinator")]
    data: PathBuf,
    /// The operator's name.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Where the credential goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where the operator connects; by default the first name and port 7443.
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Option<String>,
}

#[derive(clap::Args)]
struct BackupArgs {
    /// Directory of the coordinator.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/coordinator")]
    data: PathBuf,
    /// Where the copy goes; it must not exist yet.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

#[derive(clap::Args)]
struct RecoverArgs {
    /// Directory of the coordinator.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/coordinator")]
    data: PathBuf,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    tls::install_default();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(run(cli.verb)) {
        Ok(()) => Exit::Done.into(),
        Err(error) => failed(error.as_ref()),
    }
}

fn failed(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    eprintln!("error: {}", Report(error));
    Exit::Error.into()
}

async fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Init(args) => make(args).await,
        Verb::Run(args) => serve(args).await,
        Verb::Operator(args) => {
            init::operator(&args.data, &args.name, &args.out, args.endpoint.as_deref()).await?;
            println!("credential of operator {}: {}", args.name, args.out.display());
            Ok(())
        }
        Verb::Backup(args) => {
            backup::backup(&args.data, &args.to).await?;
            println!("backup: {} (it holds keys: keep it private)", args.to.display());
            Ok(())
        }
        Verb::Recover(args) => {
            let done = recover::recover(&args.data).await?;
            println!(
                "orders go on at {} (they were at {}). Start the coordinator: it waits for the reports of {} \
                 hosts, takes over what they run for the {} pools of the store, and then gives orders again.",
                done.after, done.before, done.hosts, done.pools
            );
            Ok(())
        }
    }
}

async fn make(args: InitArgs) -> Result<(), Failure> {
    let new = NewFleet {
        data: args.data,
        name: args.name,
        sans: args.sans,
        endpoint: args.endpoint,
        operator: args.operator,
        operator_out: args.operator_out,
    };
    let pin = init::init(&new).await?;
    println!("fleet {} is made in {}", new.name, new.data.display());
    println!("CA pin: sha256:{pin}");
    println!("credential of operator {}: {}", new.operator, new.operator_out.display());
    println!("next: coordinator run, then agentctl host invite NAME --lab LAB");
    Ok(())
}

async fn serve(args: RunArgs) -> Result<(), Failure> {
    let config = Config::load(args.config.as_deref())?;
    logging::init(config.log_format, &config.log)?;
    // Before anything is open: a signal in between must not leave half of it.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let running = Running::start(config).await?;
    if let Some(file) = &args.print_addresses {
        running.print_addresses(file)?;
    }
    let addresses = running.addresses;
    tracing::info!(
        listen = %addresses.listen, enroll = %addresses.enroll_listen, http = %addresses.http_listen,
        advertise = running.places.sessions, "serving"
    );
    let stop = CancellationToken::new();
    let alive = tokio::spawn(systemd::watchdog(running.handle().clone(), stop.clone()));
    systemd::ready();
    let failed = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = running.failed() => true,
    };
    systemd::stopping();
    tracing::info!("stopping");
    stop.cancel();
    running.stop().await;
    alive.await?;
    if failed { Err("a part of the coordinator failed; see the log".into()) } else { Ok(()) }
}
