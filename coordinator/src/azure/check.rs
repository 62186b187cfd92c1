//! The first look at a credential, before a pool is created with it.

use azdo::{Client, ClientConfig, Credential};
use fleet_model::AzureTarget;
use fleet_proto::logging::Report;
use secrecy::SecretString;

use super::AzureSettings;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    /// The pool is there and the credential may look at it.
    Good,
    /// Azure said no; the text says to what and what to do.
    Refused(String),
    /// Azure could not be asked. That is no reason to refuse a pool.
    Unknown(String),
}

/// Asks Azure for the pool with this secret.
pub(crate) async fn check(
    azure: &AzureTarget,
    secret: SecretString,
    settings: &AzureSettings,
) -> Check {
    let mut config = ClientConfig::new(&azure.url, Credential::Pat(secret));
    config.timeout = settings.timeout;
    config.proxy = settings.proxy();
    let asked = match Client::new(&config) {
        Ok(client) => client.pools(Some(&azure.pool)).await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(reply) if reply.value.is_empty() => Check::Refused(format!(
            "there is no pool {:?} at {} that this credential can see; create it at Azure, or name another with --azure-pool",
            azure.pool, azure.url
        )),
        Ok(_) => Check::Good,
        Err(error) if error.is_transient() => Check::Unknown(trouble(&error)),
        Err(error @ azdo::Error::Setting { .. }) => Check::Refused(error.to_string()),
        Err(error) if error.is_credential() => Check::Refused(format!(
            "Azure refuses the credential: {error}; it needs the scope Agent Pools (Read & manage) and the role Administrator of the pool"
        )),
        Err(error) => Check::Refused(format!("{} refuses: {}", azure.url, trouble(&error))),
    }
}

/// An error in words for operators.
pub(super) fn trouble(error: &azdo::Error) -> String {
    format!("Azure: {}", Report(error))
}
