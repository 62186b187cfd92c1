//! `agentctl pool create NAME …`: a pool of the fleet for an existing pool at Azure.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use fleet_model::{AgentPrefix, AzureTarget, CredentialName, GroupSpec, PoolName, PoolSpec};
use fleet_proto::v1;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;

use super::group_options::GroupOptions;
use crate::{
    cli::Global,
    error::Failure,
    help, output,
    secret::{Secret, Source},
    when,
};

/// Creates a pool with no agents yet; `agentctl scale` gives it some.
///
/// The pool at Azure must exist: it is never created, changed or deleted from here.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl pool create nightly-svc --azure-url https://dev.azure.com/fabrikam \\\n    \
     --selector lab=svc --image registry.example/agent:4 --pat-file /run/secrets/pat --expires-in 7d",
    "Containers on the servers of lab svc, a fresh one for every job",
    help::ASKING,
))]
pub(crate) struct Create {
    /// Name in the fleet
    name: PoolName,
    /// Address of the organization
    #[arg(long, value_name = "URL", help_heading = "Azure")]
    azure_url: String,
    /// Name of the pool there, when it differs
    #[arg(long, value_name = "NAME", help_heading = "Azure")]
    azure_pool: Option<String>,
    /// File with the personal access token; - for standard input
    #[arg(long, value_name = "FILE", help_heading = "Azure", conflicts_with = "pat_env")]
    pat_file: Option<PathBuf>,
    /// Variable of this command's environment with the token
    #[arg(long, value_name = "VARIABLE", help_heading = "Azure")]
    pat_env: Option<String>,
    /// When the token ends, as told when it was made; Azure does not say
    #[arg(long, value_name = "TIME", value_parser = when::parse, help_heading = "Azure")]
    expires_in: Option<Duration>,
    /// Name of the credential; without a token, one that exists already [default: the pool's name]
    #[arg(long, value_name = "NAME", help_heading = "Azure")]
    credential: Option<CredentialName>,
    /// First part of the agents' names [default: the pool's name]
    #[arg(long, help_heading = "Hosts")]
    prefix: Option<AgentPrefix>,
    /// How long an agent must look idle before it is removed
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = when::parse,
        help_heading = "Hosts")]
    settle: Duration,
    #[command(flatten)]
    group: GroupOptions,
}

impl Create {
    /// Checks everything that can be checked here, then asks.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let what = format!("create pool {}", self.name);
        let spec = self.spec().map_err(|error| {
            Failure::error(format!("cannot {what}"))
                .because(error.to_string())
                .next("put the option right; nothing was changed")
        })?;
        let session = global.session()?;
        let secret = self.secret()?;
        if let Some(warning) = secret.as_ref().and_then(|s| s.warning.as_ref()) {
            output::say(&format!("warning: {warning}"));
        }
        let request = v1::CreatePoolRequest {
            spec: Some(spec.into()),
            secret: secret.map(|s| s.value.expose_secret().into()).unwrap_or_default(),
            secret_expires: self.expires_in.and_then(expiry).map(when::wire),
        };
        let mut client = session.client();
        session.ask(&what, client.create_pool(request)).await?;
        output::say(&format!("next: agentctl scale {} N", self.name));
        output::print(&format!("pool {} created\n", self.name))
    }

    fn spec(&self) -> Result<PoolSpec, Box<dyn std::error::Error>> {
        let azure = AzureTarget {
            url: self.azure_url.trim_end_matches('/').to_owned(),
            pool: self.azure_pool.clone().unwrap_or_else(|| self.name.to_string()),
        };
        let credential = match &self.credential {
            Some(name) => name.clone(),
            None => self.name.as_str().parse()?,
        };
        let GroupSpec { selector, template, max_per_host, .. } =
            self.group.group("default".parse()?, 1)?;
        let mut spec = PoolSpec::single(self.name.clone(), azure, credential, selector, template)?;
        spec.settle = self.settle;
        if let Some(prefix) = &self.prefix {
            spec.prefix = prefix.clone();
        }
        for group in &mut spec.groups {
            group.max_per_host = max_per_host;
        }
        spec.check()?;
        Ok(spec)
    }

    fn secret(&self) -> Result<Option<Secret>, Failure> {
        let source = match (&self.pat_file, &self.pat_env) {
            (Some(path), _) if path.as_os_str() == "-" => Source::StandardInput,
            (Some(path), _) => Source::File(path.clone()),
            (None, Some(name)) => Source::Variable(name.clone()),
            (None, None) if self.credential.is_some() => return Ok(None),
            (None, None) => {
                return Err(Failure::error(format!("cannot create pool {}", self.name))
                    .because("its agents need a credential to register at Azure")
                    .next("give a personal access token: --pat-file FILE, --pat-file - or --pat-env VARIABLE")
                    .next("or name a credential that exists: --credential NAME"));
            }
        };
        Ok(Some(source.read()?))
    }
}

fn expiry(length: Duration) -> Option<Timestamp> {
    Timestamp::now().checked_add(length).ok()
}
