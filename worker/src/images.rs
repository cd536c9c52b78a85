//! The images that this VM follows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ft_core::Digest;
use ft_proto::v1;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::image::Image;
use crate::transport::{Offer, Transport};
use crate::wire::Decline;

/// How long a child's session waits for this VM to follow the image: the manager tells children and parents
/// in any order.
pub(crate) const OFFER_PATIENCE: Duration = Duration::from_secs(5);
/// Sessions that wait so at a time; more are declined at once.
const WAITING_OFFERS: usize = 1024;

/// The images that this VM follows, by digest.
#[derive(Default)]
pub(crate) struct Images {
    followed: Mutex<BTreeMap<Digest, Arc<Image>>>,
    /// Changes with every image that is added.
    added: watch::Sender<u64>,
}

impl Images {
    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<Image>> {
        self.lock().get(digest).cloned()
    }

    pub(crate) fn insert(&self, image: Arc<Image>) {
        self.lock().insert(image.digest(), image);
        self.added.send_modify(|count| *count += 1);
    }

    pub(crate) fn remove(&self, digest: &Digest) -> Option<Arc<Image>> {
        self.lock().remove(digest)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Image>> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn statuses(&self) -> Vec<v1::ImageStatus> {
        self.all().iter().map(|image| image.status()).collect()
    }

    /// The image, once it is followed.
    pub(crate) async fn wait_for(&self, digest: &Digest) -> Arc<Image> {
        let mut added = self.added.subscribe();
        loop {
            if let Some(image) = self.get(digest) {
                return image;
            }
            if added.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Arc<Image>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands the sessions that children open to their images, until the transport is closed.
pub(crate) async fn serve_children(transport: Arc<dyn Transport>, images: Arc<Images>, patience: Duration) {
    let mut waiting = tokio::task::JoinSet::new();
    while let Some(offer) = transport.accept().await {
        while waiting.try_join_next().is_some() {}
        if let Some(image) = images.get(&offer.image()) {
            image.offer(offer).await;
        } else if waiting.len() < WAITING_OFFERS {
            waiting.spawn(hold(offer, Arc::clone(&images), patience));
        } else {
            offer.decline(Decline::NotFollowed);
        }
    }
}

async fn hold(offer: Offer, images: Arc<Images>, patience: Duration) {
    match timeout(patience, images.wait_for(&offer.image())).await {
        Ok(image) => image.offer(offer).await,
        Err(_) => {
            tracing::debug!(child = %offer.peer(), image = %offer.image(), "declined a child: not followed here");
            offer.decline(Decline::NotFollowed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{PeerAddress, PeerTls, QuicTransport, TransportError};
    use ft_core::VmId;
    use ft_identity::{CertificateAuthority, CurrentIdentity, Role};

    #[tokio::test]
    async fn a_child_of_an_image_that_never_comes_is_declined() {
        let authority = CertificateAuthority::generate("ft.test").unwrap();
        let [parent, child] = [1, 2].map(|vm| {
            let identity = authority.issue_identity(Role::Vm(vm), &[], Duration::from_secs(60)).unwrap();
            let roots = authority.trust_roots().unwrap();
            let tls = PeerTls { roots, identity: CurrentIdentity::new(identity).unwrap() };
            Arc::new(QuicTransport::bind("127.0.0.1:0".parse().unwrap(), tls).unwrap())
        });
        let at = PeerAddress { address: parent.local_addr(), transports: parent.kinds() };
        let serving = tokio::spawn(serve_children(parent, Arc::default(), Duration::from_millis(20)));
        let error = child.connect(VmId(1), &at, Digest::of(b"unknown")).await.unwrap_err();
        assert!(matches!(error, TransportError::Declined { why: Decline::NotFollowed, .. }), "{error}");
        serving.abort();
    }
}
