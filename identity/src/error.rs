//! What can go wrong with identities.

use std::path::PathBuf;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with identities.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no identity of Function Trees.
    #[error("{text:?} is not an identity: {reason}")]
    BadName {
        /// The text, shortened if long.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The text is no token.
    #[error("not a token: {0}")]
    BadToken(&'static str),
    /// A certificate does not say who its holder is.
    #[error("the certificate names no identity: {0}")]
    NoIdentity(&'static str),
    /// A certificate signing request is malformed, too large, or its holder did not prove its key.
    #[error("bad certificate signing request: {0}")]
    BadRequest(String),
    /// A certificate or key cannot be read.
    #[error("cannot read {what}: {cause}")]
    BadCredential {
        /// Which part.
        what: &'static str,
        /// Why.
        cause: String,
    },
    /// A certificate cannot be made.
    #[error("cannot issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// TLS cannot be configured or established.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A server answers but is not who it should be: trying again will not help.
    #[error("{target} is not to be trusted: {cause}")]
    Untrusted {
        /// The server's address.
        target: String,
        /// Why.
        cause: String,
    },
    /// A server cannot be reached.
    #[error("cannot connect to {target}: {cause}")]
    Connect {
        /// The server's address.
        target: String,
        /// Why.
        cause: String,
    },
    /// The operating system gives no random bytes.
    #[error("no random bytes from the operating system: {0}")]
    Random(#[from] getrandom::Error),
}

impl Error {
    /// For `map_err`: the credential's part `what` cannot be read because of the error given.
    pub(crate) fn credential<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Self {
        move |cause| Self::BadCredential { what, cause: cause.to_string() }
    }
}
