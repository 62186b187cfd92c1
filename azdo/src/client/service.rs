//! The rest: who we are, and where the agent package lies.

use super::{Ask, Client};
use crate::types::List;
use crate::{ConnectionData, Error, PackageMetadata, Reply};

impl Client {
    /// Who the service thinks we are: the cheapest proof that a credential is good.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`] for a bad credential, or any other [`Error`].
    pub async fn connection_data(&self) -> Result<Reply<ConnectionData>, Error> {
        self.call(Ask::get("connection data", &[&"connectionData"]).preview()).await
    }

    /// Agent packages for a platform such as `linux-x64`, newest first.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn packages(&self, platform: &str) -> Result<Reply<Vec<PackageMetadata>>, Error> {
        let ask = Ask::get("packages", &[&"distributedtask", &"packages", &"agent"])
            .preview()
            .query("platform", platform)
            .query("$top", 1);
        Ok(self.call::<List<_>>(ask).await?.map(|list| list.value))
    }
}
