//! TLS configurations: 1.3 only, *ring*, peers checked by chain and URI name.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::DangerousClientConfigBuilder;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use crate::name::parse_trust_domain_uri;
use crate::{CurrentIdentity, Error, Result, Role, SpiffeUri};

mod verify;

use verify::{ClientVerifier, PinnedServerVerifier, ServerVerifier};

/// The protocol name (ALPN) of HTTP/2, which gRPC needs.
pub const ALPN_H2: &[u8] = b"h2";
/// The protocol name (ALPN) of HTTP/1.1.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

/// What a member of a trust domain trusts: its authority's certificate.
#[derive(Clone, Debug)]
pub struct TrustRoots {
    certificate: CertificateDer<'static>,
    store: Arc<RootCertStore>,
    trust_domain: String,
}

impl TrustRoots {
    /// Trusts the authority with this certificate, which names the trust domain.
    ///
    /// # Errors
    /// [`Error::BadCredential`] or [`Error::NoIdentity`] if it is no certificate of such an authority.
    pub fn new(certificate: CertificateDer<'static>) -> Result<Self> {
        let trust_domain = parse_trust_domain_uri(&only_uri(&certificate)?)?.to_owned();
        let mut store = RootCertStore::empty();
        store.add(certificate.clone())?;
        Ok(Self { certificate, store: Arc::new(store), trust_domain })
    }

    /// Trusts the authority whose certificate in PEM this is.
    ///
    /// # Errors
    /// As [`TrustRoots::new`].
    pub fn from_pem(pem: &str) -> Result<Self> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(Error::credential("the authority's certificate"))?;
        Self::new(certificate)
    }

    /// Trusts the authority in `chain` whose certificate has this SHA-256: after joining with a
    /// [`Token`](crate::Token), the chain that the manager issued.
    ///
    /// # Errors
    /// [`Error::NoIdentity`] if no certificate of the chain has it.
    pub fn from_chain(chain: &[CertificateDer<'_>], ca_sha256: &[u8; 32]) -> Result<Self> {
        let pinned = pinned(chain, ca_sha256)
            .ok_or(Error::NoIdentity("the chain lacks the authority that the token pins"))?;
        Self::new(pinned.clone().into_owned())
    }

    /// The authority's certificate in PEM.
    pub fn to_pem(&self) -> String {
        crate::credential::certificate_pem(&self.certificate)
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }
}

/// Whom a client expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedPeer {
    /// The manager, or the origin server that runs beside it.
    Manager,
    /// The worker of the VM with this number.
    Vm(u64),
    /// Any worker.
    AnyVm,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// The handshake fails without one.
    Required,
    /// A client without one has no identity; the service decides what it may do.
    Optional,
}

/// A client's configuration that accepts only `expect`, and shows `identity` if there is one.
///
/// Sessions are not resumed, so that every connection checks certificates anew.
///
/// # Errors
/// [`Error::Tls`].
pub fn client_config(
    roots: &TrustRoots,
    identity: Option<Arc<CurrentIdentity>>,
    expect: ExpectedPeer,
    alpn: &[&[u8]],
) -> Result<ClientConfig> {
    let provider = Arc::new(default_provider());
    let verifier = ServerVerifier::new(roots, expect, &provider);
    let config = client_builder(provider)?.with_custom_certificate_verifier(Arc::new(verifier));
    Ok(finish_client(
        match identity {
            Some(identity) => config.with_client_cert_resolver(identity),
            None => config.with_no_client_auth(),
        },
        alpn,
    ))
}

/// The configuration of a client that joins: it has no identity, and accepts only a manager whose chain
/// includes, and is signed by, the authority whose certificate has this SHA-256.
///
/// # Errors
/// [`Error::Tls`].
pub fn client_config_pinned(ca_sha256: [u8; 32], alpn: &[&[u8]]) -> Result<ClientConfig> {
    let provider = Arc::new(default_provider());
    let verifier = PinnedServerVerifier::new(ca_sha256, &provider);
    let config = client_builder(provider)?.with_custom_certificate_verifier(Arc::new(verifier));
    Ok(finish_client(config.with_no_client_auth(), alpn))
}

/// Verifiers of our own are what rustls calls dangerous: see `verify.rs` for why these are not.
fn client_builder(provider: Arc<CryptoProvider>) -> Result<DangerousClientConfigBuilder> {
    let builder =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    Ok(builder.dangerous())
}

fn finish_client(mut config: ClientConfig, alpn: &[&[u8]]) -> ClientConfig {
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config
}

/// A server's configuration: shows `identity`, accepts clients of the trust domain.
///
/// # Errors
/// [`Error::Tls`].
pub fn server_config(
    roots: &TrustRoots,
    identity: Arc<CurrentIdentity>,
    client_auth: ClientAuth,
    alpn: &[&[u8]],
) -> Result<ServerConfig> {
    let provider = Arc::new(default_provider());
    let chain = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots.store), Arc::clone(&provider));
    let chain = match client_auth {
        ClientAuth::Required => chain,
        ClientAuth::Optional => chain.allow_unauthenticated(),
    };
    let chain = chain.build().map_err(Error::credential("the trust root"))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(ClientVerifier::new(roots, chain)))
        .with_cert_resolver(identity);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    // No resumption: a resumed session would skip the check of certificates.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The identity in a chain that the handshake has verified.
///
/// # Errors
/// [`Error::NoIdentity`] if the first certificate has no URI name or several, [`Error::BadName`] if it is
/// not one of ours.
pub fn peer_uri(chain: &[CertificateDer<'_>]) -> Result<SpiffeUri> {
    let leaf = chain.first().ok_or(Error::NoIdentity("the chain is empty"))?;
    only_uri(leaf)?.parse()
}

fn only_uri(certificate: &CertificateDer<'_>) -> Result<String> {
    let parsed =
        webpki::EndEntityCert::try_from(certificate).map_err(Error::credential("the certificate"))?;
    let mut names = parsed.valid_uri_names();
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name.to_owned()),
        (None, _) => Err(Error::NoIdentity("it has no URI name")),
        (Some(_), Some(_)) => Err(Error::NoIdentity("it has several URI names")),
    }
}

fn pinned<'a, 'b>(chain: &'a [CertificateDer<'b>], ca_sha256: &[u8; 32]) -> Option<&'a CertificateDer<'b>> {
    chain.iter().find(|certificate| <[u8; 32]>::from(Sha256::digest(certificate)) == *ca_sha256)
}

impl ExpectedPeer {
    fn accepts(self, role: &Role) -> bool {
        match (self, role) {
            (Self::Manager, Role::Manager) | (Self::AnyVm, Role::Vm(_)) => true,
            (Self::Vm(expected), Role::Vm(found)) => expected == *found,
            _ => false,
        }
    }
}
