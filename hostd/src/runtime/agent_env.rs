//! The environment of a listener. Everything in it becomes a capability that the whole pool can
//! read, and every job inherits it: so it is made from nothing, of what the template asks for and
//! the little that we add.

use std::collections::BTreeMap;

use fleet_model::{Entry, Mode, OwnerMark};

use super::{RunSpec, RuntimeError, StartWith};

/// The only variable of a template that speaks to our entry: `true` lets the configuration run
/// replace a registration of the same name. Off, because a replaced listener holds its session
/// longer than the new one waits for it.
const REPLACE: &str = "FLEET_REPLACE";
/// Names of variables, comma separated, that do not become capabilities.
const NOT_CAPABILITIES: &str = "VSO_AGENT_IGNORE";

/// The listener's environment, our entry or not.
///
/// # Errors
/// [`RuntimeError::Unsupported`] for what cannot be an environment, or would change our contract.
pub(super) fn listener_env(spec: &RunSpec) -> Result<BTreeMap<String, String>, RuntimeError> {
    let template = &spec.template;
    let mut env = BTreeMap::new();
    for (name, value) in &template.env {
        check(name, value)?;
        if name != REPLACE {
            env.insert(name.clone(), value.clone());
        }
    }
    let mut hidden: Vec<String> = env
        .get(NOT_CAPABILITIES)
        .into_iter()
        .flat_map(|v| v.split(','))
        .map(str::to_owned)
        .collect();
    let proxy = &template.proxy;
    for (name, value) in
        [("http_proxy", &proxy.http), ("https_proxy", &proxy.https), ("no_proxy", &proxy.no_proxy)]
    {
        let Some(value) = value else { continue };
        check(name, value)?;
        // Tools disagree about the case, so both; a proxy's URL may hold a password, so neither
        // becomes a capability.
        for name in [name.to_owned(), name.to_ascii_uppercase()] {
            hidden.push(name.clone());
            env.insert(name, value.clone());
        }
    }
    if let Some(mtu) = template.mtu {
        // The agent's documentation names another variable; this is the one its code reads.
        env.insert("AGENT_DOCKER_MTU_VALUE".into(), mtu.to_string());
    }
    for (key, value) in &spec.labels {
        // What the template says wins, and no label changes how programs run.
        if is_plain_word(key.as_str()) && plain(key.as_str(), value).is_ok() {
            env.entry(key.as_str().to_owned()).or_insert_with(|| value.clone());
        }
    }
    hidden.push("AGENT_ALLOW_RUNASROOT".into());
    hidden.retain(|name| !name.trim().is_empty());
    hidden.sort();
    hidden.dedup();
    env.insert(NOT_CAPABILITIES.into(), hidden.join(","));
    env.insert(OwnerMark::CAPABILITY.into(), spec.owner.clone());
    Ok(env)
}

