//! The command line of hostd.

use std::{
    ffi::OsString,
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use fleet_model::HostName;
use fleet_proto::{
    exit::Exit,
    logging::{self, Report},
    tls,
};
use hostd::{
    agent_run,
    check::{self, Verdict},
    daemon::Daemon,
    identity::join::{self, Invitation, JoinError},
    settings::Settings,
};
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// A token has 43 letters; what is much longer is something else.
const TOKEN_MAX: u64 = 4096;
/// Ledger, registrations and credentials are written by these; more would only be memory.
const WRITERS: usize = 8;

/// Owns this host's Azure Pipelines agents.
#[derive(Parser)]
#[command(name = "hostd", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the daemon.
    Run(Config),
    /// Join a fleet, with the line that `agentctl host invite` printed. The token comes on
    /// standard input.
    Join(Join),
    /// Look at everything hostd needs, and say what is wrong.
    Check(Config),
    /// One agent's own process, between systemd and its listener. systemd starts it.
    #[command(hide = true)]
    AgentRun {
        /// The directory of its run.
        dir: PathBuf,
    },
    /// Becomes a user, then a program. Only for root.
    #[command(hide = true, name = agent_run::AS_USER)]
    AgentExec {
        /// The user's name.
        user: String,
        /// The program, and what it is given.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
}

#[derive(clap::Args)]
struct Config {
    /// Settings; by default /etc/hostd/hostd.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Join {
    /// The coordinator's enrolment port.
    #[arg(long, value_name = "HOST:PORT")]
    coordinator: String,
    /// This host's name, as it was invited.
    #[arg(long, value_name = "NAME")]
    name: HostName,
    /// SHA-256 of the fleet's CA certificate.
    #[arg(long, value_name = "sha256:HEX")]
    ca_pin: String,
    /// The state directory; by default that of the settings.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Give up the identity that is there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    config: Config,
    /// Caught only to be refused: arguments are seen by everybody on this host.
    #[arg(long, hide = true, value_name = "TOKEN")]
    token: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Verb::AgentExec { user, program } = &cli.verb {
        // Comes back only when it failed.
        let error = agent_run::become_user(user, Path::new(&program[0]), &program[1..]);
        eprintln!("error: {} as {user}: {error}", program[0].display());
        return Exit::Error.into();
    }
    tls::install_default();
    // One thread: the daemon waits nearly all of its life, and every thread costs memory and
    // wake-ups. Writing to the disk is done beside it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(WRITERS)
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(cli.verb)),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {}", Report(error.as_ref()));
            error.downcast_ref::<JoinError>().map_or(Exit::Error, Exit::from).into()
        }
    }
}

async fn run(verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Run(config) => serve(&config).await,
        Verb::Join(args) => enter(args).await,
        Verb::Check(config) => look(&config).await,
        Verb::AgentRun { dir } => {
            logging::init(logging::Format::Auto, "info")?;
            agent_run::run(&dir).await?;
            Ok(Exit::Done)
        }
        Verb::AgentExec { .. } => anyhow::bail!("it is done before anything else"),
    }
}

async fn serve(config: &Config) -> anyhow::Result<Exit> {
    let settings = Settings::load(config.config.as_deref())?;
    logging::init(settings.log_format, &settings.log)?;
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    let ended = Box::pin(Daemon::new(settings)?.run(stop)).await;
    if let Err(error) = &ended {
        // Also into the log: under systemd that is where people look.
        tracing::error!(error = %Report(error), "hostd ends");
    }
    ended?;
    Ok(Exit::Done)
}

async fn enter(args: Join) -> anyhow::Result<Exit> {
    if args.token.is_some() {
        anyhow::bail!(
            "a token is not taken as an argument, where everybody on this host can read it; it \
             was seen now, so invite the host anew and paste the line as it was printed"
        );
    }
    let settings = Settings::load(args.config.config.as_deref())?;
    let proxy = settings.way().to(&args.coordinator)?;
    let place = Box::pin(join::join(Invitation {
        coordinator: args.coordinator,
        name: args.name,
        ca_pin: args.ca_pin,
        token: token()?,
        data: args.data.unwrap_or(settings.data),
        force: args.force,
        proxy,
    }))
    .await?;
    println!("joined: this host is {} of fleet {}", place.host, place.fleet);
    println!("next: systemctl enable --now hostd");
    Ok(Exit::Done)
}

fn token() -> anyhow::Result<SecretString> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("token, then Enter and Ctrl-D:");
    }
    let mut text = Zeroizing::new(String::new());
    stdin.lock().take(TOKEN_MAX).read_to_string(&mut text).context("the token cannot be read")?;
    Ok(text.trim().to_owned().into())
}

async fn look(config: &Config) -> anyhow::Result<Exit> {
    let settings = Settings::load(config.config.as_deref())?;
    println!("{:<8} {:<12} read", "ok", "settings");
    let found = check::check(&settings).await;
    for finding in &found {
        println!("{finding}");
    }
    let bad = found.iter().any(|finding| matches!(finding.is, Verdict::Bad(_)));
    Ok(if bad { Exit::Error } else { Exit::Done })
}
