//! The token service of listeners: a signed assertion against the registered key gives a bearer token.

use std::time::Duration;

use jiff::Timestamp;

use super::super::journal::{About, Kind};
use super::super::jwt;
use super::{Caller, State};

#[derive(Debug, Clone)]
pub(super) struct ListenerToken {
    pool: i64,
    agent: i64,
    expires: Timestamp,
}

/// A token for a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The bearer token.
    pub token: String,
    /// How long it is good.
    pub life: Duration,
}

/// Why no token is given, in the words of OAuth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRefusal {
    /// `invalid_client`.
    pub error: &'static str,
    /// For people.
    pub description: String,
}

impl State {
    /// Checks an assertion and gives a token. `wall` is real time: the assertion's own times are the
    /// listener's, which knows nothing of our clock being moved.
    ///
    /// # Errors
    /// The client is unknown (deleted), the key is another one (replaced), or the claims do not fit.
    pub fn issue_token(
        &mut self,
        assertion: &str,
        now: Timestamp,
        wall: Timestamp,
    ) -> Result<IssuedToken, TokenRefusal> {
        let checked = self.check_assertion(assertion, wall);
        let (pool, agent) = checked.map_err(|description| {
            self.journal.add(now, Kind::TokenRefused, About::default().note(description.as_str()));
            TokenRefusal { error: "invalid_client", description }
        })?;
        let token = format!("sim.{}", self.new_uuid().simple());
        let life = self.settings.token_life;
        self.tokens.retain(|_, t| t.expires > now);
        self.tokens.insert(token.clone(), ListenerToken { pool, agent, expires: now + life });
        self.journal.add(now, Kind::TokenIssued, self.about(pool, agent));
        Ok(IssuedToken { token, life })
    }

    fn check_assertion(&self, assertion: &str, wall: Timestamp) -> Result<(i64, i64), String> {
        let read = jwt::Assertion::read(assertion)?;
        let rows =
            self.world.pools.values().flat_map(|p| p.agents.values().map(move |a| (p.id, a)));
        let (pool, agent) = rows
            .into_iter()
            .find(|(_, a)| a.client_id.to_string().eq_ignore_ascii_case(&read.claims.sub))
            .ok_or("the client is not registered")?;
        let key = agent.public_key.as_ref().ok_or("the client has no key")?;
        read.verify(&key.exponent, &key.modulus)?;
        read.check_claims(wall)?;
        Ok((pool, agent.id))
    }

    pub(super) fn listener(&self, token: &str, now: Timestamp) -> Option<Caller> {
        let found = self.tokens.get(token).filter(|t| t.expires > now)?;
        Some(Caller::Listener { pool: found.pool, agent: found.agent })
    }
}
