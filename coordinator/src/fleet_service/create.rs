//! Creating pools, and the secrets that come with them.

use fleet_model::{CredentialName, CredentialRef, PoolSpec};
use fleet_proto::{
    convert::{WireError, at},
    v1,
};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use tonic::Status;

use super::Shared;
use crate::{
    azure::{Check, check},
    credentials::SecretError,
    fleet_loop::{NewCredential, NewPool, Request as Ask},
};

pub(super) async fn create(
    shared: &Shared,
    request: v1::CreatePoolRequest,
    by: String,
) -> Result<v1::Pool, Status> {
    let secret = SecretSlice::from(request.secret);
    let spec = request.spec.ok_or_else(|| WireError::new("spec", "is missing"))?;
    let spec = PoolSpec::try_from(spec).map_err(|error| error.within("spec"))?;
    // Before Azure is asked: a broken spec is told at once, and as what it is.
    spec.check().map_err(|error| Status::invalid_argument(error.to_string()))?;
    let mut pool = NewPool { spec, credential: None, trouble: None };
    if !secret.expose_secret().is_empty() {
        let name = pool.spec.credential.clone();
        let expires = request.secret_expires;
        pool.credential = Some(sealed(shared, name, &secret, expires)?);
        // Only a secret that came with the request is tried here: an old one is watched already.
        pool.trouble = tried(shared, &pool.spec, &secret).await?;
    }
    let pool = Box::new(pool);
    Ok(shared.handle.ask(|reply| Ask::CreatePool { pool, by, reply }).await?)
}

pub(super) async fn set_credential(
    shared: &Shared,
    request: v1::SetCredentialRequest,
    by: String,
) -> Result<CredentialRef, Status> {
    let secret = SecretSlice::from(request.secret);
    let name: CredentialName =
        request.name.parse().map_err(|error| WireError::new("name", error))?;
    let credential = sealed(shared, name.clone(), &secret, request.expires)?;
    let fingerprint = credential.fingerprint.clone();
    shared.handle.ask(|reply| Ask::SetCredential { credential, by, reply }).await?;
    Ok(CredentialRef { name, fingerprint })
}

fn sealed(
    shared: &Shared,
    name: CredentialName,
    secret: &SecretSlice<u8>,
    expires: Option<prost_types::Timestamp>,
) -> Result<NewCredential, Status> {
    let expires = expires.map(|expires| at("expires", Some(expires))).transpose()?;
    if expires.is_some_and(|expires| expires <= shared.clock.now()) {
        return Err(Status::invalid_argument("the secret has expired already; get a new one"));
    }
    let (fingerprint, sealed) =
        shared.vault.seal(&name, secret.expose_secret()).map_err(|error| match error {
            SecretError::Empty | SecretError::NotALine => {
                Status::invalid_argument(error.to_string())
            }
            SecretError::Seal(_) | SecretError::Open(..) => Status::internal(error.to_string()),
        })?;
    Ok(NewCredential { name, fingerprint, sealed, expires })
}

/// Tries the secret at Azure. What Azure refuses is refused here; when Azure cannot be asked, the
/// pool is made all the same and shows the trouble.
async fn tried(
    shared: &Shared,
    spec: &PoolSpec,
    secret: &SecretSlice<u8>,
) -> Result<Option<String>, Status> {
    // Sealed before, so it is printable ASCII.
    let text: SecretString = String::from_utf8_lossy(secret.expose_secret()).into_owned().into();
    match check(&spec.azure, text, &shared.azure).await {
        Check::Good => Ok(None),
        Check::Unknown(trouble) => Ok(Some(trouble)),
        Check::Refused(why) => Err(Status::failed_precondition(why)),
    }
}
