//! The HTTP clients: rustls with *ring*, handed over explicitly; no process-wide default is needed.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::TransferLimits;

/// TLS towards the web: the host's CA certificates (as OpenSSL would find them, `SSL_CERT_FILE` included) and
/// `extra_roots`.
pub(crate) fn web_tls(extra_roots: &[CertificateDer<'static>]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(host_roots().iter().cloned());
    for root in extra_roots {
        roots.add(root.clone()).map_err(|error| format!("a CA certificate is not usable: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Read once: it takes tens of milliseconds.
fn host_roots() -> &'static [CertificateDer<'static>] {
    static ROOTS: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "cannot read some of this host's CA certificates");
        }
        found.certs
    })
}

/// A client that speaks HTTP/2 or 1.1. `direct`: past any proxy that the environment names.
pub(crate) fn http_client(
    mut tls: ClientConfig,
    limits: &TransferLimits,
    https_only: bool,
    direct: bool,
) -> Result<reqwest::Client, String> {
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("function-trees/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(limits.connect)
        // Shorter than servers keep idle connections, so that a request seldom meets one that just closed.
        .pool_idle_timeout(std::time::Duration::from_secs(20))
        .https_only(https_only);
    let builder = if direct { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| format!("cannot set up the HTTP client: {error}"))
}

/// Whether a URL's host is this machine.
pub(crate) fn is_loopback(url: &reqwest::Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost",
    }
}
