//! Images: is it here, can it be had, and which user does it run as?

use std::{collections::HashMap, sync::Mutex, time::Duration};

use bollard::query_parameters::CreateImageOptionsBuilder;
use fleet_model::ImageRef;
use futures_util::TryStreamExt;

use super::engine::{ASK, Engine, EngineError};
use crate::runtime::RuntimeError;

/// A pull of a large image over a slow line.
const PULL: Duration = Duration::from_secs(30 * 60);

/// What is known of images, so that a start need not ask again.
#[derive(Debug, Default)]
pub(super) struct Images {
    users: Mutex<HashMap<ImageRef, String>>,
}

impl Images {
    /// The user of an image that was looked at; none when it was not.
    pub(super) fn user(&self, image: &ImageRef) -> Option<String> {
        self.known().get(image).cloned()
    }

    /// An image came: a tag may mean another one now.
    pub(super) fn forget(&self) {
        self.known().clear();
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<ImageRef, String>> {
        // A map of strings is whole at every moment, whoever panicked.
        self.users.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// One call when it is here, two when it has to be pulled; whether it was.
    pub(super) async fn ensure(
        &self,
        engine: &Engine,
        image: &ImageRef,
    ) -> Result<bool, RuntimeError> {
        match self.look(engine, image).await {
            Err(EngineError::Absent(_)) => pull(engine, image).await.map(|()| true),
            other => {
                other.map(|()| false).map_err(|error| error.while_doing("looking at the image"))
            }
        }
    }

    async fn look(&self, engine: &Engine, image: &ImageRef) -> Result<(), EngineError> {
        let name = image.to_string();
        let found =
            engine
                .call(ASK, "looking at the image", |docker| async move {
                    docker.inspect_image(&name).await
                })
                .await?;
        let user = found.config.and_then(|config| config.user).unwrap_or_default();
        self.known().insert(image.clone(), user);
        Ok(())
    }
}

async fn pull(engine: &Engine, image: &ImageRef) -> Result<(), RuntimeError> {
    // Without tag and digest the engine would pull every tag there is.
    let tag = match image.repository_and_tag() {
        (_, None) if !image.as_str().contains('@') => "latest",
        _ => "",
    };
    let options = CreateImageOptionsBuilder::default().from_image(image.as_str()).tag(tag).build();
    let pulled = engine
        .call(PULL, "pulling the image", |docker| async move {
            // The progress is for people; only its end matters here.
            docker.create_image(Some(options), None, None).try_for_each(|_| async { Ok(()) }).await
        })
        .await;
    let why = match pulled {
        Ok(()) => return Ok(()),
        Err(EngineError::Other(RuntimeError::Refused { why, .. })) => why,
        Err(EngineError::Absent(why) | EngineError::Conflict(why)) => why,
        Err(EngineError::Other(error)) => return Err(error),
    };
    Err(RuntimeError::ImageMissing { image: image.clone(), why })
}
