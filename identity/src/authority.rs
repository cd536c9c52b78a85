//! The certificate authority: the manager's.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKey, PublicKeyData, SanType,
    SerialNumber, date_time_ymd,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use sha2::{Digest as _, Sha256};

use crate::name::trust_domain_uri;
use crate::{Error, Identity, PrivateKey, Result, Role, SpiffeUri, TrustRoots};

/// How far in the past a certificate begins, so that hosts whose clocks are behind accept it.
pub const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// How long the authority's own certificate lasts: ten years.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The most bytes of a certificate signing request; one with a P-256 key has about 220.
const MAX_REQUEST: usize = 8 << 10;

/// Issues the certificates of one trust domain.
pub struct CertificateAuthority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    trust_domain: String,
}

/// A name under which ordinary TLS clients, which know nothing of URI names, may check a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A DNS name.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// A certificate signing request whose sender has proved to hold the private key.
/// The names in it are ignored: what a certificate says, its issuer decides.
#[derive(Debug)]
pub struct SigningRequest {
    public_key: PublicKey,
}

impl SigningRequest {
    /// Parses a PKCS#10 request in DER and checks its signature.
    ///
    /// # Errors
    /// [`Error::BadRequest`].
    pub fn parse(der: &[u8]) -> Result<Self> {
        if der.len() > MAX_REQUEST {
            return Err(Error::BadRequest(format!(
                "{} bytes; at most {MAX_REQUEST} are accepted",
                der.len()
            )));
        }
        CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
            .map(|request| Self { public_key: request.public_key })
            .map_err(|error| Error::BadRequest(error.to_string()))
    }

    /// SHA-256 of the public key (`SubjectPublicKeyInfo` in DER): the same key proves the same holder.
    pub fn public_key_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.public_key.subject_public_key_info()).into()
    }
}

impl CertificateAuthority {
    /// A new authority with a key of its own.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::Issue`], [`Error::Random`].
    pub fn generate(trust_domain: &str) -> Result<Self> {
        // Refuses what is no trust domain.
        SpiffeUri::new(trust_domain, Role::Manager)?;
        let key = KeyPair::generate()?;
        let mut params = params(format!("Function Trees authority of {trust_domain}"), AUTHORITY_LIFETIME)?;
        params.subject_alt_names = vec![SanType::URI(trust_domain_uri(trust_domain).try_into()?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.der().clone();
        Self::new(certificate, key)
    }

    /// The authority with this certificate and key, as [`certificate_pem`](Self::certificate_pem) and
    /// [`key_pem`](Self::key_pem) wrote them.
    ///
    /// # Errors
    /// [`Error::BadCredential`] if one of them cannot be parsed or names no trust domain.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(Error::credential("the authority's certificate"))?;
        let key = KeyPair::from_pem(key_pem).map_err(Error::credential("the authority's key"))?;
        Self::new(certificate, key)
    }

    fn new(certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self> {
        let trust_domain = TrustRoots::new(certificate.clone())?.trust_domain().to_owned();
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(Error::credential("the authority's certificate"))?;
        Ok(Self { certificate, issuer, trust_domain })
    }

    /// The authority's certificate in PEM.
    pub fn certificate_pem(&self) -> String {
        crate::credential::certificate_pem(&self.certificate)
    }

    /// The authority's private key in PEM: whoever has it can be anybody.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// SHA-256 of the authority's certificate in DER: what a [`Token`](crate::Token) pins.
    pub fn ca_sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }

    /// The trust domain that the authority issues names of.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// What peers of this trust domain trust.
    ///
    /// # Errors
    /// None in practice: the certificate was parsed before.
    pub fn trust_roots(&self) -> Result<TrustRoots> {
        TrustRoots::new(self.certificate.clone())
    }

    /// A certificate for the key in `request`, in the name of `role`, for `lifetime` from now on (whole
    /// seconds). The chain that comes back is the certificate, then the authority's own.
    ///
    /// Workers and managers may be servers and clients, admins and tenants clients alone.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::Issue`], [`Error::Random`].
    pub fn issue(
        &self,
        request: &SigningRequest,
        role: Role,
        lifetime: Duration,
    ) -> Result<Vec<CertificateDer<'static>>> {
        self.sign(&request.public_key, role, &[], lifetime)
    }

