//! What a daemon or client holds: its key, and the certificate that names it.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, KeyPair};
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::authority::BACKDATE;
use crate::{Error, Result, SpiffeUri, peer_uri, write_private};

/// A private key (ECDSA, P-256).
pub struct PrivateKey(PrivatePkcs8KeyDer<'static>);

impl PrivateKey {
    /// A new random key.
    ///
    /// # Errors
    /// [`Error::Issue`].
    pub fn generate() -> Result<Self> {
        Ok(Self(KeyPair::generate()?.serialize_der().into()))
    }

    /// A certificate signing request (PKCS#10 in DER) for this key. It names nobody.
    ///
    /// # Errors
    /// [`Error::Issue`].
    pub fn signing_request(&self) -> Result<Vec<u8>> {
        let key = KeyPair::try_from(&self.0)?;
        Ok(CertificateParams::default().serialize_request(&key)?.der().to_vec())
    }

    /// The key in PEM.
    ///
    /// # Errors
    /// [`Error::Issue`].
    pub fn to_pem(&self) -> Result<String> {
        Ok(KeyPair::try_from(&self.0)?.serialize_pem())
    }

    /// The key in a PEM text: the first PKCS#8 key there.
    ///
    /// # Errors
    /// [`Error::BadCredential`].
    pub fn from_pem(pem: &str) -> Result<Self> {
        PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map(Self)
            .map_err(Error::credential("the private key"))
    }
}

impl Clone for PrivateKey {
    fn clone(&self) -> Self {
        Self(self.0.clone_key())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// A key with the certificate chain that names its holder, leaf first, the authority's certificate last.
#[derive(Clone, Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKey,
    uri: SpiffeUri,
    issued_at: SystemTime,
    expires_at: SystemTime,
}

impl Identity {
    /// The identity that `chain` gives the holder of `key`.
    ///
    /// # Errors
    /// [`Error::NoIdentity`] or [`Error::BadCredential`] if the chain names nobody or belongs to another key.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKey) -> Result<Self> {
        let uri = peer_uri(&chain)?;
        let (issued_at, expires_at) = lifetime(&chain[0])?;
        let identity = Self { chain, key, uri, issued_at, expires_at };
        identity.certified_key()?;
        Ok(identity)
    }

    /// Who this is.
    pub fn uri(&self) -> &SpiffeUri {
        &self.uri
    }

    /// The certificate chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The private key, for instance to ask for a new certificate.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// When the certificate expires.
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// When to ask for a new certificate: after two thirds of the lifetime, so that there is time to retry.
    pub fn renew_at(&self) -> SystemTime {
        let lifetime = self.expires_at.duration_since(self.issued_at).unwrap_or_default();
        self.issued_at + lifetime * 2 / 3
    }

    /// The key and the chain in PEM, one text.
    ///
    /// # Errors
    /// [`Error::Issue`].
    pub fn to_pem(&self) -> Result<String> {
        Ok(self.key.to_pem()? + &self.certificates_pem())
    }

    /// The chain in PEM.
    pub fn certificates_pem(&self) -> String {
        self.chain.iter().map(certificate_pem).collect()
    }

    /// The identity in a PEM text that has the key and the chain in any order.
    ///
    /// # Errors
    /// [`Error::BadCredential`], and as [`Identity::new`].
    pub fn from_pem(pem: &str) -> Result<Self> {
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::credential("the certificate chain"))?;
        Self::new(chain, PrivateKey::from_pem(pem)?)
    }

    /// Writes the identity to one file with mode 0600, in one step: key and certificate always fit.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save(&self, path: &Path) -> Result<()> {
        write_private(path, self.to_pem()?.as_bytes())
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`Error::File`], and as [`from_pem`](Self::from_pem).
    pub fn load(path: &Path) -> Result<Self> {
        let pem =
            std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        Self::from_pem(&pem)
    }

    fn certified_key(&self) -> Result<CertifiedKey> {
        let key = PrivateKeyDer::Pkcs8(self.key.0.clone_key());
        Ok(CertifiedKey::from_der(self.chain.clone(), key, &default_provider())?)
    }
}

/// The identity that a process shows at the moment. Replacing it needs no restart and drops no connection:
/// new handshakes show the new one.
#[derive(Debug)]
pub struct CurrentIdentity(RwLock<(Identity, Arc<CertifiedKey>)>);

impl CurrentIdentity {
    /// Starts with `identity`.
    ///
    /// # Errors
    /// As [`Identity::new`].
    pub fn new(identity: Identity) -> Result<Arc<Self>> {
        let key = Arc::new(identity.certified_key()?);
        Ok(Arc::new(Self(RwLock::new((identity, key)))))
    }

    /// Shows `identity` from now on.
    ///
    /// # Errors
    /// As [`Identity::new`]; the old one stays then.
    pub fn replace(&self, identity: Identity) -> Result<()> {
        let key = Arc::new(identity.certified_key()?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = (identity, key);
        Ok(())
    }

    /// The identity that is shown now.
    pub fn get(&self) -> Identity {
        self.0.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).1)
    }
}

impl ResolvesServerCert for CurrentIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified_key())
    }
}

impl ResolvesClientCert for CurrentIdentity {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.certified_key())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A certificate in PEM (RFC 7468).
pub(crate) fn certificate_pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem += line;
        pem.push('\n');
        rest = after;
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// When a certificate of ours was issued, and when it expires.
fn lifetime(certificate: &CertificateDer<'_>) -> Result<(SystemTime, SystemTime)> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(Error::credential("the certificate"))?;
    let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let validity = parsed.validity();
    Ok((time(validity.not_before.timestamp()) + BACKDATE, time(validity.not_after.timestamp())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CertificateAuthority, Role};

    fn identity(lifetime: Duration) -> Identity {
        let authority = CertificateAuthority::generate("ft.test").unwrap();
        authority.issue_identity(Role::Vm(7), &[], lifetime).unwrap()
    }

    #[test]
    fn an_identity_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.pem");
        let identity = identity(Duration::from_secs(60));
        identity.save(&path).unwrap();
        let loaded = Identity::load(&path).unwrap();
        assert_eq!(loaded.uri(), identity.uri());
        assert_eq!(loaded.chain(), identity.chain());
    }

    #[test]
    fn a_chain_of_another_key_is_refused() {
        let chain = identity(Duration::from_secs(60)).chain().to_vec();
        assert!(Identity::new(chain, PrivateKey::generate().unwrap()).is_err());
        assert!(Identity::new(Vec::new(), PrivateKey::generate().unwrap()).is_err());
    }

    #[test]
    fn renewal_is_due_after_two_thirds() {
        let before = SystemTime::now();
        let identity = identity(Duration::from_secs(300));
        let due = identity.renew_at().duration_since(before).unwrap();
        assert!((Duration::from_secs(198)..=Duration::from_secs(202)).contains(&due), "{due:?}");
    }
}
