//! The agent's RSA-2048 key: made at registration, kept in the layout of .NET's `RSAParameters`, used to sign
//! the assertion that buys the listener its token.

use anyhow::{Context as _, anyhow};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// How long an assertion is good for, in seconds.
const ASSERTION_SECS: i64 = 300;
/// How far the assertion's start lies back, in seconds, for a server whose clock is behind.
const CLOCK_SLACK_SECS: i64 = 60;

/// The file `.credentials_rsaparams`; numbers are big-endian, in base64. Not `Debug`: it is the private key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RsaParams {
    container_name: String,
    use_cng: bool,
    d: String,
    dp: String,
    dq: String,
    /// Public exponent.
    pub(crate) exponent: String,
    inverse_q: String,
    /// Public modulus.
    pub(crate) modulus: String,
    p: String,
    q: String,
}

impl RsaParams {
    pub(crate) fn generate() -> anyhow::Result<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048).context("cannot make a key")?;
        let der: Pkcs8V1Der<'static> = pair.as_der().context("cannot export the new key")?;
        Self::from_pkcs8(der.as_ref()).ok_or_else(|| anyhow!("the new key has an unknown encoding"))
    }

    /// PKCS#8 wraps the PKCS#1 numbers: version, n, e, d, p, q, d mod p-1, d mod q-1, 1/q mod p.
    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let mut outer = Der(Der(der).next(SEQUENCE)?);
        outer.next(INTEGER)?;
        outer.next(SEQUENCE)?;
        let mut numbers = Der(Der(outer.next(OCTETS)?).next(SEQUENCE)?);
        numbers.next(INTEGER)?;
        let mut number = || Some(STANDARD.encode(unsigned(numbers.next(INTEGER)?)));
        let (modulus, exponent, d, p) = (number()?, number()?, number()?, number()?);
        let (q, dp, dq, inverse_q) = (number()?, number()?, number()?, number()?);
        Some(Self {
            container_name: String::new(),
            use_cng: false,
            d,
            dp,
            dq,
            exponent,
            inverse_q,
            modulus,
            p,
            q,
        })
    }

    fn pair(&self) -> anyhow::Result<KeyPair> {
        let bytes = |text: &str| STANDARD.decode(text).context("the key file is damaged");
        let public_key =
            PublicKeyComponents { n: bytes(&self.modulus)?, e: bytes(&self.exponent)? };
        KeyPair::from_components(&KeyPairComponents {
            public_key,
            d: bytes(&self.d)?,
            p: bytes(&self.p)?,
            q: bytes(&self.q)?,
            dP: bytes(&self.dp)?,
            dQ: bytes(&self.dq)?,
            qInv: bytes(&self.inverse_q)?,
        })
        .map_err(|why| anyhow!("the key file is damaged: {why}"))
    }

    /// A signed claim to be `client_id`, for the token service at `audience`.
    pub(crate) fn assertion(
        &self,
        client_id: &str,
        audience: &str,
        now: Timestamp,
    ) -> anyhow::Result<String> {
        let claims = json!({
            "sub": client_id, "iss": client_id, "aud": audience, "jti": uuid::Uuid::new_v4(),
            "nbf": now.as_second() - CLOCK_SLACK_SECS, "exp": now.as_second() + ASSERTION_SECS,
        });
        let header = json!({"alg": "RS256", "typ": "JWT"});
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let pair = self.pair()?;
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .context("cannot sign")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// Reads DER values one after another.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Content of the next value, when it has this tag.
    fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        // Long form: the low bits say how many bytes the length has.
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (
                digits.iter().try_fold(0_usize, |sum, d| {
                    sum.checked_mul(256)?.checked_add(usize::from(*d))
                })?,
                rest,
            )
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (found == tag).then_some(content)
    }
}

/// DER puts a zero before numbers whose first bit is set; .NET does not.
fn unsigned(number: &[u8]) -> &[u8] {
    number.strip_prefix(&[0]).unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;

    #[test]
    fn a_saved_key_signs_what_its_public_half_verifies() {
        let params = RsaParams::generate().expect("a key can be made");
        let text = serde_json::to_string(&params).expect("a key is plain data");
        let back: RsaParams = serde_json::from_str(&text).expect("and reads back");
        let jwt = back.assertion("me", "http://token", Timestamp::now()).expect("it signs");
        let (signed, signature) = jwt.rsplit_once('.').expect("three parts");
        let n = STANDARD.decode(&params.modulus).expect("base64");
        let e = STANDARD.decode(&params.exponent).expect("base64");
        assert_eq!((n.len(), e.as_slice()), (256, &[1, 0, 1][..]));
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        let public = PublicKeyComponents { n, e };
        assert!(public.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).is_ok());
        assert!(public.verify(&RSA_PKCS1_2048_8192_SHA256, b"something else", &signature).is_err());
    }
}
