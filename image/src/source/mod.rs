//! Where images come from: registries, OCI and Docker archives, directories, zip and tar packages.
//!
//! A source is opened once, then its layers are read in order. All of it blocks: call it from a thread that
//! may, for registries within a tokio runtime (`spawn_blocking`).

mod decode;
mod dir;
mod layer;
mod oci;
mod platform;
mod spec;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verify;
mod zip;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ft_blockstore::oci::RegistryOptions;
use ft_core::Digest;

use self::layer::TarLayer;
use self::oci::{Archive, Blobs, Descriptor, DockerArchive, Folder, Image, Layout, Registry, Root};
pub use self::platform::Platform;
pub use self::spec::Source;
use self::verify::Expect;
use crate::Error;
use crate::config::ImageConfig;
use crate::entry::LayerSink;
use crate::limits::Limits;
use crate::progress::{Progress, ProgressEvent};

/// How to open a source.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Which of an image's platforms to take.
    pub platform: Platform,
    /// How much to take in.
    pub limits: Limits,
    /// How registries are reached.
    pub registry: RegistryOptions,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { platform: Platform::host(), limits: Limits::default(), registry: RegistryOptions::default() }
    }
}

/// What is known of a layer before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// The layer's name for people: its digest, or its file or directory.
    pub label: String,
    /// The digest of its uncompressed bytes. Directories and packages have none.
    pub diff_id: Option<Digest>,
    /// Its stored (compressed) size in bytes, if known.
    pub stored_bytes: Option<u64>,
    /// Its media type, in images.
    pub media_type: Option<String>,
}

/// A source whose parts are known, ready to be read.
pub struct OpenedSource {
    config: Option<ImageConfig>,
    layers: Vec<LayerInfo>,
    content: Content,
    limits: Limits,
}

/// Where the layers' bytes are.
enum Content {
    /// Blobs, one for each layer.
    Image(Box<dyn Blobs>, Vec<Descriptor>),
    /// Members of a `docker save` archive.
    DockerArchive(DockerArchive),
    Dir(PathBuf),
    Zip(PathBuf),
    Tar(PathBuf),
}

impl Source {
    /// Finds the source and reads what it says of itself.
    pub fn open(&self, options: &OpenOptions) -> Result<OpenedSource, Error> {
        let place = self.to_string();
        match self {
            Self::Docker(reference) => {
                let registry = Registry::new(reference, &options.registry)?;
                let root = registry.root()?;
                OpenedSource::image(registry, root, options)
            }
            Self::Oci(path, tag) => {
                let layout = Layout::new(Folder(path.clone()), place);
                let root = layout.find(tag.as_deref())?;
                OpenedSource::image(layout, root, options)
            }
            Self::OciArchive(path, tag) => {
                let layout = Layout::new(Archive::open(path, options.limits)?, place);
                let root = layout.find(tag.as_deref())?;
                OpenedSource::image(layout, root, options)
            }
            Self::DockerArchive(path, name) => {
                let files = Archive::open(path, options.limits)?;
                OpenedSource::docker_archive(DockerArchive::new(files, place, name.as_deref())?, options)
            }
            Self::Dir(path) => OpenedSource::single(path, Content::Dir, options),
            Self::Zip(path) => OpenedSource::single(path, Content::Zip, options),
            Self::Tar(path) => OpenedSource::single(path, Content::Tar, options),
        }
    }
}

impl OpenedSource {
    /// The image's configuration; directories and packages have none.
    pub fn config(&self) -> Option<&ImageConfig> {
        self.config.as_ref()
    }

    /// The layers, from the lowest up.
    pub fn layers(&self) -> &[LayerInfo] {
        &self.layers
    }

    /// Reads layer `n` from front to back and gives its entries to `sink`. Only an `Ok` vouches for what the
    /// sink was given: digests are known at the end.
    ///
    /// # Panics
    /// If there is no layer `n`.
    pub fn read_layer(
        &self,
        n: usize,
        sink: &mut dyn LayerSink,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let info = &self.layers[n];
        progress.report(ProgressEvent::LayerStarted {
            index: n,
            count: self.layers.len(),
            label: &info.label,
            stored_bytes: info.stored_bytes,
        });
        let label = info.label.as_str();
        match &self.content {
            Content::Image(blobs, layers) => {
                let stored = Expect { digest: Some(layers[n].digest), size: Some(layers[n].size) };
                self.read_tar(info, stored, blobs.open(&layers[n])?, sink, progress)
            }
            Content::DockerArchive(archive) => {
                self.read_tar(info, Expect::default(), archive.open_layer(n)?, sink, progress)
            }
            Content::Tar(path) => {
                let file = File::open(path).map_err(Error::io(format!("opening {}", path.display())))?;
                self.read_tar(info, Expect::default(), file, sink, progress)
            }
            Content::Dir(path) => dir::read(path, label, self.limits, sink, progress),
            Content::Zip(path) => zip::read(path, label, self.limits, sink, progress),
        }?;
        progress.report(ProgressEvent::LayerDone);
        Ok(())
    }

    fn read_tar(
        &self,
        info: &LayerInfo,
        stored: Expect,
        reader: impl Read,
        sink: &mut dyn LayerSink,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let unpacked = Expect { digest: info.diff_id, size: None };
        let layer = TarLayer { label: &info.label, stored, unpacked, limits: self.limits };
        layer.read(reader, sink, progress)
    }

    fn image(blobs: impl Blobs + 'static, root: Root, options: &OpenOptions) -> Result<Self, Error> {
        let Image { config, layers } = oci::resolve(&blobs, root, &options.platform)?;
        let infos = layers.iter().zip(config.diff_ids()).map(|(layer, diff_id)| LayerInfo {
            label: layer.digest.to_string(),
            diff_id: Some(*diff_id),
            stored_bytes: Some(layer.size),
            media_type: Some(layer.media_type.clone()),
        });
        let infos = infos.collect();
        let content = Content::Image(Box::new(blobs), layers);
        Ok(Self { config: Some(config), layers: infos, content, limits: options.limits })
    }

    fn docker_archive(archive: DockerArchive, options: &OpenOptions) -> Result<Self, Error> {
        let config = archive.config(&options.platform)?;
        let infos = archive.layers().iter().zip(config.diff_ids()).map(|(name, diff_id)| LayerInfo {
            label: name.clone(),
            diff_id: Some(*diff_id),
            stored_bytes: archive.layer_size(name),
            media_type: None,
        });
        let layers = infos.collect();
        let content = Content::DockerArchive(archive);
        Ok(Self { config: Some(config), layers, content, limits: options.limits })
    }

    /// A source that is one layer in itself.
    fn single(path: &Path, content: fn(PathBuf) -> Content, options: &OpenOptions) -> Result<Self, Error> {
        let label = path.display().to_string();
        let meta = path.metadata().map_err(Error::io(format!("opening {label}")))?;
        let stored_bytes = meta.is_file().then_some(meta.len());
        let layers = vec![LayerInfo { label, diff_id: None, stored_bytes, media_type: None }];
        Ok(Self { config: None, layers, content: content(path.to_owned()), limits: options.limits })
    }
}
