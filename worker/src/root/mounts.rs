//! Root file systems by mounts: the data through FUSE, EROFS over it, one overlay per container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ft_core::Digest;
use tokio::runtime::Handle;
use tokio::sync::Mutex as AsyncMutex;

use super::{Root, RootError};
use crate::error::WorkerError;
use crate::image::Image;
use crate::mount::{self, FuseHost, FuseOptions, ImageMount, ImageMountOptions, MountError, Rootfs};
use crate::state;

/// How long a mount call may take.
const MOUNT_DEADLINE: Duration = Duration::from_secs(60);

/// Makes root file systems by mounts. Each image is mounted once, for as long as a container uses it.
pub(crate) struct MountRoots {
    base: PathBuf,
    fuse: FuseHost,
    images: Mutex<BTreeMap<Digest, Arc<Slot>>>,
}

/// The mount of one image; locked while it changes.
type Slot = AsyncMutex<Option<Shared>>;

/// A mounted image.
struct Shared {
    mount: ImageMount,
    /// Containers that use it.
    users: usize,
    /// Its name in the FUSE file system, if it is served from there.
    served: Option<String>,
}

/// What to take away when a container ends.
pub(super) struct MountedRoot {
    overlay: Rootfs,
    image: Digest,
}

impl MountRoots {
    /// Prepares `base` (made if need be) for mounts. Blocking; needs root and /dev/fuse.
    pub(crate) fn start(base: &Path, runtime: Handle, read_deadline: Duration) -> Result<Self, WorkerError> {
        state::create(base)?;
        mount::share(base)?;
        for dir in ["data", "images", "roots"] {
            state::create(&base.join(dir))?;
        }
        // The image's own deadline comes first, because its error says which bytes did not come.
        let read_deadline = read_deadline + Duration::from_secs(1);
        let options = FuseOptions { read_deadline, ..FuseOptions::default() };
        let fuse = FuseHost::start(&base.join("data"), runtime, options)?;
        Ok(Self { base: base.to_owned(), fuse, images: Mutex::default() })
    }

    pub(super) async fn make(
        &self,
        image: &Arc<Image>,
        dir: &Path,
        container: &str,
    ) -> Result<Root, RootError> {
        let slot = self.slot(image.digest());
        let mut shared = slot.lock().await;
        let (mounted, recording) = match &mut *shared {
            Some(mounted) => (mounted, None),
            empty => {
                let recording = image.record_start();
                (empty.insert(self.mount_image(image).await?), recording)
            }
        };
        let path = self.base.join("roots").join(container);
        let overlay = async {
            state::create(&path)?;
            Ok(Rootfs::overlay(mounted.mount.path(), dir, &path, MOUNT_DEADLINE).await?)
        };
        match overlay.await {
            Ok(overlay) => {
                mounted.users += 1;
                let mounted = Some(MountedRoot { overlay, image: image.digest() });
                Ok(Root { path, dir: dir.to_owned(), mounted, recording })
            }
            Err(error) => {
                self.release_if_unused(&mut shared).await;
                Err(error)
            }
        }
    }

    pub(super) async fn unmount(&self, root: MountedRoot) -> Result<(), MountError> {
        let path = root.overlay.path().to_owned();
        let unmounted = root.overlay.unmount(MOUNT_DEADLINE).await;
        // An empty directory; if it stays, the next start removes it.
        let _ = std::fs::remove_dir(path);
        let slot = self.slot(root.image);
        let mut shared = slot.lock().await;
        if let Some(mounted) = &mut *shared {
            mounted.users -= 1;
        }
        self.release_if_unused(&mut shared).await;
        unmounted
    }

    pub(super) fn shutdown(self) {
        self.fuse.shutdown();
    }

    fn slot(&self, image: Digest) -> Arc<Slot> {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|shared| shared.is_some())
        });
        Arc::clone(images.entry(image).or_default())
    }

    async fn mount_image(&self, image: &Arc<Image>) -> Result<Shared, RootError> {
        let metadata = image.metadata().await?;
        let name = image.digest().hex().to_string();
        let at = self.base.join("images").join(&name);
        state::create(&at)?;
        let (device, served) = match image.whole_data() {
            Some(data) => (Some(data).filter(|_| image.has_data()), None),
            None if image.has_data() => {
                let source = Arc::clone(image);
                (Some(self.fuse.add(&name, source)?), Some(name))
            }
            None => (None, None),
        };
        let options = ImageMountOptions { deadline: MOUNT_DEADLINE, ..ImageMountOptions::default() };
        match ImageMount::mount(&metadata, device.as_deref(), &at, options).await {
            Ok(mount) => Ok(Shared { mount, users: 0, served }),
            Err(error) => {
                self.stop_serving(served.as_deref());
                Err(error.into())
            }
        }
    }

    fn stop_serving(&self, name: Option<&str>) {
        if name.is_some_and(|name| !self.fuse.remove(name)) {
            tracing::warn!(name, "the FUSE file system had no such file");
        }
    }

    /// An image that no container uses is not mounted any more.
    async fn release_if_unused(&self, slot: &mut Option<Shared>) {
        if slot.as_ref().is_none_or(|shared| shared.users > 0) {
            return;
        }
        let Some(shared) = slot.take() else { return };
        let at = shared.mount.path().to_owned();
        if let Err(error) = shared.mount.unmount(MOUNT_DEADLINE).await {
            tracing::warn!(%error, at = %at.display(), "an image stays mounted");
        }
        self.stop_serving(shared.served.as_deref());
        let _ = std::fs::remove_dir(at);
    }
}
