//! Who is who in Function Trees: the certificate authority, identities, tokens and TLS configurations.
//!
//! An identity is a URI name (SPIFFE's form) in a certificate that the manager issues; see [`SpiffeUri`].
//! Peers are checked by certificate chain plus URI name, never by DNS name or address, over TLS 1.3 only.
//! A joining worker has no trust root yet: its [`Token`] pins the SHA-256 of the authority's certificate,
//! which every server sends along, so it knows the manager before it shows the token's secret.
//!
//! Nothing here knows of functions, trees or blocks. The configurations serve QUIC, gRPC and HTTPS alike.
#![forbid(unsafe_code)]

mod accept;
mod authority;
mod connect;
mod credential;
mod error;
mod files;
mod name;
mod tls;
mod token;

pub use accept::{AcceptLimits, PeerInfo, PeerStream, TlsIncoming};
pub use authority::{BACKDATE, CertificateAuthority, Host, SigningRequest};
pub use connect::{GrpcConnector, connect_grpc};
pub use credential::{CurrentIdentity, Identity, PrivateKey};
pub use error::{Error, Result};
pub use files::write_private;
pub use name::{Role, SpiffeUri};
pub use tls::{
    ALPN_H2, ALPN_HTTP1, ClientAuth, ExpectedPeer, TrustRoots, client_config, client_config_pinned, peer_uri,
    server_config,
};
pub use token::{Secret, Token};
