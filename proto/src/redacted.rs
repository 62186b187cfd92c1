//! Messages that carry a secret show everything but the secret. The generator is told (build.rs)
//! to leave out their `Debug`, so a new secret field cannot slip into a log by a derive.

use std::fmt;

use crate::v1;

macro_rules! redacted {
    ($name:ident: $($shown:ident)*; $($hidden:ident)*) => {
        impl fmt::Debug for v1::$name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Taken apart without `..`: a field that is added must be put on one of the sides.
                let Self { $($shown,)* $($hidden,)* } = self;
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($shown), $shown))*
                    $(.field(stringify!($hidden), &Hidden($hidden.is_empty())))*
                    .finish()
            }
        }
    };
}

/// Only whether there is one.
struct Hidden(bool);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "[none]" } else { "[redacted]" })
    }
}

redacted!(Credential: credential; secret);
redacted!(CreatePoolRequest: spec secret_expires; secret);
redacted!(SetCredentialRequest: name expires; secret);
redacted!(JoinRequest: host csr_pem; token);
redacted!(InviteHostResponse: expires enroll_endpoint ca_pin; token);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret_even_inside_a_session_message() {
        let secret = "pat-0123456789";
        let credential = v1::Credential { secret: secret.into(), ..Default::default() };
        let message = v1::SessionResponse {
            message: Some(v1::session_response::Message::Credential(credential)),
        };
        let join = v1::JoinRequest { host: "h1".into(), token: secret.into(), csr_pem: "c".into() };
        let create = v1::CreatePoolRequest { secret: secret.into(), ..Default::default() };
        let set = v1::SetCredentialRequest { secret: secret.into(), ..Default::default() };
        let invite = v1::InviteHostResponse { token: secret.into(), ..Default::default() };
        let bytes = format!("{:?}", secret.as_bytes());
        let bytes = bytes.trim_matches(['[', ']']);
        for text in [
            format!("{message:?}"),
            format!("{join:?}"),
            format!("{create:?}"),
            format!("{set:?}"),
            format!("{invite:?}"),
        ] {
            assert!(!text.contains(secret) && !text.contains(bytes), "{text}");
            assert!(text.contains("[redacted]"), "{text}");
        }
    }
}
