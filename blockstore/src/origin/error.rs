//! Why an origin did not do what was asked.

use std::io;
use std::path::{Path, PathBuf};

use ft_core::Digest;

use crate::oci::RegistryError;
use crate::transfer::{TransferError, Transient};

/// Why an origin did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// The object is not there.
    #[error("{origin} has no object {object}; seed the image again")]
    NoObject {
        /// The origin.
        origin: String,
        /// The object.
        object: Digest,
    },
    /// A part of an object cannot be read.
    #[error("{origin}: cannot read bytes {start} to {end} of {object}: {cause}")]
    Read {
        /// The origin.
        origin: String,
        /// The pack or other object.
        object: Digest,
        /// The first byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Why.
        cause: TransferError,
    },
    /// A part that is not in the object was asked for.
    #[error(
        "{origin}: {object} has {size} bytes, so {start} to {end} are not in it; it was cut short, or is not what the manifest says"
    )]
    OutOfRange {
        /// The origin.
        origin: String,
        /// The pack or other object.
        object: Digest,
        /// The first byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Bytes of the object.
        size: u64,
    },
    /// Another request failed.
    #[error("{origin}: cannot {action}: {cause}")]
    Request {
        /// The origin.
        origin: String,
        /// What was to be done.
        action: String,
        /// Why not.
        cause: TransferError,
    },
    /// The registry did not do it.
    #[error(transparent)]
    Registry(RegistryError),
    /// A file or directory of a directory origin, or a file to be stored.
    #[error("{}: cannot {action}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was to be done.
        action: &'static str,
        /// What the system said.
        reason: String,
    },
    /// Another process holds the directory for long.
    #[error("{}: another process has been working on this origin for {seconds} s; try again when it is done", path.display())]
    Locked {
        /// The origin's directory.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// The bytes are not the object's.
    #[error(
        "{origin}: {object} is corrupt: its bytes hash to {actual}; remove it there and seed the image again"
    )]
    WrongDigest {
        /// The origin.
        origin: String,
        /// The object.
        object: Digest,
        /// What the bytes hash to.
        actual: Digest,
    },
    /// More bytes than the caller accepts.
    #[error("{origin}: {object} has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The origin.
        origin: String,
        /// The object.
        object: Digest,
        /// Its bytes.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The bytes to be stored did not come as they should. Nothing was stored.
    #[error("{object} was not stored: its bytes did not come as they should: {reason}")]
    NotStored {
        /// The object.
        object: Digest,
        /// Why.
        reason: String,
    },
    /// What has the name is no function image.
    #[error("{origin}: {name} is no function image: {reason}")]
    NotAnImage {
        /// The origin.
        origin: String,
        /// The name or digest.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The origin cannot be opened as written.
    #[error("{spec:?} is no origin: {reason}; write dir:PATH, https://HOST:PORT or docker://HOST/REPOSITORY")]
    Spec {
        /// What was written.
        spec: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl OriginError {
    /// An operation on a file failed.
    pub(crate) fn file(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::File { path, action, reason: error.to_string() }
    }
}

impl Transient for OriginError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Read { cause, .. } | Self::Request { cause, .. } => cause.is_transient(),
            _ => false,
        }
    }
}
