//! Why a registry did not do what was asked.

use std::path::PathBuf;

use ft_core::Digest;

use crate::transfer::{TransferError, Transient};

/// Why a registry did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The reference names no repository, or the options do not fit it.
    #[error("{reference}: {reason}")]
    Reference {
        /// The reference.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// docker's configuration or one of its credential helpers cannot be used.
    #[error("no credentials for {registry}: {reason} (looked in {})", path.display())]
    Credentials {
        /// The registry.
        registry: String,
        /// What went wrong.
        reason: String,
        /// docker's configuration file.
        path: PathBuf,
    },
    /// The registry wants other credentials, or any.
    #[error(
        "{registry} does not let us {action} {repository}: {reason}; log in with `docker login {registry}`"
    )]
    Unauthorized {
        /// The registry.
        registry: String,
        /// `pull` or `push`.
        action: &'static str,
        /// The repository.
        repository: String,
        /// Which credentials were used, and where others were looked for.
        reason: String,
    },
    /// No such manifest or blob.
    #[error("{what} does not exist; check the name, and that it was pushed")]
    NotFound {
        /// The manifest or blob.
        what: String,
    },
    /// The transfer failed.
    #[error("{what}: {cause}")]
    Transfer {
        /// The manifest, blob or request.
        what: String,
        /// Why.
        cause: TransferError,
    },
    /// The bytes are not those that were asked for.
    #[error(
        "{what}: expected {expected}, but the bytes hash to {actual}; the registry or the way to it corrupts data"
    )]
    WrongDigest {
        /// The manifest or blob.
        what: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// An answer that the specification does not allow.
    #[error("{what}: the registry's answer is not understood: {reason}")]
    Protocol {
        /// The request.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A file to be pushed cannot be read.
    #[error("{what}: cannot read what is to be pushed: {reason}")]
    Source {
        /// The blob.
        what: String,
        /// What the system said.
        reason: String,
    },
}

impl Transient for RegistryError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Transfer { cause, .. } if cause.is_transient())
    }
}
