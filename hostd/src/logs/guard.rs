//! What must not be shown of an agent's log at this moment. Credentials are delivered and
//! registrations are made while a log is followed, so it is looked at again with each change.

use std::{collections::BTreeMap, sync::Arc};

use fleet_model::{AgentName, Phase};
use fleet_proto::logging::Report;
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::watch;

use super::Logs;
use crate::{scrub::Scrubber, view::View};

/// Shorter values of a registration's files are numbers and words.
const VALUE_MIN: usize = 16;
/// Parts of a key that everybody may know.
const PUBLIC: [&str; 2] = ["modulus", "exponent"];
/// Files of a registration that hold secrets.
const SECRET_FILES: [&str; 2] = [".credentials", ".credentials_rsaparams"];

/// The scrubber for one agent's log, always up to date.
pub(super) struct Guard<'a> {
    logs: &'a Logs,
    agent: AgentName,
    view: watch::Receiver<Arc<View>>,
    scrubber: Scrubber,
    /// As of which delivery of credentials.
    delivery: u64,
    /// As of which registration.
    standing: Option<Standing>,
}

/// With it a registration may have changed.
type Standing = (u32, Phase, Option<i64>);

impl<'a> Guard<'a> {
    pub(super) async fn new(logs: &'a Logs, agent: &AgentName) -> Self {
        let mut guard = Self {
            logs,
            agent: agent.clone(),
            view: logs.view.clone(),
            scrubber: Scrubber::default(),
            delivery: 0,
            standing: None,
        };
        guard.look().await;
        guard
    }

    /// The scrubber that knows everything that hostd holds by now.
    pub(super) async fn scrubber(&mut self) -> &Scrubber {
        let changed = self.view.has_changed().unwrap_or(false) && self.stands() != self.standing;
        if changed || self.logs.secrets.delivery() != self.delivery {
            self.look().await;
        }
        &self.scrubber
    }

    fn stands(&mut self) -> Option<Standing> {
        let view = self.view.borrow_and_update();
        view.agents.get(&self.agent).map(|status| (status.attempt, status.phase, status.agent_id))
    }

    async fn look(&mut self) {
        self.standing = self.stands();
        self.delivery = self.logs.secrets.delivery();
        let (slots, agent) = (self.logs.slots.clone(), self.agent.clone());
        let kept = tokio::task::spawn_blocking(move || slots.load(&agent)).await;
        let files = match kept {
            Ok(Ok(kept)) => kept.map(|kept| kept.files).unwrap_or_default(),
            Ok(Err(error)) => {
                // It serves nobody as it is, so nothing of it is in use.
                tracing::warn!(agent = %self.agent, error = %Report(&error), "not hidden in logs");
                BTreeMap::new()
            }
            Err(_) => BTreeMap::new(),
        };
        self.scrubber = Scrubber::new(self.logs.secrets.all().into_iter().chain(private(&files)));
    }
}

/// What is private in a registration's files.
pub(crate) fn private(files: &BTreeMap<String, Vec<u8>>) -> Vec<SecretString> {
    let mut found = Vec::new();
    for bytes in SECRET_FILES.iter().filter_map(|name| files.get(*name)) {
        let text = String::from_utf8_lossy(bytes);
        match serde_json::from_str(text.trim_start_matches('\u{feff}')) {
            Ok(value) => values(&value, &mut found),
            // Of a kind that is not known: each line of it.
            Err(_) => found.extend(text.lines().filter_map(secret)),
        }
    }
    found
}

fn values(value: &Value, found: &mut Vec<SecretString>) {
    match value {
        Value::String(text) => found.extend(secret(text)),
        Value::Array(all) => all.iter().for_each(|value| values(value, found)),
        Value::Object(all) => {
            let private = all.iter().filter(|(name, _)| !PUBLIC.contains(&name.as_str()));
            private.for_each(|(_, value)| values(value, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn secret(text: &str) -> Option<SecretString> {
    // An address is named in many a line, and is no secret.
    let is_one = text.len() >= VALUE_MIN && !text.contains("://");
    is_one.then(|| text.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_parts_of_a_registration_are_hidden_and_nothing_else() {
        let credentials = "\u{feff}{\"scheme\":\"OAuth\",\"data\":{\"clientId\":\
                           \"a2a3a4a5-1111-2222-3333-444444444444\",\
                           \"authorizationUrl\":\"https://vssps.example/org/_apis/oauth2\"}}";
        let key =
            r#"{"d":"c2VjcmV0IGV4cG9uZW50","modulus":"cHVibGljIG1vZHVsdXM","exponent":"AQAB"}"#;
        let files = BTreeMap::from([
            (".agent".to_owned(), br#"{"agentName":"nightly-host-1-01"}"#.to_vec()),
            (".credentials".to_owned(), credentials.as_bytes().to_vec()),
            (".credentials_rsaparams".to_owned(), key.as_bytes().to_vec()),
        ]);
        let scrubber = Scrubber::new(private(&files));
        let shown = |text: &str| scrubber.line(text).into_owned();
        assert_eq!(shown(key), key.replace("c2VjcmV0IGV4cG9uZW50", "***"));
        assert_eq!(shown("a2a3a4a5-1111-2222-3333-444444444444 of OAuth"), "*** of OAuth");
        for text in ["nightly-host-1-01", "https://vssps.example/org/_apis/oauth2"] {
            assert_eq!(shown(text), text);
        }
        let odd = BTreeMap::from([(
            ".credentials".to_owned(),
            b"-----BEGIN\nMIIEvQIBADANBgkq\n".to_vec(),
        )]);
        assert_eq!(private(&odd).len(), 1);
    }
}
