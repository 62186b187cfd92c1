//! The listener's proof: a JWT signed with RS256, as the agent's OAuth client makes it.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::Deserialize;

/// Clocks of hosts are off; so much is forgiven.
const SKEW_SECS: i64 = 300;

pub(crate) struct Assertion<'t> {
    signed: &'t str,
    signature: Vec<u8>,
    pub(crate) claims: Claims,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Claims {
    pub(crate) sub: String,
    iss: String,
    aud: String,
    exp: i64,
    #[serde(default)]
    nbf: i64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

impl<'t> Assertion<'t> {
    pub(crate) fn read(text: &'t str) -> Result<Self, String> {
        let (signed, signature) = text.rsplit_once('.').ok_or("the assertion is no JWT")?;
        let (header, claims) = signed.split_once('.').ok_or("the assertion is no JWT")?;
        let part = |p: &str| {
            URL_SAFE_NO_PAD.decode(p.trim_end_matches('=')).map_err(|e| format!("bad base64: {e}"))
        };
        let header: Header =
            serde_json::from_slice(&part(header)?).map_err(|e| format!("bad header: {e}"))?;
        if header.alg != "RS256" {
            return Err(format!("algorithm {} is not accepted", header.alg));
        }
        let claims =
            serde_json::from_slice(&part(claims)?).map_err(|e| format!("bad claims: {e}"))?;
        Ok(Self { signed, signature: part(signature)?, claims })
    }

    pub(crate) fn verify(&self, exponent: &str, modulus: &str) -> Result<(), String> {
        let number = |text: &str| -> Result<Vec<u8>, String> {
            let bytes =
                STANDARD.decode(text).map_err(|e| format!("the registered key is bad: {e}"))?;
            Ok(bytes.into_iter().skip_while(|b| *b == 0).collect())
        };
        let key = RsaPublicKeyComponents { n: number(modulus)?, e: number(exponent)? };
        key.verify(&RSA_PKCS1_2048_8192_SHA256, self.signed.as_bytes(), &self.signature)
            .map_err(|_| "the signature does not fit the registered key".to_owned())
    }

    pub(crate) fn check_claims(&self, now: Timestamp) -> Result<(), String> {
        let now = now.as_second();
        if self.claims.iss != self.claims.sub {
            return Err("issuer and subject differ".into());
        }
        // The address depends on the name we were reached by, the path does not.
        if !self.claims.aud.ends_with("/_apis/oauth2/token") {
            return Err(format!("audience {} is not ours", self.claims.aud));
        }
        if self.claims.exp + SKEW_SECS < now || self.claims.nbf - SKEW_SECS > now {
            return Err("the assertion is not valid now; check the clock".into());
        }
        Ok(())
    }
}
