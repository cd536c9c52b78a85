//! What a worker shows its peers, and whom it believes: the same for every transport.

use std::sync::Arc;

use ft_core::VmId;
use ft_identity::{ClientAuth, CurrentIdentity, ExpectedPeer, TrustRoots};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};

use super::TransportError;
use crate::wire::ALPN;

/// The name that a child sends (SNI). Peers are checked by the URI name in their certificate instead.
pub(super) const SERVER_NAME: &str = "vm.ft.invalid";

/// What a worker shows its peers, and whom it believes.
#[derive(Clone, Debug)]
pub struct PeerTls {
    /// The authority of the trust domain.
    pub roots: TrustRoots,
    /// This worker's certificate; replacing it affects new connections only.
    pub identity: Arc<CurrentIdentity>,
}

impl PeerTls {
    /// The parent's side: takes every member of the trust domain; [`peer_of`] says whether it is a worker.
    pub(super) fn server(&self) -> Result<ServerConfig, TransportError> {
        ft_identity::server_config(&self.roots, Arc::clone(&self.identity), ClientAuth::Required, &[ALPN])
            .map_err(tls_error)
    }

    /// The child's side: speaks to `peer` and to nobody else.
    pub(super) fn client(&self, peer: VmId) -> Result<ClientConfig, TransportError> {
        let identity = Some(Arc::clone(&self.identity));
        ft_identity::client_config(&self.roots, identity, ExpectedPeer::Vm(peer.0), &[ALPN])
            .map_err(tls_error)
    }
}

/// Which VM's worker a verified certificate names.
pub(super) fn peer_of(
    chain: &[CertificateDer<'_>],
) -> Result<VmId, Box<dyn std::error::Error + Send + Sync>> {
    let uri = ft_identity::peer_uri(chain)?;
    uri.vm().map(VmId).ok_or_else(|| format!("its certificate names {uri}").into())
}

pub(super) fn tls_error(source: impl std::error::Error + Send + Sync + 'static) -> TransportError {
    TransportError::Tls(Box::new(source))
}