/// What our entry is told: where to register, and how the listener runs. No secret is among it.
///
/// # Errors
/// As [`listener_env`].
pub(super) fn entry_env(spec: &RunSpec) -> Result<BTreeMap<String, String>, RuntimeError> {
    let mode = match spec.template.mode {
        Mode::Once => "once",
        Mode::LongLived => "long-lived",
    };
    let mut env: BTreeMap<String, String> = [
        ("VSTS_AGENT_INPUT_URL", spec.azure.url.as_str()),
        ("VSTS_AGENT_INPUT_POOL", spec.azure.pool.as_str()),
        ("VSTS_AGENT_INPUT_AGENT", spec.run.agent.as_str()),
        ("VSTS_AGENT_INPUT_WORK", "_work"),
        ("FLEET_MODE", mode),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    if let Some(value) = spec.template.env.get(REPLACE) {
        env.insert(REPLACE.into(), value.clone());
    }
    for (name, value) in &env {
        plain(name, value)?;
    }
    Ok(env)
}

/// What an image with its own start script is told, by Microsoft's container contract. The token
/// comes as a file: a script that knows `AZP_TOKEN` only cannot be used here, because that variable
/// would stand in the container's description for everybody to read.
///
/// # Errors
/// As [`listener_env`]; and such an image registers anew at every start, so it needs a token.
pub(super) fn image_contract_env(
    spec: &RunSpec,
    token_file: &str,
) -> Result<BTreeMap<String, String>, RuntimeError> {
    debug_assert!(spec.template.entry == Entry::Image, "our entry has an environment of its own");
    if matches!(spec.start, StartWith::Registration(_)) {
        return Err(RuntimeError::Unsupported(
            "an image with its own start script registers at every start: it needs a token".into(),
        ));
    }
    let mut env = listener_env(spec)?;
    for (name, value) in [
        ("AZP_URL", spec.azure.url.as_str()),
        ("AZP_POOL", spec.azure.pool.as_str()),
        ("AZP_AGENT_NAME", spec.run.agent.as_str()),
        ("AZP_WORK", "_work"),
        ("AZP_TOKEN_FILE", token_file),
        ("AGENT_ALLOW_RUNASROOT", "1"),
        // Its log is read by the same rules as that of our own entry.
        ("LANG", "C"),
    ] {
        plain(name, value)?;
        env.insert(name.into(), value.into());
    }
    Ok(env)
}

/// A label that means nothing to any program, so that it may be a variable: whoever may label a host
/// must not thereby tell a shell, a loader or the agent what to do.
fn is_plain_word(key: &str) -> bool {
    const WORDS: [&str; 12] = [
        "ENV", "HOME", "IFS", "LANG", "LANGUAGE", "LOGNAME", "PATH", "PWD", "SHELL", "TMPDIR",
        "TZ", "USER",
    ];
    const BEGINNINGS: [&str; 9] =
        ["AGENT_", "AZP_", "BASH_", "DOTNET_", "FLEET_", "LC_", "LD_", "VSO_", "VSTS_"];
    let upper = key.to_ascii_uppercase();
    !WORDS.contains(&upper.as_str())
        && !BEGINNINGS.iter().any(|beginning| upper.starts_with(beginning))
        && !upper.ends_with("_PROXY")
}

/// May a template set this?
fn check(name: &str, value: &str) -> Result<(), RuntimeError> {
    plain(name, value)?;
    let ours = name.starts_with("VSTS_AGENT_INPUT_")
        || name.starts_with("AZP_TOKEN")
        || (name.starts_with("FLEET_") && name != REPLACE);
    if ours {
        return Err(RuntimeError::Unsupported(format!(
            "the template sets the variable {name}, which belongs to the fleet: remove it"
        )));
    }
    Ok(())
}

/// Can it be an environment variable that is written on one line?
fn plain(name: &str, value: &str) -> Result<(), RuntimeError> {
    let bad_name = name.is_empty() || name.contains(|c: char| c == '=' || c.is_control());
    if bad_name || value.contains(['\n', '\r', '\0']) {
        return Err(RuntimeError::Unsupported(format!(
            "the variable {name:?} cannot be given to an agent: a name has no '=', a value is one line"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Arc;

    use fleet_model::{AzureTarget, Proxy, Template};

    use super::*;
    use crate::runtime::RunId;

    fn spec(change: impl FnOnce(&mut Template)) -> RunSpec {
        let mut template = Template::docker("img:1".parse().unwrap(), Mode::Once);
        change(&mut template);
        RunSpec {
            run: RunId { agent: "nightly-h-01".parse().unwrap(), attempt: 1 },
            pool: "nightly".parse().unwrap(),
            group: "default".parse().unwrap(),
            slot: 1,
            host: "h".parse().unwrap(),
            azure: AzureTarget { url: "https://dev.azure.com/x".into(), pool: "nightly".into() },
            template: Arc::new(template),
            slot_dir: "/var/lib/hostd/slots/nightly-h-01".into(),
            labels: fleet_model::Labels::default(),
            start: StartWith::Token(String::from("secret").into()),
            owner: "fleet/h/1".into(),
        }
    }

    #[test]
    fn proxies_come_in_both_cases_and_are_no_capabilities() {
        let env = listener_env(&spec(|t| {
            t.proxy = Proxy {
                http: Some("http://p:1".into()),
                https: None,
                no_proxy: Some("localhost".into()),
            };
            t.env.insert(NOT_CAPABILITIES.into(), "MINE".into());
            t.mtu = Some(1450);
        }))
        .unwrap();
        assert_eq!(env["http_proxy"], "http://p:1");
        assert_eq!(env["HTTP_PROXY"], "http://p:1");
        assert_eq!(env["NO_PROXY"], "localhost");
        assert!(!env.contains_key("https_proxy"));
        assert_eq!(env["AGENT_DOCKER_MTU_VALUE"], "1450");
        assert_eq!(
            env[NOT_CAPABILITIES],
            "AGENT_ALLOW_RUNASROOT,HTTP_PROXY,MINE,NO_PROXY,http_proxy,no_proxy"
        );
    }

    #[test]
    fn a_hosts_labels_are_capabilities_unless_they_would_be_more() {
        let mut spec = spec(|t| {
            t.env.insert("lab".into(), "of the template".into());
        });
        for (key, value) in [
            ("rack", "r12"),
            ("gpu/kind", "h200"),
            ("lab", "svc"),
            ("path", "/tmp"),
            ("LD_PRELOAD", "/tmp/x"),
            ("https_proxy", "http://x"),
            ("Bash_Env", "/tmp/x"),
            ("note", "two\nlines"),
        ] {
            spec.labels.insert(key.parse().unwrap(), value.to_owned());
        }
        let mut env = listener_env(&spec).unwrap();
        assert_eq!(env.remove("lab").as_deref(), Some("of the template"));
        assert_eq!(env.remove("rack").as_deref(), Some("r12"));
        assert_eq!(env.remove("gpu/kind").as_deref(), Some("h200"));
        let left: Vec<_> = env.keys().map(String::as_str).collect();
        assert_eq!(left, ["FLEET_OWNER", NOT_CAPABILITIES]);
    }

    #[test]
    fn the_owner_is_a_capability_and_nobody_else_sets_it() {
        assert_eq!(listener_env(&spec(|_| ())).unwrap()["FLEET_OWNER"], "fleet/h/1");
        for name in ["FLEET_OWNER", "VSTS_AGENT_INPUT_TOKEN", "AZP_TOKEN", "AZP_TOKEN_FILE"] {
            let error = listener_env(&spec(|t| {
                t.env.insert(name.into(), "x".into());
            }))
            .unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_one_line_is_refused() {
        for (name, value) in [("A", "1\n2"), ("", "x"), ("A=B", "x"), ("A\nB", "x")] {
            let result = listener_env(&spec(|t| {
                t.env.insert(name.into(), value.into());
            }));
            assert!(result.is_err(), "{name:?}={value:?}");
        }
    }

    #[test]
    fn replace_speaks_to_the_entry_only() {
        let spec = spec(|t| {
            t.env.insert(REPLACE.into(), "true".into());
        });
        assert!(!listener_env(&spec).unwrap().contains_key(REPLACE));
        assert_eq!(entry_env(&spec).unwrap()[REPLACE], "true");
    }

    #[test]
    fn the_token_is_in_no_environment() {
        let spec = spec(|t| t.entry = Entry::Image);
        for env in [
            listener_env(&spec).unwrap(),
            entry_env(&spec).unwrap(),
            image_contract_env(&spec, "/run/fleet/token").unwrap(),
        ] {
            assert!(env.values().all(|value| !value.contains("secret")));
        }
    }

    #[test]
    fn an_image_with_its_own_start_needs_a_token() {
        let mut spec = spec(|t| t.entry = Entry::Image);
        assert_eq!(
            image_contract_env(&spec, "/run/fleet/token").unwrap()["AZP_TOKEN_FILE"],
            "/run/fleet/token"
        );
        spec.start = StartWith::Registration(BTreeMap::new());
        assert!(image_contract_env(&spec, "/run/fleet/token").is_err());
    }
}