    /// An identity with a new key. `hosts` are further names for a server that ordinary TLS clients visit.
    ///
    /// # Errors
    /// As [`issue`](Self::issue).
    pub fn issue_identity(&self, role: Role, hosts: &[Host], lifetime: Duration) -> Result<Identity> {
        let key = PrivateKey::generate()?;
        let request = SigningRequest::parse(&key.signing_request()?)?;
        Identity::new(self.sign(&request.public_key, role, hosts, lifetime)?, key)
    }

    fn sign(
        &self,
        key: &PublicKey,
        role: Role,
        hosts: &[Host],
        lifetime: Duration,
    ) -> Result<Vec<CertificateDer<'static>>> {
        let mut params = params(format!("Function Trees {role}"), lifetime)?;
        params.extended_key_usages = match role {
            Role::Manager | Role::Vm(_) => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Role::Admin(_) | Role::Tenant(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let uri = SpiffeUri::new(&self.trust_domain, role)?;
        params.subject_alt_names.push(SanType::URI(uri.to_string().try_into()?));
        for host in hosts {
            params.subject_alt_names.push(match host {
                Host::Name(name) => SanType::DnsName(name.as_str().try_into()?),
                Host::Address(address) => SanType::IpAddress(*address),
            });
        }
        let certificate = params.signed_by(key, &self.issuer)?.der().clone();
        Ok(vec![certificate, self.certificate.clone()])
    }
}

/// What all certificates have in common: a subject for people, a random serial number and a lifetime.
fn params(common_name: String, lifetime: Duration) -> Result<CertificateParams> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial)?;
    serial[0] &= 0x7f; // positive, so that no leading zero is needed
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, common_name);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = distinguished_name;
    params.not_before = epoch + now.saturating_sub(BACKDATE);
    params.not_after = epoch + now.saturating_add(lifetime);
    Ok(params)
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateAuthority({})", self.trust_domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_survives_its_pem_form() {
        let first = CertificateAuthority::generate("ft.test").unwrap();
        let second = CertificateAuthority::from_pem(&first.certificate_pem(), &first.key_pem()).unwrap();
        assert_eq!(second.trust_domain(), "ft.test");
        assert_eq!(second.ca_sha256(), first.ca_sha256());
        second.issue_identity(Role::Vm(1), &[], Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn names_in_a_request_are_ignored() {
        let authority = CertificateAuthority::generate("ft.test").unwrap();
        let key = KeyPair::generate().unwrap();
        let mut wishes = CertificateParams::new(["spiffe://ft.test/manager".to_owned()]).unwrap();
        wishes.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = wishes.serialize_request(&key).unwrap();
        let request = SigningRequest::parse(der.der()).unwrap();
        let chain = authority.issue(&request, Role::Vm(3), Duration::from_secs(60)).unwrap();
        assert_eq!(crate::peer_uri(&chain).unwrap().role(), &Role::Vm(3));
        let (_, parsed) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
        assert!(!parsed.is_ca());
    }

    #[test]
    fn a_request_proves_its_key() {
        let mut der = PrivateKey::generate().unwrap().signing_request().unwrap();
        let last = der.len() - 1;
        der[last] ^= 1;
        assert!(matches!(SigningRequest::parse(&der), Err(Error::BadRequest(_))));
        assert!(matches!(SigningRequest::parse(&[0; MAX_REQUEST + 1]), Err(Error::BadRequest(_))));
        assert!(matches!(SigningRequest::parse(b""), Err(Error::BadRequest(_))));
    }

    #[test]
    fn one_key_has_one_digest() {
        let key = PrivateKey::generate().unwrap();
        let digest = |key: &PrivateKey| {
            SigningRequest::parse(&key.signing_request().unwrap()).unwrap().public_key_sha256()
        };
        assert_eq!(digest(&key), digest(&key));
        assert_ne!(digest(&key), digest(&PrivateKey::generate().unwrap()));
    }
}
