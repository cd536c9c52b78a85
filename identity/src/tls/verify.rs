//! Certificate checks: rustls verifies chains, validity and usage as ever; where it would compare the
//! server's DNS name, these compare the URI name.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{ExpectedPeer, TrustRoots, peer_uri, pinned};
use crate::SpiffeUri;

/// Why a peer with a valid certificate is refused.
#[derive(thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    NoIdentity(#[from] crate::Error),
    #[error("expected {expected:?}, found {found}")]
    WrongPeer { expected: ExpectedPeer, found: SpiffeUri },
    #[error("expected a member of {expected}, found {found}")]
    WrongTrustDomain { expected: String, found: SpiffeUri },
    #[error("the server's chain lacks the authority that the token pins: is the token this manager's?")]
    NotPinned,
}

/// rustls shows people the debug form.
impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

fn identity(leaf: &CertificateDer<'_>, trust_domain: &str) -> Result<SpiffeUri, Refusal> {
    let found = peer_uri(std::slice::from_ref(leaf))?;
    if found.trust_domain() != trust_domain {
        return Err(Refusal::WrongTrustDomain { expected: trust_domain.to_owned(), found });
    }
    Ok(found)
}

/// Accepts one expected member of a trust domain.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    roots: TrustRoots,
    expect: ExpectedPeer,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(super) fn new(roots: &TrustRoots, expect: ExpectedPeer, provider: &CryptoProvider) -> Self {
        Self { roots: roots.clone(), expect, algorithms: provider.signature_verification_algorithms }
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots.store,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let found = identity(leaf, &self.roots.trust_domain)?;
        if !self.expect.accepts(found.role()) {
            return Err(Refusal::WrongPeer { expected: self.expect, found }.into());
        }
        Ok(ServerCertVerified::assertion())
    }
}

/// Accepts a manager of the authority whose certificate has the pinned digest and is in the chain.
#[derive(Debug)]
pub(super) struct PinnedServerVerifier {
    ca_sha256: [u8; 32],
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedServerVerifier {
    pub(super) fn new(ca_sha256: [u8; 32], provider: &CryptoProvider) -> Self {
        Self { ca_sha256, algorithms: provider.signature_verification_algorithms }
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = pinned(intermediates, &self.ca_sha256).ok_or(Refusal::NotPinned)?;
        let roots = TrustRoots::new(authority.clone().into_owned()).map_err(Refusal::NoIdentity)?;
        ServerVerifier { roots, expect: ExpectedPeer::Manager, algorithms: self.algorithms }.check(
            leaf,
            intermediates,
            now,
        )
    }
}

/// The two server verifiers differ in `check` alone. Signatures of TLS 1.2 are refused, although the
/// configurations do not offer it.
macro_rules! server_cert_verifier {
    ($verifier:ty) => {
        impl ServerCertVerifier for $verifier {
            fn verify_server_cert(
                &self,
                leaf: &CertificateDer<'_>,
                intermediates: &[CertificateDer<'_>],
                _: &ServerName<'_>,
                _: &[u8],
                now: UnixTime,
            ) -> Result<ServerCertVerified, Error> {
                self.check(leaf, intermediates, now)
            }

            fn verify_tls12_signature(
                &self,
                _: &[u8],
                _: &CertificateDer<'_>,
                _: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, Error> {
                Err(PeerIncompatible::Tls12NotOffered.into())
            }

            fn verify_tls13_signature(
                &self,
                message: &[u8],
                leaf: &CertificateDer<'_>,
                signature: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, Error> {
                verify_tls13_signature(message, leaf, signature, &self.algorithms)
            }

            fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
                self.algorithms.supported_schemes()
            }
        }
    };
}

server_cert_verifier!(ServerVerifier);
server_cert_verifier!(PinnedServerVerifier);

/// rustls' own verifier of client certificates, plus the URI name.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    trust_domain: String,
    chain: Arc<dyn ClientCertVerifier>,
}

impl ClientVerifier {
    pub(super) fn new(roots: &TrustRoots, chain: Arc<dyn ClientCertVerifier>) -> Self {
        Self { trust_domain: roots.trust_domain.clone(), chain }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(leaf, intermediates, now)?;
        identity(leaf, &self.trust_domain)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
