//! What containers and images take, and images that nothing uses any more. Only those that hostd
//! pulled itself are ever removed, and the engine refuses what a container uses.

use std::{collections::BTreeSet, path::PathBuf};

use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveImageOptions};
use fleet_model::{CacheSize, ImageRef};
use fleet_proto::{files, logging::Report};

use super::{
    DockerRuntime,
    engine::{ASK, CHANGE, EngineError},
    labels,
};
use crate::{
    guardian::{Keep, Sizes, Thing},
    runtime::RuntimeError,
};

impl DockerRuntime {
    /// Where the engine keeps its images and containers, if that is a directory of this host.
    pub(super) async fn data_root(&self) -> Option<PathBuf> {
        let info = self
            .engine
            .call(ASK, "asking how the engine is set up", |d| async move { d.info().await });
        let root = PathBuf::from(info.await.ok()?.docker_root_dir?);
        root.is_dir().then_some(root)
    }

    /// It is remembered that hostd brought this image here.
    pub(super) async fn pulled(&self, image: &ImageRef) {
        let mut images = self.all_pulled();
        images.insert(image.clone());
        self.remember(&images);
    }

    fn all_pulled(&self) -> BTreeSet<ImageRef> {
        let read = self.settings.pulled.as_ref().map(|file| files::read_private(file));
        match read {
            Some(Ok(bytes)) => serde_json::from_slice(&bytes).unwrap_or_default(),
            _ => BTreeSet::new(),
        }
    }

    fn remember(&self, images: &BTreeSet<ImageRef>) {
        let Some(file) = &self.settings.pulled else { return };
        let bytes = serde_json::to_vec(images).unwrap_or_default();
        if let Err(error) = files::write_private(file, &bytes) {
            // It stays then, for good.
            tracing::warn!(error = %Report(&error), "pulled images are not remembered");
        }
    }

    pub(super) async fn unused_images(
        &self,
        keep: &Keep,
    ) -> Result<Vec<(Thing, PathBuf)>, RuntimeError> {
        let unused: Vec<_> = self.all_pulled().difference(&keep.images).cloned().collect();
        if unused.is_empty() {
            return Ok(Vec::new());
        }
        let Some(root) = self.data_root().await else { return Ok(Vec::new()) };
        Ok(unused.into_iter().map(|image| (Thing::Image(image), root.clone())).collect())
    }

    pub(super) async fn remove_image(
        &self,
        thing: &Thing,
        keep: &Keep,
    ) -> Result<Option<u64>, RuntimeError> {
        let Thing::Image(image) = thing else { return Ok(None) };
        let mut pulled = self.all_pulled();
        if keep.images.contains(image) || !pulled.contains(image) {
            return Ok(None);
        }
        let bytes = self.image_size(image).await;
        let name = image.to_string();
        let removed = self
            .engine
            .call(CHANGE, "removing an image", |d| async move {
                d.remove_image(&name, None::<RemoveImageOptions>, None).await
            })
            .await;
        let bytes = match removed {
            Ok(_) => bytes.unwrap_or_default(),
            // Somebody else was first.
            Err(EngineError::Absent(_)) => 0,
            // A container has it.
            Err(EngineError::Conflict(_)) => return Ok(None),
            Err(EngineError::Other(error)) => return Err(error),
        };
        pulled.remove(image);
        self.remember(&pulled);
        Ok(Some(bytes))
    }

    async fn image_size(&self, image: &ImageRef) -> Option<u64> {
        let name = image.to_string();
        let look = self.engine.call(ASK, "looking at the image", |docker| async move {
            docker.inspect_image(&name).await
        });
        u64::try_from(look.await.ok()?.size?).ok()
    }

    /// What containers wrote, and the images that templates name or hostd pulled.
    pub(super) async fn weighed(&self, keep: &Keep) -> Result<Sizes, RuntimeError> {
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .size(true)
            .filters(&labels::filter(&self.settings.host))
            .build();
        // The engine walks through them: that takes its time.
        let containers = self
            .engine
            .call(CHANGE, "measuring containers", |d| async move {
                d.list_containers(Some(options)).await
            })
            .await
            .map_err(|error| error.while_doing("measuring containers"))?;
        let mut sizes = Sizes::default();
        for container in &containers {
            let written = container.size_rw.and_then(|bytes| u64::try_from(bytes).ok());
            if let (Some((seen, _)), Some(bytes)) = (labels::seen(container), written) {
                *sizes.agents.entry(seen.run.agent).or_default() += bytes;
            }
        }
        for image in self.all_pulled().union(&keep.images) {
            if let Some(bytes) = self.image_size(image).await {
                sizes.caches.push(CacheSize { what: format!("image {image}"), bytes });
            }
        }
        Ok(sizes)
    }
}
