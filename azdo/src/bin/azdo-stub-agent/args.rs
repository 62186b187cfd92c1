//! The command line of `Agent.Listener`: a verb and flags, all case-insensitive, each of which may also come as
//! `VSTS_AGENT_INPUT_<FLAG>`. A flag on the command line wins over one from the environment.

use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::environment::Environment;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Register with a pool.
    Configure,
    /// Take the registration back.
    Remove,
    /// New key for the same registration.
    Reauth,
    /// Listen for jobs.
    Run,
    /// Preload; nothing here.
    Warmup,
    /// Say what there is.
    Help,
}

/// Flags that stand alone.
const SWITCHES: &[&str] = &[
    "unattended",
    "replace",
    "once",
    "acceptteeeula",
    "runasservice",
    "disableloguploads",
    "restreamlogstofiles",
    "alwaysextracttask",
    "usebasicauthforproxy",
    "sslskipcertvalidation",
    "deploymentgroup",
    "adddeploymentgrouptags",
    "deploymentpool",
    "environment",
    "addvirtualmachineresourcetags",
    "version",
    "commit",
    "help",
    "diagnostics",
    "debug",
];

/// Flags that take a value.
const VALUES: &[&str] = &[
    "url",
    "auth",
    "token",
    "pool",
    "agent",
    "work",
    "startuptype",
    "proxyurl",
    "proxyusername",
    "proxypassword",
    "sslcacert",
    "sslclientcert",
    "sslclientcertkey",
    "sslclientcertarchive",
    "sslclientcertpassword",
    "notificationsocketaddress",
    "notificationpipename",
    "monitorsocketaddress",
    "deploymentgroupname",
    "projectname",
    "deploymentgrouptags",
    "deploymentpoolname",
    "environmentname",
    "virtualmachineresourcetags",
    "collectionname",
    "clientid",
    "tenantid",
    "clientsecret",
    "username",
    "password",
];

/// A parsed command line. Not `Debug`: it may hold a token.
pub(crate) struct Command {
    /// What to do.
    pub(crate) verb: Verb,
    /// Arguments nobody knows; they are warned about, not refused.
    pub(crate) unknown: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Command {
    /// Reads the command line and takes the inputs out of `environment`.
    pub(crate) fn parse(argv: Vec<String>, environment: &mut Environment) -> Self {
        let mut values: BTreeMap<String, String> = environment.take_inputs().into_iter().collect();
        let mut unknown = Vec::new();
        let mut argv = argv.into_iter().peekable();
        let verb = verb(argv.next_if(|a| !a.starts_with('-')).as_deref());
        while let Some(argument) = argv.next() {
            let name = argument.trim_start_matches("--").to_ascii_lowercase();
            if SWITCHES.contains(&name.as_str()) {
                values.insert(name, "true".to_owned());
            } else if VALUES.contains(&name.as_str()) {
                values.insert(name, argv.next_if(|a| !a.starts_with("--")).unwrap_or_default());
            } else {
                // The value of an unknown flag may be a mistyped secret: it is dropped, not repeated.
                argv.next_if(|a| !a.starts_with("--"));
                unknown.push(argument);
            }
        }
        Self { verb, unknown, values }
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.values
            .get(name)
            .is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "true" | "1" | "$true"))
    }

    /// A value that is given and not empty.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// The token, trimmed: a newline at its end would make every request a 401.
    pub(crate) fn token(&self) -> Option<SecretString> {
        self.value("token").map(|t| SecretString::from(t.trim().to_owned()))
    }
}

fn verb(word: Option<&str>) -> Verb {
    match word.unwrap_or_default().to_ascii_lowercase().as_str() {
        "configure" => Verb::Configure,
        "remove" => Verb::Remove,
        "reauth" => Verb::Reauth,
        "run" => Verb::Run,
        "warmup" => Verb::Warmup,
        _ => Verb::Help,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;

    fn parse(line: &str) -> Command {
        let layout = Layout::of_this_process().expect("a running test has a path");
        let mut environment = Environment::of_this_process(&layout);
        Command::parse(line.split(' ').map(str::to_owned).collect(), &mut environment)
    }

    #[test]
    fn flags_are_case_insensitive_and_values_are_not() {
        let command = parse("configure --UNATTENDED --Pool Nightly --acceptTeeEula");
        assert_eq!(command.verb, Verb::Configure);
        assert!(command.flag("unattended") && command.flag("acceptteeeula"));
        assert_eq!(command.value("pool"), Some("Nightly"));
        assert!(command.unknown.is_empty());
    }

    #[test]
    fn an_unknown_flag_is_named_without_its_value() {
        let command = parse("configure --tokn s3cret --replace");
        assert_eq!(command.unknown, ["--tokn"]);
        assert!(command.flag("replace"));
    }
}
